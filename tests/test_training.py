"""Training by a recipe: against a loop of one's own, to the bit, however often it was stopped."""

import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

import trajhelpers as th
from trajhelpers.lab.training.models import memory_format

MLP = th.training.Recipe(
    model="mlp",
    data="digits",
    width=8,
    learning_rate=0.1,
    momentum=0.9,
    weight_decay=0.01,
    batch_size=64,
    epochs=3,
    checkpoints=6,
)
RECIPES = {
    "sgd": MLP,
    "nesterov": MLP.replace(nesterov=True, label_noise=0.2, seed=3, schedule="cosine", warmup=0.2),
    "adamw": MLP.replace(
        optimizer="adamw", momentum=0.0, learning_rate=0.01, weight_decay=0.5, schedule="constant"
    ),
    "sam": MLP.replace(sam_rho=0.1, checkpoints=(7, 20, 33, 60)),
    "batchnorm": MLP.replace(model="vgg", width=2, epochs=2, checkpoints=5, seed=1),
    "odd batches": MLP.replace(
        model="resnet", width=2, batch_size=100, epochs=None, steps=29, checkpoints=4, sam_rho=0.05
    ),
    "double": MLP.replace(dtype="float64", epochs=1),
}


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def train(recipe, folder, **options):
    return th.training.train(recipe, folder, device="cpu", progress=False, **options)


def checkpoints(folder):
    return {
        int(path.stem.removeprefix("step_")): load_file(path)
        for path in Path(folder).glob("step_*.safetensors")
    }


def same(folder, expected):
    found = checkpoints(folder)
    assert sorted(found) == sorted(expected)
    for step, tensors in expected.items():
        assert list(found[step]) == list(tensors) or set(found[step]) == set(tensors)
        for name, tensor in tensors.items():
            assert found[step][name].dtype == tensor.dtype and torch.equal(
                found[step][name], tensor
            ), (step, name)


def same_log(found, expected):
    pd.testing.assert_frame_equal(
        found.drop(columns="seconds"), expected.drop(columns="seconds"), check_exact=True
    )


def plain_loop(recipe, steps, at, rate):
    """Checkpoints at steps `at`, (loss, number right) of each batch, and the model, by torch alone;
    `rate(step)` is the learning rate.
    """
    data = th.training.load_data("digits", label_noise=recipe.label_noise)
    dtype = getattr(torch, recipe.dtype)
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        model = th.training.build_model(recipe.model, recipe.width, 1, 8, 10).to(dtype)
        model = model.to(memory_format=memory_format(model))
    if recipe.optimizer == "sgd":
        optimizer = torch.optim.SGD(
            model.parameters(),
            1,
            recipe.momentum,
            weight_decay=recipe.weight_decay,
            nesterov=recipe.nesterov,
        )
    else:
        optimizer = torch.optim.AdamW(
            model.parameters(), betas=(0.9, 0.999), weight_decay=recipe.weight_decay
        )
    seen, each = {}, []

    def keep(step):
        if step in at:
            seen[step] = {
                name: parameter.detach().clone() for name, parameter in model.named_parameters()
            }

    keep(0)
    a_epoch = 1280 // recipe.batch_size
    for step in range(steps):
        if step % a_epoch == 0:
            order = torch.randperm(
                1280,
                generator=torch.Generator().manual_seed(1_000_003 * recipe.seed + step // a_epoch),
            )
            batches = order[: a_epoch * recipe.batch_size].split(recipe.batch_size)
        images, labels = next(data.batches("train", [(0, batches[step % a_epoch])]))
        outputs = model(images.to(dtype))
        loss = torch.nn.functional.cross_entropy(outputs, labels)
        each.append((loss.item(), (outputs.argmax(1) == labels).sum().item()))
        optimizer.zero_grad()
        loss.backward()
        if recipe.sam_rho:
            gradients = [parameter.grad for parameter in model.parameters()]
            length = torch.stack([gradient.norm() for gradient in gradients]).norm()
            start = [parameter.detach().clone() for parameter in model.parameters()]
            with torch.no_grad():
                for parameter, gradient in zip(model.parameters(), gradients):
                    parameter += recipe.sam_rho / length * gradient
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(images.to(dtype)), labels).backward()
            with torch.no_grad():
                for parameter, value in zip(model.parameters(), start):
                    parameter.copy_(value)
        for group in optimizer.param_groups:
            group["lr"] = rate(step)
        optimizer.step()
        keep(step + 1)
    return seen, each, model


