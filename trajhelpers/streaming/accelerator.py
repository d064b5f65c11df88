"""The loop on an accelerator: the block product runs there while the next block is read."""

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import torch

from .nonfinite import NotFinite
from .segments import LONGEST_FLOAT32_SUM, blocks_of, columns_of

# Accelerators want fewer and larger transfers than a CPU's cache does.
_BLOCK_BYTES = 64 << 20


def products_on_accelerator(trajectory, segments, precision, progress, device):
    increments = sums_on_device(trajectory, segments, precision, progress, device).cpu().numpy()
    for index, segment in enumerate(segments):
        if not np.isfinite(np.trace(increments[index])):
            raise NotFinite(segment)
    return increments


def sums_on_device(trajectory, segments, precision, progress, device):
    """The increments' Gram matrices, by torch on ``device``; the sums stay there, but for mps,
    which has no float64.
    """
    kinds = {trajectory.dtypes[name] for segment in segments for name, _, _ in segment}
    stored = kinds.pop() if len(kinds) == 1 else "float64" if "float64" in kinds else "float32"
    stored, working = getattr(torch, stored), getattr(torch, precision)
    has_float64 = torch.device(device).type != "mps"
    exact = (
        torch.float64
        if stored == torch.float64 or (precision == "float64" and has_float64)
        else torch.float32
    )
    sums_on = torch.device(device if has_float64 else "cpu")
    n, columns = trajectory.n, max(1, _BLOCK_BYTES // (stored.itemsize * trajectory.n))
    sums = torch.zeros((len(segments), n, n), dtype=torch.float64, device=sums_on)
    queue = _upload_queue(torch.device(device), n * columns, stored)
    with (
        torch.no_grad(),
        _exact_products(),
        torch.autocast(torch.device(device).type, enabled=False),
        ThreadPoolExecutor(min(8, os.cpu_count())) as pool,
    ):
        for index, block, width in blocks_of(segments, 0, sum(map(columns_of, segments)), columns):
            host = queue.buffer()[: n * width].view(n, width)
            _fill(trajectory, block, host, pool)
            theta = queue.upload(host) if exact != torch.float64 or has_float64 else host
            theta = theta.to(exact)
            delta = torch.cat([theta[:1], theta[1:] - theta[:-1]]).to(working).to(device)
            for part in delta.split(
                LONGEST_FLOAT32_SUM if precision == "float32" else width, dim=1
            ):
                sums[index] += (part @ part.T).to(sums_on).double()
            progress.add(block)
            progress.show()
    return sums


def _fill(trajectory, block, host, pool):
    """Read a block into a host tensor, several checkpoints at a time."""
    rows = (host.view(torch.uint16) if host.dtype == torch.bfloat16 else host).numpy()
    several = [slice(first, first + 8) for first in range(0, trajectory.n, 8)]
    list(pool.map(lambda part: trajectory.read_into(block, rows[part], part), several))


def _upload_queue(device, size, dtype):
    return (
        _CudaQueue(device, size, dtype)
        if device.type == "cuda"
        else _PlainQueue(device, size, dtype)
    )


class _PlainQueue:
    """One host buffer; uploads wait."""

    def __init__(self, device, size, dtype):
        self._device, self._host = device, torch.empty(size, dtype=dtype)

    def buffer(self):
        return self._host

    def upload(self, host):
        return host.to(self._device, copy=True)


class _CudaQueue:
    """Two pinned host buffers and a copy stream: one is filled while the other travels and is
    multiplied.
    """

    def __init__(self, device, size, dtype):
        self._cuda, self._device = torch.cuda, device
        self._stream = torch.cuda.Stream(device)
        self._hosts = [
            (torch.empty(size, dtype=dtype, pin_memory=True), torch.cuda.Event()) for _ in range(2)
        ]

    def buffer(self):
        self._hosts.reverse()
        host, uploaded = self._hosts[0]
        uploaded.synchronize()
        return host

    def upload(self, host):
        with self._cuda.stream(self._stream):
            values = host.to(self._device, non_blocking=True)
            self._hosts[0][1].record(self._stream)
        compute = self._cuda.current_stream(self._device)
        compute.wait_stream(self._stream)
        values.record_stream(compute)
        return values


@contextmanager
def _exact_products():
    """TF32 and bfloat16 products off, and the settings of the process as they were afterwards."""
    places = [torch.backends.cuda.matmul, torch.backends.mkldnn.matmul]
    before = [place.fp32_precision for place in places]
    try:
        for place in places:
            place.fp32_precision = "ieee"
        yield
    finally:
        for place, setting in zip(places, before):
            place.fp32_precision = setting
