"""From the tensors of a pickle to where in a file their bytes lie."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

from ..errors import CheckpointError
from .contents import Contents
from .parsed import Parsed
from .place import Place
from .strided import Strided
from .tensors import RAW, StoredTensor, in_memory
from .tree import Buffer
from .unpickling import SIZES, Array, Lying, Storage

# Of a storage: the place, the byte at which it begins, how many there are; None where it is not.
Find = Callable[[Storage], tuple[Place, int, int] | None]


def chosen_and_located(pickle: Parsed, where, state: str | None, find: Find) -> Contents:
    """The state that is θ of what a pickle holds, each of its tensors where ``find`` says that its
    storage lies.
    """
    chosen = pickle.chosen(where, state)
    tensors: Mapping[str, Any] = chosen.tensors
    return replace(
        chosen,
        tensors={name: located(name, tensor, where, find) for name, tensor in tensors.items()},
        parsed=(pickle,),
    )


def located(name: str, tensor: Any, where, find: Find) -> StoredTensor:
    """Where a tensor of a pickle lies; ``name`` and ``where`` are for errors."""
    is_buffer = False
    if isinstance(tensor, Buffer):
        is_buffer, tensor = True, tensor.tensor
    found = _stored(name, tensor, where, find)
    return found._replace(is_buffer=True) if is_buffer else found


def _stored(name: str, tensor: Lying | Array, where, find: Find) -> StoredTensor:
    if isinstance(tensor, Array):
        if tensor.values is None:
            return StoredTensor(tensor.dtype, tensor.shape)
        return in_memory(tensor.values)
    dtype, shape = tensor.dtype, tensor.shape
    how = _lying(shape, tensor.strides)
    if not how.size:
        return StoredTensor(dtype, shape)
    place, begin = _checked(name, tensor, how.extent, where, find)
    size = SIZES[dtype]
    begin += tensor.start * size
    identity = (place, begin, tensor.strides, shape)
    if dtype not in RAW:
        return StoredTensor(dtype, shape, identity=identity)
    if not how.is_dense:
        place = Strided(place, begin, shape, tensor.strides, size)
        return StoredTensor(dtype, shape, place, identity=identity)
    strides = None if how.is_rows_first else tensor.strides
    return StoredTensor(dtype, shape, place, begin, strides, identity)


def _checked(name: str, tensor: Lying, extent: int, where, find: Find) -> tuple[Place, int]:
    """Where the tensor's storage begins, if all of it is there and the tensor lies within."""
    found = find(tensor.storage)
    if found is None:
        raise CheckpointError(
            f"{where}: the record of tensor {name!r} is missing; fetch or save it again"
        )
    place, begin, there = found
    before = tensor.storage.begin * SIZES[tensor.storage.dtype]
    needed = max(
        before + (tensor.start + extent) * SIZES[tensor.dtype],
        before + tensor.storage.nbytes,
    )
    if needed > there:
        raise CheckpointError(
            f"{where}: tensor {name!r} needs {needed:,} bytes of a record that has {there:,}; fetch"
            " or save it again"
        )
    return place, begin + before


class _Lies(NamedTuple):
    """``size`` elements within ``extent`` of the storage, from the first to behind the last."""

    size: int
    extent: int
    is_rows_first: bool
    # Without a gap, in whichever order.
    is_dense: bool


@lru_cache(maxsize=1024)  # a model has few shapes
def _lying(shape: tuple[int, ...], strides: tuple[int, ...]) -> _Lies:
    lengths = [(stride, n) for stride, n in zip(strides, shape) if n > 1]
    is_rows_first = _follow(reversed(lengths))
    return _Lies(
        math.prod(shape),
        1 + sum((n - 1) * stride for stride, n in lengths),
        is_rows_first,
        is_rows_first or _follow(sorted(lengths)),
    )


def _follow(lengths: Iterable[tuple[int, int]]) -> bool:
    """Whether elements lie one behind another, dimension by dimension from the innermost on."""
    expected = 1
    for stride, size in lengths:
        if stride != expected:
            return False
        expected *= size
    return True
