"""From the tensors of a pickle to where in a file their bytes lie."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from ..errors import CheckpointError
from .contents import Contents
from .place import Place
from .states import choose_state
from .strided import Strided
from .tensors import RAW, StoredTensor, in_memory
from .tree import Buffer
from .unpickling import SIZES, Array, Lying, Storage

# Of a storage: the place, the byte at which it begins, how many there are; None where it is not.
Find = Callable[[Storage], tuple[Place, int, int] | None]


def chosen_and_located(content: Any, where, state: str | None, find: Find) -> Contents:
    """The state that is θ of what a pickle holds, each of its tensors where ``find`` says that its
    storage lies.
    """
    chosen = choose_state(content, where, state)
    tensors: Mapping[str, Any] = chosen.tensors
    return replace(
        chosen,
        tensors={name: located(name, tensor, where, find) for name, tensor in tensors.items()},
    )


def located(name: str, tensor: Any, where, find: Find) -> StoredTensor:
    """Where a tensor of a pickle lies; ``name`` and ``where`` are for errors."""
    is_buffer = False
    if isinstance(tensor, Buffer):
        is_buffer, tensor = True, tensor.tensor
    found = _stored(name, tensor, where, find)
    return replace(found, is_buffer=True) if is_buffer else found


def _stored(name: str, tensor: Lying | Array, where, find: Find) -> StoredTensor:
    if isinstance(tensor, Array):
        if tensor.values is None:
            return StoredTensor(tensor.dtype, tensor.shape)
        return in_memory(tensor.values)
    dtype, shape = tensor.dtype, tensor.shape
    count, size = math.prod(shape), SIZES[dtype]
    if not count:
        return StoredTensor(dtype, shape)
    place, begin = _checked(name, tensor, where, find)
    begin += tensor.start * size
    identity = (place, begin, tensor.strides, shape)
    if dtype not in RAW:
        return StoredTensor(dtype, shape, identity=identity)
    spread = sorted((stride, n) for stride, n in zip(tensor.strides, shape) if n > 1)
    strides = None if _rows_first(tensor) else tensor.strides
    if strides and math.prod(n for _, n in spread) != _dense(spread):
        place = Strided(place, begin, shape, strides, size)
        return StoredTensor(dtype, shape, place, identity=identity)
    return StoredTensor(dtype, shape, place, begin, strides, identity)


def _checked(name: str, tensor: Lying, where, find: Find) -> tuple[Place, int]:
    """Where the tensor's storage begins, if all of it is there and the tensor lies within."""
    found = find(tensor.storage)
    if found is None:
        raise CheckpointError(
            f"{where}: the record of tensor {name!r} is missing; fetch or save it again"
        )
    place, begin, there = found
    before = tensor.storage.begin * SIZES[tensor.storage.dtype]
    needed = max(
        before + (tensor.start + _extent(tensor)) * SIZES[tensor.dtype],
        before + tensor.storage.nbytes,
    )
    if needed > there:
        raise CheckpointError(
            f"{where}: tensor {name!r} needs {needed:,} bytes of a record that has {there:,}; fetch"
            " or save it again"
        )
    return place, begin + before


def _extent(tensor: Lying) -> int:
    """Elements of the storage from its first to behind its last."""
    return 1 + sum((n - 1) * stride for n, stride in zip(tensor.shape, tensor.strides))


def _rows_first(tensor: Lying) -> bool:
    expected = 1
    for stride, size in zip(reversed(tensor.strides), reversed(tensor.shape)):
        if size > 1 and stride != expected:
            return False
        expected *= size
    return True


def _dense(spread: list[tuple[int, int]]) -> int | None:
    """The number of elements, if they lie without a gap, in whichever order."""
    expected = 1
    for stride, size in spread:
        if stride != expected:
            return None
        expected *= size
    return expected
