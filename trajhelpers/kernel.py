"""The trajectory kernel: everything the hallmarks need, in one n × n matrix a parameter group.

What is stored is the Gram matrix of *increments*, U[s, t] = ⟨δ_s, δ_t⟩ with δ_0 = θ_0 and δ_t = θ_t
− θ_{t−1}. Any difference of two checkpoints is a sum of increments, so every quantity of the paper
is a small quadratic form in U, and none is the small difference of two large numbers (chapter "The
kernel and its maps")."""

import json
import re
import warnings
import zipfile
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np

from .atomic import atomic_path
from .errors import TrajectoryError, TrajectoryWarning
from .version import __version__

_FORMAT = 1
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
        Where the checkpoints came from; saved with the kernel and read by nothing.
    precision : {"float64", "float32"}
        Of the products, which says when rounding begins to matter.

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
        increments,
        steps=None,
        names=None,
        sizes=None,
        runs=None,
        source=None,
        precision="float64",
        *,
        _squared_path=None,
    ):
        increments = np.asarray(increments, dtype=np.float64)
        self.increments = increments[None] if increments.ndim == 2 else increments
        if (
            self.increments.ndim != 3
            or self.increments.shape[1] != self.increments.shape[2]
            or 0 in self.increments.shape
        ):
            raise ValueError(
                f"increments: expected shape (n, n) or (groups, n, n), got {increments.shape}"
            )
        count, n = self.increments.shape[:2]
        self.steps = np.arange(n) if steps is None else np.asarray(steps)
        self.names = ("all",) if names is None else tuple(names)
        self.sizes = (0,) * count if sizes is None else tuple(int(size) for size in sizes)
        self.runs = ("",) * n if runs is None else tuple(runs)
        self.source = dict(source or {})
        self.precision = precision
        for what, values, expected in [
            ("steps", self.steps, n),
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
        # Slicing sums increments, and their rounding errors with them: what each new increment was
        # made of is kept.
        self._squared_path = (
            np.einsum("gss->gs", self.increments) if _squared_path is None else _squared_path
        )

    n = property(lambda self: self.increments.shape[1], doc="Number of checkpoints.")
    p = property(lambda self: sum(self.sizes), doc="Number of parameters.")
    total = property(
        lambda self: self.increments.sum(0),
        doc="The increments' Gram matrix over all parameters, shape (n, n).",
    )

    def __len__(self):
        return self.n

    def __repr__(self):
        return (
            f"TrajectoryKernel({self.n} checkpoints, steps {self.steps[0]} … {self.steps[-1]},"
            f" {self.p:,} parameters in {len(self.names)} group{'s'[: len(self.names) > 1]})"
        )

    # ---- maps ----

    def gram(self, origin=None):
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

    def cosine(self, origin=None):
        """C, the Trajectory Map, or C_τ, the Relative Trajectory Map: cosines between checkpoints
        seen from ``origin``.

        Parameters, shapes and rows left out are those of :meth:`gram`. Section 2 of the paper;
        chapter 2 of the book.

        >>> import numpy as np
        >>> walk = TrajectoryKernel(np.eye(3))         # with right angles
        >>> walk.cosine(origin=0).round(3)             # seen from its start
        array([[1.   , 0.707],
               [0.707, 1.   ]])
        """
        inner, path = self._seen_from(origin)
        squared = np.diag(inner)
        self._warn_of_rounding(path, squared)
        return _cosine(inner, squared[:, None], squared[None, :])

    def kept(self, origin=None):
        """Indices of the checkpoints that have a row in ``gram(origin)`` and ``cosine(origin)``."""
        return np.flatnonzero(self._moved(origin)[0])

    def distance(self, start, end):
        """‖θ_end − θ_start‖ for arrays of checkpoint indices of one shape; ``start=None`` measures
        from O.
        """
        start, end, rows = self._displacements(start, end)
        squared, _ = self._squared(rows)
        return np.sqrt(np.maximum(squared, 0)).reshape(end.shape)

    def cosine_between(self, start, end, other_start, other_end):
        """Cosine of the angle between θ_end − θ_start and θ_other_end − θ_other_start, for arrays
        of checkpoint indices.

        A start of None stands for O. NaN where one of the two vectors is zero.

        >>> import numpy as np
        >>> walk = TrajectoryKernel(np.eye(4))
        >>> walk.cosine_between(0, [1, 2, 3], 0, 3).round(3)     # progress against the whole way
        array([0.577, 0.816, 1.   ])
        """
        start, end, a = self._displacements(start, end)
        other_start, other_end, b = self._displacements(other_start, other_end)
        shape = np.broadcast_shapes(end.shape, other_end.shape)
        squares = []
        for rows in (a, b):
            squared, made_of = self._squared(rows)
            squared[squared <= _NO_DISPLACEMENT * made_of] = np.nan
            self._warn_of_rounding(made_of, squared)
            squares.append(squared)
        inner = np.einsum("ij,ij->i", *np.broadcast_arrays(a @ self.total, b))
        return _cosine(inner, *squares).reshape(shape)

    def identical(self):
        """Pairs of indices (s, t) of checkpoints that are equal up to rounding: t the next one
        after s that equals it.

        >>> import numpy as np
        >>> delta = np.array([[1.0, 0], [0, 1], [0, -1], [0, 0]])     # there, back, no further
        >>> TrajectoryKernel(delta @ delta.T).identical()
        [(0, 2), (2, 3)]
        """
        total = self.total
        made_of = _NO_DISPLACEMENT * np.cumsum(self._squared_path.sum(0))
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

    def _displacements(self, start, end):
        """Coefficients of δ_0 … δ_{n−1} in θ_end − θ_start, one row a pair."""
        start = np.asarray(-1 if start is None else self._indices(start))
        start, end = np.broadcast_arrays(start, self._indices(end))
        column = np.arange(self.n)
        upto_end, upto_start = column <= end.reshape(-1, 1), column <= start.reshape(-1, 1)
        return start, end, upto_end.astype(float) - upto_start

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
        return np.einsum("ij,ij->i", rows @ self.total, rows), np.abs(
            rows
        ) @ self._squared_path.sum(0)

    def _moved(self, origin):
        """Which checkpoints have a direction from the origin, and the displacements of all."""
        _, _, rows = self._displacements(origin, np.arange(self.n))
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
        return _symmetric(rows @ self.total @ rows.T), np.abs(rows) @ self._squared_path.sum(0)

    def _warn_of_rounding(self, made_of, squared):
        """An inner product of increments carries a relative error of about eps, independent of the
        others: errors add as squares.
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            error = np.finfo(self.precision).eps / 2 * made_of / squared
        worst = np.nanmax(error, initial=0)
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

    def __getitem__(self, index):
        """The kernel of some of the checkpoints, as if it had been computed from those alone.

        ``index`` is a slice, a boolean mask or a list of strictly increasing indices.

        >>> import numpy as np
        >>> walk = TrajectoryKernel(np.eye(5))
        >>> walk[::2].total        # every second point: steps twice as long, squared
        array([[1., 0., 0.],
               [0., 2., 0.],
               [0., 0., 2.]])
        """
        if isinstance(index, (int, np.integer)):
            raise TypeError(
                f"kernel[{index}] is one checkpoint, which has no kernel: use a slice or a list of"
                " indices"
            )
        index = (
            np.arange(self.n)[index]
            if isinstance(index, slice) or np.asarray(index).dtype == bool
            else self._indices(index)
        )
        if len(index) == 0 or np.any(np.diff(index) <= 0):
            raise ValueError(
                "checkpoints must be taken in increasing order, at least one of them; got indices"
                f" {index.tolist()}"
            )
        _, _, rows = self._displacements(np.concatenate([[0], index[:-1]]), index)
        rows[0] = np.arange(self.n) <= index[0]
        return self._with(
            increments=_symmetric(rows @ self.increments @ rows.T),
            _squared_path=self._squared_path @ rows.T,
            steps=self.steps[index],
            runs=[self.runs[i] for i in index],
        )

    def select(self, patterns):
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
        return self._with(
            increments=self.increments[chosen],
            _squared_path=self._squared_path[chosen],
            names=[self.names[g] for g in chosen],
            sizes=[self.sizes[g] for g in chosen],
        )

    def group_by(self, key):
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

        def searched(name):
            match = re.search(key, name)
            return match and (
                ".".join(part for part in match.groups() if part is not None) or match.group()
            )

        members = {}
        for g, name in enumerate(self.names):
            new = key(name) if callable(key) else searched(name)
            members.setdefault("other" if new is None else str(new), []).append(g)
        return self._with(
            increments=np.stack([self.increments[m].sum(0) for m in members.values()]),
            _squared_path=np.stack([self._squared_path[m].sum(0) for m in members.values()]),
            names=list(members),
            sizes=[sum(self.sizes[g] for g in m) for m in members.values()],
        )

    def groups(self):
        """A dict from the name of each group to its own kernel."""
        return {
            name: self._with(
                increments=self.increments[g : g + 1],
                _squared_path=self._squared_path[g : g + 1],
                names=[name],
                sizes=[self.sizes[g]],
            )
            for g, name in enumerate(self.names)
        }

    def _with(self, **changed):
        same = {
            key: getattr(self, key)
            for key in (
                "increments",
                "steps",
                "names",
                "sizes",
                "runs",
                "source",
                "precision",
                "_squared_path",
            )
        }
        return TrajectoryKernel(**(same | changed))

    # ---- files ----

    def save(self, path):
        """Write the kernel to one ``.npz`` file, in one atomic move. Nothing in it is pickled."""
        upper = np.triu_indices(self.n)
        about = {
            "format": _FORMAT,
            "version": __version__,
            "precision": self.precision,
            "p": self.p,
            "source": self.source,
        }
        with atomic_path(path) as temporary, open(temporary, "wb") as file:
            np.savez_compressed(
                file,
                increments=self.increments[:, upper[0], upper[1]],
                squared_path=self._squared_path,
                steps=self.steps,
                runs=np.array(self.runs),
                names=np.array(self.names),
                sizes=np.array(self.sizes),
                about=np.array(json.dumps(about)),
            )


def load_kernel(path):
    """Read a kernel that :meth:`TrajectoryKernel.save` wrote.

    Raises
    ------
    FileNotFoundError
        Where there is no such file.
    TrajectoryError
        Where the file is not a trajectory kernel, is damaged, or was written by a newer version.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such file; `trajhelpers gram SOURCE -o {path}` writes one"
        )
    try:
        with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
            stored = {
                key: file[key]
                for key in (
                    "increments",
                    "squared_path",
                    "steps",
                    "runs",
                    "names",
                    "sizes",
                    "about",
                )
            }
        about = json.loads(str(stored["about"]))
        newer = about["format"] > _FORMAT
    except (
        OSError,
        EOFError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        zipfile.BadZipFile,
    ) as error:
        raise TrajectoryError(
            f"{path}: not a trajectory kernel, or damaged ({error}); compute it again with"
            " `trajhelpers gram`"
        ) from error
    if newer:
        raise TrajectoryError(
            f"{path}: written by trajhelpers {about['version']}, in a newer format than this"
            " version reads; upgrade trajhelpers"
        )
    n, count = len(stored["steps"]), len(stored["names"])
    if stored["increments"].shape != (count, n * (n + 1) // 2):
        raise TrajectoryError(
            f"{path}: damaged, its increments have shape {stored['increments'].shape} for {count}"
            f" groups of {n} checkpoints; compute it again"
        )
    rows, columns = np.triu_indices(n)
    increments = np.empty((count, n, n))
    increments[:, rows, columns] = increments[:, columns, rows] = stored["increments"]
    return TrajectoryKernel(
        increments,
        stored["steps"],
        stored["names"].tolist(),
        stored["sizes"],
        stored["runs"].tolist(),
        about["source"],
        about["precision"],
        _squared_path=stored["squared_path"],
    )


def _cosine(inner, squared, other_squared):
    """The one place where cosines are clipped: rounding is hidden, anything larger stays to be
    seen.
    """
    with np.errstate(invalid="ignore"):
        cosine = inner / (np.sqrt(squared) * np.sqrt(other_squared))
        rounded = np.abs(cosine) <= 1 + _LARGEST_HIDDEN_EXCESS
    return np.where(rounded, np.clip(cosine, -1, 1), cosine)


def _symmetric(matrix):
    """A (…) Aᵀ is symmetric up to the last bit; make it so exactly."""
    return (matrix + np.swapaxes(matrix, -1, -2)) / 2


def _listed(names, most=8):
    return ", ".join(map(repr, names[:most])) + (
        f" … ({len(names)} in all)" if len(names) > most else ""
    )
