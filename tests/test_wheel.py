"""The package alone, as a user installs it: built from the tree, in an empty environment, without
any extra.
"""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_a_wheel_in_an_empty_environment(tmp_path):
    root = Path(__file__).parents[1]
    # A copy of what git has, so that nothing of the tree helps and nothing is left in it.
    subprocess.run(f"git -C '{root}' archive HEAD | tar -x -C '{tmp_path}'", shell=True, check=True)
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "-q",
            "--no-deps",
            "-w",
            tmp_path / "wheel",
            tmp_path,
        ],
        check=True,
    )
    (wheel,) = (tmp_path / "wheel").glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "env"], check=True)
    subprocess.run([tmp_path / "env/bin/pip", "install", "-q", wheel], check=True)
    help_text = subprocess.run(
        [tmp_path / "env/bin/trajhelpers", "--help"],
        check=True,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    ).stdout
    assert "gram" in help_text and "hallmarks" in help_text
    program = (
        "import trajhelpers as th; th.Recorder; th.plot_map; th.origin_slider;"
        " print(round(th.mds(th.random_walk(39), origin=0), 4))"
    )
    data = "from trajhelpers.sources.hub.suites import suites; print(len(suites()) > 3)"
    assert (
        subprocess.run(
            [tmp_path / "env/bin/python", "-c", data],
            check=True,
            capture_output=True,
            text=True,
            cwd=tmp_path,
        ).stdout
        == "True\n"
    )
    assert (
        subprocess.run(
            [tmp_path / "env/bin/python", "-c", program],
            check=True,
            capture_output=True,
            text=True,
            cwd=tmp_path,
        ).stdout
        == "0.6813\n"
    )
    listed = subprocess.run(
        [tmp_path / "env/bin/trajhelpers", "study", "--list"],
        check=True,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    ).stdout
    assert "momentum-decay-vgg" in listed
    failed = subprocess.run(
        [tmp_path / "env/bin/trajhelpers", "study", "clean-labels"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert failed.returncode == 2 and "the images come with the book's repository" in failed.stderr
