"""Whether a kernel's cosines are certain, and along which links they would be more so."""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Int

from ..links import shortest_links
from .points import PointsKernel
from .rounding import LARGEST_SILENT, cosine_bound


def largest_error(kernel: PointsKernel, equal: Iterable[tuple[int, int]] = ()) -> float:
    """The bound on the errors of all cosines between differences of points, and of O, but for pairs
    that are known to be ``equal``; infinite where others come too close to tell.
    """
    squared, way = kernel._points.squared_distances(), kernel._ways
    same = np.eye(len(way), dtype=bool)
    for s, t in equal:
        # An equal one of an equal one is one too: pairs are in order.
        same[s] |= same[t]
        same[t] = same[s]
        same[:, [s, t]] = same[[s, t]].T
    asked = ~same & (way > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(squared > 0, way / np.sqrt(squared), np.inf)
    worst = float(ratio.max(initial=1, where=asked))
    return float(cosine_bound(kernel._relative_error, worst, worst))


def better_links(
    kernel: PointsKernel, equal: Iterable[tuple[int, int]] = ()
) -> Int[np.ndarray, " n"] | None:
    """The links along which ways are shortest, where this kernel is not certain enough and has
    others.
    """
    if (
        kernel.precision != "float64"
        or largest_error(kernel, equal) <= LARGEST_SILENT[kernel.precision]
    ):
        return None
    links = shortest_links(np.maximum(kernel._points.squared_distances(), 0))
    return None if np.array_equal(links, kernel._links) else links
