"""Files on this machine: folders of checkpoints, and lists of them."""

import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ..errors import CheckpointError, StepError
from ..reading.config import read_config
from ..reading.folders import Found, FoundRuns, checkpoints_of_runs, is_run, listed_checkpoints
from ..reading.formats import Several, read_checkpoint
from ..reading.place import File, Folder, is_unfinished, read_values
from ..reading.sizes import kind_of, size_of
from ..reading.steps import every_but
from ..reading.weight_names import without_ending
from .protocol import Checkpoint, Listing

_OPEN_FILES = 400


class Disk:
    """A folder, or a list of files or folders."""

    options: tuple[str, ...] = ("file",)

    def accepts(self, what: Any) -> bool:
        return is_path(what) or (isinstance(what, list) and all(map(is_path, what)))

    def list(
        self, what: Any, every: int, skip: Iterable[int | str], file: Sequence[str] | None = None
    ) -> Listing:
        found, left_out, notes, guesses = find_checkpoints(what, file)
        chosen = some_of(found, every, skip)
        return Listing(
            [
                Checkpoint(one.step, one.run, str(one.where), "", kind_of(one.where), one.tokens)
                for one in chosen
            ],
            lambda state: [read_checkpoint(one.where, state) for one in chosen],
            lambda: config_beside(chosen[0].where),
            left_out,
            notes,
            guesses,
            sizes=lambda: [size_of(one.where) for one in chosen],
        )


def some_of(found: Sequence[Found], every: int, skip: Iterable[int | str]) -> Sequence[Found]:
    """Every so-manieth, but for those that are skipped."""
    steps, names = [one.step for one in found], [one.name for one in found]
    return [found[index] for index in every_but(steps, every, skip, names)]


def is_path(what: Any) -> bool:
    """Whether this names something on disk, or elsewhere."""
    return isinstance(what, (str, os.PathLike))


def find_checkpoints(
    source: str | os.PathLike | Sequence[str | os.PathLike], patterns: Sequence[str] | None = None
) -> FoundRuns:
    """The checkpoints of a folder, a run; of several, joined; or of a list of files and folders
    that are one each.
    """
    opened = OpenFiles()
    if is_path(source):
        folder = Path(source)  # type: ignore[arg-type]
        _refuse_missing(folder)
        if not folder.is_dir():
            raise StepError(
                f"{folder}: is one checkpoint, and a trajectory needs two at least; give the"
                " folder, or several files"
            )
        return checkpoints_of_runs([("", LocalFolder(folder, opened))], patterns)
    paths = [Path(path) for path in source]  # type: ignore[union-attr]
    if not paths:
        raise StepError("no checkpoints: the list is empty, and a trajectory needs two at least")
    for path in paths:
        _refuse_missing(path)
    places = [
        LocalFolder(path, opened) if path.is_dir() else LocalFile(path, opened) for path in paths
    ]
    runs = [place for place in places if isinstance(place, LocalFolder) and is_run(place, patterns)]
    if runs and len(runs) < len(places):
        other = next(place for place in places if place not in runs)
        raise StepError(
            f"{runs[0]} is a run of several checkpoints, {other} is not: give runs or"
            " checkpoints, not both"
        )
    if runs:
        return checkpoints_of_runs(list(zip(_short_names(paths), runs)), patterns)
    names = _short_names([path.with_name(without_ending(path.name)) for path in paths])
    return listed_checkpoints(list(zip(names, places)), patterns)


def _refuse_missing(path: Path) -> None:
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder")


def _short_names(paths: Sequence[Path]) -> list[str]:
    """Paths without the part that all share."""
    if len(paths) == 1:
        return [paths[0].name]
    absolute = [os.path.abspath(path) for path in paths]
    shared = os.path.commonpath([os.path.dirname(path) for path in absolute])
    return [os.path.relpath(path, shared) for path in absolute]


def config_beside(where: File | Folder | Several) -> dict:
    """The ``config.json`` of a checkpoint, {} where there is none."""
    first = where.files[0][1] if isinstance(where, Several) else where
    config = first.file("config.json") if isinstance(first, Folder) else first.beside("config.json")
    return read_config(config.read_text(), config) if config.is_file() else {}


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

    def open_whole(self, why: str) -> BinaryIO:
        return self.open()

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
        return [LocalFolder(path, self.opened) for path in self._entries() if path.is_dir()]

    def files(self) -> Sequence[LocalFile]:
        return [LocalFile(path, self.opened) for path in self._entries() if path.is_file()]

    def folder(self, path: str) -> "LocalFolder":
        return LocalFolder(self.path / path, self.opened)

    def file(self, path: str) -> LocalFile:
        return LocalFile(self.path / path, self.opened)

    def _entries(self) -> list[Path]:
        if not self.path.is_dir():
            return []
        return sorted(path for path in self.path.iterdir() if not is_unfinished(path.name))