CASES = {
    "sgd": (60, [0, 10, 20, 30, 40, 50, 60], lambda step: 0.1 * 0.1 ** (step // 20)),
    "nesterov": (60, [0, 10, 20, 30, 40, 50, 60], RECIPES["nesterov"].rate),
    "adamw": (60, [0, 10, 20, 30, 40, 50, 60], lambda step: 0.01),
    "sam": (60, [0, 7, 20, 33, 60], lambda step: 0.1 * 0.1 ** (step // 20)),
    "batchnorm": (40, [0, 8, 16, 24, 32, 40], RECIPES["batchnorm"].rate),
    "odd batches": (29, [0, 7, 14, 22, 29], RECIPES["odd batches"].rate),
    "double": (20, [0, 3, 7, 10, 13, 17, 20], RECIPES["double"].rate),
}


@pytest.mark.parametrize("name", RECIPES)
def test_against_a_plain_loop(tmp_path, name):
    """To the bit: initialization, order of batches, rates, steps of the optimizer, and the steps at
    which it records. And twice the same.
    """
    recipe, (steps, at, rate) = RECIPES[name], CASES[name]
    expected, each, model = plain_loop(
        recipe, steps, at, rate if rate.__name__ == "<lambda>" else lambda step: rate(step, steps)
    )
    log = train(recipe, tmp_path / "run")
    same(tmp_path / "run", expected)
    assert {tensor.dtype for tensor in expected[0].values()} == {
        torch.float64 if name == "double" else torch.float32
    }
    a_epoch = 1280 // recipe.batch_size
    ends = [*range(a_epoch, steps, a_epoch), steps]
    assert list(log.step) == ends and list(log.epoch) == [end / a_epoch for end in ends]
    for start, end, (_, row) in zip([0, *ends], ends, log.iterrows()):
        losses, right = zip(*each[start:end])
        assert row.running_accuracy == sum(right) / recipe.batch_size / (end - start)
        assert abs(row.running_loss - sum(losses) / (end - start)) < 1e-12
    with torch.no_grad():  # with BatchNorm's averages
        images, labels = next(th.training.load_data("digits").batches("test", [(0, range(517))]))
        outputs = model.eval()(images.to(getattr(torch, recipe.dtype)))
    assert (
        abs(log.test_accuracy.iloc[-1] - (outputs.argmax(1) == labels).double().mean()) < 1.1 / 517
    )
    assert abs(log.test_loss.iloc[-1] - torch.nn.functional.cross_entropy(outputs, labels)) < 1e-4
    assert Path(tmp_path / "run" / "recipe.json").exists() and not list(
        (tmp_path / "run").glob(".*")
    )
    same_log(log, train(recipe, tmp_path / "again"))
    same(tmp_path / "again", expected)


@pytest.mark.parametrize("data", ["digits", "fake-cifar10"])
def test_random_numbers_of_the_user_are_left_alone(tmp_path, data):
    recipe = MLP.replace(data=data, batch_size=4, epochs=None, steps=2, checkpoints=1)
    torch.manual_seed(5), np.random.seed(5), random.seed(5)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    train(recipe, tmp_path / "run")
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1].tolist(), random.getstate()) == before[1:]
    torch.manual_seed(6)
    train(recipe, tmp_path / "again")
    same(tmp_path / "again", checkpoints(tmp_path / "run"))


# The log


def forward(tensors, images):
    """The perceptron by numpy, in float64."""
    x = images.reshape(len(images), -1).double().numpy()
    for layer in (1, 3, 5):
        x = (
            x @ tensors[f"{layer}.weight"].double().numpy().T
            + tensors[f"{layer}.bias"].double().numpy()
        )
        x = np.maximum(x, 0) if layer < 5 else x
    return x


def loss_and_accuracy(tensors, images, labels):
    logits, labels = forward(tensors, images), labels.numpy()
    normal = (
        logits
        - np.log(np.exp(logits - logits.max(1, keepdims=True)).sum(1, keepdims=True))
        - logits.max(1, keepdims=True)
    )
    return -normal[np.arange(len(labels)), labels].mean(), (logits.argmax(1) == labels).mean()


@pytest.mark.parametrize(
    "recipe",
    [
        MLP.replace(checkpoints=3, label_noise=0.3),
        MLP.replace(data="fashion-mnist", epochs=1, checkpoints=1),
    ],
    ids=["digits", "fashion-mnist"],
)
def test_accuracies_are_those_of_the_checkpoints(tmp_path, recipe):
    """Recomputed from the files: each epoch over the first 2,000 test images, at the end over all,
    the training labels being the noisy ones.
    """
    log = train(recipe, tmp_path / "run")
    data = th.training.load_data(recipe.data, label_noise=recipe.label_noise)
    images = {
        split: next(data.batches(split, [(0, range(data.size[split]))]))
        for split in ("train", "test")
    }
    columns = [
        "epoch",
        "step",
        "learning_rate",
        "running_loss",
        "running_accuracy",
        "test_accuracy_first_2000",
        "seconds",
        "train_loss",
        "train_accuracy",
        "test_loss",
        "test_accuracy",
    ]
    assert list(log) == columns and (np.diff(log.seconds) > 0).all() and len(log) == recipe.epochs
    assert log[columns[-4:]].iloc[:-1].isna().all().all()
    for _, row in log.iterrows():
        tensors = load_file(tmp_path / "run" / f"step_{row.step:.0f}.safetensors")
        test_images, test_labels = images["test"]
        assert abs(
            row.test_accuracy_first_2000
            - loss_and_accuracy(tensors, test_images[:2000], test_labels[:2000])[1]
        ) < 1.1 / min(2000, data.size["test"])
    # a tie of two classes may fall another way in float32: one image at most
    for split in ("train", "test"):
        loss, accuracy = loss_and_accuracy(tensors, *images[split])
        assert (
            abs(row[f"{split}_loss"] - loss) < 1e-5 * loss
            and abs(row[f"{split}_accuracy"] - accuracy) < 1.1 / data.size[split]
        )
    np.testing.assert_allclose(
        log.learning_rate, [0.1, 0.01, 0.001] if recipe.epochs == 3 else [0.001], rtol=1e-12
    )
    read = th.training.read_log(tmp_path / "run")
    pd.testing.assert_frame_equal(read, log, check_exact=True)


def test_one_function_says_in_which_order_weights_and_images_lie(tmp_path, monkeypatch):
    from trajhelpers.lab.training.engine import OneProcess
    from trajhelpers.lab.training.tasks import images as image_task

    recipe, pairs = RECIPES["batchnorm"].replace(data="fake-cifar10", batch_size=2), [(0, [0, 1])]
    for layout in (torch.channels_last, torch.contiguous_format):
        monkeypatch.setattr(image_task, "memory_format", lambda model, layout=layout: layout)
        task = image_task.ImageTask(recipe, OneProcess("cpu"), None)
        tensors = [task.model[3].weight, next(task.batches(pairs))[0]]
        assert [tensor.is_contiguous(memory_format=layout) for tensor in tensors] == [True, True]
    assert not any(tensor.is_contiguous(memory_format=torch.channels_last) for tensor in tensors)


# Stopping and going on


def stop_at(*steps):
    return lambda step, log: step in steps


@pytest.mark.parametrize("name", ["sgd", "adamw", "sam", "batchnorm", "odd batches"])
def test_stopped_and_resumed_to_the_same_bits(tmp_path, name):
    recipe, (_, at, _) = RECIPES[name], CASES[name]
    whole = train(recipe, tmp_path / "whole")
    seen = []
    for stop in (at[1], at[3], at[-1]):
        log = train(
            recipe,
            tmp_path / "run",
            resume=True,
            on_checkpoint=lambda step, log, stop=stop: seen.append(step) or step == stop,
        )
        assert "test_accuracy" not in log and max(checkpoints(tmp_path / "run")) == stop
    assert seen == at[1:]
    same_log(train(recipe, tmp_path / "run", resume=True), whole)
    same(tmp_path / "run", checkpoints(tmp_path / "whole"))
    assert not list((tmp_path / "run").glob(".*"))


def test_a_checkpoint_is_on_disk_when_it_is_announced(tmp_path):
    def look(step, log):
        assert sorted(checkpoints(tmp_path / "run")) == [
            0,
            *(s for s in MLP.checkpoint_steps(60) if s <= step),
        ]
        assert [row["step"] for row in log] == [s for s in (20, 40, 60) if s <= step]

    train(MLP, tmp_path / "run", on_checkpoint=look)


def test_a_finished_run_is_returned_as_it_is(tmp_path):
    log = train(MLP, tmp_path / "run")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").iterdir()}
    pd.testing.assert_frame_equal(train(MLP, tmp_path / "run", resume=True), log, check_exact=True)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run").iterdir()} == before


KILLED = """
import sys, torch, trajhelpers as th
torch.set_num_threads(1)
if __name__ == "__main__":
    th.training.train(
        th.training.Recipe.load(sys.argv[1]), sys.argv[2], device="cpu", resume=True,
        progress=False, on_checkpoint=lambda step, log: print(step, flush=True))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"optimizer": "adamw", "momentum": 0.0, "learning_rate": 0.01},
        {"model": "vgg", "width": 4, "sam_rho": 0.1, "epochs": 6},
    ],
    ids=["sgd", "adamw", "sam"],
)
def test_killed_five_times_and_the_same_bits(tmp_path, changes):
    recipe = MLP.replace(**{"epochs": 40, "checkpoints": 40, **changes})
    recipe.save(tmp_path / "recipe.json")
    whole = train(recipe, tmp_path / "whole")
    command = [sys.executable, "-c", KILLED, str(tmp_path / "recipe.json"), str(tmp_path / "run")]
    draw, reached = random.Random(7), [0]
    for _ in range(5):  # each a few checkpoints of its own on, and at any moment between two
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            reached.append(int(process.stdout.readline()))
            for _ in range(draw.randrange(5)):
                process.stdout.readline()
            time.sleep(draw.uniform(0, 1 / 40) * whole.seconds.iloc[-1])
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
            process.stdout.close()
    assert reached == sorted(set(reached)) and (tmp_path / "run" / ".training_state.pt").exists(), (
        "killed too late to test anything"
    )
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    same(tmp_path / "run", checkpoints(tmp_path / "whole"))
    same_log(th.training.read_log(tmp_path / "run"), whole)


# What is refused


def test_what_is_no_recipe(tmp_path):
    with pytest.raises(TypeError, match="recipe: expected a recipe, got dict"):
        th.training.train(vars(MLP), tmp_path / "run")


def test_a_second_run_is_refused(tmp_path):
    train(MLP, tmp_path / "run")
    before = {path: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    with pytest.raises(th.ExistingRunError, match=r"run.*resume=True.*overwrite=True"):
        train(MLP, tmp_path / "run")
    with pytest.raises(th.ExistingRunError, match=r"momentum, seed"):
        train(MLP.replace(seed=1, momentum=0.5), tmp_path / "run", resume=True)
    with pytest.raises(ValueError, match="exclude"):
        train(MLP, tmp_path / "run", resume=True, overwrite=True)
    assert {path: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before


def test_overwriting_leaves_nothing_of_the_first_run(tmp_path):
    train(MLP, tmp_path / "run", on_checkpoint=stop_at(40))
    (tmp_path / "run" / "notes.txt").write_text("mine")
    other = MLP.replace(seed=1, epochs=1, checkpoints=2)
    log = train(other, tmp_path / "run", overwrite=True)
    same_log(log, train(other, tmp_path / "fresh"))
    same(tmp_path / "run", checkpoints(tmp_path / "fresh"))
    assert (
        th.training.Recipe.load(tmp_path / "run" / "recipe.json") == other
        and (tmp_path / "run" / "notes.txt").read_text() == "mine"
    )


@pytest.mark.parametrize("resume", [False, True])
def test_checkpoints_of_another_hand_are_not_deleted(tmp_path, resume):
    """A folder that th.Recorder filled has no recipe."""
    with th.Recorder(tmp_path / "run", torch.nn.Linear(2, 2)) as record:
        record(1)
    before = {path: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    with pytest.raises(th.ExistingRunError, match="run"):
        train(MLP, tmp_path / "run", resume=resume)
    assert {path: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before


@pytest.mark.parametrize(
    "changes, word",
    [
        ({"data": "cifar10"}, "cifar10"),
        ({"batch_size": 1281}, "batch_size"),
        ({"checkpoints": 61}, "checkpoints"),
    ],
)
def test_what_cannot_start_leaves_no_run_behind(tmp_path, changes, word):
    """So that the next call, with the mistake mended, is not refused; and a run that was to be
    overwritten is still there.
    """
    with pytest.raises(ValueError, match=word):
        train(MLP.replace(**changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    log = train(MLP, tmp_path / "run")
    with pytest.raises(ValueError, match=word):
        train(MLP.replace(**changes), tmp_path / "run", overwrite=True)
    pd.testing.assert_frame_equal(train(MLP, tmp_path / "run", resume=True), log)


@pytest.mark.parametrize(
    "changes, epochs",
    [({"learning_rate": 1e30}, 0), ({"weight_decay": 30.0, "batch_size": 128}, 1)],
    ids=["at once", "later"],
)
def test_a_loss_that_is_not_finite_ends_the_run(tmp_path, changes, epochs):
    """With weight decay 30 every weight is multiplied by −2 a step, and the loss overflows in the
    second epoch.
    """
    recipe = MLP.replace(momentum=0.0, schedule="constant", checkpoints=30, **changes)
    steps = 3 * (1280 // recipe.batch_size)
    _, each, _ = plain_loop(recipe, steps, [], lambda step: recipe.learning_rate)
    last = next(step for step, (loss, _) in enumerate(each, 1) if not np.isfinite(loss))
    with pytest.raises(th.NonFiniteError, match=rf"\b{last} of {steps}\b.*learning_rate") as caught:
        train(recipe, tmp_path / "run")
    assert str(tmp_path / "run") in str(caught.value)
    kept = [step for step in range(last) if step % (steps // 30) == 0]
    assert sorted(checkpoints(tmp_path / "run")) == kept
    if len(kept) > 1:
        assert th.gram(th.open_trajectory(tmp_path / "run"), device="cpu").n == len(kept)
    if epochs:
        assert list(th.training.read_log(tmp_path / "run").step) == [10]
    else:
        with pytest.raises(FileNotFoundError, match="log"):
            th.training.read_log(tmp_path / "run")


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[: len(data) // 2],
        lambda data: b"",
        lambda data: b"junk" * 100,
        lambda data: data[:2000] + bytes(100) + data[2100:],
    ],
    ids=["cut", "empty", "junk", "zeros"],
)
def test_a_damaged_state(tmp_path, damage):
    train(MLP, tmp_path / "run", on_checkpoint=stop_at(30))
    state = tmp_path / "run" / ".training_state.pt"
    state.write_bytes(damage(state.read_bytes()))
    with pytest.raises(th.TrajectoryError, match=re.escape(str(state)) + ".*overwrite"):
        train(MLP, tmp_path / "run", resume=True)
    assert sorted(checkpoints(tmp_path / "run")) == [0, 10, 20, 30]
    train(MLP, tmp_path / "run", overwrite=True)
    assert sorted(checkpoints(tmp_path / "run")) == [0, 10, 20, 30, 40, 50, 60]
