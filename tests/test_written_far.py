"""Folders of ranks that lie on the hub: the same numbers, and few requests."""

import pytest
from standin_hub import StandInHub
from test_written import assert_equal
from written_runs import expected, read, unpack

import trajhelpers as th
from trajhelpers.errors import TrajectoryError


@pytest.fixture
def hub(monkeypatch, tmp_path):
    with StandInHub() as hub:
        hub.connect(monkeypatch, tmp_path / "home")
        yield hub


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


RUNS = [
    ("torch_dcp", "fsdp2"),
    ("deepspeed_zero", "zero3"),
    ("megatron_ranks", "two_by_two"),
    ("megatron_ranks", "torch_dist"),
    ("replicas", "neox"),
    ("replicas", "nanotron"),
    ("torch_dcp", "huggingface_sharded"),
]


@pytest.mark.parametrize(("writer", "case"), RUNS)
def test_a_folder_a_checkpoint(hub, tmp_path, writer, case):
    folder = unpack(writer, case, tmp_path)
    hub.add("someone/run", "main", contents(folder / "run"))
    trajectory, wanted = th.open_trajectory("hf://someone/run@main"), expected(folder)
    kernel = th.gram(trajectory, device="cpu")
    here = th.gram(th.open_trajectory(folder / "run"), device="cpu")
    assert (kernel.increments == here.increments).all()
    assert trajectory.steps == tuple(wanted)


def test_a_branch_a_checkpoint(hub, tmp_path):
    folder = unpack("torch_dcp", "fsdp2", tmp_path)
    for inner in (folder / "run").iterdir():
        hub.add("someone/run", inner.name.replace("-", ""), contents(inner))
    kernel = th.gram(th.open_trajectory("hf://someone/run"), device="cpu")
    here = th.gram(th.open_trajectory(folder / "run"), device="cpu")
    assert (kernel.increments == here.increments).all()


def test_a_request_a_kind_of_chunk(hub, tmp_path):
    """And few for the list of them: layers are alike, and so are the parts of most ranks."""
    folder = unpack("megatron_ranks", "torch_dist", tmp_path)
    hub.add("someone/run", "main", contents(folder / "run"))
    trajectory = th.open_trajectory("hf://someone/run@main")
    asked = [one for one in hub.requests if one.kind == "resolve" and one.range]
    asked += [one for one in hub.requests if one.kind == "file"]
    # Of the first, over two tensor ranks: 14 tensors of a layer, 4 others; 12 and 2 of them cut.
    assert len(asked) <= len(trajectory) * (14 + 4 + 4), len(asked)


def test_a_chunk_that_is_not_like_the_others_of_its_kind(hub, tmp_path):
    folder = unpack("megatron_ranks", "torch_dist", tmp_path)
    files = contents(folder / "run")
    name = "iter_0000005/__0_0.distcp"
    whole = files[name]
    last = whole.rindex(b"PK\x03\x04", 0, whole.rindex(b"archive/data/0", 0, -600))
    files[name] = whole[:last] + bytes(4) + whole[last + 4 :]
    hub.add("someone/run", "main", files)
    with pytest.raises(TrajectoryError, match=r"__0_0\.distcp"):
        th.gram(th.open_trajectory("hf://someone/run@main"), device="cpu")


def test_a_file_that_the_hub_lacks_is_named(hub, tmp_path):
    folder = unpack("torch_dcp", "fsdp2", tmp_path)
    files = contents(folder / "run")
    del files["step-5/__1_0.distcp"]
    hub.add("someone/run", "main", files)
    with pytest.raises(TrajectoryError, match=r"step-5/__1_0\.distcp: is missing"):
        th.open_trajectory("hf://someone/run@main")


def test_numbers_are_those_of_each_rank(hub, tmp_path):
    folder = unpack("torch_dcp", "tensor_parallel", tmp_path)
    hub.add("someone/run", "main", contents(folder / "run"))
    trajectory = th.open_trajectory("hf://someone/run@main", cache=True)
    assert_equal(read(trajectory), expected(folder))
