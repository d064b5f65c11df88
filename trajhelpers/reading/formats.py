"""The formats of checkpoint files: how each is recognised, and what reads it.

A header, or a zip's index, says where a tensor's bytes are, so that ranges of them are read into
reused buffers and a whole checkpoint is never held.
"""

from collections.abc import Callable
from typing import BinaryIO, NamedTuple

from ..errors import CheckpointError
from .place import File
from .safetensors_files import read_safetensors
from .shards import read_shards
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
    read: Callable[[File, BinaryIO], dict[str, StoredTensor]]


_FIRST_BYTES = 64
_TORCH = (".bin", ".pt", ".pth", ".ckpt")


def _named(ending: str) -> Callable[[str, bytes], bool]:
    return lambda name, start: name.endswith(ending)


def _begins(content: bytes) -> Callable[[str, bytes], bool]:
    return lambda name, start: start.startswith(content)


# The first that recognises a file reads it.
FORMATS = (
    Format("safetensors", (".safetensors",), _named(".safetensors"), read_safetensors),
    Format("bin", _TORCH, _begins(b"PK\x03\x04"), read_zip),
    Format("bin", _TORCH, lambda name, start: True, read_legacy),
)
# What lies under the name of a checkpoint and is none.
_OTHERS = (
    (lambda start: not start, "is empty; fetch or save it again"),
    (
        lambda start: start.startswith(b"version https://git-lfs"),
        "is a git-lfs pointer, not the weights themselves; fetch them with `git lfs pull`",
    ),
    (
        lambda start: start.lstrip()[:1] == b"<",
        "is a web page (HTML), not a checkpoint; the download failed, fetch it again",
    ),
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


def read_checkpoint(file: File) -> dict[str, StoredTensor]:
    """All tensors of one checkpoint file, or of all the shards of an index, by name."""
    if file.name.endswith(".index.json"):
        return read_shards(file, read_checkpoint)
    with file.open() as opened:
        start = opened.read(_FIRST_BYTES)
        for is_this, problem in _OTHERS:
            if is_this(start):
                raise CheckpointError(f"{file}: {problem}")
        format = next(format for format in FORMATS if format.recognises(file.name, start))
        opened.seek(0)
        return format.read(file, opened)
