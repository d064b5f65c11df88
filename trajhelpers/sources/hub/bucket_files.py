"""What lies in a bucket on the hub. A bucket has no commits: its files are pinned by the hashes
that its list has.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import parse_qs, quote, urlsplit

from huggingface_hub import HfFileMetadata, constants

from ...errors import CheckpointError
from ...reading.place import File, Folder
from ..archives import is_archive, open_archive
from ..listed import ListedFolder
from ..places import short_names
from ..protocol import Listing
from ..remote.file import RemoteFile, changed
from ..remote.files import RemoteFiles
from ..remote.listing import remote_listing
from .asking import ask
from .file import HubTree
from .ranges import files_on_the_hub

_MOST_PAGES = 2_000


class Object(NamedTuple):
    size: int
    stamp: str


@dataclass(frozen=True)
class Bucket(HubTree):
    """Files of a bucket."""

    bucket: str

    def url(self, path: str) -> str:
        return f"{constants.ENDPOINT}/buckets/{self.bucket}/resolve/{quote(path)}"

    def content_of(self, path: str) -> bytes:
        return self.files.read(self.file(path), 0, self.listed[path].size)

    def refuse_other(self, file: RemoteFile, found: HfFileMetadata) -> None:
        hashed = getattr(found.xet_file_data, "file_hash", None)
        if hashed != file.stamp()[1] or found.size not in (None, file.size):
            raise changed(file)


def list_buckets(
    addresses: Sequence[tuple[str, str]],
    every: int,
    skip: Iterable[int],
    alone: bool,
    file: Sequence[str] | None = None,
) -> Listing:
    """The checkpoints of a prefix, a run; of several, joined; or of a list of files."""
    files = files_on_the_hub()
    aside: list[str] = []
    places: list[File | Folder] = []
    for bucket, prefix in addresses:
        place = _place(bucket, prefix, files)
        if not isinstance(place, Folder) and is_archive(place.name):
            place, links = open_archive(place)
            aside += links
        places.append(place)
    names = short_names([f"/{bucket}/{prefix}" for bucket, prefix in addresses])
    return remote_listing(list(zip(names, places)), files, every, skip, file, alone, aside)


def _place(bucket: str, prefix: str, files: RemoteFiles) -> File | Folder:
    address = f"hf://buckets/{bucket}"
    objects = dict(_objects(bucket, prefix))
    tree = Bucket(files, address, objects, bucket)
    if prefix in objects:
        return tree.file(prefix)
    before = f"{prefix}/" if prefix else ""
    below = [path.removeprefix(before) for path in objects if path.startswith(before)]
    if not below:
        raise CheckpointError(f"{address}/{prefix}: holds nothing; check the prefix")
    return ListedFolder(
        f"{address}/{prefix}".rstrip("/"), below, lambda path: tree.file(before + path)
    )


def _objects(bucket: str, prefix: str) -> Iterator[tuple[str, Object]]:
    """All whose paths begin with the prefix, page by page."""
    under = f"/{quote(prefix, safe='')}" if prefix else ""
    path, parameters = f"api/buckets/{bucket}/tree{under}", {"recursive": "true"}
    for _ in range(_MOST_PAGES):
        answer = ask(f"buckets/{bucket}", path, **parameters)
        for entry in _checked(bucket, answer.json()):
            if entry["type"] == "file":
                yield entry["path"], Object(entry["size"], entry["xetHash"])
        following = answer.links.get("next", {}).get("url")
        if following is None:
            return
        # Asked of the same place, whatever host the link names.
        query = parse_qs(urlsplit(following).query)
        parameters = {name: values[-1] for name, values in query.items()}
    raise CheckpointError(f"hf://buckets/{bucket}: its list does not end; give a longer prefix")


def _checked(bucket: str, page: Any) -> list[dict[str, Any]]:
    kinds = {"path": str, "size": int, "xetHash": str}
    if isinstance(page, list) and all(
        isinstance(entry, dict)
        and (
            entry.get("type") != "file"
            or all(isinstance(entry.get(name), kind) for name, kind in kinds.items())
        )
        and "type" in entry
        for entry in page
    ):
        return page
    raise CheckpointError(
        f"hf://buckets/{bucket}: the hub's list is not as expected; update trajhelpers, or copy the"
        " files to this machine"
    )
