"""What a claim is, and the rule by which our runs are held against it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd

from ..studies.statistics import PairedDifference, paired_difference

REPRODUCED = "reproduced"
CONDITION = "under a condition"
NOT = "not reproduced"
NOT_DECIDED = "not decided"
NOT_RUN = "not run here"
# Half a percent: .005 of what goes from 0 to 1 (ω, cosines, accuracies), .9 of 180 degrees, half a
# percent of the larger quantity where there is no such range.
SMALLEST_EFFECT = 0.005


@dataclass(frozen=True)
class Claim:
    """A finding of the paper, and how it is put to the test.

    ``conditions`` returns, for each condition under which we looked, the quantities that the claim
    orders: columns that should fall from left to right, one row a seed, NaN for a run that
    diverged. ``explains`` is what else could explain an agreement. ``setting`` is what the paper
    trained and we did not; empty where nothing had to be trained, or the claim is ours. ``span``
    is how far the quantities can go: 1 for ω, cosines and accuracies, 180 for angles, None without
    bounds."""

    finding: str
    source: str
    paper: str
    conditions: Callable[[], dict[str, pd.DataFrame]]
    explains: str
    chapter: str
    setting: str = ""
    span: float | None = 1.0

    def outcomes(self) -> dict[str, "Outcome"]:
        """What the seeds say of each condition."""
        return {name: outcome(columns, self.span) for name, columns in self.conditions().items()}


def verdict(held: Iterable[bool | None]) -> str:
    """The rule: all conditions hold (see `outcome`): reproduced; some: under a condition; none: not
    reproduced. Conditions that are not decided, None, are no evidence for either: a claim that
    holds in none of the others is not decided.

    >>> verdict([True, True]), verdict([True, False]), verdict([False, False])
    ('reproduced', 'under a condition', 'not reproduced')
    >>> verdict([True, None]), verdict([False, None])
    ('reproduced', 'not decided')
    """
    held = list(held)
    if True in held:
        return CONDITION if False in held else REPRODUCED
    return NOT_DECIDED if None in held else NOT


class Outcome(NamedTuple):
    """What the seeds say of one condition."""

    columns: pd.DataFrame  # of the seeds that have a number in each
    lost: int  # the other seeds
    whole: PairedDifference | None  # first − last; None with fewer than two seeds
    holds: bool | None


def outcome(columns: pd.DataFrame, span: float | None = 1.0) -> Outcome:
    """Whether the first column is above the last, and no column below the next, on the evidence of
    the seeds: by paired 95 % intervals, and by `SMALLEST_EFFECT` of ``span`` or more.

    Neighbours that the seeds cannot tell apart break no order, nor do those that differ by less
    than the smallest effect; neighbours that are reversed do.

    A seed whose run diverged under one of the settings is left out. It has nothing to be compared
    there, and to take it along elsewhere would order settings by different seeds. What is left
    speaks of runs that trained: the scorecard says where those are fewer than were run. With fewer
    than two seeds the condition is not decided: ``holds`` is None. Nor is it decided where the
    order does not hold in what is left and the opposite does not either, since the lost seeds might
    have made the difference.

    >>> outcome(pd.DataFrame({"a": [3.0, 3.1], "b": [2.0, 2.1], "c": [1.0, 1.1]})).holds
    True
    >>> outcome(pd.DataFrame({"a": [3.0, 3.1], "b": [1.0, 1.1], "c": [2.0, 2.1]})).holds
    False
    >>> outcome(pd.DataFrame({"a": [0.904, 0.914], "b": [0.9, 0.91]})).holds
    False
    """
    sound = columns.dropna()
    lost = len(columns) - len(sound)
    if len(sound) < 2:
        return Outcome(sound, lost, None, None)
    each = [column for _, column in sound.items()]
    whole = paired_difference(each[0], each[-1])
    smallest = SMALLEST_EFFECT * (sound.mean().abs().max() if span is None else span)
    # the only neighbours of two columns are compared already
    neighbours = zip(each, each[1:]) if len(each) > 2 else ()
    steps = [paired_difference(one, following) for one, following in neighbours]
    reversed_ = any(step.high < 0 and step.mean <= -smallest for step in steps)
    falls = bool(whole.low > 0 and whole.mean >= smallest and not reversed_)
    if lost and not falls and whole.high >= 0:
        return Outcome(sound, lost, whole, None)
    return Outcome(sound, lost, whole, falls)
