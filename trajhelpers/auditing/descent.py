"""Whether a run goes on from its first checkpoint, or is another's: two random initializations are
at right angles, but for chance, and what came of one knows nothing of the other.
"""

import numpy as np
from jaxtyping import Bool

from ..kernel import TrajectoryKernel
from .certain import is_sure
from .report import Finding

_CHANCE = 4  # standard deviations of the cosine of p random numbers with anything: 1/√p each
_LARGEST = 1000**-0.5  # of those: of fewer numbers a right angle says little
_MOST = 0.9  # of ‖θ_t − θ_0‖², in groups that are at right angles to those of step 0
_TIMES = 4  # the break is so much longer than the increments beside it


def unrelated(kernel: TrajectoryKernel, rows: list[int]) -> tuple[list[Finding], list[int]]:
    """Findings, "unrelated", and the rows of the longer part.

    A run may forget where it began: but if one interval takes all of its memory, then the next does
    not leave it where it is, unless the rate falls 50-fold in between. (At a rate that falls
    tenfold, memory e^−3.2, which is as good as none, becomes e^−0.32, and the first move is twice
    as long as the second; not four times.)
    """
    breaks = [t for t in range(1, len(rows)) if _break(kernel, rows, t) > 0]
    if not breaks:
        return [], rows
    forgets = _forgets(kernel, rows)
    begin = len(rows) - int(np.argmin(np.append(forgets[::-1], False)))
    if begin not in breaks or not is_sure(
        kernel, _break(kernel, rows, begin), lambda one: _break(one, rows, begin)
    ):
        return [], rows
    steps = [int(kernel.steps[row]) for row in rows]
    parts = sorted((rows[:begin], rows[begin:]), key=len)
    return [
        Finding(
            "unrelated",
            None,
            tuple(int(kernel.steps[row]) for row in parts[0]),
            f"from step {steps[begin]} on nothing is left of step {steps[0]}: at right angles to"
            f" it, but for chance, and {np.exp(_break(kernel, rows, begin)) * _TIMES:.3g} times"
            " farther from the checkpoint before than those beside are from each other",
        )
    ], parts[1]


def _break(kernel, rows, t):
    """How much longer the increment to a row is than those beside it, and than is allowed."""
    moves = kernel.distance(rows[:-1], rows[1:])
    beside = [moves[at] for at in (t - 2, t) if 0 <= at < len(moves)]
    return float(np.log(moves[t - 1] / (_TIMES * max(beside)))) if beside else -np.inf


def _forgets(kernel, rows) -> Bool[np.ndarray, " rows"]:
    """Of each row, whether what leads to it from the first is in groups that know nothing of it.
    Of groups that are too small, that is not known.
    """
    independent, known, every = np.zeros((3, len(rows)))
    for group in kernel.groups().values():
        squared = group.distance(rows[0], rows) ** 2
        every += squared
        spread = np.hypot(1 / np.sqrt(max(group.p, 1)), group.standard_error(_cosines, rows=rows))
        can_tell = spread <= _LARGEST
        known += np.where(can_tell, squared, 0)
        is_at_right_angles = np.abs(_cosines(group, rows)) <= _CHANCE * spread
        independent += np.where(can_tell & is_at_right_angles, squared, 0)
    return (independent > _MOST * known) & (2 * known > every)


def _cosines(kernel, rows):
    with np.errstate(invalid="ignore", divide="ignore"):
        return kernel.inner_between(None, rows[0], None, rows) / (
            kernel.distance(None, rows[0]) * kernel.distance(None, rows)
        )
