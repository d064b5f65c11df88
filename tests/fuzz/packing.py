"""msgpack by its specification, as far as flax needs it: independent of the package's reader."""

import struct
from typing import Any, NamedTuple


class Extension(NamedTuple):
    code: int
    data: bytes


_NUMBERS = {0xCA: ">f", 0xCB: ">d", 0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q"}
_NUMBERS |= {0xD0: ">b", 0xD1: ">h", 0xD2: ">i", 0xD3: ">q"}
_CONSTANTS = {0xC0: None, 0xC2: False, 0xC3: True}
_LENGTHS = (">B", ">H", ">I")
_DEEPEST = 200


def unpack(content: bytes) -> Any:
    """The one value; a ValueError where there is none, or more than one."""
    try:
        value, end = _value(content, 0, 0)
    except (struct.error, IndexError, TypeError) as error:
        raise ValueError(str(error)) from error
    if end != len(content):
        raise ValueError("more than one value")
    return value


def pack(value: Any) -> bytes:
    if value is None or value is True or value is False:
        return {None: b"\xc0", False: b"\xc2", True: b"\xc3"}[value]
    if isinstance(value, int):
        value = max(-(1 << 63), min(value, (1 << 64) - 1))
        if 0 <= value < 128:
            return bytes([value])
        return (
            b"\xcf" + struct.pack(">Q", value) if value >= 0 else b"\xd3" + struct.pack(">q", value)
        )
    if isinstance(value, float):
        return b"\xcb" + struct.pack(">d", value)
    if isinstance(value, str):
        content = value.encode(errors="surrogatepass")
        return b"\xdb" + struct.pack(">I", len(content)) + content
    if isinstance(value, bytes):
        return b"\xc6" + struct.pack(">I", len(value)) + value
    if isinstance(value, Extension):
        return b"\xc9" + struct.pack(">Ib", len(value.data), value.code) + value.data
    if isinstance(value, dict):
        # Like msgpack's own library; a map with few keys is what flax files begin with.
        head = bytes([0x80 | len(value)]) if len(value) < 16 else b"\xde" + _short(value)
        return head + b"".join(pack(part) for item in value.items() for part in item)
    head = bytes([0x90 | len(value)]) if len(value) < 16 else b"\xdc" + _short(value)
    return head + b"".join(map(pack, value))


def _short(value) -> bytes:
    return struct.pack(">H", len(value))


def _value(content: bytes, at: int, depth: int) -> tuple[Any, int]:
    if depth > _DEEPEST:
        raise ValueError("too deep")
    kind, at = content[at], at + 1
    if kind < 0x80 or kind >= 0xE0:
        return (kind if kind < 0x80 else kind - 0x100), at
    if kind in _CONSTANTS:
        return _CONSTANTS[kind], at
    if kind in _NUMBERS:
        return _number(content, at, _NUMBERS[kind])
    if kind < 0x90 or kind in (0xDE, 0xDF):
        length, at = (kind & 15, at) if kind < 0x90 else _length(content, at, kind - 0xDD)
        pairs, at = _several(content, at, depth, 2 * length)
        return dict(zip(pairs[::2], pairs[1::2])), at
    if kind < 0xA0 or kind in (0xDC, 0xDD):
        length, at = (kind & 15, at) if kind < 0xA0 else _length(content, at, kind - 0xDB)
        return _several(content, at, depth, length)
    if kind < 0xC0 or 0xD9 <= kind <= 0xDB:
        length, at = (kind & 31, at) if kind < 0xC0 else _length(content, at, kind - 0xD9)
        data, at = _bytes(content, at, length)
        return data.decode(), at
    if 0xC4 <= kind <= 0xC6:
        length, at = _length(content, at, kind - 0xC4)
        return _bytes(content, at, length)
    if 0xD4 <= kind <= 0xD8 or 0xC7 <= kind <= 0xC9:
        length, at = (1 << kind - 0xD4, at) if kind >= 0xD4 else _length(content, at, kind - 0xC7)
        code, at = _number(content, at, ">b")
        data, at = _bytes(content, at, length)
        return Extension(code, data), at
    raise ValueError(f"a byte {kind:#x}")


def _several(content, at, depth, count):
    found = []
    for _ in range(count):
        value, at = _value(content, at, depth + 1)
        found.append(value)
    return found, at


def _length(content, at, which):
    return _number(content, at, _LENGTHS[which])


def _number(content, at, form):
    return struct.unpack_from(form, content, at)[0], at + struct.calcsize(form)


def _bytes(content, at, length):
    if at + length > len(content):
        raise ValueError("it ends too early")
    return content[at : at + length], at + length
