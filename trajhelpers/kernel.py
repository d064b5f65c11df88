"""The trajectory kernel: everything the hallmarks need, in one n × n matrix a parameter group.

What is stored is the Gram matrix of *increments*, U[s, t] = ⟨δ_s, δ_t⟩ with δ_0 = θ_0 and δ_t = θ_t
− θ_{t−1}. Any difference of two checkpoints is a sum of increments, so every quantity of the paper
is a small quadratic form in U, and none is the small difference of two large numbers (chapter "The
kernel and its maps")."""

import re
import warnings
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, Int
from numpy.typing import ArrayLike

from .errors import TrajectoryWarning
from .kernel_file import read_kernel_file, write_kernel_file
from .reading.account import Text, in_words

_LARGEST_HIDDEN_EXCESS = 1e-6
_LARGEST_SILENT_ERROR = 1e-6
# A displacement this small against the increments it is made of is rounding and no direction.
_NO_DISPLACEMENT = 64 * np.finfo(np.float64).eps


class TrajectoryKernel:
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
        increments = np.asarray(increments, dtype=np.float64)
        if (
            increments.ndim not in (2, 3)
            or increments.shape[-1] != increments.shape[-2]
            or 0 in increments.shape
        ):
            raise ValueError(
                f"increments: expected shape (n, n) or (groups, n, n), got {increments.shape}"
            )
        self._increments = _frozen(increments[None] if increments.ndim == 2 else increments)
        count, n = self.increments.shape[:2]
        self.steps = np.arange(n) if steps is None else np.asarray(steps)
        self.names = ("all",) if names is None else tuple(names)
        self.sizes = (0,) * count if sizes is None else tuple(int(size) for size in sizes)
        self.runs = ("",) * n if runs is None else tuple(runs)
        self.source = dict(source or {})
        self.precision = precision
        self.tokens = None if tokens is None else np.asarray(tokens)
        for what, values, expected in [
            ("steps", self.steps, n),
            ("tokens", self.steps if self.tokens is None else self.tokens, n),
            ("runs", self.runs, n),
            ("names", self.names, count),
            ("sizes", self.sizes, count),
        ]:
            if len(values) != expected:
                raise ValueError(
                    f"{what}: expected {expected} values for increments of shape"
                    f" {self.increments.shape}, got {len(values)}"
                )
        if len(set(self.names)) < count:
            raise ValueError(f"names: two groups share a name in {self.names}")
        if precision not in ("float64", "float32"):
            raise ValueError(f"precision: expected 'float64' or 'float32', got {precision!r}")
        # Summed once: everything below asks for it, and groups may be hundreds.
        self._total = _frozen(self._increments.sum(0))
        self._squared_path = _frozen(
            np.einsum("gss->gs", self._increments)
            if squared_path is None
            else np.asarray(squared_path, dtype=np.float64)
        )
        self._squared_path_total = self._squared_path.sum(0)

    @property
    def n(self) -> int:
        """Number of checkpoints."""
        return self._increments.shape[1]

    @property
    def p(self) -> int:
        """Number of parameters."""
        return sum(self.sizes)

    @property
    def increments(self) -> Float64[np.ndarray, "groups n n"]:
        """The increments' Gram matrices, one a group. Neither these nor `total` can be written to;
        make another kernel, of a copy.
        """
        return self._increments

    @property
    def total(self) -> Float64[np.ndarray, "n n"]:
        """The increments' Gram matrix over all parameters."""
        return self._total

    @property
    def squared_path(self) -> Float64[np.ndarray, "groups n"]:
        """The sums of squared lengths of what each of ``increments`` was made of, where a kernel
        of fewer checkpoints adds them up.
        """
        return self._squared_path

    def __len__(self) -> int:
        return self.n

    def __repr__(self) -> str:
        return (
            f"TrajectoryKernel({self.n} checkpoints, steps {self.steps[0]} … {self.steps[-1]},"
            f" {self.p:,} parameters in {len(self.names)} group{'s'[: len(self.names) > 1]})"
        )

    def summary(self) -> str:
        """What was counted when the kernel was made, and what was not: that of
        :meth:`trajhelpers.Trajectory.summary`, and what never moves.
        """
        return Text(f"{self!r}\n{in_words(self.source)}".rstrip())

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
        inner, path = self._seen_from(origin)
        squared = np.diag(inner)
        self._warn_of_rounding(path, squared)
        return clipped_cosine(inner, squared[:, None], squared[None, :])

    def kept(self, origin: int | None = None) -> Int[np.ndarray, " rows"]:
        """Indices of the checkpoints that have a row in ``gram(origin)`` and ``cosine(origin)``."""
        return np.flatnonzero(self._moved(origin)[0])

    def distance(self, start: ArrayLike | None, end: ArrayLike) -> Float64[np.ndarray, " *pairs"]:
        """‖θ_end − θ_start‖ for arrays of checkpoint indices of one shape; ``start=None`` measures
        from O.
        """
        squared, _ = self._squared(self.coefficients(start, end))
        return np.sqrt(np.maximum(squared, 0))

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
        a, b = self.coefficients(start, end), self.coefficients(other_start, other_end)
        squares = []
        for rows in (a, b):
            squared, made_of = self._squared(rows)
            squared = np.where(squared > _NO_DISPLACEMENT * made_of, squared, np.nan)
            self._warn_of_rounding(made_of, squared)
            squares.append(squared)
        inner = np.einsum("...i,...i->...", a @ self.total, b)
        return clipped_cosine(inner, *squares)

    def identical(self) -> list[tuple[int, int]]:
        """Pairs of indices (s, t) of checkpoints that are equal up to rounding: t the next one
        after s that equals it.

        >>> import numpy as np
        >>> delta = np.array([[1.0, 0], [0, 1], [0, -1], [0, 0]])      # there, back, no further
        >>> TrajectoryKernel(delta @ delta.T).identical()
        [(0, 2), (2, 3)]
        """
        total = self.total
        made_of = _NO_DISPLACEMENT * np.cumsum(self._squared_path_total)
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
                squared[:t] <= _NO_DISPLACEMENT * largest[:t] + made_of[t] - made_of[:t]
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
        first = np.asarray(-1) if start is None else self._indices(start)
        last = self._indices(end)
        column = np.arange(self.n)
        upto_end, upto_start = column <= last[..., None], column <= first[..., None]
        return upto_end.astype(float) - upto_start

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

    def _squared(self, rows):
        """Squared lengths of displacements, and the sums of the squared increments that they are
        made of.
        """
        squared = np.einsum("...i,...i->...", rows @ self.total, rows)
        return squared, np.abs(rows) @ self._squared_path_total

    def _moved(self, origin):
        """Which checkpoints have a direction from the origin, and the displacements of all."""
        rows = self.coefficients(origin, np.arange(self.n))
        squared, made_of = self._squared(rows)
        return squared > _NO_DISPLACEMENT * made_of, rows

    def _seen_from(self, origin):
        moved, rows = self._moved(origin)
        lost = ~moved
        if origin is not None:
            lost[self._indices(origin)] = False
        if lost.any():
            lost = ", ".join(str(step) for step in self.steps[lost])
            where = (
                "are zero"
                if origin is None
                else f"equal the origin (step {self.steps[origin]}), or come too close to tell,"
            )
            warnings.warn(
                f"checkpoints at step {lost} {where} and have no direction: left out of the map",
                TrajectoryWarning,
                stacklevel=4,
            )
        rows = rows[moved]
        return _symmetric(rows @ self.total @ rows.T), np.abs(rows) @ self._squared_path_total

    def _warn_of_rounding(self, made_of, squared):
        """An inner product of increments carries a relative error of about eps, independent of the
        others: errors add as squares.
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            error = np.finfo(self.precision).eps / 2 * made_of / squared
        worst = np.nanmax(np.atleast_1d(error), initial=0)
        if worst > _LARGEST_SILENT_ERROR:
            remedy = (
                ": compute the kernel again with precision='float64'"
                if self.precision == "float32"
                else ""
            )
            warnings.warn(
                "the path is so much longer than the way it covers that rounding in"
                f" {self.precision} changes cosines by about {min(worst, 1):.0e}{remedy}",
                TrajectoryWarning,
                stacklevel=4,
            )

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
            increments=_symmetric(rows @ self.increments @ rows.T),
            squared_path=self._squared_path @ rows.T,
            steps=self.steps[taken],
            tokens=None if self.tokens is None else self.tokens[taken],
            runs=[self.runs[i] for i in taken],
        )

    def select(self, patterns: str | Sequence[str]) -> "TrajectoryKernel":
        """The kernel of the groups whose names match a shell pattern, or one of several:
        ``kernel.select("layers.3.*")``.
        """
        patterns = [patterns] if isinstance(patterns, str) else list(patterns)
        chosen = [
            g
            for g, name in enumerate(self.names)
            if any(fnmatchcase(name, pattern) for pattern in patterns)
        ]
        if not chosen:
            raise ValueError(f"no group matches {patterns}; there are {_listed(self.names)}")
        return self._of_groups(chosen)

    def group_by(self, key: str | Callable[[str], str | None]) -> "TrajectoryKernel":
        """Merge groups: those for which ``key`` gives the same name become one.

        Parameters
        ----------
        key : str or callable
            A regular expression, searched in the group's name; its captured parts, joined by ".",
            name the new group (the whole match where it captures nothing). Or a function from the
            group's name to the new name. Groups without a match (or with None) become the group
            "other", so that the total stays what it was.

        >>> import numpy as np
        >>> names = ["layers.0.weight", "layers.0.bias", "head.weight"]
        >>> kernel = TrajectoryKernel(np.ones((3, 2, 2)), names=names)
        >>> kernel.group_by(r"(layers\\.\\d+)").names
        ('layers.0', 'other')
        """

        members: dict[str, list[int]] = {}
        for g, name in enumerate(self.names):
            new = key(name) if callable(key) else _captured(key, name)
            members.setdefault("other" if new is None else str(new), []).append(g)
        return self._with(
            increments=np.stack([self.increments[m].sum(0) for m in members.values()]),
            squared_path=np.stack([self._squared_path[m].sum(0) for m in members.values()]),
            names=list(members),
            sizes=[sum(self.sizes[g] for g in m) for m in members.values()],
        )

    def moving(self) -> "TrajectoryKernel":
        """The kernel of the groups that move, as ``open_trajectory(…, exclude="constant")`` would
        give it: without masks, position tables, frozen layers. ValueError where nothing moves.

        >>> import numpy as np
        >>> mask, weight = np.diag([9.0, 0, 0]), np.eye(3)
        >>> TrajectoryKernel([mask, weight], names=["mask", "weight"]).moving().names
        ('weight',)
        """
        moving = np.flatnonzero(self._squared_path[:, 1:].any(1))
        if not len(moving):
            raise ValueError("no group ever moves: the checkpoints are identical")
        kernel = self._of_groups(moving)
        kernel.source["constant"] = self.source.get("constant", {}) | {"left_out": True}
        return kernel

    def groups(self) -> dict[str, "TrajectoryKernel"]:
        """A dict from the name of each group to its own kernel."""
        return {
            name: self._with(
                increments=self.increments[g : g + 1],
                squared_path=self._squared_path[g : g + 1],
                names=[name],
                sizes=[self.sizes[g]],
            )
            for g, name in enumerate(self.names)
        }

    def _of_groups(self, chosen):
        return self._with(
            increments=self.increments[chosen],
            squared_path=self._squared_path[chosen],
            names=[self.names[g] for g in chosen],
            sizes=[self.sizes[g] for g in chosen],
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

    def _with(self, **changed: Any) -> "TrajectoryKernel":
        return TrajectoryKernel(**(self._parts() | changed))

    # ---- files ----

    def save(self, path: str | Path) -> None:
        """Write the kernel to one ``.npz`` file, in one atomic move. Nothing in it is pickled."""
        write_kernel_file(path, self._parts())


def load_kernel(path: str | Path) -> TrajectoryKernel:
    """Read a kernel that :meth:`TrajectoryKernel.save` wrote.

    Raises
    ------
    FileNotFoundError
        Where there is no such file.
    TrajectoryError
        Where the file is not a trajectory kernel, is damaged, or was written by a newer version.
    """
    return TrajectoryKernel(**read_kernel_file(path))


def clipped_cosine(inner: ArrayLike, squared: ArrayLike, other_squared: ArrayLike) -> np.ndarray:
    """The one place where cosines are clipped: rounding is hidden, anything larger stays to be
    seen.
    """
    with np.errstate(invalid="ignore"):
        cosine = inner / (np.sqrt(squared) * np.sqrt(other_squared))
        rounded = np.abs(cosine) <= 1 + _LARGEST_HIDDEN_EXCESS
    return np.where(rounded, np.clip(cosine, -1, 1), cosine)


def _captured(pattern: str, name: str) -> str | None:
    """What a pattern captures of a name, its parts joined; all that matches, where it captures
    nothing.
    """
    match = re.search(pattern, name)
    if match is None:
        return None
    return ".".join(part for part in match.groups() if part is not None) or match.group()


def _symmetric(matrix):
    """A (…) Aᵀ is symmetric up to the last bit; make it so exactly."""
    return (matrix + np.swapaxes(matrix, -1, -2)) / 2


def _listed(names, most=8):
    return ", ".join(map(repr, names[:most])) + (
        f" … ({len(names)} in all)" if len(names) > most else ""
    )


def _frozen(values: np.ndarray) -> np.ndarray:
    """The array where nobody can write to it, else a copy that nobody can write to."""
    if values.flags.writeable:
        values = values.copy()
        values.setflags(write=False)
    return values
