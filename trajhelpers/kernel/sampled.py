"""What a kernel remembers that is an estimate: the sample of blocks of columns that it was made
of, in replicates, from which the sampling error of whatever is made of it follows.

In a stratum, which is a group as the pass had it, m of M blocks were drawn without replacement. The
products P_j of blocks are kept by *cells* of one or more of them; the stratum's Gram matrix is
estimated as U = (M/m) Σ P_j, without bias."""

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Float64, Int

from ..errors import TrajectoryWarning
from ..reading.account import percent

if TYPE_CHECKING:
    from .points import PointsKernel


class Replicate(NamedTuple):
    """The kernel as it would be without one cell: by how much a group's products change, and the
    weight of what follows from that, squared, in the variance.
    """

    group: int
    change: Float64[np.ndarray, "n n"]
    weight: float


@dataclass(frozen=True, eq=False)
class Sample:
    """Which share of the parameters a kernel is made of.

    Attributes
    ----------
    seed, block : int
        Of the order in which blocks were drawn, and how many numbers each has, up to one.
    group, blocks, drawn, numbers : arrays of int, one a stratum
        The kernel's group that it is part of; M, m, and how many numbers were read.
    stratum, counts : arrays of int, one a cell
        The stratum that it is part of, and of how many blocks it is the sum. A stratum of which all
        is read has no cells.
    products : array, shape (cells, n, n)
        Those sums, in the units of the kernel.
    """

    seed: int
    block: int
    group: Int[np.ndarray, " strata"]
    blocks: Int[np.ndarray, " strata"]
    drawn: Int[np.ndarray, " strata"]
    numbers: Int[np.ndarray, " strata"]
    stratum: Int[np.ndarray, " cells"]
    counts: Int[np.ndarray, " cells"]
    products: Float64[np.ndarray, "cells n n"]

    def in_words(self, p: int) -> str:
        """
        >>> none = np.zeros(0, int)
        >>> Sample(0, 10, *np.array([[0], [99], [2], [20]]), none, none, np.empty((0, 1, 1))
        ... ).in_words(990)
        'from 2 % of the parameters'
        """
        return f"from {percent(int(self.numbers.sum()) / p)} of the parameters"

    def facts(self, p: int) -> dict[str, Any]:
        """For JSON."""
        return {
            "fraction": int(self.numbers.sum()) / p,
            "drawn": int(self.drawn.sum()),
            "blocks": int(self.blocks.sum()),
            "numbers_of_a_block": self.block,
            "seed": self.seed,
        }

    def of_groups(self, new: Sequence[int | None]) -> "Sample | None":
        """That of a kernel whose groups are others: for each of this one's, in which it is then.
        None where that kernel is exact.
        """
        group = np.array([-1 if new[old] is None else new[old] for old in self.group], int)
        kept = np.flatnonzero(group >= 0)
        cells = np.isin(self.stratum, kept)
        if not cells.any():
            return None
        return replace(
            self,
            group=group[kept],
            blocks=self.blocks[kept],
            drawn=self.drawn[kept],
            numbers=self.numbers[kept],
            stratum=np.searchsorted(kept, self.stratum[cells]),
            counts=self.counts[cells],
            products=self.products[cells],
        )

    def with_products(self, products: Float64[np.ndarray, "cells n n"]) -> "Sample":
        """That of a kernel of other points, or in other units."""
        return replace(self, products=products)

    def replicates(self) -> Iterator[Replicate]:
        """Each cell left out once, and the others of its stratum scaled up for it."""
        for stratum in np.unique(self.stratum):
            cells = np.flatnonzero(self.stratum == stratum)
            blocks, m = int(self.blocks[stratum]), int(self.drawn[stratum])
            counts, sums = self.counts[cells], self.products[cells]
            whole = sums.sum(0)
            # With one block a cell (1 − m/M) (m − 1)/m, the jackknife's; cells of unequal counts
            # are weighted so that the variance of a sum is without bias.
            weight = (1 - m / blocks) * m / (m - float((counts**2).sum()) / m)
            for count, one in zip(counts.tolist(), sums):
                change = blocks / (m - count) * (count / m * whole - one)
                yield Replicate(int(self.group[stratum]), change, weight * ((m - count) / m) ** 2)


