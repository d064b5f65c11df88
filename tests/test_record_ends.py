"""However a process ends that records: nothing is lost, and nobody has to call `close`."""

import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap

import pytest
import torch
from safetensors.torch import load_file

import trajhelpers as th

# Each way is a process of its own, forked before torch computes anything, which is quicker than to
# import it once more each time. What remains to be written when it ends takes a third of a second.
START = textwrap.dedent("""
    import atexit, gc, multiprocessing, os, pathlib, sys, threading, time
    import safetensors.torch, torch
    import trajhelpers as th
    from trajhelpers import Recorder

    root, save = pathlib.Path(sys.argv[1]), safetensors.torch.save_file

    def slowly(*arguments, **options):
        time.sleep(0.1)
        save(*arguments, **options)

    safetensors.torch.save_file = slowly

    def record(way):
        model = torch.nn.Linear(1, 1, bias=False)
        recorder = Recorder(root / way, model)
        for step in range(1, 4):
            torch.nn.init.constant_(model.weight, step)
            recorder(step)
        return recorder
""")
WAYS = {
    "the end": "kept = record(way)",
    "an exception": "kept = record(way); 1 / 0",
    "sys.exit": "kept = record(way); sys.exit(3)",
    "an interrupt": "kept = record(way); raise KeyboardInterrupt",
    "garbage": "record(way); gc.collect()",
    "a cycle": "kept = record(way); kept.itself = kept; del kept",
    "atexit": "atexit.register(record, way)",
    "another thread": "threading.Thread(target=record, args=[way]).start()",
    "a daemon": "t = threading.Thread(target=record, args=[way], daemon=True); t.start(); t.join()",
    "after the main thread": (
        "threading.Thread(target=lambda: (time.sleep(0.3), record(way), 0)).start()"
    ),
    "a child of multiprocessing": (
        "multiprocessing.get_context('fork').Process(target=record, args=[way]).start()"
    ),
    "its child": textwrap.dedent("""
        kept = record(way)
        child = os.fork()
        if child == 0:                   # what it inherits is no recorder of its own
            kept.flush()
            kept.close()
            try:
                kept(4)
            except th.TrajectoryError as error:
                os._exit("belongs to the process" not in str(error))
            os._exit(1)
        if os.waitpid(child, 0)[1]:
            (root / way / "wrong").touch()
    """),
}
FORKS = """
import warnings
warnings.simplefilter("error")
for way, program in {ways!r}.items():
    if os.fork() == 0:
        break
else:
    for _ in range({count}):
        os.wait()
    sys.exit()
exec(program)
"""


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ends")
    program = START + FORKS.format(ways=WAYS, count=len(WAYS))
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run(
        [sys.executable, "-c", program, folder], env=environment, check=True, capture_output=True
    )
    return folder


def whole(folder):
    """All four checkpoints are there, each as it was at its step."""
    steps = th.open_trajectory(folder).steps
    assert steps == (0, 1, 2, 3)
    found = [load_file(folder / f"step_{step}.safetensors")["weight"].item() for step in steps[1:]]
    assert found == [1, 2, 3]


@pytest.mark.parametrize("way", WAYS)
def test_nothing_is_lost(ended, way):
    whole(ended / way)
    others = {path.name for path in (ended / way).iterdir() if path.suffix != ".safetensors"}
    # where a process ends without what is registered with atexit, as in multiprocessing's children
    assert others <= {".recorder.lock"}


def in_a_child(folder):
    exec(START.replace("sys.argv[1]", repr(str(folder.parent))) + f"record({folder.name!r})", {})


def test_a_spawned_child_loses_nothing(tmp_path):
    child = multiprocessing.get_context("spawn").Process(target=in_a_child, args=[tmp_path / "run"])
    child.start()
    child.join()
    assert child.exitcode == 0
    whole(tmp_path / "run")


def test_a_kernel_loses_nothing(tmp_path):
    """That of a notebook which is closed."""
    from jupyter_client.manager import start_new_kernel

    manager, client = start_new_kernel(kernel_name="python3")
    try:
        program = START.replace("sys.argv[1]", repr(str(tmp_path)))
        reply = client.execute_interactive(program + "kept = record('run')", timeout=60)
        assert reply["content"]["status"] == "ok", reply["content"]
    finally:
        client.stop_channels()
        manager.shutdown_kernel()
    whole(tmp_path / "run")


HOLDS = START + textwrap.dedent("""
    kept = Recorder(root, torch.nn.Linear(1, 1))
    kept.flush()
    child = os.fork()
    if child == 0:                       # as a DataLoader's workers, which outlive it for a while
        time.sleep(60)
        os._exit(0)
    print(child, flush=True)
    time.sleep(60)
""")


def test_two_processes_never_record_into_one_folder(tmp_path):
    """And a lock dies with its process, whatever children that has left."""
    folder, net = tmp_path / "run", torch.nn.Linear(1, 1)
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDS, folder], stdout=subprocess.PIPE, text=True
    )
    child = int(process.stdout.readline())
    try:
        before = (folder / "step_0.safetensors").read_bytes()
        for options in ({}, {"resume": True}, {"overwrite": True}):
            with pytest.raises(th.ExistingRunError, match=f"run: process {process.pid} on .* is"):
                th.Recorder(folder, net, **options)
        assert (folder / "step_0.safetensors").read_bytes() == before
        process.kill()
        process.wait()
        with th.Recorder(folder, net, overwrite=True) as record:
            record(1)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        os.kill(child, signal.SIGKILL)
    assert th.open_trajectory(folder).steps == (0, 1)
    assert [path.suffix for path in folder.iterdir()] == [".safetensors"] * 2
