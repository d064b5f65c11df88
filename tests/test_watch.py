"""A run is followed while it trains: in a terminal, in plain lines, in a notebook. Training goes on
between two looks, and once in a process of its own.
"""

import io
import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import save, save_file
from standin_hub import StandInHub

import trajhelpers as th
from trajhelpers import following
from trajhelpers.__main__ import main
from trajhelpers.cli import watch
from trajhelpers.following import Following
from trajhelpers.gauges import gauges_of
from trajhelpers.plots.live import LiveMap


class Training:
    """Steps of SGD on noise, recorded at every tenth."""

    def __init__(self, folder, seed=0, **options):
        torch.manual_seed(seed)
        self.folder, self.step = folder, 0
        self.model = torch.nn.Linear(20, 3)
        self.record = th.Recorder(folder, self.model, every=10, **options)
        self.record.flush()

    def go_on(self, steps):
        for _ in range(steps):
            with torch.no_grad():
                for parameter in self.model.parameters():
                    parameter += torch.randn_like(parameter)
            self.step += 1
            self.record(self.step)
        self.record.flush()


@pytest.fixture
def training(tmp_path):
    run = Training(tmp_path / "run")
    yield run
    run.record.close()


@pytest.fixture
def gram_at_first_alone(monkeypatch):
    """`gram` for once; later looks have to append."""
    calls = []

    def counted(*arguments, **options):
        calls.append(arguments[0].n)
        assert len(calls) == 1
        return th.gram(*arguments, **options)

    monkeypatch.setattr(following, "gram", counted)
    return calls


def assert_of(kernel, folder):
    expected = th.gram(th.open_trajectory(folder), device="cpu")
    np.testing.assert_array_equal(kernel.steps, expected.steps)
    scale = abs(expected.increments).max()
    np.testing.assert_allclose(kernel.increments, expected.increments, rtol=0, atol=1e-12 * scale)


# Looks


def test_a_folder_that_fills(tmp_path, gram_at_first_alone):
    run = Following(tmp_path / "run", device="cpu")
    assert run.look() == [f"waiting for checkpoints: {tmp_path / 'run'}: no such file or folder"]
    assert run.look() == []
    (tmp_path / "run").mkdir()
    (line,) = run.look()
    assert line.startswith(f"waiting for checkpoints: {tmp_path / 'run'}: no checkpoints")
    training = Training(tmp_path / "run")
    (line,) = run.look()
    assert "one checkpoint only" in line and run.kernel is None
    for steps, n in ((15, 2), (25, 5), (10, 6)):
        training.go_on(steps)
        (line,) = run.look()
        assert line.startswith(f"step {10 * n - 10}, {n} checkpoints: ω ")
        assert_of(run.kernel, training.folder)
        assert run.look() == []
    assert gram_at_first_alone == [2]
    training.record.close()


def test_gauges():
    """Of a path that goes three steps ahead and one back."""
    increments = np.array([1.0, 1, 1, 1, -1])
    gauges = gauges_of(th.TrajectoryKernel(np.outer(increments, increments)))
    assert gauges.drift == pytest.approx(2 / 4) and gauges.walk == 4**-0.5
    assert gauges.angle == pytest.approx(180) and gauges.omega == pytest.approx(1)
    two = gauges_of(th.random_walk(2))
    assert str(two).startswith("step 1, 2 checkpoints: ") and "no angle yet" in str(two)


def test_nothing_is_read_where_nothing_is_new(training, monkeypatch):
    training.go_on(20)
    run = Following(training.folder, device="cpu")
    assert len(run.look()) == 1
    monkeypatch.setattr(th.Trajectory, "read_into", None)
    assert run.look() == []


def test_a_file_that_is_being_written(training):
    training.go_on(30)
    run, last = Following(training.folder, device="cpu"), training.folder / "step_40.safetensors"
    tensors = {"weight": torch.ones(3, 20), "bias": torch.ones(3)}
    whole = save(tensors)
    last.write_bytes(b"")
    lines = run.look()
    assert lines[1:] == [f"{last}: does not open yet, and is left alone until then"]
    for length in range(1, len(whole), 20):  # more looks than its patience
        last.write_bytes(whole[:length])
        assert run.look() == [] and run.kernel.n == 4
    last.write_bytes(whole)
    assert len(run.look()) == 1
    assert_of(run.kernel, training.folder)


def test_a_file_that_stays_damaged(training):
    training.go_on(30)
    run, last = Following(training.folder, device="cpu"), training.folder / "step_40.safetensors"
    last.write_bytes(b"no checkpoint at all")
    for _ in range(following._PATIENCE - 1):
        run.look()
    with pytest.raises(th.CheckpointError, match=r"step_40\.safetensors"):
        run.look()


