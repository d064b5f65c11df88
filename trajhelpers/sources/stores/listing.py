"""From addresses in stores to checkpoints: what lies there, by lists and headers alone."""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from ...errors import CheckpointError
from ...reading.formats import ENDINGS
from ...reading.place import File, Folder
from ..archives import is_archive, open_archive
from ..listed import ListedFolder
from ..places import short_names
from ..protocol import Listing
from ..remote.files import RemoteFiles
from ..remote.listing import remote_listing
from .address import Address, address_of
from .bucket import AskedAbout, Bucket, StoreRequests, list_objects
from .clients import client_of

_LISTS_IN_FLIGHT = 8


def list_stores(
    what: Any, every: int, skip: Iterable[int], file: Sequence[str] | None = None
) -> Listing:
    """The checkpoints of a prefix, a run; of several, joined; or of a list of files."""
    alone = isinstance(what, str)
    addresses = [address_of(one) for one in ([what] if alone else what)]
    files = RemoteFiles(StoreRequests())
    places, aside = _places(addresses, files)
    names = short_names([str(address) for address in addresses])
    return remote_listing(list(zip(names, places)), files, every, skip, file, alone, aside)


def _places(
    addresses: Sequence[Address], files: RemoteFiles
) -> tuple[list[File | Folder], list[str]]:
    """Of each address, the folder below it or in it, or the file that it is; and what is left out
    of archives, with the reason.
    """
    servers: dict[Address, Bucket] = {}
    for address in addresses:
        bare = replace(address, path="")
        if address.kind == "https" and bare not in servers:
            servers[bare] = Bucket(files, bare.root, AskedAbout(bare), bare, client_of(bare))
    aside: list[str] = []

    def place(address: Address) -> File | Folder:
        server = servers.get(replace(address, path=""))
        found = _in_a_bucket(address, files) if server is None else _on_a_server(address, server)
        if not isinstance(found, Folder) and is_archive(found.name):
            found, links = open_archive(found)
            aside.extend(links)
        return found

    with ThreadPoolExecutor(_LISTS_IN_FLIGHT, "lists") as pool:
        return list(pool.map(place, addresses)), aside


def _in_a_bucket(address: Address, files: RemoteFiles) -> File | Folder:
    bare = replace(address, path="")
    objects = list_objects(address)
    bucket = Bucket(files, bare.root, objects, bare, client_of(bare))
    if address.path in objects and len(objects) == 1:
        return bucket.file(address.path)
    if not objects:
        raise CheckpointError(f"{address}: holds nothing; check the prefix")
    before = f"{address.path}/" if address.path else ""
    below = [path.removeprefix(before) for path in objects if path.startswith(before)]
    return ListedFolder(str(address), below, lambda path: bucket.file(before + path))


def _on_a_server(address: Address, server: Bucket) -> File:
    if not address.name.endswith((*ENDINGS, ".index.json")) and not is_archive(address.name):
        raise CheckpointError(
            f"{address}: a web server has no list of what is in a folder; give the files,"
            f' ["{address.root}/…/step_0.safetensors", …]'
        )
    found = server.file(address.path)
    if not found.is_file():
        raise CheckpointError(f"{found}: is not there; check the address")
    return found
