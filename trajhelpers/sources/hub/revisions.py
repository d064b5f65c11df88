"""A training run on the hub, one checkpoint a revision: which revisions there are, at which
commits, and what files they hold. No weights are read.
"""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple, cast

from ...errors import StepError
from ...reading.folders import checkpoints_of_runs, run_within
from ...reading.place import File
from ...reading.shards import named_in_index
from ...reading.steps import as_listed, every_but
from ...reading.weight_names import is_index, is_shard
from ...telling import bar
from ..catalogue import ListedFile, ListedName, Revision, paths_in
from ..listed import ListedFolder
from .address import Address, parse
from .answers import commits_in, revision_in
from .asking import ask, content_of
from .choosing import Chosen, choose_revisions, few

_IN_FLIGHT = 8


class HubRun(NamedTuple):
    """Revisions of a run, in order; what is left out of it; which they are and by which rule; and
    what may be wrong with their order.
    """

    revisions: list[Revision]
    left_out: list[str]
    notes: list[str]
    guesses: list[str]


def find_run(
    source: str | Sequence[str],
    revisions: str | Sequence[str | int] | None = None,
    every: int = 1,
    skip: Iterable[int | str] = (),
    patterns: Sequence[str] | None = None,
) -> HubRun:
    """The checkpoints of a run, in the order of their stages and steps, each at the commit that its
    revision has now.

    Parameters
    ----------
    source : str, or list of str
        An address: of a repository with a checkpoint a revision; of a revision, or a folder of one,
        with a checkpoint a folder or a file. Or a list of addresses, each of one checkpoint.
    revisions : str, or list of str and int, optional
        A shell pattern (``"step*000"``); or names, steps and patterns, in the order that is meant.
        The default is the run that a person would mean: branches (and tags) of one kind of name, of
        which there are most, stage by stage; for suites in ``suites.toml``, what is said there;
        where there are no such branches, what lies in ``main``.
    every : int
        Each so-manieth of them, from the first on: 4 gives the paper's 39 for the Pythia suite.
    skip : iterable of int or str
        Steps, or names of revisions, that are left out afterwards.
    patterns : list of str, optional
        On the paths of files of weights, where a revision holds several checkpoints.

    Raises
    ------
    CheckpointError
        Where the hub does not answer, or refuses: the message says what to do.
    StepError
        Where no revision fits what was asked for, or several runs do.

    Notes
    -----
    Of Pythia's schedule, a step that has no branch is there, with an empty ``commit`` and no files.
    """
    with ThreadPoolExecutor(_IN_FLIGHT, "hub") as pool:
        if not isinstance(source, str):
            return _of_repositories([parse(address) for address in source], every, skip, pool)
        address = parse(source)
        commits = _commits_of(address.repository)
        if address.revision or address.folder:
            if revisions is not None:
                raise ValueError(
                    f"revisions: {source} names what is meant already; give the repository alone,"
                    f" hf://{address.repository}, or no revisions="
                )
            return _in_folder(_known(address, commits), commits, every, skip, patterns, pool)
        chosen = choose_revisions(address.repository, commits, revisions)
        if chosen is None and "main" in commits:
            main = address._replace(revision="main")
            return _in_folder(main, commits, every, skip, patterns, pool)
        if chosen is None:
            raise StepError(f"{address}: no checkpoints among its branches, {few(commits)}")
        return _of_branches(address.repository, commits, chosen, every, skip, pool)


def _commits_of(repo: str) -> dict[str, str]:
    """By the name of each branch and tag, the commit that it has now."""
    return ask(repo, f"api/models/{repo}/refs", commits_in)


def _known(address: Address, commits: dict[str, str]) -> Address:
    address = address._replace(revision=address.revision or "main")
    if address.revision not in commits:
        raise StepError(
            f"hf://{address.repository}: there is no revision {address.revision!r}; it has"
            f" {few(commits)}"
        )
    return address


def _of_branches(
    repo: str,
    commits: dict[str, str],
    chosen: Chosen,
    every: int,
    skip: Iterable[int | str],
    pool: ThreadPoolExecutor,
) -> HubRun:
    steps = [position.step for position in chosen.positions]
    taken = every_but(steps, every, skip, chosen.names)
    if not taken:
        raise StepError(f"hf://{repo}: skip leaves no revision")
    names = [chosen.names[index] for index in taken]
    wanted = list(dict.fromkeys(commits[name] for name in names if name in commits))
    looked_up = dict(
        zip(
            wanted,
            bar(
                pool.map(lambda commit: _look_up(repo, commit), wanted),
                desc="revisions",
                total=len(wanted),
            ),
        )
    )
    found = [
        Revision(
            chosen.positions[index].step,
            name,
            commits.get(name, ""),
            **(looked_up[commits[name]] if name in commits else {"files": {}}),
            stage=chosen.positions[index].stage,
            tokens=chosen.positions[index].tokens,
            repository=repo,
        )
        for index, name in zip(taken, names)
    ]
    return HubRun(
        _with_shards(found, pool),
        [],
        [chosen.note] if chosen.note else [],
        [f"hf://{repo}: {chosen.guess}"] if chosen.guess else [],
    )


