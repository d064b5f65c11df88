"""A listing of files and folders far away."""

from collections.abc import Iterable, Sequence

from ...reading.place import File, Folder
from ...reading.steps import every_but
from ..places import config_beside, find_in_places
from ..protocol import Checkpoint, Listing
from .files import RemoteFiles
from .headers import read_headers


def listing_of(
    places: Sequence[tuple[str, File | Folder]],
    files: RemoteFiles,
    every: int,
    skip: Iterable[int],
    patterns: Sequence[str] | None,
    alone: bool,
    aside: Sequence[str] = (),
) -> Listing:
    """Of places with names: runs, or checkpoints, as
    :func:`trajhelpers.sources.places.find_in_places` has it; ``aside`` is left out of them.
    """
    found, left_out = find_in_places(places, patterns, alone)
    chosen = [found[index] for index in every_but([one.step for one in found], every, skip)]
    return Listing(
        [Checkpoint(step, run, str(where)) for step, run, where in chosen],
        lambda state: read_headers(files, [one.where for one in chosen], state),
        lambda: config_beside(chosen[0].where),
        [*aside, *left_out],
        fetcher=files,
    )
