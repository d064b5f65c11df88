"""torch's distributed checkpoints (``torch.distributed.checkpoint``): FSDP, torchtitan, OLMo-core,
Lightning, Megatron's ``torch_dist``.

``.metadata`` lists the chunks of each tensor, and at which bytes of which file they lie; they are
read there, whatever the number of ranks was. It is a pickle, and read as data.
"""

import re
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from ...errors import CheckpointError
from ..boundary import damage_named
from ..contents import Contents
from ..located import located
from ..pickles import Ended, Inert
from ..pieces import joined
from ..place import File, Folder, within
from ..states import choose_state
from ..tensors import StoredTensor
from ..unpickling import Lying, read_pickle
from .chunks import Chunk, Opened, open_chunks, open_like

_STACK = re.compile(r"(^|\.)layers\.(?!\d)")


class _Listed(NamedTuple):
    """A tensor as ``.metadata`` lists it; ``chunks`` are (offsets, sizes). ``layer`` is the index
    along a first dimension that is not the tensor's own.
    """

    key: str
    dtype: str
    shape: tuple[int, ...]
    chunks: list[tuple[tuple[int, ...], tuple[int, ...]]]
    layer: tuple[int, ...] = ()


class _Lies(NamedTuple):
    """Where a chunk lies."""

    path: str
    chunk: Chunk


def is_distributed(folder: Folder) -> bool:
    return any(file.name.endswith(".distcp") for file in folder.files())


def read_distributed(folder: Folder, state: str | None) -> Contents:
    """The tensors of the state that is θ, each joined from its chunks."""
    metadata = folder.file(".metadata")
    content = _read_metadata(folder, metadata)
    with damage_named(metadata):
        listed = _listed(content["state_dict_metadata"])
        places = _places(content["storage_data"])
        paths = content.get("planner_data")
        paths = paths if isinstance(paths, Mapping) else {}
        tree = _tree(content["state_dict_metadata"], listed, paths)
    contents = choose_state(tree, folder, state)
    chosen: Mapping[str, Any] = contents.tensors
    return replace(contents, tensors=_located(folder, _unstacked(chosen), places))


def listed_shapes(folder: Folder) -> dict[str, tuple[int, ...]]:
    """Of all tensors that ``.metadata`` lists, whichever state they are of."""
    metadata = folder.file(".metadata")
    content = _read_metadata(folder, metadata)
    with damage_named(metadata):
        return {key: one.shape for key, one in _listed(content["state_dict_metadata"]).items()}


def _read_metadata(folder: Folder, file: File) -> dict:
    if not file.is_file():
        raise CheckpointError(
            f"{folder}: has .distcp files and no .metadata, which torch writes last and which says"
            " where each tensor lies; the save was not finished, or fetch that file too"
        )
    with file.open() as opened:
        content = opened.read()
    try:
        found, _ = read_pickle(content, 0, file)
    except Ended:
        raise CheckpointError(f"{file}: ends too early; fetch or save it again") from None
    if not isinstance(found, Inert) or not isinstance(found.state, dict):
        raise CheckpointError(
            f"{file}: is no metadata of torch.distributed.checkpoint; fetch or save it again"
        )
    return found.state


def _fields(found: Any) -> dict:
    """Of one of torch's dataclasses."""
    return found.state


def _listed(metadata: Mapping[str, Inert]) -> dict[str, _Listed]:
    """Of all that is a tensor, by key; the rest are bytes of whatever was pickled."""
    return {
        key: _Listed(
            key,
            str(_fields(fields["properties"])[0]).removeprefix("torch."),
            _numbers(fields["size"]),
            [
                (_numbers(_fields(chunk)["offsets"]), _numbers(_fields(chunk)["sizes"]))
                for chunk in fields["chunks"]
            ],
        )
        for key, entry in metadata.items()
        if (fields := _fields(entry)) and "chunks" in fields
    }


def _places(storage: Mapping[Inert, Inert]) -> dict[tuple[str, tuple[int, ...]], _Lies]:
    """By key and offsets."""
    found = {}
    for index, info in storage.items():
        at, lies = _fields(index), _fields(info)
        if at.get("offset") is None:
            continue
        if lies.get("transform_descriptors"):
            raise CheckpointError(
                f"{lies['relative_path']}: was transformed while it was written"
                f" ({', '.join(map(str, lies['transform_descriptors']))}), so that its numbers do"
                " not lie in the file; load it with torch.distributed.checkpoint and save it plain"
            )
        chunk = Chunk(*_numbers((lies["offset"], lies["length"])))
        found[at["fqn"], _numbers(at["offset"])] = _Lies(within(lies["relative_path"]), chunk)
    return found


