"""Inner products of points, as sums of those of rows that lose nothing.

A difference of two checkpoints that lie close together, on a path that went far between, is a sum
of long rows that nearly cancel; summed in floating point, what is left would be rounding. So the
rows' products are cut into slices, each of so few bits that its sums are whole numbers of one unit
and exact in float64 in whichever order (the idea of Rump, Ogita and Oishi's accurate summation).
Slices are added last, when all that cancels has cancelled."""

import math
from collections.abc import Callable

import numpy as np
from jaxtyping import Float64, Int

from ..links import is_path, outwards

_BITS = 53
# Below this nothing is left of what float64 can tell from the largest product, squared and more.
_SMALLEST = 2.0**-1000


class PointProducts:
    """The inner products of n points and O, which is point −1, made of rows' products, or of those
    of several groups.

    >>> rows = np.array([[3.0, 0], [1e6, 1], [-1e6, 1]])         # there and back
    >>> products = PointProducts(rows @ rows.T, np.array([-1, 0, 1]))
    >>> float(products(0, 2, 0, 2)), float(products(-1, 0, 0, 2))
    (4.0, 0.0)
    """

    def __init__(self, rows: Float64[np.ndarray, "*groups n n"], links: Int[np.ndarray, " n"]):
        n = len(links)
        # A sum of n² entries, of which four are added.
        bits = _BITS - 2 - 2 * math.ceil(math.log2(n + 1))
        self._slices = [
            _along(links, np.swapaxes(_along(links, slice_), -1, -2))
            for slice_ in _slices(rows, bits)
        ] or [np.zeros((*rows.shape[:-2], n + 1, n + 1))]

    def __call__(
        self,
        first: Int[np.ndarray, "*pairs"] | int,
        last: Int[np.ndarray, "*pairs"] | int,
        other_first: Int[np.ndarray, "*pairs"] | int,
        other_last: Int[np.ndarray, "*pairs"] | int,
    ) -> Float64[np.ndarray, "*groups_and_pairs"]:
        """⟨θ_last − θ_first, θ_other_last − θ_other_first⟩."""
        return self._added(
            lambda points: (
                points[..., last, other_last]
                - points[..., last, other_first]
                - points[..., first, other_last]
                + points[..., first, other_first]
            )
        )

    def squared_distances(self) -> Float64[np.ndarray, "n+1 n+1"]:
        """Between all points, O the last."""
        return self._added(lambda points: np.diag(points)[:, None] + np.diag(points) - 2 * points)

    def _added(self, combined: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        total = combined(self._slices[0])  # the largest first
        for slice_ in self._slices[1:]:
            total = total + combined(slice_)
        return total


def _slices(matrix, bits):
    """Matrices that add up to this one, of so many bits each, the largest first."""
    rest = matrix
    while (largest := np.abs(rest).max()) > _SMALLEST:
        unit = math.ldexp(1.0, math.frexp(largest)[1] - bits)
        slice_ = np.rint(rest / unit) * unit
        yield slice_
        rest = rest - slice_


def _along(links, rows):
    """Of each point, the sum of the rows that lead to it from O, which has none and is the last."""
    points = np.zeros((*rows.shape[:-2], len(links) + 1, rows.shape[-1]))
    if is_path(links):
        np.cumsum(rows, axis=-2, out=points[..., :-1, :])
        return points
    for point in outwards(links):
        points[..., point, :] = points[..., links[point], :] + rows[..., point, :]
    return points
