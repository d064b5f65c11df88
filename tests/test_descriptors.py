"""More checkpoints than a process may have files open: 256 on a Mac, for all that it does."""

import gc
import os
import subprocess
import sys
import textwrap
import threading
from functools import partial

import numpy as np
import pytest
from safetensors.numpy import save_file

import trajhelpers as th
from trajhelpers.sources.descriptors import Descriptors

COUNT = 310


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    for step in range(COUNT):
        save_file({"w": np.full(30, float(step + 1))}, folder / f"step_{step}.safetensors")
    return folder


def said(code, limit, folder):
    """What a process that may have so many files open prints."""
    before = f"""
        import errno, json, os, resource, sys, threading
        resource.setrlimit(resource.RLIMIT_NOFILE, ({limit}, {limit}))
        import numpy as np
        import trajhelpers as th
        folder = {str(folder)!r}

        def check(trajectory):
            values = trajectory.read([("w", 7, 9)])
            assert values.tolist() == [[step + 1] * 2 for step in range({COUNT})]

        def open_now():
            return len(os.listdir("/dev/fd")) - 1
    """
    whole = textwrap.dedent(before) + textwrap.dedent(code)
    done = subprocess.run([sys.executable, "-c", whole], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("limit", [64, 256])
def test_two_trajectories_that_threads_read_at_once(folder, limit):
    code = """
        one, other = th.open_trajectory(folder), th.open_trajectory(folder)
        threads = [
            threading.Thread(target=lambda: [check(one), check(other[:]), failed.pop()])
            for _ in range(12)
        ]
        failed = list(threads)
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        kernels = [th.gram(each, device="cpu") for each in (one, other)]
        assert not failed and (kernels[0].gram() == kernels[1].gram()).all()
        kernels[0].save(folder + "/../kernel.npz")
        print(open_now())
        del one, other, threads, failed
        print(open_now())
    """
    most, after = map(int, said(code, limit, folder).split())
    assert most < 3 * limit / 4, "room is left to others"
    assert after < 16


def test_many_models(folder):
    code = """
        paths = {str(i): f"{folder}/step_{i}.safetensors" for i in range(1, 200)}
        models = th.open_models(paths, base=f"{folder}/step_0.safetensors")
        print(th.gram(models, device="cpu").n)
    """
    assert said(code, 64, folder) == "200\n"


def test_where_others_have_taken_nearly_all(folder):
    """Nothing is lost: what is read needs one at a time, and leaves room when there is none."""
    code = """
        trajectory = th.open_trajectory(folder)
        th.gram(trajectory, device="cpu")  # which imports what it needs
        taken = []
        try:
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        except OSError as error:
            assert error.errno == errno.EMFILE
        kernel = th.gram(trajectory, device="cpu")  # files that were closed are opened again
        check(trajectory)
        kernel.save(folder + "/../kernel.npz")
        others = th.open_trajectory(folder)
        check(others)
        print(th.load_kernel(folder + "/../kernel.npz").n)
    """
    assert said(code, 128, folder) == f"{COUNT}\n"


def test_where_others_have_taken_all(folder):
    """One line that says what to do, and afterwards all is as it was."""
    code = """
        taken = []
        try:
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        except OSError:
            os.close(taken.pop())  # for the folder's list
        files = [f"{folder}/step_{i}.safetensors" for i in range(3)]
        taken.append(os.open(os.devnull, os.O_RDONLY))
        try:
            th.open_trajectory(files)
        except th.CheckpointError as error:
            print(error)
        for descriptor in taken:
            os.close(descriptor)
        check(th.open_trajectory(folder))
    """
    assert "ulimit -n" in said(code, 64, folder)


def test_a_trajectory_that_is_dropped_closes_its_files(folder):
    gc.collect()  # what other tests have left
    before = len(os.listdir("/dev/fd"))
    for _ in range(3):
        trajectory = th.open_trajectory(folder)
        trajectory.read([("w", 0, 1)])
        del trajectory
        gc.collect()
        assert len(os.listdir("/dev/fd")) == before


def test_none_is_closed_under_a_reader(tmp_path, monkeypatch):
    """Its number might be that of another file at once."""
    paths = [tmp_path / str(number) for number in range(8)]
    for number, path in enumerate(paths):
        path.write_bytes(bytes([number]))
    descriptors = Descriptors()
    monkeypatch.setattr(descriptors, "_most", 1)
    wrong = []

    def read(seed):
        for number in np.random.default_rng(seed).integers(0, len(paths), 2000):
            found = descriptors.take(number, partial(os.open, paths[number], os.O_RDONLY))
            if os.pread(found.number, 2, 0) != bytes([number]):
                wrong.append(number)
            descriptors.give_back(found)
            own = descriptors.take((seed,), partial(os.open, paths[0], os.O_RDONLY))
            descriptors.give_back(own)
            descriptors.drop([(seed,)])

    threads = [threading.Thread(target=read, args=[seed]) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    descriptors.drop(range(len(paths)))
    assert descriptors.held(0) is None


def test_the_least_recently_used_goes_first(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.touch()
    descriptors = Descriptors()
    monkeypatch.setattr(descriptors, "_most", 2)

    def use(name):
        descriptors.give_back(descriptors.take(name, lambda: os.open(path, os.O_RDONLY)))

    for name in ("a", "b", "a", "c"):
        use(name)
    assert descriptors.held("a") and descriptors.held("c") and not descriptors.held("b")
    descriptors.drop("ac")
