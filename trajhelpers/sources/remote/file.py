"""A file far away, with what readers of headers need of one: names, a size, reading, seeking."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, Protocol, cast

import numpy as np

from ...errors import CheckpointError
from ...reading.place import read_values
from .checksums import Checksum, of_record

if TYPE_CHECKING:
    from .files import RemoteFiles

_HEADER_READ, _TAIL_READ = 32 << 10, 64 << 10


class Listed(Protocol):
    """What a list says of a file."""

    @property
    def size(self) -> int:
        """Bytes."""

    @property
    def stamp(self) -> str:
        """Another for other contents."""


@dataclass(frozen=True)
class Tree:
    """Files that were listed together: of one commit on the hub, below one prefix of a bucket.

    ``address`` and a path are what errors call one of them.
    """

    # By which they are read.
    files: "RemoteFiles" = field(compare=False, repr=False)
    address: str
    # By path.
    listed: Mapping[str, Listed] = field(compare=False, repr=False)

    def file(self, path: str) -> "RemoteFile":
        """There or not."""
        return RemoteFile(self, path)

    def checksum(self, path: str) -> Checksum | None:
        """Of a whole file, where the list has one."""
        return None

    def __reduce__(self):
        """First what it is hashed by: ``files`` has dicts whose keys are of this tree."""
        known: dict[bool, dict[str, Any]] = {True: {}, False: {}}
        for one in fields(self):
            known[bool(one.compare)][one.name] = getattr(self, one.name)
        return _tree_with, (type(self), known[True]), known[False]


def _tree_with(kind: type[Tree], known: dict[str, Any]) -> Tree:
    tree = kind.__new__(kind)
    vars(tree).update(known)
    return tree


@dataclass(frozen=True)
class RemoteFile:
    """A :class:`trajhelpers.reading.place.File` of a :class:`Tree`."""

    tree: Tree
    path: str

    remote = True
    name = property(lambda self: self.path.rpartition("/")[2])
    files = property(lambda self: self.tree.files)
    size = property(lambda self: self.tree.listed[self.path].size if self.is_file() else 0)

    def __reduce__(self):
        return RemoteFile, (self.tree, self.path)

    def __str__(self) -> str:
        return f"{self.tree.address}/{self.path}"

    def open(self) -> BinaryIO:
        return cast(BinaryIO, _Reader(self))

    def is_file(self) -> bool:
        return self.path in self.tree.listed

    def beside(self, name: str) -> "RemoteFile":
        return self.tree.file(self.path.removesuffix(self.name) + name)

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

    def expect_checksums(self, records: Mapping[int, tuple[int, int]]) -> None:
        self.files.expect_records(
            self, [of_record(begin, size, crc) for begin, (size, crc) in records.items()]
        )

    def read_into(self, offset: int, buffer: np.ndarray) -> None:
        self.files.read_into(self, offset, buffer)

    def values(self, offset: int, count: int, dtype: np.dtype) -> np.ndarray:
        return read_values(self, offset, count, dtype)

    def stamp(self) -> tuple[str, str]:
        return self.path, self.tree.listed[self.path].stamp if self.is_file() else ""


class RemoteRange(NamedTuple):
    """In bytes."""

    file: RemoteFile
    begin: int
    end: int


def changed(where: object) -> CheckpointError:
    """Of a file that is not what it was."""
    return CheckpointError(f"{where}: changed since the trajectory was opened; open it again")


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
