"""Files on this machine are one content from their first byte to the end of the pass: those that
are written to, replaced, removed or no files at all while they are read.
"""

import itertools
import json
import os
import signal
import socket
import tarfile
import threading
import zipfile
from types import SimpleNamespace

import numpy as np
import oracle
import pytest
import torch
from safetensors.numpy import save_file

import trajhelpers as th
from trajhelpers.sources import descriptors, disk, identity

# As many that each file is read in several goes.
SIZE = 200_000


def values(step, seed=0):
    return np.random.default_rng([seed, step]).standard_normal(SIZE)


def write(path, step, seed=0, names=("v", "w")):
    """Two tensors; a file of another seed, or with the names in another order, is as long."""
    tensors = {name: values(step, seed + (name == "w")) for name in names}
    if path.suffix == ".pt":
        torch.save({name: torch.from_numpy(value) for name, value in tensors.items()}, path)
    elif path.suffix == ".npz":
        np.savez(path, **tensors)
    else:
        save_file(tensors, path)


def run(folder, suffix="safetensors", seed=0, count=4):
    folder.mkdir(exist_ok=True)
    paths = [folder / f"step_{step}.{suffix}" for step in range(count)]
    for step, path in enumerate(paths):
        write(path, step, seed)
    return paths


def expected(count=4, seed=0):
    """U of a run."""
    thetas = [np.concatenate([values(s, seed), values(s, seed + 1)]) for s in range(count)]
    return oracle.gram(np.array(thetas))


def before_the(nth, name, module, monkeypatch, do):
    """Call ``do`` before the nth call of a function."""
    whole, calls = getattr(module, name), []

    def function(*arguments, **options):
        calls.append(arguments)
        if len(calls) == nth:
            do()
        return whole(*arguments, **options)

    monkeypatch.setattr(module, name, function)
    return calls


def overwrite(path, content, is_time_put_back=True):
    """In place: the same inode, the same size."""
    before = path.stat()
    with open(path, "r+b") as file:
        file.write(content)
    if is_time_put_back:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


# ---- written to in place ----


@pytest.mark.parametrize("is_time_put_back", [False, True])
@pytest.mark.parametrize("suffix", ["safetensors", "pt", "npz"])
def test_a_file_that_is_rewritten_in_place_while_gram_reads_it(
    tmp_path, monkeypatch, suffix, is_time_put_back
):
    path = run(tmp_path / "run", suffix)[2]
    other = run(tmp_path / "other", suffix, seed=9)[2]
    trajectory = th.open_trajectory(tmp_path / "run")
    before_the(
        9,
        "preadv",
        os,
        monkeypatch,
        lambda: overwrite(path, other.read_bytes(), is_time_put_back),
    )
    with pytest.raises(th.CheckpointError, match=f"{path}: changed since.*open it again"):
        th.gram(trajectory, device="cpu")


def test_one_that_is_read_by_itself(tmp_path):
    path, other = run(tmp_path / "run")[2], run(tmp_path / "other", seed=9)[2]
    trajectory = th.open_trajectory(tmp_path / "run")
    np.testing.assert_array_equal(trajectory.read([("w", 0, 9)])[2], values(2, 1)[:9])
    overwrite(path, other.read_bytes())
    with pytest.raises(th.CheckpointError, match=f"{path}: changed since"):
        trajectory.read([("w", 0, 9)])
    # A part without it is as it was.
    np.testing.assert_array_equal(trajectory[:2].read([("w", 0, 9)])[1], values(1, 1)[:9])


@pytest.mark.parametrize("suffix", ["tar", "zip"])
def test_an_archive_that_is_rewritten_in_place(tmp_path, monkeypatch, suffix):
    archives = []
    for seed in (0, 9):
        paths = run(tmp_path / f"run{seed}", seed=seed)
        archives.append(tmp_path / f"run{seed}.{suffix}")
        if suffix == "tar":
            with tarfile.open(archives[-1], "w") as archive:
                for path in paths:
                    archive.add(path, path.name)
        else:
            with zipfile.ZipFile(archives[-1], "w") as archive:
                for path in paths:
                    archive.write(path, path.name)
    trajectory = th.open_trajectory(archives[0])
    content = archives[1].read_bytes()
    before_the(9, "preadv", os, monkeypatch, lambda: overwrite(archives[0], content))
    with pytest.raises(th.CheckpointError, match=f"{archives[0]}: changed since"):
        th.gram(trajectory, device="cpu")


