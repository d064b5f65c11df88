"""A pass that dies goes on by itself, to the same bits, and the command line around it."""

import errno
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch
from hub_runs import check_exactly, checkpoint, parameters, whole_numbers
from standin_hub import StandInHub

import trajhelpers as th
from trajhelpers.__main__ import main
from trajhelpers.cli import computing
from trajhelpers.reading.steps import pythia_steps
from trajhelpers.sources.remote import files as _files

REPO, SOURCE = "EleutherAI/pythia-14m", "hf://EleutherAI/pythia-14m"
MEMORY = 60_000


@pytest.fixture
def hub(monkeypatch, tmp_path):
    monkeypatch.setattr(_files, "_FIRST_WAIT", 0.001)
    with StandInHub() as hub:
        hub.connect(monkeypatch, tmp_path / "home", "hf_NobodyMaySeeThis")
        yield hub


def real_numbers(seed, layers=3):
    generator = torch.Generator().manual_seed(seed)
    return {
        name: (
            torch.randn(tensor.shape, generator=generator).half()
            if name in parameters({name: 0})
            else tensor
        )
        for name, tensor in whole_numbers(0, layers).items()
    }


def put(hub, folder, states, steps=None):
    kinds = [("safetensors", 1), ("bin", 1), ("bin", 2)]
    for index, (step, state) in enumerate(zip(steps or range(len(states)), states)):
        hub.add(
            REPO,
            f"step{step}",
            checkpoint(
                state,
                folder / f"step{step}",
                *kinds[index % 3],
                old=index % 2 == 1,
                config={"model_type": "gpt_neox", "num_attention_heads": 4},
            ),
        )


def opened(**options):
    return th.open_trajectory(SOURCE, **({"revisions": "step*"} | options))


def fail_after(hub, requests):
    left = [requests]

    def faults(request):
        if request.kind == "file":
            left[0] -= 1
            return "503" if left[0] < 0 else None

    hub.faults = faults


def interrupted(hub, partial, requests=25, **options):
    """What a pass leaves that had so many answers."""
    trajectory = opened(
        **{key: options.pop(key) for key in ("nonfinite", "every", "skip") if key in options}
    )
    fail_after(hub, requests)
    with pytest.raises(th.CheckpointError):
        th.gram(trajectory, **({"device": "cpu", "memory": MEMORY} | options), partial=partial)
    hub.faults = lambda request: None
    assert partial.exists()


def blocks_done(partial):
    """In columns of 5 checkpoints of float16, as many as a block of half the memory has."""
    with np.load(partial) as file:
        about = json.loads(str(file["about"]))
    columns = sum(end - begin for begin, end in about["done"])
    return columns // (MEMORY // 2 // (2 * about["n"]))


