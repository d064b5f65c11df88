"""The loop on the CPU: each core takes a range of columns of its own, with BLAS held to one thread.

A block then stays in the core's cache, NumPy's product of a matrix with its own transpose computes
half of it, and nothing is shared until the end."""

from collections.abc import Iterable, Iterator

import numpy as np

from ..stored import Stored
from .differences import Differences
from .fingerprint import Fingerprints
from .nonfinite import NotFinite
from .on_cores import on_all_cores
from .progress import Progress
from .segments import LONGEST_FLOAT32_SUM, Segment, columns_of
from .settings import one_blas_thread
from .sums import Sums, product

# A block and its increments must fit a core's cache.
COLUMNS = {"float32": LONGEST_FLOAT32_SUM, "float64": LONGEST_FLOAT32_SUM}


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
    columns, n = COLUMNS[precision], trajectory.n
    # Values are held in the narrowest type that loses nothing, as they are read: a difference taken
    # in float32 of what is stored in float64 would lose the updates of a converged run.
    wide = "float64" in trajectory.dtypes.values()
    values = np.empty(n * columns, np.float64 if wide else np.float32)
    # BLAS is slow with three rows more than a multiple of four: with another, of zeros, it takes as
    # little as 60 % of the time.
    rows = n + (n % 4 == 3)
    increments = np.empty(rows * columns, precision)
    sums, prints = Sums.none(n), Fingerprints(n, columns, wide)
    for blocks_read in _together(blocks, columns):
        pieces = [piece for _, block, _ in blocks_read for piece in block]
        width = columns_of(pieces)
        theta = values[: n * width].reshape(n, width)
        delta = increments[: rows * width].reshape(rows, width)
        trajectory.read_into(pieces, theta)
        delta[n:] = 0
        with np.errstate(over="ignore", invalid="ignore"):
            differences.of(theta, delta)
            for index, block, part in blocks_read:
                found = product(delta[:, part], n)
                if not np.isfinite(np.trace(found.values)):
                    raise NotFinite(block)
                sums.add_product(index, found)
                progress.add(block)
        prints.add(theta, pieces)
    return Sums(sums.products, prints.prints)


def _together(
    blocks: Iterable[tuple[int, Segment, int]], columns: int
) -> Iterator[list[tuple[int, Segment, slice]]]:
    """Blocks that follow one another, as many as so many columns hold, with the columns of each:
    small ones are read, differenced and fingerprinted at once.
    """
    found: list[tuple[int, Segment, slice]] = []
    for index, block, width in blocks:
        first = found[-1][2].stop if found else 0
        if first + width > columns:
            yield found
            found, first = [], 0
        found.append((index, block, slice(first, first + width)))
    if found:
        yield found
