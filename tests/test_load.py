"""Studies that were run are read once, and again when they have changed."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

import trajhelpers as th
from trajhelpers.lab.studies import load

NAME = "sam"


@pytest.fixture
def folder(tmp_path):
    shutil.copytree(load.DATA_FOLDER / "studies" / NAME, tmp_path / "studies" / NAME)
    return tmp_path


@pytest.fixture
def opened(monkeypatch):
    """The files that kernels were read from."""
    read, really = [], load.load_kernel
    monkeypatch.setattr(load, "load_kernel", lambda path: read.append(path.name) or really(path))
    return read


def test_a_study_is_read_once(folder, opened):
    first = th.studies.load_study(NAME, folder)
    assert len(opened) == len(first.kernels) == 15
    second = th.studies.load_study(NAME, os.path.relpath(folder))
    assert len(opened) == 15
    pd.testing.assert_frame_equal(first.table, second.table)
    pd.testing.assert_frame_equal(first.log, second.log)
    assert first.kernels == second.kernels


def test_what_a_caller_changes_is_the_callers(folder):
    first = th.studies.load_study(NAME, folder)
    expected = (first.table.copy(), dict(first.kernels), first.log.copy())
    first.table.loc[first.table.index[0], "mds"] = 2.0
    first.table["new"] = 0
    del first.log["epoch"]
    first.kernels.popitem()
    second = th.studies.load_study(NAME, folder)
    pd.testing.assert_frame_equal(second.table, expected[0])
    assert second.kernels == expected[1]
    pd.testing.assert_frame_equal(second.log, expected[2])


def replaced(path, content):
    """As studies write: moved into place, here with the old time and size."""
    before, other = path.stat(), path.with_suffix(".new")
    other.write_bytes(content)
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    os.replace(other, path)


def test_a_study_that_was_run_again_is_read_anew(folder):
    before, place = th.studies.load_study(NAME, folder), folder / "studies" / NAME
    first, last = before.table.index[[0, -1]]
    text = (place / "runs.csv").read_text()
    omega = f"{before.table.mds[first]!r}".removeprefix("np.float64(").removesuffix(")")
    assert text.count(omega) == 1
    replaced(place / "runs.csv", text.replace(omega, "0.5".ljust(len(omega), "0")).encode())
    after = th.studies.load_study(NAME, folder)
    assert after.table.mds[first] == 0.5 and before.table.mds[first] != 0.5

    replaced(place / f"{first}.npz", (place / f"{last}.npz").read_bytes())
    kernels = th.studies.load_study(NAME, folder).kernels
    assert np.array_equal(kernels[first].increments, before.kernels[last].increments)

    (place / f"{last}.npz").unlink()
    with pytest.raises(FileNotFoundError, match=f"{last}.npz"):
        th.studies.load_study(NAME, folder)


def test_two_folders_are_two_studies(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    shutil.copytree(folder, other, dirs_exist_ok=True)
    mine, table = th.studies.load_study(NAME, folder).table, other / "studies" / NAME / "runs.csv"
    pd.read_csv(table, dtype={"run": "str"}).assign(mds=0.25).to_csv(table, index=False)
    assert (th.studies.load_study(NAME, other).table.mds == 0.25).all()
    pd.testing.assert_frame_equal(th.studies.load_study(NAME, folder).table, mine)


def test_reading_draws_nothing():
    program = "import sys, trajhelpers as th; th.studies.load_study, th.claims.scorecard;"
    program += "print([name for name in ('matplotlib', 'ipywidgets') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, check=True)
    assert done.stdout == b"[]\n"
