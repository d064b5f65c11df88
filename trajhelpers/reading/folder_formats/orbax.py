"""What JAX's libraries write through tensorstore: orbax's folders (ocdbt, zarr), and Levanter's.

Arrays lie in compressed chunks, so that their numbers have no place in a file: tensorstore reads
those of a range when they are asked for. It is an extra, and reads from this machine.
"""

import math
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np

from ...errors import CheckpointError, missing_extra
from ..boundary import damage_named
from ..contents import Contents
from ..json_text import read_json
from ..place import File, Folder, read_values, refuse_changed
from ..states import choose_state
from ..tensors import StoredTensor

_ORBAX = "_METADATA"
# Where orbax's manager puts what was saved without a name.
_DEFAULT = "default"
_DEEPEST = 64


def is_orbax(folder: Folder) -> bool:
    return _metadata(folder) is not None


def _metadata(folder: Folder) -> Folder | None:
    """The folder itself, or the one item in it, that has orbax's tree."""
    for place in (folder, folder.folder(_DEFAULT)):
        if any(file.name == _ORBAX for file in place.files()):
            return place
    items = [
        inner for inner in folder.folders() if any(file.name == _ORBAX for file in inner.files())
    ]
    # Several items are states of one checkpoint, and asked about by their names.
    return folder if items and _is_a_step(folder) else None


def _is_a_step(folder: Folder) -> bool:
    return any(file.name == "_CHECKPOINT_METADATA" for file in folder.files())


def read_orbax(folder: Folder, state: str | None) -> Contents:
    """The arrays of the state that is θ."""
    place = _metadata(folder) or folder
    if any(file.name == _ORBAX for file in place.files()):
        tree = _tree(place)
    else:
        items = [inner for inner in place.folders() if inner.file(_ORBAX).is_file()]
        tree = {inner.name: _tree(inner) for inner in items}
    return choose_state(tree, folder, state)


def _tree(folder: Folder) -> dict:
    """Nested as what was saved."""
    file = folder.file(_ORBAX)
    with damage_named(file):
        facts = read_json(file)
        paths = [
            [str(one["key"]) for one in entry["key_metadata"]]
            for entry in facts["tree_metadata"].values()
            if entry["value_metadata"]["value_type"] not in ("None", "scalar", "string")
        ]
        kind = "zarr3" if facts.get("use_zarr3") else "zarr"
        is_one_store = bool(facts.get("use_ocdbt", False))
    path = _local(folder)
    arrays = {}
    for keys in paths:
        name = ".".join(keys)
        store: Any = {"driver": "file", "path": f"{path}/{name}/"}
        if is_one_store:
            base = {"driver": "file", "path": f"{path}/"}
            store = {"driver": "ocdbt", "base": base, "path": f"{name}/"}
        arrays[name] = {"driver": kind, "kvstore": store}
    opened = _open(arrays, folder, file)
    return _nested({tuple(keys): opened[".".join(keys)] for keys in paths})


def is_levanter(folder: Folder) -> bool:
    """``metadata.json`` and a zarr folder a leaf, below ``model/``."""
    return any(file.name == "metadata.json" for file in folder.files()) and any(
        True for _ in _zarr_folders(folder.folder("model"), ())
    )


def read_levanter(folder: Folder, state: str | None) -> Contents:
    """The arrays of the state that is θ, by default those of ``model``."""
    leaves = dict(_zarr_folders(folder, ()))
    specs = {
        ".".join(keys): {
            "driver": "zarr",
            "kvstore": {"driver": "file", "path": f"{_local(leaf)}/"},
        }
        for keys, leaf in leaves.items()
    }
    opened = _open(specs, folder, folder.file("metadata.json"))
    return choose_state(_nested({keys: opened[".".join(keys)] for keys in leaves}), folder, state)


