"""The width study: parametrizations against NumPy in another form, how coordinates and matrices
move with width, slopes and what they say of ω.
"""

import json
import math
import time

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

import trajhelpers as th
from trajhelpers.lab.studies.catalogue import ADAM_RATE, SGD_RATE, STUDIES
from trajhelpers.lab.theory.width import departure, local_slopes, predicted_omega, slope
from trajhelpers.lab.training.images import TensorImages
from trajhelpers.lab.training.recipes.width import WidthRecipe, scales
from trajhelpers.lab.training.width_network import WidthNetwork

WIDTH_STUDY = STUDIES["width"]
BASE = WidthRecipe(width=64, learning_rate=0.05, steps=6, checkpoints=3)
FORMS = [
    ("standard", "sgd", "constant"),
    ("standard", "sgd", "1/sqrt(n)"),
    ("standard", "sgd", "1/n"),
    ("ntk", "sgd", "constant"),
    ("mup", "sgd", "constant"),
    ("mup", "adam", "constant"),
    ("standard", "adam", "constant"),
    ("standard", "adam", "1/n"),
]


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def of(form, **changes):
    parametrization, optimizer, rule = form
    return BASE.replace(
        **{"parametrization": parametrization, "optimizer": optimizer, "rule": rule, **changes}
    )


def train(recipe, folder, **options):
    return th.training.train(recipe, folder, **{"device": "cpu", "progress": False, **options})


def stop_at(last):
    return lambda step, log: step == last


def checkpoint(folder, step):
    return {
        name: tensor.double().numpy()
        for name, tensor in load_file(folder / f"step_{step}.safetensors").items()
    }


def kernel_of(recipe, folder):
    train(recipe, folder)
    return th.gram(th.open_trajectory(folder), device="cpu")


def exponent(recipes, value, tmp_path):
    """Of a value of (log, kernel), over recipes that differ in width."""
    values = []
    for recipe in recipes:
        folder = tmp_path / recipe.id
        kernel = kernel_of(recipe, folder)
        values.append(value(th.training.read_log(folder), kernel))
    return [
        slope([recipe.width for recipe in recipes], column).slope for column in np.transpose(values)
    ]


# ---- parametrizations ----


def abc(recipe):
    """(a, b) of each matrix, weight = n^-a parameter, parameter ~ N(0, n^-2b), all at one rate η
    n^-c: Yang & Hu 2021, Table 1 and its μP.
    """
    depth = recipe.depth
    if recipe.parametrization == "mup":
        return [(-0.5, 0.5), *[(0, 0.5)] * depth, (0.5, 0.5)], 0
    if recipe.parametrization == "ntk":
        return [(0, 0), *[(0.5, 0)] * depth, (0.5, 0)], 0
    return [(0, 0), *[(0, 0.5)] * depth, (0, 0.5)], {"constant": 0, "1/sqrt(n)": 0.5, "1/n": 1}[
        recipe.rule
    ]


def oracle(recipe, start, batches):
    """Weights (multiplier included) after SGD steps in the abc form, by hand and in float64, from
    the weights at the start.
    """
    r = recipe.width / 64
    exponents, c = abc(recipe)
    multipliers = [r**-a for a, _ in exponents]
    parameters = [weight / m for weight, m in zip(start, multipliers)]
    for images, labels in batches:
        weights = [p * m for p, m in zip(parameters, multipliers)]
        inputs, before = [images], []
        for weight in weights:
            before.append(inputs[-1] @ weight.T)
            inputs.append(np.maximum(before[-1], 0))
        exponentials = np.exp(before[-1] - before[-1].max(1, keepdims=True))
        back = (exponentials / exponentials.sum(1, keepdims=True) - np.eye(10)[labels]) / len(
            labels
        )
        for i in reversed(range(len(weights))):
            gradient = back.T @ inputs[i] * multipliers[i]
            if i:
                back = (back @ weights[i]) * (before[i - 1] > 0)
            parameters[i] = parameters[i] - recipe.learning_rate * r**-c * gradient
    return [p * m for p, m in zip(parameters, multipliers)]


