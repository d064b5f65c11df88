"""What a claim is, and the rule by which our runs are held against it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

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
    """The rule: all conditions hold (see `holds`): reproduced; some: under a condition; none: not
    reproduced. Conditions that are not decided, None, count neither way.

    >>> verdict([True, True]), verdict([True, False]), verdict([False, False])
    ('reproduced', 'under a condition', 'not reproduced')
    >>> verdict([True, None]), verdict([None])
    ('reproduced', 'not decided')
    """
    decided = [held_here for held_here in held if held_here is not None]
    if not decided:
        return NOT_DECIDED
    return REPRODUCED if all(decided) else CONDITION if any(decided) else NOT


def holds(columns: pd.DataFrame) -> bool | None:
    """Whether the first column is above the last, and no column below the next, on the evidence of
    the seeds: by paired 95 % intervals.

    Neighbours that the seeds cannot tell apart break no order; neighbours that are reversed do. All
    comparisons are over the same seeds, see `sound`; with fewer than two the condition is not
    decided: None.

    >>> holds(pd.DataFrame({"a": [3.0, 3.1], "b": [2.0, 2.1], "c": [1.0, 1.1]}))
    True
    >>> holds(pd.DataFrame({"a": [3.0, 3.1], "b": [1.0, 1.1], "c": [2.0, 2.1]}))
    False
    """
    columns = sound(columns)
    whole = first_minus_last(columns)
    if whole is None:
        return None
    neighbours = (first_minus_last(columns.iloc[:, i : i + 2]) for i in range(columns.shape[1] - 1))
    return whole.low > 0 and all(step.high >= 0 for step in neighbours)


def sound(columns: pd.DataFrame) -> pd.DataFrame:
    """The seeds that have a number in every column.

    A seed whose run diverged under one of the settings has nothing to be compared there, and taking
    it along elsewhere would order settings by different seeds. What is left speaks of runs that
    trained: the scorecard says where it is fewer than were run.
    """
    return columns.dropna()


def first_minus_last(columns: pd.DataFrame) -> PairedDifference | None:
    """Over the sound seeds; None where there are fewer than two."""
    columns = sound(columns)
    if len(columns) < 2:
        return None
    return paired_difference(columns.iloc[:, 0], columns.iloc[:, -1])
