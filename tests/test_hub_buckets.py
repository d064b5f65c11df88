"""Runs in storage buckets on the hub, by the real client against a stand-in."""

import random

import numpy as np
import pytest
from hub_runs import saved
from huggingface_hub import HfApi
from standin_hub import StandInHub
from test_archives import packed
from test_stores import run, same, state

import trajhelpers as th
from trajhelpers.sources.remote import files as _files

TOKEN = "hf_ThisIsTheTokenThatNobodyMaySee"
BUCKET, SOURCE = "someone/runs", "hf://buckets/someone/runs/digits"


@pytest.fixture
def hub(monkeypatch, tmp_path):
    monkeypatch.setattr(_files, "_FIRST_WAIT", 0.001)
    with StandInHub() as hub:
        hub.connect(monkeypatch, tmp_path / "home", TOKEN)
        yield hub


def put(hub, folder, prefix="digits"):
    files = run(folder)
    hub.fill_bucket(BUCKET, {f"{prefix}/{path}": file for path, file in files.items()})
    return folder / "run"


@pytest.mark.skipif(not hasattr(HfApi, "list_bucket_tree"), reason="the client is too old for it")
def test_the_real_client_takes_the_stand_in_for_the_hub(hub, tmp_path):
    put(hub, tmp_path)
    api = HfApi(endpoint=hub.endpoint)
    found = list(api.list_bucket_tree(BUCKET, "digits", recursive=True))
    assert sum(one.type == "file" for one in found) == len(hub.buckets[BUCKET])
    path = "digits/checkpoint-1/model.safetensors"
    metadata = api.get_bucket_file_metadata(BUCKET, path)
    stored = hub.buckets[BUCKET][path]
    assert (metadata.size, metadata.xet_file_data.file_hash) == (stored.size, stored.sha256)


@pytest.mark.parametrize("memory", [2**31, 20_000])
def test_a_prefix_is_a_run_like_a_folder(hub, tmp_path, memory):
    here = put(hub, tmp_path)
    hub.fill_bucket(BUCKET, {"digits-2/step_5.pt": saved(state(5))})
    trajectory = th.open_trajectory(SOURCE)
    assert trajectory.sources[0] == f"{SOURCE}/checkpoint-1/model.safetensors"
    assert trajectory.config == {"a": 1}
    far = th.gram(trajectory, device="cpu", memory=memory)
    near = th.gram(
        th.open_trajectory(here), device="cpu", memory=memory, partial=tmp_path / "near.partial"
    )
    same(far, near)
    stored = hub.buckets[BUCKET]["digits/checkpoint-1/model.safetensors"]
    assert far.source["stamps"][0] == [["digits/checkpoint-1/model.safetensors", stored.sha256]]
    assert not any(request.has_authorization for request in hub.requests_of("file"))
    assert TOKEN not in str(far.source)


def test_several_prefixes_files_and_archives(hub, tmp_path):
    put(hub, tmp_path / "a", "a")
    here = put(hub, tmp_path / "b", "b")
    joined = th.open_trajectory(["hf://buckets/someone/runs/a", "hf://buckets/someone/runs/b/"])
    assert joined.runs == ("a",) * 3 + ("b",) * 3
    files = [f"hf://buckets/someone/runs/a/checkpoint-{step}" for step in (1, 2)]
    names = ("model.safetensors", "pytorch_model.bin")
    listed = th.open_trajectory([f"{file}/{name}" for file, name in zip(files, names)])
    assert listed.steps == (1, 2)
    hub.fill_bucket(BUCKET, {"run.tar": packed(here, tmp_path / "run.tar")})
    packed_there = th.open_trajectory("hf://buckets/someone/runs/run.tar")
    near = th.gram(th.open_trajectory(here), device="cpu")
    same(th.gram(packed_there, device="cpu"), near)


@pytest.mark.parametrize("seed", range(2))
def test_one_answer_in_ten_is_wrong(hub, tmp_path, seed):
    here = put(hub, tmp_path)
    dice, failed = random.Random(seed), []

    def faults(request):
        if dice.random() < 0.1:
            of_files = ["503", "short", "elsewhere", "truncated", "reset", "expired", "html"]
            failed.append(dice.choice(of_files if request.kind == "file" else ["503", "reset"]))
            return failed[-1]

    trajectory = th.open_trajectory(SOURCE)
    hub.faults = faults
    far = th.gram(trajectory, device="cpu", memory=2_000)
    assert len(failed) > 5
    near = th.gram(th.open_trajectory(here), "cpu", memory=2_000, partial=tmp_path / "p")
    np.testing.assert_array_equal(far.increments, near.increments)


def test_a_file_that_changes(hub, tmp_path):
    put(hub, tmp_path)
    trajectory = th.open_trajectory(SOURCE)
    path = "digits/checkpoint-2/pytorch_model.bin"
    hub.fill_bucket(BUCKET, {path: saved({k: v + 1 for k, v in state(2).items()})})
    # Whoever has its address reads what it was; a new address is of what it is.
    hub.expire_addresses()
    with pytest.raises(th.CheckpointError, match=f"{path}: changed since"):
        th.gram(trajectory, device="cpu")


@pytest.mark.parametrize(
    "source, words",
    [
        ("hf://buckets/someone", "OWNER/NAME"),
        ("hf://buckets/someone/runs/../x", "PREFIX"),
        ("hf://buckets/someone/nothing", "hf://buckets/someone/nothing.*(hub answers 404|no such)"),
        ("hf://buckets/someone/runs/nothing", "holds nothing"),
    ],
)
def test_what_is_not_there(hub, tmp_path, source, words):
    put(hub, tmp_path)
    with pytest.raises((th.CheckpointError, ValueError), match=words):
        th.open_trajectory(source)


@pytest.mark.parametrize("page", ['{"error": 3}', '[{"type": "file", "path": 3}]', "[3]", "null"])
def test_lists_of_another_shape(hub, tmp_path, monkeypatch, page):
    put(hub, tmp_path)
    handler = hub._server.RequestHandlerClass
    monkeypatch.setattr(
        handler,
        "_bucket_tree",
        lambda self, bucket, under, query, sent: self._send(200, page.encode(), {}),
    )
    with pytest.raises(th.CheckpointError, match="something other than the hub's data"):
        th.open_trajectory(SOURCE)
