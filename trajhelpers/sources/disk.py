"""Files on this machine: folders of checkpoints, and lists of them."""

import io
import itertools
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from ..errors import CheckpointError
from ..reading.folders import FoundRuns
from ..reading.formats import read_checkpoint
from ..reading.place import File, Folder, is_unfinished, read_values
from .archives import is_archive, open_archive
from .descriptors import DESCRIPTORS, Descriptor
from .identity import Identity, identity_of, is_same, open_regular, settled_identity
from .places import find_in_places, listing_of, short_names
from .protocol import Listing

_LONGEST_TEXT = 64 << 20
# Of OpenFiles: what the descriptors of each are kept under, never that of another.
_NUMBERS = itertools.count()


class Disk:
    """A folder, or a list of files or folders."""

    options: tuple[str, ...] = ("file",)

    def accepts(self, what: Any) -> bool:
        return is_path(what) or (isinstance(what, list) and all(map(is_path, what)))

    def list(
        self, what: Any, every: int, skip: Iterable[int | str], file: Sequence[str] | None = None
    ) -> Listing:
        opened = OpenFiles()

        def read(places, state):
            try:
                return [read_checkpoint(where, state) for where in places]
            finally:
                # A header that makes no sense may be of a file that is being replaced.
                opened.refuse_replaced()

        return listing_of(find_checkpoints(what, file, opened), every, skip, read)


def is_path(what: Any) -> bool:
    """Whether this names something on disk, or elsewhere."""
    return isinstance(what, (str, os.PathLike))


def find_checkpoints(
    source: str | os.PathLike | Sequence[str | os.PathLike],
    patterns: Sequence[str] | None = None,
    opened: "OpenFiles | None" = None,
) -> FoundRuns:
    """The checkpoints of a folder, a run; of several, joined; or of a list of files and folders
    that are one each.
    """
    alone = isinstance(source, (str, os.PathLike))
    paths = [Path(source)] if alone else [Path(path) for path in source]  # type: ignore
    opened = opened or OpenFiles()
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
    """Files that are read together, each of which has to stay what it was when its first byte was
    read: header and numbers come from one open file, or from one that was opened again and is the
    same.
    """

    def __init__(self) -> None:
        self._number = next(_NUMBERS)
        self._identities: dict[Path, Identity] = {}

    def __getstate__(self) -> dict[Path, Identity]:
        return self._identities

    def __setstate__(self, identities: dict[Path, Identity]) -> None:
        """In a process that shares a pass: there the same files are meant, on a device that may
        have another number.
        """
        self._number, self._identities = next(_NUMBERS), identities
        for path, identity in identities.items():
            with suppress(OSError):
                identities[path] = identity._replace(device=os.stat(path).st_dev)

    def open(self, path: Path) -> BinaryIO:
        """For whoever reads headers; the file has the length that it had at first."""
        self._give_back(self._take(path))
        return cast(BinaryIO, io.BufferedReader(_Reader(self, path)))

    def read_into(self, path: Path, offset: int, buffer: np.ndarray) -> None:
        self.fill(path, offset, memoryview(buffer).cast("B"))  # type: ignore[arg-type]

    def fill(self, path: Path, offset: int, view: memoryview) -> None:
        descriptor = self._take(path)
        try:
            while view:
                count = os.preadv(descriptor.number, [view], offset)
                if count == 0:
                    raise CheckpointError(
                        f"{path}: became shorter while it was read; check that nothing is still"
                        " writing it, and open the trajectory again"
                    )
                view, offset = view[count:], offset + count
        except OSError as error:  # of a descriptor, the system's own names no file
            raise CheckpointError(
                f"{path}: cannot be read ({error.strerror}); check the disk"
            ) from error
        finally:
            self._give_back(descriptor)

    def identity(self, path: Path) -> Identity | None:
        """Of a file that was opened, as it was then."""
        return self._identities.get(path)

    def refuse_changed(self, path: Path) -> None:
        """A CheckpointError if what was read of a file since it was opened may be of another
        content. One that is open may have lost its name to another file; its content stays.
        """
        descriptor = DESCRIPTORS.held(self._key(path))
        if descriptor is None:
            self._refuse_replaced(path)
            return
        try:
            if not is_same(self._identities[path], os.fstat(descriptor.number)):
                raise _changed(path)
        finally:
            self._give_back(descriptor)

    def refuse_replaced(self) -> None:
        """A CheckpointError unless all files that were opened are still those of their names: then
        there was a moment at which they all were there together.
        """
        for path in list(self._identities):
            self._refuse_replaced(path)

    def _refuse_replaced(self, path: Path) -> None:
        try:
            found = identity_of(os.stat(path))
        except FileNotFoundError:
            raise _changed(path) from None
        if found != self._identities[path]:
            raise _changed(path)

    def _take(self, path: Path) -> Descriptor:
        return DESCRIPTORS.take(self._key(path), lambda: self._opened(path))

    def _key(self, path: Path) -> tuple[int, str]:
        # A text is hashed once, a path each time.
        return self._number, str(path)

    def _give_back(self, descriptor: Descriptor) -> None:
        DESCRIPTORS.give_back(descriptor)

    def _opened(self, path: Path) -> int:
        try:
            descriptor = open_regular(path)
        except FileNotFoundError:
            if path in self._identities:
                raise _changed(path) from None
            raise
        try:
            if path not in self._identities:
                self._identities.setdefault(path, settled_identity(path, descriptor))
            if identity_of(os.fstat(descriptor)) != self._identities[path]:
                raise _changed(path)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def __del__(self) -> None:
        DESCRIPTORS.drop([self._key(path) for path in self._identities])


