"""Checkpoint files: where each tensor's bytes lie, without reading them, and how to read a range of
them exactly.

A safetensors header or a zip's index says where a tensor's bytes are, so that ranges of them are
read into reused buffers and a whole checkpoint is never held. Only the legacy (non-zip) format of
torch is loaded whole."""

import json
import os
import re
import struct
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..errors import CheckpointError
from .safetensors_header import read_header
from .zip_records import read_index

# NumPy has no bfloat16: its bytes travel as uint16 and are shifted into the upper half of a
# float32, which is exact.
RAW: dict[str, np.dtype] = {
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(np.uint16),
    "float32": np.dtype(np.float32),
    "float64": np.dtype(np.float64),
}
_SAFETENSORS = {"F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64"}
_NESTED = (
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "module",
    "network",
    "net",
    "params",
    "weights",
)
_OPEN_FILES = 400
# torch's fake tensors and its unpickler keep state of their own, and several headers may be on
# their way.
_FAKES = threading.Lock()


@dataclass(frozen=True)
class StoredTensor:
    """A tensor's type and place: in a file from ``offset`` on, or in memory as a flat array of its
    RAW type.
    """

    dtype: str
    shape: tuple
    path: Path | None = None
    offset: int = 0
    array: np.ndarray | None = None
    # Of a tensor whose elements lie dense but not in row-major order (channels_last): the order
    # must be the same in all checkpoints.
    strides: tuple | None = None
    # Equal for two names of one tensor.
    identity: tuple = ()
    is_buffer: bool = False

    @property
    def size(self):
        return int(np.prod(self.shape, dtype=np.int64))


class OpenFiles:
    """File descriptors shared by the reading threads: kept open while they are few, opened for each
    read when they are many.
    """

    def __init__(self, paths):
        paths = set(paths)
        self._keep = len(paths) <= _OPEN_FILES
        self._stamps = {path: _stamp(os.stat(path)) for path in paths}
        self._descriptors = {}
        self._lock = threading.Lock()

    def read_into(self, path, offset, buffer):
        """Fill ``buffer``, a contiguous array, with the bytes of ``path`` from ``offset`` on."""
        descriptor = self._descriptor(path)
        try:
            view = memoryview(buffer).cast("B")
            while view:
                count = os.preadv(descriptor, [view], offset)
                if count == 0:
                    raise CheckpointError(
                        f"{path}: became shorter while it was read; check that nothing is still"
                        " writing it, and open the trajectory again"
                    )
                view, offset = view[count:], offset + count
        finally:
            if not self._keep:
                os.close(descriptor)

    def stamp(self, path):
        """Size and time of a file, as it was opened."""
        return self._stamps[path]

    def _descriptor(self, path):
        with self._lock:
            if path not in self._descriptors:
                descriptor = os.open(path, os.O_RDONLY)
                if _stamp(os.fstat(descriptor)) != self._stamps[path]:
                    os.close(descriptor)
                    raise CheckpointError(
                        f"{path}: changed since the trajectory was opened; open it again"
                    )
                if not self._keep:
                    return descriptor
                self._descriptors[path] = descriptor
            return self._descriptors[path]

    def __del__(self):
        for descriptor in getattr(self, "_descriptors", {}).values():
            os.close(descriptor)


def _stamp(stat):
    return stat.st_size, stat.st_mtime_ns


def read_checkpoint(path):
    """All tensors of one checkpoint file (or of all the shards of an index), by name, as
    :class:`StoredTensor`. The file is a path, or a :class:`RemoteFile`.
    """
    path = Path(path) if isinstance(path, (str, os.PathLike)) else path
    if path.name.endswith(".index.json"):
        return _sharded(path)
    with path.open("rb") as file:
        start = file.read(64)
        if not start:
            raise CheckpointError(f"{path}: is empty; fetch or save it again")
        if start.startswith(b"version https://git-lfs"):
            raise CheckpointError(
                f"{path}: is a git-lfs pointer, not the weights themselves; fetch them with `git"
                " lfs pull`"
            )
        if start.lstrip()[:1] == b"<":
            raise CheckpointError(
                f"{path}: is a web page (HTML), not a checkpoint; the download failed, fetch it"
                " again"
            )
        if path.suffix == ".safetensors":
            return _safetensors(path, file)
        if start.startswith(b"PK\x03\x04"):
            return _zipped(path, file)
    if not isinstance(path, Path):
        raise CheckpointError(
            f"{path}: is in torch's old format or none of torch's, which can only be loaded whole;"
            " keep whole files with cache=True (--cache)"
        )
    return from_state_dict(_torch_load(path, path), path)


