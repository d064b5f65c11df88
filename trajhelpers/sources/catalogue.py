"""What a run holds, revision by revision: names, sizes and hashes of files, and no weights.

The hub gives such a catalogue, and a folder can be made into one: the audit looks at both alike.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from ..reading.formats import KINDS
from ..reading.weight_names import weight_files


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


@dataclass(frozen=True)
class Revision:
    """One checkpoint. ``commit`` is "" where a step was asked for that has no branch, and of a
    folder.

    ``shards`` says which files each index (``*.index.json``) names, None where it is no index;
    ``dtypes`` are those that the hub counted, where it did."""

    step: int
    name: str
    commit: str
    files: Mapping[str, ListedFile]
    shards: Mapping[str, tuple[str, ...] | None] = field(default_factory=dict)
    dtypes: tuple[str, ...] = ()

    @cached_property
    def weights(self) -> dict[str, tuple[str, ...]]:
        """By format, the paths of the files that hold the weights in it: one file, or an index and
        its shards, named as the index does, whether or not they are there. () where there are none.
        """
        return {kind: weight_files(self.files, self.shards, kind) for kind in KINDS}


def choose_format(revisions: Sequence[Revision], format: str | None = None) -> dict[int, str]:
    """By step, the format that is read: the one that all revisions have, else safetensors where a
    revision has it, else the one it has.

    ``format`` decides for all. A revision without weights has no entry.
    """
    if format not in (None, *KINDS):
        expected = " or ".join(map(repr, KINDS))
        raise ValueError(f"format: expected {expected}, got {format!r}")
    held = {
        revision.step: [kind for kind in KINDS if revision.weights[kind]] for revision in revisions
    }
    held = {step: kinds for step, kinds in held.items() if kinds}
    common = [kind for kind in KINDS if all(kind in kinds for kinds in held.values())]
    return {step: format or (common or kinds)[0] for step, kinds in held.items()}