def _changed(path: Path) -> CheckpointError:
    return CheckpointError(
        f"{path}: changed since it was opened, so that what was read of it may be partly old and"
        " partly new; open it again when nothing writes to it"
    )


class _Reader(io.RawIOBase):
    """A file from its beginning on, wherever others read in it."""

    def __init__(self, files: OpenFiles, path: Path):
        self._files, self._path, self._at = files, path, 0
        identity = files.identity(path)
        self._size = identity.size if identity else 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError(f"{self._path}: has no byte {base + offset}")
        self._at = base + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")[: max(0, self._size - self._at)]
        self._files.fill(self._path, self._at, view)
        self._at += len(view)
        return len(view)


@dataclass(frozen=True)
class LocalFile:
    """A :class:`trajhelpers.reading.place.File` on this machine."""

    path: Path
    # One for all files that are read together.
    files: OpenFiles = field(default_factory=OpenFiles, compare=False, repr=False)

    remote = False
    name = property(lambda self: self.path.name)

    def __str__(self) -> str:
        return str(self.path)

    @property
    def size(self) -> int:
        """Of a file that was opened, what it was then."""
        identity = self.files.identity(self.path)
        if identity:
            return identity.size
        return self.path.stat().st_size if self.path.exists() else 0

    def is_file(self) -> bool:
        return self.path.is_file()

    def beside(self, name: str) -> "LocalFile":
        return LocalFile(self.path.parent / name, self.files)

    def open(self) -> BinaryIO:
        return self.files.open(self.path)

    def read_text(self) -> str:
        with self.open() as opened:
            if self.size > _LONGEST_TEXT:
                raise CheckpointError(
                    f"{self}: has {self.size:,} bytes, too many for what it should be"
                )
            content = opened.read()
        self.refuse_changed()
        try:
            return content.decode()
        except UnicodeDecodeError:
            raise CheckpointError(
                f"{self}: holds something other than text; fetch or save it again"
            ) from None

    def read_headers(self, offsets: Sequence[int], length: int) -> list[bytes]:
        with self.open() as file:
            found = []
            for offset in offsets:
                file.seek(offset)
                found.append(file.read(length))
            return found

    def expect_headers(self, starts: Mapping[int, int]) -> None:
        """Nothing: on this machine headers are read."""

    def expect_checksums(self, records: Mapping[int, tuple[int, int]]) -> None:
        """Nothing: on this machine they are compared when that is asked for."""

    def read_into(self, offset: int, buffer: np.ndarray) -> None:
        self.files.read_into(self.path, offset, buffer)

    def values(self, offset: int, count: int, dtype: np.dtype) -> np.ndarray:
        return read_values(self, offset, count, dtype)

    def stamp(self) -> tuple | None:
        identity = self.files.identity(self.path)
        # Not the device, whose number another machine, or this one after a restart, gives anew.
        return identity and identity[1:]

    def refuse_changed(self) -> None:
        self.files.refuse_changed(self.path)


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
        # What is neither, a pipe or a link that leads nowhere, is refused where it is read.
        return [LocalFile(path, self.opened) for path in self._entries() if not path.is_dir()]

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