@pytest.fixture
def double(monkeypatch):
    """Training in float64.

    In float32 a preactivation that rounds to the other side of zero switches a ReLU, which moved a
    matrix by 0.8 % of its way; which CPUs and seeds do it is chance, and no tolerance for float32
    is both safe and sharp.
    """
    data = th.training.load_data("digits")
    splits = {
        split: next(data.batches(split, [(0, list(range(size)))]))
        for split, size in data.size.items()
    }
    in_double = TensorImages(
        {split: (images.double(), labels) for split, (images, labels) in splits.items()},
        data.classes,
        0.0,
    )
    monkeypatch.setattr("trajhelpers.lab.training.tasks.width.load_data", lambda *_: in_double)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("form", FORMS[:5])
@pytest.mark.parametrize("width", [32, 64, 128])
def test_sgd_is_the_oracles_in_another_form(tmp_path, double, form, width):
    recipe = of(form, width=width, learning_rate=0.2, depth=2, seed=2)
    train(recipe, tmp_path)
    names = ["input.weight", "hidden.0.weight", "hidden.1.weight", "output.weight"]
    multipliers = [scales(recipe)[name.split(".")[0]].multiplier for name in names]
    first, last = (
        [checkpoint(tmp_path, step)[name] * m for name, m in zip(names, multipliers)]
        for step in (0, 6)
    )
    assert load_file(tmp_path / "step_6.safetensors")["input.weight"].dtype == torch.float64
    data = th.training.load_data("digits")
    # as in trajhelpers.train
    order = torch.randperm(1280, generator=torch.Generator().manual_seed(2_000_006)).tolist()
    batches = [
        (images.flatten(1).double().numpy(), labels.numpy())
        for images, labels in data.batches(
            "train", [(0, order[i * 64 : (i + 1) * 64]) for i in range(6)]
        )
    ]
    for ours, start, expected in zip(last, first, oracle(recipe, first, batches)):
        moved = np.linalg.norm(expected - start)
        assert moved > 0 and np.linalg.norm(ours - expected) < 1e-10 * moved


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_at_width_64_all_forms_are_one(tmp_path, optimizer):
    runs = []
    for i, form in enumerate(form for form in FORMS if form[1] == optimizer):
        log = train(of(form), tmp_path / str(i)).drop(columns="seconds")
        runs.append((log, checkpoint(tmp_path / str(i), 6)))
    for log, end in runs[1:]:
        pd.testing.assert_frame_equal(log, runs[0][0], check_exact=True)
        assert all(np.array_equal(end[name], runs[0][1][name]) for name in end)


@pytest.mark.parametrize("form", FORMS)
def test_variances_and_functions_at_the_start(form):
    recipe = of(form, width=256, seed=5)
    network = WidthNetwork(recipe)
    # how much less than at width 64
    of_n = {"standard": (1, 4, 4), "ntk": (1, 1, 1), "mup": (1, 4, 16)}[recipe.parametrization]
    for name, parameter in network.named_parameters():
        part = ["input", "hidden", "output"].index(name.split(".")[0])
        expected = (2 / 64, 2 / 64, 1 / 64)[part] / of_n[part]
        assert parameter.dtype == torch.float32 and parameter.requires_grad
        assert parameter.var().item() == pytest.approx(
            expected, rel=5 * math.sqrt(2 / parameter.numel())
        )
    images = torch.rand(20, 64)
    standard = WidthNetwork(recipe.replace(parametrization="standard"))
    ratio = 1 if recipe.parametrization != "mup" else 1 / 2  # 1/√r
    torch.testing.assert_close(network(images), standard(images) * ratio, rtol=1e-4, atol=1e-5)


