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


@dataclass(frozen=True)
class Claim:
    """A finding of the paper, and how it is put to the test.

    ``conditions`` returns, for each condition under which we looked, the quantities that the claim
    orders: columns that should fall from left to right, one row a seed, NaN for a run that
    diverged. ``explains`` is what else could explain an agreement."""

    finding: str
    source: str
    paper: str
    conditions: Callable[[], dict[str, pd.DataFrame]] | None
    explains: str
    chapter: str


def verdict(held: Iterable[bool | None]) -> str:
    """The rule: all conditions hold (see `outcome`): reproduced; some: under a condition; none: not
    reproduced. Conditions that are not decided, None, count neither way.

    >>> verdict([True, True]), verdict([True, False]), verdict([False, False])
    ('reproduced', 'under a condition', 'not reproduced')
    >>> verdict([True, None]), verdict([None])
    ('reproduced', 'not decided')
    """
    decided = [yes for yes in held if yes is not None]
    if not decided:
        return NOT_DECIDED
    return REPRODUCED if all(decided) else CONDITION if any(decided) else NOT


class Outcome(NamedTuple):
    """What the seeds say of one condition."""

    columns: pd.DataFrame  # of the seeds that have a number in each
    lost: int  # the other seeds
    whole: PairedDifference | None  # first − last; None with fewer than two seeds
    holds: bool | None


def outcome(columns: pd.DataFrame) -> Outcome:
    """Whether the first column is above the last, and no column below the next, on the evidence of
    the seeds: by paired 95 % intervals.

    Neighbours that the seeds cannot tell apart break no order; neighbours that are reversed do.

    A seed whose run diverged under one of the settings is left out. It has nothing to be compared
    there, and to take it along elsewhere would order settings by different seeds. What is left
    speaks of runs that trained: the scorecard says where those are fewer than were run. With fewer
    than two seeds the condition is not decided: ``holds`` is None.

    >>> outcome(pd.DataFrame({"a": [3.0, 3.1], "b": [2.0, 2.1], "c": [1.0, 1.1]})).holds
    True
    >>> outcome(pd.DataFrame({"a": [3.0, 3.1], "b": [1.0, 1.1], "c": [2.0, 2.1]})).holds
    False
    """
    sound = columns.dropna()
    lost = len(columns) - len(sound)
    if len(sound) < 2:
        return Outcome(sound, lost, None, None)
    each = [column for _, column in sound.items()]
    whole = paired_difference(each[0], each[-1])
    # the only neighbours of two columns are compared already
    neighbours = zip(each, each[1:]) if len(each) > 2 else ()
    falls = whole.low > 0 and all(
        paired_difference(one, following).high >= 0 for one, following in neighbours
    )
    return Outcome(sound, lost, whole, falls)
