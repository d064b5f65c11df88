"""A file that is written is whole, in its place, as open as any other, and alone: whoever writes at
the same time, is killed, or finds the disk full.
"""

import errno
import os
import resource
import signal
import stat
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from test_cli import call, write_run

import trajhelpers as th
from trajhelpers import kernel_file
from trajhelpers.atomic import atomic_path, refuse_unwritable, remove_abandoned
from trajhelpers.streaming import passing

NOBODY = 65534
RECIPE = th.training.Recipe(
    model="mlp",
    data="digits",
    width=8,
    epochs=1,
    checkpoints=5,
    learning_rate=0.1,
    batch_size=100,
)


def kernels():
    return [th.random_walk(12, start=seed) for seed in range(3)]


def write(path, text="new"):
    with atomic_path(path) as temporary:
        temporary.write_text(text)


def in_process(code, *arguments):
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


WRITERS = """
    import sys, trajhelpers as th
    from concurrent.futures import ThreadPoolExecutor
    def save(seed):
        kernel = th.random_walk(12, start=seed)
        for _ in range(40):
            kernel.save(sys.argv[1])
    print("ready", flush=True)
    with ThreadPoolExecutor() as pool:
        list(pool.map(save, range(3)))
"""


def test_threads_and_processes_save_to_one_path_while_others_read(tmp_path):
    path, saved = tmp_path / "run.npz", [kernel.total for kernel in kernels()]
    kernels()[0].save(path)
    writers = [in_process(WRITERS, path) for _ in range(2)]
    troubles, read = [], 0

    def save(kernel):
        for _ in range(40):
            try:
                kernel.save(path)
            except Exception as error:
                troubles.append(error)

    own = [threading.Thread(target=save, args=[kernel]) for kernel in kernels()]
    for writer in writers:
        assert writer.stdout.readline() == "ready\n"
    for thread in own:
        thread.start()
    while any(thread.is_alive() for thread in own) or any(w.poll() is None for w in writers):
        try:
            total = th.load_kernel(path).total
        except Exception as error:
            troubles.append(error)
        else:
            assert any(np.array_equal(total, one) for one in saved)
        read += 1
    for writer in writers:
        writer.communicate()
    assert not troubles and read > 20
    assert [writer.returncode for writer in writers] == [0, 0]
    assert os.listdir(tmp_path) == ["run.npz"]


HOLDS = """
    import sys
    from trajhelpers.atomic import atomic_path
    with atomic_path(sys.argv[1]) as temporary:
        temporary.write_text("of the other process")
        (temporary.parent / ".tmpAbC").write_text("put there by a library, as safetensors does")
        print("ready", flush=True)
        sys.stdin.readline()
"""


def test_what_a_killed_writer_left_is_removed_by_the_next(tmp_path):
    path = tmp_path / "run.npz"
    other = in_process(HOLDS, path)
    other.stdout.readline()
    other.send_signal(signal.SIGKILL)
    other.communicate()
    assert len(os.listdir(tmp_path)) == 1
    write(path)
    assert os.listdir(tmp_path) == ["run.npz"]


def test_what_another_machine_left_is_removed_a_day_later(tmp_path):
    """Its lock may not reach here."""
    path, left = tmp_path / "run.npz", tmp_path / ".run.npz.0123456789abcdef.tmp"
    left.mkdir()
    (left / ".lock").write_text("another machine")
    write(path)
    assert left.exists()
    os.utime(left / ".lock", (0, time.time() - 25 * 3600))
    write(path)
    assert os.listdir(tmp_path) == ["run.npz"]


def test_what_a_living_writer_writes_is_left_to_it(tmp_path):
    path = tmp_path / "run.npz"
    other = in_process(HOLDS, path)
    other.stdout.readline()
    write(path)
    assert path.read_text() == "new"
    other.communicate("go on\n")
    assert other.returncode == 0
    assert path.read_text() == "of the other process"
    assert os.listdir(tmp_path) == ["run.npz"]


@pytest.mark.parametrize("moment", ["before its lock is there", "before the lock is held"])
def test_a_folder_that_is_taken_for_abandoned(tmp_path, monkeypatch, moment):
    """Another cleans up while a writer has not locked its folder yet."""
    path, mkdir, opened, taken = tmp_path / "x", type(tmp_path).mkdir, os.open, []

    def take(folder):
        if not taken:
            taken.append(folder)
            remove_abandoned(folder)

    def mkdir_and(folder, *arguments, **options):
        mkdir(folder, *arguments, **options)
        if moment == "before its lock is there":
            take(folder)

    def opened_and(name, *arguments, **options):
        descriptor = opened(name, *arguments, **options)
        if str(name).endswith(".lock") and moment == "before the lock is held":
            take(Path(name).parent)
        return descriptor

    monkeypatch.setattr(type(path), "mkdir", mkdir_and)
    monkeypatch.setattr(os, "open", opened_and)
    write(path)
    assert path.read_text() == "new" and taken and os.listdir(tmp_path) == ["x"]


