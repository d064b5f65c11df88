"""The audit: every defect of the Pythia suite that was published, as bytes on a stand-in hub, and
what a slow reading of the rules says of random runs.
"""

import hashlib
import io
import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save
from standin_hub import StandInHub

import trajhelpers as th
from trajhelpers.auditing.checks import audit
from trajhelpers.auditing.rules import audit_revisions
from trajhelpers.reading.formats import KINDS
from trajhelpers.reading.weight_names import weight_files
from trajhelpers.sources.catalogue import ListedFile, Revision

SCHEDULE = [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512] + [1000 * k for k in range(1, 144)]
# Issue 205 of EleutherAI/pythia: the branches of pythia-2.8b that serve the blob of main, and those
# that serve another of the end.
AS_MAIN = [step for step in SCHEDULE if step <= 53000] + [
    55000,
    60000,
    65000,
    70000,
    80000,
    90000,
    100000,
    103000,
    110000,
    120000,
    130000,
    140000,
]
AS_LAST = [54000, 56000, 57000, 58000, 59000, 61000, 62000, 63000, 64000, 143000]
NAMES = {"safetensors": "model.safetensors", "bin": "pytorch_model.bin"}


@pytest.fixture
def hub(monkeypatch, tmp_path):
    with StandInHub() as hub:
        hub.connect(monkeypatch, tmp_path / "home")
        yield hub
        assert not hub.requests_of("file"), "the audit read weights"


def add(hub, repo, step, files):
    hub.add(
        repo,
        f"step{step}",
        {
            path: (
                content if isinstance(content, bytes) else f"{path} of {content}".ljust(60).encode()
            )
            for path, content in files.items()
        },
    )


def in_shards(kind, *contents):
    stem = NAMES[kind].removesuffix(f".{kind}")
    names = [f"{stem}-{i + 1:05d}-of-{len(contents):05d}.{kind}" for i in range(len(contents))]
    index = json.dumps(
        {"weight_map": {f"tensor{i}": name for i, name in enumerate(names)}}
    ).encode()
    return {f"{stem}.{kind}.index.json": index} | dict(zip(names, contents))


def found(findings):
    return sorted((finding.kind, finding.format or "both", finding.steps) for finding in findings)


def steps_of(findings):
    return {step for finding in findings for step in finding.steps}


# What was published


def test_step_1_and_step_2_are_step_0(hub):
    """Issues 83 and 198: learning rate 0 at first; the training stood still, and that is no
    mistake.
    """
    for step in SCHEDULE[:8]:
        add(
            hub,
            "EleutherAI/pythia-70m",
            step,
            {NAMES["safetensors"]: max(step, 2), NAMES["bin"]: max(step, 2)},
        )
    result = audit("hf://EleutherAI/pythia-70m", revisions="step*")
    assert not result.errors and found(result.notes) == [
        ("equal", "bin", (0, 1, 2)),
        ("equal", "safetensors", (0, 1, 2)),
    ]
    assert "3 times in a row" in str(result)


def test_a_model_whose_early_branches_serve_the_end(hub):
    """Issues 205 and 195: 86 of 154 branches of pythia-2.8b; here with right .bin files."""
    assert (len(AS_MAIN), len(AS_LAST), len(SCHEDULE)) == (76, 10, 154)
    for step in SCHEDULE:
        served = "main" if step in AS_MAIN else "last" if step in AS_LAST else step
        add(hub, "EleutherAI/pythia-2.8b", step, {NAMES["safetensors"]: served, NAMES["bin"]: step})
    result = audit("hf://EleutherAI/pythia-2.8b")
    assert found(result.errors) == [
        ("repeated", "safetensors", tuple(AS_MAIN)),
        ("repeated", "safetensors", tuple(AS_LAST)),
    ]
    assert (
        len(result.errors_in("safetensors")) == 2
        and result.errors_in("bin") == []
        and result.errors_in(result.formats) == result.errors
    )
    assert audit("hf://EleutherAI/pythia-2.8b", format="bin").errors == []
    assert audit("hf://EleutherAI/pythia-2.8b", format="safetensors").errors == result.errors
    # 23 of the paper's 39; three of them, of the second blob, are in a row there, and only the .bin
    # files give them away
    fourth = audit("hf://EleutherAI/pythia-2.8b", every=4)
    assert (
        len(fourth.revisions) == 39
        and len(steps_of(fourth.errors)) == 23
        and (54000, 58000, 62000) in [error.steps for error in fourth.errors]
    )
    assert audit("hf://EleutherAI/pythia-2.8b", skip=AS_MAIN + AS_LAST[:-1]).errors == []
    lines = str(result).splitlines()
    assert (
        "safetensors of 154 steps and bin of 154 steps; to be read: safetensors of 154 steps"
        in lines[0]
    )
    assert any("0, 1, 2 … 140000 (76 steps)" in line and line.startswith("error") for line in lines)
    assert (
        "2 errors (2 for readers of safetensors, 0 for readers of bin)" in str(result)
        and "--skip" in lines[-1]
    )


