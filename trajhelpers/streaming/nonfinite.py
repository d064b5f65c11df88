"""NaN and infinity: products show that they are there, a second look says where."""

import numpy as np

from ..stored import Stored
from .segments import Segment, blocks_of, columns_of

_COLUMNS = 8192


class NotFinite(Exception):
    """The product of these ranges is not finite."""

    def __init__(self, segment: Segment):
        self.segment = segment


class NonFiniteFound(Exception):
    """What :func:`nonfinite_checkpoints` found."""

    def __init__(self, bad: list[int], message: str):
        self.bad, self.message = bad, message


def nonfinite_checkpoints(
    trajectory: Stored, segment: Segment, precision: str
) -> tuple[list[int], str]:
    """Indices of the checkpoints with NaN or infinity in a segment, and what to say of them."""
    found: dict[int, str] = {}
    for _, block, _ in blocks_of([segment], 0, columns_of(segment), _COLUMNS):
        for name, start, stop in block:
            for index, row in enumerate(trajectory.read([(name, start, stop)])):
                bad = np.flatnonzero(~np.isfinite(row))
                if len(bad) and index not in found:
                    found[index] = (
                        f"{trajectory.called(index)} ({trajectory.sources[index]}):"
                        f" {row[bad[0]]} in {name!r}, element {start + bad[0]}"
                    )
    if not found:
        remedy = (
            "use precision='float64'"
            if precision == "float32"
            else "no floating-point type holds their squares"
        )
        return (
            [],
            (
                f"the values of {segment[0][0]!r} are finite, but so large that their products"
                f" overflow {precision}; {remedy}"
            ),
        )
    first, *others = sorted(found)
    more = f"; also {', '.join(map(trajectory.called, others))}" if others else ""
    remedy = "" if trajectory.nonfinite == "skip-checkpoint" else f"; {trajectory.leave_out}"
    return list(found), found[first] + more + remedy