@pytest.mark.parametrize("steps", [10, 30, 50], ids=["fewer", "as many", "more"])
def test_a_run_that_is_begun_anew(training, steps):
    training.go_on(30)
    run = Following(training.folder, device="cpu")
    run.look()
    training.record.close()
    again = Training(training.folder, seed=1, overwrite=True)
    again.go_on(steps)
    first, second = run.look()
    assert first.startswith("computing the kernel anew: ")
    assert second.startswith(f"step {steps}, ")
    assert_of(run.kernel, training.folder)
    assert run.look() == []
    again.record.close()


def test_a_folder_that_is_emptied(training):
    training.go_on(30)
    run = Following(training.folder, device="cpu")
    run.look()
    training.record.close()
    again = Training(training.folder, seed=1, overwrite=True)
    (line,) = run.look()
    assert "one checkpoint only" in line and run.kernel.n == 4
    again.go_on(10)
    assert len(run.look()) == 2 and run.kernel.n == 2
    again.record.close()


def test_it_goes_on_from_its_file(training, tmp_path, monkeypatch):
    training.go_on(30)
    path = tmp_path / "run.npz"
    Following(training.folder, path, device="cpu").look()
    monkeypatch.setattr(following, "gram", None)
    training.go_on(20)
    run = Following(training.folder, path, device="cpu")
    assert run.kernel.n == 4 and len(run.look()) == 1
    assert_of(th.load_kernel(path), training.folder)
    run = Following(training.folder, path, device="cpu")
    assert run.look() == [] and run.kernel.n == 6  # and was compared with the files


def test_its_file_is_of_what_was_there_before(training, tmp_path):
    training.go_on(30)
    path = tmp_path / "run.npz"
    Following(training.folder, path, device="cpu").look()
    training.record.close()
    again = Training(training.folder, seed=1, overwrite=True)
    again.go_on(30)
    first, _ = Following(training.folder, path, device="cpu").look()
    assert first.startswith("computing the kernel anew: ")
    assert_of(th.load_kernel(path), training.folder)
    again.record.close()


def test_a_checkpoint_that_is_not_finite(training, gram_at_first_alone):
    training.go_on(20)
    run = Following(training.folder, device="cpu", nonfinite="skip-checkpoint")
    run.look()
    bad = {"weight": torch.full((3, 20), torch.nan), "bias": torch.ones(3)}
    save_file(bad, training.folder / "step_21.safetensors")
    training.go_on(10)
    with pytest.warns(th.TrajectoryWarning, match="left out of the trajectory"):
        run.look()
    training.go_on(10)
    run.look()
    assert run.kernel.steps.tolist() == [0, 10, 20, 30, 40]


def test_branches_of_the_hub(tmp_path, monkeypatch, gram_at_first_alone):
    generator = torch.Generator().manual_seed(0)
    with StandInHub() as hub:
        hub.connect(monkeypatch, tmp_path / "home")

        def push(step):
            tensors = {"w": torch.randn(50, generator=generator)}
            hub.add("someone/run", f"step{step}", {"model.safetensors": save(tensors)})

        run = Following("hf://someone/run", device="cpu")
        for steps, n in (((0, 10), 2), ((20,), 3), ((30, 40), 5)):
            for step in steps:
                push(step)
            run.look()
            assert run.kernel.n == n
        assert_of(run.kernel, "hf://someone/run")


# The command


@pytest.fixture
def between_looks(monkeypatch):
    """Instead of a pause, the next of these functions is called; after the last, Ctrl-C."""
    several = []

    def sleep(seconds):
        if not several:
            raise KeyboardInterrupt
        several.pop(0)()

    monkeypatch.setattr(watch, "time", SimpleNamespace(sleep=sleep))
    return several


def test_plain_lines(training, tmp_path, capsys, between_looks):
    between_looks += [lambda: training.go_on(20), lambda: None, lambda: training.go_on(10)]
    path = tmp_path / "run.npz"
    command = ["watch", str(training.folder), "-o", str(path), "--device", "cpu"]
    assert not main(command)
    waiting, two, three, last = capsys.readouterr().out.splitlines()
    assert waiting.startswith("waiting for checkpoints: ") and "one checkpoint only" in waiting
    assert two.startswith("step 20, 3 checkpoints: ω ")
    assert three.startswith("step 30, 4 checkpoints: ω ")
    assert last.startswith(f"stopped; {path}: TrajectoryKernel(4 checkpoints, steps 0 … 30")
    assert_of(th.load_kernel(path), training.folder)
    between_looks += [lambda: training.go_on(20)]
    assert not main(command)
    four, _ = capsys.readouterr().out.splitlines()
    assert four.startswith("step 50, 6 checkpoints: ω ")
    assert_of(th.load_kernel(path), training.folder)


def test_nothing_came(tmp_path, capsys, between_looks):
    assert not main(["watch", str(tmp_path / "run")])
    assert capsys.readouterr().out.splitlines()[-1] == "stopped; there was nothing to see yet"


def test_a_terminal(training, capsys, between_looks, monkeypatch):
    pytest.importorskip("rich")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    between_looks += [lambda: training.go_on(20)]
    assert not main(["watch", str(training.folder), "--device", "cpu"])
    out = capsys.readouterr().out
    assert "waiting for checkpoints" in out and "▀" in out and "\x1b[38;5;" in out
    assert "step 20, 3 checkpoints" in out and "drift █" in out and "stopped; " in out


