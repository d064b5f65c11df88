"""What runs at several widths say together: how far they turn, how that scales with width, and what
it leaves for ω.
"""

from typing import NamedTuple

import numpy as np
from scipy import stats

from ...hallmarks import mds
from ...nulls import random_walk, straight_line


def departure(kernel):
    """1 − cos(θ_t, θ_0) for every checkpoint, shape (n,), without the rounding of cosines near one.

    With d = θ_t − θ_0 it is (‖d‖² − (‖θ_t‖ − ‖θ_0‖)²) / (2 ‖θ_t‖ ‖θ_0‖), which the kernel of
    increments has to full relative precision. Of the hidden matrices alone:
    ``departure(kernel.select("hidden*"))``.

    Source: Appendix B of the paper. Chapter "The width argument".

    >>> import trajhelpers as th
    >>> departure(th.straight_line(3, offset=1e6))       # 1 − 1/√(1 + x²), x = t / offset
    array([0.e+00, 5.e-13, 2.e-12])
    """
    start, moves, along = kernel.total[0, 0], kernel.total[1:, 1:], np.cumsum(kernel.total[0, 1:])
    squared = np.diag(moves.cumsum(0).cumsum(1))  # ‖d‖²
    gained = 2 * along + squared  # ‖θ_t‖² − ‖θ_0‖²
    norm, first = np.sqrt(start + gained), np.sqrt(start)
    return np.concatenate([[0.0], (squared - (gained / (norm + first)) ** 2) / (2 * norm * first)])


class OmegaRange(NamedTuple):
    """ω for a given 1 − cos(θ_T, θ_0): its bounds, and between them two kinds of path."""

    lowest: float
    walk: float
    straight: float
    highest: float


def predicted_omega(departure, n):
    """What 1 − cos(θ_T, θ_0) = ε says about ω, the mean of the map over n checkpoints.

    With unit vectors u_t = θ_t / ‖θ_t‖, c = 1 − ε, and ω = ‖mean of u‖²:

    - ``lowest``, if no checkpoint is further from θ_0 in angle than the last: ‖mean u‖ ≥ ⟨mean u,
      u_0⟩ ≥ (1 + (n − 1)c) / n, so that ω ≥ (1 − ε(n − 1)/n)² ≥ 1 − 2ε. Attained where the others
      lie in opposite pairs on the cone around u_0.
    - ``highest``, without any condition: u_0 + u_T has length √(2 + 2c), the other n − 2 at most n
      − 2, so that ω ≤ ((n − 2 + √(2 + 2c)) / n)². Attained with all others halfway.
    - ``straight``: equal steps on a line at a right angle to θ_0; 1 − ω → ε(n + 1) / (6(n − 1)) as
      ε → 0, since then 1 − ω is the variance of the angles, which are spread evenly up to √(2ε).
    - ``walk``: :func:`trajhelpers.random_walk` from as far from O as ε says; 1 − ω → ε(n + 1) /
      (3n), since then 1 − C[s, t] is ε|s − t| / (n − 1).

    All four leave 1 − ω in proportion to a small ε (the highest as ε/n): where paths keep their
    shape, 1 − ω falls with width as 1 − cos does.

    Parameters
    ----------
    departure : float
        ε, from 0 up to 1: θ_T is less than a right angle from θ_0.
    n : int
        Checkpoints, from 2 on.

    Returns
    -------
    OmegaRange

    Beyond the paper. Chapter "The width argument".

    >>> [round(float(omega), 4) for omega in predicted_omega(0.12, 9)]
    [0.798, 0.9544, 0.9745, 0.9865]
    """
    if not 0 <= departure < 1:
        raise ValueError(f"departure: expected a number from 0 up to 1, got {departure!r}")
    if n < 2:
        raise ValueError(f"n: expected two checkpoints or more, got {n!r}")
    last, cosine, squared_sine = n - 1, 1 - departure, departure * (2 - departure)
    lowest, highest = ((1 + last * cosine) / n) ** 2, ((n - 2 + np.sqrt(2 + 2 * cosine)) / n) ** 2
    if squared_sine == 0:
        return OmegaRange(1.0, 1.0, 1.0, 1.0)
    walk = mds(random_walk(n, start=cosine * np.sqrt(last / squared_sine)))
    return OmegaRange(
        lowest,
        walk,
        mds(straight_line(n, start=0.0, offset=cosine * last / np.sqrt(squared_sine))),
        highest,
    )


class Slope(NamedTuple):
    """A fitted exponent and its 95 % interval."""

    slope: float
    low: float
    high: float

    def __str__(self):
        return f"{self.slope:+.2f} [{self.low:+.2f}, {self.high:+.2f}]"


def slope(widths, values):
    """The exponent s of values ∝ width^s, by least squares of logarithms over widths × seeds.

    Parameters
    ----------
    widths : array, shape (widths,)
    values : array, shape (widths,) or (widths, seeds)
        Above zero. A width may occur several times, as in a column of a table.

    Returns
    -------
    Slope
        With Student's 95 % interval, N − 2 degrees of freedom for N values. It counts the scatter
        about *one* line: where the local slopes drift it is too narrow to hold the limit of large
        widths.

    Raises
    ------
    ValueError
        For values that are not above zero, shapes that do not fit, or less than three values or two
        widths.

    Chapter "The width argument".

    >>> print(slope([64, 128, 256], [[1.0, 1.1], [0.5, 0.5], [0.26, 0.25]]))
    -1.02 [-1.10, -0.94]
    """
    widths, values = _width_table(widths, values)
    if values.size < 3 or len(set(widths)) < 2:
        raise ValueError(
            f"values: expected three or more at two or more widths, got {values.size} at"
            f" {len(set(widths))}"
        )
    # polyfit sums the squared residuals: on a straight line the interval has no length. scipy's
    # linregress has 1 − r² instead, whose rounding leaves it a length of some 1e-8.
    (fitted, _), covariance = np.polyfit(np.log(widths), np.log(values), 1, cov=True)
    half = stats.t.ppf(0.975, values.size - 2) * np.sqrt(covariance[0, 0])
    return Slope(float(fitted), float(fitted - half), float(fitted + half))


def local_slopes(widths, values):
    """The exponent from each width to the next, of geometric means over seeds.

    Parameters are those of :func:`slope`; the result has shape (different widths − 1,), from the
    smallest width on.

    >>> local_slopes([64, 128, 256], [4.0, 2.0, 0.5])
    array([-1., -2.])
    """
    widths, values = _width_table(widths, values)
    each = np.unique(widths)
    means = [np.log(values[widths == width]).mean() for width in each]
    return np.diff(means) / np.diff(np.log(each))


def _width_table(widths, values):
    widths, values = np.asarray(widths, float), np.asarray(values, float)
    if widths.ndim != 1 or values.ndim not in (1, 2) or len(widths) != len(values):
        raise ValueError(
            f"values: expected shape ({widths.size},) or ({widths.size}, seeds) for widths of shape"
            f" {widths.shape}, got {values.shape}"
        )
    for what, numbers in (("widths", widths), ("values", values)):
        if not (np.isfinite(numbers) & (numbers > 0)).all():
            raise ValueError(
                f"{what}: expected numbers above zero, got"
                f" {numbers[~(np.isfinite(numbers) & (numbers > 0))][0]}"
            )
    if values.ndim == 2:
        widths, values = np.repeat(widths, values.shape[1]), values.ravel()
    return widths, values
