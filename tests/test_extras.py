"""The package without its extras: what works without them, and what else says which one is missing.

A package is kept away by a None in `sys.modules`, as if it were not installed."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import oracle
import pytest
from safetensors.numpy import save_file

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# All that extras bring and the package imports.
OPTIONAL = [
    "torch",
    "huggingface_hub",
    "matplotlib",
    "ipywidgets",
    "pandas",
    "scipy",
    "obstore",
    "torchvision",
    "sklearn",
    "transformers",
    "tokenizers",
    "accelerate",
    "lightning",
]


def without(packages, program, *arguments, **options):
    """A program's process in an environment that has not these packages."""
    program = f"import sys; sys.modules.update(dict.fromkeys({packages!r}))\n{program}"
    return subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        **options,
    )


COMMAND = "from trajhelpers.__main__ import main; sys.exit(main(sys.argv[1:]))"


@pytest.fixture
def run(tmp_path):
    generator = np.random.default_rng(0)
    states = [{"w": generator.standard_normal((3, 4), np.float32)} for _ in range(5)]
    for step, state in enumerate(states):
        save_file(state, tmp_path / f"step{step}.safetensors")
    return tmp_path, np.stack([state["w"].ravel() for state in states]).astype(float)


def test_files_of_this_machine_need_no_extra(run):
    folder, theta = run
    done = without(OPTIONAL, COMMAND, "gram", folder, "-o", folder / "run.npz")
    assert done.returncode == 0, done.stderr
    done = without(OPTIONAL, COMMAND, "hallmarks", folder / "run.npz", "--json")
    assert done.returncode == 0, done.stderr
    assert abs(json.loads(done.stdout)["mds"] - oracle.mds(theta)) < 1e-12
    program = (
        "import trajhelpers as th; kernel = th.gram(th.open_trajectory(sys.argv[1]));"
        " kernel.save(sys.argv[2]); assert (th.load_kernel(sys.argv[2]).gram() =="
        " kernel.gram()).all(); th.random_walk(5), th.studies.STUDIES;"
        " print(th.audit(sys.argv[1]))"
    )
    done = without(OPTIONAL, program, folder, folder / "again.npz")
    assert done.returncode == 0, done.stderr


MISSING = {
    "hub": ("huggingface_hub", "th.open_trajectory('hf://OWNER/NAME')"),
    "stores": ("obstore", "th.open_trajectory('s3://bucket/run')"),
    "plots": ("matplotlib", "th.plot_map"),
    "plots for scipy": (
        "scipy",
        "th.plot_map(th.ModelSetKernel([[1, 0], [0, 1]], ['a', 'b']), order='clustered')",
    ),
    "notebook": ("ipywidgets", "th.live_map"),
    "torch": ("torch", "th.gram(th.open_trajectory(sys.argv[1]), device='cuda')"),
    "torch for recording": ("torch", "th.Recorder"),
    "transformers": ("transformers", "th.callbacks.Trainer"),
    "lightning": ("lightning", "th.callbacks.Lightning"),
    "accelerate": ("accelerate", "th.callbacks.Accelerate"),
    "notebook for tables": ("pandas", "th.audit(sys.argv[1]).table()"),
    "lab for torch": ("torch", "th.training.train"),
    "lab for pandas": ("pandas", "th.studies.run_studies"),
    "lab for scipy": ("scipy", "th.studies.kendall"),
    "lab for matplotlib": ("matplotlib", "th.pythia.plot_depth"),
}


@pytest.mark.parametrize("name", MISSING)
def test_what_is_missing_is_said(run, name):
    (package, program), extra = MISSING[name], name.split()[0]
    done = without([package], f"import trajhelpers as th\n{program}", run[0])
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: ") and package in last
    assert last.endswith(f"pip install 'trajhelpers[{extra}]'")
    assert any(requirement.startswith(package) for requirement in brought_by(extra))


def test_a_command_says_it_in_one_line(run):
    for package, arguments in {
        "matplotlib": ["plot", run[0] / "run.npz", "-o", run[0] / "run.png"],
        "huggingface_hub": ["gram", "hf://OWNER/NAME", "-o", run[0] / "run.npz"],
        "torch": ["train", "vgg16-cifar10", "-o", run[0] / "out"],
        "pandas": ["study", "clean-labels", "-o", run[0] / "out"],
    }.items():
        done = without([package], COMMAND, *arguments)
        assert done.returncode == 2 and done.stdout == "", package
        (line,) = done.stderr.splitlines()
        assert package in line and "pip install 'trajhelpers[" in line


def brought_by(extra):
    """The requirements of an extra, those of the extras in it included."""
    for requirement in PROJECT["optional-dependencies"][extra]:
        if requirement.startswith("trajhelpers["):
            for other in requirement[len("trajhelpers[") : -1].split(","):
                yield from brought_by(other)
        else:
            yield requirement


def test_all_is_what_a_user_of_the_package_can_use():
    whole = set(brought_by("all"))
    for extra in PROJECT["optional-dependencies"].keys() - {"all", "book", "test", "dev"}:
        missing = set(brought_by(extra)) - whole
        assert {name for name in missing if not name.startswith("torch>")} == set(), extra
