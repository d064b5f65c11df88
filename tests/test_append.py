"""``kernel.append``: the kernel of a run that has gone on is that of one pass over all of it, for
the products of new rows alone; and what is not that run is refused.
"""

import warnings

import numpy as np
import pytest
import torch
from safetensors.torch import save, save_file
from standin_hub import StandInHub

import trajhelpers as th
from trajhelpers.streaming import accelerator, cpu
from trajhelpers.streaming.differences import Differences
from trajhelpers.streaming.segments import segments_of
from trajhelpers.streaming.sums import product

N = 9


def states_of(theta):
    """Of (n, 1500) numbers, n state dicts of three tensors."""
    return [{"a": row[:600].reshape(20, 30), "b": row[600:1499], "c": row[1499:]} for row in theta]


def walk(n=N, seed=0):
    return np.cumsum(np.random.default_rng(seed).standard_normal((n, 1500)), axis=0)


def orbit(n=N):
    """Around O and back, so that ways are far longer than distances, and another turn."""
    plane = np.linalg.qr(np.random.default_rng(1).standard_normal((1500, 2)))[0]
    phase = np.pi * np.arange(n) + 1e-6 * np.arange(n) ** 2
    return 1 + np.cos(phase)[:, None] * plane[:, 0] + np.sin(phase)[:, None] * plane[:, 1]


