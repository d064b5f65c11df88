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
from .segments import LONGEST_FLOAT32_SUM, Segment
from .settings import one_blas_thread
from .sums import Sums, product

# Of a block, at most.
COLUMNS = {"float32": LONGEST_FLOAT32_SUM, "float64": LONGEST_FLOAT32_SUM}
# So many numbers and their increments fit a core's share of the cache; fewer columns than these
# are slow to loop over.
_AT_ONCE, _FEWEST = 1_280_000, 1024
# Of each row so many numbers are read at once: after each call a thread waits for the interpreter
# if another has it, and with a quarter as many two threads take up to 1.5 times as long. Of all
# rows no more than these.
_LONGEST_READ, _MOST_READ = 1 << 17, 8_000_000


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
        parts = on_all_cores(ranges, _columns(trajectory.n, precision), work, progress)
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
    n, columns = trajectory.n, _columns(trajectory.n, precision)
    longest = min(_LONGEST_READ, max(columns, _MOST_READ // n))
    # Values are held in the narrowest type that loses nothing, as they are read: a difference taken
    # in float32 of what is stored in float64 would lose the updates of a converged run.
    wide = "float64" in trajectory.dtypes.values()
    values = np.empty(n * longest, np.float64 if wide else np.float32)
    # BLAS is slow with three rows more than a multiple of four: with another, of zeros, it takes as
    # little as 60 % of the time.
    rows = n + (n % 4 == 3)
    increments = np.empty(rows * columns, precision)
    sums, prints = Sums.none(n), Fingerprints(n, columns, wide)
    for strip, width in _together(blocks, longest):
        held = values[: n * width].reshape(n, width)
        trajectory.read_into(_pieces(strip), held)
        after = 0
        for some, width in _together(strip, columns):
            theta, after = held[:, after : after + width], after + width
            delta = increments[: rows * width].reshape(rows, width)
            delta[n:] = 0
            with np.errstate(over="ignore", invalid="ignore"):
                differences.of(theta, delta)
                begin = 0
                for index, block, width in some:
                    found = product(delta[:, begin : begin + width], n, differences.known)
                    if not np.isfinite(np.trace(found.values, differences.known)):
                        raise NotFinite(block)
                    sums.add_product(index, found)
                    begin += width
                    progress.add(block)
            prints.add(theta, _pieces(some))
    return Sums(sums.products, prints.prints)


def _columns(n: int, precision: str) -> int:
    """Of a block, at most."""
    return min(COLUMNS[precision], max(_FEWEST, _AT_ONCE // n // _FEWEST * _FEWEST))


_Block = tuple[int, Segment, int]


def _together(blocks: Iterable[_Block], columns: int) -> Iterator[tuple[list[_Block], int]]:
    """Blocks that follow one another, as many as so many columns hold, and how many those are."""
    found: list[_Block] = []
    total = 0
    for one in blocks:
        if found and total + one[2] > columns:
            yield found, total
            found, total = [], 0
        found.append(one)
        total += one[2]
    if found:
        yield found, total


def _pieces(blocks: list[_Block]) -> Segment:
    return [piece for _, block, _ in blocks for piece in block]