@pytest.fixture
def umask():
    before = os.umask(0o027)
    yield
    os.umask(before)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_permissions_of_any_new_file(tmp_path, umask):
    th.random_walk(4).save(tmp_path / "run.npz")
    with th.Recorder(tmp_path / "run", torch.nn.Linear(1, 1)):
        pass
    assert mode(tmp_path / "run.npz") == mode(tmp_path / "run" / "step_0.safetensors") == 0o640


def test_what_is_replaced_keeps_its_permissions(tmp_path, umask):
    path = tmp_path / "log.csv"
    path.write_text("old")
    path.chmod(0o606)
    if os.geteuid() == 0:
        os.chown(path, 12, 34)
    before = path.stat()
    write(path)
    after = path.stat()
    assert path.read_text() == "new" and after.st_ino != before.st_ino
    assert (after.st_mode, after.st_uid, after.st_gid) == (
        before.st_mode,
        before.st_uid,
        before.st_gid,
    )


@pytest.mark.parametrize("there", [True, False])
def test_through_a_symlink(tmp_path, there):
    """As `open` writes: to where the link leads, which is often another disk."""
    (tmp_path / "far").mkdir()
    target, link = tmp_path / "far" / "run.npz", tmp_path / "run.npz"
    if there:
        target.write_text("old")
    link.symlink_to("far/run.npz")
    write(link)
    assert link.is_symlink() and target.read_text() == "new"
    assert os.listdir(tmp_path / "far") == ["run.npz"]


def test_the_longest_name(tmp_path):
    for name in ("n" * 255, "ω" * 127, "[a]*?"):
        write(tmp_path / name, name)
        write(tmp_path / name, name)
        assert (tmp_path / name).read_text() == name
    assert len(os.listdir(tmp_path)) == 3


def unwritable(tmp_path):
    """What can't be written, the class of its error, and a word of it."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("old")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "away").symlink_to("nowhere/run.npz")
    os.mkfifo(tmp_path / "fifo")
    return [
        ("folder", IsADirectoryError, "is a folder"),
        ("none/run.npz", FileNotFoundError, "there is no folder"),
        ("away", FileNotFoundError, "there is no folder .*nowhere"),
        ("file/run.npz", NotADirectoryError, "Not a directory"),
        ("n" * 256, OSError, "too long"),
        ("loop", OSError, "leads to itself"),
        ("fifo", OSError, "no regular file"),
    ]


def test_one_error_before_anything_is_written(tmp_path):
    for name, error, why in unwritable(tmp_path):
        before = sorted(os.listdir(tmp_path))
        for tried in (refuse_unwritable, write, th.random_walk(3).save):
            with pytest.raises(error, match=f"{name}: cannot be written: .*{why}"):
                tried(tmp_path / name)
        assert sorted(os.listdir(tmp_path)) == before


@contextmanager
def nobody():
    """Root may do everything: for a while, be someone who may not."""
    if os.geteuid():
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def test_without_permission(tmp_path_factory):
    folder = tmp_path_factory.mktemp("locked")
    for parent in (folder, *folder.parents[:3]):  # where pytest alone may look
        if parent != Path(tempfile.gettempdir()):
            parent.chmod(0o755)
    (folder / "kept").write_text("old")
    (folder / "kept").chmod(0o444)
    folder.chmod(0o777)
    with nobody():
        write(folder / "mine")
        with pytest.raises(PermissionError, match="kept: cannot be written: Permission denied"):
            write(folder / "kept")
    folder.chmod(0o555)
    with nobody(), pytest.raises(PermissionError, match="other: cannot be written"):
        refuse_unwritable(folder / "other")
    folder.chmod(0o755)
    assert (folder / "kept").read_text() == "old"
    assert sorted(os.listdir(folder)) == ["kept", "mine"]


@contextmanager
def full_disk(size=1000):
    """No file may have more bytes: what a full disk does, as far as a writer sees it."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_full_disk(tmp_path):
    path, large = tmp_path / "run.npz", th.random_walk(100)
    with full_disk(), pytest.raises(OSError, match=r"run\.npz: cannot .* nothing is there") as got:
        large.save(path)
    assert got.value.errno == errno.EFBIG and not os.listdir(tmp_path)
    th.random_walk(4).save(path)
    before = path.read_bytes()
    with full_disk(), pytest.raises(OSError, match="what was there before is as it was"):
        large.save(path)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["run.npz"]


@pytest.mark.parametrize("size", [1000, 4000])  # of a checkpoint, of the state of the training
def test_a_full_disk_while_a_network_is_trained(tmp_path, size):
    with full_disk(size), pytest.raises(th.TrajectoryError, match="run.*not be written"):
        th.training.train(RECIPE, tmp_path / "run")
    assert not [path for path in (tmp_path / "run").iterdir() if path.suffix == ".tmp"]
    th.training.train(RECIPE, tmp_path / "run", resume=True)
    assert th.open_trajectory(tmp_path / "run").n == 6


