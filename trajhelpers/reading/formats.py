"""The formats of checkpoints, files and folders: how each is recognised, and what reads it.

A header, or a zip's index, says where a tensor's bytes are, so that ranges of them are read into
reused buffers and a whole checkpoint is never held.
"""

import re
from collections.abc import Callable
from typing import Any, BinaryIO, NamedTuple

from ..errors import CheckpointError
from .boundary import damage_named
from .budgets import refuse_expansion, refuse_names
from .contents import Contents
from .folder_formats.deepspeed import (
    is_deepspeed,
    is_universal,
    read_deepspeed,
    read_universal,
)
from .folder_formats.distributed import is_distributed, read_distributed
from .folder_formats.megatron import is_megatron, read_megatron
from .folder_formats.nanotron import is_nanotron, read_nanotron
from .folder_formats.neox import is_layers, read_layers
from .folder_formats.orbax import is_levanter, is_orbax, read_levanter, read_orbax
from .folder_formats.rank_files import is_by_rank, read_by_rank
from .folder_formats.safetensors_ranks import is_by_safetensors_rank, read_safetensors_ranks
from .msgpack_files import is_msgpack, read_msgpack
from .npz_files import read_npz
from .place import File, Folder
from .safetensors_files import read_safetensors
from .shards import read_shards
from .strangers import file_of
from .tensors import StoredTensor
from .torch_legacy import read_legacy
from .torch_zip import read_zip


class Format(NamedTuple):
    """``kind`` is what a user asks for with ``format=``; files whose names have one of the
    ``endings`` may be of this format; ``recognises`` is asked about the name and the first bytes.
    """

    kind: str
    endings: tuple[str, ...]
    recognises: Callable[[str, bytes], bool]
    # The file, the same opened at its beginning, and the state that is asked for, if any.
    read: Callable[[File, BinaryIO, str | None], Contents]


class FolderFormat(NamedTuple):
    """A folder that is one checkpoint, of files that are none by themselves: those of single ranks.
    ``recognises`` is asked about the folder and reads names only.
    """

    kind: str
    recognises: Callable[[Folder], bool]
    read: Callable[[Folder, str | None], Contents]


class Several(NamedTuple):
    """Files, or folders of ranks, that make one checkpoint together: the names in each get its own
    before them, but for "".
    """

    files: tuple[tuple[str, File | Folder], ...]

    def __str__(self) -> str:
        return " and ".join(str(file) for _, file in self.files)


# What read_checkpoint takes.
Where = File | Folder | Several

_FIRST_BYTES = 512
_TORCH = (".bin", ".pt", ".pth", ".ckpt", ".pth.tar", ".pt.tar")
_RANK = re.compile(r"(?i)rank[-_]?(?P<rank>\d+)(?![a-z\d])")
_ZIP = b"PK\x03\x04"


def _named(ending: str) -> Callable[[str, bytes], bool]:
    return lambda name, start: name.endswith(ending)


def _zip_named(ending: str, is_so: bool) -> Callable[[str, bytes], bool]:
    return lambda name, start: start.startswith(_ZIP) and name.endswith(ending) == is_so


# The first that recognises a file reads it.
FORMATS = (
    Format("safetensors", (".safetensors",), _named(".safetensors"), read_safetensors),
    Format("bin", _TORCH, _zip_named(".npz", False), read_zip),
    Format("npz", (".npz",), _zip_named(".npz", True), read_npz),
    Format("msgpack", (".msgpack",), is_msgpack, read_msgpack),
    Format("bin", _TORCH, lambda name, start: True, read_legacy),
)
# The first that recognises a folder reads it.
FOLDER_FORMATS = (
    FolderFormat("distributed", is_distributed, read_distributed),
    FolderFormat("layers", is_layers, read_layers),
    FolderFormat("universal", is_universal, read_universal),
    FolderFormat("deepspeed", is_deepspeed, read_deepspeed),
    FolderFormat("megatron", is_megatron, read_megatron),
    FolderFormat("nanotron", is_nanotron, read_nanotron),
    FolderFormat("orbax", is_orbax, read_orbax),
    FolderFormat("levanter", is_levanter, read_levanter),
    FolderFormat("safetensors of ranks", is_by_safetensors_rank, read_safetensors_ranks),
    FolderFormat("ranks", is_by_rank, read_by_rank),
)
# In the order in which they are preferred.
KINDS = {
    kind: tuple(
        dict.fromkeys(
            ending for format in FORMATS if format.kind == kind for ending in format.endings
        )
    )
    for kind in dict.fromkeys(format.kind for format in FORMATS)
}
ENDINGS = tuple(ending for endings in KINDS.values() for ending in endings)


