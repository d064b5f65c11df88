"""What readers ask of a file, wherever it lies: on this machine, on the hub, in memory.

``trajhelpers.sources`` has the files and folders that answer; readers of formats know these
protocols and nothing else of them. ``str(file)`` is what errors call it.
"""

from collections.abc import Mapping, Sequence
from typing import BinaryIO, Protocol, runtime_checkable

import numpy as np

# Of a file, in bytes, in all usual file systems.
_LONGEST_NAME = 255


class Place(Protocol):
    """Where the bytes of tensors lie."""

    def read_into(self, offset: int, buffer: np.ndarray) -> None:
        """Fill ``buffer``, a contiguous array, with the bytes from ``offset`` on, or raise a
        CheckpointError.
        """

    def values(self, offset: int, count: int, dtype: np.dtype) -> np.ndarray:
        """So many values from byte ``offset`` on, to be looked at and not written to."""

    def stamp(self) -> tuple | None:
        """Equal for the same content, as long as nobody forges it; None where nothing says so."""


@runtime_checkable
class Composed(Place, Protocol):
    """A place whose bytes lie in others."""

    @property
    def places(self) -> Sequence[Place]:
        """The others, once each."""

    def ranges(self, begin: int, end: int) -> list[tuple[Place, int, int]]:
        """Where bytes ``begin`` to ``end`` lie: ``(place, begin, end)``."""


def refuse_changed(place: Place) -> None:
    """A CheckpointError if what was read there may be of another content than when it was opened:
    of a file on this machine. Others check each read, or cannot change.
    """
    check = getattr(place, "refuse_changed", None)
    if check:
        check()


def read_values(place: Place, offset: int, count: int, dtype: np.dtype) -> np.ndarray:
    """What :meth:`Place.values` gives, of a place whose bytes have to be copied."""
    found = np.empty(count, dtype)
    place.read_into(offset, found)
    return found


class File(Place, Protocol):
    """A file, there or not."""

    @property
    def name(self) -> str:
        """Without the folder."""

    @property
    def size(self) -> int:
        """Bytes."""

    @property
    def remote(self) -> bool:
        """Whether each read is a request over a network: readers then make few."""

    def is_file(self) -> bool:
        """Whether it is there."""

    def beside(self, name: str) -> "File":
        """The file of that name, or relative path, in the same folder."""

    def open(self) -> BinaryIO:
        """For reading headers, with ``read``, ``seek`` and ``tell``."""

    def read_text(self) -> str:
        """All of a small file."""

    def read_headers(self, offsets: Sequence[int], length: int) -> list[bytes]:
        """So many bytes from each of the offsets on."""

    def expect_headers(self, starts: Mapping[int, int]) -> None:
        """Of a remote file: by the byte at which a zip's record should begin, where its header
        does, which is checked when the record is first read.
        """

    def expect_checksums(self, records: Mapping[int, tuple[int, int]]) -> None:
        """Of a remote file: by the byte at which a zip's record begins, its size and CRC-32, with
        which it is compared when it is read.
        """


@runtime_checkable
class Folder(Protocol):
    """A folder, there or not. What is hidden, or left by a write that was not finished, is not in
    it.
    """

    @property
    def name(self) -> str:
        """The last part of its path."""

    @property
    def remote(self) -> bool:
        """As of its files."""

    def folders(self) -> Sequence["Folder"]:
        """Those directly in it, by name."""

    def files(self) -> Sequence[File]:
        """Those directly in it, by name."""

    def folder(self, path: str) -> "Folder":
        """Of a relative path."""

    def file(self, path: str) -> File:
        """Of a relative path."""


def within(path: str) -> str:
    """The path, relative to a folder, that a file gives; a ValueError where it leads out of the
    folder, or cannot be one.
    """
    parts = path.replace("\\", "/").split("/")
    if path.startswith("/") or ".." in parts:
        raise ValueError(f"{path[:200]!r} leads out of the folder")
    if "\0" in path or any(len(part.encode("utf-8", "replace")) > _LONGEST_NAME for part in parts):
        raise ValueError(f"{path[:40]!r} is no name of a file")
    return path


def is_unfinished(name: str) -> bool:
    """Whether a name is hidden, or of a write that was not finished.

    >>> is_unfinished(".step_3.tmp"), is_unfinished("step_3.pt")
    (True, False)
    """
    return name.startswith(".") or name.endswith((".tmp", ".partial"))
