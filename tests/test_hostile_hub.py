"""Bad files on the hub: each gets an error that names it, and nothing that it carries is run."""

import json
import os
import pickle
import re
import struct
import subprocess
import sys
import textwrap
import zipfile

import numpy as np
import pytest
import torch
from hub_runs import check_exactly, checkpoint, products, save, saved
from safetensors import SafetensorError, safe_open
from standin_hub import StandInHub
from test_hostile_files import Payload, entry, forge, rewrite

import trajhelpers as th
from trajhelpers.reading import zip_records as _zip_records
from trajhelpers.reading.safetensors_files import read_header
from trajhelpers.sources.remote import files as _files

REPO, SOURCE = "somebody/model", "hf://somebody/model"


@pytest.fixture
def hub(monkeypatch, tmp_path):
    monkeypatch.setattr(_files, "_FIRST_WAIT", 0.001)
    with StandInHub() as hub:
        hub.connect(monkeypatch, tmp_path / "home")
        yield hub


def put(hub, folder, bad, kind="bin", old=False):
    """Three revisions, of which step 1 has the files `bad`."""
    for step in (0, 2):
        hub.add(REPO, f"step{step}", checkpoint(state(step), folder / f"step{step}", kind, old=old))
    hub.add(REPO, "step1", bad)


def state(seed):
    generator = torch.Generator().manual_seed(seed)
    return {
        "a.weight": torch.randint(-9, 9, (300, 40), generator=generator).float(),
        "b.bias": torch.randint(-9, 9, (40,), generator=generator).float(),
    }


def refused(*facts, error=th.CheckpointError, **options):
    with pytest.raises(error) as caught:
        th.gram(th.open_trajectory(SOURCE, **options), device="cpu")
    for fact in ("step1", *facts):
        assert re.search(fact, str(caught.value), re.IGNORECASE), (
            f"{fact!r} is not in: {caught.value}"
        )


# Things that are no weights


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.safetensors"])
@pytest.mark.parametrize(
    "content, words",
    [
        (b"<!DOCTYPE html>\n<html>Sign in</html>", "html"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"4d" * 32 + b"\nsize 9\n",
            "git.lfs",
        ),
        (b"", "empty"),
        (b"\0" * 3000, ""),
        (b"PK\x03\x04" + b"\xff" * 3000, ""),
        (bytes(range(256)) * 300, ""),
    ],
    ids=["html", "lfs", "empty", "zeros", "zip", "bytes"],
)
def test_no_weights(hub, tmp_path, name, content, words):
    put(hub, tmp_path, {name: content})
    refused(name.split(".")[0] + r"|no weights|safetensors", words, format=None)


@pytest.mark.parametrize("cache", [False, True])
def test_a_legacy_file(hub, tmp_path, cache):
    """Where its tensors lie, its pickle and its length say."""
    put(hub, tmp_path, {"pytorch_model.bin": saved(state(1), _use_new_zipfile_serialization=False)})
    check_exactly(
        th.gram(th.open_trajectory(SOURCE, cache=cache), device="cpu"),
        [state(step) for step in range(3)],
    )


@pytest.mark.parametrize("keep", [60, 0.3, 0.9, -1, -100])
@pytest.mark.parametrize("kind", ["bin", "safetensors"])
def test_truncated(hub, tmp_path, kind, keep):
    name, path = next(iter(checkpoint(state(1), tmp_path / "whole", kind).items()))
    whole = path.read_bytes()
    put(
        hub,
        tmp_path,
        {name: whole[: int(keep * len(whole))] if isinstance(keep, float) else whole[:keep]},
        kind,
    )
    refused(name)


def test_a_list_that_promises_another_size(hub, tmp_path, monkeypatch):
    put(hub, tmp_path, checkpoint(state(1), tmp_path / "step1", "bin"))
    monkeypatch.setattr(
        hub._server.RequestHandlerClass,
        "_resolve",
        lambda self, repo, revision, file, query, sent: self._send(
            302,
            b"",
            {
                "X-Repo-Commit": revision,
                "X-Linked-Size": "7",
                "X-Linked-ETag": '"x"',
                "Location": f"http://localhost:{hub.port}/files/x",
            },
        ),
    )
    with pytest.raises(th.CheckpointError, match="has 7 bytes"):
        th.open_trajectory(SOURCE)


# Forged safetensors: the same verdict as the library's

