"""For test_ranks.py: cases that 1 to 4 processes run together, each of whose ends is written down.

Processes are forked from one that has imported torch, which takes seconds."""

import io
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
import warnings
from collections import Counter
from contextlib import redirect_stderr, redirect_stdout
from datetime import timedelta
from pathlib import Path

import numpy as np
import torch
from torch import distributed

import trajhelpers as th
from trajhelpers.cli.main import main
from trajhelpers.sources.remote.files import RemoteFiles
from trajhelpers.streaming import passing
from trajhelpers.streaming.resuming import Partial

# Blocks of 500 columns, of which write_run's have 14,552.
MEMORY = 40_000
# After so long a case hangs.
PATIENCE = 90


def write_run(folder, n=5, seed=0, dtype=torch.float64, bad=None):
    """A run of three tensors, of which one checkpoint may hold a NaN near the end."""
    generator = torch.Generator().manual_seed(seed)
    sizes = {"embed": (60, 100), "layer.weight": (111, 77), "layer.bias": (5,)}
    theta = {name: torch.zeros(size, dtype=torch.float64) for name, size in sizes.items()}
    folder.mkdir(parents=True)
    for step in range(n):
        for values in theta.values():
            values += torch.randn(values.shape, generator=generator, dtype=torch.float64)
        state = {name: values.to(dtype, copy=True) for name, values in theta.items()}
        if step == bad:
            state["layer.weight"][-1, -1] = torch.nan
        torch.save(state, folder / f"step{step}.pt")


def whole(folder, **options):
    """As one process does, on one core."""
    return th.gram(th.open_trajectory(folder, **options), device="cpu", memory=MEMORY)


def shared(folder, partial=None, **options):
    trajectory = th.open_trajectory(folder, **options)
    return th.gram(
        trajectory,
        device="cpu",
        memory=MEMORY,
        partial=partial,
        group=distributed.group.WORLD,
    )


def kernel(folder):
    return shared(folder / "run")


def kept(folder):
    """With a state, so that files on this machine are read in blocks."""
    return shared(folder / "run", folder / "x.partial")


def bytes_read(folder):
    """How often each byte of tensors was read, by this rank."""
    from trajhelpers.sources.disk import OpenFiles

    read, fill = Counter(), OpenFiles.fill

    trajectory = th.open_trajectory(folder / "run")

    def counting(files, path, offset, view):
        read[path.name, offset, len(view)] += 1
        fill(files, path, offset, view)

    OpenFiles.fill = counting
    th.gram(trajectory, device="cpu", group=distributed.group.WORLD)
    return read


def dies(folder):
    """The last rank, at its third block."""
    return _dies(folder, passing, "products_on_cpu", 2, lambda: os._exit(1))


def killed(folder):
    """The last rank, when it has written what it has done for the second time."""
    return _dies(folder, Partial, "write", 2, lambda: os.kill(os.getpid(), signal.SIGKILL))


def _dies(folder, where, name, after, die):
    do, calls = getattr(where, name), [0]
    is_last = distributed.get_rank() == distributed.get_world_size() - 1

    def mortal(*arguments):
        if is_last and calls[0] == after:
            die()
        calls[0] += 1
        # The others are still at work when that happens, and not at a meeting.
        time.sleep(0 if is_last else 0.2)
        return do(*arguments)

    setattr(where, name, mortal)
    return kept(folder)


def differing(folder):
    """The last rank has opened fewer checkpoints."""
    every = 2 if distributed.get_rank() == distributed.get_world_size() - 1 else 1
    return shared(folder / "run", every=every)


def previews(folder):
    """Each rank goes on from a preview that was drawn with another seed."""
    trajectory = th.open_trajectory(folder / "run")
    begun = th.gram(trajectory, device="cpu", sample=0.3, seed=distributed.get_rank())
    return th.gram(trajectory, device="cpu", begun=begun, group=distributed.group.WORLD)


def not_finite(folder):
    return shared(folder / "bad")


def skipping(folder):
    return shared(folder / "bad", folder / "bad.partial", nonfinite="skip-checkpoint")


def changed(folder):
    """One rank's file is written to during the pass."""
    trajectory = th.open_trajectory(folder / "run")
    products = passing.products_on_cpu

    def touching(*arguments):
        if distributed.get_rank() == distributed.get_world_size() - 1:
            with open(folder / "run" / "step1.pt", "r+b") as file:
                file.seek(-1, 2)
                file.write(b"\0")
        return products(*arguments)

    passing.products_on_cpu = touching
    return th.gram(trajectory, device="cpu", group=distributed.group.WORLD)


def sent(folder):
    """The first rank opens, the others get it from there."""
    first = distributed.get_rank() == 0
    given = [th.open_trajectory(folder / "run") if first else None]
    distributed.broadcast_object_list(given)
    return th.gram(given[0], device="cpu", group=distributed.group.WORLD)


REPO = "someone/run"


def far(folder, **options):
    trajectory = th.open_trajectory(f"hf://{REPO}")
    return th.gram(
        trajectory, device="cpu", memory=MEMORY, group=distributed.group.WORLD, **options
    )


def far_and_verified(folder):
    return far(folder, verify=True)


def told_to_wait(folder):
    """For how long this rank holds back, in all."""
    waits = []
    RemoteFiles.hold_back = lambda files, seconds: waits.append(seconds)
    far(folder)
    return waits


def command(folder):
    """The exit code, and what this process prints."""
    arguments = (folder / "command.txt").read_text().split()
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main(arguments)
    return code, out.getvalue(), err.getvalue()


def no_group(folder):
    return th.gram(th.open_trajectory(folder / "run"), group="world")


# They make the group themselves, or have none.
ALONE = (command, no_group)


def one_rank(case, rank, size, folder, port):
    os.environ |= {
        "RANK": str(rank),
        "WORLD_SIZE": str(size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    torch.set_num_threads(1)
    signal.alarm(PATIENCE)
    if globals()[case] not in ALONE:
        distributed.init_process_group("gloo", timeout=timedelta(seconds=PATIENCE))
    begun = time.monotonic()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            end = globals()[case](folder)
            if hasattr(end, "increments"):
                end = end.increments, end.source, end.steps
        except Exception as error:
            end = type(error).__name__, str(error)
    said = [str(one.message) for one in told if issubclass(one.category, th.TrajectoryWarning)]
    (folder / f"{case}-{size}-{rank}.pkl").write_bytes(
        pickle.dumps((end, said, time.monotonic() - begun))
    )


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def run_cases(folder, *cases, **environment):
    """Each a pair of its name and the number of ranks, in turn."""
    environment |= os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    environment |= {"PYTHONPATH": str(Path(th.__file__).parents[1])}
    named = [f"{name}:{size}" for name, size in cases]
    done = subprocess.run(
        [sys.executable, __file__, folder, *named],
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE * len(cases),
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def ends(folder, case, size):
    """What each rank that lived has got, in order: (result or error, warnings, seconds)."""
    files = [folder / f"{case}-{size}-{rank}.pkl" for rank in range(size)]
    return [pickle.loads(file.read_bytes()) for file in files if file.exists()]


if __name__ == "__main__":
    where = Path(sys.argv[1])
    np.ones((2, 2)) @ np.ones((2, 2))
    for name, ranks in (one.split(":") for one in sys.argv[2:]):
        chosen = free_port()
        for number in range(int(ranks)):
            if os.fork() == 0:
                one_rank(name, number, int(ranks), where, chosen)
                sys.stdout.flush()
                os._exit(0)
        for _ in range(int(ranks)):
            os.wait()
