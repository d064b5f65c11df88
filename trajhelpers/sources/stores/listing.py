"""From addresses in stores to checkpoints: what lies there, by lists and headers alone."""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from ...errors import CheckpointError
from ...reading.formats import ENDINGS
from ...reading.place import File, Folder
from ..archives import is_archive
from ..places import short_names
from ..protocol import Listing
from ..remote.files import RemoteFiles
from ..remote.listing import file_or_folder, remote_listing
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
    places = _places(addresses, files)
    names = short_names([str(address) for address in addresses])
    return remote_listing(list(zip(names, places)), files, every, skip, file, alone)


def _places(addresses: Sequence[Address], files: RemoteFiles) -> list[File | Folder]:
    """Of each address, the folder below it, or the file that it is."""
    servers: dict[Address, Bucket] = {}
    for address in addresses:
        bare = replace(address, path="")
        if address.kind == "https" and bare not in servers:
            servers[bare] = Bucket(files, bare.root, AskedAbout(bare), bare, client_of(bare))

    def place(address: Address) -> File | Folder:
        server = servers.get(replace(address, path=""))
        return _in_a_bucket(address, files) if server is None else _on_a_server(address, server)

    with ThreadPoolExecutor(_LISTS_IN_FLIGHT, "lists") as pool:
        return list(pool.map(place, addresses))


def _in_a_bucket(address: Address, files: RemoteFiles) -> File | Folder:
    bare = replace(address, path="")
    bucket = Bucket(files, bare.root, list_objects(address), bare, client_of(bare))
    return file_or_folder(bucket, address.path, str(address))


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
