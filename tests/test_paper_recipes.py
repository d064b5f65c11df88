"""The paper's recipes: that they say what the paper says and no more, and that each of its networks
trains at full size, on one process and on two.
"""

import dataclasses
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

import trajhelpers as th
from trajhelpers.__main__ import main
from trajhelpers.lab.studies.paper import PAPER, paper_recipe
from trajhelpers.lab.training.tasks import images as image_task

DRIVER = Path(__file__).with_name("distributed_driver.py")

# Read from the paper once more, and not from paper.py: what each study states, as the values that
# its runs may have.
RESNET50 = {"model": {"resnet50"}, "data": {"imagenet"}}
FIG_2 = RESNET50 | {
    "optimizer": {"sgd"},
    "learning_rate": {0.1},
    "momentum": {0.9},
    "weight_decay": {1e-4},
    "batch_size": {256},
    "epochs": {90},
    "schedule": {"step"},
    "decay_at": {(1 / 3, 2 / 3)},
    "decay_factor": {0.1},
    "checkpoints": {90},
}
VGG16 = {"data": {"cifar10"}, "optimizer": {"sgd"}}
STATED = {
    "Fig 2, 4, 10–14": FIG_2,
    "Fig 3, 4, 10–14": FIG_2 | {"momentum": {0.9, 0.0}, "weight_decay": {1e-4, 0.0}},
    "Fig 5, 20–24": (
        RESNET50 | {"optimizer": {"adamw"}, "weight_decay": {1.0, 0.1, 0.01, 0.001, 0.0}}
    ),
    "Fig 6, 60–64": {"data": {"cifar10"}},
    "Fig 15–19": RESNET50 | {"optimizer": {"sgd"}},
    "Fig 25–29": {"data": {"imagenet"}, "optimizer": {"adamw"}},
    "Fig 30–34": RESNET50,
    "Fig 35–39": RESNET50 | {"optimizer": {"sgd"}, "learning_rate": {0.1}, "weight_decay": {1e-4}},
    "Fig 40–44": VGG16 | {"learning_rate": {0.1}, "weight_decay": {1e-4}},
    "Fig 45–49": VGG16 | {"learning_rate": {0.1}, "weight_decay": {0.0}},
    "Fig 50–54": VGG16 | {"learning_rate": {0.01}, "weight_decay": {1e-4}},
    "Fig 55–59": VGG16 | {"learning_rate": {0.01}, "weight_decay": {0.0}},
    "section 4.3": {},
}


def unused(recipe):
    """Fields that say nothing in this recipe: what is off, and what its optimizer or schedule does
    not have.
    """
    off = {
        field
        for field in ("width", "nesterov", "warmup", "sam_rho", "label_noise", "epochs", "steps")
        if not getattr(recipe, field)
    }
    if recipe.optimizer == "adamw":
        off.add("momentum")
    if recipe.schedule != "step":
        off |= {"decay_at", "decay_factor"}
    return off


@pytest.mark.parametrize("name", PAPER)
def test_a_field_is_the_papers_or_marked_as_ours(name):
    run = PAPER[name]
    stated = STATED[run.source]
    fields = {field.name for field in dataclasses.fields(th.training.Recipe)}
    assert stated.keys() | run.ours.keys() == fields - unused(run.recipe)
    assert not stated.keys() & run.ours.keys()
    assert all(getattr(run.recipe, field) in values for field, values in stated.items())
    assert all(run.ours.values()), "a choice without a reason"


def test_every_study_is_there_and_no_run_twice():
    assert {run.source for run in PAPER.values()} == STATED.keys()
    assert len({run.recipe for run in PAPER.values()}) == len(PAPER)
    # and every stated value is some run's, the network's first run among them
    for source, stated in STATED.items():
        runs = [
            run.recipe for name, run in PAPER.items() if run.source == source or "/" not in name
        ]
        assert all(
            value in {getattr(run, field) for run in runs}
            for field, values in stated.items()
            for value in values
        )


