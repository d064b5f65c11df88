"""A place put together from others: the bytes of an array in row-major order, whose boxes lie
elsewhere, each in row-major order of its own.

Of a box, the rows that a range of the array needs follow one another where the box lies, so that
one read a box gets them, however short they are.
"""

import bisect
import math
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np

from .place import Composed, Place, read_values

# From here on rows are copied one by one; shorter ones, element by element.
_LONG_ROW = 256


class Box(NamedTuple):
    """``sizes`` elements a dimension, from ``offsets`` on, lie at byte ``begin`` of ``place``."""

    offsets: tuple[int, ...]
    sizes: tuple[int, ...]
    place: Place
    begin: int


class Scattered:
    """A :class:`trajhelpers.reading.place.Place`. The boxes fill ``shape`` exactly once."""

    def __init__(self, shape: Sequence[int], itemsize: int, boxes: Sequence[Box]):
        self._itemsize = itemsize
        self._boxes = [_Rows(tuple(shape), box) for box in boxes]

    def __str__(self) -> str:
        return str(self._boxes[0].box.place)

    @property
    def boxes(self) -> list[Box]:
        return [rows.box for rows in self._boxes]

    @cached_property
    def places(self) -> tuple[Place, ...]:
        """Those that the boxes lie in, once each."""
        places = []
        for rows in self._boxes:
            inner = rows.box.place
            places += inner.places if isinstance(inner, Composed) else [inner]
        return tuple({id(place): place for place in places}.values())

    def ranges(self, begin: int, end: int) -> list[tuple[Place, int, int]]:
        """Where bytes ``begin`` to ``end`` lie: ``(place, begin, end)``."""
        found = []
        for place, first, last, _, _ in self._parts(begin, end):
            inner = place.ranges(first, last) if isinstance(place, Composed) else None
            found += [(place, first, last)] if inner is None else inner
        return found

    def read_into(self, offset: int, buffer: np.ndarray) -> None:
        target = buffer.reshape(-1).view(np.dtype((np.void, self._itemsize)))
        base = offset // self._itemsize
        for place, first, last, rows, within in self._parts(offset, offset + buffer.nbytes):
            count = (last - first) // self._itemsize
            if count <= rows.length - within % rows.length:
                at = rows.global_of(within) - base
                place.read_into(first, target[at : at + count])
                continue
            values = read_values(place, first, count, target.dtype)
            for some, to in rows.spread(within, count, base):
                target[to] = values[some]

    def values(self, offset: int, count: int, dtype: np.dtype) -> np.ndarray:
        return read_values(self, offset, count, dtype)

    def stamp(self) -> tuple | None:
        stamps = [place.stamp() for place in self.places]
        return None if None in stamps else tuple(stamps)

    def _parts(self, begin: int, end: int) -> Iterator[tuple[Place, int, int, "_Rows", int]]:
        """For each box that has some of the bytes: its place, the bytes there, its rows, and the
        first element of the box.
        """
        size = self._itemsize
        for rows in self._boxes:
            first, last = rows.within(begin // size, end // size)
            if first < last:
                at = rows.box.begin
                yield rows.box.place, at + first * size, at + last * size, rows, first


class _Rows:
    """A box as rows that are as long as they can be without a gap in the array."""

    def __init__(self, shape: tuple[int, ...], box: Box):
        self.box = box
        partial = [d for d in range(len(shape)) if box.sizes[d] != shape[d]]
        inner = partial[-1] if partial else 0
        # Elements of the array from one index of a dimension to the next.
        strides = [math.prod(shape[d + 1 :]) for d in range(len(shape))]
        self.length = math.prod(box.sizes[inner:])
        self._outer, self._strides = box.sizes[:inner], strides[:inner]
        self._origin = sum(map(lambda offset, stride: offset * stride, box.offsets, strides))
        self._count = math.prod(self._outer)

    def _start(self, row: int) -> int:
        """Where a row begins in the array."""
        start = self._origin
        for size, stride in zip(reversed(self._outer), reversed(self._strides)):
            row, index = divmod(row, size)
            start += index * stride
        return start

    def within(self, begin: int, end: int) -> tuple[int, int]:
        """First and last element of the box among elements ``begin`` to ``end`` of the array."""
        if not self.length:
            return 0, 0
        rows = range(self._count)
        first = bisect.bisect_right(rows, begin, key=self._start) - 1
        last = bisect.bisect_left(rows, end, key=self._start) - 1
        if last < 0:
            return 0, 0
        skipped = 0 if first < 0 else min(begin - self._start(first), self.length)
        return (
            max(first, 0) * self.length + skipped,
            last * self.length + min(end - self._start(last), self.length),
        )

    def global_of(self, element: int) -> int:
        """Where an element of the box is in the array."""
        row, rest = divmod(element, self.length)
        return self._start(row) + rest

    def spread(self, first: int, count: int, base: int) -> Iterator[tuple]:
        """``(of those elements, in the array from base on)``: indices or slices, for the ``count``
        elements of the box from ``first`` on.
        """
        if self.length < _LONG_ROW:
            elements = first + np.arange(count)
            row, at = np.divmod(elements, self.length)
            at += self._origin
            for size, stride in zip(reversed(self._outer), reversed(self._strides)):
                row, index = np.divmod(row, size)
                at += index * stride
            yield slice(None), at - base
            return
        done = 0
        while done < count:
            width = min(count - done, self.length - (first + done) % self.length)
            to = self.global_of(first + done) - base
            yield slice(done, done + width), slice(to, to + width)
            done += width
