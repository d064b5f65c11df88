"""Safetensors files by their headers: where each tensor lies.

The checks are those of safetensors' own library, which makes them on whole files and does not tell
the offsets.
"""

from typing import BinaryIO

from ..errors import CheckpointError
from .contents import Contents
from .json_text import LONGEST_JSON, parse_json
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


def read_safetensors(file: File, opened: BinaryIO, state: str | None) -> Contents:
    """The tensors of the state that is θ, in the order in which they lie."""
    return choose_state(stored_tensors(file, opened)[0], file, state)


def stored_tensors(file: File, opened: BinaryIO) -> tuple[dict[str, StoredTensor], dict[str, str]]:
    """All tensors by name, in the order in which they lie, and the metadata of the file."""
    metadata: dict[str, str] = {}
    header, start = read_header(file, opened, file.size, metadata)
    tensors = {
        name: StoredTensor(
            _DTYPES.get(entry["dtype"], entry["dtype"]),
            tuple(entry["shape"]),
            file,
            start + entry["data_offsets"][0],
        )
        for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"])
    }
    return tensors, metadata


def read_header(
    path, file: BinaryIO, size: int, metadata: dict[str, str] | None = None
) -> tuple[dict, int]:
    """The header of ``file``, of ``size`` bytes, as a dict without its metadata, which go into
    ``metadata``, and the byte at which the tensors begin; a CheckpointError if the tensors do not
    fill the rest exactly.
    """
    length = int.from_bytes(file.read(8), "little")
    if not 2 <= length <= min(size - 8, LONGEST_JSON):
        raise _damaged(path, f"its header would have {length:,} bytes")
    try:
        header = parse_json(file.read(length), unique=True)
        found = header.pop("__metadata__", None) or {}
        if metadata is not None:
            metadata.update(found)
        end = _end_of_tensors(header)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise _damaged(path, error) from error
    if 8 + length + end != size:
        raise _damaged(path, f"its tensors end at byte {8 + length + end:,} of {size:,}")
    return header, 8 + length


def _end_of_tensors(header: dict) -> int:
    end = 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        start, stop = entry["data_offsets"]
        if start != end or not all(
            type(number) is int and number >= 0 for number in (start, stop, *entry["shape"])
        ):
            raise ValueError(f"{name!r} begins at {start}, where {end} was expected")
        bits = _BITS[entry["dtype"]]
        for length in entry["shape"]:
            bits *= length
        if bits != 8 * (stop - start):
            raise ValueError(
                f"{name!r} has {stop - start} bytes, which its shape {entry['shape']} of"
                f" {entry['dtype']} does not fill"
            )
        end = stop
    return end


def _damaged(path, reason) -> CheckpointError:
    return CheckpointError(
        f"{path}: damaged or no safetensors file ({reason}); fetch or save it again"
    )