def _in_folder(
    address: Address,
    commits: dict[str, str],
    every: int,
    skip: Iterable[int | str],
    patterns: Sequence[str] | None,
    pool: ThreadPoolExecutor,
) -> HubRun:
    """Folders and files of one revision as checkpoints."""
    repo, name, within = address
    held = _look_up(repo, commits[name])["files"]
    prefix = f"{within}/" if within else ""
    below = {path.removeprefix(prefix) for path in held if path.startswith(prefix)}
    if not below:
        raise StepError(f"{address}: there is no such folder; it has {few(_tops(held))}")
    folder = ListedFolder(
        str(address), below, lambda path: cast(File, ListedName(f"{prefix}{path}", path in below))
    )
    try:
        run = run_within(folder, patterns)
        found, left_out, notes, guesses = checkpoints_of_runs([("", run)], patterns)
    except StepError as error:
        others = [branch for branch in commits if branch != name]
        raise StepError(
            f"{error}; other revisions: {few(others)}" if others else str(error)
        ) from None
    if run is not folder:
        notes.insert(0, f"{address}: its checkpoints are those in {run}")
        prefix += f"{str(run).removeprefix(str(folder)).strip('/')}/"
    folders = {inner.name for inner in run.folders()}
    taken = every_but([one.step for one in found], every, skip, [one.name for one in found])
    revisions = []
    for one in (found[index] for index in taken):
        # A checkpoint that is a folder has all that is in it, one that is a file that alone.
        at = f"{prefix}{one.name}/" if one.name in folders else prefix
        alone = paths_in(one.where) if at == prefix else []
        files = {
            path.removeprefix(at): file
            for path, file in held.items()
            if path.startswith(at) and (at != prefix or path in alone or is_shard(path))
        }
        revisions.append(
            Revision(
                one.step,
                name,
                commits[name],
                files,
                stage=one.run,
                tokens=one.tokens,
                repository=repo,
                within=alone[0] if alone else at.rstrip("/"),
                folder=at.rstrip("/"),
            )
        )
    return HubRun(_with_shards(revisions, pool), left_out, notes, guesses)


def _of_repositories(
    addresses: Sequence[Address], every: int, skip: Iterable[int | str], pool: ThreadPoolExecutor
) -> HubRun:
    """A checkpoint each."""
    repos = list(dict.fromkeys(address.repository for address in addresses))
    commits = dict(zip(repos, pool.map(_commits_of, repos)))
    for address in addresses:
        if not address.revision:
            chosen = choose_revisions(address.repository, commits[address.repository], None)
            if chosen is not None:
                raise StepError(
                    f"{address}: has a run of its own, {chosen.names[0]} … {chosen.names[-1]};"
                    f" open it alone, or say which checkpoint of it is meant: {address}@main"
                )
    known = [_known(address, commits[address.repository]) for address in addresses]
    alike = len(repos) == 1
    names = [
        address.revision if alike else str(address).removeprefix("hf://").removesuffix("@main")
        for address in known
    ]
    order = as_listed(names)
    steps = [position.step for position in order.positions]
    taken = every_but(steps, every, skip, [names[index] for index in order.indices])
    wanted = [
        (known[at], names[at], order.positions[index])
        for index in taken
        for at in [order.indices[index]]
    ]
    looked_up = pool.map(
        lambda one: _look_up(one[0].repository, commits[one[0].repository][one[0].revision]), wanted
    )
    revisions = []
    for (address, listed_as, position), about in zip(wanted, looked_up):
        at = f"{address.folder}/" if address.folder else ""
        about["files"] = {
            path.removeprefix(at): file
            for path, file in about["files"].items()
            if path.startswith(at)
        }
        revisions.append(
            Revision(
                position.step,
                address.revision,
                commits[address.repository][address.revision],
                **about,
                stage=position.stage,
                tokens=position.tokens,
                repository=address.repository,
                within=address.folder,
                folder=address.folder,
                listed_as=listed_as,
            )
        )
    return HubRun(
        _with_shards(revisions, pool),
        [],
        [order.told] if order.told else [],
        [order.guess] if order.guess else [],
    )


def _tops(paths: Iterable[str]) -> set[str]:
    return {path.partition("/")[0] for path in paths}


# ---- what they hold ----


def _look_up(repo: str, commit: str) -> dict[str, Any]:
    path = f"api/models/{repo}/revision/{commit}"
    return ask(repo, path, partial(revision_in, commit=commit), blobs="true")


def _with_shards(revisions: Sequence[Revision], pool: ThreadPoolExecutor) -> list[Revision]:
    """Most revisions share one index: each is read once."""
    wanted: dict[str, tuple[str, str, ListedFile]] = {}
    for revision in revisions:
        for path, file in revision.files.items():
            if "/" not in path and is_index(path):
                wanted.setdefault(file.sha256, (revision.repository, revision.commit, file))
    read = dict(zip(wanted, pool.map(lambda at: named_in_index(content_of(*at)), wanted.values())))
    return [
        replace(
            revision,
            shards={
                path: read[file.sha256]
                for path, file in revision.files.items()
                if file.sha256 in read
            },
        )
        for revision in revisions
    ]
