"""From a repository on the hub to the tensors of its revisions: where their bytes lie, by headers
alone, or whole files in the hub's own cache.
"""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from tqdm.auto import tqdm

from ...auditing.checks import audit_revisions
from ...errors import CheckpointError
from ...reading.files import read_checkpoint, read_config
from .revisions import _content, choose_format, find_revisions, repository, weight_files
from .ranges import RemoteFiles
from .file import remote_file

_IN_FLIGHT = 8


class Opened(NamedTuple):
    steps: list
    sources: list
    stored: list
    left_out: list
    config: dict
    commits: list
    formats: list
    repository: str
    files: RemoteFiles | None


def open_revisions(source, revisions, every, skip, format, cache, accept):
    """What :func:`trajhelpers.open_trajectory` needs of an hf:// source; the audit's errors stop it
    unless they are accepted.
    """
    repo = repository(source)
    revisions = find_revisions(repo, revisions, every, skip)
    formats = choose_format(revisions, format)
    left_out = _audited(repo, revisions, formats, accept)
    revisions = [
        revision
        for revision in revisions
        if weight_files(revision, formats.get(revision.step, "safetensors"))
    ]
    if not revisions:
        raise CheckpointError(
            f"hf://{repo}: no revision that was asked for holds"
            f" weights{f' as {format}' if format else ''}; choose others with revisions= or format="
        )
    files = None if cache else RemoteFiles()
    main = [
        remote_file(
            files,
            repo,
            revision.name,
            revision.commit,
            weight_files(revision, formats[revision.step])[0],
            revision.files,
        )
        for revision in revisions
    ]
    if cache:
        paths = [
            _cached(revision, weight_files(revision, formats[revision.step]), repo)
            for revision in tqdm(revisions, desc="files", delay=1)
        ]
    stored = _read_headers(main, paths if cache else main, files)
    return Opened(
        [revision.step for revision in revisions],
        list(map(str, main)),
        stored,
        left_out,
        _config(repo, revisions[0]),
        [revision.commit for revision in revisions],
        [formats[revision.step] for revision in revisions],
        repo,
        files,
    )


def _audited(repo, revisions, formats, accept):
    """Lines for ``left_out``: revisions without weights, which only ``accept`` lets pass."""
    errors = audit_revisions(revisions, formats).errors
    if errors and not accept:
        steps = sorted({step for error in errors for step in error.steps})
        raise CheckpointError(
            f"hf://{repo}: the audit finds errors in what would be read: "
            + "; ".join(error.text for error in errors)
            + f". Leave steps out with skip={steps[:10]}{' …' if len(steps) > 10 else ''} (--skip),"
            " or go on in spite of them with accept=True (--accept)"
        )
    return [
        f"hf://{repo}@{revision.name}: holds no weights"
        for revision in revisions
        if not weight_files(revision, formats.get(revision.step, "safetensors"))
    ]


def _read_headers(names, files, remote):
    with ThreadPoolExecutor(_IN_FLIGHT, "headers") as pool:
        try:
            return list(
                tqdm(
                    pool.map(_read_header, names, files), desc="headers", total=len(files), delay=1
                )
            )
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            if remote:
                remote.give_up()
            raise


def _read_header(name, file):
    try:
        return read_checkpoint(file)
    except CheckpointError as error:
        raise (
            error if str(error).startswith("hf://") else CheckpointError(f"{name}: {error}")
        ) from error


def _cached(revision, paths, repo):
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HTTPError, OfflineModeIsEnabled

    try:
        return [Path(hf_hub_download(repo, path, revision=revision.commit)) for path in paths][0]
    except (HTTPError, EntryNotFoundError, OfflineModeIsEnabled) as error:
        raise CheckpointError(
            f"hf://{repo}@{revision.name}: its files could not be fetched ({type(error).__name__});"
            " check the network and `hf auth login`, and try again, which goes on where it was"
        ) from None


def _config(repo, revision):
    if "config.json" not in revision.files:
        return {}
    return read_config(
        _content(repo, revision.commit, revision.files["config.json"]),
        f"hf://{repo}@{revision.name}/config.json",
    )
