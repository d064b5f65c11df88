"""The trajectory kernel: everything the hallmarks need, in one n × n matrix a parameter group.

What is stored is the Gram matrix of *increments*, U[s, t] = ⟨δ_s, δ_t⟩ with δ_0 = θ_0 and δ_t = θ_t
− θ_{t−1}. Any difference of two checkpoints is a sum of increments, so every quantity of the paper
is a small quadratic form in U, and none is the small difference of two large numbers (chapter "The
kernel and its maps")."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, Int
from numpy.typing import ArrayLike

from ..kernel_file import write_kernel_file
from ..printable import printable
from ..reading.steps import first_and_last
from .points import NO_DISPLACEMENT, PointsKernel, symmetric


class TrajectoryKernel(PointsKernel):
    """The Gram matrices of a trajectory's increments, one for each parameter group.

    Usually made by :func:`trajhelpers.gram` or read by :func:`trajhelpers.load_kernel`.

    Parameters
    ----------
    increments : array, shape (n, n) or (groups, n, n)
        ``increments[g, s, t]`` = ⟨δ_s, δ_t⟩ over the parameters of group g, in squared parameter
        units.
    steps : sequence of n integers, optional
        Training steps or epochs, as recorded. Default 0 … n − 1.
    names : sequence of str, optional
        One a group. Default ``("all",)``.
    sizes : sequence of int, optional
        Parameters a group. Default 0, for unknown.
    runs : sequence of n str, optional
        Which run each checkpoint belongs to, where several are joined.
    source : dict, optional
        Where the checkpoints came from and what of them was counted; saved with the kernel, read by
        :meth:`summary` alone.
    precision : {"float64", "float32"}
        Of the products, which says when rounding begins to matter.
    squared_path : array, shape (groups, n), optional
        Slicing sums increments, and their rounding errors with them: the squared lengths of what
        each increment was made of. Default the diagonals of ``increments``.
    tokens : sequence of n numbers, optional
        How many each checkpoint was trained on so far, NaN where that is unknown; kept as an array,
        None where nothing is known.

    Raises
    ------
    ValueError
        Where shapes do not fit together, or two groups share a name.

    Examples
    --------
    Two steps of length one at a right angle, starting from the point (3, 0):

    >>> import numpy as np
    >>> theta = np.array([[3.0, 0.0], [4.0, 0.0], [4.0, 1.0]])
    >>> delta = np.diff(theta, axis=0, prepend=0)
    >>> kernel = TrajectoryKernel(delta @ delta.T)
    >>> kernel.gram()
    array([[ 9., 12., 12.],
           [12., 16., 16.],
           [12., 16., 17.]])
    >>> kernel.gram(origin=0)
    array([[1., 1.],
           [1., 2.]])
    """

    _PRODUCTS = "increments"
    _POINTS = "checkpoints at "
    _TOO_CLOSE = "the path is so much longer than the way it covers"

    def __init__(
        self,
        increments: ArrayLike,
        steps: ArrayLike | None = None,
        names: Sequence[str] | None = None,
        sizes: Sequence[int] | None = None,
        runs: Sequence[str] | None = None,
        source: dict | None = None,
        precision: str = "float64",
        squared_path: ArrayLike | None = None,
        tokens: ArrayLike | None = None,
    ):
        super().__init__(increments, names, sizes, source, precision, squared_path)
        self.steps = np.arange(self.n) if steps is None else np.asarray(steps)
        self.runs = ("",) * self.n if runs is None else tuple(runs)
        self.tokens = None if tokens is None else np.asarray(tokens)
        self._check_count("steps", self.steps, self.n)
        if self.tokens is not None:
            self._check_count("tokens", self.tokens, self.n)
        self._check_count("runs", self.runs, self.n)

    @property
    def increments(self) -> Float64[np.ndarray, "groups n n"]:
        """The increments' Gram matrices, one a group. Neither these nor `total` can be written to;
        make another kernel, of a copy.
        """
        return self._products

    @property
    def squared_path(self) -> Float64[np.ndarray, "groups n"]:
        """The sums of squared lengths of what each of ``increments`` was made of, where a kernel
        of fewer checkpoints adds them up.
        """
        return self._squared_path

    def __repr__(self) -> str:
        return printable(
            f"TrajectoryKernel({self.n} checkpoints,"
            f" {first_and_last(self.steps.tolist(), self.runs)}, {self.p:,} parameters in"
            f" {len(self.names)} group{'s'[: len(self.names) > 1]})"
        )

    # ---- maps ----

    def gram(self, origin: int | None = None) -> Float64[np.ndarray, "rows rows"]:
        """K, the inner products of the checkpoints seen from ``origin``.

        Parameters
        ----------
        origin : int, optional
            Index of a checkpoint (negative counts from the end), or None for O, the zero of
            parameter space.

        Returns
        -------
        array
            K, shape (n, n), or K_τ, shape (n − 1, n − 1): section 2 of the paper. The origin's own
            row is left out, and so is, with a warning that names the step, that of any checkpoint
            equal to it, which has no direction. ``kernel.kept(origin)`` gives the indices of those
            that are left.
        """
        return self._seen_from(origin)[0]

    def cosine(self, origin: int | None = None) -> Float64[np.ndarray, "rows rows"]:
        """C, the Trajectory Map, or C_τ, the Relative Trajectory Map: cosines between checkpoints
        seen from ``origin``.

        Parameters, shapes and rows left out are those of :meth:`gram`. Section 2 of the paper;
        chapter 2 of the book.

        >>> import numpy as np
        >>> walk = TrajectoryKernel(np.eye(3))
        >>> walk.cosine(origin=0).round(3)      # right angles, seen from the start
        array([[1.   , 0.707],
               [0.707, 1.   ]])
        """
        return self._cosine(*self._seen_from(origin))

    def kept(self, origin: int | None = None) -> Int[np.ndarray, " rows"]:
        """Indices of the checkpoints that have a row in ``gram(origin)`` and ``cosine(origin)``."""
        return np.flatnonzero(self._moved(origin)[0])

    def distance(self, start: ArrayLike | None, end: ArrayLike) -> Float64[np.ndarray, " *pairs"]:
        """‖θ_end − θ_start‖ for arrays of checkpoint indices of one shape; ``start=None`` measures
        from O.
        """
        return self._length(self.coefficients(start, end))

    def cosine_between(
        self,
        start: ArrayLike | None,
        end: ArrayLike,
        other_start: ArrayLike | None,
        other_end: ArrayLike,
    ) -> Float64[np.ndarray, " *pairs"]:
        """Cosine of the angle between θ_end − θ_start and θ_other_end − θ_other_start, for arrays
        of checkpoint indices.

        A start of None stands for O. NaN where one of the two vectors is zero.

        >>> import numpy as np
        >>> walk = TrajectoryKernel(np.eye(4))
        >>> walk.cosine_between(0, [1, 2, 3], 0, 3).round(3)      # progress, the whole way
        array([0.577, 0.816, 1.   ])
        """
        return self._cosine_between(
            self.coefficients(start, end), self.coefficients(other_start, other_end)
        )

    def identical(self) -> list[tuple[int, int]]:
        """Pairs of indices (s, t) of checkpoints that are equal up to rounding: t the next one
        after s that equals it.

        >>> import numpy as np
        >>> delta = np.array([[1.0, 0], [0, 1], [0, -1], [0, 0]])      # there, back, no further
        >>> TrajectoryKernel(delta @ delta.T).identical()
        [(0, 2), (2, 3)]
        """
        total = self.total
        made_of = NO_DISPLACEMENT * np.cumsum(self._squared_path_total)
        # Squared distances from all s to t grow from those to t − 1: nothing large is subtracted
        # from anything large.
        squared, largest, before, pairs = (
            np.zeros(self.n),
            np.zeros(self.n),
            np.full(self.n, False),
            [],
        )
        for t in range(1, self.n):
            # Σ ⟨δ_a, δ_t⟩ over s < a < t, for s = 0 … t − 2
            since = np.cumsum(total[t - 1 : 0 : -1, t])[::-1]
            squared[:t] += total[t, t]
            squared[: t - 1] += 2 * since
            largest[:t] = np.maximum(largest[:t], squared[:t])
            equal = (
                squared[:t] <= NO_DISPLACEMENT * largest[:t] + made_of[t] - made_of[:t]
            ) & ~before[:t]
            pairs += [(int(s), t) for s in np.flatnonzero(equal)]
            before[:t] |= equal
        return pairs

    def coefficients(
        self, start: ArrayLike | None, end: ArrayLike
    ) -> Float64[np.ndarray, "*pairs n"]:
        """Coefficients of δ_0 … δ_{n−1} in θ_end − θ_start, one row a pair of checkpoint indices;
        ``start=None`` stands for O.

        Any inner product of differences a and b is ``a @ kernel.total @ b``.

        >>> import numpy as np
        >>> TrajectoryKernel(np.eye(4)).coefficients(1, [2, 3])
        array([[0., 0., 1., 0.],
               [0., 0., 1., 1.]])
        """
        return self._sums(self._start(start), self._indices(end))

    def _sums(self, first, last):
        column = np.arange(self.n)
        upto_end = column <= last[..., None]
        return upto_end.astype(float) - (0 if first is None else column <= first[..., None])

    def _start(self, origin):
        return None if origin is None else self._indices(origin)

    def _indices(self, index):
        index = np.asarray(index)
        if index.dtype.kind not in "iu":
            raise TypeError(f"a checkpoint index must be an integer, got {index.dtype} {index}")
        if np.any((index < -self.n) | (index >= self.n)):
            raise IndexError(
                f"checkpoint index {index} is out of range for {self.n} checkpoints (this is the"
                " index, not the step)"
            )
        return index % self.n

    # ---- parts ----

    def __getitem__(self, index: slice | ArrayLike) -> "TrajectoryKernel":
        """The kernel of some of the checkpoints, as if it had been computed from those alone.

        ``index`` is a slice, a boolean mask or a list of strictly increasing indices.

        >>> import numpy as np
        >>> walk = TrajectoryKernel(np.eye(5))
        >>> walk[::2].total      # every second point: steps twice as long, squared
        array([[1., 0., 0.],
               [0., 2., 0.],
               [0., 0., 2.]])
        """
        if isinstance(index, (int, np.integer)):
            raise TypeError(
                f"kernel[{index}] is one checkpoint, which has no kernel: use a slice or a list of"
                " indices"
            )
        every = np.arange(self.n)
        if isinstance(index, slice):
            taken = every[index]
        else:
            given = np.asarray(index)
            taken = every[given] if given.dtype == bool else self._indices(given)
        if len(taken) == 0 or np.any(np.diff(taken) <= 0):
            raise ValueError(
                "checkpoints must be taken in increasing order, at least one of them; got indices"
                f" {taken.tolist()}"
            )
        rows = self.coefficients(np.concatenate([[0], taken[:-1]]), taken)
        rows[0] = every <= taken[0]
        return self._with(
            increments=symmetric(rows @ self.increments @ rows.T),
            squared_path=self._squared_path @ rows.T,
            steps=self.steps[taken],
            tokens=None if self.tokens is None else self.tokens[taken],
            runs=[self.runs[i] for i in taken],
        )

    def _parts(self) -> dict[str, Any]:
        """What this kernel would be made of, by the names of the parameters."""
        return {
            "increments": self.increments,
            "steps": self.steps,
            "names": self.names,
            "sizes": self.sizes,
            "runs": self.runs,
            "source": self.source,
            "precision": self.precision,
            "squared_path": self.squared_path,
            "tokens": self.tokens,
        }

    def _by_group(self):
        return {"increments": self.increments, "squared_path": self.squared_path}

    def _called(self, indices):
        return "step " + ", ".join(str(step) for step in self.steps[np.asarray(indices)])

    # ---- files ----

    def save(self, path: str | Path) -> None:
        """Write the kernel to one ``.npz`` file, in one atomic move. Nothing in it is pickled.

        As elsewhere, a symlink's target is written; a file that is there keeps its permissions.

        Raises
        ------
        OSError
            Where the path cannot be written, with what was there before as it was.
        """
        write_kernel_file(path, "trajectory", self._parts())
