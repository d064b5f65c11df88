"""The columns of a pass on a line, as ranges (begin, end): which are done, and whose the others
are.

On it lie the ranges of all segments, without overlaps, in the order of :func:`in_order`."""

from collections.abc import Sequence
from itertools import pairwise

from ..stored import Stored
from .segments import Segment, united

Columns = list[tuple[int, int]]


def in_order(
    trajectory: Stored, segments: Sequence[Segment]
) -> list[tuple[str, list[tuple[int, int]]]]:
    """By tensor, the ranges that any of the segments has: in the order of the first checkpoint's
    files.
    """
    return sorted(united(segments).items(), key=lambda item: trajectory.order(item[0]))


def all_columns(segments: Sequence[Segment]) -> Columns:
    """The whole line.

    >>> all_columns([[("a", 0, 4)], [("a", 2, 6), ("b", 0, 1)]])
    [(0, 7)]
    """
    ranges = (found for several in united(segments).values() for found in several)
    return [(0, sum(stop - start for start, stop in ranges))]


def both(one: Columns, other: Columns) -> Columns:
    """In order, neighbours as one. ValueError where they overlap.

    >>> both([(0, 3), (8, 9)], [(3, 5)])
    [(0, 5), (8, 9)]
    """
    ranges = sorted([*one, *other])
    if any(end > begin for (_, end), (begin, _) in pairwise(ranges)):
        raise ValueError("columns that are done twice")
    found: Columns = []
    for begin, end in ranges:
        if found and found[-1][1] == begin:
            found[-1] = found[-1][0], end
        elif begin < end:
            found.append((begin, end))
    return found


def less(columns: Columns, others: Columns) -> Columns:
    """What of some columns is not among others; both are in order.

    >>> less([(0, 10)], [(0, 2), (4, 5)])
    [(2, 4), (5, 10)]
    """
    found: Columns = []
    for begin, end in columns:
        for first, last in others:
            if begin < first < end:
                found.append((begin, first))
            if first < end and begin < last:
                begin = last
        if begin < end:
            found.append((begin, end))
    return found


def part(columns: Columns, first: int, last: int) -> Columns:
    """From the ``first``-th of them to before the ``last``-th.

    >>> part([(0, 4), (6, 10)], 3, 5)
    [(3, 4), (6, 7)]
    """
    found, at = [], 0
    for begin, end in columns:
        one = begin + max(0, first - at), begin + min(end - begin, last - at)
        at += end - begin
        if one[0] < one[1]:
            found.append(one)
    return found


def share(columns: Columns, rank: int, size: int) -> Columns:
    """Those of one of several ranks: as many as any other has, and neighbours.

    >>> [share([(0, 4), (6, 10)], rank, 3) for rank in range(3)]
    [[(0, 2)], [(2, 4), (6, 7)], [(7, 10)]]
    """
    total = count(columns)
    return part(columns, total * rank // size, total * (rank + 1) // size)


def count(columns: Columns) -> int:
    return sum(end - begin for begin, end in columns)
