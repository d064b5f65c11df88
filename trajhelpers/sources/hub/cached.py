"""Whole files in the hub client's own cache, each compared with the hash that the hub lists."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, OfflineModeIsEnabled

from ...errors import CheckpointError, ChecksumError
from ...reading.compared import NO_CHECKSUM, facts_of
from ...telling import bar
from ..catalogue import ListedFile, Revision
from ..disk import LocalFolder
from ..remote.checksums import CALLED, Checksum, begun, of_file
from .client import FAILURES
from .private_logs import no_signatures_logged

_CHUNK = 16 << 20
_FAILURES: tuple[type[Exception], ...] = (*FAILURES, EntryNotFoundError, OfflineModeIsEnabled)


class Cache:
    """What one opening takes from there: each file is hashed once."""

    def __init__(self) -> None:
        # By its path, the kind of checksum that it was compared with, "" where none is known.
        self._compared: dict[Path, str] = {}
        self._hashes: dict[Path, str] = {}

    @property
    def facts(self) -> dict[str, Any]:
        """As a kernel says it; of no files where none were taken."""
        kinds = list(self._compared.values())
        return facts_of(
            len(kinds),
            {kind: kinds.count(kind) for kind in sorted(set(kinds)) if kind},
            {NO_CHECKSUM: kinds.count("")} if "" in kinds else {},
        )

    def folder(self, revision: Revision, paths: Iterable[str]) -> LocalFolder:
        """With these files of a revision, laid out as its repository is."""
        for path in paths:
            within = revision.path_of(path)
            file = _downloaded(revision, within)
            self._compare(file, revision.files[path])
        return LocalFolder(file.parents[within.count("/")] / revision.folder)

    def _compare(self, file: Path, listed: ListedFile) -> None:
        checksum = of_file(listed.size, listed.sha256)
        self._compared[file] = checksum.kind if checksum else ""
        if checksum is None:
            return
        # Several commits may have one file.
        blob = file.resolve()
        if blob not in self._hashes:
            self._hashes[blob] = _hash_of(blob, checksum)
        if (found := self._hashes[blob]) != checksum.value:
            raise ChecksumError(
                f"{file}: is not what the hub lists ({CALLED[checksum.kind]} {found[:12]}…, not"
                f" {checksum.value[:12]}…); delete {blob} and open again, which downloads it anew"
            )


def _hash_of(blob: Path, checksum: Checksum) -> str:
    hashed = begun(checksum)
    with (
        open(blob, "rb") as opened,
        bar(unit="B", unit_scale=True, desc="hash") as shown,
    ):
        shown.total = checksum.end
        while content := opened.read(_CHUNK):
            hashed.update(content)
            shown.update(len(content))
    return hashed.hexdigest()


def _downloaded(revision: Revision, path: str) -> Path:
    try:
        with no_signatures_logged():
            return Path(hf_hub_download(revision.repository, path, revision=revision.commit))
    except _FAILURES as error:
        raise CheckpointError(
            f"hf://{revision.repository}@{revision.name}: its files could not be fetched"
            f" ({type(error).__name__}); check the network and `hf auth login`, and try again,"
            " which goes on where it was"
        ) from None
