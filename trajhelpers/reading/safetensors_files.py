"""Safetensors files by their headers: where each tensor lies.

The checks are those of safetensors' own library, which makes them on whole files and does not tell
the offsets.
"""

from collections.abc import Mapping
from dataclasses import replace
from itertools import repeat
from math import prod
from typing import BinaryIO

from ..errors import CheckpointError
from .contents import Contents
from .json_text import LONGEST_JSON, parse_json
from .parsed import EqualHeaders, Parsed
from .partly import KEY, whole_tensors
from .place import File
from .states import choose_state
from .tensors import StoredTensor

_DTYPES = {"F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64"}
_BITS = {
    "BOOL": 8,
    "U8": 8,
    "I8": 8,
    "F8_E5M2": 8,
    "F8_E4M3": 8,
    "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8,
    "F8_E5M2FNUZ": 8,
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    "U16": 16,
    "I16": 16,
    "F16": 16,
    "BF16": 16,
    "U32": 32,
    "I32": 32,
    "F32": 32,
    "U64": 64,
    "I64": 64,
    "F64": 64,
    "C64": 64,
}


class Header(Parsed):
    """``tensors`` in the order in which they lie; ``end`` is the length of the file."""

    def __init__(self, tensors: Mapping[str, StoredTensor], metadata: dict[str, str], end: int):
        super().__init__(tensors)
        self.tensors, self.metadata, self.end = tensors, metadata, end


_HEADERS: EqualHeaders[Header] = EqualHeaders()


def read_safetensors(file: File, opened: BinaryIO, state: str | None) -> Contents:
    """The tensors of the state that is θ, in the order in which they lie."""
    header = read_header(file, opened, file.size)
    if KEY in header.metadata:
        tensors = whole_tensors(file, _within(file, header.tensors), header.metadata[KEY])
        return choose_state(tensors, file, state)
    chosen = header.chosen(file, state)
    return replace(chosen, tensors=_within(file, chosen.tensors), parsed=(header,))


def stored_tensors(file: File, opened: BinaryIO) -> tuple[dict[str, StoredTensor], dict[str, str]]:
    """All tensors by name, in the order in which they lie, and the metadata of the file."""
    header = read_header(file, opened, file.size)
    return _within(file, header.tensors), header.metadata


def _within(file: File, tensors: Mapping[str, StoredTensor]) -> dict[str, StoredTensor]:
    if not tensors:
        return {}
    dtypes, shapes, _, offsets, *_ = zip(*tensors.values())
    return dict(zip(tensors, map(StoredTensor, dtypes, shapes, repeat(file), offsets)))


def read_header(path, file: BinaryIO, size: int) -> Header:
    """The header of ``file``, of ``size`` bytes; a CheckpointError if the tensors do not fill the
    rest exactly.
    """
    length = int.from_bytes(file.read(8), "little")
    if not 2 <= length <= min(size - 8, LONGEST_JSON):
        raise _damaged(path, f"its header would have {length:,} bytes")
    content = file.read(length)
    try:
        header = _HEADERS.parsed(content, lambda: _parsed(content))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise _damaged(path, error) from error
    if header.end != size:
        raise _damaged(path, f"its tensors end at byte {header.end:,} of {size:,}")
    return header


def _parsed(content: bytes) -> Header:
    header = parse_json(content, unique=True)
    metadata = dict(header.pop("__metadata__", None) or {})
    begin = 8 + len(content)
    end, tensors = 0, {}
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        (start, stop), shape, dtype = entry["data_offsets"], tuple(entry["shape"]), entry["dtype"]
        if start != end or not all(
            type(number) is int and number >= 0 for number in (start, stop, *shape)
        ):
            raise ValueError(f"{name!r} begins at {start}, where {end} was expected")
        if _BITS[dtype] * prod(shape) != 8 * (stop - start):
            raise ValueError(
                f"{name!r} has {stop - start} bytes, which its shape {list(shape)} of {dtype} does"
                " not fill"
            )
        tensors[name] = StoredTensor(_DTYPES.get(dtype, dtype), shape, None, begin + start)
        end = stop
    return Header(tensors, metadata, begin + end)


def _damaged(path, reason) -> CheckpointError:
    return CheckpointError(
        f"{path}: damaged or no safetensors file ({reason}); fetch or save it again"
    )
