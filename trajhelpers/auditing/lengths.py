"""Increments that are out of line with their neighbours: a jump to another path, or a file of about
the same step.
"""

import numpy as np

from ..kernel import TrajectoryKernel
from .certain import is_sure
from .report import Finding

_SIDE = 3
_TIMES, _JUMPS, _TIMES_AT_ENDS = 4, 6, 30


def irregular_lengths(kernel: TrajectoryKernel, rows: list[int]) -> list[Finding]:
    """Findings, "length", by the rule that :func:`trajhelpers.audit` states, about rows that are
    all different.

    >>> import numpy as np
    >>> theta = np.cumsum(np.ones((12, 4)), axis=0) + 0.1 * np.sin(np.arange(48)).reshape(12, 4)
    >>> theta[6:] += 99                                         # another run from there on
    >>> delta = np.diff(theta, axis=0, prepend=0)
    >>> from trajhelpers import TrajectoryKernel
    >>> kernel = TrajectoryKernel(delta @ delta.T, steps=range(0, 120, 10))
    >>> [finding.steps for finding in irregular_lengths(kernel, list(range(12)))]
    [(50, 60)]
    """
    # Where rows are not in the order of their names, time goes on all the same.
    in_time = sorted(rows)
    steps, runs = kernel.steps[in_time], np.array(kernel.runs)[in_time]
    # How many steps lie between two stages is not known.
    counted = (runs[1:] == runs[:-1]) & (np.diff(steps) > 0)
    found = []
    for way, sign in (("longer", 1), ("shorter", -1)):
        for t in np.flatnonzero(counted):

            def excess(one, sign=sign, t=t):
                with np.errstate(divide="ignore", invalid="ignore"):
                    lengths = np.log(one.distance(rows[:-1], rows[1:]) ** 2 / np.diff(steps)) / 2
                return _excess(sign * np.where(counted, lengths, np.nan), t, sign)

            value, least = excess(kernel)
            if is_sure(kernel, value - least, lambda one: np.subtract(*excess(one))):
                found.append(
                    Finding(
                        "length",
                        None,
                        (int(kernel.steps[rows[t]]), int(kernel.steps[rows[t + 1]])),
                        f"the increment is {np.exp(value):.3g} times {way} than its neighbours'",
                    )
                )
    return found


def _excess(lengths, t, sign):
    """(By how much one logarithm is above its neighbours, how much is needed)."""
    known = lengths[np.isfinite(lengths)]
    if len(known) < 3:
        return -np.inf, 0.0
    jump = 1.4826 * float(np.median(np.abs(np.diff(known))))
    sides = [
        float(np.nanmedian(side))
        for side in (lengths[max(t - _SIDE, 0) : t], lengths[t + 1 : t + 1 + _SIDE])
        if np.isfinite(side).any()
    ]
    if not sides or (len(sides) < 2 and sign < 0):
        return -np.inf, 0.0
    times = _TIMES if len(sides) == 2 else _TIMES_AT_ENDS
    return float(lengths[t] - max(sides)), max(float(np.log(times)), _JUMPS * jump)
