"""Recording while training: what is written, when, and that a folder opens whatever happened."""

import copy
import random
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time

import numpy as np
import oracle
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

import trajhelpers as th


class Net(torch.nn.Module):
    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.conv = torch.nn.Conv2d(1, 2, 3)
        self.norm = torch.nn.BatchNorm2d(2)
        self.head = torch.nn.Linear(2, 3)


def train_step(model):
    """Stands for an optimizer: every parameter moves, in place."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)


def parameters(model):
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def record_run(folder, count=10, model=None, first=1, **options):
    """A run of `count` steps, and what the recorder should have written: {step: parameters}."""
    model = model or Net()
    seen = {0: parameters(model)}
    with th.Recorder(folder, model, **options) as record:
        for step in range(first, count + 1):
            train_step(model)
            seen[step] = parameters(model)
            record(step)
    return seen


def opened(folder):
    return th.open_trajectory(folder)


def same(folder, seen, steps):
    trajectory = opened(folder)
    assert list(trajectory.steps) == list(steps)
    expected = oracle.gram(oracle.flat([seen[step] for step in steps]))
    np.testing.assert_allclose(
        th.gram(trajectory, device="cpu").gram(), expected, rtol=0, atol=1e-12 * expected.max()
    )


@pytest.mark.parametrize(
    "options, steps",
    [
        ({}, range(11)),
        ({"every": 1}, range(11)),
        ({"every": 3}, [0, 3, 6, 9]),
        ({"every": 5}, [0, 5, 10]),
        ({"steps": [2, 3, 7]}, [0, 2, 3, 7]),
        ({"steps": [0, 1, 2, 4, 8, 16]}, [0, 1, 2, 4, 8]),
        # NumPy's integers are not int
        ({"steps": np.unique(np.geomspace(1, 9, 4).astype(int))}, [0, 1, 2, 4, 9]),
        ({"every": np.int64(5)}, [0, 5, 10]),
    ],
    ids=str,
)
def test_when_it_writes(tmp_path, options, steps):
    """Initialization always, then the schedule; each file holds the weights of its own step, not
    later ones.
    """
    same(tmp_path / "run", record_run(tmp_path / "run", **options), steps)


def test_pythias_schedule():
    steps = list(th.pythia_steps(143000))
    assert steps == [0] + [2**i for i in range(10)] + list(range(1000, 143001, 1000))
    assert len(steps) == 154
    assert list(th.pythia_steps(100)) == [0, 1, 2, 4, 8, 16, 32, 64]


def test_what_it_writes(tmp_path):
    """Parameters only, as safetensors under the model's own names."""
    seen = record_run(tmp_path / "run", count=2)
    assert (tmp_path / "run" / "step_0.safetensors").exists()
    for step in range(3):
        tensors = load_file(tmp_path / "run" / f"step_{step}.safetensors")
        assert set(tensors) == set(seen[step])
        assert all(torch.equal(tensors[name], seen[step][name]) for name in tensors)


def test_initialization_is_written_at_once(tmp_path):
    model = Net()
    before = parameters(model)
    with th.Recorder(tmp_path / "run", model, every=1):
        train_step(model)
    tensors = load_file(tmp_path / "run" / "step_0.safetensors")
    assert all(torch.equal(tensors[name], before[name]) for name in before)


@pytest.mark.parametrize("wrap", ["data parallel", "compile"])
def test_names_without_prefixes(tmp_path, wrap):
    model = Net()
    wrapped = torch.nn.DataParallel(model) if wrap == "data parallel" else torch.compile(model)
    with th.Recorder(tmp_path / "run", wrapped, every=1) as record:
        train_step(model)
        record(1)
    assert set(load_file(tmp_path / "run" / "step_1.safetensors")) == set(parameters(model))


PARTS = st.sampled_from(["module", "_orig_mod", "_fsdp_wrapped_module", "a", "b"])