def folder_format(folder: Folder) -> FolderFormat | None:
    """The format of a folder that is one checkpoint."""
    return next((format for format in FOLDER_FORMATS if format.recognises(folder)), None)


def read_checkpoint(where: Where, state: str | None = None) -> Contents:
    """What one checkpoint holds: a file, all the shards of an index, several files, or a folder of
    one of FOLDER_FORMATS. ``state`` says which of several states is meant.

    Whatever goes wrong with what is there is a CheckpointError that names it.
    """
    with damage_named(where):
        if isinstance(where, Several):
            found = _read_several(where, state)
        elif isinstance(where, Folder):
            found = _read_folder(where, state)
        elif where.name.endswith(".index.json"):
            found = read_shards(where, lambda file: _read_file(file, state))
        else:
            found = _read_file(where, state)
        refuse_names(found.tensors, where)
        refuse_expansion(found.tensors, where)
        return found


def _read_folder(where: Folder, state: str | None) -> Contents:
    format = folder_format(where)
    if format is None:
        raise CheckpointError(f"{where}: is a folder in no format that is known here")
    return format.read(where, state)


def _read_file(where: File, state: str | None) -> Contents:
    with damage_named(where), where.open() as opened:
        start = opened.read(_FIRST_BYTES)
        problem = file_of(where.name, start)
        if problem:
            raise CheckpointError(f"{where}: {problem}")
        file_format = next(format for format in FORMATS if format.recognises(where.name, start))
        opened.seek(0)
        return file_format.read(where, opened, state)


def refuse_single_rank(file: File) -> None:
    """A CheckpointError if a file is one rank's, by its name, and another rank's lies beside it."""
    found = _RANK.search(file.name)
    if not found or file.name.startswith("mp_rank"):
        return
    digits = found["rank"]
    other = str(int(digits) + (1 if int(digits) == 0 else -1)).zfill(len(digits))
    sibling = file.beside(file.name[: found.start("rank")] + other + file.name[found.end("rank") :])
    if sibling.is_file():
        raise CheckpointError(
            f"{file}: is one rank's file of several ({sibling.name} lies beside it); gather before"
            " saving (FULL_STATE_DICT), or save with torch.distributed.checkpoint. If each rank"
            " saved the whole network, move the others' files away"
        )


def _read_several(where: Several, state: str | None) -> Contents:
    tensors: dict[str, StoredTensor] = {}
    states: list[str] = []
    left_out: list[str] = []
    parsed: list[Any] = []
    for name, file in where.files:
        contents = read_checkpoint(file, state)
        before = f"{name}." if name else ""
        named = {f"{before}{tensor}": stored for tensor, stored in contents.tensors.items()}
        both = next((tensor for tensor in named if tensor in tensors), None)
        if both:
            raise CheckpointError(
                f"{file}: has tensor {both!r}, which another file of the checkpoint has too; the"
                " shards are of different saves, fetch or save them again"
            )
        tensors |= named
        states += [contents.state] if contents.state else []
        left_out += [f"{name}: {line}" if name else line for line in contents.left_out]
        parsed += contents.parsed
    return Contents(tensors, " and ".join(dict.fromkeys(states)), tuple(left_out), tuple(parsed))
