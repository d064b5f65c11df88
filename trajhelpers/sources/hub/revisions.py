"""A training run on the hub, one checkpoint a revision: which revisions there are, at which
commits, and what files they hold. No weights are read.
"""

import hashlib
import json
import operator
import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatchcase
from typing import NamedTuple
from urllib.parse import quote

from tqdm.auto import tqdm

from ...errors import CheckpointError, StepError
from ...reading.folders import _SHARD, _SIDE, _USUAL
from ...reading.steps import every_but, pythia_steps, steps_from_names

FORMATS = {"safetensors": (".safetensors",), "bin": (".bin", ".pt", ".pth", ".ckpt")}
_STEP = re.compile(r"(?<![a-z])step[_-]?(\d+)", re.IGNORECASE)
_LAST_PYTHIA_STEP = 143_000
_IN_FLIGHT = 8
_TIMEOUT = 30
_TRIES = 5
_LARGEST_INDEX = 64 << 20


class HubFile(NamedTuple):
    """A file of a revision; ``sha256`` is of the contents where git-lfs keeps them, else the id of
    git's blob. Both say that two files are the same.
    """

    path: str
    size: int
    sha256: str


class Revision(NamedTuple):
    """One checkpoint on the hub. ``commit`` is "" where a step was asked for that has no branch.

    ``shards`` says which files each index (``*.index.json``) names, None where it is no index;
    ``dtypes`` are those that the hub counted, where it did."""

    step: int
    name: str
    commit: str
    files: dict
    shards: dict = {}
    dtypes: tuple = ()


def is_hub(source):
    """Whether a source is an address on the hub.

    >>> is_hub("hf://EleutherAI/pythia-14m"), is_hub("runs/digits")
    (True, False)
    """
    return isinstance(source, str) and source.startswith("hf://")


def repository(source):
    """The repository's name.

    >>> repository("hf://EleutherAI/pythia-14m")
    'EleutherAI/pythia-14m'
    """
    name = source.removeprefix("hf://").strip("/")
    if "@" in name or "/tree/" in name:
        raise ValueError(
            f"{source}: names a revision; give the repository alone, hf://OWNER/NAME, and the"
            " revisions as revisions="
        )
    if name.startswith(("datasets/", "spaces/", "kernels/", "buckets/")):
        raise ValueError(
            f"{source}: is a {name.split('/')[0][:-1]}, which holds no checkpoints; give a model's"
            " repository, hf://OWNER/NAME"
        )
    if not is_hub(source) or not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", name, re.ASCII):
        raise ValueError(
            f"{source}: is no repository on the hub; expected hf://OWNER/NAME, e.g."
            " hf://EleutherAI/pythia-14m"
        )
    return name


