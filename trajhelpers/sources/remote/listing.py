"""A listing of files and folders far away."""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from ...errors import CheckpointError
from ...reading.place import File, Folder
from ..archives import is_archive, open_archive
from ..listed import ListedFolder
from ..places import find_in_places, listing_of
from ..protocol import Listing
from .file import Tree
from .files import RemoteFiles
from .headers import read_headers

_ARCHIVES_IN_FLIGHT = 8


def remote_listing(
    places: Sequence[tuple[str, File | Folder]],
    files: RemoteFiles,
    every: int,
    skip: Iterable[int | str],
    patterns: Sequence[str] | None,
    alone: bool,
) -> Listing:
    """Of places with names: runs, or checkpoints, as
    :func:`trajhelpers.sources.places.find_in_places` has it; an archive is the folder in it.
    """
    with ThreadPoolExecutor(_ARCHIVES_IN_FLIGHT, "archives") as pool:
        opened = list(pool.map(_in_archive, [place for _, place in places]))
    found = find_in_places(
        [(name, place) for (name, _), (place, _) in zip(places, opened)], patterns, alone
    )
    aside = [reason for _, left_out in opened for reason in left_out]
    found = found._replace(left_out=[*aside, *found.left_out])
    return listing_of(found, every, skip, partial(read_headers, files), files)


def file_or_folder(tree: Tree, path: str, address: str) -> File | Folder:
    """What lies at a path of what was listed; ``address`` is what errors call it."""
    if path in tree.listed:
        return tree.file(path)
    before = f"{path}/" if path else ""
    below = [other.removeprefix(before) for other in tree.listed if other.startswith(before)]
    if not below:
        raise CheckpointError(f"{address}: holds nothing; check the prefix")
    return ListedFolder(address, below, lambda inner: tree.file(before + inner))


def _in_archive(place: File | Folder) -> tuple[File | Folder, list[str]]:
    """What is in an archive, and what of it is left out, with the reason; others as they are."""
    if isinstance(place, Folder) or not is_archive(place.name):
        return place, []
    return open_archive(place)