def test_tensors_with_gaps_in_a_file_that_is_rewritten(tmp_path, monkeypatch):
    """What is composed of parts of a file is as safe as the file."""
    for folder, seed in ((tmp_path / "run", 0), (tmp_path / "other", 9)):
        folder.mkdir()
        for step in range(3):
            whole = torch.from_numpy(values(step, seed)).reshape(400, 500)
            torch.save({"w": whole[:, ::2]}, folder / f"step_{step}.pt")
    trajectory = th.open_trajectory(tmp_path / "run")
    path = tmp_path / "run" / "step_1.pt"
    content = (tmp_path / "other" / "step_1.pt").read_bytes()
    before_the(4, "preadv", os, monkeypatch, lambda: overwrite(path, content))
    with pytest.raises(th.CheckpointError, match=f"{path}: changed since"):
        th.gram(trajectory, device="cpu")


def test_models_and_adapters(tmp_path, monkeypatch):
    paths = {}
    for label, seed in (("a", 0), ("b", 1), ("other", 9)):
        rng = np.random.default_rng(seed)
        paths[label] = tmp_path / f"{label}.safetensors"
        factors = {
            "q.lora_down.weight": rng.standard_normal((2, 30)),
            "q.lora_up.weight": rng.standard_normal((40, 2)),
            "q.alpha": np.array(2.0),
        }
        save_file(factors, paths[label])
    content = paths["other"].read_bytes()
    for lora in ("product", "factors"):
        models = th.open_models({label: paths[label] for label in "ab"}, lora=lora)
        with monkeypatch.context() as patch:
            before_the(2, "preadv", os, patch, lambda: overwrite(paths["b"], content))
            with pytest.raises(th.CheckpointError, match=f"{paths['b']}: changed since"):
                th.gram(models, device="cpu")


def test_nan_of_a_file_that_is_being_written_is_not_taken_for_the_runs_own(tmp_path, monkeypatch):
    path = run(tmp_path / "run")[2]
    nan = tmp_path / "nan.safetensors"
    save_file({name: np.full(SIZE, np.nan) for name in ("v", "w")}, nan)
    trajectory = th.open_trajectory(tmp_path / "run", nonfinite="skip-checkpoint")
    before_the(3, "preadv", os, monkeypatch, lambda: overwrite(path, nan.read_bytes()))
    with pytest.raises(th.CheckpointError, match=f"{path}: changed since"):
        th.gram(trajectory, device="cpu")


def test_a_write_in_the_same_tick_of_the_clock(tmp_path, monkeypatch):
    """On file systems that know whole seconds: what was written just now is waited for, or a write
    after opening, in the same second, would leave no trace.
    """

    def in_whole_seconds(found):
        whole = identity.Identity(
            found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
        )
        second = 1_000_000_000
        return whole._replace(
            modified=whole.modified // second * second, changed=whole.changed // second * second
        )

    monkeypatch.setattr(identity, "identity_of", in_whole_seconds)
    monkeypatch.setattr(disk, "identity_of", in_whole_seconds)
    path, other = run(tmp_path / "run")[2], run(tmp_path / "other", seed=9)[2]
    trajectory = th.open_trajectory(tmp_path / "run")
    overwrite(path, other.read_bytes(), is_time_put_back=False)
    with pytest.raises(th.CheckpointError, match=f"{path}: changed since"):
        th.gram(trajectory, device="cpu")


