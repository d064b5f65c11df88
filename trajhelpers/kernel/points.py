"""What the kernels of a path and of a set have in common: points in parameter space, known by the
inner products of the differences that they are sums of.

Any difference of two points is a sum of those differences, so that every quantity is a small
quadratic form in their Gram matrix, one a parameter group (chapter "The kernel and its maps")."""

import re
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import Any, ClassVar, Self

import numpy as np
from jaxtyping import Float64, Int
from numpy.typing import ArrayLike

from ..errors import TrajectoryWarning
from ..reading.account import Text, in_words

_LARGEST_HIDDEN_EXCESS = 1e-6
_LARGEST_SILENT_ERROR = 1e-6
# A displacement this small against the increments it is made of is rounding and no direction.
NO_DISPLACEMENT = 64 * np.finfo(np.float64).eps


class PointsKernel(ABC):
    """The Gram matrices of differences, one for each parameter group, and n points that are sums of
    them; a kind of kernel says which sums, and what the points are called.
    """

    # The parameter of the constructor that takes the differences' products.
    _PRODUCTS: ClassVar[str]
    # How a warning that names points begins, and one of points that lie too close together.
    _POINTS: ClassVar[str]
    _TOO_CLOSE: ClassVar[str]

    def __init__(
        self,
        products: ArrayLike,
        names: Sequence[str] | None,
        sizes: Sequence[int] | None,
        source: dict | None,
        precision: str,
        squared_path: ArrayLike | None = None,
    ):
        products = np.asarray(products, dtype=np.float64)
        if (
            products.ndim not in (2, 3)
            or products.shape[-1] != products.shape[-2]
            or 0 in products.shape
        ):
            raise ValueError(
                f"{self._PRODUCTS}: expected shape (n, n) or (groups, n, n), got {products.shape}"
            )
        self._products = _frozen(products[None] if products.ndim == 2 else products)
        count = len(self._products)
        self.names = ("all",) if names is None else tuple(names)
        self.sizes = (0,) * count if sizes is None else tuple(int(size) for size in sizes)
        self.source = dict(source or {})
        self.precision = precision
        self._check_count("names", self.names, count)
        self._check_count("sizes", self.sizes, count)
        if len(set(self.names)) < count:
            raise ValueError(f"names: two groups share a name in {self.names}")
        if precision not in ("float64", "float32"):
            raise ValueError(f"precision: expected 'float64' or 'float32', got {precision!r}")
        # Summed once: everything below asks for it, and groups may be hundreds.
        self._total = _frozen(self._products.sum(0))
        self._squared_path = _frozen(
            np.einsum("gss->gs", self._products)
            if squared_path is None
            else np.asarray(squared_path, dtype=np.float64)
        )
        self._squared_path_total = self._squared_path.sum(0)

    def _check_count(self, what: str, values: Any, expected: int) -> None:
        if len(values) != expected:
            raise ValueError(
                f"{what}: expected {expected} values for {self._PRODUCTS} of shape"
                f" {self._products.shape}, got {len(values)}"
            )

    @abstractmethod
    def _parts(self) -> dict[str, Any]:
        """What this kernel would be made of, by the names of the parameters."""

    @abstractmethod
    def _by_group(self) -> dict[str, Float64[np.ndarray, "groups ..."]]:
        """Those parameters that have a row a group, but for names and sizes."""

    @abstractmethod
    def _sums(
        self, first: Int[np.ndarray, "..."] | None, last: Int[np.ndarray, "..."]
    ) -> Float64[np.ndarray, "*pairs n"]:
        """Coefficients of the differences in the way from ``first``, None for O, to ``last``,
        indices of points.
        """

    @abstractmethod
    def _indices(self, point: Any) -> Int[np.ndarray, "..."]:
        """Of points, as users name them."""

    @abstractmethod
    def _start(self, origin: Any) -> Int[np.ndarray, "..."] | None:
        """As `_indices`, of where something is seen from; None for O."""

    @abstractmethod
    def _called(self, indices: Any) -> str:
        """What warnings call points."""

    def _with(self, **changed: Any) -> Self:
        return type(self)(**(self._parts() | changed))

    @property
    def n(self) -> int:
        """Number of points."""
        return self._products.shape[1]

    @property
    def p(self) -> int:
        """Number of parameters."""
        return sum(self.sizes)

    @property
    def total(self) -> Float64[np.ndarray, "n n"]:
        """The differences' Gram matrix over all parameters."""
        return self._total

    def __len__(self) -> int:
        return self.n

    def summary(self) -> str:
        """What was counted when the kernel was made, and what was not: that of
        :meth:`trajhelpers.Trajectory.summary`, and what never moves.
        """
        return Text(f"{self!r}\n{in_words(self.source)}".rstrip())

    # ---- maps ----

    def _cosine(self, inner, path):
        squared = np.diag(inner)
        self._warn_of_rounding(path, squared)
        return clipped_cosine(inner, squared[:, None], squared[None, :])

    def _length(self, rows):
        squared, _ = self._squared(rows)
        return np.sqrt(np.maximum(squared, 0))

    def _cosine_between(self, a, b):
        squares = []
        for rows in (a, b):
            squared, made_of = self._squared(rows)
            squared = np.where(squared > NO_DISPLACEMENT * made_of, squared, np.nan)
            self._warn_of_rounding(made_of, squared)
            squares.append(squared)
        inner = np.einsum("...i,...i->...", a @ self.total, b)
        return clipped_cosine(inner, *squares)

    def _squared(self, rows):
        """Squared lengths of displacements, and the sums of the squared differences that they are
        made of.
        """
        squared = np.einsum("...i,...i->...", rows @ self.total, rows)
        return squared, np.abs(rows) @ self._squared_path_total

    def _moved(self, origin):
        """Which points have a direction from the origin, and the displacements of all."""
        rows = self._sums(self._start(origin), np.arange(self.n))
        squared, made_of = self._squared(rows)
        return squared > NO_DISPLACEMENT * made_of, rows

    def _seen_from(self, origin):
        moved, rows = self._moved(origin)
        lost = ~moved
        start = self._start(origin)
        if start is not None:
            lost[start] = False
        if lost.any():
            where = (
                "are zero"
                if start is None
                else f"equal the origin ({self._called([start])}), or come too close to tell,"
            )
            warnings.warn(
                f"{self._POINTS}{self._called(np.flatnonzero(lost))} {where} and have no direction:"
                " left out of the map",
                TrajectoryWarning,
                stacklevel=4,
            )
        rows = rows[moved]
        return symmetric(rows @ self.total @ rows.T), np.abs(rows) @ self._squared_path_total

    def _warn_of_rounding(self, made_of, squared):
        """An inner product of differences carries a relative error of about eps, independent of the
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
                f"{self._TOO_CLOSE} that rounding in {self.precision} changes cosines by about"
                f" {min(worst, 1):.0e}{remedy}",
                TrajectoryWarning,
                stacklevel=5,
            )

    # ---- parts ----

    def select(self, patterns: str | Sequence[str]) -> Self:
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

    def group_by(self, key: str | Callable[[str], str | None]) -> Self:
        """Merge groups: those for which ``key`` gives the same name become one.

        Parameters
        ----------
        key : str or callable
            A regular expression, searched in the group's name; its captured parts, joined by ".",
            name the new group (the whole match where it captures nothing). Or a function from the
            group's name to the new name. Groups without a match (or with None) become the group
            "other", so that the total stays what it was.

        >>> import numpy as np
        >>> from trajhelpers import TrajectoryKernel
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
            names=list(members),
            sizes=[sum(self.sizes[g] for g in m) for m in members.values()],
            **{
                part: np.stack([values[m].sum(0) for m in members.values()])
                for part, values in self._by_group().items()
            },
        )

    def moving(self) -> Self:
        """The kernel of the groups that move, as ``exclude="constant"`` would give it: without
        masks, position tables, frozen layers. ValueError where nothing moves.

        >>> import numpy as np
        >>> from trajhelpers import TrajectoryKernel
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

    def _of_groups(self, chosen):
        return self._with(
            names=[self.names[g] for g in chosen],
            sizes=[self.sizes[g] for g in chosen],
            **{part: values[chosen] for part, values in self._by_group().items()},
        )

    def groups(self) -> dict[str, Self]:
        """A dict from the name of each group to its own kernel."""
        return {
            name: self._with(
                names=[name],
                sizes=[self.sizes[g]],
                **{part: values[g : g + 1] for part, values in self._by_group().items()},
            )
            for g, name in enumerate(self.names)
        }


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


def symmetric(matrix):
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
