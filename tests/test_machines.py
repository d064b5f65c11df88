"""Long stories, drawn: recorders that end and go on, passes that are interrupted, kernels that are
saved over one another; against a dict of what must be on disk.
"""

import os
import shutil
import tempfile
import threading
import warnings
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from faults import DIED, Faults
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)
from safetensors.torch import load_file, save_file

import trajhelpers as th

# derandomized: the same examples on every machine and in every run
fast = settings(
    derandomize=True, deadline=None, max_examples=10, stateful_step_count=20, database=None
)


class InAFolder(RuleBasedStateMachine):
    parent = None  # see in_memory

    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(dir=self.parent))

    def teardown(self):
        shutil.rmtree(self.folder)

    def names(self):
        return sorted(path.name for path in self.folder.iterdir())


# Kernels


def parts_of(kernel):
    """All that a kernel is."""
    return {
        "increments": kernel.increments.tolist(),
        "squared_path": kernel.squared_path.tolist(),
        "steps": list(kernel.steps),
        "names": list(kernel.names),
        "sizes": list(kernel.sizes),
        "runs": list(kernel.runs),
        "source": kernel.source,
        "precision": kernel.precision,
        "tokens": None if kernel.tokens is None else list(kernel.tokens),
    }


class KernelFiles(InAFolder):
    """Whatever is saved where, what a file gives is what was saved there last, to the bit."""

    kernels = Bundle("kernels")
    files = st.sampled_from(["a.npz", "b.npz"])

    def __init__(self):
        super().__init__()
        self.there = {}

    @rule(target=kernels, seed=st.integers(0, 99), n=st.integers(2, 6), groups=st.integers(1, 3))
    def compute(self, seed, n, groups):
        rng = np.random.default_rng(seed)
        states = [{f"w{g}": rng.standard_normal(g + 2) for g in range(groups)} for _ in range(n)]
        return th.gram(th.open_trajectory(states), device="cpu")

    @rule(target=kernels, kernel=kernels, every=st.integers(1, 3))
    def coarser(self, kernel, every):
        return kernel[::every] if kernel.n > every else multiple()

    @rule(target=kernels, kernel=kernels)
    def one_group(self, kernel):
        return next(iter(kernel.groups().values()))

    @rule(target=kernels, kernel=kernels)
    def grouped(self, kernel):
        return kernel.group_by(lambda name: "first" if name == kernel.names[0] else "others")

    @rule(kernel=kernels, file=files)
    def save(self, kernel, file):
        kernel.save(self.folder / file)
        self.there[file] = parts_of(kernel)

    @rule(
        kernel=kernels,
        file=files,
        kind=st.sampled_from(["write", "sync", "rename"]),
        at=st.integers(1, 4),
    )
    def save_on_a_full_disk(self, kernel, file, kind, at):
        with Faults(kind, at, "ENOSPC", self.folder, lasting=True), suppress(OSError):
            kernel.save(self.folder / file)
            self.there[file] = parts_of(kernel)

    @rule(target=kernels, file=files)
    def load(self, file):
        if file not in self.there:
            with pytest.raises(FileNotFoundError, match=file):
                th.load_kernel(self.folder / file)
            return multiple()
        kernel = th.load_kernel(self.folder / file)
        assert parts_of(kernel) == self.there[file]
        return kernel

    @rule(one=kernels, other=kernels, file=files)
    def load_while_two_others_save(self, one, other, file):
        wanted = [parts_of(one), parts_of(other)]
        one.save(self.folder / file)
        threads = [
            threading.Thread(target=kernel.save, args=[self.folder / file])
            for kernel in (one, other)
        ]
        for thread in threads:
            thread.start()
        found = [parts_of(th.load_kernel(self.folder / file)) for _ in range(3)]
        for thread in threads:
            thread.join()
        self.there[file] = parts_of(th.load_kernel(self.folder / file))
        assert all(parts in wanted for parts in (*found, self.there[file]))

    @invariant()
    def nothing_else_is_there(self):
        assert self.names() == sorted(self.there)


# Passes

NARROW = 1_000  # bytes, of a pass in several blocks


