"""A fault at every n-th system call in turn: what comes out is right to the bit, or one clear error
is raised; what was on disk before is whole, and nothing is left behind.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from faults import LOCAL, NETWORK, Held, check_left, each, is_clear
from hub_runs import checkpoint
from safetensors.torch import load_file, save_file
from standin_hub import StandInHub

import trajhelpers as th
from trajhelpers.__main__ import main
from trajhelpers.sources.remote import files as _files

ERRORS = ("EIO", "EMFILE", "ENOSPC", "late", "short", "interrupt")
QUICK = ("read", "write", "sync", "rename"), ("EIO", "late", "short", "interrupt")
NARROW = 30_000  # bytes, of a pass in several blocks


def numbers(seed):
    generator = torch.Generator().manual_seed(seed)
    return {
        "a.weight": torch.randn(60, 30, generator=generator),
        "b.bias": torch.randn(30, generator=generator),
    }


def run_of(folder, suffix="safetensors", steps=3):
    folder.mkdir(parents=True)
    for step in range(steps):
        path = folder / f"step_{step}.{suffix}"
        save_file(numbers(step), path) if suffix == "safetensors" else torch.save(
            numbers(step), path
        )
    return folder


def kernel_of(source, **options):
    return th.gram(th.open_trajectory(source), device="cpu", **options)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def right_or_clear(outcome, expected, *called):
    """Where the process lives: the same bits, or an error that names one of these."""
    if outcome.error is not None:
        is_clear(outcome, *called)
    elif not outcome.died:
        assert not outcome.where.startswith("interrupt"), f"{outcome.where}: Ctrl-C is lost"
        np.testing.assert_array_equal(outcome.value, expected, err_msg=outcome.where)


# What is done, with a fault at each call, and what holds after it. Each is given an empty folder,
# kinds of calls, and faults.


def reading(folder, kinds, faults, lasting=False):
    for suffix in ("safetensors", "pt"):
        run = run_of(folder / suffix, suffix)
        expected = kernel_of(run).increments
        with Held() as held:
            for outcome in each(
                lambda run=run: kernel_of(run).increments, run, kinds, faults, lasting
            ):
                right_or_clear(outcome, expected, run)
                held.check(outcome.where)


def going_on(folder, kinds, faults, lasting=False):
    """A pass that keeps what is done, and the next one, which goes on from there."""
    run, partial = run_of(folder / "run"), folder / "kept" / "x.partial"
    partial.parent.mkdir()

    def passed():
        return kernel_of(run, memory=NARROW, partial=partial).increments

    def anew():
        partial.unlink(missing_ok=True)

    expected = passed()
    with Held() as held:
        for outcome in each(passed, folder, kinds, faults, lasting, anew):
            right_or_clear(outcome, expected, folder)
            held.check(outcome.where)
            check_left(outcome, partial.parent, partial.name)
            np.testing.assert_array_equal(passed(), expected, err_msg=outcome.where)
            assert names(partial.parent) == [partial.name], outcome.where


def saving(folder, kinds, faults, lasting=False):
    """Over another kernel."""
    file = folder / "run.npz"
    other, kernel = (
        th.gram(th.open_trajectory([numbers(seed) for seed in seeds]), device="cpu")
        for seeds in ((3, 4), (0, 1, 2))
    )

    def restored():
        other.save(file)
        assert names(folder) == [file.name], "left there by the one before"

    with Held() as held:
        for outcome in each(lambda: kernel.save(file), folder, kinds, faults, lasting, restored):
            if outcome.error is not None:
                is_clear(outcome, folder)
            held.check(outcome.where)
            check_left(outcome, folder, file.name)
            found = th.load_kernel(file)
            is_new = found.n == kernel.n
            assert is_new or outcome.error is not None or outcome.died, outcome.where
            whole = kernel if is_new else other
            np.testing.assert_array_equal(found.increments, whole.increments)


def loading(folder, kinds, faults, lasting=False):
    file = folder / "run.npz"
    kernel_of(run_of(folder / "run")).save(file)
    expected = th.load_kernel(file).increments
    with Held() as held:
        for outcome in each(
            lambda: th.load_kernel(file).increments, folder, kinds, faults, lasting
        ):
            right_or_clear(outcome, expected, file)
            held.check(outcome.where)


def recording(folder, kinds, faults, lasting=False):
    """And going on with it."""
    run, model = folder / "run", torch.nn.Linear(3, 1, bias=False)

    def record(first=1, **options):
        torch.nn.init.constant_(model.weight, first - 1)
        with th.Recorder(run, model, **options) as recorder:
            for step in range(first, 4):
                torch.nn.init.constant_(model.weight, step)
                recorder(step)

    def checkpoints():
        return {
            int(file.stem.removeprefix("step_")): load_file(file)["weight"].unique().tolist()
            for file in run.glob("step_*.safetensors")
        }

    whole = {step: [step] for step in range(4)}
    with Held() as held:
        for outcome in each(
            record, folder, kinds, faults, lasting, lambda: shutil.rmtree(run, ignore_errors=True)
        ):
            if outcome.error is not None:
                is_clear(outcome, run)
            held.check(outcome.where)
            found = checkpoints()
            # None under its name that is not whole, and no hole.
            assert found == {step: [step] for step in range(len(found))}, outcome.where
            if outcome.error is None and not outcome.died:
                assert found == whole, outcome.where
            record(max(1, len(found)), resume=True)
            assert names(run) == [f"step_{step}.safetensors" for step in range(4)], outcome.where
            assert checkpoints() == whole, outcome.where


SCENES = [reading, loading, saving, going_on, recording]


each_scene = pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)


@pytest.fixture(autouse=True)
def no_disk(monkeypatch):
    """What is tested is the order of the calls: nothing has to survive the machine."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@each_scene