# ---- commands ----


@pytest.fixture
def run(tmp_path):
    write_run(tmp_path / "run", range(4))
    return tmp_path / "run"


@pytest.mark.parametrize("command", ["gram", "plot"])
def test_an_output_that_cannot_be_written_is_found_before_the_pass(
    run, tmp_path, capfd, monkeypatch, command
):
    monkeypatch.setattr("trajhelpers.cli.computing.gram", lambda *_, **__: pytest.fail("computed"))
    ending = {"gram": ".npz", "plot": ".png"}[command]
    (tmp_path / f"folder{ending}").mkdir()
    (tmp_path / f"loop{ending}").symlink_to(f"loop{ending}")
    os.mkfifo(tmp_path / f"fifo{ending}")
    (tmp_path / "file").write_text("")
    names = ("folder", "loop", "fifo", "none/x", "file/x", "n" * 256)
    for name in names:
        assert call(command, run, "-o", tmp_path / f"{name}{ending}") == 2
        error = capfd.readouterr().err
        assert error.count("\n") == 1 and name in error


def test_a_partial_that_cannot_be_written_is_found_before_the_pass(run, tmp_path, monkeypatch):
    monkeypatch.setattr(passing, "one_pass", lambda *_: pytest.fail("computed"))
    for name, error, why in unwritable(tmp_path):
        with pytest.raises(error, match=why):
            th.gram(th.open_trajectory(run), partial=tmp_path / name)


def test_a_study_and_a_run_find_it_before_they_train(tmp_path, monkeypatch):
    monkeypatch.setattr("trajhelpers.lab.studies.run._in_processes", lambda *_: pytest.fail("ran"))
    study = "momentum-decay-vgg"
    (tmp_path / "a" / "studies" / study / "runs.csv").mkdir(parents=True)
    (tmp_path / "b").write_text("a file")
    (tmp_path / "c" / "studies").mkdir(parents=True)
    (tmp_path / "c" / "studies" / study).symlink_to("nowhere/at/all")
    for name in "abc":
        with pytest.raises(OSError, match=str(tmp_path / name)):
            th.studies.run_studies([study], tmp_path / name)
    monkeypatch.setattr(
        "trajhelpers.lab.training.loop.Run.take_step", lambda *_: pytest.fail("trained")
    )
    for name in ("b", "b/run"):
        with pytest.raises(OSError, match=str(tmp_path / "b")):
            th.training.train(RECIPE, tmp_path / name)


def test_a_disk_that_becomes_full_does_not_lose_the_kernel(run, tmp_path, capfd, monkeypatch):
    real, out = np.savez_compressed, tmp_path / "out"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    out.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(elsewhere))
    full = [out]

    def savez(file, **arrays):
        if any(str(file.name).startswith(str(one)) for one in full):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(file, **arrays)

    monkeypatch.setattr(kernel_file.np, "savez_compressed", savez)
    assert call("gram", run, "-o", out / "run.npz", "--quiet") == 2
    error = capfd.readouterr().err
    (kept,) = elsewhere.glob("*/run.npz")
    assert "No space left" in error and f"the kernel is in {kept} now" in error
    assert th.load_kernel(kept).n == 4 and not os.listdir(out)
    full.append(elsewhere)
    kept.unlink()
    kept.parent.rmdir()
    assert call("gram", run, "-o", out / "run.npz", "--quiet") == 2
    error = capfd.readouterr().err
    assert "out/run.npz: cannot be written: No space left" in error and "is lost" in error
    assert not os.listdir(elsewhere)


# ---- recorders ----


def test_two_recorders_in_one_folder(tmp_path):
    folder, model = tmp_path / "run", torch.nn.Linear(1, 1)
    with th.Recorder(folder, model) as first:
        first(1)
        with pytest.raises(th.ExistingRunError, match="is recording into this folder"):
            th.Recorder(folder, model)
        first(2)
    with pytest.raises(th.ExistingRunError, match="holds a run already"):
        th.Recorder(folder, model)
    earlier = th.Recorder(folder, model, resume=True)
    with th.Recorder(folder, model, resume=True) as later:  # of a cell that was run again
        with pytest.raises(th.TrajectoryError, match="has taken over the folder"):
            earlier(3)
        later(3)
    assert th.open_trajectory(folder).steps == (0, 1, 2, 3)


@pytest.mark.parametrize("step", [1.0, True, np.float64(1), "1", None, -1, 2**63, 10**40])
def test_steps_that_would_be_read_as_something_else(tmp_path, step):
    with th.Recorder(tmp_path, torch.nn.Linear(1, 1)) as record:
        with pytest.raises((TypeError, ValueError), match="step: expected a whole number"):
            record(step)
        record(np.int64(2**62))
        record(2**63 - 1)
    assert th.open_trajectory(tmp_path).steps == (0, 2**62, 2**63 - 1)
