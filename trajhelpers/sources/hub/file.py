"""Files of one commit on the hub."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from huggingface_hub import hf_hub_url

from ..catalogue import ListedFile
from ..remote.file import RemoteFile, Tree
from ..remote.files import RemoteFiles
from .asking import content_of


@dataclass(frozen=True)
class Commit(Tree):
    """Files of a repository at a commit."""

    repository: str
    commit: str

    def url(self, path: str) -> str:
        """Where the hub says where the file's bytes are."""
        return hf_hub_url(self.repository, path, revision=self.commit)

    def content_of(self, path: str) -> bytes:
        """All of a small file."""
        return content_of(self.repository, self.commit, cast(ListedFile, self.listed[path]))


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