def test_a_long_write_that_has_begun_before(tmp_path):
    """Of one call, which sets the file's times at its beginning."""
    count, path = 8_000_000, tmp_path / "step_1.safetensors"
    for name, value in (("new", 2), ("step_1.safetensors", 1), ("step_0.safetensors", 1)):
        save_file({"w": np.full(count, float(value))}, tmp_path / name)
    content, begin = (tmp_path / "new").read_bytes(), path.stat().st_size - 8 * count
    descriptor = os.open(path, os.O_RDWR)
    writing = threading.Thread(target=os.pwrite, args=(descriptor, content, 0))
    writing.start()
    while os.pread(descriptor, 8, begin) != content[begin : begin + 8]:
        pass
    trajectory = th.open_trajectory(tmp_path)
    assert trajectory.read([("w", 0, 1), ("w", count - 1, count)])[1].tolist() == [2, 2]
    writing.join()
    os.close(descriptor)


def test_a_file_that_is_being_written_is_not_opened(tmp_path, monkeypatch):
    path = run(tmp_path / "run")[2]
    times = itertools.count(1)
    clock = SimpleNamespace(
        time_ns=lambda: 0, sleep=lambda seconds: os.utime(path, ns=(0, next(times)))
    )
    monkeypatch.setattr(identity, "time", clock)
    with pytest.raises(th.CheckpointError, match=f"{path}: is still being written"):
        th.open_trajectory(tmp_path / "run")


# ---- replaced, removed ----


@pytest.mark.parametrize("suffix", ["safetensors", "pt", "npz"])
def test_a_file_that_is_replaced_while_the_trajectory_is_opened(tmp_path, monkeypatch, suffix):
    """Behind its header, by one as long and as old whose tensors lie elsewhere."""
    path = run(tmp_path / "run", suffix)[0]
    new = tmp_path / f"step_n.{suffix}"  # torch writes a file's name into it

    def replace():
        write(new, 0, names=("w", "v"))
        assert new.stat().st_size == path.stat().st_size
        os.utime(new, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
        os.replace(new, path)

    before_the(2, "read_checkpoint", disk, monkeypatch, replace)
    with pytest.raises(th.CheckpointError, match=f"{path}: changed since.*open it again"):
        th.open_trajectory(tmp_path / "run")


def test_shards_of_two_saves_are_not_mixed(tmp_path, monkeypatch):
    folder = tmp_path / "step_2"
    run(tmp_path, count=2)

    def save(seed):
        folder.mkdir(exist_ok=True)
        shards = {name: f"model-{at + 1:05}-of-00002.safetensors" for at, name in enumerate("vw")}
        for name, shard in shards.items():
            save_file({name: values(2, seed)}, tmp_path / "new")
            os.replace(tmp_path / "new", folder / shard)
        index = folder / "model.safetensors.index.json"
        index.write_text(json.dumps({"weight_map": shards}))

    save(0)
    calls = before_the(2, "open", disk.OpenFiles, monkeypatch, lambda: None)
    th.open_trajectory(tmp_path)
    last = len(calls)  # the second shard's
    before_the(last, "open", disk.OpenFiles, monkeypatch, lambda: save(9))
    with pytest.raises(th.CheckpointError, match=f"{folder}/model.*: changed since"):
        th.open_trajectory(tmp_path)


@pytest.mark.parametrize("kept", [0, 100])
@pytest.mark.parametrize("is_replaced", [False, True])
def test_a_file_that_loses_its_name_after_opening(tmp_path, monkeypatch, kept, is_replaced):
    """To another of the same size and time, or because a run keeps its newest checkpoints only: an
    open file is what it was; one that had to be closed is told from the other.
    """
    monkeypatch.setattr(descriptors.DESCRIPTORS, "_most", kept)
    path = run(tmp_path / "run")[1]
    trajectory = th.open_trajectory(tmp_path / "run")
    before = path.stat()
    if is_replaced:
        write(tmp_path / "new", 1, seed=9)
        os.utime(tmp_path / "new", ns=(before.st_atime_ns, before.st_mtime_ns))
        os.replace(tmp_path / "new", path)
    else:
        path.unlink()
    if kept:
        kernel = th.gram(trajectory, device="cpu")
        np.testing.assert_allclose(kernel.gram(), expected(), rtol=1e-12, atol=1e-9)
    else:
        with pytest.raises(th.CheckpointError, match=f"{path}: changed since"):
            th.gram(trajectory, device="cpu")


def test_a_text_that_is_rewritten_while_it_is_read(tmp_path, monkeypatch):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"a": "b" * 50_000}))
    content = json.dumps({"a": "c" * 50_000}).encode()
    before_the(2, "preadv", os, monkeypatch, lambda: overwrite(path, content))
    with pytest.raises(th.CheckpointError, match=f"{path}: changed since"):
        disk.LocalFile(path).read_text()


