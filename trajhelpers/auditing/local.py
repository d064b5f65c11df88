"""A folder of checkpoints as a catalogue like that of the hub: revisions with the hashes of their
files.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from ..errors import CheckpointError, StepError
from ..reading.folders import Found
from ..reading.formats import ENDINGS, KINDS, read_checkpoint
from ..reading.shards import named_in_index
from ..reading.weight_names import is_index, is_shard, without_ending
from ..sources.catalogue import ListedFile, Revision
from ..sources.disk import LocalFile, find_checkpoints, is_path
from ..sources.places import some_of
from ..telling import bar


def local_revisions(
    source, every: int, skip: Iterable[int | str]
) -> tuple[list[Revision], dict[tuple[int | str, str], str], list[str], list[str]]:
    """(revisions, problems, left_out, guesses): the catalogue, what cannot be read as text by (key,
    format), what is no checkpoint, and where the order is a guess.
    """
    found, left_out, _, guesses = find_checkpoints(source)
    inside = next((one for one in found if not os.path.lexists(str(one.where))), None)
    if inside:
        raise CheckpointError(f"{inside.where}: is in an archive; unpack it for the audit")
    for one in found:
        if isinstance(one.where, LocalFile):
            one.where.open().close()  # refuses what is no file
    runs = list(dict.fromkeys(one.run for one in found))
    if len(runs) > 1 and not is_path(source):
        raise StepError(f"{', '.join(runs)}: are several runs; audit one at a time")
    chosen = [(one, Path(str(one.where))) for one in some_of(found, every, skip)]
    alone = Counter(file.parent for _, file in chosen)
    catalogue = [_beside(one, file, alone[file.parent] == 1) for one, file in chosen]
    problems: dict[tuple[int | str, str], str] = {}
    revisions = []
    with bar(
        total=sum(
            revision.files[path].size for revision, _ in catalogue for path in _to_hash(revision)
        ),
        unit="B",
        unit_scale=True,
        desc="hashes",
    ) as progress:
        for revision, folder in catalogue:
            hashed = {}
            for path in _to_hash(revision):
                with open(folder / path, "rb") as file:
                    sha256 = hashlib.file_digest(file, "sha256").hexdigest()
                hashed[path] = revision.files[path]._replace(sha256=sha256)
                progress.update(hashed[path].size)
            dtypes: tuple[str, ...] = ()
            for kind, paths in revision.weights.items():
                if paths:
                    try:
                        stored = read_checkpoint(LocalFile(folder / paths[0]))
                        kinds = sorted({tensor.dtype for tensor in stored.tensors.values()})
                        dtypes = dtypes or tuple(kinds)
                    except (CheckpointError, OSError) as error:
                        problems[revision.key, kind] = str(error)
            revisions.append(replace(revision, files={**revision.files, **hashed}, dtypes=dtypes))
    return revisions, problems, left_out, guesses


def _to_hash(revision: Revision) -> list[str]:
    return [path for kind in KINDS for path in revision.weights[kind] if path in revision.files]


def _beside(found: Found, file: Path, alone: bool) -> tuple[Revision, Path]:
    """A revision of the file and of what lies beside it: in a folder of its own, everything; else
    what has the same name but for the ending.
    """
    folder = file.parent
    names = sorted(
        entry
        for entry in os.listdir(folder)
        if (folder / entry).is_file()
        and not entry.startswith(".")
        and entry.endswith((*ENDINGS, ".index.json"))
    )
    indexes = {
        name: named_in_index((folder / name).read_bytes()) for name in names if is_index(name)
    }
    if not alone:
        mine = [
            name
            for name in names
            if without_ending(name) == without_ending(file.name) and not is_shard(name)
        ]
        names = [
            name
            for name in names
            if name in mine or any(name in (indexes.get(index) or ()) for index in mine)
        ]
    files = {name: ListedFile(name, os.path.getsize(folder / name), "") for name in names}
    return (
        Revision(
            found.step,
            folder.name if alone else file.name,
            "",
            files,
            {name: shards for name, shards in indexes.items() if name in names},
            stage=found.run,
            tokens=found.tokens,
        ),
        folder,
    )
