"""What a run holds, revision by revision: names, sizes and hashes of files, and no weights.

The hub gives such a catalogue, and a folder can be made into one: the audit looks at both alike.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple, cast

from ..errors import CheckpointError
from ..reading.formats import KINDS, Several, Where, folder_format
from ..reading.place import File, Folder
from ..reading.sizes import kind_of
from ..reading.weight_names import weight_files
from ..reading.weights import weights_in
from .listed import ListedFolder


class ListedFile(NamedTuple):
    """A file of a revision; ``sha256`` is of the contents where git-lfs keeps them, else the id of
    git's blob. Both say that two files are the same.
    """

    path: str
    size: int
    sha256: str

    @property
    def stamp(self) -> str:
        """Another for other contents."""
        return self.sha256


class ListedName(NamedTuple):
    """All that is known of a file in a catalogue, and all that is asked to recognise a format."""

    path: str
    is_there: bool = True

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    def is_file(self) -> bool:
        return self.is_there

    def __str__(self) -> str:
        return self.path


@dataclass(frozen=True)
class Revision:
    """One checkpoint. ``commit`` is "" where a step was asked for that has no branch, and of a
    folder.

    ``shards`` says which files each index (``*.index.json``) names, None where it is no index;
    ``dtypes`` are those that the hub counted, where it did. ``stage`` is "" where a run has one.
    Where a branch holds several checkpoints, ``within`` is the folder, or the file, of this one,
    and ``folder`` that to which its files' paths are relative. ``listed_as`` is its name in a list
    of repositories."""

    step: int
    name: str
    commit: str
    files: Mapping[str, ListedFile]
    shards: Mapping[str, tuple[str, ...] | None] = field(default_factory=dict)
    dtypes: tuple[str, ...] = ()
    stage: str = ""
    tokens: int | None = None
    repository: str = ""
    within: str = ""
    folder: str = ""
    listed_as: str = ""

    @property
    def label(self) -> str:
        """What messages call it, and ``skip`` knows it by."""
        return self.listed_as or (f"{self.name}/{self.within}" if self.within else self.name)

    @property
    def key(self) -> int | str:
        """What tells it from the others: its step, but in a run of several stages its label."""
        return self.label if self.stage else self.step

    @cached_property
    def weights(self) -> dict[str, tuple[str, ...]]:
        """By format, the paths of the files that hold the weights in it: one file, or an index and
        its shards, named as the index does, whether or not they are there. () where there are none.
        """
        if folder_format(self._names):
            return dict.fromkeys(KINDS, ())
        return {kind: weight_files(self.files, self.shards, kind) for kind in KINDS}

    def held_as(self, patterns: Sequence[str] | None = None) -> Where | None:
        """What holds the weights, by names alone; None where nothing does. A CheckpointError that
        asks where it holds several networks.
        """
        return self.weights_of(self._names, patterns)

    def weights_of(self, folder: Folder, patterns: Sequence[str] | None = None) -> Where | None:
        """The same in a folder that has these files."""
        found = weights_in(folder, patterns)
        if found is None and patterns is None and self.within != self.folder:
            return folder.file(self.within.rpartition("/")[2])
        return found

    @cached_property
    def other_format(self) -> str:
        """The format of weights that are no file, or index, of a usual name: "megatron"; "" where
        there are none.
        """
        if any(self.weights.values()):
            return ""
        try:
            found = self.held_as()
        except CheckpointError:
            return ""
        if found is None:
            return ""
        kind = kind_of(found) or "file"
        return f"{kind} files" if kind in KINDS else kind

    @property
    def held(self) -> tuple[str, ...]:
        """All formats that it has weights in."""
        kinds = tuple(kind for kind in KINDS if self.weights[kind])
        return kinds or tuple(filter(None, [self.other_format]))

    def path_of(self, path: str) -> str:
        """Within its branch, of a path as in ``files``."""
        return f"{self.folder}/{path}" if self.folder else path

    @property
    def _names(self) -> ListedFolder:
        address = f"hf://{self.repository}@{self.name}" if self.repository else self.name
        return ListedFolder(
            f"{address}/{self.folder}".rstrip("/"),
            self.files,
            lambda path: cast(File, ListedName(path, path in self.files)),
        )


def paths_in(where: Where) -> list[str]:
    """Of what was found among names alone, all files."""
    if isinstance(where, Several):
        return [path for _, place in where.files for path in paths_in(place)]
    if isinstance(where, Folder):
        inner = [path for folder in where.folders() for path in paths_in(folder)]
        return [cast(ListedName, file).path for file in where.files()] + inner
    return [cast(ListedName, where).path]


def choose_format(revisions: Sequence[Revision], format: str | None = None) -> dict[int | str, str]:
    """By key, the format that is read: the one that all revisions have, else safetensors where a
    revision has it, else the one it has.

    ``format`` decides for all. A revision without weights has no entry.
    """
    if format not in (None, *KINDS):
        expected = " or ".join(map(repr, KINDS))
        raise ValueError(f"format: expected {expected}, got {format!r}")
    held = {revision.key: revision.held for revision in revisions if revision.held}
    common = [kind for kind in KINDS if all(kind in kinds for kinds in held.values())]
    return {key: format or (common or kinds)[0] for key, kinds in held.items()}
