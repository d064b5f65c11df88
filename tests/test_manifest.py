"""What data/ holds: each file has its entry, nothing is larger than it may be, and a stored run can
be trained again.
"""

import ast
import hashlib
import json
import os
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import trajhelpers as th

# another folder of the same form, to try the tests on runs that are not stored yet
DATA = Path(os.environ.get("TRAJHELPERS_TEST_DATA", Path(__file__).parents[1] / "data"))


def stored():
    return {
        path.relative_to(DATA).as_posix()
        for path in DATA.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    } - {"make.py", "manifest.json"}


def entries():
    return json.loads((DATA / "manifest.json").read_text())["files"]


def test_every_file_has_an_entry_and_every_entry_a_file():
    assert set(entries()) == stored()


def test_entries_say_where_a_file_comes_from():
    for name, entry in entries().items():
        assert entry["sha256"] == hashlib.sha256((DATA / name).read_bytes()).hexdigest(), (
            f"{name} changed: python data/make.py manifest"
        )
        assert set(entry) == {"sha256", "date", "command", "licence", "origin", "versions"} and all(
            entry.values()
        ), name
        assert date(2025, 1, 1) <= date.fromisoformat(entry["date"]) <= date.today()
        assert (
            entry["licence"].startswith(("MIT", "public domain")) and "make.py" in entry["command"]
        )
        assert (
            "python" in entry["versions"]
            and len(entry["versions"]) > 1
            and all(version[0].isdigit() for version in entry["versions"].values())
        )


def test_sizes():
    size = {name: (DATA / name).stat().st_size for name in stored()}
    assert size["fashion-mnist.npz"] < 4e6
    assert sum(bytes for name, bytes in size.items() if name.startswith("bible-kjv")) < 2e6
    assert sum(bytes for name, bytes in size.items() if name.startswith("redundancy/")) < 2e6
    own = {
        "studies/edge-of-stability/": 1e6,
        "studies/width/": 2e6,
        "studies/pythia-mini": 6e6,
        "studies/omega-law/": 3e6,
    }
    for prefix, most in own.items():
        assert sum(bytes for name, bytes in size.items() if name.startswith(prefix)) < most
    assert (
        sum(
            bytes
            for name, bytes in size.items()
            if name.startswith("studies/") and not name.startswith(tuple(own))
        )
        < 8e6
    )
    assert sum(size.values()) < 25e6


def test_studies_are_whole():
    """All of them, each with three seeds of every recipe, and a kernel for each run that did not
    diverge; and no file besides.
    """
    assert {name.split("/")[1] for name in stored() if name.startswith("studies/")} == set(
        th.studies.STUDIES
    )
    for name, study in th.studies.STUDIES.items():
        table = pd.read_csv(DATA / "studies" / name / "runs.csv", dtype={"run": "str"})
        assert list(zip(table.arm, table.run)) == [
            (arm, recipe.id) for arm, recipe in study.recipes(3)
        ], name
        sound = set(table.run[table.diverged.isna()])
        assert {path.name for path in (DATA / "studies" / name).iterdir()} == {
            "runs.csv",
            "log.csv",
            *(f"{run}.npz" for run in sound),
        }
        assert (
            set(pd.read_csv(DATA / "studies" / name / "log.csv", dtype={"run": "str"}).run) == sound
        )


def recipe_of(row):
    """The recipe of a row of runs.csv. A table has no whole numbers in a column with gaps, and a
    tuple is text.
    """
    fields = {}
    for name in th.training.Recipe.__dataclass_fields__:
        value = row[name]
        if name in ("decay_at", "checkpoints") and isinstance(value, str):
            value = ast.literal_eval(value)
        elif pd.isna(value):
            value = None
        elif name in ("width", "batch_size", "epochs", "steps", "seed", "checkpoints"):
            value = int(value)
        else:
            value = value.item() if hasattr(value, "item") else value
        fields[name] = value
    return th.training.Recipe(**fields)


@pytest.fixture(scope="module")
def digits():
    """The runs on the digits, the cheapest there are."""
    table = pd.read_csv(DATA / "studies" / "effective-rate" / "runs.csv", dtype={"run": "str"})
    return table[(table.arm == "digits") & table.diverged.isna()]


def train_again(digits, folder, **options):
    row = digits[
        (digits.seed == 0)
        & (digits.momentum == 0)
        & (digits.learning_rate == 0.1)
        & (digits.weight_decay > 0)
    ].iloc[0]
    recipe, threads = recipe_of(row), torch.get_num_threads()
    assert recipe.id == row.run
    torch.set_num_threads(1)  # as it was stored
    try:
        log = th.training.train(recipe, folder, device="cpu", progress=False, **options)
    finally:
        torch.set_num_threads(threads)
    return row, log, th.gram(th.open_trajectory(folder), device="cpu").gram()


def test_the_start_of_a_stored_run(digits, tmp_path):
    """To the second of its 30 checkpoints. The initialization is the same on every machine but for
    the last digits of its normal numbers; what follows was within 0.4 % of the stored run in the
    loss of the first epochs, and within 0.3 % in the way to the first checkpoint, with the kernels
    of other CPUs (AVX2, SSE 4.1)."""
    row, log, now = train_again(
        digits, tmp_path / "run", on_checkpoint=lambda step, log: step == 160
    )
    before = th.load_kernel(DATA / "studies" / "effective-rate" / f"{row.run}.npz")
    assert before.n == 31 and list(before.steps[:3]) == [0, 80, 160]
    assert abs(now[0, 0] / before.gram()[0, 0] - 1) < 1e-6
    way = [np.sqrt(gram[0, 0] + gram[1, 1] - 2 * gram[0, 1]) for gram in (now, before.gram())]
    assert abs(way[0] / way[1] - 1) < 0.03
    stored_log = (
        pd.read_csv(DATA / "studies" / "effective-rate" / "log.csv", dtype={"run": "str"})
        .query("run == @row.run")
        .iloc[:4]
    )
    np.testing.assert_allclose(log.running_loss, stored_log.running_loss, rtol=0.03)
    np.testing.assert_allclose(log.running_accuracy, stored_log.running_accuracy, atol=0.05)


@pytest.mark.slow
def test_a_stored_run_is_trained_again(digits, tmp_path):
    """To its end. Where the CPU and torch are those that stored it every bit is the same; elsewhere
    roundings differ and grow, until the run is as far from the stored one as another seed's. On
    this recipe the kernels of other CPUs (AVX2, SSE 4.1), or weights changed by 1e-6, moved ω by at
    most 0.0005, ω_0 by 0.0003, the accuracies by 0.001 and 0.01, and another seed ω by 0.0007, ω_0
    by 0.001. The bounds are four to five times as far; ω of the arm's recipes is between 0.75 and
    0.99."""
    row, log, _ = train_again(digits, tmp_path / "run")
    kernel = th.gram(th.open_trajectory(tmp_path / "run"), device="cpu")
    assert abs(th.mds(kernel) - row.mds) < 0.003
    assert abs(th.mds(kernel, 0) - row.relative_mds) < 0.004
    assert abs(log.train_accuracy.iloc[-1] - row.train_accuracy) < 0.005
    assert abs(log.test_accuracy.iloc[-1] - row.test_accuracy) < 0.05
