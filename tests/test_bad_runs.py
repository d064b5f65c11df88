"""Checkpoints that are sound files but no trajectory: not finite, not of one network, too few,
repeated.
"""

import re

import numpy as np
import oracle
import pytest
import torch
from test_hostile_files import compute, refused, run_of, state, write

import trajhelpers as th

# NaN and inf


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_not_finite(tmp_path, suffix, bad):
    paths = run_of(tmp_path, suffix, steps=(10, 20, 30, 40))
    broken = state(30)
    broken["b.bias"][7] = bad
    write(paths[2], broken)
    refused(tmp_path, th.NonFiniteError, r"b\.bias", r"\b30\b")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("steps", [(10,), (20,), (40,), (10, 30), (20, 30)])
def test_skipping_what_is_not_finite(tmp_path, steps, dtype):
    """The kernel is the one of the other checkpoints alone, and the steps are reported."""
    states = {}
    for step in (10, 20, 30, 40):
        tensors = {name: tensor.to(dtype) for name, tensor in state(step).items()}
        if step in steps:
            tensors["b.bias" if step < 30 else "a.weight"].view(-1)[-1] = (
                float("nan") if step % 20 else float("inf")
            )
        else:
            states[step] = tensors
        write(tmp_path / f"epoch_{step}.safetensors", tensors)
    with pytest.warns(th.TrajectoryWarning) as caught:
        kernel = compute(tmp_path, nonfinite="skip-checkpoint")
    assert list(kernel.steps) == list(states)
    expected = oracle.gram(oracle.flat(list(states.values())))
    np.testing.assert_allclose(kernel.gram(), expected, rtol=0, atol=1e-12 * expected.max())
    text = " ".join(str(w.message) for w in caught)
    assert all(re.search(rf"\b{step}\b", text) for step in steps)


def test_skipping_leaves_at_least_two(tmp_path):
    for step in (1, 2, 3):
        tensors = state(step)
        if step > 1:
            tensors["a.weight"][0, 0] = float("nan")
        write(tmp_path / f"epoch_{step}.pt", tensors)
    with pytest.warns(th.TrajectoryWarning), pytest.raises(th.TrajectoryError):
        compute(tmp_path, nonfinite="skip-checkpoint")


def test_nan_in_what_is_left_out_does_not_matter(tmp_path):
    for step in (1, 2):
        write(
            tmp_path / f"epoch_{step}.pt",
            state(step, **{"bn.running_mean": torch.tensor([float("nan")])}),
        )
    assert compute(tmp_path).n == 2


def test_nonfinite_takes_two_values(tmp_path):
    run_of(tmp_path)
    with pytest.raises(ValueError):
        th.open_trajectory(tmp_path, nonfinite="ignore")


# Checkpoints that do not fit together


def test_a_shape_that_differs(tmp_path):
    paths = run_of(tmp_path)
    write(paths[2], {**state(3), "a.weight": torch.ones(40, 31)})
    refused(
        tmp_path,
        th.LayoutError,
        r"epoch_3\.pt",
        r"a\.weight",
        r"40,? ?[x×]?,? ?30",
        r"40,? ?[x×]?,? ?31",
    )


def test_a_transposed_tensor_differs_although_its_size_does_not(tmp_path):
    paths = run_of(tmp_path, "safetensors")
    write(paths[1], {**state(2), "a.weight": torch.ones(30, 40)})
    refused(tmp_path, th.LayoutError, r"epoch_2\.safetensors", r"a\.weight")


def test_a_name_that_is_missing_or_new(tmp_path):
    paths = run_of(tmp_path)
    write(paths[1], {"a.weight": state(2)["a.weight"]})
    refused(tmp_path, th.LayoutError, r"epoch_2\.pt", r"b\.bias")
    write(paths[1], state(2, **{"c.weight": torch.ones(2)}))
    refused(tmp_path, th.LayoutError, r"epoch_2\.pt", r"c\.weight")


def test_a_shape_that_differs_in_memory():
    states = [state(1), state(2), {**state(3), "b.bias": torch.ones(29)}]
    refused(states, th.LayoutError, r"b\.bias", "30", "29", r"\b2\b")


def test_what_is_excluded_may_differ(tmp_path):
    for step in (1, 2):
        write(tmp_path / f"epoch_{step}.pt", state(step, **{"head.weight": torch.ones(step)}))
    assert compute(tmp_path, exclude="head.*").n == 2


def test_a_name_that_differs_between_runs(tmp_path):
    run_of(tmp_path / "one")
    write(tmp_path / "two" / "epoch_1.pt", {"other.weight": torch.ones(3)})
    write(tmp_path / "two" / "epoch_2.pt", {"other.weight": torch.ones(3) * 2})
    refused([tmp_path / "one", tmp_path / "two"], th.LayoutError, "two", r"other\.weight|a\.weight")


