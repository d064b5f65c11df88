"""From a repository on the hub to the tensors of its revisions: where their bytes lie, by headers
alone, or whole files in the hub's own cache.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from ...errors import CheckpointError
from ...reading.config import read_config
from ...reading.contents import Contents
from ...reading.formats import KINDS, Where, read_checkpoint
from ...reading.place import Folder
from ...reading.sizes import kind_of
from ...telling import bar
from ..catalogue import Revision, choose_format, paths_in
from ..listed import ListedFolder
from ..protocol import Checkpoint, Listing
from ..remote.files import RemoteFiles
from ..remote.headers import read_headers
from .asking import content_of
from .cached import Cache
from .file import address_of, remote_file
from .ranges import files_on_the_hub
from .revisions import find_run


def list_hub(
    source: str | Sequence[str],
    every: int,
    skip: Iterable[int | str],
    revisions: str | Sequence[str | int] | None = None,
    format: str | None = None,
    cache: bool = False,
    file: Sequence[str] | None = None,
) -> Listing:
    """The checkpoints of an hf:// source, or of several, that hold weights; others are left out.

    With ``file``, patterns, what is read are no weights of usual names, and no audit looks at it.
    """
    found, left_out, notes, guesses = find_run(source, revisions, every, skip, file)
    formats = choose_format(found, format)
    held = [one for revision in found if (one := _held(revision, formats, file))]
    run = _Run(held, cache)
    taken = {one.revision.label for one in held}
    return Listing(
        [
            Checkpoint(
                one.revision.step,
                one.revision.stage,
                one.name,
                one.revision.commit,
                one.kind,
                one.revision.tokens,
            )
            for one in held
        ],
        partial(run.read_headers, _no_weights(source, format, file)),
        run.read_config,
        [
            *left_out,
            *(
                f"{_address(revision)}: holds no weights"
                for revision in found
                if revision.label not in taken
            ),
        ],
        notes,
        guesses,
        repository=", ".join(dict.fromkeys(revision.repository for revision in found)),
        revisions=found if file is None else (),
        formats=formats,
        sizes=lambda: [one.size for one in held],
        fetcher=run.files,
        compared=lambda: run.cache.facts,
    )


def _address(revision: Revision) -> str:
    return address_of(revision.repository, revision.name, revision.within).rstrip("/")


def _no_weights(source: str | Sequence[str], format: str | None, file: Sequence[str] | None) -> str:
    as_what = f" as {format}" if format else f" in {' or '.join(file)}" if file else ""
    return (
        f"{source if isinstance(source, str) else source[0]}: no revision that was asked for holds"
        f" weights{as_what}; choose others with revisions= or {'file' if file else 'format'}="
    )


class _Held(NamedTuple):
    """What is read of a revision: a file of a usual name, with those that it names if it is an
    index; or whatever holds weights, or matches the patterns.
    """

    revision: Revision
    kind: str
    usual: str
    paths: list[str]
    patterns: Sequence[str] | None

    @property
    def name(self) -> str:
        """What errors call it."""
        path = self.revision.path_of(self.usual or (self.paths[0] if len(self.paths) == 1 else ""))
        return address_of(self.revision.repository, self.revision.name, path).rstrip("/")

    @property
    def size(self) -> int:
        return sum(self.revision.files[path].size for path in self.paths)

    def where(self, folder: Folder) -> Where:
        """In a folder that has the revision's files."""
        if self.usual:
            return folder.file(self.usual)
        found = self.revision.weights_of(folder, self.patterns)
        if found is None:
            raise CheckpointError(f"{self.name}: holds no weights")
        return found


def _held(
    revision: Revision, formats: Mapping[int | str, str], patterns: Sequence[str] | None
) -> _Held | None:
    if patterns is None:
        kind = formats.get(revision.key, "")
        weights = revision.weights.get(kind, ())
        if weights:
            revision.held_as()  # asks, where there are several networks
            paths = [path for path in weights if path in revision.files]
            return _Held(revision, kind, weights[0], paths, None)
        if not kind or kind in KINDS:
            return None
    found = revision.held_as(patterns)
    if found is None:
        return None
    return _Held(revision, kind_of(found), "", paths_in(found), patterns)


class _Run:
    """Revisions that hold weights."""

    def __init__(self, held: Sequence[_Held], cache: bool):
        self.held = held
        self.files = None if cache else files_on_the_hub()
        self.cache = Cache()

    def read_headers(self, no_weights: str, state: str | None) -> list[Contents]:
        if not self.held:
            raise CheckpointError(no_weights)
        places = self._in_cache() if self.files is None else self._on_the_hub(self.files)
        return read_headers(self.files, list(zip(self.held, places)), state, _read_header)

    def read_config(self) -> dict:
        revision = self.held[0].revision
        if "config.json" not in revision.files:
            return {}
        file = revision.files["config.json"]
        return read_config(
            content_of(revision.repository, revision.commit, file),
            address_of(revision.repository, revision.name, file.path),
        )

    def _on_the_hub(self, files: RemoteFiles) -> Sequence[Where]:
        return [one.where(_folder_of(one.revision, files)) for one in self.held]

    def _in_cache(self) -> Sequence[Where]:
        # A folder's files are not all known by their names: .metadata is hidden.
        return [
            one.where(
                self.cache.folder(
                    one.revision,
                    one.revision.files if not one.usual and one.patterns is None else one.paths,
                )
            )
            for one in bar(self.held, desc="files")
        ]


def _folder_of(revision: Revision, files: RemoteFiles) -> ListedFolder:
    siblings = {file.path: file for file in revision.files.values()}
    file_at = partial(
        remote_file, files, revision.repository, revision.name, revision.commit, siblings=siblings
    )
    return ListedFolder(
        address_of(revision.repository, revision.name, revision.path_of("")).rstrip("/"),
        revision.files,
        lambda path: file_at(revision.path_of(path)),
    )


def _read_header(place: tuple[_Held, Where], state: str | None) -> Contents:
    held, where = place
    try:
        return read_checkpoint(where, state)
    except CheckpointError as error:
        raise (
            error if str(error).startswith("hf://") else CheckpointError(f"{held.name}: {error}")
        ) from error