def test_preactivations_are_what_the_network_computes():
    recipe = WidthRecipe(width=16, parametrization="ntk", learning_rate=0.1)
    network, images = WidthNetwork(recipe), torch.rand(3, 1, 8, 8)
    x = images.flatten(1)
    for (name, parameter), found in zip(network.named_parameters(), network.preactivations(images)):
        x = x @ parameter.T * (1 if name == "input.weight" else 2)  # √(64 / 16)
        torch.testing.assert_close(found, x)
        x = torch.relu(x)
    assert torch.equal(network(images), network.preactivations(images)[-1])


# ---- what theory says of width ----

# Exponents of: the input layer's move, the last hidden layer's, and 1 − cos of the hidden and of
# the input matrix, in a few early steps.
THEORY = {
    ("standard", "sgd", "1/n"): (-1.5, -0.5, -2, -3),
    ("ntk", "sgd", "constant"): (-0.5, -0.5, -2, -1),
    ("mup", "sgd", "constant"): (0, 0, -1, 0),
    ("mup", "adam", "constant"): (0, 0, -1, 0),
    ("standard", "sgd", "1/sqrt(n)"): (-1, 0, -1, -2),
    ("standard", "sgd", "constant"): (-0.5, 0.5, 0, -1),
}


@pytest.mark.parametrize("form", THEORY)
def test_coordinate_check(tmp_path, form):
    # The theory is of stable training where there is any, and of the first order in η where there
    # is none: 1/√n and a constant rate saturate soon.
    steps, rate = (10, {"sgd": 2**-4, "adam": 2**-8}[form[1]]) if form[0] == "mup" else (2, 0.002)
    length = dict(steps=steps, learning_rate=rate, batch_size=64 if form[0] == "mup" else 640)
    recipes = [
        of(form, width=width, checkpoints=1, seed=seed, **length)
        for width in (64, 128, 256, 512)
        for seed in (0, 1, 2)
    ]
    found = exponent(
        recipes,
        lambda log, kernel: (
            log.input_change.iloc[-1],
            log.feature_change_3.iloc[-1],
            departure(kernel.select("hidden*"))[-1],
            departure(kernel.select("input*"))[-1],
        ),
        tmp_path,
    )
    assert found == pytest.approx(THEORY[form], abs=0.3)


def test_adams_first_step_is_known_in_full(tmp_path):
    """Every entry moves by its rate, where its gradient is not zero: ‖W_1 − W_0‖² is n² rate² times
    the share of those, against ‖W_0‖² of 2n.
    """
    for form, power in ((FORMS[6], 1), (FORMS[5], -1)):
        for n in (64, 256):
            recipe = of(form, width=n, steps=1, checkpoints=1, learning_rate=2**-10)
            kernel = kernel_of(recipe, tmp_path / recipe.id)
            start, end = (
                checkpoint(tmp_path / recipe.id, step)["hidden.1.weight"] for step in (0, 1)
            )
            moved = start != end
            assert moved.mean() > 0.5
            np.testing.assert_allclose(
                np.abs(end - start)[moved], 2**-10 * (n / 64) ** ((power - 1) / 2), rtol=0.05
            )
            expected = (
                n**2 * moved.mean() * (2**-10 * (n / 64) ** ((power - 1) / 2)) ** 2 / (2 * n) / 2
            )
            assert departure(kernel.select("hidden.1*"))[-1] == pytest.approx(expected, rel=0.1)


def test_the_input_matrixs_share_of_the_norm_and_that_it_depends_on_the_form():
    def share(recipe):
        squared = {
            name: parameter.square().sum().item()
            for name, parameter in WidthNetwork(recipe).named_parameters()
        }
        return squared["input.weight"] / sum(squared.values())

    for n in (64, 1024):
        assert share(BASE.replace(width=n)) == pytest.approx(2 * n / (8 * n + 10), rel=0.03)
        assert share(BASE.replace(width=n, parametrization="mup")) == pytest.approx(
            2 * n / (8 * n + 640 / n), rel=0.03
        )
        assert share(BASE.replace(width=n, parametrization="ntk")) == pytest.approx(
            2 * n / (2 * n + 6 * n**2 / 64 + n * 10 / 64), rel=0.03
        )


