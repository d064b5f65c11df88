"""What is fuzzed: of each format how we read a folder with two checkpoints in it, and how the
library whose format it is reads the first.
"""

import io
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import packing
import safetensors.torch
import seeds
import torch
from changes import Tree

import trajhelpers as th
from trajhelpers.reading.tensors import rows_first
from trajhelpers.streaming.resuming import Partial

# By name; what lies nested has the names above it before its own, joined by dots.
Values = dict[str, np.ndarray]


class Unsound(Exception):
    """What was read contradicts itself."""


class Format(NamedTuple):
    """``lay`` writes the changed files, and beside them what they once were, into a folder."""

    seeds: Callable[[], list[Tree]]
    lay: Callable[[Path, Tree, Tree], None]
    read: Callable[[Path], Values]
    # None where nobody else reads it.
    reference: Callable[[Path], Values] | None


# ---- checkpoints ----


def _lay_files(folder: Path, changed: Tree, before: Tree) -> None:
    for path, content in changed.items():
        _write(folder / path.replace("\0", "0"), content)
        _write(folder / path.replace("\0", "0").replace("step_1", "step_2"), before.get(path, b""))


def _lay_folders(folder: Path, changed: Tree, before: Tree) -> None:
    for name, tree in (("step_1", changed), ("step_2", before)):
        for path, content in tree.items():
            _write(folder / name / path, content)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _read_run(folder: Path) -> Values:
    trajectory = th.open_trajectory(folder)
    return {name: _values(tensors[0]) for name, tensors in trajectory.layout.tensors.items()}


def _values(tensor) -> np.ndarray:
    found, tensor = np.empty(tensor.size), rows_first(tensor)
    tensor.read_into(0, tensor.size, found)
    return found.reshape(tensor.shape)


def _flat(nest: Any, above: str = "") -> Values:
    """All arrays and tensors in nested containers, in float64."""
    if isinstance(nest, torch.Tensor):
        return {above: nest.detach().to_dense().resolve_neg().resolve_conj().double().numpy()}
    if isinstance(nest, np.ndarray):
        return {above: nest.astype(np.float64)} if nest.dtype.kind in "fiub" else {}
    items = nest.items() if isinstance(nest, dict) else ()
    items = enumerate(nest) if isinstance(nest, (list, tuple)) else items
    return {
        name: value
        for key, inner in items
        for name, value in _flat(inner, f"{above}.{key}" if above else str(key)).items()
    }


def _by_torch(path: Path) -> Any:
    return torch.load(path, map_location="cpu", weights_only=True)


def _by_safetensors(path: Path) -> Any:
    return safetensors.torch.load_file(path)


def _torch_reference(folder: Path) -> Values:
    return _flat(_by_torch(folder / "step_1.pt"))


def _safetensors_reference(folder: Path) -> Values:
    return _flat(_by_safetensors(folder / "step_1.safetensors"))


def _index_reference(folder: Path) -> Values:
    # By these names alone transformers finds one; beside another name, shards are files as others.
    names = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
    (index,) = (path for path in (folder / "step_1").iterdir() if path.name in names)
    where = json.loads(index.read_text())["weight_map"]
    load = _by_safetensors if index.name.startswith("model") else _by_torch
    shards = {shard: load(index.parent / shard) for shard in set(where.values())}
    return _flat({name: shards[shard][name] for name, shard in where.items()})


def _npz_reference(folder: Path) -> Values:
    with np.load(folder / "step_1.npz", allow_pickle=False) as arrays:
        return _flat({name: arrays[name] for name in arrays.files})


def _msgpack_reference(folder: Path) -> Values:
    (path,) = folder.glob("step_1*")
    return _flat(_with_arrays(packing.unpack(path.read_bytes())))


def _with_arrays(nest: Any) -> Any:
    if isinstance(nest, dict):
        return {key: _with_arrays(value) for key, value in nest.items()}
    if not isinstance(nest, packing.Extension):
        return nest
    if nest.code != 1:
        return None
    shape, dtype, data = packing.unpack(nest.data)
    if dtype == "bfloat16":
        return (np.frombuffer(data, "u2").astype("u4") << 16).view("f4").reshape(shape)
    return np.frombuffer(data, np.dtype(dtype)).reshape(shape)


class _Metadata(pickle.Unpickler):
    """Of torch's own classes what sound ``.metadata`` has, and nothing else."""

    _MODULES = ("torch.distributed.checkpoint.metadata", "torch.distributed.checkpoint.filesystem")
    _NAMES = ("torch.Size", "torch.serialization._get_layout", "pathlib.PosixPath")

    def find_class(self, module: str, name: str) -> Any:
        if (module in self._MODULES and "." not in name) or f"{module}.{name}" in self._NAMES:
            return super().find_class(module, name)
        if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
            return getattr(torch, name)
        raise pickle.UnpicklingError(f"{module}.{name}")


