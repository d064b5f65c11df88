"""What the loop on the CPU does for speed: reading together, tables, rows of zeros."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import trajhelpers as th
from trajhelpers.sources.disk import OpenFiles


def written(folder, states):
    for step, state in enumerate(states):
        save_file(state, folder / f"step_{step}.safetensors")
    return th.open_trajectory(folder)


def flat(states):
    return np.stack(
        [np.concatenate([one[name].double().ravel() for name in sorted(one)]) for one in states]
    )


def gram_of(theta):
    delta = np.diff(theta, axis=0, prepend=0)
    return delta @ delta.T


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_every_value_is_read_exactly(tmp_path, dtype):
    """All of 16 bits, subnormals, infinities and NaN too; of others, as many at random."""
    if dtype.itemsize == 2:
        bits = torch.arange(1 << 16, dtype=torch.int32).to(torch.int16)
    else:
        bits = torch.randint(-(2**31), 2**31, (1 << 16,), dtype=torch.int64)
        bits = bits.int() if dtype == torch.float32 else bits * 2**32 + bits
    values = bits.view(dtype)
    trajectory = written(tmp_path, [{"w": values}, {"w": values.flip(0)}])
    truth = torch.stack([values, values.flip(0)]).double().numpy()
    narrow = np.empty(truth.shape, np.float64 if dtype == torch.float64 else np.float32)
    trajectory.read_into([("w", 0, 1 << 16)], narrow)
    for found in (trajectory.read([("w", 0, 1 << 16)]), narrow):
        with np.errstate(invalid="ignore"):  # NaN that signal
            assert np.array_equal(found.astype(np.float64), truth, equal_nan=True)


def test_small_tensors_that_lie_together_are_read_together(tmp_path, monkeypatch):
    generator = torch.Generator().manual_seed(0)
    states = [
        {f"{i:02}": torch.randn(3 + i, generator=generator) for i in range(20)}
        | {"10": torch.randn(7, generator=generator).half()}
        for _ in range(3)
    ]
    trajectory, reads = written(tmp_path, states), []
    read_into = OpenFiles.read_into

    def counted(files, path, offset, buffer):
        reads.append(path)
        read_into(files, path, offset, buffer)

    monkeypatch.setattr(OpenFiles, "read_into", counted)
    kernel = th.gram(trajectory, device="cpu")
    # Of each checkpoint the float32, which lie first in the file, and the float16.
    assert len(reads) == 3 * 2
    assert np.allclose(kernel.total, gram_of(flat(states)), rtol=1e-13)
    for name in kernel.names:
        one = [{name: state[name]} for state in states]
        assert np.allclose(kernel.select(name).total, gram_of(flat(one)), rtol=1e-12)


def test_what_lies_between_others_is_left_out(tmp_path):
    states = [
        {f"{i:02}": torch.full((9,), float(i + 10 * step)) for i in range(9)} for step in (1, 2)
    ]
    written(tmp_path, states)
    kernel = th.gram(th.open_trajectory(tmp_path, exclude=["03", "06"]), device="cpu")
    kept = [{name: one[name] for name in one if name not in ("03", "06")} for one in states]
    assert np.array_equal(kernel.total, gram_of(flat(kept)))


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("n", range(2, 13))
def test_any_number_of_checkpoints(n, precision):
    """Three more than a multiple of four get a row of zeros, and small tensors share a block."""
    rng = np.random.default_rng(n)
    theta = np.cumsum(rng.standard_normal((n, 40_000)), axis=0).astype(np.float32)
    states = [{"a": row[:5], "b": row[5:39_000], "c": row[39_000:]} for row in theta]
    kernel = th.gram(th.open_trajectory(states), device="cpu", precision=precision)
    truth = gram_of(theta.astype(np.float64))
    lengths = np.sqrt(np.diag(truth))
    error = abs(kernel.total - truth) / np.outer(lengths, lengths)
    assert kernel.total.shape == (n, n)
    assert error.max() < (1e-13 if precision == "float64" else 1e-6)
