"""A file on the hub, with what readers of headers need of a file: names, a size, reading and
seeking.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, cast

import numpy as np

from ...errors import CheckpointError
from ...reading.place import read_values
from ..catalogue import ListedFile

if TYPE_CHECKING:
    from .ranges import RemoteFiles

_HEADER_READ, _TAIL_READ = 32 << 10, 64 << 10


@dataclass(frozen=True)
class RemoteFile:
    """A :class:`trajhelpers.reading.place.File` of one commit on the hub."""

    # By which it is read.
    files: "RemoteFiles" = field(compare=False, repr=False)
    repository: str
    revision: str
    commit: str
    path: str
    size: int = field(compare=False)
    sha256: str = field(compare=False)
    # All files of the commit.
    siblings: Mapping[str, ListedFile] = field(compare=False, repr=False)

    remote = True
    name = property(lambda self: self.path.rpartition("/")[2])

    def __str__(self) -> str:
        return address_of(self.repository, self.revision, self.path)

    def open(self) -> BinaryIO:
        return cast(BinaryIO, _Reader(self))

    def open_whole(self, why: str) -> BinaryIO:
        raise CheckpointError(f"{self}: {why}; keep whole files with cache=True (--cache)")

    def is_file(self) -> bool:
        return self.path in self.siblings

    def beside(self, name: str) -> "RemoteFile":
        path = self.path.removesuffix(self.name) + name
        return remote_file(
            self.files, self.repository, self.revision, self.commit, path, self.siblings
        )

    def read_text(self) -> str:
        return self.files.text(self)

    def read_headers(self, offsets: Sequence[int], length: int) -> list[bytes]:
        """In small requests, several in flight."""
        fetch = self.files.fetch([RemoteRange(self, at, at + length) for at in offsets])
        try:
            fetch.wait(None)
            return [bytes(fetch.find(self, offset, length) or b"") for offset in offsets]
        finally:
            fetch.cancel()
            fetch.drain()

    def expect_headers(self, starts: Mapping[int, int]) -> None:
        self.files.expect(self, starts)

    def read_into(self, offset: int, buffer: np.ndarray) -> None:
        self.files.read_into(self, offset, buffer)

    def values(self, offset: int, count: int, dtype: np.dtype) -> np.ndarray:
        return read_values(self, offset, count, dtype)

    def stamp(self) -> tuple[str, str]:
        return self.path, self.sha256


class RemoteRange(NamedTuple):
    """In bytes."""

    file: RemoteFile
    begin: int
    end: int


def address_of(repository: str, revision: str, path: str) -> str:
    """What errors call a file on the hub."""
    return f"hf://{repository}@{revision}/{path}"


def remote_file(
    files: "RemoteFiles",
    repository: str,
    revision: str,
    commit: str,
    path: str,
    siblings: Mapping[str, ListedFile],
) -> RemoteFile:
    """A :class:`RemoteFile`, which is not there (``is_file``) unless the commit has it."""
    found = siblings.get(path)
    return RemoteFile(
        files,
        repository,
        revision,
        commit,
        path,
        found.size if found else 0,
        found.sha256 if found else "",
        siblings,
    )


class _Reader(io.RawIOBase):
    """A remote file that can be read and sought, for headers: each byte is fetched once, the last
    ones, where zip files have their directory, together.
    """

    def __init__(self, file: RemoteFile):
        self._file, self._at = file, 0
        self._spans: list[tuple[int, bytes]] = []

    def readable(self):
        return True

    def seekable(self):
        return True

    def tell(self):
        return self._at

    def seek(self, offset, whence=io.SEEK_SET):
        self._at = max(
            0,
            offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._file.size}[whence],
        )
        return self._at

    def read(self, size=-1):
        end = self._file.size if size is None or size < 0 else min(self._at + size, self._file.size)
        parts = []
        while self._at < end:
            at_hand = (
                (begin, content)
                for begin, content in self._spans
                if begin <= self._at < begin + len(content)
            )
            begin, content = next(at_hand, None) or self._fetch(end)
            parts.append(content[self._at - begin : end - begin])
            self._at += len(parts[-1])
        return b"".join(parts)

    def readinto(self, buffer):
        content = self.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def _fetch(self, end):
        tail = self._file.size - _TAIL_READ
        begin = max(0, tail) if self._at >= tail else self._at
        end = self._file.size if self._at >= tail else min(max(end, begin + _HEADER_READ), tail)
        end = min([end, *(span for span, _ in self._spans if span > self._at)])
        self._spans.append((begin, self._file.files.read(self._file, begin, end - begin)))
        return self._spans[-1]