def _distributed_reference(folder: Path) -> Values:
    """By the metadata and each chunk's own zip, as torch's FileSystemReader goes."""
    folder = folder / "step_1"
    with open(folder / ".metadata", "rb") as opened:
        metadata = _Metadata(opened).load()
    found = {}
    for name, listed in metadata.state_dict_metadata.items():
        if not hasattr(listed, "chunks"):
            continue
        whole = torch.full(tuple(listed.size), torch.nan, dtype=torch.float64)
        for chunk in listed.chunks:
            index = next(
                index
                for index in metadata.storage_data
                if index.fqn == name and tuple(index.offset) == tuple(chunk.offsets)
            )
            lies = metadata.storage_data[index]
            with open(folder / lies.relative_path, "rb") as opened:
                opened.seek(lies.offset)
                part = torch.load(io.BytesIO(opened.read(lies.length)), weights_only=True)
            place = tuple(slice(o, o + n) for o, n in zip(chunk.offsets, chunk.sizes))
            whole[place] = part.double().reshape(tuple(chunk.sizes))
        found[name] = whole
    return _flat(found)


# ---- names ----


def _lay_names(folder: Path, changed: Tree, before: Tree) -> None:
    """A checkpoint of its own number by each of the names."""
    for number, line in enumerate(dict.fromkeys(changed["names"].split(b"\n"))):
        name = line.replace(b"\0", b"0").replace(b"/", b"_")[:200]
        content = np.float64([number, 1.0])
        with open(os.path.join(os.fsencode(folder), name + b".npz"), "wb") as opened:
            np.savez(opened, w=content)


def _read_names(folder: Path) -> Values:
    trajectory = th.open_trajectory(folder)
    steps = list(zip(trajectory.runs, trajectory.steps))
    if len(set(steps)) < len(steps):
        raise Unsound(f"steps {steps} of {trajectory.sources}")
    for run in set(trajectory.runs):
        own = [step for of, step in steps if of == run]
        if own != sorted(own):
            raise Unsound(f"steps {own} of {trajectory.sources} do not increase")
    (tensors,) = trajectory.layout.tensors.values()
    return {
        Path(source).name: _values(tensor) for source, tensor in zip(trajectory.sources, tensors)
    }


def _names_reference(folder: Path) -> Values:
    found = {}
    for path in folder.iterdir():
        with np.load(path) as arrays:
            found[path.name] = arrays["w"]
    return found


# ---- kernels and states of passes ----


def _lay_alone(folder: Path, changed: Tree, before: Tree) -> None:
    for path, content in changed.items():
        _write(folder / path, content)


def _read_kernel(folder: Path) -> Values:
    kernel = th.load_kernel(folder / "run.npz")
    products = kernel.increments if hasattr(kernel, "increments") else kernel.differences
    cosine, _ = kernel.cosine(), kernel.gram()
    if np.any(np.abs(cosine[np.isfinite(cosine)]) > 1 + 1e-6):
        raise Unsound(f"a cosine of {np.nanmax(np.abs(cosine))}")
    upper = np.triu_indices(products.shape[1])
    return {"increments": products[:, upper[0], upper[1]], "sizes": np.float64(kernel.sizes)}


def _read_partial(folder: Path) -> Values:
    state = Partial(folder / "run.partial", seeds.CONDITIONS).read()
    if state is None:
        raise FileNotFoundError(folder / "run.partial")
    state.sums.in_one_unit(2)
    several = [one.values for one in state.sums.products.values()]
    upper = np.triu_indices(len(state.sums.prints))
    return {"increments": np.stack([values[upper] for values in several])} if several else {}


def _arrays_reference(folder: Path) -> Values:
    (path,) = folder.iterdir()
    with np.load(path, allow_pickle=False) as arrays:
        return {
            name: np.float64(arrays[name]) for name in ("increments", "sizes") if name in arrays
        }


FORMATS = {
    "safetensors": Format(seeds.safetensors_files, _lay_files, _read_run, _safetensors_reference),
    "zip": Format(seeds.torch_zips, _lay_files, _read_run, _torch_reference),
    "legacy": Format(seeds.torch_legacies, _lay_files, _read_run, _torch_reference),
    "index": Format(seeds.indices, _lay_folders, _read_run, _index_reference),
    "npz": Format(seeds.npz_files, _lay_files, _read_run, _npz_reference),
    "msgpack": Format(seeds.msgpack_files, _lay_files, _read_run, _msgpack_reference),
    "distributed": Format(
        seeds.distributed_folders, _lay_folders, _read_run, _distributed_reference
    ),
    "folders": Format(seeds.folders, _lay_folders, _read_run, None),
    "kernel": Format(seeds.kernels, _lay_alone, _read_kernel, _arrays_reference),
    "partial": Format(seeds.partials, _lay_alone, _read_partial, _arrays_reference),
    "names": Format(seeds.names, _lay_names, _read_names, _names_reference),
}