def _sharded(index):
    try:
        shards = json.loads(index.read_text())["weight_map"]
        files = {
            shard: index.parent / shard if isinstance(index, Path) else index.beside(shard)
            for shard in sorted(set(shards.values()))
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{index}: is not an index of shards (no readable 'weight_map'); fetch or save it again"
        ) from error
    missing = [shard for shard, file in files.items() if not file.is_file()]
    if missing:
        raise CheckpointError(
            f"{index}: names shards that are not there: {', '.join(missing)}; fetch them"
        )
    tensors = {}
    for file in files.values():
        tensors.update(read_checkpoint(file))
    absent = sorted(set(shards) - set(tensors))
    if absent:
        raise CheckpointError(
            f"{index}: promises {absent[0]!r}, which shard {shards[absent[0]]} does not hold; fetch"
            " or save it again"
        )
    return {name: tensors[name] for name in shards}


def _safetensors(path, file):
    file.seek(0)
    if isinstance(path, Path):
        from safetensors import SafetensorError, safe_open

        try:
            # The library checks the header: sizes, overlaps, gaps, the file's length. It does not
            # tell offsets, so they are read below.
            with safe_open(path, framework="numpy"):
                pass
        except (SafetensorError, OSError) as error:
            raise CheckpointError(
                f"{path}: damaged or no safetensors file ({error}); fetch or save it again"
            ) from error
        (length,) = struct.unpack("<Q", file.read(8))
        header, start = json.loads(file.read(length)), 8 + length
        header.pop("__metadata__", None)
    else:
        header, start = read_header(path, file, path.size)
    return {
        name: StoredTensor(
            _SAFETENSORS.get(entry["dtype"], entry["dtype"]),
            tuple(entry["shape"]),
            path,
            start + entry["data_offsets"][0],
        )
        for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"])
    }


# ---- torch's own formats ----


def _zipped(path, file):
    records, skeleton = read_index(path, file)
    # Under fake tensors torch.load reads the index alone, and notes where each storage begins.
    try:
        with _FAKES, _fake_tensors():
            state = _parameters(_torch_load(skeleton, path), path)
    except CheckpointError:
        if not isinstance(path, Path):
            raise
        # Sparse and quantized tensors have no fakes; a plain load says what they are, or what else
        # is wrong.
        return from_state_dict(_torch_load(path, path), path)
    stored = {name: _located(name, tensor, path, records) for name, tensor in state.items()}
    unlocated = [name for name, tensor in stored.items() if tensor is None]
    if unlocated and not isinstance(path, Path):
        raise CheckpointError(
            f"{path}: tensor {unlocated[0]!r} has no one range of bytes (a view with gaps, or"
            " expanded); keep whole files with cache=True (--cache), or leave it out with"
            f" exclude={unlocated[0]!r}"
        )
    if unlocated:
        # Views with gaps and expanded tensors have no one range of bytes: these few are read now.
        loaded = _parameters(_torch_load(path, path), path)
        stored |= {name: _in_memory(loaded[name]) for name in unlocated}
    return stored


def _fake_tensors():
    from torch._subclasses.fake_tensor import FakeTensorMode

    return FakeTensorMode()


def _located(name, tensor, path, records):
    dtype, size, storage = _dtype(tensor), tensor.element_size(), tensor.untyped_storage()
    start = 0
    if dtype in RAW and tensor.numel():
        record = records.get(storage._checkpoint_offset)
        if record is None:
            raise CheckpointError(
                f"{path}: tensor {name!r} points to where no record of the file begins; fetch or"
                " save it again"
            )
        extent = (
            tensor.storage_offset()
            + 1
            + sum((n - 1) * stride for n, stride in zip(tensor.shape, tensor.stride()))
        ) * size
        if max(extent, storage.nbytes()) > record.size:
            raise CheckpointError(
                f"{path}: tensor {name!r} needs {max(extent, storage.nbytes()):,} bytes of a record"
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
        path,
        offset,
        strides=strides,
        identity=(path, offset, strides, tuple(tensor.shape)),
    )


def _is_dense(tensor):
    expected = 1
    for stride, size in sorted(
        (stride, size) for stride, size in zip(tensor.stride(), tensor.shape) if size > 1
    ):
        if stride != expected:
            return False
        expected *= size
    return True


