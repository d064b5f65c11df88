"""From a repository on the hub to the tensors of its revisions: where their bytes lie, by headers
alone, or whole files in the hub's own cache.
"""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from ...errors import CheckpointError
from ...reading.config import read_config
from ...reading.contents import Contents
from ...reading.formats import read_checkpoint
from ...reading.place import File
from ...telling import bar
from ..catalogue import Revision, choose_format
from ..disk import LocalFile
from ..protocol import Checkpoint, Listing
from ..remote.files import RemoteFiles
from .address import repository
from .asking import content_of
from .file import address_of, remote_file
from .private_logs import no_signatures_logged
from .ranges import files_on_the_hub
from .revisions import find_revisions

_IN_FLIGHT = 8


def list_revisions(
    source: str,
    every: int,
    skip: Iterable[int],
    revisions: str | Sequence[str | int] | None = None,
    format: str | None = None,
    cache: bool = False,
) -> Listing:
    """The revisions of an hf:// source that hold weights; the others are left out."""
    repo = repository(source)
    found = find_revisions(repo, revisions, every, skip)
    formats = choose_format(found, format)
    held = [(revision, _weights(revision, formats)) for revision in found]
    run = _Run(repo, [(revision, paths) for revision, paths in held if paths], format, cache)
    return Listing(
        [
            Checkpoint(revision.step, "", name, revision.commit, formats[revision.step])
            for (revision, _), name in zip(run.held, run.names)
        ],
        run.read_headers,
        run.read_config,
        [f"hf://{repo}@{revision.name}: holds no weights" for revision, paths in held if not paths],
        repository=repo,
        revisions=found,
        formats=formats,
        fetcher=run.files,
    )


def _weights(revision: Revision, formats: dict[int, str]) -> tuple[str, ...]:
    return revision.weights[formats[revision.step]] if revision.step in formats else ()


class _Run:
    """Revisions with the files that hold their weights."""

    def __init__(
        self,
        repo: str,
        held: Sequence[tuple[Revision, tuple[str, ...]]],
        format: str | None,
        cache: bool,
    ):
        self.repo, self.held, self._format = repo, held, format
        self.names = [address_of(repo, revision.name, paths[0]) for revision, paths in held]
        self.files = None if cache else files_on_the_hub()

    def read_headers(self, state: str | None) -> list[Contents]:
        if not self.held:
            raise CheckpointError(
                f"hf://{self.repo}: no revision that was asked for holds"
                f" weights{f' as {self._format}' if self._format else ''}; choose others with"
                " revisions= or format="
            )
        files = self._in_cache() if self.files is None else self._on_the_hub(self.files)
        with ThreadPoolExecutor(_IN_FLIGHT, "headers") as pool:
            try:
                read = pool.map(partial(_read_header, state=state), self.names, files)
                return list(bar(read, desc="headers", total=len(files)))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                if self.files:
                    self.files.give_up()
                raise

    def read_config(self) -> dict:
        revision = self.held[0][0]
        if "config.json" not in revision.files:
            return {}
        return read_config(
            content_of(self.repo, revision.commit, revision.files["config.json"]),
            address_of(self.repo, revision.name, "config.json"),
        )

    def _on_the_hub(self, files: RemoteFiles) -> Sequence[File]:
        return [
            remote_file(files, self.repo, revision.name, revision.commit, paths[0], revision.files)
            for revision, paths in self.held
        ]

    def _in_cache(self) -> Sequence[File]:
        held = bar(self.held, desc="files")
        return [LocalFile(self._cached(revision, paths)) for revision, paths in held]

    def _cached(self, revision: Revision, paths: tuple[str, ...]) -> Path:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError, HTTPError, OfflineModeIsEnabled

        try:
            with no_signatures_logged():
                return [
                    Path(hf_hub_download(self.repo, path, revision=revision.commit))
                    for path in paths
                ][0]
        except (HTTPError, EntryNotFoundError, OfflineModeIsEnabled) as error:
            raise CheckpointError(
                f"hf://{self.repo}@{revision.name}: its files could not be fetched"
                f" ({type(error).__name__}); check the network and `hf auth login`, and try again,"
                " which goes on where it was"
            ) from None


def _read_header(name: str, file: File, state: str | None) -> Contents:
    try:
        return read_checkpoint(file, state)
    except CheckpointError as error:
        raise (
            error if str(error).startswith("hf://") else CheckpointError(f"{name}: {error}")
        ) from error
