"""A folder of checkpoints as a catalogue like that of the hub: revisions with the hashes of their
files.
"""

import hashlib
import os
from collections import Counter
from pathlib import Path

from tqdm.auto import tqdm

from ..errors import CheckpointError, StepError
from ..reading.files import read_checkpoint
from ..reading.folders import _INDEX, _SHARD, _WEIGHTS, _stem, find_checkpoints
from ..reading.steps import every_but
from ..sources.hub.revisions import FORMATS, HubFile, Revision, _named_in_index, weight_files


def local_revisions(source, every, skip):
    """(revisions, problems, left_out): the catalogue, what cannot be read as text by (step,
    format), and what is no checkpoint.
    """
    steps, files, runs, left_out = find_checkpoints(source)
    if len(set(runs)) > 1:
        raise StepError(f"{', '.join(dict.fromkeys(runs))}: are several runs; audit one at a time")
    chosen = [(steps[index], Path(files[index])) for index in every_but(steps, every, skip)]
    alone = Counter(file.parent for _, file in chosen)
    catalogue = [_beside(step, file, alone[file.parent] == 1) for step, file in chosen]
    wanted = [
        (place, path)
        for place, (revision, _) in enumerate(catalogue)
        for name in FORMATS
        for path in weight_files(revision, name)
        if path in revision.files
    ]
    problems = {}
    with tqdm(
        total=sum(catalogue[place][0].files[path].size for place, path in wanted),
        unit="B",
        unit_scale=True,
        desc="hashes",
        delay=1,
    ) as bar:
        for place, path in wanted:
            revision, folder = catalogue[place]
            with open(folder / path, "rb") as file:
                revision.files[path] = revision.files[path]._replace(
                    sha256=hashlib.file_digest(file, "sha256").hexdigest()
                )
            bar.update(revision.files[path].size)
    revisions = []
    for revision, folder in catalogue:
        dtypes = ()
        for name in FORMATS:
            paths = weight_files(revision, name)
            if paths:
                try:
                    stored = read_checkpoint(folder / paths[0])
                    dtypes = dtypes or tuple(sorted({tensor.dtype for tensor in stored.values()}))
                except (CheckpointError, OSError) as error:
                    problems[revision.step, name] = str(error)
        revisions.append(revision._replace(dtypes=dtypes))
    return revisions, problems, left_out


def _beside(step, file, alone):
    """A revision of the file and of what lies beside it: in a folder of its own, everything; else
    what has the same name but for the ending.
    """
    folder = file.parent
    names = sorted(
        entry
        for entry in os.listdir(folder)
        if (folder / entry).is_file()
        and not entry.startswith(".")
        and entry.endswith((*_WEIGHTS, ".index.json"))
    )
    indexes = {
        name: _named_in_index((folder / name).read_bytes()) for name in names if _INDEX.search(name)
    }
    if not alone:
        mine = [
            name
            for name in names
            if _stem(folder / name) == _stem(file) and not _SHARD.search(name)
        ]
        names = [
            name
            for name in names
            if name in mine or any(name in (indexes.get(index) or ()) for index in mine)
        ]
    files = {name: HubFile(name, os.path.getsize(folder / name), "") for name in names}
    return (
        Revision(
            step,
            folder.name if alone else file.name,
            "",
            files,
            {name: shards for name, shards in indexes.items() if name in names},
        ),
        folder,
    )
