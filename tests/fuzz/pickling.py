"""Changes of pickles by their operations."""

import pickletools
import struct
from random import Random

from nests import another_number, another_text

# Harmless, all of them: torch reads some, and none runs anything.
_GLOBALS = (
    b"ctorch._utils\n_rebuild_tensor_v2\n",
    b"ctorch._utils\n_rebuild_parameter\n",
    b"ctorch._utils\n_rebuild_qtensor\n",
    b"ctorch._utils\n_rebuild_sparse_tensor\n",
    b"ctorch._utils\n_rebuild_device_tensor_from_numpy\n",
    b"ctorch._utils\n_rebuild_wrapper_subclass\n",
    b"ctorch._tensor\n_rebuild_from_type_v2\n",
    b"ctorch\nFloatStorage\n",
    b"ctorch\nDoubleStorage\n",
    b"ctorch\nBFloat16Storage\n",
    b"ctorch\nLongStorage\n",
    b"ctorch.storage\nUntypedStorage\n",
    b"ctorch\nfloat64\n",
    b"ctorch\nSize\n",
    b"ctorch\ndevice\n",
    b"ccollections\nOrderedDict\n",
    b"ccollections\ndefaultdict\n",
    b"cnumpy._core.multiarray\n_reconstruct\n",
    b"cnumpy._core.multiarray\nscalar\n",
    b"cnumpy\nndarray\n",
    b"cnumpy\ndtype\n",
    b"c_codecs\nencode\n",
    b"c__builtin__\nset\n",
    b"cmain\nNet\n",
)
# Operations of one byte, each by itself; some with arguments; deep and endless ones.
_ALONE = b"N\x88\x89]})(02Rbsuaetld\x81\x85\x86\x87Q\x94.\x8f\x90\x911o\x92\x93\x97\x98"
_PLAIN = tuple(bytes([code]) for code in _ALONE)
_PLAIN += (b"K\3", b"J\xff\xff\xff\x7f", b"h\0", b"h\5", b"q\0", b"q\5", b"X\1\0\0\0w", b"U\1w")
_PLAIN += (b"C\1w", b"G\x7f\xf0" + bytes(6), b"\x8a\0", b"I01\n", b"P0\n", b"\x8c\1w", b"S'w'\n")
_PLAIN += (b"B\xff\xff\xff\x7f", b"X\xff\xff\xff\xff", b"r\xff\xff\xff\xff", b"j\xff\xff\xff\xff")
_PLAIN += (b"\x8d" + b"\xff" * 8, b"\x8b\xff\xff\xff\x7f", b"\x95" + b"\xff" * 8, b"\x82\1")
_PLAIN += (b"\x84" + bytes(4), b"i__main__\nNet\n", b"V\\ud800\n", b"F1e999\n")
_PLAIN += (b"(" * 300, b"]" * 300, b"\x85" * 2000, b"L" + b"1" * 5000 + b"L\n")
_IN_PLACE = {"BININT1": 1, "BININT2": 2, "BININT": 4, "BINGET": 1, "BINPUT": 1, "LONG_BINGET": 4}
_IN_PLACE |= {"LONG_BINPUT": 4, "SHORT_BINUNICODE": 1, "BINUNICODE": 4, "LONG1": 1, "PROTO": 1}


def operations(content: bytes, start: int = 0) -> list[tuple[str, object, int, int]]:
    """Name, argument, beginning and end of all operations of the pickles that lie one behind the
    other from ``start`` on.
    """
    found: list[tuple[str, object, int, int]] = []
    at = start
    while content[at : at + 1] == b"\x80":
        ops = []
        try:
            ops = [(op.name, arg, place) for op, arg, place in pickletools.genops(content[at:])]
        except Exception:  # whatever a damaged pickle does to pickletools
            return found
        ends = [place for _, _, place in ops[1:]] + [ops[-1][2] + 1]
        found += [(name, arg, at + place, at + end) for (name, arg, place), end in zip(ops, ends)]
        at = found[-1][3]
    return found


def changed(content: bytes, random: Random) -> bytes:
    """The pickles at the beginning of ``content`` with an operation changed."""
    ops = operations(content)
    if not ops:
        return content[1:]
    name, argument, begin, end = random.choice(ops)
    change = random.randrange(10)
    if change == 0:
        return content[:begin] + content[end:]
    if change == 1:
        return content[:end] + content[begin:end] * random.choice((1, 1, 2, 100)) + content[end:]
    if change == 2:
        return content[:begin] + random.choice(_PLAIN + _GLOBALS) + content[end:]
    if change == 3:
        return content[:begin] + random.choice(_PLAIN + _GLOBALS) + content[begin:]
    if change == 4:
        low, high = sorted(random.choices(range(len(ops)), k=2))
        run = content[ops[low][2] : ops[min(high, low + 40)][3]]
        return content[:begin] + run + content[begin:]
    if change == 5:
        low = random.randrange(len(ops))
        run = content[ops[low][2] : ops[min(len(ops) - 1, low + random.randrange(20))][3]]
        return content[:begin] + run + content[end:]
    kinds = {"number": int, "text": str}
    kind = kinds[random.choice(("number", "number", "text"))]
    named = [op for op in ops if type(op[1]) is kind and op[0] != "PROTO" and "BIN" in op[0]]
    if not named:
        return content[:begin] + content[end:]
    name, argument, begin, end = random.choice(named)
    return content[:begin] + _another(name, argument, random) + content[end:]


def changed_in_place(content: bytes, random: Random) -> bytes:
    """An argument changed within its bytes, of a pickle anywhere in ``content``."""
    starts = [
        at for at in range(len(content) - 1) if content[at : at + 2] in (b"\x80\2", b"\x80\4")
    ]
    ops = operations(content, random.choice(starts)) if starts else []
    fixed = [op for op in ops if op[0] in _IN_PLACE]
    if not fixed:
        return content[: len(content) // 2]
    name, argument, begin, _ = random.choice(fixed)
    size = _IN_PLACE[name]
    number = another_number(random, argument if isinstance(argument, int) else size)
    data = (number & ((1 << 8 * size) - 1)).to_bytes(size, "little")
    return content[: begin + 1] + data + content[begin + 1 + size :]


def _another(name: str, argument, random: Random) -> bytes:
    if name in ("BINGET", "LONG_BINGET", "BINPUT", "LONG_BINPUT"):
        number = another_number(random, argument) & 0xFFFFFFFF
        return (b"j" if "GET" in name else b"r") + struct.pack("<I", number)
    if isinstance(argument, str):
        text = another_text(random, argument).encode(errors="surrogatepass")
        return b"X" + struct.pack("<I", len(text)) + text
    number = another_number(random, argument)
    data = number.to_bytes(number.bit_length() // 8 + 1, "little", signed=True)
    if -(1 << 31) <= number < 1 << 31:
        return b"J" + struct.pack("<i", number)
    return (
        b"\x8a" + bytes([len(data)]) + data
        if len(data) < 256
        else b"\x8b" + struct.pack("<i", len(data)) + data
    )
