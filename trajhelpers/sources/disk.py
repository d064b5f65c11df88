"""Files on this machine: folders of checkpoints, and lists of them."""

import os
import re
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ..errors import CheckpointError
from ..reading.folders import FoundRuns
from ..reading.formats import read_checkpoint
from ..reading.place import File, Folder, is_unfinished, read_values
from .archives import is_archive, open_archive
from .places import find_in_places, listing_of, short_names
from .protocol import Listing

_OPEN_FILES = 400


class Disk:
    """A folder, or a list of files or folders."""

    options: tuple[str, ...] = ("file",)

    def accepts(self, what: Any) -> bool:
        return is_path(what) or (isinstance(what, list) and all(map(is_path, what)))

    def list(
        self, what: Any, every: int, skip: Iterable[int | str], file: Sequence[str] | None = None
    ) -> Listing:
        return listing_of(
            find_checkpoints(what, file),
            every,
            skip,
            lambda places, state: [read_checkpoint(where, state) for where in places],
        )


def is_path(what: Any) -> bool:
    """Whether this names something on disk, or elsewhere."""
    return isinstance(what, (str, os.PathLike))


def find_checkpoints(
    source: str | os.PathLike | Sequence[str | os.PathLike], patterns: Sequence[str] | None = None
) -> FoundRuns:
    """The checkpoints of a folder, a run; of several, joined; or of a list of files and folders
    that are one each.
    """
    alone = isinstance(source, (str, os.PathLike))
    paths = [Path(source)] if alone else [Path(path) for path in source]  # type: ignore
    opened = OpenFiles()
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(f"{path}: no such file or folder{_meant(path)}")
    places: list[File | Folder] = []
    aside: list[str] = []
    for path in paths:
        if path.is_dir():
            places.append(LocalFolder(path, opened))
        elif is_archive(path.name):
            folder, links = open_archive(LocalFile(path, opened))
            places.append(folder)
            aside += links
        else:
            places.append(LocalFile(path, opened))
    names = short_names([os.path.abspath(path) for path in paths])
    found = find_in_places(list(zip(names, places)), patterns, alone)
    return found._replace(left_out=[*aside, *found.left_out])


def _meant(path: Path) -> str:
    """What somebody may have meant by a path that is not there."""
    if re.match(r"\w{2,}:/", path.as_posix()):
        return "; addresses begin with hf://, s3://, gs://, az:// or https://"
    if re.fullmatch(r"\w[\w.-]*/[\w.-]+", path.as_posix()) and not path.parent.exists():
        return f"; of a model on the hub the address is hf://{path.as_posix()}"
    return ""


class OpenFiles:
    """File descriptors shared by the reading threads: of the first few hundred files kept open, of
    others opened for each read.
    """

    def __init__(self) -> None:
        self._stamps: dict[Path, tuple[int, int]] = {}
        self._descriptors: dict[Path, int] = {}
        self._lock = threading.Lock()

    def open(self, path: Path) -> BinaryIO:
        """A file of its own for whoever reads headers. All that is read of this path later must be
        of the file that was opened first.
        """
        file = open(path, "rb")
        self._stamps.setdefault(path, _stamp(os.fstat(file.fileno())))
        return file

    def read_into(self, path: Path, offset: int, buffer: np.ndarray) -> None:
        descriptor, kept = self._descriptor(path)
        try:
            view = buffer.view(np.uint8).data
            while view:
                count = os.preadv(descriptor, [view], offset)
                if count == 0:
                    raise CheckpointError(
                        f"{path}: became shorter while it was read; check that nothing is still"
                        " writing it, and open the trajectory again"
                    )
                view, offset = view[count:], offset + count
        finally:
            if not kept:
                os.close(descriptor)

    def stamp(self, path: Path) -> tuple[int, int]:
        """Size and time of a file, as it was opened."""
        return self._stamps[path]

    def _descriptor(self, path: Path) -> tuple[int, bool]:
        with self._lock:
            if path in self._descriptors:
                return self._descriptors[path], True
            descriptor = os.open(path, os.O_RDONLY)
            if _stamp(os.fstat(descriptor)) != self._stamps[path]:
                os.close(descriptor)
                raise CheckpointError(
                    f"{path}: changed since the trajectory was opened; open it again"
                )
            if len(self._descriptors) >= _OPEN_FILES:
                return descriptor, False
            self._descriptors[path] = descriptor
            return descriptor, True

    def __del__(self) -> None:
        for descriptor in self._descriptors.values():
            os.close(descriptor)


def _stamp(stat: os.stat_result) -> tuple[int, int]:
    return stat.st_size, stat.st_mtime_ns


@dataclass(frozen=True)
class LocalFile:
    """A :class:`trajhelpers.reading.place.File` on this machine."""

    path: Path
    # One for all files that are read together.
    files: OpenFiles = field(default_factory=OpenFiles, compare=False, repr=False)

    remote = False
    name = property(lambda self: self.path.name)
    size = property(lambda self: self.path.stat().st_size)

    def __str__(self) -> str:
        return str(self.path)

    def is_file(self) -> bool:
        return self.path.is_file()

    def beside(self, name: str) -> "LocalFile":
        return LocalFile(self.path.parent / name, self.files)

    def open(self) -> BinaryIO:
        return self.files.open(self.path)

    def read_text(self) -> str:
        return self.path.read_text()

    def read_headers(self, offsets: Sequence[int], length: int) -> list[bytes]:
        with self.open() as file:
            found = []
            for offset in offsets:
                file.seek(offset)
                found.append(file.read(length))
            return found

    def expect_headers(self, starts: Mapping[int, int]) -> None:
        """Nothing: on this machine headers are read."""

    def read_into(self, offset: int, buffer: np.ndarray) -> None:
        self.files.read_into(self.path, offset, buffer)

    def values(self, offset: int, count: int, dtype: np.dtype) -> np.ndarray:
        return read_values(self, offset, count, dtype)

    def stamp(self) -> tuple[int, int]:
        return self.files.stamp(self.path)


@dataclass(frozen=True)
class LocalFolder:
    """A :class:`trajhelpers.reading.place.Folder` on this machine."""

    path: Path
    opened: OpenFiles = field(default_factory=OpenFiles, compare=False, repr=False)

    remote = False
    name = property(lambda self: self.path.name)

    def __str__(self) -> str:
        return str(self.path)

    def folders(self) -> Sequence["LocalFolder"]:
        return [
            LocalFolder(path, self.opened)
            for path in self._entries()
            if path.is_dir() and not self._leads_back(path)
        ]

    def files(self) -> Sequence[LocalFile]:
        return [LocalFile(path, self.opened) for path in self._entries() if path.is_file()]

    def folder(self, path: str) -> "LocalFolder":
        return LocalFolder(self.path / path, self.opened)

    def file(self, path: str) -> LocalFile:
        return LocalFile(self.path / path, self.opened)

    def _leads_back(self, path: Path) -> bool:
        """Whether it is a link to the folder itself or one above, which would have no end."""
        return path.is_symlink() and path.resolve() in {
            above.resolve() for above in (self.path, *self.path.parents)
        }

    def _entries(self) -> list[Path]:
        if not self.path.is_dir():
            return []
        return sorted(path for path in self.path.iterdir() if not is_unfinished(path.name))
