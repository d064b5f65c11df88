"""Tensors that tensor-parallel ranks of Megatron, GPT-NeoX and their kin wrote a share of each.

Their files do not say how a tensor was split; its name does. A column-parallel layer's rows are
split over ranks, a row-parallel layer's columns, all else is the same in each. Inner products ask
for one order of the numbers in all checkpoints, not for the true one: how queries, keys and values
alternate within a matrix is left as it is.
"""

import re
from collections.abc import Sequence

import numpy as np

from ..pieces import joined, part
from ..tensors import StoredTensor, in_memory

_ROWS = re.compile(
    r"(^|\.)(word_embeddings|output_layer|final_linear|lm_head"
    r"|query_key_value|linear_qkv|linear_q_proj|linear_q_up_proj|linear_kv_up_proj|key_value|query"
    r"|attention\.qkv|dense_h_to_4h|dense_h_to_4h_swiglu|linear_fc1|linear1|w1|w3"
    r"|in_proj|conv1d)[._](weight|bias)\d*$"
    r"|(^|\.)mixer\.(A_log|D|dt_bias|norm\.weight)$"
    r"|(^|\.)fc1_(weight|bias)$"
)
_COLUMNS = re.compile(
    r"(^|\.)(attention\.dense|self_attention\.dense|inter_attention\.dense|linear_proj"
    r"|attention\.proj|dense_4h_to_h|linear_fc2|linear2|w2|out_proj)[._]weight\d*$"
    r"|(^|\.)fc2_weight$"
)
_COLUMNS_BIAS = re.compile(
    r"(^|\.)(attention\.dense|self_attention\.dense|inter_attention\.dense|linear_proj"
    r"|attention\.proj|dense_4h_to_h|linear_fc2|linear2|w2|out_proj|fc2)[._]bias\d*$"
)
_SAME = re.compile(
    r"norm|(^|\.)(position|tokentype|rotary|wpe)_?embeddings?\.|router\.|inv_freq$", re.IGNORECASE
)
_GATED = re.compile(r"(^|\.)(linear_fc1|dense_h_to_4h|fc1)[._](weight|bias)\d*$")
# Of a tensor with another name, whether the ranks have the same is looked at: in the first and last
# so many numbers.
_LOOKED_AT = 4096


def of_ranks(name: str, shares: Sequence[StoredTensor], where, gated: bool = False) -> StoredTensor:
    """The tensor whose shares the ranks have, in their order.

    ``gated`` says that a first layer's rows are two halves, a gate and what it lets through, of
    which each rank has a part. A tensor whose name says nothing, and that differs between ranks,
    gets one dimension more, of ranks: right within one checkpoint, and no other number of ranks has
    its shape.
    """
    first = shares[0]
    if len(shares) == 1:
        return first
    if _ROWS.search(name) and first.shape:
        halves = gated and _GATED.search(name) is not None
        return _beside(_halves_in_order(shares) if halves else shares, 0, f"{where}: {name}")
    if _COLUMNS.search(name) and len(first.shape) == 2:
        return _beside(shares, 1, f"{where}: {name}")
    if is_after_sum(name) or _SAME.search(name) or have_the_same(shares):
        return first
    shape = (len(shares), *first.shape)
    pieces = [
        ((rank, *[0] * len(first.shape)), part(share, 0, (1, *share.shape)))
        for rank, share in enumerate(shares)
    ]
    return joined(shape, pieces, f"{where}: {name}")


def is_after_sum(name: str) -> bool:
    """Whether it is the bias of a row-parallel layer, which is added where ranks are summed."""
    return bool(_COLUMNS_BIAS.search(name))


def is_same(name: str) -> bool:
    """Whether all ranks have the whole, by its name."""
    return is_after_sum(name) or bool(_SAME.search(name))


def added(shares: Sequence[StoredTensor], is_mean: bool) -> StoredTensor:
    """The sum of small tensors, or their mean, in memory, in the type in which they lie."""
    values = [_values(share, 0, share.size) for share in shares]
    total = values[0]
    for value in values[1:]:
        total = total + value
    if is_mean:
        total = total / total.dtype.type(len(values))
    return in_memory(total.reshape(shares[0].shape))


def _beside(shares: Sequence[StoredTensor], dimension: int, where) -> StoredTensor:
    shape, begin, pieces = list(shares[0].shape), 0, []
    for share in shares:
        offsets = [0] * len(shape)
        offsets[dimension] = begin
        pieces.append((tuple(offsets), share))
        begin += share.shape[dimension] if len(share.shape) == len(shape) else 0
    shape[dimension] = begin
    return joined(shape, pieces, where)


def _halves_in_order(shares: Sequence[StoredTensor]) -> list[StoredTensor]:
    halves = []
    for half in (0, 1):
        for share in shares:
            rows, *rest = share.shape
            size = share.size // 2
            halves.append(part(share, half * size, (rows // 2, *rest)))
    return halves


def have_the_same(shares: Sequence[StoredTensor]) -> bool:
    """Whether the ranks have one tensor, by its first and last numbers."""
    first = shares[0]
    if any(share.shape != first.shape or share.dtype != first.dtype for share in shares):
        return False
    if first.place is None:
        return True
    spans = {(0, min(first.size, _LOOKED_AT)), (max(first.size - _LOOKED_AT, 0), first.size)}
    return all(
        np.array_equal(_values(first, *span), _values(share, *span), equal_nan=True)
        for share in shares[1:]
        for span in spans
    )


def _values(tensor: StoredTensor, start: int, stop: int) -> np.ndarray:
    """In the type in which it lies, or float32 where NumPy has none."""
    kind = np.float32 if tensor.dtype == "bfloat16" else np.dtype(tensor.dtype)
    found = np.empty(stop - start, kind)
    tensor.read_into(start, stop, found)
    return found