def gram_of(states, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", th.TrajectoryWarning)
        return th.gram(th.open_trajectory(states), device="cpu", **options)


def lengths(kernel):
    squared = np.einsum("gss->gs", kernel.rows[0])
    return np.sqrt(squared[:, :, None] * squared[:, None, :])


def assert_same(found, expected, tolerance=1e-12):
    """Kernels in the same units along the same links, to a share of the lengths of the rows."""
    (rows, exponent), (other, other_exponent) = found.rows, expected.rows
    assert exponent == other_exponent
    np.testing.assert_array_equal(found.links, expected.links)
    assert (abs(rows - other) <= tolerance * lengths(expected)).all()
    np.testing.assert_array_equal(rows, rows.swapaxes(1, 2))
    for what in ("names", "sizes", "runs", "precision", "source"):
        assert getattr(found, what) == getattr(expected, what)
    np.testing.assert_array_equal(found.steps, expected.steps)


# Of one pass


@pytest.mark.parametrize(
    "groups", [None, {"ab": [("a", 0, None), ("b", 9, None)], "rest": [("b", 0, 9), ("c", 0, 1)]}]
)
@pytest.mark.parametrize("stored", [np.float32, np.float64])
@pytest.mark.parametrize("before", [2, N - 1])
def test_it_is_that_of_one_pass(before, stored, groups):
    states = states_of(walk().astype(stored))
    kernel = gram_of(states[:before], groups=groups)
    found = kernel.append(th.open_trajectory(states), device="cpu", groups=groups)
    assert_same(found, gram_of(states, groups=groups))
    assert kernel.n == before


def test_single_precision():
    """Sums of float32 depend on their order: both kernels are within float32's rounding."""
    states, unit = states_of(walk()), 2.0**-24
    found = gram_of(states[:5], precision="float32").append(th.open_trajectory(states))
    assert_same(found, gram_of(states, precision="float32"), 2 * unit * (3 + 1500**0.5))


def test_checkpoint_by_checkpoint_through_files(tmp_path):
    states, path = states_of(walk()), tmp_path / "run.npz"
    gram_of(states[:2]).save(path)
    for n in range(3, N + 1):
        th.load_kernel(path).append(th.open_trajectory(states[:n]), device="cpu").save(path)
    assert_same(th.load_kernel(path), gram_of(states))


@pytest.mark.parametrize("scale", [1e-170, 1e170])
def test_lengths_whose_squares_no_float_holds(scale):
    states = states_of(scale * walk())
    assert_same(gram_of(states[:4]).append(th.open_trajectory(states)), gram_of(states))


@pytest.mark.parametrize("first, second", [(1e-170, 1), (1, 1e170), (1e-20, 1e-170)])
def test_new_rows_in_other_units(first, second):
    scale = np.where(np.arange(N) < 5, first, second)[:, None]
    states = states_of(scale * np.random.default_rng(0).standard_normal((N, 1500)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", th.TrajectoryWarning)
        found = gram_of(states[:5]).append(th.open_trajectory(states))
    expected = gram_of(states)
    largest = np.maximum(*(lengths(one).max() for one in (found, expected)))
    assert found.rows[1] == expected.rows[1]
    assert abs(found.rows[0] - expected.rows[0]).max() <= 1e-12 * largest


def test_a_kernel_along_other_links():
    """Of an orbit, whose checkpoints are measured from the nearest: new ones from the last, and
    all of them from the nearest again, where that is not certain enough.
    """
    states = states_of(orbit())
    kernel, whole = gram_of(states[:6]), gram_of(states)
    assert kernel.links.tolist() != list(range(-1, 5))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", th.TrajectoryWarning)
        found = kernel.append(th.open_trajectory(states), device="cpu")
    for origin in (None, 0, 5):
        error = abs(found.cosine(origin) - whole.cosine(origin))
        assert error.max() < 1e-9
        bounds = found.error_bound(origin=origin) + whole.error_bound(origin=origin)
        assert (error <= bounds).all() and bounds.max() < 2e-9


def test_links_that_are_certain_enough_stay():
    orbiting, further = orbit(6), walk(3) + orbit(6)[-1]
    states = states_of(np.concatenate([orbiting, further]))
    kernel = gram_of(states[:6])
    found = kernel.append(th.open_trajectory(states), device="cpu")
    assert found.links.tolist() == [*kernel.links.tolist(), 5, 6, 7]


# What never moves


def frozen(until):
    """States whose "a" begins to move at a checkpoint, and whose "c" never does."""
    theta = walk()
    theta[: until + 1, :600] = theta[0, :600]
    theta[:, 1499] = theta[0, 1499]
    return states_of(theta)


@pytest.mark.parametrize("exclude", [None, "constant"])
@pytest.mark.parametrize("until", [0, 6, N])
def test_frozen_tensors(exclude, until):
    """Also where one that was frozen, and left out, moves from now on."""
    states = frozen(until)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", th.TrajectoryWarning)
        kernel = th.gram(th.open_trajectory(states[:5], exclude=exclude), device="cpu")
        whole = th.gram(th.open_trajectory(states, exclude=exclude), device="cpu")
        found = kernel.append(th.open_trajectory(states, exclude=exclude), device="cpu")
    shares = [one.source["constant"].pop("share") for one in (found, whole)]
    assert shares[0] == pytest.approx(shares[1], rel=1e-12)
    assert_same(found, whole)


# What it costs


class Counted(np.ndarray):
    """Counts the multiplications of matrix products."""

    multiplications = 0

    def __array_ufunc__(self, ufunc, method, *inputs, **options):
        plain = [np.asarray(one) for one in inputs]
        if ufunc is np.matmul:
            (rows, inner), (_, columns) = (one.shape for one in plain)
            Counted.multiplications += rows * inner * columns
        return getattr(ufunc, method)(*plain, **options)


@pytest.mark.parametrize("new", [1, 3])
def test_it_multiplies_new_rows_alone(monkeypatch, new):
    states = states_of(walk())
    kernel = gram_of(states[: N - new])
    monkeypatch.setattr(
        cpu, "product", lambda delta, n, known: product(delta.view(Counted), n, known)
    )
    Counted.multiplications = 0
    kernel.append(th.open_trajectory(states), device="cpu")
    assert Counted.multiplications == new * N * 1500
    Counted.multiplications = 0
    gram_of(states)
    assert Counted.multiplications == N * N * 1500


@pytest.mark.parametrize("precision, tolerance", [("float64", 1e-12), ("float32", 1e-5)])
def test_the_accelerators_loop_on_the_cpu(precision, tolerance):
    trajectory = th.open_trajectory(states_of(walk().astype(np.float32)))
    segments = list(segments_of(trajectory, None).values())

    def sums(known):
        class Silent:
            def add(self, block): ...
            def show(self): ...

        differences = Differences(trajectory.links, known)
        return accelerator.sums_on_device(
            trajectory, segments, differences, precision, Silent(), "cpu"
        )

    (whole, prints), (rows, other_prints) = sums(0), sums(5)
    assert rows.shape == (3, N - 5, N)
    scale = whole.diagonal(dim1=1, dim2=2).sqrt()
    scale = scale[:, 5:, None] * scale[:, None, :]
    assert (abs(rows - whole[:, 5:]) <= tolerance * scale).all()
    assert torch.equal(prints, other_prints)


# From where checkpoints lie


def test_files(tmp_path):
    states = states_of(walk().astype(np.float32))
    for step, state in enumerate(states[:-2]):
        save_file(
            {name: torch.from_numpy(x) for name, x in state.items()},
            tmp_path / f"step_{step}.safetensors",
        )
    kernel = th.gram(th.open_trajectory(tmp_path), device="cpu")
    for step in (N - 2, N - 1):
        torch.save(
            {name: torch.from_numpy(x) for name, x in states[step].items()},
            tmp_path / f"step_{step}.pt",
        )
        kernel = kernel.append(th.open_trajectory(tmp_path), device="cpu")
    assert_same(kernel, th.gram(th.open_trajectory(tmp_path), device="cpu"))
    assert kernel.n == N and th.verify(kernel, tmp_path) == []


def test_branches_on_the_hub(monkeypatch, tmp_path):
    states = states_of(walk().astype(np.float32))
    with StandInHub() as hub:
        hub.connect(monkeypatch, tmp_path / "home")

        def push(step):
            tensors = {name: torch.from_numpy(x) for name, x in states[step].items()}
            hub.add("someone/run", f"step{step}", {"model.safetensors": save(tensors)})

        for step in range(5):
            push(step)
        kernel = th.gram(th.open_trajectory("hf://someone/run"), device="cpu")
        for step in range(5, N):
            push(step)
        found = kernel.append(th.open_trajectory("hf://someone/run"), device="cpu")
        assert_same(found, th.gram(th.open_trajectory("hf://someone/run"), device="cpu"))


# What is refused


def refused(error, match, kernel, states, **options):
    with pytest.raises(error, match=match):
        kernel.append(th.open_trajectory(states), device="cpu", **options)


def test_a_checkpoint_that_is_another_now():
    states = states_of(walk())
    kernel = gram_of(states[:5])
    states[2]["b"][7] += 1e-9
    refused(th.TrajectoryError, r"step 2\); compute the kernel anew with gram", kernel, states)


def test_nan_in_a_checkpoint_that_was_none():
    states = states_of(walk())
    kernel = gram_of(states[:5])
    states[2]["b"][7] = np.nan
    refused(th.TrajectoryError, "step 2", kernel, states)


def test_nothing_new():
    states = states_of(walk())
    refused(
        th.StepError, "none is new: the trajectory ends at step 8, too", gram_of(states), states
    )


def steps_of(tmp_path, *steps):
    """A run of the checkpoints of a walk at these steps."""
    folder, states = tmp_path / "_".join(map(str, steps)), states_of(walk())
    folder.mkdir()
    for step in steps:
        np.savez(folder / f"step_{step}.npz", **states[step])
    return folder


def test_one_in_between(tmp_path):
    kernel = th.gram(th.open_trajectory(steps_of(tmp_path, 0, 2, 4)), device="cpu")
    folder = steps_of(tmp_path, 0, 2, 3, 4, 5)
    match = r"lacks step 3, before its last: new, or .*; leave out such again with skip=\[3\]"
    refused(th.StepError, match, kernel, folder)
    found = kernel.append(th.open_trajectory(folder, skip=[3]), device="cpu")
    assert found.steps.tolist() == [0, 2, 4, 5]


def test_one_that_was_not_finite_before(tmp_path):
    """It may be another by now: whoever wants it left out again says so."""
    folder, later = steps_of(tmp_path, 0, 2, 3, 4), steps_of(tmp_path, 0, 2, 3, 4, 5)
    bad = {name: x * np.nan for name, x in states_of(walk())[3].items()}
    for place in (folder, later):
        np.savez(place / "step_3.npz", **bad)
    with pytest.warns(th.TrajectoryWarning, match="left out of the trajectory"):
        kernel = th.gram(th.open_trajectory(folder, nonfinite="skip-checkpoint"), device="cpu")
    refused(th.StepError, r"left out; leave out such again with skip=\[3\]", kernel, later)
    trajectory = th.open_trajectory(later, skip=[3])
    assert_same(kernel.append(trajectory, device="cpu"), th.gram(trajectory, device="cpu"))


def test_one_that_is_gone(tmp_path):
    kernel = th.gram(th.open_trajectory(steps_of(tmp_path, 0, 2, 4)), device="cpu")
    match = "the trajectory lacks step 2, which the kernel has"
    refused(th.StepError, match, kernel, steps_of(tmp_path, 0, 4, 5, 6))


def test_another_model():
    states = states_of(walk())
    more = [{**state, "d": np.ones(3)} for state in states]
    refused(
        th.TrajectoryError, "the kernel has 3 groups of 1,500 parameters", gram_of(states[:5]), more
    )


@pytest.mark.parametrize(
    "change, match",
    [
        (lambda kernel: kernel.select("a"), "has 1 groups of 600 parameters"),
        (lambda kernel: kernel.group_by("b"), "has 2 groups of 1,500 parameters"),
        (lambda kernel: kernel[::2], "has 3 of the 5 checkpoints of the kernel"),
        (lambda kernel: th.TrajectoryKernel(kernel.total), "keeps no fingerprints"),
    ],
    ids=["select", "group_by", "slice", "by hand"],
)
def test_a_kernel_that_is_not_as_the_pass_made_it(change, match):
    states = states_of(walk())
    refused(th.TrajectoryError, match, change(gram_of(states[:5])), states)


def test_a_sample():
    states = states_of(walk())
    kernel = th.gram(th.open_trajectory(states[:5]), device="cpu", sample=0.5)
    refused(th.TrajectoryError, "is of a sample", kernel, states)


def test_other_groups():
    states = states_of(walk())
    groups = {"x": [("a", 0, None)], "y": [("b", 0, None), ("c", 0, None)]}
    kernel = gram_of(states[:5], groups=groups)
    refused(th.TrajectoryError, "give what gram was given", kernel, states)


# What is not finite


def test_nan_in_a_new_one():
    states = states_of(walk())
    kernel = gram_of(states[:5])
    states[6]["a"][0, 0] = np.nan
    refused(th.NonFiniteError, "step 6", kernel, states)
    trajectory = th.open_trajectory(states, nonfinite="skip-checkpoint")
    with pytest.warns(th.TrajectoryWarning, match="left out of the trajectory"):
        found = kernel.append(trajectory, device="cpu")
    assert found.steps.tolist() == [0, 1, 2, 3, 4, 5, 7, 8]
    assert_same(found, th.gram(trajectory[[0, 1, 2, 3, 4, 5, 7, 8]], device="cpu"))
