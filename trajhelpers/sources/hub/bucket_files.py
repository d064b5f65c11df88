"""What lies in a bucket on the hub. A bucket has no commits: its files are pinned by the hashes
that its list has.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from huggingface_hub import HfFileMetadata, constants

from ...reading.place import File, Folder
from ..places import short_names
from ..protocol import Listing
from ..remote.file import RemoteFile, changed
from ..remote.files import RemoteFiles
from ..remote.listing import file_or_folder, remote_listing
from .answers import Object, Unlike, objects_in, once
from .asking import ask_for_pages, unlike
from .file import HubTree
from .ranges import files_on_the_hub


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
    places = [_place(bucket, prefix, files) for bucket, prefix in addresses]
    names = short_names([f"/{bucket}/{prefix}" for bucket, prefix in addresses])
    return remote_listing(list(zip(names, places)), files, every, skip, file, alone)


def _place(bucket: str, prefix: str, files: RemoteFiles) -> File | Folder:
    address = f"hf://buckets/{bucket}"
    tree = Bucket(files, address, _objects(bucket, prefix), bucket)
    return file_or_folder(tree, prefix, f"{address}/{prefix}".rstrip("/"))


def _objects(bucket: str, prefix: str) -> dict[str, Object]:
    """All whose paths begin with the prefix, page by page."""
    under = f"/{quote(prefix, safe='')}" if prefix else ""
    pages = ask_for_pages(
        f"buckets/{bucket}", f"api/buckets/{bucket}/tree{under}", objects_in, recursive="true"
    )
    try:
        return once(pair for page in pages for pair in page)
    except Unlike as problem:
        raise unlike(f"hf://buckets/{bucket}", problem) from None
