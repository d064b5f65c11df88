"""Checkpoints that are not on the path, found from 1 % of the columns: what was published of
EleutherAI/pythia's checkpoints (issues 83, 108, 195, 198, 203, 205, 206), rebuilt in small.

A replica is a run in tensors like those of a GPT-NeoX, stored in float16 under Pythia's own steps:
matrices from a random initialization, scales of one, biases of zero; warm-up, cosine and weight
decay; moves that are partly those of the checkpoint before. No rule is told what is wrong.
"""

import json
from functools import partial

import numpy as np
import pytest

import trajhelpers as th
from trajhelpers.__main__ import main

PYTHIA = [0, *(2**i for i in range(10)), *range(1000, 143001, 1000)]
EVERY_FOURTH = PYTHIA[::4]
LOG_SPACED = [*(2**i for i in range(10)), *range(1000, 11000, 1000)]
SIZES = {"embed_in": 110_000, "embed_out": 10_000}
SIZES |= {f"layers.{i}.{part}": 10_000 for i in range(2) for part in ("attention", "mlp")}
SIZES |= {f"layers.{i}.{part}": 500 for i in range(2) for part in ("scale", "bias")}


def replica(steps, seed=0, data=None, part=1):
    """One array (n, p) a tensor. ``seed`` is of the initialization, ``data`` of what follows."""
    init = np.random.default_rng([seed, 0])
    rng = np.random.default_rng([seed if data is None else data, 1])
    # Of the rate, which rises over 1,430 steps and falls to a tenth: its sum up to each step.
    every = np.arange(143_001)
    rate = np.minimum(every / 1430, 0.55 + 0.45 * np.cos(np.pi * np.minimum(every / 143_000, 1)))
    passed = np.diff(np.cumsum(rate)[steps])
    states = {}
    for name, size in SIZES.items():
        p, normal = size // part, partial(rng.standard_normal, dtype=np.float32)
        kind = name.rsplit(".")[-1]
        theta = np.full(p, float(kind == "scale"))
        if kind not in ("scale", "bias"):
            theta = 0.02 * init.standard_normal(p)
        drift, rows = normal(p), [theta.astype(np.float16)]
        for one in passed:
            turn = np.exp(-one / 20_000)
            drift = turn * drift + np.sqrt(1 - turn**2) * normal(p)
            noise = 5e-5 * np.sqrt(one) * normal(p)
            decay = 1 if kind in ("scale", "bias") else np.exp(-one / 100_000)
            theta = decay * theta + 5e-7 * one * drift + noise
            rows.append(theta.astype(np.float16))
        states[name] = np.array(rows)
    return states


