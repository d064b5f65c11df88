"""A tensor's type and place, and how to read a range of it exactly."""

from collections.abc import Sequence
from functools import cache
from math import prod
from typing import Any, NamedTuple

import numpy as np

from .place import Composed, Place
from .strided import Strided

# NumPy has no bfloat16: its bytes travel as uint16 and are shifted into the upper half of a
# float32, which is exact.
RAW: dict[str, np.dtype] = {
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(np.uint16),
    "float32": np.dtype(np.float32),
    "float64": np.dtype(np.float64),
}


class StoredTensor(NamedTuple):
    """``shape`` elements of ``dtype``, dense, from byte ``offset`` of ``place`` on; one whose dtype
    is not in RAW cannot be read and may have no place.
    """

    dtype: str
    shape: tuple[int, ...]
    place: Place | None = None
    offset: int = 0
    # Of a tensor whose elements lie dense but not in row-major order (channels_last): the order
    # must be the same in all checkpoints.
    strides: tuple[int, ...] | None = None
    # Equal for two names of one tensor.
    identity: tuple = ()
    is_buffer: bool = False

    @property
    def size(self) -> int:
        """Elements."""
        return prod(self.shape)

    @property
    def itemsize(self) -> int:
        """Bytes of an element."""
        return RAW[self.dtype].itemsize

    @property
    def places(self) -> tuple[Place, ...]:
        """All places that hold some of it; none of a tensor that cannot be read."""
        if isinstance(self.place, Composed):
            return tuple(self.place.places)
        return () if self.place is None else (self.place,)

    def ranges(self, start: int, stop: int) -> list[tuple[Place, int, int]]:
        """Where elements ``start`` to ``stop`` lie: ``(place, begin, end)``, in bytes; several
        where the tensor lies in pieces.
        """
        place, begin, end = self._range(start, stop)
        return place.ranges(begin, end) if isinstance(place, Composed) else [(place, begin, end)]

    def read_into(self, start: int, stop: int, row: np.ndarray) -> None:
        """Elements ``start`` to ``stop`` into ``row``, of float64, float32 or the tensor's own RAW
        type: exact, or a TypeError.
        """
        raw, place = RAW[self.dtype], self.place
        assert place is not None, f"a tensor of {self.dtype} is nowhere"
        begin = self.offset + start * raw.itemsize
        if raw == row.dtype:
            place.read_into(begin, row)
            return
        values = place.values(begin, stop - start, raw)
        # A signalling NaN is one like others: the pass names its checkpoint.
        with np.errstate(invalid="ignore"):
            if row.dtype != np.float32 or self.dtype == "float64":
                if self.dtype == "bfloat16":
                    values = _upper_halves(values, np.empty(len(values), np.float32))
                np.copyto(row, values, casting="safe")
            elif self.dtype == "bfloat16":
                _upper_halves(values, row)
            else:
                # NumPy converts one number after the other, in twice the time.
                np.take(_float16_values(), values.view(np.uint16), out=row, mode="wrap")

    def _range(self, start: int, stop: int) -> tuple[Place, int, int]:
        assert self.place is not None, f"a tensor of {self.dtype} is nowhere"
        return (
            self.place,
            self.offset + start * self.itemsize,
            self.offset + stop * self.itemsize,
        )


def joined_ranges(
    tensors: Sequence[StoredTensor], ranges: Sequence[tuple[Any, int, int]]
) -> list[tuple[StoredTensor, int, int]]:
    """``(tensor, start, stop)``, a range of each, as fewer where tensors of one type lie one behind
    the other in a file on this machine: then as elements of the first.
    """
    found: list[tuple[StoredTensor, int, int]] = []
    for tensor, (_, first, last) in zip(tensors, ranges):
        if found:
            before, start, stop = found[-1]
            size = tensor.itemsize
            if (
                tensor.place is before.place
                and tensor.dtype == before.dtype
                and tensor.offset + first * size == before.offset + stop * size
                and tensor.place is not None
                and not is_far(tensor.place)
            ):
                found[-1] = before, start, stop + last - first
                continue
        found.append((tensor, first, last))
    return found


def _upper_halves(values: np.ndarray, row: np.ndarray) -> np.ndarray:
    bits = row.view(np.uint32)
    np.copyto(bits, values)
    np.left_shift(bits, 16, out=bits)
    return row


@cache
def _float16_values() -> np.ndarray:
    """All of them, by their bits."""
    return np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)


class Held:
    """Bytes in memory, of one array."""

    def __init__(self, array: np.ndarray):
        self._bytes = array.reshape(-1).view(np.uint8)

    def __str__(self) -> str:
        return "memory"

    def read_into(self, offset: int, buffer: np.ndarray) -> None:
        target = buffer.view(np.uint8)
        target[:] = self._bytes[offset : offset + len(target)]

    def values(self, offset: int, count: int, dtype: np.dtype) -> np.ndarray:
        return self._bytes[offset : offset + count * dtype.itemsize].view(dtype)

    def stamp(self) -> None:
        return None


def is_far(place: Place) -> bool:
    """Whether what lies there has to be fetched."""
    return not isinstance(place, Held) and getattr(place, "remote", True)


def in_memory(value) -> StoredTensor:
    """A tensor of torch's or NumPy's, which is not copied where it lies in row-major order."""
    if isinstance(value, (np.ndarray, np.generic)):
        value = np.asarray(value)
        dtype = value.dtype.name
        native = value.dtype.newbyteorder("=")  # a name says nothing of the order of bytes
        return StoredTensor(
            dtype,
            value.shape,
            Held(np.ascontiguousarray(value, native)) if dtype in RAW else None,
            identity=(value.__array_interface__["data"][0], value.shape, value.strides),
        )
    dtype, shape = dtype_of(value), tuple(value.shape)
    if dtype not in RAW:
        return StoredTensor(dtype, shape)
    # Of negated views, and of zeros that lie nowhere, the values.
    is_negated = value.is_neg()
    flat = value.detach().cpu().resolve_neg().contiguous().reshape(-1)
    if dtype == "bfloat16":
        import torch

        flat = flat.view(torch.uint16)
    return StoredTensor(
        dtype,
        shape,
        Held(flat.numpy(force=True)),
        identity=(value.data_ptr(), shape, value.stride(), is_negated),
    )


def dtype_of(tensor) -> str:
    """The type's name, as RAW has it, of a tensor of torch's or NumPy's."""
    return str(tensor.dtype).removeprefix("torch.")


def rows_first(tensor: StoredTensor) -> StoredTensor:
    """The same tensor with its elements in row-major order."""
    if tensor.strides is None or tensor.place is None:
        return tensor
    place = Strided(tensor.place, tensor.offset, tensor.shape, tensor.strides, tensor.itemsize)
    return tensor._replace(place=place, offset=0, strides=None)