def _torch_load(file, path):
    import torch

    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # a damaged pickle can raise anything at all
        refused = re.search(
            r"(?:GLOBAL|[Uu]nsupported (?:class|type|operand|function))\s+([\w.]+)", str(error)
        )
        if refused:
            raise CheckpointError(
                f"{path}: holds {refused[1]}, which is neither a tensor nor a plain container, and"
                " was refused (weights_only=True); nothing in the file has been run. If you trust"
                f" the file, allow it with torch.serialization.add_safe_globals([{refused[1]}]);"
                " better, save model.state_dict() alone"
            ) from error
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(
            f"{path}: damaged or not a checkpoint ({reason}); fetch or save it again"
        ) from error


def _parameters(content, where):
    """The state dict within what a training loop saved, as a flat dict of tensors."""
    if not isinstance(content, Mapping):
        raise CheckpointError(
            f"{where}: holds a {type(content).__name__}, where a dict of tensors was expected; save"
            " model.state_dict()"
        )
    for key in _NESTED:
        if isinstance(content.get(key), Mapping) and (state := dict(_flat(content[key]))):
            return state
    state = {name: value for name, value in content.items() if _is_tensor(value)}
    inner = [
        key
        for key, value in content.items()
        if isinstance(value, Mapping) and "optim" not in str(key) and dict(_flat(value))
    ]
    # A best score or a generator's state beside the weights is a tensor too, but a scalar or of
    # integers.
    if any(len(value.shape) and "float" in _dtype(value) for value in state.values()) or (
        state and not inner
    ):
        return state
    if len(inner) == 1:
        return dict(_flat(content[inner[0]]))
    if inner:
        raise CheckpointError(
            f"{where}: holds several networks, under {', '.join(map(repr, inner))}; save one of"
            " them alone"
        )
    raise CheckpointError(
        f"{where}: no state dict found under its keys {', '.join(map(repr, content)) or '(none)'};"
        f" expected tensors, or one of {', '.join(_NESTED)}"
    )


def _flat(nested, prefix=""):
    for key, value in nested.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        elif _is_tensor(value):
            yield f"{prefix}{key}", value


def _is_tensor(value):
    """Of torch or of NumPy, without importing torch."""
    return hasattr(value, "dtype") and hasattr(value, "shape")


def from_state_dict(content, where):
    """The tensors of a state dict in memory, torch's or NumPy's; ``where`` names it in errors."""
    state = _parameters(content, where)
    for name, value in state.items():
        if getattr(value, "is_sparse", False) or getattr(value, "is_quantized", False):
            raise CheckpointError(
                f"{where}: tensor {name!r} is {'sparse' if value.is_sparse else 'quantized'}, and"
                " only dense tensors can be read; save it as a dense one"
            )
    return {str(name): _in_memory(value) for name, value in state.items()}


def rows_first(tensor):
    """The same tensor with its elements in row-major order, in memory where they were not."""
    if tensor.strides is None:
        return tensor
    raw = RAW[tensor.dtype]
    if not isinstance(tensor.path, Path):
        raise CheckpointError(
            f"{tensor.path}: stores a tensor in another order (channels_last) than other"
            " checkpoints; keep whole files with cache=True (--cache)"
        )
    lying = np.fromfile(tensor.path, raw, tensor.size, offset=tensor.offset)
    ordered = np.lib.stride_tricks.as_strided(
        lying, tensor.shape, [stride * raw.itemsize for stride in tensor.strides]
    )
    return replace(tensor, array=np.ascontiguousarray(ordered).reshape(-1), strides=None)


def _in_memory(value):
    if isinstance(value, (np.ndarray, np.generic)):
        value = np.asarray(value)
        return StoredTensor(
            value.dtype.name,
            value.shape,
            array=np.ascontiguousarray(value).reshape(-1),
            identity=(value.__array_interface__["data"][0], value.shape, value.strides),
        )
    dtype, shape = _dtype(value), tuple(value.shape)
    if dtype not in RAW:
        return StoredTensor(dtype, shape)
    flat = value.detach().cpu().contiguous().reshape(-1)
    if dtype == "bfloat16":
        import torch

        flat = flat.view(torch.uint16)
    return StoredTensor(
        dtype, shape, array=flat.numpy(), identity=(value.data_ptr(), shape, value.stride())
    )


def _dtype(tensor):
    return str(tensor.dtype).removeprefix("torch.")


def read_config(content, where):
    try:
        config = json.loads(content)
    except ValueError as error:
        raise CheckpointError(
            f"{where}: is no JSON ({error}); fetch or write it again, or move it away"
        ) from error
    if not isinstance(config, dict):
        raise CheckpointError(
            f"{where}: holds a {type(config).__name__}, where a dict was expected; fetch or write"
            " it again, or move it away"
        )
    return config
