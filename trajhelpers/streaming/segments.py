"""Segments: lists of ranges (name, start, stop) of flattened tensors, of which groups are made."""

from collections.abc import Iterable, Iterator, Mapping

from ..printable import printable
from ..stored import Stored
from .default_groups import default_groups, still_ones

# Ranges (name, start, stop) of flattened tensors.
Segment = list[tuple[str, int, int]]
# As a user gives them: None for an open end.
Groups = Mapping[str, Iterable[tuple[str, int | None, int | None]]]
# A float32 product must not run over more terms than its rounding allows (chapter 2).
LONGEST_FLOAT32_SUM = 16384


def segments_of(trajectory: Stored, groups: Groups | None) -> dict[str, Segment]:
    """Each group's ranges, checked, with their ends filled in; by default whole tensors."""
    sizes = trajectory.sizes
    if groups is None:
        together = default_groups(sizes, still_ones(trajectory))
        return {group: [(name, 0, sizes[name]) for name in together[group]] for group in together}
    if not isinstance(groups, Mapping):
        raise TypeError(
            "groups: expected a dict, from names to lists of (tensor, start, stop), got a"
            f" {type(groups).__name__}"
        )
    if trajectory.drawn:
        raise ValueError(
            f"groups: the files hold a sample ({trajectory.drawn}), which was drawn group by group;"
            " leave groups= out, and put the kernel's groups together with kernel.group_by"
        )
    segments: dict[str, Segment] = {}
    for group, ranges in groups.items():
        segments[group] = []
        for name, start, stop in ranges:
            if name not in sizes:
                raise ValueError(
                    f"groups: {group!r} names the tensor {name!r}, which the trajectory does not"
                    f" have; it has {printable(', '.join(list(sizes)[:8]))} …"
                )
            start = 0 if start is None else start
            stop = sizes[name] if stop is None else stop
            if not 0 <= start < stop <= sizes[name]:
                raise ValueError(
                    f"groups: {group!r} asks for elements {start}:{stop} of {name!r}, which has"
                    f" {sizes[name]}"
                )
            if (start, stop) != (0, sizes[name]) and name in trajectory.permuted:
                raise ValueError(
                    f"groups: {group!r} asks for a part of {name!r}, which is stored in"
                    f" channels_last order: its elements {start}:{stop} are not those of the"
                    " flattened tensor; save contiguous tensors, or take it whole"
                )
            segments[group].append((name, start, stop))
    if not segments or not all(segments.values()):
        raise ValueError("groups: a group without a tensor")
    return segments


def columns_of(segment: Segment) -> int:
    return sum(stop - start for _, start, stop in segment)


def blocks_of(
    segments: Iterable[Segment], begin: int, end: int, columns: int
) -> Iterator[tuple[int, Segment, int]]:
    """Cut columns ``begin`` to ``end`` of all segments, laid end to end, into blocks that hold
    columns of one segment each, as ``(index of the segment, block, width)``.
    """
    at = 0
    for index, segment in enumerate(segments):
        block: Segment = []
        width = 0
        for name, start, stop in segment:
            first, last = start + max(0, begin - at), min(stop, start + end - at)
            at += stop - start
            while first < last:
                upto = min(last, first + columns - width)
                block.append((name, first, upto))
                width += upto - first
                first = upto
                if width == columns:
                    yield index, block, width
                    block, width = [], 0
        if block:
            yield index, block, width


def once_each(segments: Iterable[Segment], sizes: Mapping[str, int]) -> bool:
    """Whether each number is in just one of the segments."""
    segments = list(segments)
    every = {name: [(0, size)] for name, size in sizes.items() if size}
    found = {
        name: [(ranges[0][0], ranges[-1][1])]
        for name, ranges in united(segments).items()
        if len(ranges) == 1
    }
    return found == every and sum(map(columns_of, segments)) == sum(sizes.values())


def united(segments: Iterable[Segment]) -> dict[str, list[tuple[int, int]]]:
    """By name, the sorted ranges that any of the segments has, without overlaps."""
    found: dict[str, list[tuple[int, int]]] = {}
    for segment in segments:
        for name, start, stop in segment:
            found.setdefault(name, []).append((start, stop))
    for name, ranges in found.items():
        united: list[tuple[int, int]] = []
        for start, stop in sorted(ranges):
            if united and start <= united[-1][1]:
                united[-1] = united[-1][0], max(united[-1][1], stop)
            else:
                united.append((start, stop))
        found[name] = united
    return found