# ---- training ----


def test_columns_and_their_last_values(tmp_path):
    recipe = BASE.replace(width=32, parametrization="mup", steps=50, checkpoints=4)
    log = train(recipe, tmp_path)
    assert list(log.columns) == [
        "step",
        "running_loss",
        "seconds",
        "input_change",
        "feature_change_1",
        "feature_change_2",
        "feature_change_3",
        "output_change",
        "train_loss",
        "train_accuracy",
        "test_loss",
        "test_accuracy",
    ]
    assert log.step.tolist() == [12, 25, 38, 50] and th.open_trajectory(tmp_path).steps == (
        0,
        12,
        25,
        38,
        50,
    )
    assert log.train_loss.isna().tolist() == [True, True, True, False]
    pd.testing.assert_frame_equal(th.training.read_log(tmp_path), log)
    assert WidthRecipe.load(tmp_path / "recipe.json") == recipe

    data, networks = th.training.load_data("digits"), {}
    for step in (0, 38, 50):
        networks[step] = WidthNetwork(recipe)
        networks[step].load_state_dict(load_file(tmp_path / f"step_{step}.safetensors"))
    assert all(
        torch.equal(p, q)
        for p, q in zip(WidthNetwork(recipe).parameters(), networks[0].parameters())
    )
    for split in ("train", "test"):
        images, labels = next(data.batches(split, [(0, list(range(data.size[split])))]))
        with torch.no_grad():
            outputs = networks[50](images)
        assert log[f"{split}_loss"].iloc[-1] == pytest.approx(
            torch.nn.functional.cross_entropy(outputs, labels).item(), rel=1e-5
        )
        assert (
            log[f"{split}_accuracy"].iloc[-1]
            == (outputs.argmax(1) == labels).double().mean().item()
        )
    images, _ = next(data.batches("train", [(0, list(range(64)))]))
    with torch.no_grad():
        for step, row in ((38, 2), (50, 3)):
            for i, name in enumerate(log.columns[3:8]):
                before, after = (networks[at].preactivations(images)[i] for at in (0, step))
                assert log[name][row] == pytest.approx(
                    (after - before).pow(2).mean().sqrt().item(), rel=1e-4
                )


def test_running_loss_is_of_the_batches_since_the_last_row(tmp_path):
    each = train(BASE.replace(width=16, steps=30, checkpoints=30), tmp_path / "each")
    some = train(BASE.replace(width=16, steps=30, checkpoints=3), tmp_path / "some")
    np.testing.assert_allclose(
        some.running_loss, each.running_loss.to_numpy().reshape(3, 10).mean(1)
    )


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_recipe_gives_the_same_bits_whatever_was_drawn_before(tmp_path, optimizer):
    recipe, logs = (
        BASE.replace(width=32, parametrization="mup", optimizer=optimizer, seed=3, steps=25),
        [],
    )
    for name in "ab":
        torch.manual_seed(ord(name))
        torch.rand(ord(name))
        before = torch.get_rng_state()
        logs.append(train(recipe, tmp_path / name).drop(columns="seconds"))
        assert torch.equal(torch.get_rng_state(), before)
    pd.testing.assert_frame_equal(*logs, check_exact=True)
    for file in (tmp_path / "a").glob("*.safetensors"):
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()
    other = train(recipe.replace(seed=4), tmp_path / "c")
    assert other.running_loss[0] != logs[0].running_loss[0]


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_stopped_and_resumed_to_the_same_bits(tmp_path, optimizer):
    """Checkpoints, the log (running loss and coordinate check since the initialization among it)
    and the moments of Adam.
    """
    recipe = BASE.replace(width=32, optimizer=optimizer, steps=45, checkpoints=4, seed=1)
    whole = train(recipe, tmp_path / "whole")
    for stop in (11, 34, 45):
        log = train(recipe, tmp_path / "run", resume=True, on_checkpoint=stop_at(stop))
        assert "test_accuracy" not in log and log.step.iloc[-1] == stop
        assert th.open_trajectory(tmp_path / "run").steps[-1] == stop
    again = train(recipe, tmp_path / "run", resume=True)
    pd.testing.assert_frame_equal(
        again.drop(columns="seconds"), whole.drop(columns="seconds"), check_exact=True
    )
    assert (np.diff(again.seconds) > 0).all()
    assert {file.name for file in (tmp_path / "run").iterdir()} == {
        file.name for file in (tmp_path / "whole").iterdir()
    }
    for file in (tmp_path / "whole").glob("*.safetensors"):
        assert file.read_bytes() == (tmp_path / "run" / file.name).read_bytes()