HEADERS = {
    "overlap": {"a": entry(0, 16), "b": entry(8, 24)},
    "same bytes": {"a": entry(0, 16), "b": entry(0, 16)},
    "gap": {"a": entry(0, 16), "b": entry(48, 64)},
    "not from 0": {"a": entry(16, 64, (12,))},
    "past the end": {"a": entry(0, 16), "b": entry(16, 80, (16,))},
    "short": {"a": entry(0, 16)},
    "negative": {"a": entry(0, 64, (16,)), "b": entry(-16, 0)},
    "backwards": {"a": entry(0, 16), "b": entry(64, 16, (12,))},
    "shape too large": {"a": entry(0, 64, (17,))},
    "shape too small": {"a": entry(0, 64, (15,))},
    "negative shape": {"a": entry(0, 64, (-4, -4))},
    "overflow": {"a": entry(0, 64, (2**62, 2**62, 16))},
    "unknown dtype": {"a": entry(0, 64, (16,), "F33")},
    "no offsets": {"a": {"dtype": "F32", "shape": [16]}},
    "no entry": {"a": 3},
    "a list": [1, 2],
    "no json": b"{not json",
    "unfinished": b'{"a": ' * 50,
    "floats": {"a": entry(0.0, 64.0, (16,))},
    "true": {"a": entry(0, 1, (True,), "U8"), "b": entry(1, 64, (63,), "U8")},
    "nested": b'{"a":' + b"[" * 3000 + b"]" * 3000 + b"}",
    "no utf-8": b'{"\xff\xfe": {}}',
    "twice": (
        b'{"a": {"dtype":"F32","shape":[16],"data_offsets":[0,64]}, "a":'
        b' {"dtype":"F32","shape":[16],"data_offsets":[0,64]}}'
    ),
}
SOUND = {
    "one": {"a": entry(0, 64, (16,))},
    "scalar": {"a": entry(0, 4, ()), "b": entry(4, 64, (15,))},
    "empty": {"a": entry(0, 64, (4, 4)), "b": entry(64, 64, (0, 3)), "c": entry(0, 0, (0,))},
    "metadata": {"__metadata__": {"format": "pt"}, "a": entry(0, 64, (16,))},
    "out of order": {"b": entry(32, 64, (8,)), "a": entry(0, 32, (8,))},
    **{
        dtype: {"a": entry(0, 64, (size,), dtype)}
        for dtype, size in {
            "BOOL": 64,
            "U8": 64,
            "F8_E4M3": 64,
            "F8_E5M2": 64,
            "F16": 32,
            "BF16": 32,
            "I16": 32,
            "U32": 16,
            "I64": 8,
            "F64": 8,
            "C64": 8,
            "F4": 128,
        }.items()
    },
}


def by_library(path):
    try:
        with safe_open(path, framework="numpy") as file:
            return sorted(file.keys())
    except SafetensorError:
        return None


def by_hand(path):
    try:
        with open(path, "rb") as file:
            return sorted(read_header(path, file, path.stat().st_size).tensors)
    except th.CheckpointError as error:
        assert str(path) in str(error)


@pytest.mark.parametrize("name", [*HEADERS, *SOUND])
def test_headers_of_safetensors(tmp_path, name):
    path = tmp_path / "model.safetensors"
    forge(path, (HEADERS | SOUND)[name])
    # of which the library takes one; none is safer
    expected = None if name == "twice" else by_library(path)
    assert by_hand(path) == expected and (expected is not None) == (name in SOUND)


@pytest.mark.parametrize("length", [0, 1, 2, 10**6, 10**9, 2**63, 2**64 - 1])
def test_lengths_of_headers(tmp_path, length):
    path = tmp_path / "model.safetensors"
    forge(path, {"a": entry(0, 64, (16,))}, length=length)
    assert by_library(path) is None and by_hand(path) is None


@pytest.mark.parametrize("name", ["overlap", "past the end", "no json"])
def test_forged_safetensors(hub, tmp_path, name):
    forge(tmp_path / "model.safetensors", HEADERS[name])
    put(hub, tmp_path, {"model.safetensors": tmp_path / "model.safetensors"}, "safetensors")
    refused("model.safetensors", "damaged")


@pytest.mark.parametrize(
    "weight_map, words",
    [
        ({"a.weight": "../../other/model/model.safetensors"}, "no index"),
        ({"a.weight": "/etc/passwd"}, "no index"),
        ({"a.weight": "absent.safetensors"}, "absent"),
        ({"a.weight": "part.safetensors", "missing.weight": "part.safetensors"}, "missing.weight"),
        ({}, "index"),
        (3, "index"),
    ],
)
def test_an_index_that_points_elsewhere(hub, tmp_path, weight_map, words):
    put(
        hub,
        tmp_path,
        {
            "part.safetensors": save(state(1), tmp_path / "part.safetensors"),
            "model.safetensors.index.json": json.dumps({"weight_map": weight_map}).encode(),
        },
        "safetensors",
    )
    refused(words)


# Forged zip files


