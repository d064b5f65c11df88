"""Tensors that lie in pieces, by ranks that each wrote their own, and tensors that are pieces of
another, as flat buffers hold them.
"""

import math
from collections.abc import Sequence

from ..errors import CheckpointError
from .scattered import Box, Scattered
from .tensors import RAW, StoredTensor, rows_first


def joined(
    shape: Sequence[int],
    pieces: Sequence[tuple[Sequence[int], StoredTensor]],
    where,
) -> StoredTensor:
    """One tensor of several: each piece, of its own shape, from its offsets on, one a dimension.

    ``where`` names the tensor in errors: a CheckpointError unless the pieces fill the tensor
    exactly once and are of one type.
    """
    shape = tuple(shape)
    boxes = [(tuple(offsets), tensor.shape) for offsets, tensor in pieces]
    dtypes = {tensor.dtype for _, tensor in pieces}
    if len(dtypes) != 1:
        raise CheckpointError(
            f"{where}: its pieces are {' and '.join(sorted(dtypes)) or 'missing'}; save it again"
        )
    for offsets, sizes in boxes:
        if not len(offsets) == len(sizes) == len(shape) or any(
            offset < 0 or offset + size > whole
            for offset, size, whole in zip(offsets, sizes, shape)
        ):
            raise CheckpointError(
                f"{where}: a piece of shape {sizes} at {offsets} does not lie within {shape};"
                " fetch or save it again"
            )
    filled, wanted = sum(math.prod(sizes) for _, sizes in boxes), math.prod(shape)
    if filled != wanted or _overlap(boxes):
        raise CheckpointError(
            f"{where}: its pieces have {filled:,} of {wanted:,} elements"
            f"{', and overlap' if filled >= wanted else ''}; the files of some ranks are missing,"
            " or of another checkpoint: fetch or save it again"
        )
    dtype = dtypes.pop()
    if len(pieces) == 1:
        return pieces[0][1]._replace(shape=shape)
    if dtype not in RAW or not wanted:
        return StoredTensor(dtype, shape)
    lying = [
        Box(offsets, sizes, tensor.place, tensor.offset)
        for (offsets, sizes), tensor in zip(boxes, (rows_first(tensor) for _, tensor in pieces))
        if tensor.place is not None and tensor.size
    ]
    return StoredTensor(dtype, shape, Scattered(shape, RAW[dtype].itemsize, lying))


def part(tensor: StoredTensor, start: int, shape: Sequence[int]) -> StoredTensor:
    """Elements ``start`` and following of a flat buffer, as a tensor of ``shape``."""
    shape = tuple(shape)
    stop = start + math.prod(shape)
    if not 0 <= start <= stop <= tensor.size or tensor.strides:
        raise ValueError(f"elements {start}:{stop} of a tensor of shape {tensor.shape}")
    return tensor._replace(shape=shape, offset=tensor.offset + start * tensor.itemsize, identity=())


def _overlap(boxes) -> bool:
    """Whether any two share an element. In one dimension, and where only the first is cut,
    neighbours in order tell.
    """
    boxes = sorted(box for box in boxes if math.prod(box[1]))
    for index, (offsets, sizes) in enumerate(boxes):
        for other_offsets, other_sizes in boxes[index + 1 :]:
            if other_offsets[:1] and other_offsets[0] >= offsets[0] + sizes[0]:
                break
            if all(
                max(a, b) < min(a + m, b + n)
                for a, m, b, n in zip(offsets, sizes, other_offsets, other_sizes)
            ):
                return True
    return False