def test_the_same_without_bin_files(hub):
    for step in SCHEDULE:
        add(
            hub,
            "EleutherAI/pythia-2.8b",
            step,
            {
                NAMES["safetensors"]: (
                    "main" if step in AS_MAIN else "last" if step in AS_LAST else step
                )
            },
        )
    assert found(audit("hf://EleutherAI/pythia-2.8b").errors) == [
        ("repeated", "safetensors", tuple(AS_MAIN)),
        ("repeated", "safetensors", tuple(AS_LAST)),
    ]


def test_the_last_shard_in_two_steps_between(hub):
    """Issue 206: the first of three shards of pythia-12b, at step50000 and step58000, is the final
    model's.
    """
    for step in SCHEDULE:
        first = 143000 if step in (50000, 58000) else step
        add(hub, "EleutherAI/pythia-12b", step, in_shards("bin", first, step, step))
    result = audit("hf://EleutherAI/pythia-12b")
    assert (
        found(result.errors) == [("repeated", "bin", (50000, 58000, 143000))] and not result.notes
    )
    assert (
        "pytorch_model-00001-of-00003.bin" in result.errors[0].text
        and "step 51000" in result.errors[0].text
    )
    assert found(audit("hf://EleutherAI/pythia-12b", every=4).errors) == [
        ("repeated", "bin", (50000, 58000))
    ]
    # of the shard alone, where nothing lies between
    assert found(audit("hf://EleutherAI/pythia-12b", [58000, 143000]).notes) == [
        ("equal", "bin", (58000, 143000))
    ]


def test_missing_branches_and_files(hub):
    """Issues 141, 202, 107 and 94: no branch, a branch without weights, an index without its
    shards, an empty file.
    """
    for step in SCHEDULE[:16]:
        add(hub, "EleutherAI/pythia-1b", step, {NAMES["bin"]: step, NAMES["safetensors"]: step})
    hub.remove("EleutherAI/pythia-1b", "step4")
    add(hub, "EleutherAI/pythia-1b", 8, {"config.json": 1})
    shards = in_shards("bin", 16, 16)
    del shards["pytorch_model-00002-of-00002.bin"]
    add(hub, "EleutherAI/pythia-1b", 16, shards | {NAMES["safetensors"]: 16})
    add(hub, "EleutherAI/pythia-1b", 32, {NAMES["bin"]: b"", NAMES["safetensors"]: 32})
    add(
        hub,
        "EleutherAI/pythia-1b",
        64,
        {"pytorch_model.bin.index.json": b"[]", NAMES["safetensors"]: 64},
    )
    add(hub, "EleutherAI/pythia-1b", 128, {"pytorch_model-00001-of-00002.bin": 1})
    result = audit("hf://EleutherAI/pythia-1b", SCHEDULE[:16])
    assert found(result.errors) == [
        ("missing", "both", (4,)),
        ("unreadable", "bin", (16,)),
        ("unreadable", "bin", (32,)),
        ("unreadable", "bin", (64,)),
        ("unreadable", "both", (8,)),
        ("unreadable", "both", (128,)),
    ]
    facts = {
        16: "pytorch_model-00002-of-00002.bin",
        32: "empty",
        64: "no index of shards",
        8: "no weights",
        4: "step4",
        128: "pytorch_model-00001-of-00002.bin",
    }
    assert all(facts[error.steps[0]] in error.text for error in result.errors)
    assert set(result.formats) == set(SCHEDULE[:16]) - {4, 8, 128} and set(
        result.formats.values()
    ) == {"safetensors"}
    assert steps_of(result.errors_in(result.formats)) == {4, 8, 128} and steps_of(
        result.errors_in("bin")
    ) == {4, 8, 16, 32, 64, 128}
    assert steps_of(audit_revisions(result.revisions, result.formats).errors) == {4, 8, 128}


