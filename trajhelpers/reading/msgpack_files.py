"""flax's msgpack files: nested maps, and arrays that are a shape, the name of a type and bytes.

The bytes are passed over, and read later where they lie.
"""

import re
import struct
from collections.abc import Mapping
from typing import Any, BinaryIO

from .contents import Contents
from .pieces import joined, part
from .place import File
from .states import choose_state
from .tensors import StoredTensor

# What flax.training.checkpoints wrote before orbax has no ending.
_LEGACY = re.compile(r"checkpoint_\d+")
_ARRAY, _SCALAR = 1, 3
_DEEPEST, _LONGEST_TEXT = 64, 1 << 20
_MOST_VALUES = 4_000_000
_SIZES = {0xC4: ">B", 0xC5: ">H", 0xC6: ">I", 0xD9: ">B", 0xDA: ">H", 0xDB: ">I"}
_SIZES |= {0xDC: ">H", 0xDD: ">I", 0xDE: ">H", 0xDF: ">I", 0xC7: ">B", 0xC8: ">H", 0xC9: ">I"}
_NUMBERS = {0xCA: ">f", 0xCB: ">d", 0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q"}
_NUMBERS |= {0xD0: ">b", 0xD1: ">h", 0xD2: ">i", 0xD3: ">q"}
_CONSTANTS = {0xC0: None, 0xC2: False, 0xC3: True}
# Where flax splits an array that is longer than msgpack allows.
_CHUNKED = "__msgpack_chunked_array__"


def is_msgpack(name: str, start: bytes) -> bool:
    """Whether a file is a map of strings, as flax writes it."""
    if not (name.endswith(".msgpack") or _LEGACY.fullmatch(name)):
        return False
    first = start[:1]
    return b"\x80" <= first <= b"\x8f" or first in (b"\xde", b"\xdf")


def is_legacy_name(name: str) -> bool:
    """Whether flax.training.checkpoints called its files so.

    >>> is_legacy_name("checkpoint_10"), is_legacy_name("checkpoint_10.json")
    (True, False)
    """
    return bool(_LEGACY.fullmatch(name))


def read_msgpack(file: File, opened: BinaryIO, state: str | None) -> Contents:
    """The arrays of the state that is θ."""
    content = _Reader(file, opened).value(0)
    return choose_state(_with_whole_arrays(content, file), file, state)


class _Reader:
    """One value behind another, from where ``opened`` stands."""

    def __init__(self, file: File, opened: BinaryIO):
        self._file, self._opened, self._count = file, opened, 0

    def value(self, depth: int) -> Any:
        self._count += 1
        if depth > _DEEPEST or self._count > _MOST_VALUES:
            raise ValueError("too many values, or too deep")
        kind = self._bytes(1)[0]
        if kind < 0x80:
            return kind
        if kind >= 0xE0:
            return kind - 0x100
        if kind in _CONSTANTS:
            return _CONSTANTS[kind]
        if kind in _NUMBERS:
            return self._number(_NUMBERS[kind])
        if kind < 0x90 or kind in (0xDE, 0xDF):
            length = kind & 0x0F if kind < 0x90 else self._number(_SIZES[kind])
            return {self._key(depth): self.value(depth + 1) for _ in range(length)}
        if kind < 0xA0 or kind in (0xDC, 0xDD):
            length = kind & 0x0F if kind < 0xA0 else self._number(_SIZES[kind])
            return [self.value(depth + 1) for _ in range(length)]
        if kind < 0xC0 or kind in (0xD9, 0xDA, 0xDB):
            return self._text(kind & 0x1F if kind < 0xC0 else self._number(_SIZES[kind]))
        if kind in (0xC4, 0xC5, 0xC6):
            self._pass_over(self._number(_SIZES[kind]))
            return None
        if 0xD4 <= kind <= 0xD8:
            return self._extension(1 << (kind - 0xD4))
        if kind in (0xC7, 0xC8, 0xC9):
            return self._extension(self._number(_SIZES[kind]))
        raise ValueError(f"a byte {kind:#x} at {self._opened.tell() - 1}")

    def _extension(self, length: int) -> Any:
        code = self._number(">b")
        end = self._opened.tell() + length
        found = self._array() if code == _ARRAY else None
        self._opened.seek(end)
        if end > self._file.size:
            raise ValueError(f"it ends at byte {self._file.size:,} of {end:,}")
        return found

    def _array(self) -> StoredTensor:
        """Shape, name of the type, bytes."""
        if self._bytes(1) != b"\x93":
            raise ValueError("an array without shape, type and bytes")
        shape, dtype = self.value(_DEEPEST - 1), self.value(_DEEPEST - 1)
        kind = self._bytes(1)[0]
        length = self._number(_SIZES[kind]) if kind in (0xC4, 0xC5, 0xC6) else -1
        tensor = StoredTensor(
            _plain(dtype), tuple(map(_whole, shape)), self._file, self._opened.tell()
        )
        if length < 0 or (tensor.dtype in _ITEMS and tensor.size * _ITEMS[tensor.dtype] != length):
            raise ValueError(f"an array of {shape} {dtype} with {length:,} bytes")
        return tensor

    def _key(self, depth: int) -> str:
        key = self.value(depth + 1)
        if not isinstance(key, (str, int)):
            raise ValueError("a map with keys that are no names")
        return str(key)

    def _text(self, length: int) -> str:
        if length > _LONGEST_TEXT:
            raise ValueError(f"a name of {length:,} bytes")
        return self._bytes(length).decode()

    def _number(self, form: str) -> Any:
        return struct.unpack(form, self._bytes(struct.calcsize(form)))[0]

    def _bytes(self, length: int) -> bytes:
        found = self._opened.read(length)
        if len(found) < length:
            raise ValueError(f"it ends at byte {self._file.size:,}, too early")
        return found

    def _pass_over(self, length: int) -> None:
        self._opened.seek(self._opened.tell() + length)


_ITEMS = {"float16": 2, "bfloat16": 2, "float32": 4, "float64": 8}


def _plain(dtype: Any) -> str:
    if not isinstance(dtype, str):
        raise ValueError("an array whose type is no name")
    return dtype


def _whole(number: Any) -> int:
    if type(number) is not int or number < 0:
        raise ValueError(f"a length of {number}")
    return number


def _with_whole_arrays(content: Any, file: File) -> Any:
    """With arrays of more than 1 GB, which flax splits, in one piece."""
    if not isinstance(content, Mapping):
        return content
    if not content.get(_CHUNKED):
        return {key: _with_whole_arrays(value, file) for key, value in content.items()}
    shape = tuple(content["shape"][key] for key in sorted(content["shape"], key=int))
    pieces, begin = [], 0
    for key in sorted(content["chunks"], key=int):
        chunk = content["chunks"][key]
        pieces.append(((begin,), chunk))
        begin += chunk.size
    return part(joined((begin,), pieces, f"{file}: an array in chunks"), 0, shape)