def test_a_text_that_is_none_and_one_that_is_too_long(tmp_path):
    path = tmp_path / "config.json"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(th.CheckpointError, match=f"{path}: holds something other than text"):
        disk.LocalFile(path).read_text()
    os.truncate(path, 1 << 30)
    with pytest.raises(th.CheckpointError, match=f"{path}: has 1,073,741,824 bytes, too many"):
        disk.LocalFile(path).read_text()


def test_the_size_is_that_of_the_file_that_is_read(tmp_path):
    path = run(tmp_path)[0]
    file, size = disk.LocalFile(path), path.stat().st_size
    file.open().close()
    path.unlink()
    path.write_bytes(b"")
    assert file.size == size
    assert disk.LocalFile(path).size == 0 == disk.LocalFile(tmp_path / "absent").size


# ---- no files at all ----


@pytest.fixture
def at_once():
    """A test that waits for a pipe fails."""

    def give_up(*_):
        raise TimeoutError("it hangs")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def special(path, kind):
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        here = os.getcwd()
        os.chdir(path.parent)  # a socket's path is a short one
        try:
            with socket.socket(socket.AF_UNIX) as listening:
                listening.bind(path.name)
        finally:
            os.chdir(here)
    else:
        path.symlink_to({"device": "/dev/zero", "link": path.with_name("absent")}[kind])


@pytest.mark.parametrize("name", ["step_9.safetensors", "step_9.pt", "step_9.npz", "step_9.zip"])
@pytest.mark.parametrize("kind", ["pipe", "socket", "device", "link"])
def test_what_is_no_file_is_refused_at_once(tmp_path, at_once, kind, name):
    """In a list, and in a folder, whose run would else lack a step that it seems to have."""
    paths = run(tmp_path, suffix=name.split(".")[1].replace("zip", "pt"), count=2)
    path = tmp_path / name
    special(path, kind)
    said = {"link": "absent", "pipe": "FIFO"}.get(kind, kind)
    with pytest.raises((th.CheckpointError, FileNotFoundError), match=f"{path}: .*{said}|no such"):
        th.open_trajectory([*paths, path])
    if path.suffix != ".zip":
        for look in (th.open_trajectory, th.audit):
            with pytest.raises(th.CheckpointError, match=f"{path}: .*{said}"):
                look(tmp_path)
    with pytest.raises((th.CheckpointError, FileNotFoundError), match=str(path)):
        th.open_models({"a": paths[0], "b": path})


@pytest.mark.parametrize("kind", ["pipe", "socket", "device"])
def test_a_kernel_that_is_no_file(tmp_path, at_once, kind):
    path = tmp_path / "kernel.npz"
    special(path, kind)
    with pytest.raises(FileNotFoundError, match=f"{path}: is no regular file"):
        th.load_kernel(path)


def test_a_pipe_beside_the_checkpoints(tmp_path, at_once):
    """That no step names is nobody's."""
    run(tmp_path, count=2)
    for name in ("config.json", "control", "latest.pt"):
        os.mkfifo(tmp_path / name)
    assert th.open_trajectory(tmp_path).n == 2


def test_an_index_that_names_a_pipe(tmp_path, at_once):
    run(tmp_path, count=2)
    folder = tmp_path / "step_2"
    folder.mkdir()
    os.mkfifo(folder / "a.safetensors")
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"v": "a.safetensors", "w": "a.safetensors"}}))
    with pytest.raises(th.CheckpointError, match=r"index\.json: names shards.*a\.safetensors"):
        th.open_trajectory(tmp_path)