def test_the_runs_of_a_batch_size_have_their_steps_and_decays_in_common():
    runs = [paper_recipe(f"vgg16-cifar10/batch-size-{size}") for size in (64, 256, 512)]
    first = paper_recipe("vgg16-cifar10")
    assert {run.steps for run in runs} == {first.epochs * (50_000 // first.batch_size)}
    assert {run.learning_rate / run.batch_size for run in runs} == {
        first.learning_rate / first.batch_size
    }
    assert {
        (run.schedule, run.decay_at, run.decay_factor, run.checkpoints) for run in [first, *runs]
    } == {("step", (1 / 3, 2 / 3), 0.1, 90)}


def test_checkpoints_and_decays_fall_on_epochs():
    steps = 90 * (1_281_167 // 256)
    recipe = paper_recipe("resnet50-imagenet")
    assert recipe.checkpoint_steps(steps) == [epoch * 5004 for epoch in range(1, 91)]
    assert [recipe.rate(epoch * 5004, steps) for epoch in (29, 30, 59, 60, 89)] == pytest.approx(
        [0.1, 0.01, 0.01, 0.001, 0.001]
    )
    assert recipe.rate(30 * 5004 - 1, steps) == 0.1


def test_unknown_names():
    with pytest.raises(ValueError, match="resnet50-imagenet/no-momentum.*--list"):
        paper_recipe("resnet50-imagenet/nomomentum")
    with pytest.raises(ValueError, match="'q': no run.*--list"):
        paper_recipe("q")


def test_command_line(capsys, tmp_path):
    assert main(["train", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(PAPER)
    assert all(
        run.source in line and all(field in line for field in run.ours)
        for line, run in zip(lines, PAPER.values())
    )
    for arguments in (["train"], ["train", "vgg16-cifar10"], ["train", "--out", str(tmp_path)]):
        assert main(arguments) == 2
        assert "RECIPE and --out" in capsys.readouterr().err
    assert main(["train", "vgg16", "--out", str(tmp_path / "run")]) == 2
    assert "vgg16-cifar10" in capsys.readouterr().err and not (tmp_path / "run").exists()


def test_dropout_is_the_same_in_a_resumed_run(tmp_path, monkeypatch):
    """VGG16's draws random numbers in each step; whatever was drawn before must not matter."""
    monkeypatch.setattr(
        image_task,
        "build_model",
        lambda name, width, channels, pixels, classes: torch.nn.Sequential(
            torch.nn.Flatten(), torch.nn.Dropout(), torch.nn.Linear(pixels**2, classes)
        ),
    )
    recipe = th.training.Recipe(
        model="mlp",
        width=2,
        data="digits",
        learning_rate=0.1,
        batch_size=64,
        steps=4,
        checkpoints=(2, 4),
    )
    before = torch.get_rng_state()
    th.training.train(recipe, tmp_path / "whole", device="cpu", progress=False)
    assert torch.equal(torch.get_rng_state(), before)
    th.training.train(
        recipe,
        tmp_path / "halves",
        device="cpu",
        progress=False,
        on_checkpoint=lambda step, log: step == 2,
    )
    torch.rand(100)
    th.training.train(recipe, tmp_path / "halves", device="cpu", progress=False, resume=True)
    for step in (2, 4):
        assert recorded(tmp_path / "whole", step) == recorded(tmp_path / "halves", step)
    assert recorded(tmp_path / "whole", 2) != recorded(tmp_path / "whole", 4)


# On two processes. Rank 1 records nothing: each process writes a hash of its parameters after each
# step.


def launch(folder, recipe, processes, *program):
    """Run ``program RECIPE.json FOLDER`` under torchrun, all of whose traffic stays on this
    machine, or alone; what it printed.
    """
    described = folder.with_suffix(".json")
    recipe.save(described)
    torchrun = [
        "-m",
        "torch.distributed.run",
        "--nproc_per_node",
        str(processes),
        "--rdzv-backend",
        "c10d",
        "--rdzv-endpoint",
        "127.0.0.1:0",
        "--local-addr",
        "127.0.0.1",
    ]
    command = [sys.executable, *(torchrun if processes > 1 else []), *map(str, program)]
    environment = os.environ | {"OMP_NUM_THREADS": str(2 // processes), "GLOO_SOCKET_IFNAME": "lo"}
    ran = subprocess.run(
        command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert ran.returncode == 0, ran.stdout[-4000:]
    return ran.stdout


def drive(folder, recipe, processes, stop=0):
    """Train; the hashes of each process."""
    launch(folder, recipe, processes, DRIVER, folder.with_suffix(".json"), folder, stop)
    return [
        json.loads((folder / f"hashes_of_{rank}.json").read_text()) for rank in range(processes)
    ]


def tensors(folder, step):
    """The recorded parameters one at a time, by name; all of ViT's would take much memory."""
    with safe_open(folder / f"step_{step}.safetensors", "pt") as file:
        for name in sorted(file.keys()):
            yield file.get_tensor(name)


def recorded(folder, step):
    digest = hashlib.sha256()
    for tensor in tensors(folder, step):
        digest.update(tensor.numpy())
    return digest.hexdigest()


def equal_in_both(folder, recipe, steps, **options):
    """Train on two processes, which have the same bits after every step, and new ones, and evaluate
    the same network; what is recorded is what they have.
    """
    first, second = drive(folder, recipe, 2, **options)
    assert first == second
    assert list(first["steps"]) == [str(step) for step in steps] and len(
        set(first["steps"].values())
    ) == len(steps)
    assert all(recorded(folder, step) == first["steps"][str(step)] for step in steps)


@pytest.fixture
def big(tmp_path):
    """A folder for gigabytes, which pytest would keep."""
    yield tmp_path
    shutil.rmtree(tmp_path)


def two_steps(name, data, **changes):
    return paper_recipe(name).replace(
        data=data, batch_size=4, epochs=None, steps=2, checkpoints=2, **changes
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "recipe",
    [
        # in the paper recipe's own mixed precision
        two_steps("resnet50-imagenet", "fake-imagenet"),
        two_steps("vgg16-cifar10", "fake-cifar10", dtype="float32"),
    ],
    ids=lambda recipe: recipe.model,
)
def test_networks_with_batchnorm(big, recipe):
    """BatchNorm sees half a batch in each of two processes, so that one process gives other
    numbers; it has to train as well.
    """
    equal_in_both(big / "two", recipe, [1, 2])
    (one,) = drive(big / "one", recipe, 1)
    assert one["steps"] == {str(step): recorded(big / "one", step) for step in (1, 2)}
    for folder in ("one", "two"):
        log = th.training.read_log(big / folder)
        assert log.step.tolist() == [2] and np.isfinite(log.to_numpy()).all()


@pytest.mark.slow
def test_vit_on_one_process_is_vit_on_two(big):
    """Without BatchNorm the two halves of a batch add up to the batch.

    Compared in float64, because AdamW divides each gradient by its own size, or by ε = 1e-8 where
    that is more: of a gradient near or below ε, as 2 % are in the second step (the head starts at
    zero, and the first step moves it by 1e-3), the rounding is a visible part of the step. Measured
    after two steps of at most 1e-3 and 5e-4: in float32 25 thousand of the 86.6 million parameters
    differ by more than 1e-5, and one by 2e-4; in float64 none by more than 2e-13. (The keys'
    biases, whose gradients are nothing but rounding since softmax does not see them, differ by 1e-7
    in float32: 6e-12 is far below ε.) AdamW would not see a gradient that is twice what it should
    be, but by ε; so the bound is not 1e-5 but 1e-9."""
    recipe = two_steps("vit-imagenet", "fake-imagenet", dtype="float64")
    # before all images are evaluated, which takes as long
    equal_in_both(big / "two", recipe, [1, 2], stop=2)
    drive(big / "one", recipe, 1, stop=2)
    for step in (1, 2):
        assert (
            max(
                (a - b).abs().max().item()
                for a, b in zip(tensors(big / "one", step), tensors(big / "two", step), strict=True)
            )
            < 1e-9
        )
    moved = parameters = 0
    for start, end in zip(tensors(big / "two", 0), tensors(big / "two", 2)):
        moved, parameters = (
            moved + ((end - start).abs() > 1e-4).sum().item(),
            parameters + start.numel(),
        )
    assert moved > 0.9 * parameters


SMALL = th.training.Recipe(
    model="vgg",
    width=4,
    data="fake-cifar10",
    learning_rate=0.1,
    momentum=0.9,
    batch_size=4,
    steps=3,
    checkpoints=3,
)


@pytest.mark.slow
def test_sam_on_two_processes(tmp_path):
    """Both perturb along the gradient of the whole batch."""
    equal_in_both(tmp_path / "sam", SMALL.replace(sam_rho=0.1), [1, 2, 3])
    equal_in_both(tmp_path / "none", SMALL, [1, 2, 3])
    assert recorded(tmp_path / "sam", 1) != recorded(tmp_path / "none", 1)


@pytest.mark.slow
def test_a_run_on_two_processes_resumes(tmp_path):
    """In the middle of an epoch, to the same bits and the same log."""
    equal_in_both(tmp_path / "whole", SMALL, [1, 2, 3])
    equal_in_both(tmp_path / "parts", SMALL, [1], stop=1)
    equal_in_both(tmp_path / "parts", SMALL, [2, 3])
    assert recorded(tmp_path / "whole", 3) == recorded(tmp_path / "parts", 3)
    whole, parts = (
        th.training.read_log(tmp_path / folder).drop(columns="seconds")
        for folder in ("whole", "parts")
    )
    assert whole.equals(parts)


@pytest.mark.slow
def test_the_command_line_on_two_processes(tmp_path):
    recipe = th.training.Recipe(
        model="mlp",
        width=16,
        data="digits",
        learning_rate=0.1,
        momentum=0.9,
        batch_size=64,
        epochs=1,
        checkpoints=4,
    )
    printed = launch(
        tmp_path / "two",
        recipe,
        2,
        "-m",
        "trajhelpers",
        "train",
        tmp_path / "two.json",
        "--out",
        tmp_path / "two",
        "--device",
        "cpu",
    )
    assert len(re.findall("test accuracy", printed)) == 1
    log = th.training.train(recipe, tmp_path / "one", device="cpu", progress=False)
    two = th.training.read_log(tmp_path / "two")
    assert list(two) == list(log)
    np.testing.assert_allclose(two.drop(columns="seconds"), log.drop(columns="seconds"), rtol=1e-5)
    for step in (0, 5, 10, 15, 20):
        for a, b in zip(
            tensors(tmp_path / "one", step), tensors(tmp_path / "two", step), strict=True
        ):
            assert (a - b).abs().max() < 1e-5


@pytest.mark.slow
def test_the_width_study_on_two_processes(tmp_path):
    """The loop gives every kind of recipe its share of each batch."""
    recipe = th.training.WidthRecipe(width=16, learning_rate=0.1, steps=3, checkpoints=3)
    program = "import sys, trajhelpers as th; recipe = th.training.WidthRecipe.load(sys.argv[1]);"
    (tmp_path / "train.py").write_text(
        f"{program} th.training.train(recipe, sys.argv[2], device='cpu', progress=False)"
    )
    for name, processes in (("one", 1), ("two", 2)):
        folder = tmp_path / name
        described = folder.with_suffix(".json")
        launch(folder, recipe, processes, tmp_path / "train.py", described, folder)
    one, two = (
        th.training.read_log(tmp_path / name).drop(columns="seconds") for name in ("one", "two")
    )
    np.testing.assert_allclose(two, one, rtol=1e-4)
    for step in (0, 1, 2, 3):
        for a, b in zip(
            tensors(tmp_path / "one", step), tensors(tmp_path / "two", step), strict=True
        ):
            assert (a - b).abs().max() < 1e-5
