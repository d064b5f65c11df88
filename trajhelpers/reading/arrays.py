"""The arrays of an ``.npz`` that this package wrote, in bounds: of a zip, few bytes may become
many, and an array's header may promise more than any file holds.
"""

import math
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import numpy as np

# So much more than the file an array may be, or so many bytes at least. Sums of products compress
# to little less than they are, but for those of what never moves.
_MOST_TIMES, _LEAST = 100, 1 << 24
_KINDS = "biufU"
_PACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 0x2041
_AT_ONCE = 1 << 20


def most_expanded(size: int) -> int:
    """Bytes that the arrays of a file of ``size`` bytes may have together."""
    return max(_LEAST, _MOST_TIMES * size)


def read_arrays(
    path: Path, names: Sequence[str], optional: Sequence[str] = ()
) -> dict[str, np.ndarray]:
    """Those of these names, in this machine's order of bytes. A KeyError where one is missing that
    is not optional, a ValueError for what is out of bounds.
    """
    found = {}
    with zipfile.ZipFile(path) as archive:
        entries = {entry.filename: entry for entry in archive.infolist()}
        if len(entries) < len(archive.infolist()):
            raise ValueError("two arrays of one name")
        asked = sum(entry.file_size for entry in entries.values())
        if asked > most_expanded(path.stat().st_size):
            raise ValueError(f"arrays of {asked:,} bytes in {path.stat().st_size:,}")
        for name in (*names, *(name for name in optional if f"{name}.npy" in entries)):
            entry = entries[f"{name}.npy"]
            if entry.flag_bits & _ENCRYPTED or entry.compress_type not in _PACKED:
                raise ValueError(f"array {name!r} is encrypted, or packed in an unknown way")
            with archive.open(entry) as stream:
                found[name] = _array(name, stream, entry.file_size)
    return found


def _array(name: str, stream: IO[bytes], size: int) -> np.ndarray:
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0
    if version != (1, 0):
        read = np.lib.format.read_array_header_2_0
    shape, in_columns, dtype = read(stream)
    length = size - stream.tell()
    if dtype.kind not in _KINDS or math.prod(shape) * dtype.itemsize != length:
        raise ValueError(f"array {name!r} of {shape} {dtype} does not fill its {length:,} bytes")
    content = bytearray()
    while len(content) <= length and (more := stream.read(_AT_ONCE)):
        content += more
    if len(content) != length:
        raise ValueError(f"array {name!r} does not end after {length:,} bytes")
    found = np.frombuffer(content, dtype)
    found = found.reshape(shape, order="F" if in_columns else "C")
    return found.astype(dtype.newbyteorder("="), copy=False)
