"""Files and folders that somebody listed, wherever they lie: runs, or checkpoints?"""

import posixpath
from collections.abc import Callable, Iterable, Sequence

from ..errors import StepError
from ..reading.config import config_in
from ..reading.contents import Contents
from ..reading.folders import (
    Found,
    FoundRuns,
    Patterns,
    checkpoints_of_runs,
    is_run,
    listed_checkpoints,
)
from ..reading.formats import Several, Where
from ..reading.place import File, Folder
from ..reading.sizes import kind_of, size_of
from ..reading.steps import every_but
from ..reading.weight_names import without_ending
from .protocol import Checkpoint, Fetcher, Listing


def listing_of(
    runs: FoundRuns,
    every: int,
    skip: Iterable[int | str],
    read: Callable[[Sequence[Where], str | None], Sequence[Contents]],
    fetcher: Fetcher | None = None,
) -> Listing:
    """Of the checkpoints that were found, each so-manieth; ``read`` reads their headers."""
    chosen = some_of(runs.found, every, skip)
    places = [one.where for one in chosen]
    return Listing(
        [
            Checkpoint(one.step, one.run, str(one.where), "", kind_of(one.where), one.tokens)
            for one in chosen
        ],
        lambda state: read(places, state),
        lambda: config_beside(places[0]),
        runs.left_out,
        runs.notes,
        runs.guesses,
        sizes=lambda: [size_of(where) for where in places],
        fetcher=fetcher,
    )


def some_of(found: Sequence[Found], every: int, skip: Iterable[int | str]) -> Sequence[Found]:
    """Every so-manieth, but for those that are skipped."""
    steps, names = [one.step for one in found], [one.name for one in found]
    return [found[index] for index in every_but(steps, every, skip, names)]


def find_in_places(
    places: Sequence[tuple[str, File | Folder]], patterns: Patterns = None, alone: bool = False
) -> FoundRuns:
    """The checkpoints of folders that are runs, joined; or of files and folders that are one each,
    by names from which steps are read. ``alone``: what was given was no list.
    """
    if alone:
        ((_, place),) = places
        if not isinstance(place, Folder):
            raise StepError(
                f"{place}: is one file, and a trajectory needs two checkpoints at least; give the"
                " folder, or several files (a kernel, of `trajhelpers gram`, is read by"
                " th.load_kernel, and has no checkpoints in it)"
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
    return config_in(config)
