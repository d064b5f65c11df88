"""ω, ω_0 and the last angle of a path that still grows, without its kernel: a checkpoint more costs
one read of four, however many came before."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from ..stored import Stored
from .cpu import COLUMNS
from .segments import blocks_of

_COLUMNS = COLUMNS["float64"]


class Numbers(NamedTuple):
    """None for what is not defined: ω_0 before anything has moved, the angle of one update, or of
    one that did not move. NaN after a checkpoint that is not finite.
    """

    omega: float | None
    omega_0: float | None
    angle: float | None


class SoFar:
    """Measures the checkpoints of a path as they come.

    ω is the squared length of the mean unit vector (:func:`trajhelpers.mds`). So of all checkpoints
    before, only the sum of their unit vectors has to be known, and for ω_0 that of their unit
    vectors from θ_0. Both are kept in float32, 8 bytes a parameter: each of n additions rounds by
    2⁻²⁴ at most, and ω by no more than n 2⁻²³. All else is float64.

    A kernel that is appended to (``kernel.append``) needs no such sums, but a read of all
    checkpoints for each new one, which a training with many of them cannot wait for.

    Parameters
    ----------
    p : int

    >>> import trajhelpers as th
    >>> path = th.open_trajectory([{"w": np.array(row)} for row in ([2.0, 0], [2.0, 1], [1.0, 1])])
    >>> so_far = SoFar(path.p)
    >>> so_far.measure(path[:2]).angle
    >>> numbers, kernel = so_far.measure(path), th.gram(path)
    >>> round(abs(numbers.omega - th.mds(kernel)), 6), round(numbers.angle, 6)
    (0.0, 90.0)
    """

    def __init__(self, p: int):
        # Seen from O, and from θ_0: the sums of the unit vectors of all but the last checkpoint;
        # of all, their squared lengths and how many there are.
        self._sums = np.zeros((2, p), np.float32)
        self._squared, self._counts = np.zeros(2), np.zeros(2)
        # 1 / the lengths of the last.
        self._scales: Float64[np.ndarray, " origins"] | None = None

    def measure(self, rows: Stored) -> Numbers:
        """Of one checkpoint more; the first two are measured together.

        Parameters
        ----------
        rows : Stored
            θ_0 and the last three: of checkpoints 0, t − 2, t − 1 and t those that there are.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            if self._scales is None:  # θ_0 has no direction from itself
                square = sum(float(theta[0] @ theta[0]) for _, theta in _blocks(rows))
                self._scales = self._added(np.zeros(2), np.array([square, 0]))
            crossed, squared, turn = np.zeros(2), np.zeros(2), np.zeros((2, 2))
            for columns, theta in _blocks(rows):
                before, last = theta[-2], theta[-1]
                for seen, (one, other) in enumerate(
                    ((before, last), (before - theta[0], last - theta[0]))
                ):
                    sums = self._sums[seen, columns]
                    sums += one * self._scales[seen]
                    crossed[seen] += sums @ other
                    squared[seen] += other @ other
                updates = np.diff(theta[-3:], axis=0)
                turn[: len(updates), : len(updates)] += updates @ updates.T
            self._scales = self._added(crossed, squared)
            omega, omega_0 = (
                float(square / count**2) if count else None
                for square, count in zip(self._squared, self._counts)
            )
            return Numbers(omega, omega_0, _angle(turn))

    def _added(self, crossed, squared):
        """1 / lengths of a checkpoint that is counted, 0 where it has none."""
        scales = np.divide(1, np.sqrt(squared), out=np.zeros(2), where=squared != 0)
        self._squared += 2 * crossed * scales + (squared != 0)
        self._counts += squared != 0
        return scales


def _blocks(rows: Stored) -> Iterator[tuple[slice, Float64[np.ndarray, "rows columns"]]]:
    values = np.empty((rows.n, _COLUMNS))
    whole = [(name, 0, size) for name, size in rows.sizes.items()]
    at = 0
    for _, block, width in blocks_of([whole], 0, rows.p, _COLUMNS):
        theta = values[:, :width]
        rows.read_into(block, theta)
        yield slice(at, at + width), theta
        at += width


def _angle(turn):
    """Between two updates, of their products; in degrees."""
    lengths = np.sqrt(np.diagonal(turn))
    if not lengths.all():
        return None
    cosine = turn[0, 1] / lengths[0] / lengths[1]
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
