"""From a repository on the hub to the tensors of its revisions: where their bytes lie, by headers
alone, or whole files in the hub's own cache.
"""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from ...errors import CheckpointError
from ...reading.config import read_config
from ...reading.contents import Contents
from ...reading.formats import KINDS, read_checkpoint
from ...reading.place import File, Folder
from ...telling import bar
from ..catalogue import Revision, choose_format
from ..disk import LocalFile, LocalFolder
from ..listed import ListedFolder
from ..protocol import Checkpoint, Listing
from ..remote.files import RemoteFiles
from .asking import content_of
from .file import address_of, remote_file
from .private_logs import no_signatures_logged
from .ranges import files_on_the_hub
from .revisions import find_run

_IN_FLIGHT = 8
Formats = Mapping[int | str, str]


def list_hub(
    source: str | Sequence[str],
    every: int,
    skip: Iterable[int | str],
    revisions: str | Sequence[str | int] | None = None,
    format: str | None = None,
    cache: bool = False,
) -> Listing:
    """The checkpoints of an hf:// source, or of several, that hold weights; others are left out."""
    found, left_out, notes, guesses = find_run(source, revisions, every, skip)
    formats = choose_format(found, format)
    held = [revision for revision in found if _has_weights(revision, formats)]
    run = _Run(source, held, formats, format, cache)
    return Listing(
        [
            Checkpoint(
                revision.step,
                revision.stage,
                name,
                revision.commit,
                formats[revision.key],
                revision.tokens,
            )
            for revision, name in zip(held, run.names)
        ],
        run.read_headers,
        run.read_config,
        [
            *left_out,
            *(
                f"hf://{revision.repository}@{revision.label}: holds no weights"
                for revision in found
                if revision not in held
            ),
        ],
        notes,
        guesses,
        repository=", ".join(dict.fromkeys(revision.repository for revision in found)),
        revisions=found,
        formats=formats,
        sizes=lambda: [_size(revision, formats[revision.key]) for revision in held],
        fetcher=run.files,
    )


def _size(revision: Revision, kind: str) -> int:
    paths = revision.weights.get(kind) or revision.files
    return sum(revision.files[path].size for path in paths if path in revision.files)


def _has_weights(revision: Revision, formats: Formats) -> bool:
    kind = formats.get(revision.key)
    return kind is not None and (kind not in KINDS or bool(revision.weights[kind]))


class _Run:
    """Revisions that hold weights."""

    def __init__(
        self,
        source: str | Sequence[str],
        held: Sequence[Revision],
        formats: Formats,
        format: str | None,
        cache: bool,
    ):
        self.source = source if isinstance(source, str) else source[0]
        self.held, self._format = held, format
        # Of each, the file that is read, "" where all in its folder are.
        self._paths = [
            _under(revision, revision.weights.get(formats[revision.key], ("",))[0])
            for revision in held
        ]
        self.names = [
            address_of(revision.repository, revision.name, path)
            for revision, path in zip(held, self._paths)
        ]
        self.files = None if cache else files_on_the_hub()

    def read_headers(self, state: str | None) -> list[Contents]:
        if not self.held:
            raise CheckpointError(
                f"{self.source}: no revision that was asked for holds"
                f" weights{f' as {self._format}' if self._format else ''}; choose others with"
                " revisions= or format="
            )
        places = self._in_cache() if self.files is None else self._on_the_hub(self.files)
        with ThreadPoolExecutor(_IN_FLIGHT, "headers") as pool:
            try:
                read = pool.map(partial(_read_header, state=state), self.names, places)
                return list(bar(read, desc="headers", total=len(places)))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                if self.files:
                    self.files.give_up()
                raise

    def read_config(self) -> dict:
        revision = self.held[0]
        if "config.json" not in revision.files:
            return {}
        file = revision.files["config.json"]
        return read_config(
            content_of(revision.repository, revision.commit, file),
            address_of(revision.repository, revision.name, file.path),
        )

    def _on_the_hub(self, files: RemoteFiles) -> Sequence[File | Folder]:
        return [
            _remote(files, revision, path, revision.files and path == _under(revision, ""))
            for revision, path in zip(self.held, self._paths)
        ]

    def _in_cache(self) -> Sequence[File | Folder]:
        held = bar(list(zip(self.held, self._paths)), desc="files")
        return [self._cached(revision, path) for revision, path in held]

    def _cached(self, revision: Revision, path: str) -> File | Folder:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError, OfflineModeIsEnabled

        from .client import FAILURES

        failures: tuple[type[Exception], ...]
        failures = (*FAILURES, EntryNotFoundError, OfflineModeIsEnabled)
        whole = path == _under(revision, "")
        wanted = next(
            (
                [_under(revision, name) for name in names]
                for names in revision.weights.values()
                if names and _under(revision, names[0]) == path
            ),
            [file.path for file in revision.files.values()],
        )
        try:
            with no_signatures_logged():
                fetched = [
                    Path(hf_hub_download(revision.repository, name, revision=revision.commit))
                    for name in wanted
                ]
        except failures as error:
            raise CheckpointError(
                f"hf://{revision.repository}@{revision.name}: its files could not be fetched"
                f" ({type(error).__name__}); check the network and `hf auth login`, and try again,"
                " which goes on where it was"
            ) from None
        if not whole:
            return LocalFile(fetched[0])
        # The client lays a revision's files out as the repository has them.
        top = fetched[0].parents[wanted[0].count("/")]
        return LocalFolder(top / revision.folder)


def _under(revision: Revision, name: str) -> str:
    return f"{revision.folder}/{name}".strip("/")


def _remote(files: RemoteFiles, revision: Revision, path: str, is_folder: Any) -> File | Folder:
    siblings = {file.path: file for file in revision.files.values()}
    file_at = partial(
        remote_file, files, revision.repository, revision.name, revision.commit, siblings=siblings
    )
    if not is_folder:
        return file_at(path)
    return ListedFolder(
        address_of(revision.repository, revision.name, path),
        revision.files,
        lambda inner: file_at(_under(revision, inner)),
    )


def _read_header(name: str, where: File | Folder, state: str | None) -> Contents:
    try:
        return read_checkpoint(where, state)
    except CheckpointError as error:
        raise (
            error if str(error).startswith("hf://") else CheckpointError(f"{name}: {error}")
        ) from error