def test_a_format_that_was_asked_for_and_is_not_everywhere(hub):
    for step in range(3):
        add(hub, "a/b", step, {NAMES["bin"]: step} | ({NAMES["safetensors"]: step} if step else {}))
    result = audit("hf://a/b", format="safetensors")
    assert (
        found(result.errors) == [("unreadable", "safetensors", (0,))]
        and "safetensors" in result.errors[0].text
    )
    assert not audit("hf://a/b").errors and audit("hf://a/b").formats == {
        0: "bin",
        1: "bin",
        2: "bin",
    }


def test_three_branches_of_another_suite(hub):
    """Issue 915 of allenai/OLMo: all six shards are those of another step, twice."""
    for step in (100000, 101000, 102000, 175000, 176000, 300000, 301000):
        theirs = 101000 if step in (175000, 300000) else step
        hub.add(
            "allenai/OLMo-2-1124-7B",
            f"stage1-step{step}-tokens{step // 240}B",
            {
                name: (
                    content
                    if isinstance(content, bytes)
                    else f"{name} of {content}".ljust(60).encode()
                )
                for name, content in in_shards("safetensors", *[theirs] * 6).items()
            },
        )
    result = audit("hf://allenai/OLMo-2-1124-7B", "stage1-*")
    assert (
        found(result.errors) == [("repeated", "safetensors", (101000, 175000, 300000))]
        and not result.notes
    )


# Notes


def test_notes(hub):
    for step in range(8):
        files = {NAMES["safetensors"]: save({"w": torch.full((50,), float(step)).half()})}
        if step in (2, 3):
            files = in_shards(
                "safetensors", save({"w": torch.full((25,), float(step)).half()}), b"%d" % step * 95
            )
        if step == 5:
            files = {NAMES["safetensors"]: save({"w": torch.full((50,), float(step))})}
        if step > 5:
            files |= {
                NAMES["bin"]: step,
                "pytorch_model-00001-of-00002.bin": "nothing",
                "optimizer.bin": 1,
            }
        add(hub, "a/b", step, files)
    result = audit("hf://a/b")
    assert not result.errors
    assert found(result.notes) == [
        ("dtypes", "both", (5,)),
        ("formats", "both", (6, 7)),
        ("sharding", "safetensors", (2, 3)),
        ("size", "safetensors", (2, 3, 5)),
        ("unread", "both", (6, 7)),
    ]
    texts = {note.kind: note.text for note in result.notes}
    assert (
        texts["dtypes"] == "F16 in 5 steps; F32 in 1 steps"
        and texts["sharding"] == "files: 1 in 6 steps; files: 2 in 2 steps"
        and "pytorch_model-00001" in texts["unread"]
    )


def test_what_the_audit_gives(hub):
    for step in range(4):
        add(hub, "a/b", step, {NAMES["bin"]: step % 2})
    result = audit("hf://a/b")
    data = json.loads(result.to_json())
    assert [(error["kind"], error["format"], error["steps"]) for error in data["errors"]] == [
        ("repeated", "bin", [0, 2]),
        ("repeated", "bin", [1, 3]),
    ]
    assert (
        data["source"] == "hf://a/b"
        and data["notes"] == []
        and [revision["format"] for revision in data["revisions"]] == ["bin"] * 4
    )
    assert all(len(revision["commit"]) == 40 for revision in data["revisions"])
    assert (
        result.table().columns.tolist() == ["level", "kind", "format", "steps", "text"]
        and len(result.table()) == 2
    )
    assert repr(result) == "Audit(hf://a/b: 4 steps, 2 errors, no notes)" and th.StepError
    clean = audit("hf://a/b", [0, 1])
    assert (
        str(clean)
        == "hf://a/b: step 0, 1; bin of 2 steps; to be read: bin of 2 steps\nno errors, no notes"
    )


