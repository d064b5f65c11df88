"""NumPy's ``.npz``: a zip of arrays, each behind a header of its own."""

import io
import math
from typing import BinaryIO

import numpy as np

from ..errors import CheckpointError
from .boundary import damage_named
from .contents import Contents
from .place import File
from .states import choose_state
from .tensors import RAW, StoredTensor
from .zip_records import Record, read_index

_FIRST_READ = 1 << 12


def read_npz(file: File, opened: BinaryIO, state: str | None) -> Contents:
    """The arrays of the state that is θ, where they lie: ``np.savez`` compresses nothing."""
    records, _ = read_index(file, opened, lambda name: False, _problem)
    return choose_state(
        {
            name.removesuffix(".npy"): _stored(file, opened, record)
            for name, record in records.items()
        },
        file,
        state,
    )


def _problem(names) -> str | None:
    if {"increments.npy", "squared_path.npy"} <= set(names):
        return "is a kernel, not a checkpoint; open it with th.load_kernel"
    other = next((name for name in names if not name.endswith(".npy")), None)
    if other is not None or not names:
        return f"is no .npz of arrays (it holds {other or 'nothing'}); save it with numpy.savez"
    return None


def _stored(file: File, opened: BinaryIO, record: Record) -> StoredTensor:
    opened.seek(record.start)
    start = io.BytesIO(opened.read(min(_FIRST_READ, record.size)))
    with damage_named(f"{file}: the header of array {record.name!r}"):
        version = np.lib.format.read_magic(start)
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, in_columns, dtype = read(start, max_header_size=_FIRST_READ)
    if dtype.byteorder == ">":
        raise CheckpointError(
            f"{file}: array {record.name!r} is big-endian; save it with the bytes of this machine"
        )
    if not all(type(size) is int and size >= 0 for size in shape):
        raise CheckpointError(
            f"{file}: array {record.name!r} has shape {shape}; fetch or save it again"
        )
    if dtype.hasobject:
        return StoredTensor(str(dtype), ())
    if start.tell() + math.prod(shape) * dtype.itemsize != record.size:
        raise CheckpointError(
            f"{file}: array {record.name!r} of {shape} does not fill its record; fetch or save it"
            " again"
        )
    if dtype.name not in RAW:
        return StoredTensor(dtype.name, shape)
    strides = [math.prod(shape[:at]) for at in range(len(shape))] if in_columns else None
    return StoredTensor(
        dtype.name,
        shape,
        file,
        record.start + start.tell(),
        tuple(strides) if strides and len([size for size in shape if size > 1]) > 1 else None,
    )