def at(path, name, signature):
    """Where the header (PK34) or the directory's entry (PK12) of a record begins."""
    content, end = path.read_bytes(), name.encode()
    found = [match.start() for match in re.finditer(re.escape(signature), content)]
    return next(
        start
        for start in found
        if content[start + len(signature) :].split(signature)[0].find(end) >= 0
    )


def patched(path, offset, content):
    whole = bytearray(path.read_bytes())
    whole[offset : offset + len(content)] = content
    path.write_bytes(whole)


def torch_file(folder, old=False, **tensors):
    path = folder / "pytorch_model.bin"
    save(tensors or state(1), path, old)
    return path


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("memory", [2**31, 5000])
def test_a_header_that_moves_its_record(hub, tmp_path, old, memory):
    """Torch would take other bytes than those that the directory implies: found when the record is
    read, before it is used.
    """
    path = torch_file(tmp_path, old)
    header = at(path, "data/0", b"PK\x03\x04")
    (extra,) = struct.unpack_from("<H", path.read_bytes(), header + 28)
    patched(path, header + 28, struct.pack("<H", extra - 4))
    assert not torch.equal(torch.load(path, weights_only=True)["a.weight"], state(1)["a.weight"])
    put(hub, tmp_path, {"pytorch_model.bin": path})
    trajectory = th.open_trajectory(SOURCE)
    with pytest.raises(
        th.CheckpointError, match=r"step1/pytorch_model\.bin: the record at byte .*cache"
    ):
        th.gram(trajectory, device="cpu", memory=memory)
    with pytest.raises(th.CheckpointError, match="step1/pytorch_model"):
        trajectory.read([("a.weight", 500, 600)])


@pytest.mark.parametrize(
    "field, value, words",
    [
        (42, lambda path: at(path, "data/0", b"PK\x03\x04").to_bytes(4, "little"), "header"),
        (20, lambda path: (90_000).to_bytes(4, "little") * 2, "overlap|beyond|damaged"),
        (10, lambda path: (8).to_bytes(2, "little"), "compressed"),
        (42, lambda path: (5).to_bytes(4, "little"), ""),
    ],
    ids=["two over the same bytes", "too long", "compressed", "nowhere"],
)
def test_a_forged_directory(hub, tmp_path, field, value, words):
    path = torch_file(tmp_path, a=torch.zeros(100), b=torch.ones(100))
    patched(path, at(path, "data/1", b"PK\x01\x02") + field, value(path))
    put(hub, tmp_path, {"pytorch_model.bin": path})
    refused("pytorch_model.bin", words)


def test_a_record_that_is_too_short(hub, tmp_path):
    path = torch_file(tmp_path)
    rewrite(path, lambda name, content: content[:1000] if name.endswith("data/0") else content)
    put(hub, tmp_path, {"pytorch_model.bin": path})
    refused("data/0", "storage")


def test_a_record_that_is_missing(hub, tmp_path):
    path = torch_file(tmp_path)
    rewrite(path, lambda name, content: None if name.endswith("data/0") else content)
    put(hub, tmp_path, {"pytorch_model.bin": path})
    refused("pytorch_model.bin")


def test_other_zip_writers(hub, tmp_path):
    """Records that are stored but not aligned: their headers are read one by one."""
    path = torch_file(tmp_path)
    rewrite(path, lambda name, content: content)
    put(hub, tmp_path, {"pytorch_model.bin": path})
    check_exactly(
        th.gram(th.open_trajectory(SOURCE), device="cpu"), [state(step) for step in range(3)]
    )


@pytest.mark.parametrize("behind", [16, 24])
def test_beginnings_inferred_from_ends(behind):
    """A record of more than 4 GiB has 24 bytes behind it, others 16."""
    entry = zipfile.ZipInfo("pytorch_model/data/0")
    entry.header_offset, entry.file_size = 1000, 5 * 2**30 + 8
    assert _zip_records._inferred_start(entry, 1088 + entry.file_size + behind) == 1088
    assert _zip_records._inferred_start(entry, 1088 + entry.file_size + behind + 4) is None


def test_views_and_ties(hub, tmp_path):
    for step in range(3):
        storage = state(step)["a.weight"]
        hub.add(
            REPO,
            f"step{step}",
            {
                "pytorch_model.bin": saved(
                    {
                        "first": storage[:100],
                        "second": storage[100:],
                        "tied": storage[:100],
                        "turned": state(step)["b.bias"].reshape(8, 5).T,
                    }
                )
            },
        )
    kernel = th.gram(th.open_trajectory(SOURCE), device="cpu", memory=3_000)
    expected = products(
        [
            {
                "first": state(step)["a.weight"][:100],
                "second": state(step)["a.weight"][100:],
                "turned": state(step)["b.bias"],
            }
            for step in range(3)
        ],
        ["first", "second", "turned"],
    )
    assert set(kernel.names) == set(expected)
    for name, part in kernel.groups().items():
        np.testing.assert_array_equal(part.gram(), expected[name])