@pytest.mark.parametrize("lacks", ["rich", "colours"])
def test_a_terminal_that_draws_no_map(training, capsys, between_looks, monkeypatch, lacks):
    if lacks == "rich":
        monkeypatch.setitem(sys.modules, "rich.live", None)
    else:
        monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    training.go_on(20)
    assert not main(["watch", str(training.folder), "--device", "cpu"])
    assert capsys.readouterr().out.startswith("step 20, 3 checkpoints: ω ")


@pytest.mark.parametrize("n", [2, 7, 47, 48, 49, 200])
def test_a_map_of_characters(n):
    """At most 48 a line, of two rows each, and dark where two are alike."""
    console = pytest.importorskip("rich.console")
    wide = console.Console(file=io.StringIO(), width=100)
    lines = wide.render_lines(watch.screen_of(th.random_walk(n), []))
    cells = [segment for segment in lines[0] if "▀" in segment.text]
    assert 24 < sum(len(segment.text) for segment in cells) <= 48
    first = cells[0].style.color.triplet
    assert first == (0, 0, 4)


def test_bad_intervals(capsys):
    for interval in ("0", "-1", "nan", "inf", "soon"):
        with pytest.raises(SystemExit):
            main(["watch", "run", "--interval", interval])
        assert "--interval" in capsys.readouterr().err


@pytest.mark.parametrize("option", [["--sample", "1%"], ["--seed", "1"], ["--verify"]])
def test_what_a_pass_that_is_made_anew_has_not(tmp_path, capsys, option):
    with pytest.raises(SystemExit):
        main(["watch", str(tmp_path), *option])
    assert option[0] in capsys.readouterr().err


@pytest.mark.slow
def test_a_training_in_a_process_of_its_own(tmp_path):
    """The command sees a run begin, grow, and end, and Ctrl-C ends it with code 0."""
    folder, path, steps = tmp_path / "run", tmp_path / "run.npz", 60
    program = f"""
import time, torch, trajhelpers as th
model = torch.nn.Linear(20, 3)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
with th.Recorder({str(folder)!r}, model, every=10) as record:
    for step in range(1, {steps + 1}):
        optimizer.zero_grad()
        model(torch.randn(8, 20)).square().mean().backward()
        optimizer.step()
        record(step)
        time.sleep(0.05)
"""
    # What is started in the background ignores Ctrl-C, and so do its children, unless they ask.
    watch = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"
        " from trajhelpers.__main__ import main; sys.exit(main())"
    )
    command = [sys.executable, "-c", watch, "watch", folder, "-o", path]
    with subprocess.Popen(
        [*command, "--interval", "0.2", "--device", "cpu"], stdout=subprocess.PIPE, text=True
    ) as watching:
        deadline = threading.Timer(240, watching.kill)
        deadline.start()
        try:
            assert watching.stdout.readline().startswith("waiting for checkpoints: ")
            subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
            assert any(line.startswith(f"step {steps}, ") for line in watching.stdout)
            watching.send_signal(signal.SIGINT)
            assert watching.wait(60) == 0
        finally:
            deadline.cancel()
            watching.kill()
    assert_of(th.load_kernel(path), folder)


# In a notebook


def said(live):
    return live.children[0].children[1].value


def picture(live):
    return bytes(live.children[1].value)


def test_the_widget(training):
    live = LiveMap(Following(training.folder, device="cpu"))
    live.look()
    assert "waiting for checkpoints" in said(live) and not picture(live)
    training.go_on(10)
    live.look()
    first = picture(live)
    assert first.startswith(b"\x89PNG") and said(live).startswith("step 10, 2 checkpoints")
    live.look()
    assert picture(live) == first
    training.go_on(30)
    live.look()
    assert picture(live) != first and live.kernel.n == 5


def test_it_looks_by_itself_until_it_is_stopped(training):
    training.go_on(20)
    live = th.live_map(training.folder, interval=0.01, device="cpu")
    assert until(lambda: picture(live))
    training.go_on(10)
    assert until(lambda: said(live).startswith("step 30, "))
    live.children[0].children[0].click()
    assert until(lambda: not live.is_looking)
    training.go_on(10)
    assert live.kernel.n == 4 and live.children[0].children[0].disabled


def test_an_error_is_shown_and_ends_it(training):
    training.go_on(20)
    (training.folder / "step_30.safetensors").write_bytes(b"no checkpoint at all")
    live = th.live_map(training.folder, interval=0.01, device="cpu")
    assert until(lambda: not live.is_looking)
    assert said(live).startswith("<b>") and "step_30.safetensors" in said(live)
    assert live.kernel.n == 3


def until(holds, seconds=60):
    end = time.monotonic() + seconds
    while not holds() and time.monotonic() < end:
        time.sleep(0.01)
    return holds()
