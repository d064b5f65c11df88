"""The loop on the CPU: each core takes a range of columns of its own, with BLAS held to one thread.

A block then stays in the core's cache, NumPy's product of a matrix with its own transpose computes
half of it, and nothing is shared until the end."""

import threading
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

import numpy as np

from ..stored import Stored
from .differences import Differences
from .fingerprint import Fingerprints
from .nonfinite import NotFinite
from .progress import Progress
from .segments import LONGEST_FLOAT32_SUM, Segment, blocks_of, columns_of
from .settings import cores, one_blas_thread
from .sums import Sums, product

# A block and its increments must fit a core's cache.
COLUMNS = {"float32": LONGEST_FLOAT32_SUM, "float64": 8192}


def products_on_cpu(
    trajectory: Stored,
    segments: dict[int, Segment],
    differences: Differences,
    precision: str,
    progress: Progress,
) -> Sums:
    """Of the segments, by their indices. NotFinite names a block whose product is not."""
    indices, ranges = list(segments), list(segments.values())
    total = sum(map(columns_of, ranges))
    columns = COLUMNS[precision]
    workers = max(1, min(cores(), total // columns))
    edges = [total * worker // workers for worker in range(workers + 1)]
    stop = threading.Event()
    with one_blas_thread.held(), ThreadPoolExecutor(workers) as pool:
        try:
            parts = [
                pool.submit(
                    _multiply_blocks,
                    trajectory,
                    ranges,
                    differences,
                    (begin, end),
                    precision,
                    progress,
                    stop,
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
    sums = Sums.none(trajectory.n)
    for part in parts:
        sums.add(part.result())
    return sums.renamed(indices)


def _multiply_blocks(
    trajectory: Stored,
    segments: list[Segment],
    differences: Differences,
    columns_from_to: tuple[int, int],
    precision: str,
    progress: Progress,
    stop: threading.Event,
) -> Sums:
    columns = COLUMNS[precision]
    # Values are held in the type that loses nothing, and differenced in it: a difference taken in
    # float32 of what is stored in float64 would lose the updates of a converged run.
    wide = "float64" in trajectory.dtypes.values()
    exact = np.float64 if precision == "float64" or wide else np.float32
    values, increments = (
        np.empty((trajectory.n, columns), exact),
        np.empty((trajectory.n, columns), precision),
    )
    sums, prints = Sums.none(trajectory.n), Fingerprints(trajectory.n, columns, wide)
    for index, block, width in blocks_of(segments, *columns_from_to, columns):
        if stop.is_set():
            break
        theta, delta = values[:, :width], increments[:, :width]
        trajectory.read_into(block, theta)
        with np.errstate(over="ignore", invalid="ignore"):
            differences.of(theta, delta)
            found = product(delta)
        if not np.isfinite(np.trace(found.values)):
            raise NotFinite(block)
        sums.add_product(index, found)
        prints.add(theta, block)
        progress.add(block)
    return Sums(sums.products, prints.prints)
