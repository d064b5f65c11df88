"""Files of one commit on the hub, and what those of a bucket have in common with them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from huggingface_hub import HfFileMetadata, hf_hub_url

from ...errors import CheckpointError
from ..catalogue import ListedFile
from ..remote.checksums import Checksum, of_file
from ..remote.file import RemoteFile, Tree
from ..remote.files import RemoteFiles
from .asking import content_of


class HubTree(Tree):
    """Files that the hub has."""

    def url(self, path: str) -> str:
        """Where the hub says where the file's bytes are."""
        raise NotImplementedError

    def content_of(self, path: str) -> bytes:
        """All of a small file."""
        raise NotImplementedError

    def refuse_other(self, file: RemoteFile, found: HfFileMetadata) -> None:
        """A CheckpointError where the hub now has another file there than it listed."""
        raise NotImplementedError


@dataclass(frozen=True)
class Commit(HubTree):
    """Files of a repository at a commit."""

    repository: str
    commit: str

    def url(self, path: str) -> str:
        return hf_hub_url(self.repository, path, revision=self.commit)

    def content_of(self, path: str) -> bytes:
        return content_of(self.repository, self.commit, self._listed(path))

    def checksum(self, path: str) -> Checksum | None:
        listed = self._listed(path)
        return of_file(listed.size, listed.sha256)

    def refuse_other(self, file: RemoteFile, found: HfFileMetadata) -> None:
        if found.size is not None and found.size != file.size:
            raise CheckpointError(
                f"{file}: has {found.size:,} bytes, where the repository's list says"
                f" {file.size:,}; open the trajectory again"
            )
        listed = self._listed(file.path).sha256
        tag = of_file(file.size, found.etag or "")
        # Of another kind it may be anything, as whoever stands between us and the hub likes.
        other = tag and len(tag.value) == len(listed) and tag.value != listed
        if other or found.commit_hash not in (None, self.commit):
            raise CheckpointError(
                f"{file}: the hub answers with another file than its list has (commit"
                f" {found.commit_hash}, ETag {found.etag}; expected {self.commit} and {listed});"
                " open the trajectory again, through another network if that does not help"
            )

    def _listed(self, path: str) -> ListedFile:
        return cast(ListedFile, self.listed[path])


def address_of(repository: str, revision: str, path: str) -> str:
    """What errors call a file on the hub."""
    return f"hf://{repository}@{revision}/{path}"


def remote_file(
    files: RemoteFiles,
    repository: str,
    revision: str,
    commit: str,
    path: str,
    siblings: Mapping[str, ListedFile],
) -> RemoteFile:
    """A :class:`RemoteFile`, which is not there (``is_file``) unless the commit has it."""
    return Commit(files, f"hf://{repository}@{revision}", siblings, repository, commit).file(path)