def find_revisions(repo, revisions=None, every=1, skip=()):
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
    refs = _get(repo, f"api/models/{repo}/refs").json()
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
                tqdm(
                    pool.map(lambda commit: _look_up(repo, commit), wanted),
                    desc="revisions",
                    total=len(wanted),
                    delay=1,
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


def weight_files(revision, format):
    """The paths of the files that hold a revision's weights in a format, "safetensors" or "bin":
    one file, or an index and its shards.

    Empty where the revision has none in that format. Shards are named as the index does, whether or
    not they are there."""
    top = [path for path in revision.files if "/" not in path]
    for name in _USUAL:
        if name in top and _format_of(name) == format:
            return (
                [name, *(revision.shards.get(name) or ())]
                if name.endswith(".index.json")
                else [name]
            )
    others = [
        path
        for path in top
        if path.endswith(FORMATS[format]) and not _SIDE.search(path) and not _SHARD.search(path)
    ]
    if not others:
        others = [
            path for path in top if path.endswith(".index.json") and _format_of(path) == format
        ]
    return [others[0], *(revision.shards.get(others[0]) or ())] if len(others) == 1 else []


def choose_format(revisions, format=None):
    """By step, the format that is read: the one that all revisions have, else safetensors where a
    revision has it, else the one it has.

    ``format`` decides for all. A revision without weights has no entry.
    """
    if format not in (None, *FORMATS):
        raise ValueError(f"format: expected 'safetensors' or 'bin', got {format!r}")
    held = {
        revision.step: [name for name in FORMATS if weight_files(revision, name)]
        for revision in revisions
    }
    held = {step: names for step, names in held.items() if names}
    common = [name for name in FORMATS if all(name in names for names in held.values())]
    return {step: format or (common or names)[0] for step, names in held.items()}


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
    labelled = [_STEP.search(name) for name in names]
    steps = [int(match[1]) for match in labelled] if all(labelled) else steps_from_names(names)
    if None in steps:
        raise StepError(
            f"{where}: revision {names[steps.index(None)]!r} has no step in its name; choose others"
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
        **_get(repo, f"api/models/{repo}/revision/{quote(commit, safe='')}", blobs=True).json()
    )
    files = {
        file.rfilename: HubFile(
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
            if "/" not in path and path.endswith((".safetensors.index.json", ".bin.index.json")):
                wanted.setdefault(file.sha256, (revision.commit, file))
    read = dict(
        zip(wanted, pool.map(lambda at: _named_in_index(_content(repo, *at)), wanted.values()))
    )
    return [
        revision._replace(
            shards={
                path: read[file.sha256]
                for path, file in revision.files.items()
                if file.sha256 in read
            }
        )
        for revision in revisions
    ]


def _named_in_index(content):
    """The files that an index names, in order; None if it is no index."""
    try:
        names = set(json.loads(content)["weight_map"].values())
        return (
            tuple(sorted(names)) if names and all(isinstance(name, str) for name in names) else None
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _content(repo, commit, file):
    if file.size > _LARGEST_INDEX:
        return b""
    for _ in range(_TRIES):
        content = _get(repo, f"{repo}/resolve/{commit}/{quote(file.path)}").content
        in_git = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        if file.sha256 in (in_git, hashlib.sha256(content).hexdigest()):
            return content
    raise CheckpointError(
        f"hf://{repo}, {file.path} at commit {commit[:10]}: does not arrive as the hub announced"
        f" it, {_TRIES} times over; try again later, or through another network"
    )


# ---- asking ----


def _get(repo, path, **parameters):
    """The hub's answer to what HfApi would ask, whose calls do not try again."""
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HTTPError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )
    from huggingface_hub.utils import build_hf_headers, hf_raise_for_status, http_backoff

    where = f"hf://{repo}"
    try:
        # RuntimeError: the client was closed by another thread, whose connection had failed.
        response = http_backoff(
            "GET",
            f"{constants.ENDPOINT}/{path}",
            headers=build_hf_headers(library_name="trajhelpers"),
            params=parameters,
            timeout=_TIMEOUT,
            retry_on_exceptions=(HTTPError, RuntimeError),
        )
        hf_raise_for_status(response)
        if path.startswith("api/"):
            response.json()
        return response
    except GatedRepoError as error:
        raise CheckpointError(
            f"{where}: is gated; accept its terms on {constants.ENDPOINT}/{repo}, then `hf auth"
            " login`"
        ) from error
    except RepositoryNotFoundError as error:
        raise CheckpointError(
            f"{where}: there is no such model on the hub, or it is private; check the name, or `hf"
            " auth login` with an account that may read it"
        ) from error
    except RevisionNotFoundError as error:
        raise CheckpointError(
            f"{where}: a revision was deleted while it was looked up; open it again"
        ) from error
    except OfflineModeIsEnabled as error:
        raise CheckpointError(
            f"{where}: the hub client is in offline mode; unset HF_HUB_OFFLINE, or open a folder of"
            " files that you have"
        ) from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        remedy = {
            401: "the token is not valid: `hf auth login`",
            403: "the account may not read it: `hf auth login` with another",
            429: (
                "the limit of requests is used up: wait five minutes, or "
                "`hf auth login`, which raises it"
            ),
        }.get(status, "try again later")
        raise CheckpointError(f"{where}: the hub answers {status}; {remedy}") from error
    except (HTTPError, RuntimeError) as error:
        raise CheckpointError(
            f"{where}: {constants.ENDPOINT} cannot be reached ({type(error).__name__}); check the"
            " network, or HF_ENDPOINT"
        ) from error
    except ValueError as error:
        raise CheckpointError(
            f"{where}: {constants.ENDPOINT} answers with something other than the hub's data; check"
            " HF_ENDPOINT, and whether a proxy asks for a login"
        ) from error


def _format_of(name):
    return "safetensors" if ".safetensors" in name else "bin"