@given(
    st.sets(st.lists(PARTS, min_size=1, max_size=4).map(tuple), min_size=1, max_size=6),
    st.sampled_from([(), ("module",), ("_orig_mod",), ("_orig_mod", "module")]),
)
@settings(max_examples=30, deadline=None)
@example({("w",), ("module", "w")}, ())
@example({("w",), ("_orig_mod", "w")}, ("module",))
def test_no_set_of_names_loses_a_tensor(paths, wrapped):
    """Whatever parts of a model are called: what is recorded, and what is read, has as many tensors
    as the model, each as it is there.
    """
    model = torch.nn.Module()
    for number, path in enumerate(sorted(paths)):
        place = model
        for part in (*wrapped, *path):
            if part not in dict(place.named_children()):
                place.add_module(part, torch.nn.Module())
            place = place.get_submodule(part)
        place.weight = torch.nn.Parameter(torch.full((number + 1,), float(number)))
    with tempfile.TemporaryDirectory() as folder:
        with th.Recorder(folder, model) as record:
            record(1)
        for source in (folder, [model, copy.deepcopy(model)]):
            trajectory = th.open_trajectory(source)
            assert sorted(trajectory.sizes.values()) == list(range(1, len(paths) + 1))
            for name, size in trajectory.sizes.items():
                assert (trajectory.read([(name, 0, size)]) == size - 1).all()


def test_a_part_that_is_called_module(tmp_path):
    """Next to parameters of the model's own, `module.` is no prefix of DDP's."""
    model = torch.nn.Module()
    model.weight, model.module = torch.nn.Parameter(torch.ones(2)), torch.nn.Linear(2, 2)
    for wrapped in (model, torch.nn.DataParallel(model), torch.compile(model)):
        with th.Recorder(tmp_path, wrapped, overwrite=True) as record:
            record(1)
        assert set(load_file(tmp_path / "step_1.safetensors")) == set(parameters(model))
        assert th.open_trajectory(tmp_path).p == 2 + 4 + 2


def test_tied_and_strided_parameters(tmp_path):
    """Safetensors takes neither ties nor strides: a tie is written once, a strided tensor in its
    logical order.
    """
    model = torch.nn.Module()
    model.embed, model.head = torch.nn.Embedding(5, 3), torch.nn.Linear(3, 5, bias=False)
    model.head.weight = model.embed.weight
    model.conv = torch.nn.Conv2d(2, 3, 3).to(memory_format=torch.channels_last)
    model.odd = torch.nn.Parameter(torch.randn(4, 6).t())
    seen = record_run(tmp_path / "run", count=2, model=model)
    trajectory = opened(tmp_path / "run")
    assert trajectory.p == 15 + 54 + 3 + 24
    same(tmp_path / "run", seen, range(3))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_precision_is_kept(tmp_path, dtype):
    record_run(tmp_path / "run", count=2, model=Net().to(dtype))
    assert set(opened(tmp_path / "run").dtypes.values()) == {str(dtype).removeprefix("torch.")}


def test_a_second_run_is_refused(tmp_path):
    """A notebook cell run twice never mixes two runs."""
    seen = record_run(tmp_path / "run", count=4)
    with pytest.raises(th.ExistingRunError) as caught:
        record_run(tmp_path / "run", count=2, model=Net(1))
    assert isinstance(caught.value, FileExistsError)
    message = str(caught.value)
    assert "run" in message and "resume" in message and "overwrite" in message
    same(tmp_path / "run", seen, range(5))


def test_overwriting_leaves_nothing_of_the_first_run(tmp_path):
    record_run(tmp_path / "run", count=9)
    seen = record_run(tmp_path / "run", count=4, model=Net(1), overwrite=True)
    same(tmp_path / "run", seen, range(5))


def test_overwriting_spares_what_the_recorder_did_not_write(tmp_path):
    record_run(tmp_path / "run", count=2)
    (tmp_path / "run" / "notes.txt").write_text("mine")
    record_run(tmp_path / "run", count=2, overwrite=True)
    assert (tmp_path / "run" / "notes.txt").read_text() == "mine"


def test_resuming_appends(tmp_path):
    model = Net()
    seen = record_run(tmp_path / "run", count=4, model=model)
    first = (tmp_path / "run" / "step_0.safetensors").read_bytes()
    later = record_run(tmp_path / "run", count=8, model=model, first=5, resume=True)
    assert (tmp_path / "run" / "step_0.safetensors").read_bytes() == first
    same(tmp_path / "run", {**later, **seen}, range(9))