def test_resume_returns_a_finished_run_and_starts_one_without_a_state_again(tmp_path):
    recipe = BASE.replace(width=16)
    log = train(recipe, tmp_path)
    files = {file.name: file.stat().st_mtime_ns for file in tmp_path.iterdir()}
    pd.testing.assert_frame_equal(train(recipe, tmp_path, resume=True), log)
    assert {file.name: file.stat().st_mtime_ns for file in tmp_path.iterdir()} == files
    # killed before the end
    log[:-1].drop(columns=["train_loss", "train_accuracy", "test_loss", "test_accuracy"]).to_csv(
        tmp_path / "log.csv", index=False
    )
    (tmp_path / "step_5.safetensors").write_bytes(b"of another time")
    (tmp_path / ".step_6.safetensors.1.tmp").write_bytes(b"half")
    again = train(recipe, tmp_path, resume=True)
    pd.testing.assert_frame_equal(
        again.drop(columns="seconds"), log.drop(columns="seconds"), check_exact=True
    )
    assert {file.name for file in tmp_path.iterdir()} == set(files)


def test_a_folder_that_holds_a_run_is_not_written_over_unasked(tmp_path):
    train(BASE.replace(width=16), tmp_path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    with pytest.raises(th.ExistingRunError, match="resume=True"):
        train(BASE.replace(width=16), tmp_path)
    with pytest.raises(th.ExistingRunError, match="another recipe .*width"):
        train(BASE.replace(width=32), tmp_path, resume=True)
    with pytest.raises(ValueError, match="exclude"):
        train(BASE.replace(width=16), tmp_path, resume=True, overwrite=True)
    with pytest.raises(ValueError, match="^batch_size: expected at most 1280"):
        train(BASE.replace(width=16, batch_size=1281), tmp_path, overwrite=True)
    with pytest.raises(ValueError, match="^device: "):
        train(BASE.replace(width=16), tmp_path, device="abacus", overwrite=True)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
    train(BASE.replace(width=32, steps=2, checkpoints=1), tmp_path, overwrite=True)
    assert th.open_trajectory(tmp_path).steps == (0, 2)


def test_a_loss_that_is_no_number_ends_the_run_by_name(tmp_path):
    with pytest.raises(
        th.NonFiniteError, match=r"the loss became (nan|inf) at step \d+ of 6; .*now 1e\+30"
    ):
        train(BASE.replace(width=16, learning_rate=1e30, checkpoints=6), tmp_path)
    assert 0 in [int(file.stem.removeprefix("step_")) for file in tmp_path.glob("step_*")]
    assert not list(tmp_path.glob(".*.tmp"))


def test_nothing_stays_of_an_unfinished_run_that_starts_again(tmp_path):
    recipe = BASE.replace(width=16, learning_rate=1e30, checkpoints=1)
    recipe.save(tmp_path / "recipe.json")
    (tmp_path / "log.csv").write_text("step,running_loss\n6,0.1\n")
    with pytest.raises(th.NonFiniteError):
        train(recipe, tmp_path, resume=True)
    assert not (tmp_path / "log.csv").exists() and [
        file.name for file in tmp_path.glob("step_*")
    ] == ["step_0.safetensors"]


def test_a_full_disk_leaves_no_finished_log(tmp_path, monkeypatch):
    from safetensors import torch as files

    def save_file(state, path, metadata, really=files.save_file):
        if metadata["step"] == "6":
            time.sleep(0.2)
            raise OSError("no space left")
        really(state, path, metadata=metadata)

    monkeypatch.setattr(files, "save_file", save_file)
    with pytest.raises(th.TrajectoryError, match="no space left"):
        train(BASE.replace(width=16), tmp_path)
    assert "test_accuracy" not in th.training.read_log(tmp_path)
    monkeypatch.undo()
    assert "test_accuracy" in train(BASE.replace(width=16), tmp_path, resume=True)


# ---- recipes and the study ----


@pytest.mark.parametrize(
    "field, value",
    [
        ("width", 1),
        ("width", 64.0),
        ("width", True),
        ("parametrization", "mu"),
        ("optimizer", "adamw"),
        ("rule", "1/n²"),
        ("learning_rate", 0),
        ("learning_rate", math.nan),
        ("learning_rate", "0.1"),
        ("steps", 0),
        ("batch_size", 0),
        ("depth", 0),
        ("seed", -1),
        ("checkpoints", 0),
        ("checkpoints", 7),
    ],
)
def test_a_field_that_makes_no_sense_is_named(field, value):
    with pytest.raises(ValueError, match=f"^{field}: expected .*got {value!r}"):
        BASE.replace(**{field: value})


def test_combinations_without_a_meaning():
    for parametrization in ("ntk", "mup"):
        with pytest.raises(ValueError, match=f"^rule: expected constant for {parametrization}"):
            BASE.replace(parametrization=parametrization, rule="1/n")
    with pytest.raises(ValueError, match="^optimizer: expected sgd for ntk"):
        BASE.replace(parametrization="ntk", optimizer="adam")
    with pytest.raises(ValueError, match="did you mean 'width'"):
        BASE.replace(widht=3)
    with pytest.raises(ValueError, match="^width, learning_rate: missing"):
        WidthRecipe.from_json("{}")


def test_recipes_read_and_write_and_have_their_own_ids():
    recipes = [recipe for _, recipe in WIDTH_STUDY.recipes(3)]
    assert all(WidthRecipe.from_json(recipe.to_json()) == recipe for recipe in recipes)
    assert len({recipe.id for recipe in recipes}) == len(set(recipes)) == 8 * 6 * 3
    assert BASE.replace(learning_rate=1).id == BASE.replace(learning_rate=1.0).id
    assert json.loads(BASE.to_json())["width"] == 64


def test_the_study_has_its_arms_at_all_widths():
    assert list(WIDTH_STUDY.arms) == [
        "standard SGD, constant",
        "standard SGD, 1/sqrt(n)",
        "standard SGD, 1/n",
        "NTK SGD",
        "μP SGD",
        "μP Adam",
        "standard Adam, constant",
        "standard Adam, 1/n",
    ]
    assert [
        (r[0].parametrization, r[0].optimizer, r[0].rule) for r in WIDTH_STUDY.arms.values()
    ] == FORMS
    for recipes in WIDTH_STUDY.arms.values():
        assert [recipe.width for recipe in recipes] == [64, 128, 256, 512, 1024, 2048]
        assert len({recipe.replace(width=64) for recipe in recipes}) == 1
    for optimizer in ("sgd", "adam"):
        assert (
            len(
                {
                    r[0].learning_rate
                    for r in WIDTH_STUDY.arms.values()
                    if r[0].optimizer == optimizer
                }
            )
            == 1
        )


@pytest.mark.slow
@pytest.mark.parametrize("optimizer, rate", [("sgd", SGD_RATE), ("adam", ADAM_RATE)])
def test_the_rates_follow_their_rule(tmp_path, optimizer, rate):
    losses = {}
    for power in range(-12, 1):
        try:
            recipe = WidthRecipe(
                width=64, optimizer=optimizer, learning_rate=2.0**power, checkpoints=1
            )
            losses[2.0**power] = train(recipe, tmp_path / recipe.id).train_loss.iloc[-1]
        except th.NonFiniteError:
            pass
    assert min(losses, key=losses.get) == 2 * rate


# ---- slopes ----


def test_power_laws_are_recovered():
    widths = np.array([64, 128, 256, 512])
    for power in (-2, -1, 0, 0.5):
        fit = slope(widths, 3 * widths ** float(power))
        assert fit == pytest.approx((power, power, power), abs=1e-12)
        np.testing.assert_allclose(
            local_slopes(widths, 3 * widths ** float(power)), power, atol=1e-12
        )
    table = np.random.default_rng(0).lognormal(size=(4, 3))
    assert slope(widths, table) == slope(np.repeat(widths, 3), table.ravel())
    np.testing.assert_allclose(local_slopes(widths, table), np.diff(np.log2(table).mean(1)))
    shuffled = np.random.default_rng(1).permutation(12)
    np.testing.assert_allclose(
        slope(np.repeat(widths, 3)[shuffled], table.ravel()[shuffled]), slope(widths, table)
    )
    np.testing.assert_allclose(
        local_slopes(np.repeat(widths, 3)[shuffled], table.ravel()[shuffled]),
        local_slopes(widths, table),
    )


def test_the_interval_holds_the_exponent_as_often_as_it_says():
    generator, widths, draws = (
        np.random.default_rng(0),
        np.array([64, 128, 256, 512, 1024, 2048]),
        2000,
    )
    inside = 0
    for _ in range(draws):
        fit = slope(
            widths, np.exp(-1.3 * np.log(widths)[:, None] + 0.2 * generator.normal(size=(6, 3)))
        )
        inside += fit.low <= -1.3 <= fit.high
    assert abs(inside / draws - 0.95) < 4 * math.sqrt(0.95 * 0.05 / draws)


def test_the_slope_by_hand():
    x, y = np.log([64, 64, 128, 256]), np.array([0.0, 0.2, -0.7, -1.2])
    s = ((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum()
    error = math.sqrt(
        ((y - y.mean() - s * (x - x.mean())) ** 2).sum() / 2 / ((x - x.mean()) ** 2).sum()
    )
    assert slope([64, 64, 128, 256], np.exp(y)) == pytest.approx(
        (s, s - 4.302653 * error, s + 4.302653 * error)
    )


@pytest.mark.parametrize(
    "widths, values, message",
    [
        ([64, 128, 256], [1, 2], "^values: expected shape"),
        ([[64, 128, 256]], [[1, 2, 3]], "^values: expected shape"),
        ([64, 128, 256], [1, 2, 0], "^values: .*got 0.0"),
        ([64, 128, 256], [1, 2, math.nan], "^values: .*got nan"),
        ([64, 128, -1], [1, 2, 3], "^widths: "),
        ([64, 128], [1, 2], "^values: expected three"),
        ([64, 64, 64], [1, 2, 3], "^values: expected three or more at two"),
    ],
)
def test_what_has_no_slope(widths, values, message):
    with pytest.raises(ValueError, match=message):
        slope(widths, values)


# ---- 1 − cos and ω ----


def of_path(theta):
    delta = np.diff(theta, axis=0, prepend=0)
    return th.TrajectoryKernel(delta @ delta.T)


def test_departure_is_one_minus_the_cosine():
    theta = np.random.default_rng(0).normal(size=(7, 20)).cumsum(0)
    kernel = of_path(theta)
    np.testing.assert_allclose(departure(kernel), 1 - kernel.cosine()[0], atol=1e-14)


def test_departure_keeps_its_digits_near_one():
    start, across = np.zeros(30), np.zeros(30)
    start[0], across[1] = 3.0, 1.0
    for size in (1e-3, 1e-7, 1e-12):
        for growth in (0.0, 0.5):  # radial motion is no departure
            theta = np.stack([start, start * (1 + growth) + size * across])
            delta = np.stack([start, start * growth + size * across])
            x = size / (3 * (1 + growth))
            assert departure(th.TrajectoryKernel(delta @ delta.T))[-1] == pytest.approx(
                x**2 / 2 * (1 - 0.75 * x**2), rel=1e-2 if growth else 1e-9
            ), (size, theta.shape)


fast = settings(derandomize=True, deadline=None, max_examples=150, database=None)


@fast
@given(st.integers(2, 12), st.integers(2, 6), st.integers(0, 10**6), st.floats(0.01, 10))
def test_omega_lies_between_its_bounds(n, dimension, seed, spread):
    generator = np.random.default_rng(seed)
    theta = np.eye(1, dimension) + spread * generator.normal(size=(n, dimension)) / 10
    kernel = of_path(theta)
    cosine = kernel.cosine()
    if cosine[0, -1] <= 0:
        return
    said = predicted_omega(max(0.0, 1 - cosine[0, -1]), n)
    assert cosine.mean() <= said.highest + 1e-12
    if cosine[0].min() == cosine[0, -1]:
        assert cosine.mean() >= said.lowest - 1e-12


@pytest.mark.parametrize("n", [3, 5, 9])
@pytest.mark.parametrize("epsilon", [1e-6, 0.01, 0.3, 0.9])
def test_both_bounds_are_attained(n, epsilon):
    angle = math.acos(1 - epsilon)
    turn = np.pi * np.arange(n - 1)  # opposite pairs on the cone
    cone = np.stack(
        [
            np.full(n - 1, math.cos(angle)),
            math.sin(angle) * np.cos(turn),
            math.sin(angle) * np.sin(turn),
        ],
        axis=1,
    )
    low = th.mds(of_path(np.concatenate([[[1.0, 0, 0]], cone])))
    halfway = np.concatenate([[0.0], np.full(n - 2, angle / 2), [angle]])
    high = (np.exp(1j * np.subtract.outer(halfway, halfway)).real).mean()
    said = predicted_omega(epsilon, n)
    assert said.lowest == pytest.approx(low, rel=1e-9) and said.highest == pytest.approx(
        high, rel=1e-9
    )
    # lowest ≤ walk ≤ straight ≤ highest
    assert np.all(np.diff(said) >= -1e-12)


def test_the_two_paths_between():
    n, epsilon = 9, 0.2
    angle = math.acos(1 - epsilon)
    sideways = np.stack([np.ones(n), math.tan(angle) * np.arange(n) / (n - 1)], axis=1)
    said = predicted_omega(epsilon, n)
    assert said.straight == pytest.approx(th.mds(of_path(sideways)), rel=1e-12)
    walk = np.concatenate(
        [np.full((n, 1), math.sqrt(n - 1) / math.tan(angle)), np.tril(np.ones((n, n)), -1)], axis=1
    )
    cosine = of_path(walk).cosine()
    assert cosine[0, -1] == pytest.approx(1 - epsilon) and said.walk == pytest.approx(
        cosine.mean(), rel=1e-12
    )


@pytest.mark.parametrize("n", [2, 9, 60])
def test_small_departures_leave_omega_in_proportion(n):
    epsilon = 1e-5
    said = [(1 - omega) / epsilon for omega in predicted_omega(epsilon, n)]
    assert said == pytest.approx(
        [2 * (n - 1) / n, (n + 1) / (3 * n), (n + 1) / (6 * (n - 1)), 1 / n], rel=1e-3
    )
    assert predicted_omega(0, n) == (1, 1, 1, 1)


@pytest.mark.parametrize(
    "epsilon, n, name",
    [(-0.1, 5, "departure"), (1.0, 5, "departure"), (math.nan, 5, "departure"), (0.1, 1, "n")],
)
def test_what_says_nothing_of_omega(epsilon, n, name):
    with pytest.raises(ValueError, match=f"^{name}: "):
        predicted_omega(epsilon, n)