class Summed(NamedTuple):
    """What a pass has added up for a kernel, for another one to go on from.

    ``cells``: by the group's name and the number of the cell, in units of 2^exponent; a group that
    is whole is its cell 0. ``drawn``: of each group, how many blocks.
    """

    cells: dict[tuple[str, int], Float64[np.ndarray, "n n"]]
    drawn: dict[str, int]
    exponent: int


def summed(kernel: "PointsKernel", sample: Sample) -> Summed:
    """Of a kernel whose groups are those of the pass."""
    cells = {}
    for stratum, name in enumerate(kernel.names):
        found = sample.products[sample.stratum == stratum]
        if not len(found):
            found = kernel._products[[stratum]]
        cells |= {(name, cell): one for cell, one in enumerate(found)}
    return Summed(cells, dict(zip(kernel.names, sample.drawn.tolist())), kernel._exponent)


def standard_error(
    kernel: "PointsKernel",
    sample: Sample | None,
    replicated: Callable[[Replicate], "PointsKernel"],
    measure: Callable[..., Any],
    arguments: dict[str, Any],
) -> Any:
    """As :meth:`trajhelpers.TrajectoryKernel.standard_error` has it."""
    found = measure(kernel, **arguments)
    shapes, values = _flat(found)
    variance = np.zeros_like(values)
    for replicate in sample.replicates() if sample else ():
        with warnings.catch_warnings():
            # What there is to be warned of, the kernel itself has warned of.
            warnings.simplefilter("ignore", TrajectoryWarning)
            others, other = _flat(measure(replicated(replicate), **arguments))
        if others != shapes:
            raise ValueError(
                "measure: gives arrays of another shape without some of the sampled blocks, as"
                " where points come too close to have a direction; ask for less of it, or take a"
                " larger sample"
            )
        with np.errstate(invalid="ignore"):
            variance += replicate.weight * (other - values) ** 2
    return _shaped(found, iter(np.sqrt(variance)))


def with_error(value: float, error: float) -> str:
    """To the digit in which the error begins, or the next where it begins with a 1.

    >>> with_error(0.90612, 0.0031), with_error(61.34, 1.26), with_error(0.5, 0.0)
    ('0.906 ± 0.003', '61.3 ± 1.3', '0.500 ± 0')
    """
    if not 0 < error < math.inf:
        return f"{value:.3f} ± {error:.0f}"
    begins = math.floor(math.log10(error))
    digits = max(0, (error < 2 * 10**begins) - begins)
    return f"{value:.{digits}f} ± {error:.{digits}f}"


def _flat(value: Any) -> tuple[list[tuple], Float64[np.ndarray, " numbers"]]:
    """The shapes of a number, an array, or a dict of what may be here, and all the numbers."""
    arrays = list(_arrays(value))
    shapes = [array.shape for array in arrays]
    return shapes, np.concatenate([np.zeros(0), *(array.ravel() for array in arrays)])


def _arrays(value):
    if isinstance(value, dict):
        for one in value.values():
            yield from _arrays(one)
        return
    array = np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise TypeError(
            "measure: expected a function that gives a number, an array or a dict of them, got"
            f" {array.dtype if array.dtype.kind != 'O' else type(value).__name__}"
        )
    yield array.astype(np.float64)


def _shaped(like: Any, numbers: Iterator[float]) -> Any:
    if isinstance(like, dict):
        return {name: _shaped(one, numbers) for name, one in like.items()}
    if np.ndim(like) == 0:
        return float(next(numbers))
    shape = np.shape(like)
    return np.array([next(numbers) for _ in range(int(np.prod(shape)))]).reshape(shape)
