"""What the kernels of a path and of a set have in common: points in parameter space, known by the
inner products of the differences that they are sums of.

Any difference of two points is a sum of those differences, so that every quantity is a small
quadratic form in their Gram matrix, one a parameter group (chapter "The kernel and its maps")."""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
from jaxtyping import Bool, Float64, Int
from numpy.typing import ArrayLike

from ..links import O, outwards, rows_between, shortest_links, ways
from ..reading.account import Text, in_words
from ..telling import warn
from .exact_sums import PointProducts
from .rounding import LARGEST_SILENT, cosine_bound, estimate, relative_error
from .sampled import Replicate, Sample, standard_error
from .scale import in_range

_LARGEST_HIDDEN_EXCESS = 1e-6
# Numbers of several groups' products that are looked at together.
_AT_ONCE = 1 << 20


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
        squared_path: ArrayLike | None,
        links: ArrayLike,
        exponent: int,
        sample: Sample | None,
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
        products = products[None] if products.ndim == 2 else products
        squared = None if squared_path is None else np.asarray(squared_path, dtype=np.float64)
        products, squared, self._exponent = in_range(products, squared, exponent)
        if sample is not None and self._exponent != exponent:
            shift = 2 * (exponent - self._exponent)
            sample = sample.with_products(np.ldexp(sample.products, shift))
        self._sample = sample
        self._products = _frozen(products)
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
        self._links = np.asarray(links)
        self._check_count("links", self._links, self.n)
        outwards(self._links)
        # Summed once: everything below asks for it, and groups may be hundreds.
        self._sum = _frozen(self._products.sum(0))
        self._squared_path = np.einsum("gss->gs", self._products) if squared is None else squared
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
    def _usual_links(self) -> Int[np.ndarray, " n"]:
        """From which point each row is measured where nothing else is said."""

    @abstractmethod
    def _indices(self, point: Any) -> Int[np.ndarray, "..."]:
        """Of points, as users name them."""

    @abstractmethod
    def _start(self, origin: Any) -> Int[np.ndarray, "..."]:
        """As `_indices`, of where something is seen from; −1 for O."""

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
    def sample(self) -> Sample | None:
        """What this kernel is an estimate from (``th.gram(…, sample=…)``); None where it is exact,
        but for rounding.
        """
        return self._sample

    def _of_how_much(self):
        """For what shows a kernel: nothing where it is exact."""
        return f"; a sample, {self._sample.in_words(self.p)}" if self._sample else ""

    @property
    def too_close(self) -> str:
        """What warnings say where rounding matters."""
        return self._TOO_CLOSE

    @property
    def links(self) -> Int[np.ndarray, " n"]:
        """From which point each row is measured, −1 for O."""
        return self._links

    @property
    def rows(self) -> tuple[Float64[np.ndarray, "groups n n"], int]:
        """The products of the rows as they are kept, along `links` and in units of 2^exponent,
        squared, and that exponent.
        """
        return self._products, self._exponent

    @property
    def squared_ways(self) -> Float64[np.ndarray, "groups n"]:
        """Of each of these rows, in the same units, the squared length of the way that it is the
        sum of.
        """
        return self._squared_path

    @property
    def unmoved(self) -> Bool[np.ndarray, " n"]:
        """Which points are, to the last bit, where they are measured from."""
        return np.logical_not(self._squared_path.any(0))

    def indistinct(self) -> list[tuple[int, int]]:
        """Pairs of indices of points between which rounding leaves nothing: t the next one after s
        that is so.
        """
        squared, rounding = self._points.squared_distances(), self._rounding_of(self._ways)
        equal = np.triu((squared <= rounding)[:-1, :-1], 1)
        again = np.flatnonzero(equal.any(1))
        return list(zip(again.tolist(), np.argmax(equal[again], axis=1).tolist()))

    @property
    def p(self) -> int:
        """Number of parameters."""
        return sum(self.sizes)

    @property
    def total(self) -> Float64[np.ndarray, "n n"]:
        """The differences' Gram matrix over all parameters."""
        return self._usual_total

    @cached_property
    def _usual_total(self) -> Float64[np.ndarray, "n n"]:
        if not self._is_usual:
            return _frozen(self._usual_products.sum(0))
        return _frozen(self._scaled(self._sum, 2)) if self._exponent else self._sum

    @cached_property
    def _usual_products(self) -> Float64[np.ndarray, "groups n n"]:
        """Of the rows that one expects, whichever there are."""
        if not self._is_usual:
            usual = self._usual_links()
            return _frozen(self._scaled(self._products_of(usual, np.arange(self.n)), 2))
        return _frozen(self._scaled(self._products, 2)) if self._exponent else self._products

    @property
    def _is_usual(self):
        return np.array_equal(self._links, self._usual_links())

    def _scaled(self, values, power):
        """From the units of the products to those of the parameters, to some power."""
        if not self._exponent:
            return values
        with np.errstate(over="ignore", under="ignore"):
            return np.ldexp(values, power * self._exponent)

    def __len__(self) -> int:
        return self.n

    def summary(self) -> str:
        """What was counted when the kernel was made, and what was not: that of
        :meth:`trajhelpers.Trajectory.summary`, and what never moves. Of a sample, how much it is.
        """
        return Text(f"{self!r}\n{self._drawn_in_words()}{in_words(self.source)}".rstrip())

    def _drawn_in_words(self):
        if self._sample is None:
            return ""
        return (
            f"a sample, {self._sample.in_words(self.p)}: {self._sample.drawn.sum():,} of"
            f" {self._sample.blocks.sum():,} blocks of {self._sample.block:,} numbers, seed"
            f" {self._sample.seed}; kernel.standard_error(…) of what is made of it\n"
        )

    # ---- maps ----

    @cached_property
    def _points(self) -> PointProducts:
        return PointProducts(self._sum, self._links)

    @cached_property
    def _ways(self) -> Float64[np.ndarray, "n+1 n+1"]:
        """The lengths of all ways along the rows, from and to O with index −1."""
        return ways(np.sqrt(self._squared_path_total), self._links)

    @cached_property
    def _made_of(self) -> Float64[np.ndarray, "n+1 n+1"]:
        """The sums of squared lengths of the rows of all ways."""
        return ways(self._squared_path_total, self._links)

    @property
    def _relative_error(self) -> float:
        """Of a product of two rows, relative to their lengths."""
        return relative_error(self.p, self.precision)

    def _squared(self, first, last):
        """Squared distances; NaN where rounding of float64 leaves nothing of them. (Of what that of
        float32 leaves, a warning tells.)
        """
        squared = np.asarray(self._points(first, last, first, last))
        return np.where(squared > self._rounding_of(self._ways[first, last]), squared, np.nan)

    def _rounding_of(self, way):
        """Of squared distances at the ends of ways."""
        return relative_error(self.p, "float64") * way**2

    def _lengths(self, first, last):
        squared = np.maximum(self._points(first, last, first, last), 0)
        return self._scaled(np.sqrt(squared), 1)

    def _cosine_of(self, first, last, other_first, other_last):
        squared, other = self._squared(first, last), self._squared(other_first, other_last)
        self._warn_of_rounding(first, last, squared)
        self._warn_of_rounding(other_first, other_last, other)
        inner = self._points(first, last, other_first, other_last)
        return clipped_cosine(inner, squared, other)

    def _error_of_cosine(self, first, last, other_first, other_last):
        """What bounds the error of :meth:`_cosine_of`, NaN where that is."""
        return cosine_bound(
            self._relative_error,
            self._ways[first, last] / np.sqrt(self._squared(first, last)),
            self._ways[other_first, other_last] / np.sqrt(self._squared(other_first, other_last)),
        )

    def _error_of_length(self, first, last):
        """Of a distance, where that is told from zero: of its square, over twice itself."""
        squared = self._squared(first, last)
        error = self._relative_error * self._ways[first, last] ** 2 / (2 * np.sqrt(squared))
        zero = np.sqrt(self._relative_error) * self._ways[first, last]
        return self._scaled(np.where(np.isnan(squared), zero, error), 1)

    def _moved(self, origin):
        """Where something is seen from, and which points have a direction from there."""
        start = self._start(origin)
        return start, np.flatnonzero(~np.isnan(self._squared(start, np.arange(self.n))))

    def _seen_from(self, origin):
        start, kept = self._moved(origin)
        lost = np.setdiff1d(np.arange(self.n), [*kept, start])
        if len(lost):
            equal = "are zero" if start < 0 else f"equal the origin ({self._called([start])})"
            warn(
                f"{self._POINTS}{self._called(lost)} {equal}, or come too close to tell, and have"
                " no direction: left out of the map"
            )
        return start, kept

    def _gram_from(self, origin):
        start, kept = self._seen_from(origin)
        return self._scaled(self._points(start, kept[:, None], start, kept), 2)

    def _cosine_from(self, origin):
        start, kept = self._seen_from(origin)
        squared = self._squared(start, kept)
        self._warn_of_rounding(start, kept, squared)
        inner = self._points(start, kept[:, None], start, kept)
        return clipped_cosine(inner, squared[:, None], squared)

    def _warn_of_rounding(self, first, last, squared):
        """Of float32 a typical error is told, and early; of float64 the largest that there can
        be.
        """
        with np.errstate(invalid="ignore"):
            if self.precision == "float32":
                error = estimate(self._made_of[first, last], squared)
            else:
                way = self._ways[first, last] / np.sqrt(squared)
                error = cosine_bound(self._relative_error, way, way)
        worst = np.nanmax(np.atleast_1d(error), initial=0)
        if worst > LARGEST_SILENT[self.precision]:
            by, remedy = (
                ("about", ": compute the kernel again with precision='float64'")
                if self.precision == "float32"
                else ("up to", "; kernel.error_bound() has each")
            )
            warn(
                f"{self._TOO_CLOSE} that rounding in {self.precision} changes cosines by {by}"
                f" {min(worst, 2):.0e}{remedy}"
            )

    def error_bound(self, measure: Any = None, **arguments: Any) -> Any:
        """How far from the truth a number may be that was made of this kernel, by rounding in the
        pass and here. By nothing else: of a sample, :meth:`standard_error` says the rest.

        Parameters
        ----------
        measure : function, optional
            :func:`trajhelpers.mds`, :func:`~trajhelpers.angles` or :func:`~trajhelpers.norms`.
            Default: the map, as of :meth:`cosine`.
        **arguments
            What the measure is given: ``origin`` or ``stride``.

        Returns
        -------
        As the measure's own: an array, a float, or a dict of arrays, in the same units; NaN or
        infinity where nothing is certain.

        Notes
        -----
        A product of two rows is wrong by g times their lengths at most, with g = u (3 + √min(p,
        8192) + √(p/8192)), u = 2⁻⁵³ (2⁻²⁴ in float32): that of each block by its length, that of
        the sum by the number of blocks, with rounding errors taken as independent (Higham and Mary
        2019; six standard deviations). A difference of points, of length d, on a way of length w
        along rows, is made of products that are wrong by g w² in all, a cosine by
        ½ g (w/d + w'/d')². Sums of products are exact. Chapter "The kernel and its maps".

        >>> import numpy as np, trajhelpers as th
        >>> walk = th.random_walk(26)
        >>> bool(walk.error_bound(th.mds) < 1e-12)
        True
        """
        if measure is None:
            return self._error_of_map(**arguments)
        if not hasattr(measure, "error_bound"):
            raise ValueError(
                "measure: bounds are known of mds, angles, norms and, where none is given, the map;"
                f" got {getattr(measure, '__name__', measure)!r}"
            )
        return measure.error_bound(self, **arguments)

    def standard_error(self, measure: Callable[..., Any], **arguments: Any) -> Any:
        """The standard error, by sampling, of what is made of this kernel.

        Parameters
        ----------
        measure : function
            Of a kernel, that gives a number, an array, or a dict of them:
            :func:`trajhelpers.mds`, :func:`~trajhelpers.angles`, ``lambda kernel:
            kernel.cosine()``.
        **arguments
            What the measure is given besides: ``origin`` or ``stride``.

        Returns
        -------
        As the measure's own, in the same units. Zeros of an exact kernel, which has no sampling
        error; that of rounding is :meth:`error_bound`. NaN where the measure is NaN.

        Raises
        ------
        ValueError
            Where the measure's shape depends on which blocks were drawn.
        TypeError
            Where it gives no numbers.

        Notes
        -----
        The delete-one jackknife in strata: of the M_h blocks of group h, m_h were drawn, in cells c
        of n_c blocks (one, where there is room). f₍hc₎ is the measure of the kernel without cell c,
        the rest of its group scaled up, and f that of the whole sample:

        s² = Σ_h (1 − m_h/M_h) a_h Σ_c ((m_h − n_c)/m_h)² (f₍hc₎ − f)²,
        a_h = m_h / (m_h − Σ_c n_c²/m_h),

        with one block a cell (1 − m_h/M_h) (m_h − 1)/m_h Σ (f₍hc₎ − f)² (Wolter, Introduction to
        Variance Estimation, 2007, section 4.5). Without bias for sums, to first order for smooth
        functions of them. f ± 1.96 s covered the truth in 86 to 98 % of draws of a hundred blocks
        or more, of two runs that were measured; of two blocks of each group in some 70 %, and so
        for one group of which few are read. What a few blocks decide, outliers that move alone, no
        sample sees unless they are in it, nor does s.

        >>> import numpy as np, trajhelpers as th
        >>> walk = np.cumsum(np.random.default_rng(0).standard_normal((5, 10_000)), axis=0)
        >>> run = th.open_trajectory([{"w": theta} for theta in walk])
        >>> preview, exact = th.gram(run, sample=0.1), th.gram(run)
        >>> error = preview.standard_error(th.mds)
        >>> bool(abs(th.mds(preview) - th.mds(exact)) < 3 * error), bool(error < 0.01)
        (True, True)
        >>> exact.standard_error(th.mds)
        0.0
        """
        return standard_error(self, self._sample, self._replicated, measure, arguments)

    def _replicated(self, replicate: Replicate) -> Self:
        products = self._products.copy()
        products[replicate.group] += replicate.change
        products.setflags(write=False)
        return self._with(**{self._PRODUCTS: products, "sample": None})

    def _error_of_map(self, origin=None):
        start, kept = self._moved(origin)
        bound = self._error_of_cosine(start, kept[:, None], start, kept)
        np.fill_diagonal(bound, 0)
        return bound

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
            sample=self._sample_of(list(members.values())),
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
        constant = self.constant
        moving = [g for g, name in enumerate(self.names) if name not in constant]
        if not moving:
            raise ValueError("no group ever moves: the checkpoints are identical")
        kernel = self._of_groups(moving)
        kernel.source["constant"] = self.source.get("constant", {}) | {"left_out": True}
        return kernel

    def _links_among(self, taken):
        """For some of the points by themselves: the usual ones, or the shortest."""
        if self._is_usual:
            return self._usual_links()[: len(taken)]
        both = np.append(taken, O)
        return shortest_links(self._points.squared_distances()[np.ix_(both, both)])

    def _products_of(self, first, last):
        """Of differences of points, one matrix a group, in units of 2^exponent."""
        return self._between(self._products, first, last)

    def _sample_between(self, first, last):
        """That of differences of points."""
        if self._sample is None:
            return None
        return self._sample.with_products(self._between(self._sample.products, first, last))

    def _between(self, products, first, last):
        pairs = first[:, None], last[:, None], first, last
        together = max(1, _AT_ONCE // self.n**2)
        several = range(0, len(products), together)
        return np.concatenate(
            [PointProducts(products[at : at + together], self._links)(*pairs) for at in several]
        )

    def _squared_ways(self, first, last):
        """Of differences of points, a row a group, the squared lengths of their ways."""
        return (np.sqrt(self._squared_path) @ rows_between(first, last, self._links).T) ** 2

    @property
    def constant(self) -> dict[str, float]:
        """The groups that never move, each with its ‖θ‖², in squared parameter units."""
        linked = self._links >= 0
        still = np.flatnonzero(~self._squared_path[:, linked].any(1))
        squares = self._scaled(self._squared_path[still][:, ~linked].max(1), 2)
        return {self.names[g]: float(squared) for g, squared in zip(still, squares)}

    def _of_groups(self, chosen):
        return self._with(
            names=[self.names[g] for g in chosen],
            sizes=[self.sizes[g] for g in chosen],
            sample=self._sample_of([[g] for g in chosen]),
            **{part: values[chosen] for part, values in self._by_group().items()},
        )

    def _sample_of(self, members):
        """Of a kernel whose groups are made of these, by index."""
        if self._sample is None:
            return None
        new = {g: index for index, of_one in enumerate(members) for g in of_one}
        return self._sample.of_groups([new.get(g) for g in range(len(self.names))])

    def groups(self) -> dict[str, Self]:
        """A dict from the name of each group to its own kernel."""
        return {
            name: self._with(
                names=[name],
                sizes=[self.sizes[g]],
                sample=self._sample_of([[g]]),
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