class Passes(InAFolder):
    """A pass ends in the kernel of what is there, to the bit, however often and wherever it was
    interrupted; or it says why not, and leaves what is kept as it was.
    """

    options = st.fixed_dictionaries(
        {
            "memory": st.sampled_from([NARROW, NARROW, NARROW, 2 * NARROW]),
            "every": st.sampled_from([1, 1, 1, 2]),
            "precision": st.sampled_from(["float64", "float64", "float32"]),
        }
    )

    def __init__(self):
        super().__init__()
        self.run = self.folder / "run"
        self.partial = self.folder / "kept" / "x.partial"
        self.run.mkdir()
        self.partial.parent.mkdir()
        self.written, self.kept, self.is_damaged = 0, None, False
        for step in range(4):
            self.write(step)

    def write(self, step):
        self.written += 1
        generator = torch.Generator().manual_seed(self.written)
        state = {"a": torch.randn(90, generator=generator), "b": torch.randn(37, 2)}
        path = self.run / f"step_{step}.safetensors"
        save_file(state, path)
        # Whatever the clock, no two of these are of one time.
        os.utime(path, ns=(10**18 + self.written, 10**18 + self.written))

    def begun(self, options):
        """What it depends on."""
        return (*options.values(), self.written)

    def passed(self, options, partial=None):
        given = {name: value for name, value in options.items() if name != "every"}
        trajectory = th.open_trajectory(self.run, every=options["every"])
        return th.gram(trajectory, device="cpu", partial=partial, **given).increments

    def refused(self, options, match):
        before = self.partial.read_bytes()
        with pytest.raises(th.TrajectoryError, match=match):
            self.passed(options, self.partial)
        assert self.partial.read_bytes() == before

    @rule(options=options)
    def whole(self, options):
        if self.is_damaged:
            return self.refused(options, r"x\.partial.*delete")
        if self.kept not in (None, self.begun(options)):
            return self.refused(options, r"x\.partial.*begun with other.*delete")
        found = self.passed(options, self.partial)
        self.kept = self.begun(options)
        # In the blocks of a pass that keeps what is done, with nothing kept.
        with tempfile.TemporaryDirectory() as elsewhere:
            expected = self.passed(options, Path(elsewhere) / "x.partial")
        np.testing.assert_array_equal(found, expected)

    @rule(
        options=options,
        kind=st.sampled_from(["read", "write", "sync", "rename"]),
        at=st.integers(1, 30),
    )
    def interrupted(self, options, kind, at):
        if self.is_damaged or self.kept not in (None, self.begun(options)):
            return
        with Faults(kind, at, "EIO", self.folder, lasting=True):
            with suppress(th.TrajectoryError, OSError):
                self.passed(options, self.partial)
        if self.partial.exists():
            self.kept = self.begun(options)

    @precondition(lambda self: self.kept)
    @rule(keep=st.floats(0, 0.95))
    def cut_off(self, keep):
        content = self.partial.read_bytes()
        self.partial.write_bytes(content[: int(keep * len(content))])
        self.is_damaged = True

    @rule(content=st.binary(max_size=20))
    def other_content(self, content):
        self.partial.write_bytes(content)
        self.is_damaged = True

    @rule()
    def delete(self):
        self.partial.unlink(missing_ok=True)
        self.kept, self.is_damaged = None, False

    @rule(step=st.integers(0, 3))
    def another_checkpoint(self, step):
        self.write(step)

    @invariant()
    def nothing_else_is_there(self):
        assert [path.name for path in self.partial.parent.iterdir()] in ([], ["x.partial"])


# Recordings