@pytest.mark.parametrize("requests", [12, 25, 70])
def test_the_same_bits_and_no_block_twice(hub, tmp_path, requests):
    put(hub, tmp_path, [real_numbers(seed) for seed in range(5)])
    partial = tmp_path / "x.partial"
    whole = th.gram(opened(), device="cpu", memory=MEMORY)
    hub.requests.clear()
    interrupted(hub, partial, requests)
    done = blocks_done(partial)
    assert done > 0
    trajectory = opened()
    hub.requests.clear()
    again = th.gram(trajectory, device="cpu", memory=MEMORY, partial=partial)
    np.testing.assert_array_equal(again.increments, whole.increments)
    total = sum(trajectory.sizes.values()) * 2 * 5
    blocks = -(-total // (MEMORY // 2))
    assert hub.bytes_sent <= total * 1.02 - (done - 2) * MEMORY // 2 * (blocks > done) + 20_000
    hub.requests.clear()
    th.gram(trajectory, device="cpu", memory=MEMORY, partial=partial)
    assert not hub.requests, "all was done"


def test_what_is_refused(hub, tmp_path):
    put(hub, tmp_path, [real_numbers(seed) for seed in range(4)])
    partial = tmp_path / "x.partial"
    interrupted(hub, partial)

    def refused(what, trajectory=None, **options):
        with pytest.raises(
            th.TrajectoryError, match=rf"x\.partial.*begun with other.*{what}.*delete"
        ):
            th.gram(
                trajectory or opened(),
                **({"device": "cpu", "memory": MEMORY} | options),
                partial=partial,
            )

    before = partial.read_bytes()
    refused("steps", opened(skip=[3]))
    refused("groups", groups={"one": [("gpt_neox.embed_in.weight", 0, None)]})
    refused("groups", opened(exclude="*.bias"))
    refused("precision", precision="float32")
    refused("memory", memory=MEMORY + 2)
    hub.add(
        REPO,
        "step2",
        checkpoint(
            real_numbers(2) | {"extra": torch.ones(2, dtype=torch.int8)}, tmp_path / "other"
        ),
    )
    refused("commits")
    assert partial.read_bytes() == before


def test_a_damaged_state(hub, tmp_path):
    put(hub, tmp_path, [real_numbers(seed) for seed in range(4)])
    partial = tmp_path / "x.partial"
    interrupted(hub, partial)
    content = partial.read_bytes()
    for damage in (b"", b"junk", content[:-200], content[:100] + b"\xff" * 100 + content[200:]):
        partial.write_bytes(damage)
        with pytest.raises(th.TrajectoryError, match=r"x\.partial.*delete"):
            th.gram(opened(), device="cpu", memory=MEMORY, partial=partial)


def test_a_checkpoint_that_was_skipped_before(hub, tmp_path):
    states = [real_numbers(seed) for seed in range(5)]
    states[1]["gpt_neox.embed_in.weight"][0, 0] = float("inf")
    put(hub, tmp_path, states)
    partial = tmp_path / "x.partial"
    with pytest.warns(th.TrajectoryWarning, match="left out"):
        interrupted(hub, partial, 60, nonfinite="skip-checkpoint")
    assert blocks_done(partial) > 1
    hub.requests.clear()
    kernel = th.gram(
        opened(nonfinite="skip-checkpoint"), device="cpu", memory=MEMORY, partial=partial
    )
    whole = th.gram(opened(skip=[1]), device="cpu", memory=MEMORY)
    assert list(kernel.steps) == [0, 2, 3, 4]
    np.testing.assert_array_equal(kernel.increments, whole.increments)


def test_files_on_this_machine(tmp_path):
    for step in range(4):
        checkpoint(whole_numbers(step), tmp_path / f"step{step}")
    source, partial = [tmp_path / f"step{step}" for step in range(4)], tmp_path / "x.partial"
    check_exactly(
        th.gram(th.open_trajectory(source), device="cpu", memory=MEMORY, partial=partial),
        [whole_numbers(step) for step in range(4)],
    )
    os.utime(tmp_path / "step2" / "model.safetensors", ns=(1, 1))
    with pytest.raises(th.TrajectoryError, match="other files"):
        th.gram(th.open_trajectory(source), device="cpu", memory=MEMORY, partial=partial)
    with pytest.raises(ValueError, match="memory"):
        th.gram(
            th.open_trajectory([whole_numbers(0), whole_numbers(1)]), device="cpu", partial=partial
        )


# The command line


def call(*arguments):
    try:
        return main([str(argument) for argument in arguments])
    except SystemExit as exit:
        return exit.code


def command(hub, folder, *arguments):
    return [sys.executable, "-m", "trajhelpers", *map(str, arguments)], {
        "env": os.environ | hub.environment(folder / "home") | {"HF_TOKEN": "hf_NobodyMaySeeThis"},
        "stdin": subprocess.DEVNULL,
    }


def test_the_documented_command(hub, tmp_path):
    """`trajhelpers gram hf://EleutherAI/pythia-14m --every 4 -o pythia-14m.npz`, in all but the
    host and the size.
    """
    steps = pythia_steps(143_000)[::4]
    states = [whole_numbers(seed, layers=2) for seed in range(39)]
    put(hub, tmp_path, states, steps)
    arguments, options = command(
        hub, tmp_path, "gram", SOURCE, "--every", "4", "-o", "pythia-14m.npz"
    )
    done = subprocess.run(arguments, **options, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    kernel = th.load_kernel(tmp_path / "pythia-14m.npz")
    assert (
        list(kernel.steps) == steps
        and steps[-1] == 142_000
        and kernel.source["repository"] == REPO
        and len(set(kernel.source["commits"])) == 39
    )
    theta = np.stack(
        [
            np.concatenate(
                [tensor.double().numpy().reshape(-1) for tensor in parameters(state).values()]
            )
            for state in states
        ]
    )
    np.testing.assert_array_equal(kernel.gram(), theta @ theta.T)
    assert "gpt_neox.layers.1.attention.key.weight" in kernel.names and not [
        name for name in kernel.names if "query_key_value" in name
    ]
    assert not list(tmp_path.glob("*partial*")) and "hf_Nobody" not in done.stderr + done.stdout


def test_it_goes_on_and_says_so(hub, tmp_path, capsys):
    states = [whole_numbers(seed) for seed in range(4)]
    put(hub, tmp_path, states)
    arguments = [
        "gram",
        SOURCE,
        "--revisions",
        "step*",
        "-o",
        tmp_path / "x.npz",
        "--memory",
        "40kB",
        "--device",
        "cpu",
    ]
    fail_after(hub, 40)
    assert call(*arguments) == 2
    assert not (tmp_path / "x.npz").exists() and (tmp_path / "x.npz.partial").exists()
    assert re.search(r"x\.npz\.partial.*goes on", capsys.readouterr().err)
    hub.faults = lambda request: None
    assert call(*arguments, "--precision", "float32") == 2
    assert "precision" in capsys.readouterr().err
    assert call(*arguments) == 0
    assert "going on" in capsys.readouterr().err and not (tmp_path / "x.npz.partial").exists()
    theta = np.stack(
        [
            np.concatenate(
                [tensor.double().numpy().reshape(-1) for tensor in parameters(state).values()]
            )
            for state in states
        ]
    )
    np.testing.assert_array_equal(th.load_kernel(tmp_path / "x.npz").gram(), theta @ theta.T)


def test_a_disk_that_is_full_at_the_end(hub, tmp_path, capsys, monkeypatch):
    """Where the kernel can be kept nowhere, a second pass asks for no weights."""
    put(hub, tmp_path, [real_numbers(seed) for seed in range(3)])
    arguments = ("gram", SOURCE, "--revisions", "step*", "-o", tmp_path / "x.npz")
    with monkeypatch.context() as full:

        def savez(*_, **__):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        full.setattr(np, "savez_compressed", savez)
        assert call(*arguments) == 2
    partial = tmp_path / "x.npz.partial"
    error = capsys.readouterr().err
    assert "No space left" in error and f"{partial} holds what is done" in error
    first = hub.bytes_sent
    assert call(*arguments) == 0 and not partial.exists()
    kernel = th.load_kernel(tmp_path / "x.npz")
    assert kernel.n == 3 and hub.bytes_sent - first <= first - 3 * 2 * kernel.p


def test_more_than_ten_gigabytes_are_asked_for(hub, tmp_path, capsys, monkeypatch):
    put(hub, tmp_path, [whole_numbers(seed) for seed in range(4)])
    assert computing.ASK_ABOVE == 10e9
    monkeypatch.setattr(computing, "ASK_ABOVE", 100_000)
    arguments = [
        "gram",
        SOURCE,
        "--revisions",
        "step*",
        "-o",
        tmp_path / "x.npz",
        "--memory",
        "300kB",
    ]

    class Terminal:
        def __init__(self, answer):
            self.isatty, self.readline = lambda: answer is not None, lambda: answer + "\n"

    for answer, code in ((None, 2), ("n", 1), ("", 1)):
        hub.requests.clear()
        monkeypatch.setattr(sys, "stdin", Terminal(answer))
        assert call(*arguments) == code
        printed = capsys.readouterr().err
        assert re.search(r"GB in \d+ requests, .* hours at 100 MB/s", printed) and (
            "--yes" in printed
        ) == (code == 2)
        assert not (tmp_path / "x.npz").exists() and not (tmp_path / "x.npz.partial").exists()
    headers = hub.bytes_sent
    assert call(*arguments, "--yes") == 0
    monkeypatch.setattr(sys, "stdin", Terminal("y"))
    hub.requests.clear()
    assert call(*arguments) == 0
    requests, size = int(re.search(r"in (\d+) requests", printed)[1]), hub.bytes_sent - headers
    assert (
        abs(requests - sum(request.range is not None for request in hub.requests) + 5 + 3) <= 3
        and size > 100_000
    )


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--memory", "plenty"], "--memory"),
        (["--skip", "a"], "skip: no checkpoint is named 'a'"),
        (["--revisions", "step0,step*"], "step0 is asked for twice"),
        (["--revisions", "step99"], "99"),
        (["--format", "bin", "--skip", "1,2"], "bin|two"),
        (["-o", "no/such/folder/x.npz"], "no folder"),
        (["--every", "0"], "every"),
        (["--device", "abacus"], "device"),
    ],
)
def test_bad_calls(hub, tmp_path, capsys, arguments, words):
    put(hub, tmp_path, [whole_numbers(seed) for seed in range(3)])
    assert call("gram", SOURCE, "-o", tmp_path / "x.npz", "--revisions", "step*", *arguments) == 2
    printed = capsys.readouterr().err
    assert re.search(words, printed.strip().splitlines()[-1]) and "Traceback" not in printed
    assert not any(request.bytes_sent > 100_000 for request in hub.requests)