def test_tensors_without_one_range_of_bytes(hub, tmp_path):
    """A view with gaps: what it lies in is read, and indexed here."""
    put(
        hub,
        tmp_path,
        {
            "pytorch_model.bin": saved(
                {"a.weight": state(1)["a.weight"], "b.bias": torch.arange(80.0)[::2]}
            )
        },
    )
    expected = [state(step) for step in range(3)]
    expected[1]["b.bias"] = torch.arange(80.0)[::2]
    check_exactly(th.gram(th.open_trajectory(SOURCE), device="cpu"), expected)


def test_arrays_within_a_pickle(hub):
    """They came with the header: nothing is left to fetch."""
    states = [{"a.weight": np.arange(6.0) + step * step} for step in range(3)]
    for step, found in enumerate(states):
        hub.add(REPO, f"step{step}", {"pytorch_model.bin": pickle.dumps(found, protocol=2)})
    kernel = th.gram(th.open_trajectory(SOURCE), device="cpu")
    flat = np.stack([found["a.weight"] for found in states])
    np.testing.assert_array_equal(kernel.gram(), flat @ flat.T)


# Pickles that want to run code


def hostile(kind, marker):
    """The files of a revision with a payload."""
    carrying = state(1) | {"extra": Payload(marker)}
    if kind == "sharded":
        index = {
            "weight_map": {
                "a.weight": "pytorch_model-00001-of-00002.bin",
                "b.bias": "pytorch_model-00002-of-00002.bin",
            }
        }
        return {
            "pytorch_model-00001-of-00002.bin": saved({"a.weight": state(1)["a.weight"]}),
            "pytorch_model-00002-of-00002.bin": saved(
                {"b.bias": state(1)["b.bias"], "extra": Payload(marker)}
            ),
            "pytorch_model.bin.index.json": json.dumps(index).encode(),
        }
    return {
        "zip": lambda: {"pytorch_model.bin": saved(carrying)},
        "legacy": lambda: {
            "pytorch_model.bin": saved(carrying, _use_new_zipfile_serialization=False)
        },
        "pickle": lambda: {
            "pytorch_model.bin": pickle.dumps({"extra": Payload(marker)}, protocol=2)
        },
        "pt": lambda: {"model.pt": saved(carrying)},
    }[kind]()


KINDS = ["zip", "legacy", "pickle", "sharded", "pt"]


@pytest.mark.parametrize("cache", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_code_in_a_pickle_is_not_run(hub, tmp_path, kind, cache):
    """Nor is it in the way, where there are weights beside it."""
    marker = tmp_path / "the payload has run"
    put(hub, tmp_path, hostile(kind, marker))
    if kind == "pickle":
        refused("no state dict", cache=cache)
    else:
        check_exactly(
            th.gram(th.open_trajectory(SOURCE, cache=cache), device="cpu"),
            [state(step) for step in range(3)],
        )
    assert not marker.exists()


def test_the_payload_does_run_when_let(tmp_path):
    marker = tmp_path / "the payload has run"
    (tmp_path / "x.bin").write_bytes(hostile("zip", marker)["pytorch_model.bin"])
    torch.load(tmp_path / "x.bin", weights_only=False)["extra"].close()
    assert marker.exists()


def test_nor_where_the_environment_asks_for_it(hub, tmp_path):
    """TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1 turns torch's default off."""
    code = textwrap.dedent("""
        import sys, trajhelpers as th
        for source in sys.argv[1:]:
            for cache in (False, True):
                try:
                    print("read", th.gram(th.open_trajectory(source, cache=cache), device="cpu").p)
                except th.CheckpointError as error:
                    print("refused", error)
    """)
    sources = []
    for kind in KINDS:
        marker = tmp_path / f"the payload of {kind} has run"
        repo = f"somebody/{kind}"
        sources.append(f"hf://{repo}")
        for step in (0, 2):
            hub.add(repo, f"step{step}", {"pytorch_model.bin": saved(state(step))})
        hub.add(repo, "step1", hostile(kind, marker))
    done = subprocess.run(
        [sys.executable, "-c", code, *sources],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ
        | hub.environment(tmp_path / "home")
        | {"TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"},
    )
    assert len(re.findall("^refused", done.stdout, re.MULTILINE)) == 2, done.stdout + done.stderr
    assert done.stdout.count("read 12040\n") == 2 * (len(KINDS) - 1)
    assert not list(tmp_path.glob("the payload*"))