def sample_of(states, steps, share=0.01, seed=0):
    """The kernel of blocks of 50 columns, 1 % of each tensor and one at least, drawn at random,
    and scaled up. Sizes are those of the sample, which is all that this kernel knows.
    """
    rng, products, sizes = np.random.default_rng(seed), [], []
    for rows in states.values():
        blocks = rng.permutation(rows.shape[1] // 50)[: max(1, round(share * rows.shape[1] / 50))]
        columns = (blocks[:, None] * 50 + np.arange(50)).ravel()
        delta = np.diff(rows[:, columns].astype(np.float64), axis=0, prepend=0)
        products.append(delta @ delta.T * rows.shape[1] / len(columns))
        sizes.append(len(columns))
    return th.TrajectoryKernel(products, steps, names=list(states), sizes=sizes)


def changed(states, rows):
    """The files of other rows under some of the steps: ``rows`` is {row: row whose file it is}."""
    order = np.arange(len(next(iter(states.values()))))
    order[list(rows)] = list(rows.values())
    return {name: theta[order] for name, theta in states.items()}


def with_rows_of(states, other, rows):
    """Another run's files under some of the steps."""
    return {
        name: np.where(np.isin(np.arange(len(theta)), rows)[:, None], other[name], theta)
        for name, theta in states.items()
    }


def found(audit):
    return sorted((finding.kind, finding.steps) for finding in audit.errors + audit.notes)


def audited(states, steps, **sample):
    return th.audit(sample_of(states, steps, **sample))


@pytest.fixture(scope="module")
def run():
    """The paper's 39 checkpoints."""
    return replica(EVERY_FOURTH)


@pytest.fixture(scope="module")
def other():
    """From another initialization, on other data."""
    return replica(EVERY_FOURTH, seed=1)


@pytest.fixture(scope="module")
def whole():
    """All 154 checkpoints, of fewer parameters."""
    return replica(PYTHIA, part=5)


# ---- replicas of what was published ----


def test_what_is_sound_has_no_findings(run, other, whole):
    assert found(audited(run, EVERY_FOURTH)) == found(audited(other, EVERY_FOURTH)) == []
    assert found(audited(whole, PYTHIA)) == []
    assert found(audited(replica(LOG_SPACED, part=5), LOG_SPACED)) == []


def test_issue_83_step_1_is_step_0(whole):
    assert found(audited(changed(whole, {1: 0}), PYTHIA)) == [("still", (0, 1))]


def test_issue_198_step_2_is_step_0(whole):
    """With step 1 as in issue 83; with a step 1 of its own, they cannot both be right."""
    assert found(audited(changed(whole, {1: 0, 2: 0}), PYTHIA)) == [("still", (0, 1, 2))]
    assert found(audited(changed(whole, {2: 0}), PYTHIA)) == [("repeated", (0, 2))]


def test_issue_108_one_step_is_like_the_last(whole):
    """Whether the last is there to compare with, or not."""
    copied = changed(whole, {PYTHIA.index(32000): 153})
    assert found(audited(copied, PYTHIA)) == [("repeated", (32000, 143000))]
    (error,) = audited(copied, PYTHIA).errors
    assert error.text.endswith("The nearest is step 142000, so that step 143000 may be right")
    without_last = {name: theta[:-1] for name, theta in copied.items()}
    audit = audited(without_last, PYTHIA[:-1])
    assert found(audit) == [("detour", (32000,))]
    assert "nearer to step 142000 than to its neighbours" in audit.notes[0].text


def test_issue_195_all_early_steps_are_one(whole):
    early = [row for row, step in enumerate(PYTHIA) if step <= 6000]
    as_last = changed(whole, dict.fromkeys(early, 153))
    assert ("repeated", (*PYTHIA[: len(early)], 143000)) in found(audited(as_last, PYTHIA))
    as_one = changed(whole, dict.fromkeys(early, early[-1]))
    assert found(audited(as_one, PYTHIA)) == [("still", tuple(PYTHIA[: len(early)]))]


def test_issue_203_what_follows_does_not_descend_from_step_0(run, other):
    audit = audited(with_rows_of(run, other, [0]), EVERY_FOURTH)
    assert found(audit) == [("unrelated", (0,))]
    assert "from step 8 on nothing is left of step 0" in audit.notes[0].text


def test_issue_205_most_steps_are_of_the_end(whole):
    """Two files of the end, which differ in one tensor, under 86 of 154 steps."""
    as_main = [step for step in PYTHIA if step <= 53000]
    as_main += [55000, 60000, 65000, 70000, 80000, 90000, 100000, 103000, 110000, 120000, 130000]
    as_main += [140000]
    as_last = [54000, 56000, 57000, 58000, 59000, 61000, 62000, 63000, 64000, 143000]
    wrong = changed(whole, {PYTHIA.index(step): 153 for step in as_main + as_last})
    rows = [PYTHIA.index(step) for step in as_main]
    wrong["layers.1.mlp"][rows] *= np.float16(1.001)
    audit = audited(wrong, PYTHIA)
    assert {error.steps for error in audit.errors} == {tuple(as_main), tuple(as_last)}
    texts = {error.steps: error.text for error in audit.errors}
    assert "step 143000 may be right" in texts[tuple(as_last)]
    assert "may be right" not in texts[tuple(as_main)]
    assert {note.steps for note in audit.notes if note.kind != "still"} == set()


def test_issue_206_the_first_shard_of_two_steps_is_the_last_one_s(whole):
    rows = [PYTHIA.index(50000), PYTHIA.index(58000)]
    for shard in (["embed_in", "layers.0.attention"], ["layers.1.mlp"]):
        wrong = whole | {name: changed(whole, dict.fromkeys(rows, 153))[name] for name in shard}
        audit = audited(wrong, PYTHIA)
        assert found(audit) == [("repeated", (50000, 58000, 143000))]
        assert audit.errors[0].text.startswith(shard[0])
        assert audit.errors[0].text.endswith("so that step 143000 may be right")


# ---- what else may be wrong ----


@pytest.mark.parametrize("row", [1, 2, 10, 20, 37])
def test_a_checkpoint_of_another_run(run, other, row):
    audit = audited(with_rows_of(run, other, [row]), EVERY_FOURTH)
    assert found(audit) == [("detour", (EVERY_FOURTH[row],))]
    assert audit.notes[0].text.endswith("it is near no other step")


def test_three_of_another_run(run, other):
    audit = audited(with_rows_of(run, other, [20, 21, 22]), EVERY_FOURTH)
    assert found(audit) == [("detour", tuple(EVERY_FOURTH[20:23]))]


@pytest.mark.parametrize("begin", [2, 20, 38])
def test_another_run_from_there_on(run, other, begin):
    rows = range(begin, 39)
    audit = audited(with_rows_of(run, other, rows), EVERY_FOURTH)
    fewer = EVERY_FOURTH[:begin] if begin < 20 else EVERY_FOURTH[begin:]
    assert found(audit) == [("unrelated", tuple(fewer))]


def test_the_same_initialization_on_other_data(run):
    twin = replica(EVERY_FOURTH, seed=0, data=5)
    audit = audited(with_rows_of(run, twin, [20]), EVERY_FOURTH)
    assert found(audit) == [("detour", (EVERY_FOURTH[20],))]


@pytest.mark.parametrize("apart", [1, 2, 3, 4, 12])
def test_two_that_were_swapped(run, apart):
    one, two = 15, 15 + apart
    audit = audited(changed(run, {one: two, two: one}), EVERY_FOURTH)
    steps = EVERY_FOURTH[one], EVERY_FOURTH[two]
    expected = [("swapped", steps)] if apart < 5 else [("detour", (step,)) for step in steps]
    assert found(audit) == expected


def test_a_neighbour_or_the_last_up_to_rounding(run):
    """Stored in float16, and what it is a copy of in float32."""
    rng = np.random.default_rng(0)
    for source, kind, steps in (
        (21, "length", (EVERY_FOURTH[20], EVERY_FOURTH[21])),
        (38, "detour", (EVERY_FOURTH[20],)),
    ):
        near = {
            name: theta.astype(np.float32) for name, theta in changed(run, {20: source}).items()
        }
        for theta in near.values():
            theta[20] *= 1 + 2.0**-11 * rng.uniform(-1, 1, theta.shape[1])
        assert (kind, steps) in found(audited(near, EVERY_FOURTH))


def test_the_first_is_of_later_on(run):
    states = {name: theta[:-1] for name, theta in changed(run, {0: 38}).items()}
    kinds = found(audited(states, EVERY_FOURTH[:-1]))
    assert kinds == [("detour", (0,))]


# ---- a sample, with its error ----


def opened(states, steps):
    """The run as files that `gram` may sample."""
    return th.open_trajectory(
        [{name: theta[row] for name, theta in states.items()} for row in range(len(steps))]
    )


def test_a_preview_finds_them_too(run, other):
    """From `gram`'s own sample, which knows its error: indices are the steps of state dicts."""
    sound = th.audit(th.gram(opened(run, EVERY_FOURTH), sample=0.02))
    assert found(sound) == []
    for rows, expected in (([20], ("detour", (20,))), ([0], ("unrelated", (0,)))):
        preview = th.gram(opened(with_rows_of(run, other, rows), EVERY_FOURTH), sample=0.02)
        assert preview.sample is not None
        assert found(th.audit(preview)) == [expected]


def test_what_may_be_chance_is_not_said():
    """A row that is elsewhere in one number of 50,000 alone, whose block was drawn, or was not."""
    rng = np.random.default_rng(0)
    theta = np.cumsum(rng.standard_normal((20, 50_000)), axis=0)
    theta[10, :50] += 1000
    exact = th.gram(opened({"w": theta}, range(20)))
    assert found(th.audit(exact)) == [("detour", (10,))]
    for seed in range(4):
        preview = th.gram(opened({"w": theta}, range(20)), sample=0.3, seed=seed)
        assert found(th.audit(preview)) == []


# ---- where a user meets it ----


def write(folder, states, steps):
    import torch
    from safetensors.torch import save_file

    for row, step in enumerate(steps):
        save_file(
            {name: torch.from_numpy(theta[row]) for name, theta in states.items()},
            folder / f"step{step}.safetensors",
        )


@pytest.mark.filterwarnings("ignore:checkpoints at steps:trajhelpers.TrajectoryWarning")
def test_the_command_line(run, other, tmp_path, capsys):
    steps = EVERY_FOURTH[:24]
    states = {name: theta[:24] for name, theta in with_rows_of(run, other, [20]).items()}
    write(tmp_path, changed(states, {10: 15}), steps)
    assert main(["audit", str(tmp_path), "--sample", "5%", "--json"]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert [(note["kind"], note["steps"]) for note in answer["notes"]] == [
        ("detour", [EVERY_FOURTH[20]])
    ]
    # By its hash, as a file, and as a checkpoint.
    repeated = [EVERY_FOURTH[10], EVERY_FOURTH[15]]
    assert [(error["kind"], error["steps"]) for error in answer["errors"]] == [
        ("repeated", repeated),
        ("repeated", repeated),
    ]
    kernel = tmp_path / "run.npz"
    th.gram(th.open_trajectory(tmp_path), sample=0.05).save(kernel)
    assert main(["audit", str(kernel)]) == 1
    said = capsys.readouterr().out
    assert said.startswith("TrajectoryKernel(24 checkpoints")
    assert "detour" in said and "repeated" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run.npz", "--sample", "1%"], "is a kernel"),
        ([".", "--sample", "1%", "--deep", "run.npz"], "give one of them"),
    ],
)
def test_options_that_do_not_go_together(arguments, message, capsys):
    assert main(["audit", *arguments]) != 0
    assert message in capsys.readouterr().err


def test_what_has_no_path():
    kernel = th.gram(th.open_models({"one": {"w": np.ones(3)}, "two": {"w": np.zeros(3) + 2}}))
    with pytest.raises(TypeError, match="no path"):
        th.audit(kernel)
    with pytest.raises(ValueError, match="are for checkpoints"):
        th.audit(th.random_walk(9), every=2)


def test_short_runs_and_none_that_moves():
    """Nothing is said where there are no neighbours to ask; and nothing fails."""
    for n in (1, 2, 3, 4):
        assert found(th.audit(th.random_walk(n) if n > 1 else th.TrajectoryKernel([[1.0]]))) == []
    still = th.TrajectoryKernel(np.diag([1.0, 0, 0, 0]))
    assert found(th.audit(still)) == [("still", (0, 1, 2, 3))]


@pytest.mark.parametrize(
    "kernel",
    [
        th.straight_line(40),
        th.random_walk(40),
        th.circular_orbit(40),
        th.circular_orbit(40, turns=5.3),
    ],
    ids=["line", "walk", "orbit", "orbits"],
)
def test_paths_that_nobody_trained_are_paths(kernel):
    assert found(th.audit(kernel)) == []