def test_a_fault_at_each_call(memory_path, scene):
    scene(memory_path, *QUICK)


@pytest.mark.slow
@each_scene
def test_every_fault_at_each_call(memory_path, scene):
    scene(memory_path, LOCAL, ERRORS)


@pytest.mark.slow
@each_scene
def test_a_fault_at_each_call_and_all_after_it(memory_path, scene):
    """A disk that is full, or gone."""
    scene(memory_path, LOCAL, ("EIO", "EMFILE", "ENOSPC"), True)


DEATHS = """
import os, pathlib, sys
import test_faults
os.fsync = lambda descriptor: None
_, folder, scene, *kinds = sys.argv
getattr(test_faults, scene)(pathlib.Path(folder), kinds, ["death"])
"""


@pytest.mark.parametrize(
    "scene, kinds",
    [
        ("saving", ["write", "sync", "rename"]),
        *(pytest.param(scene.__name__, LOCAL, marks=pytest.mark.slow) for scene in SCENES[2:]),
    ],
)
def test_death_at_each_call(memory_path, scene, kinds):
    """In forks of a process that has no threads."""
    path = os.pathsep.join([str(Path(__file__).parent), str(Path(th.__file__).parents[1])])
    alone = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    done = subprocess.run(
        [sys.executable, "-c", DEATHS, memory_path, scene, *kinds],
        env=os.environ | alone | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_the_command_line_says_one_line(memory_path, capsys):
    run = run_of(memory_path / "run")
    out = memory_path / "out" / "run.npz"
    out.parent.mkdir()
    for outcome in each(
        lambda: main(["gram", str(run), "-o", str(out)]),
        memory_path,
        ("open", "read", "write", "sync", "rename"),
        ("EIO",),
        before=lambda: out.unlink(missing_ok=True),
    ):
        printed = capsys.readouterr().err
        assert outcome.error is None and outcome.value in (0, 2), outcome.where
        if outcome.value:
            assert str(memory_path) in printed, f"{outcome.where}: {printed}"
            assert "Traceback" not in printed
        else:
            assert out.exists()
        check_left(outcome, out.parent, *([] if outcome.value else [out.name]))


# The network

REPO, SOURCE = "somebody/model", "hf://somebody/model"


@pytest.fixture
def hub(monkeypatch, memory_path):
    monkeypatch.setattr(_files, "_FIRST_WAIT", 1e-5)
    with StandInHub() as hub:
        hub.connect(monkeypatch, memory_path / "home")
        for step, kind in enumerate(("safetensors", "bin", "safetensors")):
            files = checkpoint(numbers(step), memory_path / f"step{step}", kind)
            hub.add(REPO, f"step{step}", files)
        yield hub


def from_the_hub(**options):
    trajectory = th.open_trajectory(SOURCE, revisions="step*")
    return th.gram(trajectory, device="cpu", memory=NARROW, **options).increments


def test_a_connection_that_fails_at_each_call(hub, memory_path):
    """Is made anew."""
    expected = from_the_hub()
    with Held() as held:
        for outcome in each(from_the_hub, memory_path, NETWORK):
            if not outcome.where.startswith("interrupt"):
                assert outcome.error is None, f"{outcome.where}: {outcome.error!r}"
            right_or_clear(outcome, expected)
            held.check(outcome.where)


def test_a_network_that_is_gone(hub, memory_path):
    """From any call on: an error, and the next pass goes on."""
    partial = memory_path / "kept" / "x.partial"
    partial.parent.mkdir()
    expected = from_the_hub()

    def anew():
        partial.unlink(missing_ok=True)

    with Held() as held:
        for outcome in each(
            lambda: from_the_hub(partial=partial),
            memory_path,
            NETWORK,
            ("ECONNREFUSED", "ECONNRESET"),
            True,
            anew,
        ):
            right_or_clear(outcome, expected, REPO)
            held.check(outcome.where)
            check_left(outcome, partial.parent, partial.name)
            np.testing.assert_array_equal(from_the_hub(partial=partial), expected)
