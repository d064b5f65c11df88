"""A training run on the hub, one checkpoint a revision: which revisions there are, at which
commits, and what files they hold. No weights are read.
"""

import operator
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fnmatch import fnmatchcase
from urllib.parse import quote

from ...errors import StepError
from ...reading.shards import named_in_index
from ...reading.steps import every_but, pythia_steps, steps_from_names
from ...reading.weight_names import is_index
from ...telling import bar
from ..catalogue import ListedFile, Revision
from .asking import ask, content_of

_STEP = re.compile(r"(?<![a-z])step[_-]?(\d+)", re.IGNORECASE)
_LAST_PYTHIA_STEP = 143_000
_IN_FLIGHT = 8


def find_revisions(
    repo: str,
    revisions: str | Sequence[str | int] | None = None,
    every: int = 1,
    skip: Iterable[int] = (),
) -> list[Revision]:
    """The revisions of a run, in the order of their steps, each at the commit that it has now.

    Parameters
    ----------
    repo : str
        OWNER/NAME.
    revisions : str, or list of str and int, optional
        A shell pattern (``"step*000"``), or names and steps. The default is all branches (and tags)
        named ``step<N>``; for the Pythia suite, ``*/pythia-*``, its schedule of 154 steps, whether
        or not a branch is there. Names that say more (``stage1-step1000-tokens5B``) count when a
        pattern or a list asks for them.
    every : int
        Each so-manieth of them, from the first on: 4 gives the paper's 39 for the Pythia suite.
    skip : iterable of int
        Steps that are left out afterwards.

    Returns
    -------
    list of Revision
        A step that was asked for and has no branch is there, with an empty ``commit`` and no files.

    Raises
    ------
    CheckpointError
        Where the hub does not answer, or refuses: the message says what to do.
    StepError
        Where no revision, or two of one step, fit what was asked for.
    """
    refs = ask(repo, f"api/models/{repo}/refs").json()
    commits = {
        ref["name"]: ref["targetCommit"] for kind in ("tags", "branches") for ref in refs[kind]
    }
    asked = _chosen(repo, commits, revisions)
    chosen = [asked[index] for index in every_but([step for step, _ in asked], every, skip)]
    if not chosen:
        raise StepError(f"hf://{repo}: skip leaves no revision")
    wanted = list(dict.fromkeys(commits[name] for _, name in chosen if name in commits))
    with ThreadPoolExecutor(_IN_FLIGHT, "hub") as pool:
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
            (
                Revision(step, name, commits[name], **looked_up[commits[name]])
                if name in commits
                else Revision(step, name, "", {})
            )
            for step, name in chosen
        ]
        return _with_shards(repo, found, pool)


# ---- which ----


def _chosen(repo, commits, revisions):
    """(step, name) in the order of the steps."""
    where = f"hf://{repo}"
    if revisions is None:
        plain = [(int(name[4:]), name) for name in commits if re.fullmatch(r"step\d+", name)]
        if not plain:
            raise StepError(
                f"{where}: has no branches named step<N>, but {_listing(commits)}; choose others"
                " with revisions=, a pattern or a list"
            )
        if re.fullmatch(r"[^/]+/pythia-.*", repo):
            plain = [(step, f"step{step}") for step in pythia_steps(_LAST_PYTHIA_STEP)]
        found = plain
    elif isinstance(revisions, str):
        names = [name for name in commits if fnmatchcase(name, revisions)]
        if not names:
            raise StepError(
                f"{where}: no revision matches {revisions!r}; it has {_listing(commits)}"
            )
        found = list(zip(_steps_in(where, names), names))
    else:
        revisions = list(revisions)
        if not revisions:
            raise StepError(f"{where}: the list of revisions is empty")
        names = [_named(where, item, commits) for item in revisions]
        found = list(zip(_steps_in(where, names), names))
    twice = [step for step, count in Counter(step for step, _ in found).items() if count > 1]
    if twice:
        raise StepError(
            f"{where}: {' and '.join(name for step, name in found if step == twice[0])} are both"
            f" step {twice[0]}; choose one of them with revisions="
        )
    return sorted(found)


def _named(where, item, commits):
    if isinstance(item, str) and (item in commits or not item.isdecimal()):
        return item
    try:
        step = operator.index(int(item) if isinstance(item, str) else item)
    except TypeError:
        raise TypeError(f"revisions: expected names and steps, got {item!r}") from None
    if step < 0 or isinstance(item, bool):
        raise ValueError(f"revisions: expected steps from 0 on, got {item!r}")
    names = (
        [f"step{step}"]
        if f"step{step}" in commits
        else [name for name in commits if (match := _STEP.search(name)) and int(match[1]) == step]
    )
    if len(names) > 1:
        raise StepError(
            f"{where}: {' and '.join(names)} are both step {step}; give the name of one"
        )
    return names[0] if names else f"step{step}"


def _steps_in(where, names):
    labelled = [int(match[1]) for name in names if (match := _STEP.search(name))]
    steps = labelled if len(labelled) == len(names) else steps_from_names(names)
    without = [name for name, step in zip(names, steps) if step is None]
    if without:
        raise StepError(
            f"{where}: revision {without[0]!r} has no step in its name; choose others"
            " with revisions=, a pattern or a list"
        )
    return steps


def _listing(names, most=6):
    names = sorted(names)
    return (", ".join(names[:most]) or "none") + (f" … ({len(names)})" if len(names) > most else "")


# ---- what they hold ----


def _look_up(repo, commit):
    from huggingface_hub import ModelInfo

    info = ModelInfo(
        **ask(repo, f"api/models/{repo}/revision/{quote(commit, safe='')}", blobs=True).json()
    )
    files = {
        file.rfilename: ListedFile(
            file.rfilename,
            file.lfs.size if file.lfs else file.size or 0,
            file.lfs.sha256 if file.lfs else file.blob_id or "",
        )
        for file in info.siblings or ()
    }
    return {
        "files": files,
        "dtypes": tuple(sorted(info.safetensors.parameters)) if info.safetensors else (),
    }


def _with_shards(repo, revisions, pool):
    """Most revisions share one index: each is read once."""
    wanted = {}
    for revision in revisions:
        for path, file in revision.files.items():
            if "/" not in path and is_index(path):
                wanted.setdefault(file.sha256, (revision.commit, file))
    read = dict(
        zip(wanted, pool.map(lambda at: named_in_index(content_of(repo, *at)), wanted.values()))
    )
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