def test_audit(hub, tmp_path, capsys):
    put(hub, tmp_path, [whole_numbers(seed) for seed in (0, 1, 2, 0)])
    assert call("audit", SOURCE, "--revisions", "step*", "--skip", "3") == 0
    assert capsys.readouterr().out.strip()
    assert call("audit", SOURCE, "--revisions", "0,1,2,5", "--json") == 1
    json.loads(capsys.readouterr().out)
    assert not any(request.kind == "file" for request in hub.requests)
    assert (
        call("gram", SOURCE, "--revisions", "step*", "--skip", "3", "-o", tmp_path / "x.npz") == 0
    )
    capsys.readouterr()
    assert call(
        "audit", SOURCE, "--revisions", "step*", "--skip", "3", "--deep", tmp_path / "x.npz"
    ) in (0, 1)


def test_interrupted_from_the_keyboard(hub, tmp_path):
    put(hub, tmp_path, [real_numbers(seed) for seed in range(4)])
    partial, sent = tmp_path / "x.npz.partial", threading.Event()

    def faults(request):
        """After the first block no answer comes before the signal, so that the pass is not over by
        then.
        """
        if request.kind == "file" and partial.exists():
            sent.wait(60)

    hub.faults = faults
    arguments, options = command(
        hub,
        tmp_path,
        "gram",
        SOURCE,
        "--revisions",
        "step*",
        "-o",
        tmp_path / "x.npz",
        "--memory",
        "30kB",
        "--device",
        "cpu",
    )
    # Who was started in the background inherits that the signal is ignored.
    heeding = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); from"
        " trajhelpers.__main__ import main; sys.exit(main())"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", heeding, *arguments[3:]],
        **options,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not partial.exists():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    sent.set()
    printed = process.communicate(timeout=60)[1]
    assert (
        process.returncode == 130
        and "interrupted" in printed
        and "goes on" in printed
        and "Traceback" not in printed
    )
    hub.faults = lambda request: None
    assert subprocess.run(arguments, **options, capture_output=True).returncode == 0
    whole = th.gram(opened(), device="cpu", memory=30_000, groups=computing.groups_of(opened()))
    np.testing.assert_array_equal(th.load_kernel(tmp_path / "x.npz").increments, whole.increments)


