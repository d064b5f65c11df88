"""The loop on the CPU: each core takes a range of columns of its own, with BLAS held to one thread.

A block then stays in the core's cache, NumPy's product of a matrix with its own transpose computes
half of it, and nothing is shared until the end."""

from collections.abc import Iterable

import numpy as np

from ..stored import Stored
from .differences import Differences
from .fingerprint import Fingerprints
from .nonfinite import NotFinite
from .on_cores import on_all_cores
from .progress import Progress
from .segments import LONGEST_FLOAT32_SUM, Segment
from .settings import one_blas_thread
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

    def work(blocks):
        return _multiply_blocks(trajectory, blocks, differences, precision, progress)

    with one_blas_thread.held():
        parts = on_all_cores(ranges, COLUMNS[precision], work, progress)
    # Added in the order of the ranges, so that the same machine gives the same bits.
    sums = Sums.none(trajectory.n)
    for part in parts:
        sums.add(part)
    return sums.renamed(indices)


def _multiply_blocks(
    trajectory: Stored,
    blocks: Iterable[tuple[int, Segment, int]],
    differences: Differences,
    precision: str,
    progress: Progress,
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
    for index, block, width in blocks:
        theta, delta = values[:, :width], increments[:, :width]
        trajectory.read_into(block, theta)
        with np.errstate(over="ignore", invalid="ignore"):
            differences.of(theta, delta)
            found = product(delta, differences.known)
        if not np.isfinite(np.trace(found.values, differences.known)):
            raise NotFinite(block)
        sums.add_product(index, found)
        prints.add(theta, block)
        progress.add(block)
    return Sums(sums.products, prints.prints)
