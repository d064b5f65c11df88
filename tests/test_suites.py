"""Published runs by name alone: each row of tests/suites.py through the real client against the
stand-in hub.
"""

import io
import json

import numpy as np
import pytest
import torch
from safetensors.torch import save
from standin_hub import StandInHub
from suites import IN_MAIN, MULTIBERTS, RANKS, ROWS
from test_written import PLAIN
from written_runs import read, unpack

import trajhelpers as th
from trajhelpers.__main__ import main
from trajhelpers.reading import formats
from trajhelpers.reading.contents import Contents
from trajhelpers.sources.hub.suites import suites


@pytest.fixture
def hub(monkeypatch, tmp_path):
    with StandInHub() as hub:
        hub.connect(monkeypatch, tmp_path / "home")
        yield hub


def state(value):
    return {"w": torch.full((3,), float(value)), "v": torch.arange(2.0) + value}


def as_bin(tensors):
    file = io.BytesIO()
    torch.save(tensors, file)
    return file.getvalue()


def files_of(kind, value):
    if kind == "safetensors":
        return {"model.safetensors": save(state(value))}
    if kind == "bin":
        return {"pytorch_model.bin": as_bin(state(value)), "training_args.bin": b"x"}
    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    index = {"metadata": {}, "weight_map": {"w": names[0], "v": names[1]}}
    whole = state(value)
    return {
        "model.safetensors.index.json": json.dumps(index).encode(),
        names[0]: save({"w": whole["w"]}),
        names[1]: save({"v": whole["v"]}),
    }


def fill(hub, row):
    """Listed in the order of the alphabet, backwards: the hub's own order is no help."""
    value = {name: index for index, name in enumerate([*row.branches, *row.aside])}
    for name in sorted(value, reverse=True):
        hub.add(row.repository, name, files_of(row.files, value[name]))


def branches_of(trajectory):
    return [source.split("@")[1].split("/")[0] for source in trajectory.sources]


@pytest.mark.parametrize("row", ROWS, ids=[f"{row.suite} {dict(row.typed) or ''}" for row in ROWS])
def test_row(hub, row, capfd):
    fill(hub, row)
    source = f"hf://{row.repository}"
    if row.asks:
        with pytest.raises(th.StepError) as caught:
            th.open_trajectory(source, **row.typed)
        assert str(caught.value).startswith(f"{source}: ") and row.asks in str(caught.value)
        return
    trajectory = th.open_trajectory(source, **row.typed)
    expected = row.branches if row.expected is None else row.expected
    assert branches_of(trajectory) == expected
    # the tensors are those of the branch
    first = row.branches.index(expected[0])
    assert trajectory.read([("w", 0, 1)])[0, 0] == first
    if row.positions:
        found = zip(trajectory.runs, trajectory.steps, trajectory.tokens or [None] * trajectory.n)
        assert list(found) == row.positions
    assert row.says in " ".join(trajectory.notes)
    said = capfd.readouterr().err
    assert all(note in said for note in trajectory.notes)
    if not row.typed:
        assert len(trajectory.notes) == 1 and trajectory.notes[0].startswith(f"{source}: ")


def test_a_gated_repository_says_what_to_do(hub):
    """As Apertus is."""
    hub.add("swiss-ai/Apertus-8B-2509", "step50000-tokens210B", {})
    hub.denied["swiss-ai/Apertus-8B-2509"] = "GatedRepo"
    with pytest.raises(th.CheckpointError, match="is gated; accept its terms"):
        th.open_trajectory("hf://swiss-ai/Apertus-8B-2509")


def test_a_repository_a_checkpoint(hub):
    for value, repository in enumerate(MULTIBERTS):
        hub.add(repository, "main", files_of("bin", value))
    sources = [f"hf://{repository}" for repository in MULTIBERTS]
    trajectory = th.open_trajectory(sources)
    assert trajectory.steps == (0, 20_000, 100_000, 2_000_000)
    assert trajectory.read([("w", 0, 1)])[:, 0].tolist() == [0, 1, 2, 3]
    assert trajectory.sources[1] == f"{sources[1]}@main/pytorch_model.bin"
    kernel = th.gram(trajectory)
    assert kernel.steps.tolist() == [0, 20_000, 100_000, 2_000_000]
    assert th.audit(sources).errors == []
    hub.add(MULTIBERTS[1], "main", {"config.json": b"{}"})
    with pytest.raises(th.CheckpointError, match="step_20k holds no weights.*skip=\\[20000\\]"):
        th.open_trajectory(sources)
    kept = th.open_trajectory(sources, accept=True)
    assert kept.steps == (0, 100_000, 2_000_000)
    assert kept.left_out == (f"{sources[1]}@main: holds no weights",)
    # revisions of one, too
    both = th.open_trajectory([f"{sources[0]}@main", f"{sources[3]}@main"], every=1)
    assert both.steps == (0, 2_000_000)