def test_weight_files_are_worked_out_once(hub, monkeypatch):
    """Of each revision, in each format, however often the audit and the table ask."""
    asked = []
    monkeypatch.setattr(
        "trajhelpers.sources.catalogue.weight_files",
        lambda paths, shards, kind: asked.append(kind) or weight_files(paths, shards, kind),
    )
    for step in range(5):
        add(hub, "a/b", step, {NAMES["safetensors"]: step, NAMES["bin"]: step})
    str(audit("hf://a/b", revisions="step*"))
    assert len(asked) == 5 * len(KINDS)


# A slow reading of the rules


def catalogue(table):
    """A row a step: by format, the names of its shards' contents, or None."""
    revisions = []
    for step, row in enumerate(table):
        files, shards = {}, {}
        for kind, contents in row.items():
            for i, content in enumerate(contents or ()):
                # as file names have the position, so has the content: two positions never share one
                files[f"{kind}-{i}.{kind}"] = ListedFile(
                    f"{kind}-{i}.{kind}", 1, f"{kind} {i} {content}"
                )
            if contents:
                files[f"model.{kind}.index.json"] = ListedFile("", 1, "")
                shards[f"model.{kind}.index.json"] = tuple(
                    f"{kind}-{i}.{kind}" for i in range(len(contents))
                )
        revisions.append(Revision(step, f"step{step}", "c", files, shards))
    return revisions


def slow_errors(table, kind):
    """Steps by (position, content) of a file that stands under two steps though the weights
    changed.
    """
    (other,) = {"safetensors", "bin"} - {kind}
    wrong = {}
    for position in range(2):
        for content in range(4):
            having = [
                s
                for s, row in enumerate(table)
                if row[kind] and len(row[kind]) > position and row[kind][position] == content
            ]
            changed = False
            for a in having:
                for c in having:
                    for b in range(a + 1, c):
                        if b in having:
                            continue
                        if table[b][kind] or (
                            table[b][other]
                            and not any(table[s][other] == table[b][other] for s in having)
                        ):
                            changed = True
                    if (
                        table[a][other]
                        and table[c][other]
                        and table[a][other] != table[c][other]
                        and all(table[s][kind] == table[a][kind] for s in having)
                    ):
                        changed = True
            if changed:
                wrong[position, content] = tuple(having)
    return wrong


def rows(shards):
    contents = st.lists(st.integers(0, 3), min_size=shards, max_size=shards)
    return st.lists(
        st.fixed_dictionaries({"safetensors": st.none() | contents, "bin": st.none() | contents}),
        min_size=2,
        max_size=7,
    )


@settings(max_examples=300, deadline=None)
@given(rows(1) | rows(2))
def test_repeated_files_against_a_slow_reading(table):
    result = audit_revisions(catalogue(table))
    for kind in ("safetensors", "bin"):
        assert {
            error.steps
            for error in result.errors
            if error.kind == "repeated" and error.format == kind
        } == set(slow_errors(table, kind).values())
    empty = {step for step, row in enumerate(table) if not row["safetensors"] and not row["bin"]}
    assert steps_of([error for error in result.errors if error.kind == "unreadable"]) == empty


@settings(max_examples=100, deadline=None)
@given(st.data(), st.integers(4, 30))
def test_one_planted_copy_is_found_and_a_sound_run_is_not_accused(data, n):
    shards = data.draw(st.integers(1, 3))
    table = [{"safetensors": None, "bin": [step] * shards} for step in range(n)]
    assert (
        not audit_revisions(catalogue(table)).errors and not audit_revisions(catalogue(table)).notes
    )
    a, b = sorted(data.draw(st.lists(st.integers(0, n - 1), min_size=2, max_size=2, unique=True)))
    shard = data.draw(st.integers(0, shards - 1))
    table[a]["bin"][shard] = b
    result = audit_revisions(catalogue(table))
    planted = found(result.errors if b - a > 1 else result.notes)
    assert (
        planted == [("repeated" if b - a > 1 else "equal", "bin", (a, b))]
        and len(result.errors) + len(result.notes) == 1
    )


@settings(max_examples=50, deadline=None)
@given(rows(2), st.permutations(range(4)))
def test_the_names_of_contents_do_not_matter(table, permutation):
    renamed = [
        {
            kind: contents and [permutation[content] for content in contents]
            for kind, contents in row.items()
        }
        for row in table
    ]
    assert found(audit_revisions(catalogue(table)).errors) == found(
        audit_revisions(catalogue(renamed)).errors
    )


