"""What a run holds, revision by revision: names, sizes and hashes of files, and no weights.

The hub gives such a catalogue, and a folder can be made into one: the audit looks at both alike.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple, cast

from ..reading.folders import weights_in
from ..reading.formats import KINDS, Several, folder_format
from ..reading.place import File
from ..reading.weight_names import weight_files
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


class _Name(NamedTuple):
    """All that is known of a file in a catalogue and all that is asked to recognise a format."""

    path: str

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]


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
        return {kind: weight_files(self.files, self.shards, kind) for kind in KINDS}

    @cached_property
    def folder_format(self) -> str:
        """The format that all its files are in together, as those of ranks are; "" where none is
        known, or where there are weights of a usual name.
        """
        if any(self.weights.values()):
            return ""
        found = folder_format(self._names)
        return found.kind if found else ""

    @property
    def _names(self) -> ListedFolder:
        return ListedFolder(self.label, self.files, lambda path: cast(File, _Name(path)))

    def path_of(self, path: str) -> str:
        """Within its branch, of a path as in ``files``."""
        return f"{self.folder}/{path}" if self.folder else path

    def matching(self, patterns: Sequence[str]) -> tuple[tuple[str, str], ...]:
        """(name, path) of the files of weights that shell patterns ask for."""
        found = weights_in(self._names, patterns)
        files = found.files if isinstance(found, Several) else [("", found)] if found else []
        return tuple((name, cast(_Name, file).path) for name, file in files)

    @property
    def held(self) -> tuple[str, ...]:
        """All formats that it has weights in."""
        kinds = tuple(kind for kind in KINDS if self.weights[kind])
        return kinds or tuple(filter(None, [self.folder_format]))


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