def test_a_repository_with_a_run_is_no_checkpoint_in_a_list(hub):
    for step in (1, 2):
        hub.add("a/run", f"step{step}", files_of("bin", step))
    hub.add("a/one", "main", files_of("bin", 0))
    with pytest.raises(
        th.StepError, match=r"a/run: has a run of its own, step1 … step2.*a/run@main"
    ):
        th.open_trajectory(["hf://a/one", "hf://a/run"])
    assert th.open_trajectory(["hf://a/one", "hf://a/run@step2"]).n == 2


@pytest.mark.parametrize("name", IN_MAIN)
def test_folders_and_files_in_a_branch(hub, name):
    repository, paths, under, steps = IN_MAIN[name]
    files = {
        path: save(state(value)) if path.endswith(".safetensors") else as_bin(state(value))
        for path, value in paths.items()
    }
    hub.add(repository, "main", files | {"README.md": b"#"})
    trajectory = th.open_trajectory(f"hf://{repository}{under}")
    assert list(trajectory.steps) == steps
    kept = [value for path, value in paths.items() if path != "model.safetensors"]
    assert trajectory.read([("w", 0, 1)])[:, 0].tolist() == kept
    cached = th.open_trajectory(f"hf://{repository}@main{under}", cache=True)
    assert cached.read([("w", 0, 1)])[:, 0].tolist() == kept
    assert th.audit(f"hf://{repository}{under}").errors == []


@pytest.mark.parametrize(
    "names", [["fp16", "fp32"], ["v1", "v2", "v1.5"], ["gptq-4bit", "gptq-8bit"]]
)
def test_variants_of_a_model_are_no_run(hub, names):
    for value, name in enumerate([*names, "main"]):
        hub.add("a/b", name, files_of("safetensors", value))
    with pytest.raises(th.StepError, match=f"one checkpoint only|no checkpoints.*{names[0]}"):
        th.open_trajectory("hf://a/b")
    for value, name in enumerate(["ckpt_1", "ckpt_2"]):
        hub.add("a/b", name, files_of("safetensors", value))
    trajectory = th.open_trajectory("hf://a/b")
    assert trajectory.steps == (1, 2) and "left out" in trajectory.notes[0]


def test_what_is_no_folder(hub):
    hub.add("a/b", "main", files_of("safetensors", 1) | {"x/y": b""})
    for source, fact in {
        "hf://a/b": "one checkpoint only|no checkpoints",
        "hf://a/b/z": "there is no such folder; it has model.safetensors, x",
        "hf://a/b@v2": "there is no revision 'v2'; it has main",
        "hf://a/b/x": "no checkpoints",
    }.items():
        with pytest.raises(th.StepError, match=fact):
            th.open_trajectory(source)
    with pytest.raises(ValueError, match="revisions"):
        th.open_trajectory("hf://a/b@main", revisions="step*")
    with pytest.raises(ValueError, match="a list is of addresses on the hub, or of paths"):
        th.open_trajectory(["hf://a/b", "here"])


def read_ranks(folder, wanted):
    inner = folder.folders() or [folder]
    read = [formats.read_checkpoint(file, wanted) for place in inner for file in place.files()]
    return Contents(
        {
            f"{rank}.{name}": stored
            for rank, one in enumerate(read)
            for name, stored in one.tensors.items()
        }
    )


def of_ranks(folder):
    names = [folder.name, *(inner.name for inner in folder.folders())]
    files = [file.name for file in folder.files()]
    return any(name.startswith("mp_rank_") for name in names[1:]) or any(
        name.startswith("layer_") for name in files
    )


