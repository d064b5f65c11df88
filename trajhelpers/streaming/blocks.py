"""Blocks: what is fetched together, ranges of columns of all checkpoints, as large as memory
allows; one is multiplied while the next is on its way.

Two blocks are in memory at a time. On this machine's own files nothing has to be fetched, and one
block holds everything."""

import bisect
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from ..sources.protocol import Checks
from ..stored import Stored
from .columns import Columns, all_columns, in_order
from .ranks import ALONE, Ranks
from .segments import Segment

if TYPE_CHECKING:
    from .progress import Progress

_LONGEST_READ = 64 << 20
_NO_END = 1 << 62


class Block(NamedTuple):
    """``pieces``: (name, start, stop), no column twice. ``segments``: for each group that has
    columns in them, by its index, its own ranges.
    """

    pieces: Segment
    segments: dict[int, Segment]


def cut(
    trajectory: Stored,
    segments: list[Segment],
    memory: int | None,
    columns: Columns | None = None,
) -> list[Block]:
    """The columns, by default all of the segments', in the order of the first checkpoint's files,
    in blocks of half the memory at most, of 64 MiB a checkpoint at most; in one where there is no
    memory to be kept to.
    """
    columns = all_columns(segments) if columns is None else columns
    if not columns:
        return []
    blocks: list[Block] = []
    places: dict[str, tuple[list[int], list[int], list[int]]] = {}
    room, room_in_file, at = 0, 0, 0
    for name, ranges in in_order(trajectory, segments):
        size, size_in_file = trajectory.bytes_of(name), trajectory.largest_bytes_of(name)
        places[name] = starts, stops, numbers = [], [], []
        for start, stop in _within(columns, at, ranges):
            while start < stop:
                if room < size or room_in_file < size_in_file:
                    blocks.append(Block([], {}))
                    room, room_in_file = _NO_END, _NO_END
                    if memory is not None:
                        room, room_in_file = max(memory // 2, size), _LONGEST_READ
                end = min(stop, start + min(room // size, room_in_file // size_in_file))
                blocks[-1].pieces.append((name, start, end))
                starts.append(start)
                stops.append(end)
                numbers.append(len(blocks) - 1)
                room, room_in_file = (
                    room - (end - start) * size,
                    room_in_file - (end - start) * size_in_file,
                )
                start = end
        at += sum(stop - start for start, stop in ranges)
    for group, segment in enumerate(segments):
        for name, start, stop in segment:
            starts, stops, numbers = places[name]
            for piece in range(bisect.bisect_right(stops, start), bisect.bisect_left(starts, stop)):
                part = name, max(start, starts[piece]), min(stop, stops[piece])
                blocks[numbers[piece]].segments.setdefault(group, []).append(part)
    return blocks


def _within(columns: Columns, at: int, ranges: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """What of a tensor's ranges, which lie on the line from ``at`` on, is among the columns."""
    for start, stop in ranges:
        first = bisect.bisect_right(columns, at, key=lambda part: part[1])
        for begin, end in columns[first:]:
            if begin >= at + stop - start:
                break
            yield max(start, start + begin - at), min(stop, start + end - at)
        at += stop - start


def in_turn(
    trajectory: Stored,
    blocks: list[Block],
    progress: "Progress",
    checks: Checks | None = None,
    ranks: Ranks = ALONE,
) -> Generator[Block]:
    """Each block in turn, at hand while it is yielded, and compared with checksums. Close this
    generator, so that what is on its way is called off.
    """
    checks = checks or checks_of(trajectory, blocks)
    if trajectory.remote is None or checks is None:
        yield from blocks
        return
    fetches: list[Any] = []
    done = 0
    progress.fetched = lambda: done + sum(fetch.received for fetch in fetches) + checks.received
    with checks:
        try:
            for block, following in zip(blocks, [*blocks[1:], None]):
                if not fetches:
                    fetches.append(trajectory.remote.fetch(trajectory.ranges(block.pieces), checks))
                while not fetches[0].wait(0.1):
                    progress.show()
                if following:
                    ranges = trajectory.ranges(following.pieces)
                    fetches.append(trajectory.remote.fetch(ranges, checks))
                with fetches[0]:
                    yield block
                done += fetches.pop(0).received
            ranks.exchange(checks)
            checks.finish()
            while not checks.wait(0.1):
                progress.show()
        finally:
            checks.cancel()
            for fetch in fetches:
                fetch.cancel()
            for fetch in fetches:
                fetch.drain()
            checks.drain()


def requests(trajectory: Stored, blocks: list[Block]) -> list[tuple[int, int]]:
    """The byte ranges that are asked for, block by block, as ``(requests, bytes)``."""
    if trajectory.remote is None:
        return [(0, 0)] * len(blocks)
    ranges = [trajectory.remote.join(trajectory.ranges(block.pieces)) for block in blocks]
    return [(len(parts), sum(end - begin for _, begin, end in parts)) for parts in ranges]


def checks_of(
    trajectory: Stored, blocks: list[Block], done: int = 0, verify: bool = False, others: int = 0
) -> Checks | None:
    """The checksums of what a pass fetches; None where it fetches nothing. The first blocks are so
    many ``others``', then so many are ``done``.
    """
    if trajectory.remote is None:
        return None
    ranges = (trajectory.ranges(block.pieces) for block in blocks)
    return trajectory.remote.check(ranges, done, verify, others=others)
