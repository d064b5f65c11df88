"""Changes of files, by what they are; a ``Random`` says which, so that a number does."""

import io
import json
import re
import struct
import warnings
import zipfile
from collections.abc import Callable, Sequence
from random import Random

import nests
import odd
import packing
import pickling

# By path.
Tree = dict[str, bytes]

_LARGEST = 1 << 19
# Of a zip's local header, its directory, its end, and those of zip64: where the fields are.
_FIELDS = {
    b"PK\3\4": ((4, 2), (6, 2), (8, 2), (14, 4), (18, 4), (22, 4), (26, 2), (28, 2)),
    b"PK\1\2": (
        *((4, 2), (6, 2), (8, 2), (10, 2), (16, 4), (20, 4), (24, 4), (28, 2)),
        *((30, 2), (32, 2), (34, 2), (36, 2), (38, 4), (42, 4)),
    ),
    b"PK\5\6": ((4, 2), (6, 2), (8, 2), (10, 2), (12, 4), (16, 4), (20, 2)),
    b"PK\6\6": ((4, 8), (16, 4), (20, 4), (24, 8), (32, 8), (40, 8), (48, 8)),
    b"PK\6\7": ((4, 4), (8, 8), (16, 4)),
}


def changed(tree: Tree, number: int, others: Sequence[Tree]) -> Tree:
    """One change of one file of a tree, or of the tree, by a number."""
    random = Random(number)
    path = random.choice(sorted(tree))
    if len(tree) > 1 and random.random() < 0.06:
        return _other_files(tree, path, random)
    content = tree[path]
    if random.random() < 0.05:
        content = _spliced(content, random.choice(sorted(random.choice(others).values())), random)
    else:
        content = change(content, random)
    return tree | {path: content[: max(_LARGEST, len(tree[path]))]}


def change(content: bytes, random: Random) -> bytes:
    """One change, of the bytes or of what they say."""
    if not content:
        return bytes([random.randrange(256)])
    known = [rewrite for is_it, rewrite in _KINDS if is_it(content)]
    if known and random.random() < 0.75:
        return random.choice(known)(content, random)
    return _bytes(content, random)


def _other_files(tree: Tree, path: str, random: Random) -> Tree:
    other = random.choice(sorted(tree))
    change = random.randrange(4)
    if change == 0:
        return {name: content for name, content in tree.items() if name != path}
    if change == 1:
        return tree | {path: tree[other]}
    if change == 2:
        return tree | {path: tree[other], other: tree[path]}
    return {(f"x{name}" if name == path else name): content for name, content in tree.items()}


# ---- bytes ----


def _bytes(content: bytes, random: Random) -> bytes:
    at = random.randrange(len(content))
    # Headers are what is read first, and last.
    at = random.choice((at, min(at, random.randrange(64)), max(at, len(content) - 64)))
    length = random.choice((1, 1, 2, 4, 8, 16, 100, random.randrange(1 + len(content))))
    change = random.randrange(9)
    if change == 0:
        return content[:at] + bytes([content[at] ^ 1 << random.randrange(8)]) + content[at + 1 :]
    if change == 1:
        return content[:at] + bytes([random.randrange(256)]) + content[at + 1 :]
    if change == 2:
        return content[:at]
    if change == 3:
        return content[:at] + content[at + length :]
    if change == 4:
        return content[:at] + content[at : at + length] * 2 + content[at + length :]
    if change == 5:
        return content[:at] + random.randbytes(min(length, 64)) + content[at:]
    if change == 6:
        return content[:at] + bytes(min(length, 4096)) + content[at + length :]
    if change == 7:
        return content + random.randbytes(min(length, 64))
    return _overwritten(content, at, random.choice((1, 2, 4, 8)), random)


def _overwritten(content: bytes, at: int, size: int, random: Random) -> bytes:
    """Another whole number at a byte, near to what is there or odd."""
    order = random.choice(("little", "little", "little", "big"))
    there = int.from_bytes(content[at : at + size], order)  # type: ignore[arg-type]
    number = nests.another_number(random, there) & ((1 << 8 * size) - 1)
    return content[:at] + number.to_bytes(size, order) + content[at + size :]  # type: ignore


