"""A listing of files and folders far away."""

from collections.abc import Iterable, Sequence
from functools import partial

from ...reading.place import File, Folder
from ..places import find_in_places, listing_of
from ..protocol import Listing
from .files import RemoteFiles
from .headers import read_headers


def remote_listing(
    places: Sequence[tuple[str, File | Folder]],
    files: RemoteFiles,
    every: int,
    skip: Iterable[int | str],
    patterns: Sequence[str] | None,
    alone: bool,
    aside: Sequence[str] = (),
) -> Listing:
    """Of places with names: runs, or checkpoints, as
    :func:`trajhelpers.sources.places.find_in_places` has it; ``aside`` is left out of them.
    """
    found = find_in_places(places, patterns, alone)
    found = found._replace(left_out=[*aside, *found.left_out])
    return listing_of(found, every, skip, partial(read_headers, files), files)
