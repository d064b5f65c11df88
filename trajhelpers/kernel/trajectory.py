"""The trajectory kernel: everything the hallmarks need, in one n × n matrix a parameter group.

What is stored is the Gram matrix of *increments*, U[s, t] = ⟨δ_s, δ_t⟩ with δ_0 = θ_0 and δ_t = θ_t
− θ_{t−1}. Any difference of two checkpoints is a sum of increments, so every quantity of the paper
is a small quadratic form in U, and none is the small difference of two large numbers (chapter "The
kernel and its maps")."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float64, Int
from numpy.typing import ArrayLike

from ..kernel_file import write_kernel_file
from ..links import O, path_links
from ..printable import printable
from ..reading.steps import first_and_last
from .points import PointsKernel
from .sampled import Sample


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
        Slicing sums increments, and their rounding errors with them: the squared length of the way
        of which each increment is the sum. Default the diagonals of ``increments``.
    tokens : sequence of n numbers, optional
        How many each checkpoint was trained on so far, NaN where that is unknown; kept as an array,
        None where nothing is known.
    links : sequence of n integers, optional
        Row t of ``increments`` is θ_t − θ_links[t], −1 for O. Default the checkpoint before. Where
        a path comes back to where it was, :func:`trajhelpers.gram` takes others, since increments
        are then long and what they add up to is short.
    exponent : int
        Lengths are in units of 2^exponent, and products in those of its square.
    sample : Sample, optional
        What the kernel is an estimate from, as :func:`trajhelpers.gram` has it of ``sample=``.
        Default: it is exact.

    Raises
    ------
    ValueError
        Where shapes do not fit together, two groups share a name, or the links are no tree.

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

    # Reads checkpoints, which a kernel knows nothing of: `trajhelpers.appending` puts it here.
    append: ClassVar[Callable[..., "TrajectoryKernel"]]

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
        links: ArrayLike | None = None,
        exponent: int = 0,
        sample: Sample | None = None,
    ):
        n = np.shape(increments)[-1] if np.ndim(increments) else 0
        super().__init__(
            increments,
            names,
            sizes,
            source,
            precision,
            squared_path,
            path_links(n) if links is None else links,
            exponent,
            sample,
        )
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
        return self._usual_products

    @property
    def squared_path(self) -> Float64[np.ndarray, "groups n"]:
        """Of each row, the squared length of the way that it is the sum of, where a kernel of fewer
        checkpoints adds rows up.
        """
        return self._scaled(self._squared_path, 2)

    def __repr__(self) -> str:
        return printable(
            f"TrajectoryKernel({self.n} checkpoints,"
            f" {first_and_last(self.steps.tolist(), self.runs)}, {self.p:,} parameters in"
            f" {len(self.names)} group{'s'[: len(self.names) > 1]}{self._of_how_much()})"
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
        return self._gram_from(origin)

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
        return self._cosine_from(origin)

    def kept(self, origin: int | None = None) -> Int[np.ndarray, " rows"]:
        """Indices of the checkpoints that have a row in ``gram(origin)`` and ``cosine(origin)``."""
        return self._moved(origin)[1]

    def distance(self, start: ArrayLike | None, end: ArrayLike) -> Float64[np.ndarray, " *pairs"]:
        """‖θ_end − θ_start‖ for arrays of checkpoint indices of one shape; ``start=None`` measures
        from O.
        """
        return self._lengths(*self._pair(start, end))

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
        return self._cosine_of(*self._pair(start, end), *self._pair(other_start, other_end))

    def cosine_error_between(
        self,
        start: ArrayLike | None,
        end: ArrayLike,
        other_start: ArrayLike | None,
        other_end: ArrayLike,
    ) -> Float64[np.ndarray, " *pairs"]:
        """What bounds the error of :meth:`cosine_between`, as :meth:`error_bound` has it."""
        return self._error_of_cosine(*self._pair(start, end), *self._pair(other_start, other_end))

    def distance_error(
        self, start: ArrayLike | None, end: ArrayLike
    ) -> Float64[np.ndarray, " *pairs"]:
        """What bounds the error of :meth:`distance`, in parameter units."""
        return self._error_of_length(*self._pair(start, end))

    def inner_between(
        self,
        start: ArrayLike | None,
        end: ArrayLike,
        other_start: ArrayLike | None,
        other_end: ArrayLike,
    ) -> Float64[np.ndarray, " *pairs"]:
        """⟨θ_end − θ_start, θ_other_end − θ_other_start⟩, in squared parameter units, for arrays of
        checkpoint indices as in :meth:`cosine_between`.

        >>> import numpy as np
        >>> walk = TrajectoryKernel(np.eye(4))
        >>> walk.inner_between(0, [1, 2, 3], 0, 3)
        array([1., 2., 3.])
        """
        inner = self._points(*self._pair(start, end), *self._pair(other_start, other_end))
        return self._scaled(inner, 2)

    def identical(self) -> list[tuple[int, int]]:
        """Pairs of indices (s, t) of checkpoints that are equal up to rounding: t the next one
        after s that equals it.

        >>> import numpy as np
        >>> delta = np.array([[1.0, 0], [0, 1], [0, -1], [0, 0]])      # there, back, no further
        >>> TrajectoryKernel(delta @ delta.T).identical()
        [(0, 2), (2, 3)]
        """
        return self.indistinct()

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
        first, last = self._pair(start, end)
        column = np.arange(self.n)
        return (column <= last[..., None]).astype(float) - (column <= first[..., None])

    def _pair(self, start, end):
        return self._start(start), self._indices(end)

    def _usual_links(self):
        return path_links(self.n)

    def _start(self, origin):
        return np.asarray(O) if origin is None else self._indices(origin)

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
        links = self._links_among(taken)
        ends = np.append(taken, O)  # by a link of -1, O
        return self._with(
            increments=self._products_of(ends[links], taken),
            squared_path=self._squared_ways(ends[links], taken),
            sample=self._sample_between(ends[links], taken),
            steps=self.steps[taken],
            tokens=None if self.tokens is None else self.tokens[taken],
            runs=[self.runs[i] for i in taken],
            links=None if self._is_usual else links,
        )

    def _parts(self) -> dict[str, Any]:
        """What this kernel would be made of, by the names of the parameters."""
        return {
            "increments": self._products,
            "steps": self.steps,
            "names": self.names,
            "sizes": self.sizes,
            "runs": self.runs,
            "source": self.source,
            "precision": self.precision,
            "squared_path": self._squared_path,
            "tokens": self.tokens,
            "links": None if self._is_usual else self._links,
            "exponent": self._exponent,
            "sample": self._sample,
        }

    def _by_group(self):
        return {"increments": self._products, "squared_path": self._squared_path}

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
        ValueError
            Where a name or a step would not come back: text of more than 1,000 characters, or with
            a NUL at its end, and whole numbers beyond 64 bits.
        """
        write_kernel_file(path, "trajectory", self._parts())
