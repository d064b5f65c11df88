"""What the hub's answers say. Their shape is checked before anything is read of them: an answer may
come from a proxy, from another server, or from whoever is in between.
"""

import re
import reprlib
from collections.abc import Hashable, Iterable
from typing import Any, NamedTuple, TypeVar

from ..catalogue import ListedFile

_K = TypeVar("_K", bound=Hashable)
_V = TypeVar("_V")


class Unlike(ValueError):
    """An answer of another shape; says what is where."""


class Object(NamedTuple):
    """A file of a bucket; ``stamp`` is the hash of its contents."""

    size: int
    stamp: str


def commits_in(answer: Any) -> dict[str, str]:
    """Of a list of refs: by the name of each branch and tag its commit; a branch goes before a tag
    of its name.
    """
    _check(answer, _REFS)
    tags, branches = (
        once((ref["name"], ref["targetCommit"]) for ref in answer[kind])
        for kind in ("tags", "branches")
    )
    return tags | branches


def revision_in(answer: Any, commit: str) -> dict[str, Any]:
    """Of what the hub has about a commit: the files by path, and the dtypes that it counted."""
    _check(answer, _INFO)
    if answer["sha"] != commit:
        raise Unlike(f"it is of commit {answer['sha']}, not of {commit}")
    files = (
        ListedFile(
            file["rfilename"],
            (file.get("lfs") or file)["size"],
            file["lfs"]["sha256"] if file.get("lfs") else file["blobId"],
        )
        for file in answer["siblings"]
    )
    counted = (answer.get("safetensors") or {}).get("parameters", {})
    return {
        "files": once((file.path, file) for file in files),
        "dtypes": tuple(sorted(counted)),
    }


def objects_in(answer: Any) -> list[tuple[str, Object]]:
    """Of a page of a bucket's list: its files, by path."""
    _check(answer, [_entry])
    return [
        (entry["path"], Object(entry["size"], entry["xetHash"]))
        for entry in answer
        if entry["type"] == "file"
    ]


def once(pairs: Iterable[tuple[_K, _V]]) -> dict[_K, _V]:
    """A dictionary; Unlike where a key has two values.

    >>> once([("a", 1), ("a", 2)])
    Traceback (most recent call last):
    trajhelpers.sources.hub.answers.Unlike: 'a' is listed twice
    """
    found: dict[_K, _V] = {}
    for key, value in pairs:
        if found.setdefault(key, value) != value:
            raise Unlike(f"{reprlib.repr(key)} is listed twice")
    return found


# ---- shapes ----

_COMMIT, _HASH = re.compile("[0-9a-f]{40}"), re.compile("[0-9a-f]{64}")
# More than JavaScript counts exactly is no size of a file.
_SIZE = range(2**53)
# Below a folder whatever the system: no part is empty or leads elsewhere, and there is nothing that
# a terminal obeys or that is no character.
_PART = r"(?!\.{1,2}(?:[/\\]|\Z))[^/\\\x00-\x1f\x7f-\x9f\ud800-\udfff]+"
_PATH = re.compile(rf"{_PART}(?:[/\\]{_PART})*")

_REF = {"name": _PATH, "targetCommit": _COMMIT}
_REFS = {"tags": [_REF], "branches": [_REF]}
_IN_GIT = {"rfilename": _PATH, "size": _SIZE, "blobId": _COMMIT}
_IN_LFS = {"rfilename": _PATH, "lfs": {"size": _SIZE, "sha256": _HASH}}
_IN_BUCKET = {"path": _PATH, "size": _SIZE, "xetHash": _HASH}


def _sibling(file: Any) -> Any:
    return _IN_LFS if isinstance(file, dict) and file.get("lfs") is not None else _IN_GIT


def _entry(entry: Any) -> Any:
    is_file = isinstance(entry, dict) and entry.get("type") == "file"
    return _IN_BUCKET if is_file else {"type": str}


_INFO = {"sha": _COMMIT, "siblings": [_sibling], "safetensors?": {"parameters": dict}}


def _check(value: Any, shape: Any, at: str = "answer") -> None:
    """A shape is a dictionary of names and shapes (``name?`` may be missing or null), a list with
    the one of all elements, a pattern of text, a range of whole numbers, a type, or a function that
    chooses one for a value.

    >>> _check({"a": [3, -1]}, {"a": [range(9)], "b?": str})
    Traceback (most recent call last):
    trajhelpers.sources.hub.answers.Unlike: answer.a[1] is -1
    """
    if isinstance(shape, dict):
        _check(value, dict, at)
        for name, inner in shape.items():
            found = value.get(name.removesuffix("?"))
            if found is None and not name.endswith("?"):
                raise Unlike(f"{at} has no {name}")
            if found is not None:
                _check(found, inner, f"{at}.{name.removesuffix('?')}")
    elif isinstance(shape, list):
        _check(value, list, at)
        for index, element in enumerate(value):
            _check(element, shape[0], f"{at}[{index}]")
    elif isinstance(shape, (re.Pattern, range, type)):
        if not (
            isinstance(value, str) and shape.fullmatch(value)
            if isinstance(shape, re.Pattern)
            else type(value) is int and value in shape
            if isinstance(shape, range)
            else isinstance(value, shape)
        ):
            raise Unlike(f"{at} is {reprlib.repr(value)}")
    else:
        _check(value, shape(value), at)
