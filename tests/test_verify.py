"""A kernel says whether checkpoints are still those that it was made of."""

import json
import os

import numpy as np
import pytest
import torch
from safetensors.torch import save, save_file
from standin_hub import StandInHub

import trajhelpers as th
from trajhelpers.__main__ import main

STEPS = (1, 2, 3, 4)


def state(step):
    torch.manual_seed(step)
    return {"a.weight": torch.randn(40, 500), "b": torch.randn(7), "frozen": torch.ones(5)}


def write(path, tensors):
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path) if path.suffix == ".safetensors" else torch.save(tensors, path)


@pytest.fixture
def folder(tmp_path):
    for step in STEPS:
        write(tmp_path / "run" / f"step_{step}.safetensors", state(step))
    return tmp_path / "run"


@pytest.fixture
def kernel(tmp_path, folder):
    path = tmp_path / "run.npz"
    th.gram(th.open_trajectory(folder), device="cpu").save(path)
    return path


def said(capsys, *arguments):
    code = main(["verify", *map(str, arguments)])
    out, err = capsys.readouterr()
    return code, out or err


def test_checkpoints_that_are_the_same(capsys, folder, kernel):
    before = f"all 4 checkpoints are those that {kernel} was made of\n"
    assert said(capsys, kernel, folder) == (0, before)
    assert th.verify(kernel, folder) == [] == th.verify(th.load_kernel(kernel), folder)
    assert th.verify(kernel, th.open_trajectory(folder)) == []


@pytest.mark.parametrize("change", ["a bit", "a sign", "two numbers that change places"])
def test_one_that_is_another(capsys, folder, kernel, change):
    tensors = state(3)
    if change == "a bit":
        bits = tensors["a.weight"].view(torch.int32)
        bits[7, 77] ^= 1
    elif change == "a sign":
        tensors["b"][2] *= -1
    else:
        tensors["a.weight"][0, :2] = tensors["a.weight"][0, :2].flip(0)
    write(folder / "step_3.safetensors", tensors)
    assert th.verify(kernel, folder) == [2]
    code, text = said(capsys, kernel, folder)
    assert code == 1
    assert text == f"1 of 4 checkpoints differ from what {kernel} was made of: step 3\n"


def test_two_that_change_places(folder, kernel):
    os.rename(folder / "step_2.safetensors", folder / "other")
    os.rename(folder / "step_4.safetensors", folder / "step_2.safetensors")
    os.rename(folder / "other", folder / "step_4.safetensors")
    assert th.verify(kernel, folder) == [1, 3]


def test_the_same_numbers_in_other_files(tmp_path, kernel):
    """Another format, more than one block a core."""
    for step in STEPS:
        write(tmp_path / "other" / f"step_{step}.pt", state(step))
    assert th.verify(kernel, tmp_path / "other") == []


@pytest.mark.parametrize(
    "options",
    [
        {"precision": "float32"},
        {
            "groups": {
                "all": [
                    ("a.weight", 0, 300),
                    ("a.weight", 300, None),
                    ("b", 0, None),
                    ("frozen", 0, None),
                ]
            }
        },
    ],
)
def test_however_the_kernel_was_made(folder, options):
    kernel = th.gram(th.open_trajectory(folder), device="cpu", **options)
    assert th.verify(kernel, folder) == []


def test_choices_that_gram_was_given(capsys, tmp_path, folder):
    path = tmp_path / "run.npz"
    th.gram(th.open_trajectory(folder, exclude=["b", "constant"]), device="cpu").save(path)
    assert said(capsys, path, folder, "--exclude", "b")[0] == 0
    assert th.verify(path, folder, exclude=["b", "constant"]) == []
    code, text = said(capsys, path, folder)
    assert code == 2 and "20,005 parameters" in text and "20,012" in text and "exclude" in text
    with pytest.raises(TypeError, match="exclude"):
        th.verify(path, th.open_trajectory(folder), exclude="b")


def test_a_run_that_has_gone_on(folder, kernel):
    for step in (0, 5):
        write(folder / f"step_{step}.safetensors", state(step))
    assert th.verify(kernel, folder) == []
    write(folder / "step_4.safetensors", state(9))
    assert th.verify(kernel, folder) == [3]


def test_a_run_that_lacks_some(capsys, folder, kernel):
    (folder / "step_2.safetensors").unlink()
    code, text = said(capsys, kernel, folder)
    assert code == 2 and "steps that the source has not: 2;" in text


def test_checkpoints_that_were_left_out(folder):
    write(folder / "step_3.safetensors", state(3) | {"b": torch.full((7,), float("nan"))})
    trajectory = th.open_trajectory(folder, nonfinite="skip-checkpoint")
    with pytest.warns(th.TrajectoryWarning, match="step 3"):
        kernel = th.gram(trajectory, device="cpu")
    assert kernel.n == 3 and th.verify(kernel, folder) == []


def test_kernels_without_fingerprints(tmp_path, folder, kernel):
    with np.load(kernel) as file:
        arrays = dict(file)
    about = json.loads(str(arrays["about"]))
    del about["source"]["digests"]
    older = tmp_path / "older.npz"
    np.savez(older, **{**arrays, "about": np.array(json.dumps(about))})
    with pytest.raises(th.TrajectoryError, match=f"{older}: keeps no fingerprints.*gram"):
        th.verify(older, folder)
    groups = {"b": [("b", 0, None)]}
    some = th.gram(th.open_trajectory(folder), device="cpu", groups=groups)
    with pytest.raises(th.TrajectoryError, match="groups that are not all"):
        th.verify(some, folder)
    with pytest.raises(th.TrajectoryError, match="has 2 of the 4 checkpoints"):
        th.verify(th.load_kernel(kernel)[::2], folder)


def test_sets_of_models(folder, kernel):
    paths = {f"m{step}": folder / f"step_{step}.safetensors" for step in STEPS[1:]}
    base = folder / "step_1.safetensors"
    models = th.gram(th.open_models(paths, base), device="cpu")
    assert th.verify(models, th.open_models(paths, base)) == []
    write(paths["m3"], state(9))
    assert th.verify(models, th.open_models(paths, base)) == [2]
    with pytest.raises(th.TrajectoryError, match="is of the models 'base', 'm2'"):
        th.verify(models, folder)
    with pytest.raises(th.TrajectoryError, match="is of a trajectory"):
        th.verify(kernel, th.open_models(paths, base))


def test_a_file_that_is_rewritten_meanwhile(folder, kernel, monkeypatch):
    trajectory = th.open_trajectory(folder)
    path = folder / "step_2.safetensors"
    content = path.read_bytes()
    with open(path, "r+b") as file:
        file.write(content)
    with pytest.raises(th.CheckpointError, match=f"{path}: changed since"):
        th.verify(kernel, trajectory)


def test_on_the_hub_as_on_disk(capsys, monkeypatch, tmp_path, kernel):
    """In several blocks, ahead of which the next are fetched."""
    with StandInHub() as hub:
        hub.connect(monkeypatch, tmp_path / "home")
        for step in STEPS:
            hub.add("OWNER/NAME", f"step{step}", {"model.safetensors": save(state(step))})
        assert th.verify(kernel, "hf://OWNER/NAME", memory=100_000) == []
        assert said(capsys, kernel, "hf://OWNER/NAME", "--memory", "100kB")[0] == 0


def test_a_kernel_that_is_no_file(capsys, tmp_path, folder):
    code, text = said(capsys, tmp_path / "absent.npz", folder)
    assert code == 2 and "absent.npz: no such file" in text