def _zarr_folders(folder: Folder, above: tuple[str, ...]) -> Iterator[tuple[tuple, Folder]]:
    if folder.file(".zarray").is_file():
        yield above, folder
        return
    for inner in folder.folders() if len(above) < _DEEPEST else ():
        yield from _zarr_folders(inner, (*above, inner.name))


def _nested(arrays: Mapping[tuple[str, ...], StoredTensor]) -> dict:
    tree: dict = {}
    for (*above, last), tensor in arrays.items():
        inner = tree
        for key in above:
            inner = inner.setdefault(key, {})
        inner[last] = tensor
    return tree


def _local(folder: Folder) -> str:
    if folder.remote:
        raise CheckpointError(
            f"{folder}: JAX's arrays are read through tensorstore, which reads from this machine;"
            " fetch the folder (on the hub: cache=True, --cache)"
        )
    return str(folder)


def _open(specs: Mapping[str, dict], folder: Folder, witness: File) -> dict[str, StoredTensor]:
    """All at once; ``witness`` is the file by which a change of the checkpoint shows."""
    try:
        import tensorstore
    except ImportError as error:
        raise missing_extra(f"{folder}: reading arrays of JAX's", "tensorstore", "jax") from error
    witness.open().close()
    asked = {name: tensorstore.open(spec, read=True, open=True) for name, spec in specs.items()}
    found = {}
    for name, array in asked.items():
        with damage_named(f"{folder}: array {name!r}"):
            opened = array.result()
        place = _Array(opened, f"{folder}: {name}", witness)
        found[name] = StoredTensor(opened.dtype.name, tuple(opened.shape), place)
    return found


class _Array:
    """A :class:`trajhelpers.reading.place.Place`: the bytes of an array in row-major order."""

    def __init__(self, array: Any, name: str, witness: File):
        self._array, self._name, self._witness = array, name, witness
        self._shape = tuple(array.shape)
        self._itemsize = array.dtype.numpy_dtype.itemsize
        self.size = math.prod(self._shape) * self._itemsize

    def __str__(self) -> str:
        return self._name

    def read_into(self, offset: int, buffer: np.ndarray) -> None:
        target = buffer.reshape(-1).view(np.uint8)
        begin, end = offset // self._itemsize, (offset + buffer.nbytes) // self._itemsize
        done = 0
        for index in boxes(self._shape, begin, end):
            with damage_named(self._name):
                values = np.ascontiguousarray(self._array[index].read().result())
            content = values.reshape(-1).view(np.uint8)
            target[done : done + content.nbytes] = content
            done += content.nbytes

    def values(self, offset: int, count: int, dtype: np.dtype) -> np.ndarray:
        return read_values(self, offset, count, dtype)

    def stamp(self) -> tuple | None:
        stamp = self._witness.stamp()
        return stamp and (*stamp, self._name)

    def refuse_changed(self) -> None:
        refuse_changed(self._witness)


def boxes(shape: tuple[int, ...], begin: int, end: int) -> Iterator[tuple]:
    """Indices that together are elements ``begin`` to ``end`` in row-major order.

    >>> list(boxes((4, 3), 2, 10))
    [(0, slice(2, 3, None)), (slice(1, 3, None),), (3, slice(0, 1, None))]
    """
    if begin >= end:
        return
    if not shape:
        yield ()
        return
    row = math.prod(shape[1:])
    first, last = -(-begin // row), end // row
    if first > last:  # within one row
        inner = begin // row
        yield from map(
            partial(_within, inner), boxes(shape[1:], begin - inner * row, end - inner * row)
        )
        return
    if begin < first * row:
        inside = begin - (first - 1) * row
        yield from map(partial(_within, first - 1), boxes(shape[1:], inside, row))
    if first < last:
        yield (slice(first, last),)
    if last * row < end:
        yield from map(partial(_within, last), boxes(shape[1:], 0, end - last * row))


def _within(row: int, index: tuple) -> tuple:
    return (row, *index)