class Recordings(InAFolder):
    """The folder holds one run: what was recorded, each checkpoint with the values of its step."""

    def __init__(self):
        super().__init__()
        self.run = self.folder / "run"
        self.disk = {}  # step -> value, once all is written
        self.model = torch.nn.Linear(3, 1, bias=False)
        self.value = self.recorder = self.last = None
        self.abandons = False  # what comes after the first step of a run that goes on
        self.set_value(0)

    def teardown(self):
        if self.recorder:
            with suppress(th.TrajectoryError):
                self.recorder.close()
        super().teardown()

    def found(self):
        return {
            int(file.stem.removeprefix("step_")): load_file(file)["weight"].mean().item()
            for file in self.run.glob("step_*.safetensors")
        }

    def recorded(self, step):
        if self.abandons:
            self.disk = {earlier: v for earlier, v in self.disk.items() if earlier <= step}
        self.abandons = False
        self.disk[step] = self.value

    @rule(value=st.integers(1, 1000))
    def set_value(self, value):
        self.value = value
        torch.nn.init.constant_(self.model.weight, value)

    @rule(how=st.sampled_from(["new", "resume", "overwrite"]))
    def begin(self, how):
        """A recorder; of this process, another may have the folder."""
        options = {} if how == "new" else {how: True}
        if how == "new" and (self.disk or self.recorder):
            with pytest.raises(th.ExistingRunError, match="run: "):
                th.Recorder(self.run, self.model)
            return
        earlier = self.recorder
        self.recorder = th.Recorder(self.run, self.model, every=2, **options)
        if earlier:
            with pytest.raises(th.TrajectoryError, match="taken over"):
                earlier(10**6)
        if how == "resume" and self.disk:
            self.abandons, self.last = True, None
        else:
            self.disk, self.last, self.abandons = {0: self.value}, 0, False

    @precondition(lambda self: self.recorder)
    @rule(step=st.integers(0, 12))
    def record(self, step):
        if self.last is not None and step < self.last:
            with pytest.raises(th.StepError, match=f"step {step} after step {self.last}"):
                self.recorder(step)
            return
        if step == 0 and self.last == 0 and self.disk[0] != self.value:
            with pytest.raises(th.StepError, match="the model has changed"):
                self.recorder(step)
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", th.TrajectoryWarning)  # of steps that went by
            self.recorder(step)
        self.last = step
        if step % 2 == 0:
            self.recorded(step)

    @precondition(lambda self: self.recorder)
    @rule()
    def flush(self):
        self.recorder.flush()
        assert self.found() == self.disk

    @precondition(lambda self: self.recorder)
    @rule()
    def close(self):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", th.TrajectoryWarning)  # of steps none of which was due
            self.recorder.close()
        self.end()

    def end(self):
        with pytest.raises(th.TrajectoryError):
            self.recorder(10**6)
        self.recorder = None
        assert self.found() == self.disk
        assert all(name.startswith("step_") for name in os.listdir(self.run))

    @precondition(lambda self: self.recorder)
    @rule(step=st.integers(10, 12))
    def full_disk(self, step):
        """What was there before stays; the recorder says so, and is of no more use."""
        if step % 2 or (self.last or 0) > step:
            return
        self.recorder.flush()
        with Faults("write", 1, "ENOSPC", self.folder, lasting=True):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", th.TrajectoryWarning)
                self.recorder(step)
            with pytest.raises(th.TrajectoryError, match=r"run: .*No space left"):
                self.recorder.flush()
        if self.abandons:  # those are deleted before the first is written
            self.disk = {at: value for at, value in self.disk.items() if at <= step}
            self.abandons = False
        with pytest.raises(th.TrajectoryError, match="No space left"):
            self.recorder.close()
        self.end()

    @precondition(lambda self: self.recorder)
    @rule()
    def another_model(self):
        """With other parameters is refused; the run stays."""
        weight, self.model.weight = self.model.weight, torch.nn.Parameter(torch.zeros(1, 4))
        with pytest.raises(th.LayoutError, match="shape"):
            self.recorder(10**6)
        self.model.weight = weight

    @precondition(lambda self: self.disk and not self.recorder)
    @rule()
    def resume_with_another_model(self):
        with pytest.raises(th.LayoutError, match="shape"):
            th.Recorder(self.run, torch.nn.Linear(4, 1, bias=False), resume=True)
        assert self.found() == self.disk

    @rule(at=st.integers(1, 12), kind=st.sampled_from(["open", "write", "rename", "remove"]))
    def killed(self, at, kind):
        """Another process goes on with the run, waits for each checkpoint, and dies somewhere."""
        steps = range(2, 12, 2)
        tell, told = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads
            child = os.fork()
        if child == 0:
            with suppress(BaseException), Faults(kind, at, "death", self.folder):
                recorder = th.Recorder(self.run, self.model, every=2, resume=True)
                if not self.disk:
                    recorder.flush()
                    os.write(told, b"\0")
                for step in steps:
                    torch.nn.init.constant_(self.model.weight, 1000 + step)
                    recorder(step)
                    recorder.flush()
                    os.write(told, bytes([step]))
            os._exit(DIED)
        os.close(told)
        with open(tell, "rb") as heard:
            done = list(heard.read())
        os.waitpid(child, 0)
        if self.recorder:
            assert not done, "two processes record into one folder"
            return
        before, found = dict(self.disk), self.found()
        for step in done:
            self.disk[step] = 1000 + step if step else self.value
        if done and before:
            self.disk = {step: v for step, v in self.disk.items() if step <= done[-1]}
        # What it did not tell of: the next may be there, and what it replaces may be gone.
        # A run that goes on does not begin with step 0.
        due = steps if before else [0, *steps]
        following = next((step for step in due if step > max(done, default=-1)), None)
        new = {following: 1000 + following if following else self.value}
        longer = {step for step in before if step > following} if before and not done else set()
        assert found in (self.disk, self.disk | new) or (
            {**found, **self.disk, **new} == {**self.disk, **new}
            and set(self.disk) - set(found) <= longer
        ), f"{before}, then {done}: {found}"
        self.disk = found

    @invariant()
    def it_opens(self):
        if len(self.disk) > 1 and not self.recorder:
            assert list(th.open_trajectory(self.run).steps) == sorted(self.disk)


@pytest.fixture(autouse=True)
def in_memory(monkeypatch, memory_path):
    """Nothing has to survive the machine."""
    monkeypatch.setattr(InAFolder, "parent", memory_path)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


MACHINES = [KernelFiles, Passes, Recordings]


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.__name__)
def test_short_stories(machine):
    run_state_machine_as_test(machine, settings=fast)


@pytest.mark.slow
@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.__name__)
def test_many_and_long_stories(machine):
    run_state_machine_as_test(
        machine, settings=settings(fast, max_examples=20, stateful_step_count=30)
    )
