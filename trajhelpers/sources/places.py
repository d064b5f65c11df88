"""Files and folders that somebody listed, wherever they lie: runs, or checkpoints?"""

import posixpath
from collections.abc import Sequence

from ..errors import StepError
from ..reading.config import read_config
from ..reading.folders import (
    Found,
    Patterns,
    checkpoints_of_runs,
    is_run,
    listed_checkpoints,
)
from ..reading.formats import Several
from ..reading.place import File, Folder
from ..reading.weight_names import without_ending


def find_in_places(
    places: Sequence[tuple[str, File | Folder]], patterns: Patterns = None, alone: bool = False
) -> tuple[list[Found], list[str]]:
    """The checkpoints of folders that are runs, joined; or of files and folders that are one each,
    by names from which steps are read. And what is none, with the reason. ``alone``: what was given
    was no list.
    """
    if alone:
        ((_, place),) = places
        if not isinstance(place, Folder):
            raise StepError(
                f"{place}: is one checkpoint, and a trajectory needs two at least; give the"
                " folder, or several files"
            )
        return checkpoints_of_runs([("", place)], patterns)
    if not places:
        raise StepError("no checkpoints: the list is empty, and a trajectory needs two at least")
    runs = [
        (name, place)
        for name, place in places
        if isinstance(place, Folder) and is_run(place, patterns)
    ]
    if runs and len(runs) < len(places):
        other = next(place for _, place in places if all(place is not run for _, run in runs))
        raise StepError(
            f"{runs[0][1]} is a run of several checkpoints, {other} is not: give runs or"
            " checkpoints, not both"
        )
    if runs:
        return checkpoints_of_runs(runs, patterns)
    return listed_checkpoints([(without_ending(name), place) for name, place in places], patterns)


def short_names(paths: Sequence[str]) -> list[str]:
    """Paths without the part that all share.

    >>> short_names(["/runs/a/step_1.pt", "/runs/b/step_1.pt"])
    ['a/step_1.pt', 'b/step_1.pt']
    """
    if len(paths) < 2:
        return [posixpath.basename(path) for path in paths]
    shared = posixpath.commonpath([posixpath.dirname(path) for path in paths])
    return [posixpath.relpath(path, shared) for path in paths]


def config_beside(where: File | Folder | Several) -> dict:
    """The ``config.json`` of a checkpoint, {} where there is none."""
    first = where.files[0][1] if isinstance(where, Several) else where
    config = first.file("config.json") if isinstance(first, Folder) else first.beside("config.json")
    return read_config(config.read_text(), config) if config.is_file() else {}
