"""Studies: what they consist of, and that running one gives its tables, once and whatever happened
in between.
"""

import ast
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
import warnings
from pathlib import Path

import numpy as np
import oracle
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

import trajhelpers as th
from trajhelpers.__main__ import main
from trajhelpers.lab.studies import load
from trajhelpers.lab.studies.catalogue import STUDIES, Study, matched_decay

IMAGES = {"digits": 1280, "fashion-mnist": 4096}
SOUND = th.training.Recipe(
    model="mlp", data="digits", width=4, learning_rate=0.1, batch_size=128, epochs=2, checkpoints=5
)
DIVERGES = SOUND.replace(learning_rate=1e30)
# its only loss is that of the initialization
AT_THE_END = SOUND.replace(
    learning_rate=1e20, weight_decay=1e20, epochs=None, steps=1, checkpoints=1
)
NUMERIC = [
    recipe
    for recipe in (SOUND.replace(weight_decay=i / 1000) for i in range(2000))
    if recipe.id.isdigit()
][:2]


def steps_of(recipe):
    return recipe.steps or recipe.epochs * (IMAGES[recipe.data] // recipe.batch_size)


# The studies of the book


# images, and what ω is
@pytest.mark.parametrize(
    "name",
    sorted(
        STUDIES.keys()
        - {
            "edge-of-stability",
            "weight-decay-forces",
            "width",
            "pythia-mini",
            "pythia-mini-layers",
            "omega-law",
        }
    ),
)
def test_a_study_can_be_compared(name):
    study = STUDIES[name]
    assert study.name == name and study.asks[-1] in "?." and study.source
    for recipes in study.arms.values():
        assert len(recipes) >= 2 and len(set(recipes)) == len(
            {recipe.id for recipe in recipes}
        ) == len(recipes)
        assert {recipe.seed for recipe in recipes} == {0}
    every = [recipe for recipes in study.arms.values() for recipe in recipes]
    assert {len(recipe.checkpoint_steps(steps_of(recipe))) for recipe in every} == {30}
    for recipe in every:  # at equal fractions
        np.testing.assert_allclose(
            np.array(recipe.checkpoint_steps(steps_of(recipe))) / steps_of(recipe),
            np.arange(1, 31) / 30,
            atol=0.5 / steps_of(recipe) + 1e-12,
        )
    runs = study.recipes(2)
    assert (
        len(runs) == 2 * len(every)
        and {recipe.seed for _, recipe in runs} == {0, 1}
        and {arm for arm, _ in runs} == set(study.arms)
    )


def test_weight_decay_of_the_paper():
    """η·λ·steps of the first stage is 0.1 · 1e-4 · 30 epochs of 5,005 steps."""
    for name, cell in (
        ("momentum-decay-vgg", 0),
        ("momentum-decay-resnet", 0),
        ("clean-labels", 0),
    ):
        recipe = STUDIES[name].arms["main"][cell]
        assert (
            abs(
                recipe.learning_rate * recipe.weight_decay * steps_of(recipe) * recipe.decay_at[0]
                - 0.1 * 1e-4 * 150_000
            )
            < 1e-12
        )
    recipe = STUDIES["effective-rate"].arms["digits"][0]
    assert (
        abs(0.1 * recipe.weight_decay * steps_of(recipe) / 3 - 1.5) < 1e-12
        and matched_decay(0.5, 6, 3) == 1
    )


def test_forces_are_recorded_over_the_first_stage_of_the_sweep():
    """The same steps: all that differs comes after them."""
    sweep, first = (
        STUDIES[name].arms["main"] for name in ("weight-decay-sgd", "weight-decay-forces")
    )
    for whole, stage in zip(sweep, first, strict=True):
        assert stage.replace(epochs=30, schedule="step", checkpoints=30) == whole
        total = steps_of(whole)
        rates = [whole.rate(step, total) for step in range(steps_of(stage))]
        assert set(rates) == {stage.rate(0, steps_of(stage))} and whole.rate(640, total) < 0.1


def test_the_miniature_is_the_design_that_pythia_lacks():
    """A full factorial, in which 1/width and 1/√width are diagonals; Pythia's range of Σηλ; arms
    that hold one thing each.
    """
    arms = STUDIES["pythia-mini"].arms
    cells = {(recipe.width, recipe.learning_rate) for recipe in arms["factorial"]}
    widths, rates = sorted({width for width, _ in cells}), sorted({rate for _, rate in cells})
    assert (
        widths == [16, 32, 64, 128, 256]
        and len(rates) == 4
        and len(cells) == len(arms["factorial"]) == 20
    )
    np.testing.assert_allclose(np.diff(np.log2(rates)), 1, atol=1e-12)
    assert {(width, rates[3] * 16 / width) for width in (16, 32, 64, 128)} <= cells and {
        (16, rates[3]),
        (64, rates[2]),
        (256, rates[1]),
    } <= cells
    assert len({recipe.weight_decay for recipe in arms["factorial"]}) == 1
    exposures = [recipe.decay_exposure for recipe in arms["factorial"]]
    assert abs(max(exposures) - 7.9) < 1e-9 and 0.9 < min(exposures) < 1.0
    held = arms["ηλ constant"]
    assert np.ptp([recipe.learning_rate * recipe.weight_decay for recipe in held]) < 1e-15 and {
        recipe.learning_rate for recipe in held
    } == set(rates)
    assert (
        {recipe.width for recipe in held}
        == {recipe.width for recipe in arms["no decay"]}
        == {16, 64, 256}
    )
    assert {recipe.weight_decay for recipe in arms["no decay"]} == {0.0}
    assert {recipe.tokens for recipe in arms["2,048 tokens"]} == {"bpe-2048"} and {
        (recipe.width, recipe.learning_rate) for recipe in arms["2,048 tokens"]
    } <= cells
    assert [recipe.layers for recipe in arms["depth"]] == [2, 4, 6] and STUDIES[
        "pythia-mini-layers"
    ].arms["6 layers"] == arms["depth"][2:]
    every = [recipe for recipes in arms.values() for recipe in recipes]
    assert {(recipe.steps, len(recipe.checkpoint_steps())) for recipe in every} == {(1280, 39)}


def test_axes():
    """Each study varies what it asks about, and nothing else."""

    def varied(name, arm="main"):
        recipes = [vars(recipe) for recipe in STUDIES[name].arms[arm]]
        return {
            field: len({recipe[field] for recipe in recipes})
            for field in recipes[0]
            if len({recipe[field] for recipe in recipes}) > 1
        }

    four = {"momentum": 2, "weight_decay": 2}
    assert (
        varied("momentum-decay-vgg")
        == varied("momentum-decay-resnet")
        == varied("clean-labels")
        == four
    )
    assert [
        list(varied(name))
        for name in (
            "weight-decay-sgd",
            "weight-decay-adamw",
            "weight-decay-vit",
            "sam",
            "momentum-resnet",
        )
    ] == [["weight_decay"]] * 3 + [["sam_rho"], ["momentum"]]
    assert set(varied("momentum-vgg")) == {"learning_rate", "momentum", "weight_decay"} and set(
        varied("learning-rate")
    ) == {"learning_rate", "weight_decay"}
    assert varied("decay-scale") == {"momentum": 2, "weight_decay": 7}
    for arm, recipes in STUDIES["batch-size"].arms.items():
        assert [recipe.batch_size for recipe in recipes] == [16, 32, 64, 128]
        assert (
            len(
                {
                    recipe.learning_rate / recipe.batch_size if "∝" in arm else recipe.learning_rate
                    for recipe in recipes
                }
            )
            == 1
        )
        assert (
            len({steps_of(recipe) if "steps" in arm else recipe.epochs for recipe in recipes}) == 1
        )
    for recipes in STUDIES["effective-rate"].arms.values():
        rates = [round(recipe.learning_rate / (1 - recipe.momentum), 9) for recipe in recipes]
        assert sorted(rates) == [0.1] * 6 + [0.2] * 6 + [1.0] * 6


# Running them


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """Two small studies that share a recipe, one of them with a recipe that diverges, and one whose
    runs have numbers for names.
    """
    out = tmp_path_factory.mktemp("studies")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(
            STUDIES,
            "tiny",
            Study(
                "tiny", "?", "", {"a": (SOUND, SOUND.replace(momentum=0.9)), "b": (SOUND, DIVERGES)}
            ),
        )
        patch.setitem(
            STUDIES,
            "second",
            Study("second", "?", "", {"main": (SOUND.replace(momentum=0.9), SOUND)}),
        )
        patch.setitem(STUDIES, "numbers", Study("numbers", "?", "", {"main": tuple(NUMERIC)}))
        patch.setitem(STUDIES, "last", Study("last", "?", "", {"main": (SOUND, AT_THE_END)}))
        th.studies.run_studies(
            ["tiny", "second", "numbers", "last"], out, seeds=2, jobs=2, progress=False
        )
        th.studies.run_studies(["numbers"], out, seeds=1, progress=False)
        yield out


def files(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_each_recipe_is_trained_once(ran):
    """Six recipes with two seeds, whatever studies and arms they are in; and a second call trains
    nothing.
    """
    recipes = [
        recipe.replace(seed=seed)
        for recipe in (SOUND, SOUND.replace(momentum=0.9), DIVERGES, AT_THE_END, *NUMERIC)
        for seed in (0, 1)
    ]
    assert {path.name for path in (ran / "trained").iterdir()} == {recipe.id for recipe in recipes}
    before = files(ran / "trained")
    th.studies.run_studies(["tiny"], ran, seeds=2, jobs=2, progress=False)
    assert files(ran / "trained") == before
    kept = {path.parent.name for path in ran.rglob("step_*")}  # else the kernel is kept instead
    assert kept == {
        recipe.replace(seed=seed).id for recipe in (DIVERGES, AT_THE_END) for seed in (0, 1)
    }


def test_table(ran):
    table = th.studies.load_study("tiny", ran).table
    expected = [(arm, recipe) for arm, recipe in STUDIES["tiny"].recipes(2)]
    assert (
        list(zip(table.arm, table.index)) == [(arm, recipe.id) for arm, recipe in expected]
        and len(table) == 8
    )
    for (_, row), (_, recipe) in zip(table.iterrows(), expected):
        fields = {name: row[name] for name in vars(recipe)}
        fields["decay_at"], fields["steps"] = ast.literal_eval(fields["decay_at"]), None
        assert (
            th.training.Recipe(
                **{
                    name: value.item() if hasattr(value, "item") else value
                    for name, value in fields.items()
                }
            )
            == recipe
        )


def test_a_run_that_diverged_is_a_row(ran):
    study = th.studies.load_study("tiny", ran)
    lost = study.table[study.table.learning_rate > 1]
    assert (
        len(lost) == 2
        and lost.diverged.str.fullmatch(r"the loss became (nan|inf) at step 2 of 20.*").all()
    ), list(lost.diverged)
    assert (
        lost[["mds", "relative_mds", "train_accuracy", "test_accuracy", "seconds"]]
        .isna()
        .all()
        .all()
    )
    assert (study.table.diverged[study.table.learning_rate < 1] == "").all()
    assert not set(lost.index) & set(study.kernels) and not set(lost.index) & set(study.log.run)


def test_a_run_whose_last_step_diverges_is_a_row(ran):
    """No loss tells, but the last checkpoint does."""
    study = th.studies.load_study("last", ran)
    row = study.table.loc[AT_THE_END.id]
    assert (
        "step_1.safetensors" in row.diverged and str(ran) not in row.diverged and np.isnan(row.mds)
    )
    assert set(study.kernels) == {SOUND.id, SOUND.replace(seed=1).id}


def test_numbers_are_those_of_the_checkpoints(ran, tmp_path):
    """A run of the study is trained again, and its checkpoints are taken apart by the oracle."""
    study, threads = th.studies.load_study("tiny", ran), torch.get_num_threads()
    torch.set_num_threads(1)
    for recipe in (SOUND.replace(seed=1), SOUND.replace(momentum=0.9)):
        log = th.training.train(recipe, tmp_path / recipe.id, device="cpu", progress=False)
        theta = oracle.flat(
            [
                load_file(tmp_path / recipe.id / f"step_{step}.safetensors")
                for step in (0, 4, 8, 12, 16, 20)
            ]
        )
        rows = study.table.loc[[recipe.id]]
        np.testing.assert_allclose(rows.mds, oracle.mds(theta), atol=1e-9)
        np.testing.assert_allclose(rows.relative_mds, oracle.mds(theta, 0), atol=1e-9)
        kernel = study.kernels[recipe.id]
        np.testing.assert_allclose(kernel.gram(), oracle.gram(theta), rtol=1e-9)
        assert (
            list(kernel.steps) == [0, 4, 8, 12, 16, 20]
            and th.mds(kernel) == rows.mds.iloc[0]
            and th.mds(kernel, 0) == rows.relative_mds.iloc[0]
        )
        stored = study.log[study.log.run == recipe.id].reset_index(drop=True)
        pd.testing.assert_frame_equal(
            stored.drop(columns=["run", "seconds"]), log.drop(columns="seconds")
        )
        assert (
            set(rows.test_accuracy) == {log.test_accuracy.iloc[-1]}
            and set(rows.train_accuracy) == {log.train_accuracy.iloc[-1]}
            and set(rows.seconds) == {stored.seconds.iloc[-1]}
        )
    torch.set_num_threads(threads)


def test_runs_with_a_number_for_a_name(ran):
    study = th.studies.load_study("numbers", ran)
    assert list(study.table.index) == [recipe.id for recipe in NUMERIC] == list(
        study.kernels
    ) and set(study.log.run) == set(study.kernels)


def test_a_run_without_its_forces_is_trained_again(tmp_path, monkeypatch):
    """Where another study left it; and then no more."""
    recipes = {"main": (SOUND, SOUND.replace(momentum=0.9))}
    for name, forces in (("plain", False), ("pulled", True)):
        monkeypatch.setitem(STUDIES, name, Study(name, "?", "", recipes, forces=forces))
    for name in ("plain", "pulled"):
        th.studies.run_studies([name], tmp_path, seeds=1, jobs=1, progress=False)
    before = files(tmp_path / "trained")
    th.studies.run_studies(["pulled", "plain"], tmp_path, seeds=1, jobs=1, progress=False)
    assert files(tmp_path / "trained") == before
    plain, pulled = (th.studies.load_study(name, tmp_path) for name in ("plain", "pulled"))
    forces = ["loss_outward", "loss_across", "decay_outward", "decay_across"]
    assert not set(forces) & set(plain.log)
    at_checkpoints = pulled.log.dropna(subset=forces)
    for run, kernel in pulled.kernels.items():
        assert list(at_checkpoints.step[at_checkpoints.run == run]) == list(kernel.steps[1:])
    pd.testing.assert_frame_equal(plain.table, pulled.table)


def test_fewer_seeds_leave_no_kernel_of_the_others(ran):
    th.studies.run_studies(["second"], ran, seeds=1, jobs=1, progress=False)
    assert {path.name for path in (ran / "studies" / "second").iterdir()} == {
        "runs.csv",
        "log.csv",
        f"{SOUND.id}.npz",
        f"{SOUND.replace(momentum=0.9).id}.npz",
    }


def test_from_another_working_directory(ran, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load.DATA_FOLDER.is_absolute() and Path(__file__).parents[1] / "data" == load.DATA_FOLDER
    monkeypatch.setattr(load, "DATA_FOLDER", ran)
    assert (
        len(th.studies.load_study("tiny").table)
        == len(th.studies.load_study("tiny", os.path.relpath(ran)).table)
        == 8
    )


def test_studies_that_are_not_there(ran, tmp_path):
    for call in (
        lambda: th.studies.load_study("tinny"),
        lambda: th.studies.run_studies(["tinny"], tmp_path),
    ):
        with pytest.raises(ValueError, match="momentum-decay-vgg.*clean-labels.*'tinny'"):
            call()
    with pytest.raises(
        FileNotFoundError, match=re.escape(f"trajhelpers study sam --out {tmp_path}")
    ):
        th.studies.load_study("sam", tmp_path)
    assert not list(tmp_path.iterdir())


def test_command_line(ran, capsys, tmp_path):
    assert main(["study", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(STUDIES)
    assert re.search(
        r"\b36 recipes\b", next(line for line in lines if line.startswith("effective-rate"))
    )
    for arguments, word in (
        ([], "--all"),
        (["sam", "--all"], "--all"),
        (["sam", "--seeds", "0"], "seeds"),
        (["sam", "--jobs", "0"], "jobs"),
        (["tinny"], "tinny"),
    ):
        assert main(["study", *arguments, "--out", str(tmp_path / "out")]) == 2
        captured = capsys.readouterr()
        assert word in captured.err and captured.err.count("\n") == 1 and not captured.out
    assert not (tmp_path / "out").exists()
    assert main(["study", "tiny", "--seeds", "2", "--out", str(ran)]) == 0
    assert capsys.readouterr().out.strip() == f"{ran}/studies/tiny/runs.csv"


WARN = textwrap.dedent("""
    import sys, warnings
    import trajhelpers as th
    from trajhelpers.lab.studies import run
    def gram(*arguments, really=run.gram, **options):
        warnings.warn("of another library", DeprecationWarning)
        return really(*arguments, **options)
    run.gram = gram
    recipe = th.training.Recipe.load(sys.argv[1])
    run._train_one(recipe, sys.argv[2], "cpu", False, False)
""")


def test_a_warning_of_another_library_stops_no_study(tmp_path):
    """It goes where it always goes, and is nothing that a reader of the study has to know."""
    SOUND.save(tmp_path / "recipe.json")
    ran = subprocess.run(
        [sys.executable, "-c", WARN, tmp_path / "recipe.json", tmp_path / "run"],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONWARNINGS": "default"},
    )
    assert ran.returncode == 0 and "of another library" in ran.stderr, ran.stderr
    assert (tmp_path / "run" / "kernel.npz").exists()


def test_a_warning_of_ours_is_told_by_the_name_of_its_run(tmp_path, monkeypatch):
    """Of its kernel and of its numbers: with a rate far below the last digit of every weight all
    checkpoints are one.
    """
    still = SOUND.replace(learning_rate=1e-30)
    monkeypatch.setitem(STUDIES, "still", Study("still", "?", "", {"main": (SOUND, still)}))
    for _ in range(2):  # and again, where all is there already
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            th.studies.run_studies(["still"], tmp_path, seeds=1, jobs=1, progress=False)
        told = [str(one.message) for one in caught if one.category is th.TrajectoryWarning]
        name = f"still, run {still.id}: checkpoints at step"
        assert len(told) == 2 and all(message.startswith(name) for message in told)
        assert "0 and 4, 4 and 8" in told[0] and "equal the origin" in told[1]
    assert set(th.studies.load_study("still", tmp_path).kernels) == {SOUND.id, still.id}


def test_studies_and_lists_cost_no_torch():
    script = """
import sys, trajhelpers as th
from trajhelpers.__main__ import main
assert th.studies.STUDIES["width"].recipes(3) and th.studies.PAPER and th.training.WidthRecipe
assert main(["study", "--list"]) == main(["train", "--list"]) == 0
loaded = {"torch", "transformers", "torchvision", "accelerate", "matplotlib"} & set(sys.modules)
assert not loaded, loaded
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


LONG = textwrap.dedent("""
    import signal
    import sys
    from trajhelpers.lab.training import Recipe
    from trajhelpers.lab.studies import run_studies
    from trajhelpers.lab.studies.catalogue import STUDIES, Study
    if __name__ == "__main__":
        # who was started in the background inherits that it is ignored
        signal.signal(signal.SIGINT, signal.default_int_handler)
        base = Recipe(model="mlp", data="digits", width=16, learning_rate=0.1, batch_size=32,
                      epochs=100, checkpoints=20)
        STUDIES["long"] = Study("long", "?", "", {"main": (base, base.replace(momentum=0.9))})
        run_studies(["long"], sys.argv[1], seeds=2, jobs=2, progress=False)
""")


def processes_of(group):
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, its_group = path.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(its_group) == group and state != "Z":
            found.append(path)
    return found


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
@pytest.mark.parametrize("whole_group", [True, False], ids=["Ctrl-C", "kill -INT"])
def test_interrupted_and_run_again(tmp_path, whole_group):
    (tmp_path / "long.py").write_text(LONG)
    command = [sys.executable, str(tmp_path / "long.py")]
    out = tmp_path / "out"
    process = subprocess.Popen(
        [*command, str(out)], start_new_session=True, stderr=subprocess.DEVNULL
    )
    try:
        while not list(out.glob("trained/*/step_4*.safetensors")):
            assert process.poll() is None
            time.sleep(0.02)
        (os.killpg if whole_group else os.kill)(process.pid, signal.SIGINT)
        assert process.wait(20) != 0
        deadline = time.monotonic() + 5
        while processes_of(process.pid) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not processes_of(process.pid)
    finally:
        if processes_of(process.pid):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert not list(out.glob("studies/*/runs.csv")) and not list(out.glob("trained/*/kernel.npz"))
    for folder in (out, tmp_path / "undisturbed"):
        subprocess.run([*command, str(folder)], check=True)
    found, expected = (
        pd.read_csv(folder / "studies" / "long" / "runs.csv").drop(columns="seconds")
        for folder in (out, tmp_path / "undisturbed")
    )
    pd.testing.assert_frame_equal(found, expected, check_exact=True)
    assert len(found) == 4


def test_a_study_that_is_read_elsewhere_says_where():
    with pytest.raises(ValueError, match=r"got 'redundancy' \(.*th\.redundancy\.load_redundancy"):
        th.studies.load_study("redundancy")