# Folders


def as_safetensors(number):
    return save({"w": torch.full((40,), float(number)), "b": torch.full((7,), float(number))})


def as_bin(number):
    return saved({"w": torch.full((40,), float(number)), "b": torch.full((7,), float(number))})


def saved(tensors):
    file = io.BytesIO()
    torch.save(tensors, file)
    return file.getvalue()


def write(folder, files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


def test_a_folder_and_the_hub_are_audited_alike(hub, tmp_path):
    for step in range(9):
        served = {4: 8, 1: 0}.get(step, step)
        files = {NAMES["safetensors"]: as_safetensors(served), NAMES["bin"]: as_bin(step)}
        if step in (6, 7):
            names = in_shards("bin", as_bin(step), saved({"v": torch.full((3,), float(step))}))
            files = names | {
                "pytorch_model.bin.index.json": (
                    json.dumps(
                        {"weight_map": dict(zip("wbv", list(names)[1:2] * 2 + list(names)[2:]))}
                    ).encode()
                )
            }
        write(tmp_path / "run" / f"step{step}", files)
        hub.add("a/b", f"step{step}", files)
    here, there = audit(tmp_path / "run"), audit("hf://a/b")
    assert (
        found(here.errors)
        == found(there.errors)
        == [("repeated", "safetensors", (0, 1)), ("repeated", "safetensors", (4, 8))]
    )
    assert found(here.notes) == found(there.notes)
    assert ("formats", "both", (6, 7)) in found(here.notes)
    assert audit(tmp_path / "run", format="bin").errors == []
    assert (
        here.revisions[2].files[NAMES["bin"]].sha256
        == hashlib.sha256(as_bin(2)).hexdigest()
        == there.revisions[2].files[NAMES["bin"]].sha256
    )
    # what open_trajectory reads of a folder, step by step
    assert [here.formats[step] for step in range(9)] == ["safetensors"] * 6 + ["bin"] * 2 + [
        "safetensors"
    ]
    assert [revision.step for revision in audit(tmp_path / "run", every=3, skip=[3]).revisions] == [
        0,
        6,
    ]


def test_files_side_by_side(tmp_path):
    write(
        tmp_path,
        {f"epoch_{step}.safetensors": as_safetensors(step % 2) for step in range(4)}
        | {f"epoch_{step}.pt": as_bin(step) for step in range(3)}
        | {"best.pt": b"x"},
    )
    result = audit(tmp_path)
    assert found(result.errors) == [
        ("repeated", "safetensors", (0, 2)),
        ("repeated", "safetensors", (1, 3)),
    ]
    assert ("formats", "both", (3,)) in found(result.notes) and any(
        "best.pt" in note.text for note in result.notes if note.kind == "left out"
    )
    assert audit([tmp_path / "epoch_0.safetensors", tmp_path / "epoch_3.safetensors"]).errors == []


def test_a_damaged_file_is_found_by_its_header(tmp_path):
    for step in range(3):
        write(
            tmp_path / f"step{step}",
            {
                NAMES["safetensors"]: as_safetensors(step),
                NAMES["bin"]: as_bin(step)[: -100 if step == 1 else None],
            },
        )
    (tmp_path / "step2" / NAMES["safetensors"]).write_bytes(
        b"version https://git-lfs.github.com/spec/v1\n"
    )
    result = audit(tmp_path)
    assert (
        found(result.errors) == [("unreadable", "bin", (1,)), ("unreadable", "safetensors", (2,))]
        and "git-lfs" in result.errors_in("safetensors")[0].text
    )


def test_dtypes_of_a_folder(tmp_path):
    for step in range(4):
        write(
            tmp_path / f"step{step}",
            {
                NAMES["safetensors"]: save(
                    {
                        "w": torch.full(
                            (100,), float(step), dtype=torch.float16 if step else torch.float32
                        )
                    }
                )
            },
        )
    assert {("dtypes", "both", (0,)), ("size", "safetensors", (0,))} <= set(
        found(audit(tmp_path).notes)
    )


def test_what_cannot_be_audited(tmp_path):
    write(tmp_path, {f"epoch_{step}.pt": as_bin(step) for step in range(3)})
    for arguments, error, fact in [
        ({"revisions": "step*"}, ValueError, "hf://"),
        ({"every": 0}, ValueError, "every"),
        ({"format": "onnx"}, ValueError, "onnx"),
    ]:
        with pytest.raises(error, match=fact):
            audit(tmp_path, **arguments)
    with pytest.raises(FileNotFoundError):
        audit(tmp_path / "nowhere")
    for run in ("a", "b"):
        write(tmp_path / run, {f"epoch_{step}.pt": as_bin(step) for step in range(3)})
    with pytest.raises(th.StepError, match="one at a time"):
        audit([tmp_path / "a", tmp_path / "b"])


# Increments


def walk(n=30, p=200, seed=0):
    """Updates that grow as in a warm-up and shrink as in a decay, each somewhat in the direction of
    the last.
    """
    rng = np.random.default_rng(seed)
    scale = np.minimum(np.arange(1, n) / 5, 1) * (0.1 + np.cos(np.linspace(0, np.pi / 2, n - 1)))
    moves = rng.standard_normal((n - 1, p)) * scale[:, None]
    return np.cumsum(
        np.concatenate(
            [
                10 * rng.standard_normal((1, p)),
                moves + 0.5 * scale[:, None] * rng.standard_normal(p),
            ]
        ),
        axis=0,
    )


def kernel_of(theta, steps=None):
    delta = np.diff(theta, axis=0, prepend=0)
    return th.TrajectoryKernel(delta @ delta.T, steps=steps)


@pytest.fixture
def run(tmp_path):
    write(tmp_path, {f"epoch_{step}.pt": as_bin(step) for step in range(30)})
    return tmp_path


@pytest.mark.parametrize("seed", range(5))
def test_a_sound_run_has_no_irregular_increments(run, seed):
    assert not audit(run, deep=kernel_of(walk(seed=seed))).notes


@pytest.mark.parametrize("seed", range(5))
def test_a_checkpoint_in_the_wrong_place(run, seed):
    theta = walk(seed=seed)
    theta[12] = theta[29]
    copied = audit(run, deep=kernel_of(theta))
    assert (found(copied.errors), copied.notes) == ([("repeated", "both", (12, 29))], [])
    theta[12] += 0.1 * np.random.default_rng(seed).standard_normal(200)
    assert found(audit(run, deep=kernel_of(theta)).notes) == [("detour", "both", (12,))]
    theta[12] = theta[11]
    assert found(audit(run, deep=kernel_of(theta)).notes) == [("still", "both", (11, 12))]
    theta = walk(seed=seed)
    theta[12] = np.random.default_rng(9).standard_normal(200) * 100
    assert found(audit(run, deep=kernel_of(theta)).notes) == [("detour", "both", (12,))]


def test_an_initialization_of_another_run(run):
    """Issue 203: step0 of two runs of PolyPythias is not where their step1 comes from."""
    theta = walk()
    theta[0] = 30 * np.random.default_rng(5).standard_normal(200)
    assert found(audit(run, deep=kernel_of(theta)).notes) == [("length", "both", (0, 1))]


@pytest.mark.parametrize(
    "steps", [SCHEDULE[:30], [*range(15), *range(1015, 1030)]], ids=["Pythia's", "with a gap"]
)
def test_a_random_walk_seen_at_uneven_steps_is_not_irregular(tmp_path, steps):
    write(tmp_path, {f"step_{step}.pt": as_bin(step) for step in steps})
    every = np.cumsum(np.random.default_rng(0).standard_normal((max(steps) + 1, 200)), axis=0)
    assert not audit(tmp_path, deep=kernel_of(every[steps], steps)).notes


@pytest.mark.parametrize(
    "scale",
    [[8] + [1] * 28, [3**i for i in range(7)] + [3**6] * 22, [1] * 22 + [3**-i for i in range(7)]],
    ids=["long first", "steep warm-up", "steep decay"],
)
def test_what_training_does_is_not_irregular(run, scale):
    moves = np.random.default_rng(0).standard_normal((29, 2000)) * np.array(scale)[:, None]
    assert not audit(
        run, deep=kernel_of(np.cumsum(np.concatenate([np.ones((1, 2000)), moves]), axis=0))
    ).notes


def test_the_kernel_of_other_checkpoints(run):
    with pytest.raises(ValueError, match="step 30"):
        audit(run, deep=kernel_of(walk(), steps=range(2, 32)))