def _spliced(content: bytes, other: bytes, random: Random) -> bytes:
    """The beginning of one file and the end of another."""
    at = random.randrange(len(content) + 1)
    behind = random.choice((at, random.randrange(len(other) + 1)))
    return content[:at] + other[behind:]


# ---- zips ----


def _is_zip(content: bytes) -> bool:
    return content[:4] == b"PK\3\4"


def _field_of_zip(content: bytes, random: Random) -> bytes:
    signature = random.choice((b"PK\3\4", b"PK\1\2", b"PK\5\6", b"PK\1\2", b"PK\6\6", b"PK\6\7"))
    places = [match.start() for match in re.finditer(re.escape(signature), content)]
    if not places:
        return _bytes(content, random)
    offset, size = random.choice(_FIELDS[signature])
    return _overwritten(content, random.choice(places) + offset, size, random)


def _records_of_zip(content: bytes, random: Random) -> bytes:
    """The records in a new zip, sound but for one change."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            records = [(name, archive.read(name)) for name in archive.namelist()]
    except Exception:  # whatever a damaged zip does to zipfile
        return _field_of_zip(content, random)
    if not records or sum(len(data) for _, data in records) > _LARGEST:
        return _field_of_zip(content, random)
    at = random.randrange(len(records))
    name, data = records[at]
    kind = zipfile.ZIP_STORED
    choice = random.random()
    if choice < 0.75:
        records[at] = name, change(data, random)
    elif choice < 0.8:
        del records[at]
    elif choice < 0.85:
        records.insert(random.randrange(len(records) + 1), (name, change(data, random)))
    elif choice < 0.9:
        records[at] = nests.another_text(random, name), data
    elif choice < 0.93:
        records.append((nests.another_text(random, name), data))
    elif choice < 0.97:
        random.shuffle(records)
    else:
        kind = zipfile.ZIP_DEFLATED
    written = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(written, "w") as archive:
        warnings.simplefilter("ignore")
        for name, data in records:
            safe = name.encode(errors="replace").decode()[:1000] or "x"
            archive.writestr(zipfile.ZipInfo(safe), data, compress_type=kind)
    return written.getvalue()


# ---- JSON, and what begins with it ----


def _is_json(content: bytes) -> bool:
    return content[:1] in b"{["


def _json(content: bytes, random: Random) -> bytes:
    try:
        nest = json.loads(content)
    except (ValueError, RecursionError):
        return _bytes(content, random)
    if random.random() < 0.25:
        marked = nests.changed(nest, Random(random.random()))
        text = json.dumps(marked)
        spots = [match.span() for match in re.finditer(r'"[^"\\]*"(?!:)|-?\d+|null', text)]
        begin, end = random.choice(spots or [(0, len(text))])
        text = text[:begin] + random.choice(odd.JSON) + text[end:]
    elif random.random() < 0.1 and isinstance(nest, dict) and nest:
        key = random.choice(list(nest))
        text = f"{{{json.dumps(key)}: {json.dumps(nest[key])}, {json.dumps(nest)[1:]}"
    else:
        text = json.dumps(nests.changed(nest, random))
    return text.encode(errors="surrogatepass")


def _is_safetensors(content: bytes) -> bool:
    return content[8:9] == b"{" and 2 <= int.from_bytes(content[:8], "little") <= len(content) - 8


def _header_of_safetensors(content: bytes, random: Random) -> bytes:
    end = 8 + int.from_bytes(content[:8], "little")
    header = _json(content[8:end].rstrip(), random)
    length = len(header) if random.random() < 0.95 else random.choice(odd.NUMBERS) & (1 << 64) - 1
    return (length & (1 << 64) - 1).to_bytes(8, "little") + header + content[end:]


# ---- arrays, pickles, msgpack, names ----


def _is_npy(content: bytes) -> bool:
    return content[:6] == b"\x93NUMPY"


def _header_of_npy(content: bytes, random: Random) -> bytes:
    size = struct.unpack_from("<H", content, 8)[0] if len(content) > 10 else 0
    text = content[10 : 10 + size].decode("latin1")
    spots = [match.span() for match in re.finditer(r"\d+|'[^']*'|True|False|[(),{}:]", text)]
    begin, end = random.choice(spots or [(0, len(text))])
    word = text[begin:end]
    odds = [
        *map(repr, odd.TEXTS),
        *map(str, odd.NUMBERS[:-1]),
        "True",
        "None",
        "(" * 90,
        "2,3",
        "-0",
    ]
    another = str(nests.another_number(random, int(word))) if word.isdecimal() else ""
    text = text[:begin] + (another or random.choice(odds)) + text[end:]
    header = text.encode("latin1", errors="replace").rstrip()[:60000]
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return content[:8] + struct.pack("<H", len(header)) + header + content[10 + size :]


def _is_pickle(content: bytes) -> bool:
    return content[:1] == b"\x80" and content[1:2] in b"\1\2\3\4\5"


def _has_pickle(content: bytes) -> bool:
    return b"\x80\2" in content or b"\x80\4" in content


def _is_msgpack(content: bytes) -> bool:
    return not _is_pickle(content) and (0x81 <= content[0] <= 0x8F or content[:1] == b"\xde")


def _msgpack(content: bytes, random: Random) -> bytes:
    try:
        nest = packing.unpack(content)
    except (ValueError, RecursionError):
        return _bytes(content, random)
    arrays: list[tuple[dict, str]] = []
    _find_arrays(nest, arrays)
    if arrays and random.random() < 0.5:
        holder, key = random.choice(arrays)
        found = holder[key]
        try:
            inner = packing.pack(nests.changed(packing.unpack(found.data), random))
        except ValueError:
            inner = _bytes(found.data, random) if found.data else b"\x93"
        code = found.code if random.random() < 0.9 else random.randrange(-4, 5)
        holder[key] = packing.Extension(code, inner)
        return packing.pack(nest)
    try:
        return packing.pack(nests.changed(nest, random))
    except (struct.error, RecursionError):  # of a number that is too large
        return _bytes(content, random)


def _find_arrays(nest, found: list) -> None:
    if isinstance(nest, dict):
        for key, value in nest.items():
            if isinstance(value, packing.Extension):
                found.append((nest, key))
            _find_arrays(value, found)


def _is_lines(content: bytes) -> bool:
    return content[:1].isalpha() and b"\n" in content and len(content) < 4096


def _lines(content: bytes, random: Random) -> bytes:
    """Names of checkpoints, a line each."""
    lines = content.split(b"\n")
    at = random.randrange(len(lines))
    parts = re.findall(rb"\d+|[A-Za-z]+|.", lines[at]) or [b""]
    part = random.randrange(len(parts))
    word = random.choice(odd.WORDS).encode()
    change = random.randrange(6)
    if change == 0:
        parts[part] = word
    elif change == 1:
        parts.insert(part, word)
    elif change == 2:
        del parts[part]
    elif change == 3 and parts[part].isdigit():
        number = nests.another_number(random, int(parts[part]))
        parts[part] = str(number)[:80].encode()
    elif change == 4:
        # In all names: a run of another kind.
        old = parts[part]
        return content.replace(old, word) if old.strip() else content + b"\n" + word
    else:
        return b"\n".join([*lines, lines[at] + word])
    lines[at] = b"".join(parts)
    return b"\n".join(lines)


_KINDS: tuple[tuple[Callable[[bytes], bool], Callable[[bytes, Random], bytes]], ...] = (
    (_is_zip, _field_of_zip),
    (_is_zip, _records_of_zip),
    (_is_zip, _records_of_zip),
    (_is_json, _json),
    (_is_safetensors, _header_of_safetensors),
    (_is_npy, _header_of_npy),
    (_is_pickle, pickling.changed),
    (_is_pickle, pickling.changed),
    (_has_pickle, pickling.changed_in_place),
    (_is_msgpack, _msgpack),
    (_is_lines, _lines),
)
