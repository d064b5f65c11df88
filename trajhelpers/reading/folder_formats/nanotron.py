"""nanotron's checkpoints: a safetensors file a tensor and tensor rank, in folders that are the
parts of its name. Each file says which slices of the whole tensor its own are.

``model/decoder/3/pp_block/mlp/down_proj/model_weight_pp-rank-0-of-1_tp-rank-1-of-2.safetensors``
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence

from ...errors import CheckpointError
from ..boundary import damage_named
from ..contents import Contents
from ..pieces import joined, part
from ..place import File, Folder
from ..safetensors_files import stored_tensors
from ..tensors import StoredTensor

_FILE = re.compile(
    r"model_(?P<name>.+?)(?:_pp-rank-\d+-of-\d+_tp-rank-(?P<rank>\d+)-of-(?P<ranks>\d+)"
    r"(?:_exp-rank-(?P<expert>\d+)-of-(?P<experts>\d+))?)?\.safetensors"
)


def is_nanotron(folder: Folder) -> bool:
    return any(file.name == "checkpoint_metadata.json" for file in folder.files()) and "model" in [
        inner.name for inner in folder.folders()
    ]


def read_nanotron(folder: Folder, state: str | None) -> Contents:
    """All parameters of the network, each joined from its tensor ranks."""
    if state not in (None, "model"):
        raise CheckpointError(f"{folder}: has no state {state!r}; nanotron's files have 'model'")
    files: dict[str, list[tuple[int, int, File]]] = {}
    for name, rank, ranks, file in _files(folder.folder("model"), ""):
        files.setdefault(name, []).append((rank, ranks, file))
    if not files:
        raise CheckpointError(f"{folder}: has no files of weights in model/; fetch them")
    tensors = {}
    for name, found in files.items():
        shares = []
        for _rank, ranks, file in sorted(found, key=lambda one: one[0]):
            if len(found) < ranks:
                raise CheckpointError(
                    f"{folder}: {name!r} has {len(found)} files, the first of them {file.name}, of"
                    f" {ranks}; fetch the others"
                )
            with damage_named(file), file.open() as opened:
                data, metadata = stored_tensors(file, opened)
            if list(data) != ["data"]:
                raise CheckpointError(f"{file}: holds no tensor 'data'; fetch or save it again")
            shares.append((file, data["data"], metadata))
        tensors[name] = _joined(name, shares, folder)
    left_out = ("optimizer: an optimizer's state, in optimizer/",)
    return Contents(tensors, "model", left_out)


def _files(folder: Folder, above: str) -> Iterator[tuple[str, int, int, File]]:
    """(name of the tensor, rank, of how many, file)"""
    for file in folder.files():
        match = _FILE.fullmatch(file.name)
        if match:
            ranks = int(match["ranks"] or 1) * int(match["experts"] or 1)
            rank = int(match["rank"] or 0) + int(match["ranks"] or 1) * int(match["expert"] or 0)
            yield f"{above}{match['name']}", rank, ranks, file
    for inner in folder.folders():
        yield from _files(inner, f"{above}{inner.name}.")


def _joined(
    name: str, shares: Sequence[tuple[File, StoredTensor, Mapping[str, str]]], folder: Folder
) -> StoredTensor:
    first, tensor, metadata = shares[0]
    if "unsharded_shape" not in metadata:
        if len(shares) > 1:
            raise CheckpointError(
                f"{first}: does not say which part of {name!r} it has; it is of a version of"
                " nanotron before 1.2: convert it with nanotron"
            )
        return tensor
    shape: tuple[int, ...] = ()
    pieces: dict[tuple, StoredTensor] = {}
    for file, tensor, metadata in shares:
        with damage_named(file):
            shape = _shape(metadata["unsharded_shape"])
            for pair in metadata["local_global_slices_pairs"].split(";"):
                local, there = pair.split("#")
                pieces[_box(there, shape)] = _slice(tensor, *_box(local, tensor.shape))
    where = f"{folder}: {name}"
    return joined(shape, [(offsets, piece) for (offsets, _), piece in pieces.items()], where)


def _shape(text: str) -> tuple[int, ...]:
    """``(12, 8)``, and ``(np.int64(12), 8)`` of some versions."""
    numbers = re.findall(r"(?:np\.int\d+\()?(\d+)\)?", text.strip("()"))
    return tuple(map(int, numbers))


def _box(text: str, shape: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Offsets and sizes of slices such as ``0,10,None|None,None,None``."""
    offsets, sizes = [], []
    for one, length in zip(text.split("|"), shape, strict=True):
        numbers = [None if number == "None" else int(number) for number in one.split(",")]
        start, stop, step = slice(*numbers).indices(length)
        if step != 1:
            raise ValueError(f"a step of {step}")
        offsets.append(start)
        sizes.append(stop - start)
    return tuple(offsets), tuple(sizes)


def _slice(tensor: StoredTensor, offsets: Sequence[int], sizes: Sequence[int]) -> StoredTensor:
    """Some of the rows of a rank's share, or all of it."""
    if tuple(sizes) == tensor.shape:
        return tensor._replace(identity=())
    if tuple(sizes[1:]) != tensor.shape[1:]:
        raise ValueError("a part of its columns")
    return part(tensor, offsets[0] * math.prod(tensor.shape[1:]), tuple(sizes))