@pytest.mark.parametrize("name", RANKS)
@pytest.mark.parametrize("cache", [False, True])
def test_a_folder_that_is_one_checkpoint(hub, monkeypatch, name, cache):
    """Whatever formats of folders there are: here a stand-in for them."""
    ranks = formats.FolderFormat("ranks", of_ranks, read_ranks)
    monkeypatch.setattr(formats, "FOLDER_FORMATS", (ranks,))
    repository, paths, steps = RANKS[name]
    hub.add(repository, "main", {path: as_bin(state(at)) for at, path in enumerate(paths)})
    trajectory = th.open_trajectory(f"hf://{repository}", cache=cache)
    assert list(trajectory.steps) == steps and len(trajectory.names) == 4
    assert trajectory.read([("0.w", 0, 1), ("1.w", 0, 1)]).tolist() == [[0, 1], [2, 3]]
    # as branches, too
    for at, step in enumerate((5, 6)):
        inner = {path.partition("/")[2]: as_bin(state(at)) for path in paths[:2]}
        hub.add("a/branches", f"step{step}", inner)
    trajectory = th.open_trajectory("hf://a/branches", cache=cache)
    assert trajectory.steps == (5, 6) and trajectory.checkpoints[0].format == "ranks"
    assert th.audit("hf://a/branches").errors == []


@pytest.mark.parametrize("cache", [False, True])
def test_which_files_of_each_revision(hub, cache):
    for step in (1, 2):
        files = {f"{name}.pt": as_bin(state(step + at)) for at, name in enumerate(["ema", "net"])}
        hub.add("a/b", f"step{step}", files)
    with pytest.raises(th.CheckpointError, match="holds no weights but ema.pt, net.pt"):
        th.open_trajectory("hf://a/b")
    one = th.open_trajectory("hf://a/b", file="ema*", cache=cache)
    assert one.read([("w", 0, 1)])[:, 0].tolist() == [1, 2]
    assert one.checkpoints[0].format == "bin" and one.sources[0].endswith("@step1/ema.pt")
    both = th.open_trajectory("hf://a/b", file=["ema*", "net*"], cache=cache)
    assert both.read([("ema.w", 0, 1), ("net.w", 0, 1)]).tolist() == [[1, 2], [2, 3]]
    with pytest.raises(th.CheckpointError, match=r"holds weights in x\*; choose others with"):
        th.open_trajectory("hf://a/b", file="x*")


@pytest.mark.parametrize(("writer", "case"), PLAIN)
def test_folders_of_ranks_are_read_from_the_hub_as_from_a_disk(
    hub, tmp_path, monkeypatch, writer, case
):
    """All in main, and a branch a checkpoint, as real libraries wrote them."""
    monkeypatch.setattr("standin_hub.LFS", ("",))
    folder = unpack(writer, case, tmp_path)
    run = folder / "run"
    local = th.open_trajectory(run)
    files = {path.relative_to(run).as_posix(): path for path in run.rglob("*") if path.is_file()}
    hub.add("a/main", "main", files)
    sources = ["hf://a/main"]
    parts = {}
    for path, file in files.items():
        name, _, inner = path.partition("/")
        parts.setdefault(name, {})[inner] = file
    branches = {name: held for name, held in parts.items() if "" not in held}
    if len(branches) == local.n:
        for name, held in branches.items():
            hub.add("a/branches", name, held)
        sources.append("hf://a/branches")
    for source in sources:
        for cache in (False, True):
            trajectory = th.open_trajectory(source, cache=cache)
            assert trajectory.steps == local.steps and trajectory.names == local.names
            mine, theirs = read(trajectory), read(local)
            assert all(
                np.array_equal(value, theirs[step][name])
                for step, values in mine.items()
                for name, value in values.items()
            )


def test_several_networks_of_a_revision_are_asked_about(hub):
    for step in (1, 2):
        files = files_of("safetensors", step)
        hub.add("a/b", f"step{step}", files | {"model_1.safetensors": save(state(9))})
    with pytest.raises(th.CheckpointError, match=r"hf://a/b@step1: holds several networks.*file="):
        th.open_trajectory("hf://a/b")
    trajectory = th.open_trajectory("hf://a/b", file="model.safetensors")
    assert trajectory.read([("w", 0, 1)])[:, 0].tolist() == [1, 2]


def test_a_run_deeper_in_a_branch(hub):
    for cache in (False, True):
        files = {f"runs/v0/step-{step}.pt": as_bin(state(step)) for step in (5, 10)}
        hub.add("a/b", "main", files)
        trajectory = th.open_trajectory("hf://a/b", cache=cache)
        assert trajectory.steps == (5, 10) and "a/b@main/runs/v0" in trajectory.notes[0]
        assert trajectory.read([("w", 0, 1)])[:, 0].tolist() == [5, 10]


