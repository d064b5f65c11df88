"""A file a rank, each with its parts of torch's sharded tensors: verl's ``actor/``, OLMo's sharded
checkpoints, and loops that save under FSDP without gathering.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ...errors import CheckpointError
from ..contents import Contents
from ..pieces import joined
from ..place import File, Folder
from ..side_files import is_side_file
from ..states import choose_state
from ..tensors import StoredTensor
from .sharded_tensors import Sharded, is_sharded, sharded
from .tensor_ranks import have_the_same
from .torch_files import TorchFile, refuse_gaps

_RANK = re.compile(
    r"(?P<before>.*?)rank[_-]?(?P<rank>\d+)(?P<behind>\.(?:pt|pth|bin|ckpt))", re.IGNORECASE
)
_WORLD = re.compile(r"world_size_(\d+)_")


def is_by_rank(folder: Folder) -> bool:
    """Whether files differ in the number of the rank alone."""
    groups = _groups(folder)
    return len(groups) == 1 and (
        len(next(iter(groups.values()))) > 1 or _WORLD.search(next(iter(groups))[0]) is not None
    )


def _groups(folder: Folder) -> dict[tuple[str, str], dict[int, File]]:
    """By what stands before and behind the rank, the files by rank."""
    found: dict[tuple[str, str], dict[int, File]] = {}
    for file in folder.files():
        match = _RANK.fullmatch(file.name)
        if match and not is_side_file(file.name):
            found.setdefault((match["before"], match["behind"]), {})[int(match["rank"])] = file
    return found


@dataclass(frozen=True)
class _RanksOfAStep:
    """Those files of a :class:`trajhelpers.reading.place.Folder` that are one checkpoint."""

    within: Folder
    name: str
    chosen: Sequence[File]

    @property
    def remote(self) -> bool:
        return self.within.remote

    def __str__(self) -> str:
        return f"{self.within}/{self.name}*"

    def folders(self) -> Sequence[Folder]:
        return ()

    def files(self) -> Sequence[File]:
        return self.chosen

    def folder(self, path: str) -> Folder:
        return self.within.folder(path)

    def file(self, path: str) -> File:
        return self.within.file(path)


def folders_of_ranks(folder: Folder) -> list[Folder]:
    """Where the files of several steps lie in one folder, some of each rank, those of each step as
    a folder of their own.
    """
    groups = {key: files for key, files in _groups(folder).items() if len(files) > 1}
    return [
        _RanksOfAStep(folder, before.rstrip("_-."), [files[rank] for rank in sorted(files)])
        for (before, _), files in groups.items()
        if before
    ]


def read_by_rank(folder: Folder, state: str | None) -> Contents:
    """The state that is θ, its tensors joined from all ranks."""
    ((before, _), files), *_ = _groups(folder).items()
    world = _WORLD.search(before)
    refuse_gaps(folder, sorted(files), int(world[1]) if world else None, "rank")
    ranks = [TorchFile(files[rank]) for rank in sorted(files)]
    for rank in ranks:
        if not isinstance(rank.content, Mapping):
            raise CheckpointError(f"{rank}: holds no tensors by name; fetch or save it again")
    tree = _together([rank.content for rank in ranks], folder, ())
    contents = choose_state(tree, folder, state)
    chosen: Mapping[str, Any] = contents.tensors
    tensors = {name: _stored(name, tensor, ranks, folder) for name, tensor in chosen.items()}
    return replace(contents, tensors=tensors)


class _InEach:
    """A tensor that all ranks have, which may be the same or not."""

    def __init__(self, values: Sequence[Any]):
        self.values = values
        self.dtype, self.shape = values[0].dtype, values[0].shape


def _together(contents: Sequence[Any], folder: Folder, above: tuple[str, ...]) -> Any:
    """The first rank's content, with what the others have of its tensors."""
    first = contents[0]
    if isinstance(first, Mapping):
        found = {}
        for key, value in first.items():
            others = [one.get(key) if isinstance(one, Mapping) else None for one in contents[1:]]
            found[key] = _together([value, *others], folder, (*above, str(key)))
        return found
    if is_sharded(first):
        name = ".".join(above)
        if not all(map(is_sharded, contents)):
            raise CheckpointError(f"{folder}: not all ranks have a part of {name!r}; save it again")
        try:
            return sharded(contents)
        except ValueError as error:
            raise CheckpointError(
                f"{folder}: the ranks do not say which part of {name!r} is theirs ({error}); save"
                " with torch.distributed.checkpoint, or gather the parameters"
            ) from error
    if hasattr(first, "dtype") and all(hasattr(one, "dtype") for one in contents):
        return _InEach(contents)
    return first


def _stored(name: str, tensor: Any, ranks: Sequence[TorchFile], folder: Folder) -> StoredTensor:
    if isinstance(tensor, Sharded):
        pieces = {}
        for rank, shares in zip(ranks, tensor.parts):
            for share in shares:
                piece = rank.stored(name, share.tensor)
                if piece.size or not pieces:
                    pieces[share.offsets, piece.shape] = piece._replace(identity=())
        filled = [(at, piece) for (at, _), piece in pieces.items() if piece.size]
        empty = [((0,) * len(tensor.shape), StoredTensor(tensor.dtype, tensor.shape))]
        return joined(tensor.shape, filled or empty, f"{folder}: {name}")
    if not isinstance(tensor, _InEach):
        return ranks[0].stored(name, tensor)
    every = [rank.stored(name, value) for rank, value in zip(ranks, tensor.values)]
    if not have_the_same(every):
        raise CheckpointError(
            f"{folder}: {name!r} differs between ranks, and no file says which part of it is which;"
            " save with torch.distributed.checkpoint, or gather the parameters before saving"
        )
    return every[0]