def test_nothing_but_buffers(tmp_path):
    for step in (1, 2):
        write(
            tmp_path / f"epoch_{step}.pt",
            {"bn.num_batches_tracked": torch.tensor(step), "bn.running_mean": torch.ones(3)},
        )
    refused(tmp_path, th.LayoutError)


@pytest.mark.parametrize(
    "content",
    [torch.ones(3), [0.5, "ones"], {"lr": 0.1}, {}, {"epoch": 3, "optimizer": {"state": {}}}],
)
def test_a_file_without_a_state_dict(tmp_path, content):
    for step in (1, 2):
        torch.save(content, tmp_path / f"epoch_{step}.pt")
    refused(tmp_path, (th.LayoutError, th.CheckpointError), r"epoch_1\.pt")


def test_finite_but_too_large_for_the_products():
    """Squares of 1e30 overflow float32: they are taken of scaled rows. No float32 holds 1e60."""
    states = [{"w": torch.full((3,), 1e30 * (step + 1))} for step in range(3)]
    for precision in ("float32", "float64"):
        kernel = th.gram(th.open_trajectory(states), device="cpu", precision=precision)
        np.testing.assert_allclose(kernel.cosine(), 1, rtol=1e-6)
    larger = [{"w": state["w"].double() * 1e30} for state in states]
    with pytest.raises(th.TrajectoryError, match="float64"):
        th.gram(th.open_trajectory(larger), device="cpu", precision="float32")


# Too few, too many


def test_an_empty_folder(tmp_path):
    refused(tmp_path, th.StepError, re.escape(tmp_path.name))
    (tmp_path / "notes.txt").write_text("nothing here")
    refused(tmp_path, th.StepError, re.escape(tmp_path.name))


def test_a_folder_of_files_without_steps(tmp_path):
    for name in ("best.pt", "last.pt"):
        write(tmp_path / name, state(1))
    refused(tmp_path, th.StepError, "best.pt|last.pt")


def test_one_checkpoint_only(tmp_path):
    run_of(tmp_path, steps=(5,))
    refused(tmp_path, th.StepError, "one|1|two")
    refused([state(1)], th.StepError, "one|1|two")
    refused([], th.StepError)


def test_two_files_with_one_step(tmp_path):
    run_of(tmp_path)
    write(tmp_path / "epoch_02.pt", state(9))
    refused(tmp_path, th.StepError, r"epoch_2\.pt", r"epoch_02\.pt", r"\b2\b")


def test_a_path_that_does_not_exist(tmp_path):
    refused(tmp_path / "nowhere", FileNotFoundError, "nowhere")
    paths = run_of(tmp_path)
    refused([*paths, tmp_path / "epoch_9.pt"], FileNotFoundError, "epoch_9.pt")


@pytest.mark.parametrize("source", [None, 3, {"a": 1}, [1, 2]])
def test_what_is_no_source(source):
    with pytest.raises((TypeError, ValueError, th.TrajectoryError)):
        compute(source)


def test_a_distributed_checkpoint_that_was_not_finished(tmp_path):
    for step in (1, 2):
        folder = tmp_path / f"step_{step}"
        folder.mkdir()
        (folder / "__0_0.distcp").write_bytes(b"\x00" * 100)
    refused(tmp_path, th.CheckpointError, "step_1", "the save was not finished")


# Checkpoints that repeat


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_identical_neighbours_warn_and_name_the_steps(tmp_path, suffix):
    run_of(tmp_path, suffix, steps=(10, 20, 30))
    write(tmp_path / f"epoch_25.{suffix}", state(20))
    with pytest.warns(th.TrajectoryWarning) as caught:
        kernel = compute(tmp_path)
    text = " ".join(str(w.message) for w in caught)
    assert (
        re.search(r"\b20\b", text) and re.search(r"\b25\b", text) and not re.search(r"\b30\b", text)
    )
    assert list(kernel.steps) == [10, 20, 25, 30]


def test_identical_checkpoints_far_apart_warn_too(tmp_path):
    """As in Pythia 2.8b, where many branches serve the final weights."""
    run_of(tmp_path, steps=(10, 20, 30, 40))
    write(tmp_path / "epoch_40.pt", state(10))
    with pytest.warns(th.TrajectoryWarning) as caught:
        compute(tmp_path)
    text = " ".join(str(w.message) for w in caught)
    assert (
        re.search(r"\b10\b", text) and re.search(r"\b40\b", text) and not re.search(r"\b30\b", text)
    )
