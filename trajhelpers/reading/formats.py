"""The formats of checkpoints, files and folders: how each is recognised, and what reads it.

A header, or a zip's index, says where a tensor's bytes are, so that ranges of them are read into
reused buffers and a whole checkpoint is never held.
"""

from collections.abc import Callable
from typing import BinaryIO, NamedTuple

from ..errors import CheckpointError
from .contents import Contents
from .npz_files import read_npz
from .place import File, Folder
from .safetensors_files import read_safetensors
from .shards import read_shards
from .strangers import file_of
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
    """Files that make one checkpoint together: the names in each get its own before them."""

    files: tuple[tuple[str, File], ...]

    def __str__(self) -> str:
        return " and ".join(str(file) for _, file in self.files)


# What read_checkpoint takes.
Where = File | Folder | Several

_FIRST_BYTES = 512
_TORCH = (".bin", ".pt", ".pth", ".ckpt", ".pth.tar", ".pt.tar")
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
    Format("bin", _TORCH, lambda name, start: True, read_legacy),
)
# The first that recognises a folder reads it.
FOLDER_FORMATS: tuple[FolderFormat, ...] = ()
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
    """
    if isinstance(where, Several):
        return _read_several(where, state)
    if isinstance(where, Folder):
        format = folder_format(where)
        if format is None:
            raise CheckpointError(f"{where}: is a folder in no format that is known here")
        return format.read(where, state)
    if where.name.endswith(".index.json"):
        return read_shards(where, lambda file: read_checkpoint(file, state))
    with where.open() as opened:
        start = opened.read(_FIRST_BYTES)
        problem = file_of(where.name, start)
        if problem:
            raise CheckpointError(f"{where}: {problem}")
        file_format = next(format for format in FORMATS if format.recognises(where.name, start))
        opened.seek(0)
        return file_format.read(where, opened, state)


def _read_several(where: Several, state: str | None) -> Contents:
    found = {name: read_checkpoint(file, state) for name, file in where.files}
    states = dict.fromkeys(contents.state for contents in found.values() if contents.state)
    return Contents(
        {
            f"{name}.{tensor}": stored
            for name, contents in found.items()
            for tensor, stored in contents.tensors.items()
        },
        " and ".join(states),
        tuple(f"{name}: {line}" for name, contents in found.items() for line in contents.left_out),
    )