def test_resuming_from_an_earlier_step_replaces_what_came_after(tmp_path):
    """Training went back to its last own checkpoint, step 3 of 6: the steps it walks again are the
    new ones.
    """
    record_run(tmp_path / "run", count=6)
    model = Net(5)
    later = record_run(tmp_path / "run", count=5, model=model, first=4, resume=True)
    trajectory = opened(tmp_path / "run")
    assert list(trajectory.steps)[:6] == list(range(6))
    for step in (4, 5):
        tensors = load_file(tmp_path / "run" / f"step_{step}.safetensors")
        assert all(torch.equal(tensors[name], later[step][name]) for name in tensors)


def test_resuming_where_nothing_is_starts(tmp_path):
    same(tmp_path / "run", record_run(tmp_path / "run", count=3, resume=True), range(4))


def test_resume_and_overwrite_exclude_each_other(tmp_path):
    with pytest.raises(ValueError):
        th.Recorder(tmp_path / "run", Net(), resume=True, overwrite=True)


@pytest.mark.parametrize(
    "options", [{"every": 0}, {"every": -1}, {"steps": [-3]}, {"every": 1.5}], ids=str
)
def test_schedules_that_make_no_sense(tmp_path, options):
    with pytest.raises((ValueError, TypeError)):
        th.Recorder(tmp_path / "run", Net(), **options)
    assert not (tmp_path / "run").exists() or not list((tmp_path / "run").iterdir())


def test_an_error_in_training_comes_through_and_the_folder_opens(tmp_path):
    model = Net()
    with pytest.raises(RuntimeError, match="diverged"):
        with th.Recorder(tmp_path / "run", model, every=1) as record:
            for step in range(1, 5):
                train_step(model)
                record(step)
            raise RuntimeError("diverged")
    assert list(opened(tmp_path / "run").steps) == [0, 1, 2, 3, 4]


def test_an_error_of_the_writer_is_not_lost(tmp_path):
    """The folder becomes a file under the recorder's hands: a disk that is full or gone looks the
    same to it.
    """
    model, folder = Net(), tmp_path / "run"
    with pytest.raises(Exception) as caught:
        with th.Recorder(folder, model, every=1) as record:
            record(1)
            time.sleep(0.2)
            folder.rename(tmp_path / "moved")
            folder.write_text("no folder any more")
            for step in range(2, 30):
                train_step(model)
                record(step)
    assert isinstance(caught.value, (OSError, th.TrajectoryError))


def test_an_error_in_the_last_checkpoint_is_raised_at_the_end(tmp_path, monkeypatch):
    """And a file that was cut off by it is never seen under its name."""
    import safetensors.torch

    save = safetensors.torch.save_file

    def fails_half_way(tensors, path, metadata=None):
        save(tensors, path, metadata)
        if metadata["step"] == "3":
            path.write_bytes(path.read_bytes()[:100])
            assert list(opened(tmp_path / "run").steps) == [0, 1, 2]
            raise OSError("No space left on device")

    monkeypatch.setattr(safetensors.torch, "save_file", fails_half_way)
    with pytest.raises((OSError, th.TrajectoryError), match="No space left"):
        record_run(tmp_path / "run", count=3)
    assert list(opened(tmp_path / "run").steps) == [0, 1, 2]


def test_nothing_unfinished_is_left_behind(tmp_path):
    record_run(tmp_path / "run", count=5)
    assert (
        sorted(p.suffix for p in (tmp_path / "run").iterdir() if p.name.startswith("step_"))
        == [".safetensors"] * 6
    )
    assert not [
        p.name
        for p in (tmp_path / "run").iterdir()
        if "tmp" in p.name or p.name.startswith(".step")
    ]


KILLED = textwrap.dedent("""
    import sys, torch, trajhelpers as th
    torch.set_num_threads(1)
    model = torch.nn.Sequential(*[torch.nn.Linear(500, 500) for _ in range(8)])
    with th.Recorder(sys.argv[1], model, every=1) as record:
        print("started", flush=True)
        for step in range(1, 100_000):
            with torch.no_grad():
                for p in model.parameters():
                    p.add_(1e-3)
            record(step)
""")