def _numbers(found: Iterable) -> tuple[int, ...]:
    numbers = tuple(found)
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise ValueError(f"{numbers} where whole numbers were expected")
    return numbers


def _tree(metadata: Mapping, listed: Mapping[str, _Listed], paths: Mapping) -> dict:
    """Nested as what was saved: torch joins keys by ".", and its planner keeps the paths."""
    tree: dict = {}
    for key in metadata:
        *above, last = map(str, paths.get(key, (key,)))
        inner = tree
        for part in above:
            inner = inner.setdefault(part, {})
            if not isinstance(inner, dict):
                break
        else:
            inner[last] = listed.get(key)
            continue
        tree[key] = listed.get(key)
    return tree


def _unstacked(chosen: Mapping[str, _Listed]) -> dict[str, _Listed]:
    """Megatron stacks what all layers have, a chunk a layer: here each layer has a name again."""
    found: dict[str, _Listed] = {}
    for name, tensor in chosen.items():
        stack = _STACK.search(name)
        if not stack or any(sizes[:1] != (1,) for _, sizes in tensor.chunks):
            found[name] = tensor
            continue
        for layer in range(tensor.shape[0]):
            chunks = [
                (offsets[1:], sizes[1:]) for offsets, sizes in tensor.chunks if offsets[0] == layer
            ]
            found[f"{name[: stack.end()]}{layer}.{name[stack.end() :]}"] = tensor._replace(
                shape=tensor.shape[1:], chunks=chunks, layer=(layer,)
            )
    return found


def _located(
    folder: Folder, chosen: Mapping[str, _Listed], places: Mapping
) -> dict[str, StoredTensor]:
    """Each tensor where its chunks lie; of each file all chunks are looked at together."""
    wanted: dict[str, list[tuple[Chunk, Hashable]]] = {}
    for tensor in chosen.values():
        for offsets, sizes in _filled(tensor):
            lies = places.get((tensor.key, tensor.layer + offsets))
            if lies is None:
                raise CheckpointError(
                    f"{folder}: .metadata does not say where the chunk of {tensor.key!r} at"
                    f" {offsets} lies; save it again"
                )
            kind = re.sub(r"\d+", "#", tensor.key), tensor.dtype, sizes, lies.chunk.length
            wanted.setdefault(lies.path, []).append((lies.chunk, kind))
    opened: dict[tuple[str, Chunk], tuple[File, Opened]] = {}
    known: dict[Hashable, tuple[Chunk, Opened]] = {}
    for path, chunks in sorted(wanted.items()):
        file = folder.file(path)
        if not file.is_file():
            raise CheckpointError(
                f"{file}: is missing, and .metadata promises {len(chunks)} chunks in it; fetch it"
            )
        found = (
            open_like(file, chunks, known)
            if file.remote
            else open_chunks(file, [chunk for chunk, _ in chunks])
        )
        for (chunk, _), one in zip(chunks, found):
            opened[path, chunk] = file, one
    return {
        name: joined(
            tensor.shape,
            [
                (
                    offsets,
                    _piece(tensor, sizes, *opened[places[tensor.key, tensor.layer + offsets]]),
                )
                for offsets, sizes in _filled(tensor)
            ]
            or [((0,) * len(tensor.shape), StoredTensor(tensor.dtype, tensor.shape))],
            f"{folder}: {tensor.key}",
        )
        for name, tensor in chosen.items()
    }


def _filled(tensor: _Listed) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """The chunks that have any elements, once each."""
    return list(
        {offsets: (offsets, sizes) for offsets, sizes in tensor.chunks if 0 not in sizes}.values()
    )


def _piece(tensor: _Listed, sizes: tuple[int, ...], file: File, found: Opened) -> StoredTensor:
    if not isinstance(found.tensor, Lying):
        raise CheckpointError(
            f"{file}: the chunk of {tensor.key!r} is no plain tensor; save it again"
        )
    piece = located(
        tensor.key,
        found.tensor,
        file,
        lambda storage: (file, found.begin, found.end - found.begin),
    )
    if piece.shape != sizes:
        if piece.strides or piece.size != StoredTensor(piece.dtype, sizes).size:
            raise CheckpointError(
                f"{file}: a chunk of {tensor.key!r} has shape {piece.shape}, and .metadata promises"
                f" {sizes}; fetch or save it again"
            )
        piece = piece._replace(shape=sizes)
    return piece._replace(identity=())
