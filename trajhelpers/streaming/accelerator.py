"""The loop on an accelerator: the block product runs there while the next block is read."""

import math
import os
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from itertools import cycle

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64

from ..stored import Stored
from .differences import Differences
from .fingerprint import sums_of_torch
from .nonfinite import NotFinite
from .progress import Progress
from .segments import LONGEST_FLOAT32_SUM, Segment, blocks_of, columns_of
from .settings import exact_products
from .sums import SHORTEST, Scaled, Sums

# Accelerators want fewer and larger transfers than a CPU's cache does.
_BLOCK_BYTES = 64 << 20


def products_on_accelerator(
    trajectory: Stored,
    segments: dict[int, Segment],
    differences: Differences,
    precision: str,
    progress: Progress,
    device: str,
) -> Sums:
    """Of the segments, by their indices. NotFinite names a block whose product is not, or has
    squares that underflow, a few blocks after it was read.
    """
    ranges = list(segments.values())
    products, prints = sums_on_device(trajectory, ranges, differences, precision, progress, device)
    found = map(Scaled, products.cpu().numpy())
    return Sums(dict(zip(segments, found)), prints.cpu().numpy().view(np.uint64))


def sums_on_device(
    trajectory: Stored,
    segments: list[Segment],
    differences: Differences,
    precision: str,
    progress: Progress,
    device: str,
) -> tuple[Float64[torch.Tensor, "segments rows n"], Int64[torch.Tensor, " n"]]:
    """The products and the sums of fingerprints, still on ``device``, but for mps, which has no
    float64.
    """
    stored = getattr(torch, _stored_as(trajectory, segments))
    working = getattr(torch, precision)
    has_float64 = torch.device(device).type != "mps"
    exact = (
        torch.float64
        if stored == torch.float64 or (precision == "float64" and has_float64)
        else torch.float32
    )
    sums_on = torch.device(device if has_float64 else "cpu")
    n, columns = trajectory.n, max(1, _BLOCK_BYTES // (stored.itemsize * trajectory.n))
    known = differences.known
    sums = torch.zeros((len(segments), n - known, n), dtype=torch.float64, device=sums_on)
    prints = torch.zeros(n, dtype=torch.int64, device=sums_on)
    wide = "float64" in trajectory.dtypes.values()
    queue = _queue(torch.device(device), n * columns, stored)
    with (
        torch.no_grad(),
        exact_products.held(),
        torch.autocast(torch.device(device).type, enabled=False),
        ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool,
    ):
        for index, block, width in blocks_of(segments, 0, sum(map(columns_of, segments)), columns):
            host = queue.buffer()[: n * width].view(n, width)
            _fill(trajectory, block, host, pool)
            theta = queue.upload(host) if exact != torch.float64 or has_float64 else host
            theta = theta.to(exact)
            prints += sums_of_torch(theta.to(sums_on), block, wide)
            delta = torch.empty_like(theta)
            differences.of(theta, delta)
            delta = delta.to(working).to(device)
            for part in delta.split(
                LONGEST_FLOAT32_SUM if precision == "float32" else width, dim=1
            ):
                product = part[known:] @ part.T
                squared = part.square().sum(1) if known else product.diagonal()
                sums[index] += product.to(sums_on).double()
                # NaN where the CPU has to scale what squares cannot hold.
                held = (squared >= SHORTEST[precision]) & squared.isfinite()
                lost = ~held & part.any(1)
                sums[index].masked_fill_(lost.any().to(sums_on), math.nan)
            queue.multiplied(sums[index].diagonal(known).sum(), block)
            progress.add(block)
            progress.show()
        queue.finish()
    return sums, prints


def _stored_as(trajectory: Stored, segments: list[Segment]) -> str:
    """The narrowest type that holds all of the segments' values."""
    kinds = {trajectory.dtypes[name] for segment in segments for name, _, _ in segment}
    if len(kinds) == 1:
        return kinds.pop()
    return "float64" if "float64" in kinds else "float32"


def _fill(
    trajectory: Stored,
    block: Segment,
    host: Float[torch.Tensor, "n columns"],
    pool: Executor,
) -> None:
    """Read a block into a host tensor, several checkpoints at a time."""
    rows = (host.view(torch.uint16) if host.dtype == torch.bfloat16 else host).numpy()
    several = [slice(first, first + 8) for first in range(0, trajectory.n, 8)]
    list(pool.map(lambda part: trajectory.read_into(block, rows[part], part), several))


def _check(trace: Float64[torch.Tensor, ""], block: Segment) -> None:
    """A NaN or an infinity in a block stays in the trace of the sums for good."""
    if not math.isfinite(trace.item()):
        raise NotFinite(block)


def _queue(device: torch.device, size: int, dtype: torch.dtype) -> "_PlainQueue | _CudaQueue":
    kind: Callable = _CudaQueue if device.type == "cuda" else _PlainQueue
    return kind(device, size, dtype)


class _PlainQueue:
    """One host buffer; uploads and checks wait."""

    def __init__(self, device: torch.device, size: int, dtype: torch.dtype):
        self._device, self._host = device, torch.empty(size, dtype=dtype)

    def buffer(self) -> torch.Tensor:
        return self._host

    def upload(self, host: torch.Tensor) -> torch.Tensor:
        return host.to(self._device, copy=True)

    def multiplied(self, trace: torch.Tensor, block: Segment) -> None:
        _check(trace, block)

    def finish(self) -> None:
        pass


class _Slot:
    """A pinned host buffer, with what tells when it is free again and whether its block was
    finite.
    """

    def __init__(self, size: int, dtype: torch.dtype):
        self.host = torch.empty(size, dtype=dtype, pin_memory=True)
        self.trace = torch.empty((), dtype=torch.float64, pin_memory=True)
        self.uploaded, self.multiplied = torch.cuda.Event(), torch.cuda.Event()
        self.block: Segment = []


class _CudaQueue:
    """Two slots and a copy stream: one slot is filled while the other's block travels and is
    multiplied.

    The device is never told to wait for this machine, and this machine waits for the block before
    the last: for its upload, to fill its buffer again, and for its product, so that no more than
    two blocks pile up where products are slower than reading. That product's trace has come back
    by then, and NaN shows."""

    def __init__(self, device: torch.device, size: int, dtype: torch.dtype):
        self._device = device
        # First of all: pinned memory belongs to the device that is in use.
        self._copying = torch.cuda.Stream(device)
        self._slots = [_Slot(size, dtype), _Slot(size, dtype)]
        self._turns = cycle(self._slots)
        self._slot = self._slots[0]

    def buffer(self) -> torch.Tensor:
        self._slot = next(self._turns)
        self._slot.uploaded.synchronize()
        return self._slot.host

    def upload(self, host: torch.Tensor) -> torch.Tensor:
        self._look_at(self._slot)
        with torch.cuda.stream(self._copying):
            values = host.to(self._device, non_blocking=True)
            self._slot.uploaded.record(self._copying)
        computing = torch.cuda.current_stream(self._device)
        computing.wait_stream(self._copying)
        # The allocator must not give the values' memory to the next copy while they are used.
        values.record_stream(computing)
        return values

    def multiplied(self, trace: torch.Tensor, block: Segment) -> None:
        self._slot.trace.copy_(trace, non_blocking=True)
        self._slot.block = block
        self._slot.multiplied.record(torch.cuda.current_stream(self._device))

    def finish(self) -> None:
        for _ in self._slots:
            self._look_at(next(self._turns))

    def _look_at(self, slot: _Slot) -> None:
        """Wait for the slot's product, and refuse it where it isn't finite."""
        slot.multiplied.synchronize()
        if slot.block:
            _check(slot.trace, slot.block)
            slot.block = []
