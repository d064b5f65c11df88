"""The loop on the CPU: each core takes a range of columns of its own, with BLAS held to one thread.

A block then stays in the core's cache, NumPy's product of a matrix with its own transpose computes
half of it, and nothing is shared until the end."""

import threading
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

import numpy as np
from jaxtyping import Float64

from ..stored import Stored
from .differences import SUBTRACTED
from .nonfinite import NotFinite
from .progress import Progress
from .segments import LONGEST_FLOAT32_SUM, Segment, blocks_of, columns_of
from .settings import cores, one_blas_thread

# A block and its increments must fit a core's cache.
COLUMNS = {"float32": LONGEST_FLOAT32_SUM, "float64": 8192}


def products_on_cpu(
    trajectory: Stored, segments: list[Segment], precision: str, progress: Progress
) -> Float64[np.ndarray, "segments n n"]:
    """The increments' Gram matrices. NotFinite names a block whose product is not."""
    total = sum(map(columns_of, segments))
    columns = COLUMNS[precision]
    workers = max(1, min(cores(), total // columns))
    edges = [total * worker // workers for worker in range(workers + 1)]
    stop = threading.Event()
    with one_blas_thread.held(), ThreadPoolExecutor(workers) as pool:
        try:
            parts = [
                pool.submit(
                    _multiply_blocks, trajectory, segments, begin, end, precision, progress, stop
                )
                for begin, end in zip(edges, edges[1:])
            ]
            while wait(parts, timeout=0.1, return_when=FIRST_EXCEPTION).not_done and not any(
                part.done() and part.exception() for part in parts
            ):
                progress.show()
        finally:
            stop.set()
    # Added in the order of the ranges, so that the same machine gives the same bits.
    increments = np.zeros((len(segments), trajectory.n, trajectory.n))
    for part in parts:
        for index, product in part.result().items():
            increments[index] += product
    return increments


def _multiply_blocks(
    trajectory: Stored,
    segments: list[Segment],
    begin: int,
    end: int,
    precision: str,
    progress: Progress,
    stop: threading.Event,
) -> dict[int, Float64[np.ndarray, "n n"]]:
    columns = COLUMNS[precision]
    # Values are held in the type that loses nothing, and differenced in it: a difference taken in
    # float32 of what is stored in float64 would lose the updates of a converged run.
    exact = (
        np.float64
        if precision == "float64" or "float64" in trajectory.dtypes.values()
        else np.float32
    )
    values, increments = (
        np.empty((trajectory.n, columns), exact),
        np.empty((trajectory.n, columns), precision),
    )
    sums: dict[int, np.ndarray] = {}
    subtracted = SUBTRACTED[trajectory.differences]
    for index, block, width in blocks_of(segments, begin, end, columns):
        if stop.is_set():
            break
        theta, delta = values[:, :width], increments[:, :width]
        trajectory.read_into(block, theta)
        with np.errstate(over="ignore", invalid="ignore"):
            delta[0] = theta[0]
            np.subtract(theta[1:], subtracted(theta), out=delta[1:], casting="same_kind")
            product = delta @ delta.T
        if not np.isfinite(np.trace(product)):
            raise NotFinite(block)
        if index in sums:
            sums[index] += product
        else:
            sums[index] = product.astype(np.float64)
        progress.add(block)
    return sums
