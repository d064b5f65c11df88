"""The package alone, as a user installs it: built from the tree, in an empty environment, without
any extra.
"""

import json
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import oracle
import pytest
from safetensors.numpy import save_file

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    (folder / "tree").mkdir()
    # A copy of what git has, so that nothing of the tree helps and nothing is left in it.
    archive = f"git -C '{ROOT}' archive HEAD | tar -x -C '{folder / 'tree'}'"
    subprocess.run(archive, shell=True, check=True)
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder]
    subprocess.run([*pip, folder / "tree"], check=True)
    (wheel,) = folder.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", folder / "env"], check=True)
    subprocess.run([folder / "env/bin/pip", "install", "-q", wheel], check=True)
    return folder / "env"


def run(environment, program, *arguments):
    return subprocess.run(
        [environment / "bin" / program, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=environment,
    )


def printed(*arguments):
    done = run(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_wheel_in_an_empty_environment(environment, tmp_path):
    listed = json.loads(printed(environment, "pip", "list", "--format", "json"))
    names = {package["name"] for package in listed} - {"pip", "setuptools", "trajhelpers"}
    assert {"numpy", "safetensors", "tqdm"} <= names and len(names) <= 10, names
    help_text = printed(environment, "trajhelpers", "--help")
    assert "gram" in help_text and "hallmarks" in help_text
    program = "import trajhelpers as th; print(round(th.mds(th.random_walk(39), origin=0), 4))"
    assert printed(environment, "python", "-c", program) == "0.6813\n"
    data = "from trajhelpers.sources.hub.suites import suites; print(len(suites()) > 3)"
    assert printed(environment, "python", "-c", data) == "True\n"
    theta = np.random.default_rng(0).standard_normal((5, 12)).astype(np.float32)
    for step, row in enumerate(theta):
        save_file({"w": row}, tmp_path / f"step{step}.safetensors")
    printed(environment, "trajhelpers", "gram", tmp_path, "-o", tmp_path / "run.npz")
    found = printed(environment, "trajhelpers", "hallmarks", tmp_path / "run.npz", "--json")
    assert abs(json.loads(found)["mds"] - oracle.mds(theta.astype(float))) < 1e-12
    assert "momentum-decay-vgg" in printed(environment, "trajhelpers", "study", "--list")
    failed = run(environment, "trajhelpers", "plot", tmp_path / "run.npz", "-o", tmp_path / "x.png")
    assert failed.returncode == 2 and "pip install 'trajhelpers[plots]'" in failed.stderr


@pytest.mark.slow
def test_a_wheel_beside_what_the_extras_bring(environment):
    """Those of this environment, for torch takes minutes to install."""
    (own,) = (environment / "lib").glob("python*/site-packages")
    (own / "rest.pth").write_text(sysconfig.get_path("purelib"))
    program = "import trajhelpers as th; th.Recorder; th.plot_map; th.explore; th.training.SAM"
    where = printed(environment, "python", "-c", f"{program}; print(th.__file__)")
    assert where.startswith(str(own))
    failed = run(environment, "trajhelpers", "study", "clean-labels")
    assert failed.returncode == 2 and "the images come with the book's repository" in failed.stderr
