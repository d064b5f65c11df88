"""The accelerator's code on machines without one: on the CPU against the oracle, and on cuda under
fake tensors.
"""

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

import trajhelpers as th
from trajhelpers.streaming import accelerator
from trajhelpers.streaming.segments import segments_of


@pytest.fixture
def trajectory():
    rng = np.random.default_rng(0)
    walk = np.cumsum(rng.standard_normal((7, 40_000)), axis=0).astype(np.float32)
    return th.open_trajectory(
        [{"a": row[:30_000].reshape(100, 300), "b": row[30_000:]} for row in walk]
    )


class _Silent:
    def add(self, block):
        pass

    def show(self):
        pass


def products(trajectory, precision, device):
    segments = list(segments_of(trajectory, None).values())
    return accelerator.sums_on_device(trajectory, segments, precision, _Silent(), device)


@pytest.mark.parametrize("precision, tolerance", [("float64", 1e-12), ("float32", 1e-5)])
@pytest.mark.parametrize("block_bytes", [64 << 20, 100_000])
def test_torch_agrees_with_direct_products(
    trajectory, precision, tolerance, block_bytes, monkeypatch
):
    monkeypatch.setattr(accelerator, "_BLOCK_BYTES", block_bytes)
    found = products(trajectory, precision, "cpu").numpy()
    for index, name in enumerate(trajectory.names):
        theta = trajectory.read([(name, 0, trajectory.sizes[name])])
        delta = np.diff(theta, axis=0, prepend=0)
        expected = np.array([[(a * b).sum() for a in delta] for b in delta])
        scale = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
        assert (abs(found[index] - expected) / scale).max() < tolerance


@pytest.mark.parametrize("precision", ["float64", "float32"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_every_tensor_of_the_cuda_loop_is_on_the_device(precision, dtype, monkeypatch):
    """Fake tensors refuse an operation between two devices, as a GPU would. Pinned buffers and
    streams need a driver, file reading needs memory: both are replaced.
    """
    trajectory = th.open_trajectory(
        [
            {
                "w": (
                    torch.randn(50, 40, generator=torch.Generator().manual_seed(t)).to(
                        getattr(torch, dtype)
                    )
                )
            }
            for t in range(5)
        ]
    )
    monkeypatch.setattr(accelerator, "_upload_queue", accelerator._PlainQueue)
    monkeypatch.setattr(accelerator, "_fill", lambda trajectory, block, host, pool: None)
    with FakeTensorMode():
        sums = products(trajectory, precision, "cuda")
    assert sums.device.type == "cuda" and sums.dtype == torch.float64 and sums.shape == (1, 5, 5)
