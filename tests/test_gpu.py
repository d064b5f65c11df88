"""On a real GPU: `python -m pytest -m gpu`. What can be shown without one is in test_devices.py."""

import threading
import warnings

import numpy as np
import oracle
import pytest
import torch

import trajhelpers as th
from trajhelpers.streaming import accelerator

N = 9

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device"),
]


def states(dtype=torch.float32, sizes=(70_000, 3_001), n=N):
    generator = torch.Generator().manual_seed(0)
    walks = [
        torch.randn(n, size, generator=generator, dtype=torch.float64).cumsum(0) for size in sizes
    ]
    return [{f"w{i}": walk[t].to(dtype) for i, walk in enumerate(walks)} for t in range(n)]


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(accelerator, "_BLOCK_BYTES", 1 << 18)


def worst(kernel, theta):
    """Largest error of an inner product of increments, relative to their lengths."""
    delta = np.diff(theta, axis=0, prepend=0)
    expected = delta @ delta.T
    scale = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
    return (abs(kernel.total - expected) / scale).max()


@pytest.mark.parametrize("precision, limit", [("float64", 1e-13), ("float32", 1e-6)])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_every_dtype(dtype, precision, limit, small_blocks):
    """Products in float32 of up to 16,384 terms, whose rounding errors of 6e-8 add as squares."""
    given = states(getattr(torch, dtype))
    kernel = th.gram(th.open_trajectory(given), device="cuda", precision=precision)
    assert worst(kernel, oracle.flat(given)) < limit


def test_the_queue_over_many_blocks(monkeypatch):
    """A buffer that was filled again too early would show in the products."""
    monkeypatch.setattr(accelerator, "_BLOCK_BYTES", N * 4 * 512)
    given = states(sizes=(300_000,))
    kernel = th.gram(th.open_trajectory(given), device="cuda")
    assert worst(kernel, oracle.flat(given)) < 1e-13


def test_buffers_are_pinned():
    queue = accelerator._queue(torch.device("cuda"), 1000, torch.float32)
    assert queue.buffer().is_pinned() and queue.buffer().is_pinned()
    host = queue.buffer()
    host.fill_(3)
    assert (queue.upload(host) == 3).all()


def test_the_second_device(small_blocks):
    if torch.cuda.device_count() < 2:
        pytest.skip("torch finds one CUDA device only")
    given = states()
    before = torch.cuda.current_device(), torch.cuda.memory_allocated(0)
    kernel = th.gram(th.open_trajectory(given), device="cuda:1")
    assert worst(kernel, oracle.flat(given)) < 1e-13
    assert (torch.cuda.current_device(), torch.cuda.memory_allocated(0)) == before


def test_nan_shows_early(small_blocks, monkeypatch):
    given = states(sizes=(1_000_000,))
    given[4]["w0"][7] = float("nan")
    read, fill = [], accelerator._fill
    monkeypatch.setattr(
        accelerator, "_fill", lambda *arguments: (read.append(arguments[1]), fill(*arguments))
    )
    with pytest.raises(th.NonFiniteError, match="step 4.*element 7"):
        th.gram(th.open_trajectory(given), device="cuda")
    assert len(read) <= 3


@pytest.mark.parametrize("allowed", ["high", "medium"])
def test_products_are_exact_where_tf32_is_allowed(allowed, small_blocks):
    """TF32 would be off by 1e-3."""
    given = states()
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision(allowed)
        kernel = th.gram(th.open_trajectory(given), device="cuda", precision="float32")
        assert torch.get_float32_matmul_precision() == allowed
    finally:
        torch.set_float32_matmul_precision(before)
    assert worst(kernel, oracle.flat(given)) < 1e-6


def test_overlapping_passes_are_exact_where_tf32_is_allowed(small_blocks):
    given = states(sizes=(300_000,))
    before, kernels = torch.get_float32_matmul_precision(), []

    def one_pass():
        kernels.append(th.gram(th.open_trajectory(given), device="cuda", precision="float32"))

    try:
        torch.set_float32_matmul_precision("high")
        threads = [threading.Thread(target=one_pass) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(before)
    assert len(kernels) == 4
    assert max(worst(kernel, oracle.flat(given)) for kernel in kernels) < 1e-6


def test_float32_warns_where_it_is_not_enough(small_blocks):
    """An orbit of many short steps: sums of increments cancel."""
    phase = np.linspace(0, 20 * np.pi, 400)
    theta = np.c_[np.cos(phase), np.sin(phase)] @ np.random.default_rng(0).standard_normal((2, 64))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", th.TrajectoryWarning)
        kernel = th.gram(
            th.open_trajectory([{"w": row} for row in theta]), device="cuda", precision="float32"
        )
    with pytest.warns(th.TrajectoryWarning, match="float64"):
        kernel.cosine(origin=0)


def test_memory_does_not_grow(small_blocks):
    """Of the device's, with ten times the blocks."""
    peaks = []
    for size in (100_000, 1_000_000):
        trajectory = th.open_trajectory(states(sizes=(size,)))
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        th.gram(trajectory, device="cuda")
        peaks.append(torch.cuda.max_memory_allocated())
    assert peaks[1] <= 1.1 * peaks[0]
