"""Answers of the hub that are not as they should be: each is refused with an error that names the
repository and says what to do, or is tried again.
"""

import json

import numpy as np
import pytest
from safetensors.numpy import save
from standin_hub import StandInHub

import trajhelpers as th
from trajhelpers.sources.remote import files as _files

REPO, SOURCE = "somebody/model", "hf://somebody/model"


@pytest.fixture
def hub(monkeypatch, tmp_path):
    monkeypatch.setattr(_files, "_FIRST_WAIT", 0.001)
    with StandInHub() as hub:
        hub.connect(monkeypatch, tmp_path / "home", "hf_ThisIsTheTokenThatNobodyMaySee")
        for step in range(3):
            hub.add(REPO, f"step{step}", files(step))
        yield hub


def files(step):
    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    index = {"metadata": {}, "weight_map": {"a": names[0], "b": names[1]}}
    return {
        "config.json": b"{}",
        "model.safetensors.index.json": json.dumps(index).encode(),
        names[0]: save({"a": np.arange(6.0) * step}),
        names[1]: save({"b": np.arange(4.0) + step * step}),
    }


def gram():
    return th.gram(th.open_trajectory(SOURCE), device="cpu")


def set_at(value, path, new):
    """``value`` with what lies at ``path`` replaced, or, where ``new`` is DROP, left out."""
    if not path:
        return new
    first, *rest = path
    changed = list(value) if isinstance(value, list) else dict(value)
    if not rest and new is DROP:
        del changed[first]
    else:
        changed[first] = set_at(value[first] if rest else None, rest, new)
    return changed


DROP = object()
# By name: of which answer, where in it, and what is there instead.
FIRST = ("siblings", 0)
LFS = ("siblings", 2, "lfs")
ODD = {
    "refs: null": ("refs", (), None),
    "refs: a list": ("refs", (), []),
    "refs: a number": ("refs", (), 3),
    "refs: an error": ("refs", (), {"error": {"error": ["nested"]}}),
    "refs: no branches": ("refs", ("branches",), DROP),
    "refs: branches null": ("refs", ("branches",), None),
    "refs: tags an object": ("refs", ("tags",), {"name": "x"}),
    "refs: a branch is text": ("refs", ("branches", 0), "main"),
    "refs: no name": ("refs", ("branches", 0, "name"), DROP),
    "refs: name a number": ("refs", ("branches", 0, "name"), 7),
    "refs: name null": ("refs", ("branches", 0, "name"), None),
    "refs: name with an escape": ("refs", ("branches", 0, "name"), "step\x1b[2J0"),
    "refs: no commit": ("refs", ("branches", 0, "targetCommit"), DROP),
    "refs: commit null": ("refs", ("branches", 0, "targetCommit"), None),
    "refs: commit a list": ("refs", ("branches", 0, "targetCommit"), ["a"]),
    "refs: commit a path": ("refs", ("branches", 0, "targetCommit"), "../../../api/whoami"),
    "refs: a branch twice": ("refs", ("branches", 1, "name"), "step0"),
    "info: null": ("info", (), None),
    "info: a list": ("info", (), [1]),
    "info: no files": ("info", ("siblings",), DROP),
    "info: files null": ("info", ("siblings",), None),
    "info: files an object": ("info", ("siblings",), {"a": 1}),
    "info: a file is text": ("info", FIRST, "config.json"),
    "info: another commit": ("info", ("sha",), "f" * 40),
    "info: no path": ("info", (*FIRST, "rfilename"), DROP),
    "info: path a number": ("info", (*FIRST, "rfilename"), 3),
    "info: path null": ("info", (*FIRST, "rfilename"), None),
    "info: path empty": ("info", (*FIRST, "rfilename"), ""),
    "info: path absolute": ("info", (*FIRST, "rfilename"), "/etc/passwd"),
    "info: path upwards": ("info", (*FIRST, "rfilename"), "a/../../b.json"),
    "info: path upwards on Windows": ("info", (*FIRST, "rfilename"), "a\\..\\..\\b.json"),
    "info: path with NUL": ("info", (*FIRST, "rfilename"), "a\0b.json"),
    "info: path with a newline": ("info", (*FIRST, "rfilename"), "a\nb.json"),
    "info: path with half a letter": ("info", (*FIRST, "rfilename"), "a\ud800.json"),
    "info: a path twice": ("info", (*FIRST, "rfilename"), "model-00001-of-00002.safetensors"),
    "info: size text": ("info", (*FIRST, "size"), "2"),
    "info: size negative": ("info", (*FIRST, "size"), -2),
    "info: size huge": ("info", (*FIRST, "size"), 10**30),
    "info: size a fraction": ("info", (*FIRST, "size"), 2.5),
    "info: size true": ("info", (*FIRST, "size"), True),
    "info: no size": ("info", (*FIRST, "size"), DROP),
    "info: no hash": ("info", (*FIRST, "blobId"), DROP),
    "info: hash of another kind": ("info", (*FIRST, "blobId"), "xyz"),
    "info: pointer text": ("info", LFS, "sha256:abc"),
    "info: pointer without hash": ("info", (*LFS, "sha256"), DROP),
    "info: pointer's hash short": ("info", (*LFS, "sha256"), "abc"),
    "info: pointer's hash null": ("info", (*LFS, "sha256"), None),
    "info: pointer's size text": ("info", (*LFS, "size"), "200"),
    "info: pointer's size negative": ("info", (*LFS, "size"), -1),
    "info: types a list": ("info", ("safetensors",), ["F32"]),
    "info: types a number": ("info", ("safetensors",), {"parameters": 3}),
}


def edited(kind, edit):
    """For ``hub.edit``: of each answer of a kind, another body."""

    def answer(request, status, body, headers):
        return (status, edit(body) if request.kind == kind else body, headers)

    return answer


@pytest.mark.parametrize("name", ODD)
def test_an_odd_answer(hub, name):
    kind, path, new = ODD[name]
    hub.edit = edited(kind, lambda body: json.dumps(set_at(json.loads(body), path, new)).encode())
    with pytest.raises(th.CheckpointError, match=f"^{SOURCE}: .*answers.*; check") as caught:
        gram()
    assert "\x1b" not in str(caught.value) and "\n" not in str(caught.value)
