"""The zip files of torch.save: where each tensor's bytes lie, without reading them."""

from collections.abc import Mapping
from typing import BinaryIO

from ..errors import CheckpointError
from .contents import Contents
from .place import File
from .state_dicts import from_state_dict, parameters
from .tensors import RAW, StoredTensor, dtype_of, in_memory
from .torch_loading import UnknownPlaces, begin_of, load, load_without_data
from .zip_records import Record, read_index


def read_zip(file: File, opened: BinaryIO, state: str | None) -> Contents:
    """All tensors by name, located by the zip's index; only those that have no one range of bytes
    are read.
    """
    try:
        return Contents(_by_index(file, opened))
    except UnknownPlaces:
        import torch

        why = f"torch {torch.__version__} does not tell where in a file its tensors lie"
        return Contents(_loaded(file, why))


def _by_index(file: File, opened: BinaryIO) -> dict[str, StoredTensor]:
    records, skeleton = read_index(file, opened)
    try:
        state = parameters(load_without_data(skeleton, file), file)
    except CheckpointError:
        if file.remote:
            raise
        # Sparse and quantized tensors have no fakes; a plain load says what they are, or what else
        # is wrong.
        return _loaded(file, "")
    stored, unlocated = {}, []
    for name, tensor in state.items():
        located = _located(name, tensor, file, records)
        if located is None:
            unlocated.append(name)
        else:
            stored[name] = located
    if unlocated:
        # Views with gaps and expanded tensors have no one range of bytes: these few are read now.
        with file.open_whole(
            f"tensor {unlocated[0]!r} has no one range of bytes (a view with gaps, or expanded)"
        ) as whole:
            loaded = parameters(load(whole, file), file)
        stored |= {name: in_memory(loaded[name]) for name in unlocated}
    return {name: stored[name] for name in state}


def _loaded(file: File, why: str) -> dict[str, StoredTensor]:
    with file.open_whole(why) as whole:
        return from_state_dict(load(whole, file), file)


def _located(name: str, tensor, file: File, records: Mapping[int, Record]) -> StoredTensor | None:
    dtype, size, storage = dtype_of(tensor), tensor.element_size(), tensor.untyped_storage()
    start = 0
    if dtype in RAW and tensor.numel():
        record = records.get(begin_of(storage))
        if record is None:
            raise CheckpointError(
                f"{file}: tensor {name!r} points to where no record of the file begins; fetch or"
                " save it again"
            )
        extent = (
            tensor.storage_offset()
            + 1
            + sum((n - 1) * stride for n, stride in zip(tensor.shape, tensor.stride()))
        ) * size
        if max(extent, storage.nbytes()) > record.size:
            raise CheckpointError(
                f"{file}: tensor {name!r} needs {max(extent, storage.nbytes()):,} bytes of a record"
                f" that has {record.size:,}; fetch or save it again"
            )
        start = record.start
    strides = None if tensor.is_contiguous() else tensor.stride()
    if strides and not _is_dense(tensor):
        return None
    offset = start + tensor.storage_offset() * size
    return StoredTensor(
        dtype,
        tuple(tensor.shape),
        file,
        offset,
        strides=strides,
        identity=(file, offset, strides, tuple(tensor.shape)),
    )


def _is_dense(tensor) -> bool:
    expected = 1
    for stride, size in sorted(
        (stride, size) for stride, size in zip(tensor.stride(), tensor.shape) if size > 1
    ):
        if stride != expected:
            return False
        expected *= size
    return True