@pytest.mark.slow
def test_killed_twenty_times(hub, tmp_path):
    """SIGKILL after a random number of answers and a random while; the bytes of all runs together
    show that no block but those in flight was read again.
    """
    memory, dice = 20_000, random.Random(0)
    put(hub, tmp_path, [real_numbers(seed, layers=24) for seed in range(5)])

    def weights():
        """Bytes of blocks, whose reads are shorter than those of headers."""
        return sum(
            request.bytes_sent for request in hub.requests_of("file") if request.bytes_sent < 5000
        )

    whole = th.gram(opened(), device="cpu", memory=memory, groups=computing.groups_of(opened()))
    once = weights()
    assert whole.p * 2 * 5 < once
    arguments, options = command(
        hub,
        tmp_path,
        "gram",
        SOURCE,
        "--revisions",
        "step*",
        "-o",
        tmp_path / "x.npz",
        "--memory",
        str(memory),
        "--device",
        "cpu",
    )
    hub.requests.clear()
    done = []
    for _ in range(20):
        count, at, ready = [0], dice.randint(10, 90), threading.Event()

        def faults(request, count=count, at=at, ready=ready):
            if request.kind == "file":
                time.sleep(0.005)
                count[0] += 1
                if count[0] == at:
                    ready.set()

        hub.faults = faults
        process = subprocess.Popen(
            arguments, **options, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        while not ready.wait(0.05):
            assert process.poll() is None
        time.sleep(dice.uniform(0, 0.05))
        process.kill()
        assert process.wait() == -signal.SIGKILL
        done.append(
            blocks_done(tmp_path / "x.npz.partial") if (tmp_path / "x.npz.partial").exists() else 0
        )
    assert done == sorted(done) and len(set(done)) > 10
    hub.faults = lambda request: None
    last = subprocess.run(arguments, **options, capture_output=True, text=True)
    assert last.returncode == 0, last.stderr
    np.testing.assert_array_equal(th.load_kernel(tmp_path / "x.npz").increments, whole.increments)
    print(
        f"blocks done after each kill: {done}; bytes of weights {weights():,}, of an undisturbed"
        f" run {once:,}"
    )
    assert sorted(path.name for path in tmp_path.glob("*x.npz*")) == ["x.npz"]
    assert weights() <= once + 20 * 2 * (memory // 2 + 5 * 1024)