def kill_one(folder, wait):
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, folder], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == "started\n"
        while not (folder / "step_2.safetensors").exists():
            assert process.poll() is None
            time.sleep(0.01)
        time.sleep(wait)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    trajectory = opened(folder)
    steps = list(trajectory.steps)
    assert steps == list(range(len(steps))), "a hole in the run"
    few = opened([folder / f"step_{step}.safetensors" for step in steps[-4:]])
    lengths = th.norms(th.gram(few, device="cpu"))["updates"]
    # float32 rounding of a constant step
    np.testing.assert_allclose(lengths, 1e-3 * np.sqrt(trajectory.p), rtol=1e-3)


@pytest.mark.parametrize("seed", range(2))
def test_killed_at_any_moment(tmp_path, seed):
    kill_one(tmp_path / "run", random.Random(seed).uniform(0, 0.2))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 120))
def test_killed_at_many_moments(tmp_path, seed):
    kill_one(tmp_path / "run", random.Random(seed).uniform(0, 0.3))


def test_resuming_after_a_kill(tmp_path):
    """What the killed process left unfinished is no obstacle."""
    folder = tmp_path / "run"
    kill_one(folder, 0)
    for path in sorted(folder.iterdir()):  # as if it had been killed in the middle of a file
        if path.name == "step_1.safetensors":
            (folder / "step_1.safetensors.tmp").write_bytes(path.read_bytes()[:100])
    assert list(opened(folder).steps)[:2] == [0, 1]
    with pytest.raises(th.ExistingRunError):
        record_run(folder, count=1)


def test_training_is_not_touched(tmp_path):
    """The recorder draws no random numbers, and leaves gradients and modes alone."""
    model = Net()
    model.train()
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    with th.Recorder(tmp_path / "run", model, every=1) as record:
        record(1)
    assert torch.equal(torch.rand(3), expected)
    assert model.training and all(p.requires_grad and p.grad is None for p in model.parameters())


def test_a_resumed_run_leaves_nothing_of_the_one_it_abandons(tmp_path):
    """Back to step 3 of 6, and on to 5 only: step 6 of the first run must not follow step 5 of the
    second.
    """
    model = Net()
    earlier = record_run(tmp_path / "run", count=6, model=model)
    (tmp_path / "run" / ".step_7.safetensors.123.tmp").write_bytes(b"half")
    later = record_run(tmp_path / "run", count=5, model=model, first=4, resume=True)
    same(tmp_path / "run", {**earlier, **{step: later[step] for step in (4, 5)}}, range(6))
    assert not list((tmp_path / "run").glob(".*"))


def test_flush_waits_for_the_disk(tmp_path, monkeypatch):
    """After it, what was recorded before it is there, however slow the disk is; it may be called at
    any time, also after the end.
    """
    import safetensors.torch

    save = safetensors.torch.save_file

    def slowly(*arguments, **options):
        time.sleep(0.1)
        save(*arguments, **options)

    monkeypatch.setattr(safetensors.torch, "save_file", slowly)
    model = Net()
    with th.Recorder(tmp_path / "run", model) as record:
        for step in (1, 2, 3):
            train_step(model)
            seen = parameters(model)
            record(step)
            record.flush()
            tensors = load_file(tmp_path / "run" / f"step_{step}.safetensors")
            assert all(torch.equal(tensors[name], seen[name]) for name in seen)
        record.flush()
    waiting = threading.Thread(target=record.flush, daemon=True)
    waiting.start()
    waiting.join(5)
    assert not waiting.is_alive(), "hangs after close"


def test_flush_raises_an_error_of_the_disk(tmp_path, monkeypatch):
    import safetensors.torch

    save = safetensors.torch.save_file

    def full(tensors, path, metadata):
        if metadata["step"] != "0":
            raise OSError("No space left on device")
        save(tensors, path, metadata)

    monkeypatch.setattr(safetensors.torch, "save_file", full)
    record = th.Recorder(tmp_path / "run", Net())
    record.flush()
    record(1)
    for _ in range(2):
        with pytest.raises(th.TrajectoryError, match="run: .*No space left"):
            record.flush()
    with pytest.raises(th.TrajectoryError, match="No space left"):
        record.close()
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["step_0.safetensors"]
