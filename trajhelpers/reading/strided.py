"""A place made of another by strides: views with gaps, expanded tensors, columns before rows."""

import math
from collections.abc import Sequence

import numpy as np

from .place import Composed, Place, read_values


class Strided:
    """A :class:`trajhelpers.reading.place.Place`: the bytes, in row-major order, of an array of
    ``shape`` whose elements lie ``strides`` elements apart, from byte ``begin`` of ``place`` on.
    """

    def __init__(
        self,
        place: Place,
        begin: int,
        shape: Sequence[int],
        strides: Sequence[int],
        itemsize: int,
    ):
        self._place, self._begin, self._itemsize = place, begin, itemsize
        self._shape, self._strides = tuple(shape), tuple(strides)
        self.places = tuple(place.places) if isinstance(place, Composed) else (place,)

    def __str__(self) -> str:
        return str(self._place)

    @property
    def extent(self) -> int:
        """Elements of the other place, from the first that is read to behind the last."""
        return _extent(self._shape, self._strides)

    def ranges(self, begin: int, end: int) -> list[tuple[Place, int, int]]:
        """What is read of the other place for bytes ``begin`` to ``end``."""
        size = self._itemsize
        first, last, *_ = self._lying(begin // size, end // size)
        place, begin, end = self._place, self._begin + first * size, self._begin + last * size
        return place.ranges(begin, end) if isinstance(place, Composed) else [(place, begin, end)]

    def read_into(self, offset: int, buffer: np.ndarray) -> None:
        size = self._itemsize
        target = buffer.reshape(-1).view(f"u{size}")
        if not len(target):
            return
        start = offset // size
        first, last, shape, skipped = self._lying(start, start + len(target))
        values = read_values(
            self._place, self._begin + first * size, last - first, np.dtype(f"u{size}")
        )
        view = strided(values, shape, self._strides[len(self._strides) - len(shape) :])
        target[:] = view.flat[skipped : skipped + len(target)]

    def values(self, offset: int, count: int, dtype: np.dtype) -> np.ndarray:
        return read_values(self, offset, count, dtype)

    def stamp(self) -> tuple | None:
        return self._place.stamp()

    def _lying(self, start: int, stop: int) -> tuple[int, int, tuple[int, ...], int]:
        """Where elements ``start`` to ``stop`` lie: among elements ``first`` to ``last`` of the
        other place, as a part of an array of the last dimensions, so many elements into it.
        """
        if start >= stop:
            return 0, 0, (), 0
        base, rest = 0, (start, stop - 1)
        for dimension in range(len(self._shape)):
            inner = math.prod(self._shape[dimension + 1 :])
            low, high = (number // inner for number in rest)
            rest = (rest[0] % inner, rest[1] % inner)
            if low != high:
                shape = (high - low + 1, *self._shape[dimension + 1 :])
                base += low * self._strides[dimension]
                return base, base + _extent(shape, self._strides[dimension:]), shape, rest[0]
            base += low * self._strides[dimension]
        return base, base + 1, (), 0


def _extent(shape: Sequence[int], strides: Sequence[int]) -> int:
    """Elements from the first of an array to behind its last."""
    return 1 + sum((size - 1) * stride for size, stride in zip(shape, strides))


def strided(values: np.ndarray, shape: Sequence[int], strides: Sequence[int]) -> np.ndarray:
    """A view of ``values``, of one dimension, by strides in elements; an IndexError unless all of
    it lies within them.
    """
    if any(stride < 0 for stride in strides) or _extent(shape, strides) > len(values):
        raise IndexError(f"an array of {tuple(shape)} by {tuple(strides)} in {len(values):,}")
    return np.lib.stride_tricks.as_strided(
        values, shape, [stride * values.itemsize for stride in strides], writeable=False
    )