def test_steps_of_two_stages_are_kept_apart_by_the_audit(hub):
    """Both stages have a step 1000; one is broken."""
    for value, name in enumerate(
        ["stage1-step1000", "stage1-step2000", "stage2-step1000", "stage2-step2000"]
    ):
        hub.add("a/b", name, files_of("safetensors", value))
    hub.add("a/b", "stage2-step1000", files_of("safetensors", 0))
    audit = th.audit("hf://a/b")
    assert [error.steps for error in audit.errors] == [("stage1-step1000", "stage2-step1000")]
    assert "but another at stage1-step2000" in audit.errors[0].text
    assert audit.formats["stage2-step1000"] == "safetensors" and len(audit.formats) == 4
    with pytest.raises(th.CheckpointError, match=r"skip=\['stage1-step1000', 'stage2-step1000'\]"):
        th.open_trajectory("hf://a/b")
    trajectory = th.open_trajectory("hf://a/b", skip=["stage2-step1000"])
    assert trajectory.runs == ("stage1", "stage1", "stage2") and trajectory.steps[-1] == 2000
    assert "stage1-step1000, stage1-step2000" in str(audit)


def test_formats_of_two_stages_with_one_step(hub):
    hub.add("a/b", "stage1-step1", files_of("bin", 1))
    hub.add("a/b", "stage2-step1", files_of("safetensors", 2))
    trajectory = th.open_trajectory("hf://a/b")
    assert [one.format for one in trajectory.checkpoints] == ["bin", "safetensors"]


def test_what_is_known_of_suites_says_where_it_is_from():
    for suite in suites():
        assert suite.source.startswith("https://") and suite.verified in ("card", "report", "")
        assert bool(suite.revisions) != bool(suite.schedule)


# ls


def ls(capfd, *arguments):
    assert main(["ls", *map(str, arguments)]) == 0
    return capfd.readouterr().out


def test_ls_of_a_repository(hub, capfd):
    row = next(row for row in ROWS if row.suite == "OLMo 2 7B" and row.typed)
    fill(hub, row)
    source = f"hf://{row.repository}"
    out = ls(capfd, source, "--revisions", "stage1-*,stage2-ingredient1-*")
    assert "stage1" in out and "5B … 3.896T" in out and "safetensors" in out
    assert "a pass reads" in out and not hub.requests_of("file")
    found = json.loads(ls(capfd, source, "--revisions", "stage1-*,stage2-ingredient1-*", "--json"))
    assert [one["run"] for one in found["checkpoints"]] == ["stage1"] * 2 + [
        "stage2-ingredient1"
    ] * 2
    sizes = [one["bytes"] for one in found["checkpoints"]]
    held = sum(len(content) for content in files_of("shards", 0).values())
    assert sizes == [held] * 4 and found["pass"]["bytes"] == sum(sizes)
    assert found["pass"]["requests"] >= 8
    assert main(["ls", source]) == 2 and "side by side" in capfd.readouterr().err


def test_ls_of_folders(tmp_path, capfd):
    for step in (10, 20):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        for name, content in files_of("shards", step).items():
            (folder / name).write_bytes(content)
    (tmp_path / "best.pt").write_bytes(as_bin(state(1)))
    found = json.loads(ls(capfd, tmp_path, "--json"))
    held = sum(len(content) for content in files_of("shards", 0).values())
    assert [(one["step"], one["bytes"]) for one in found["checkpoints"]] == [(10, held), (20, held)]
    assert found["pass"] == {"bytes": 2 * held, "requests": 0}
    out = ls(capfd, tmp_path)
    assert "10 … 20" in out and "best.pt: no step in its name" in out
    assert main(["ls", str(tmp_path), "--revisions", "step*"]) == 2
    assert "--revisions: is for sources on the hub" in capfd.readouterr().err


def test_ls_says_what_would_be_counted(tmp_path, capfd):
    for step in (10, 20):
        torch.save({"model": state(step), "ema": state(step)}, tmp_path / f"step_{step}.pt")
    out = ls(capfd, tmp_path)
    assert "state of each checkpoint: model" in out and "ema: an average of the network" in out
    assert "θ: " in out and "a pass reads" in out
    for step in (10, 20):
        torch.save({"G": state(step), "D": state(step)}, tmp_path / f"step_{step}.pt")
    out = ls(capfd, tmp_path)
    assert "does not open as it is" in out and "state='G'" in out
    found = json.loads(ls(capfd, tmp_path, "--json"))
    assert found["counted"][0].startswith("does not open as it is")
