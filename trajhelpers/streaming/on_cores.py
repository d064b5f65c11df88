"""A range of columns for each core, that nothing is shared between."""

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TypeVar

from .progress import Progress
from .segments import Segment, blocks_of, columns_of
from .settings import cores

T = TypeVar("T")


def on_all_cores(
    segments: Sequence[Segment],
    columns: int,
    work: Callable[[Iterable[tuple[int, Segment, int]]], T],
    progress: Progress,
) -> list[T]:
    """What ``work`` makes of the blocks of each range, as :func:`blocks_of` gives them, in the
    order of the ranges. The first error stops all.
    """
    total, stop = sum(map(columns_of, segments)), threading.Event()
    workers = max(1, min(cores(), total // columns))
    # Even ones, since fingerprints are of pairs of numbers.
    edges = [*(total * worker // workers & ~1 for worker in range(workers)), total]

    def blocks(begin, end):
        for block in blocks_of(segments, begin, end, columns):
            if stop.is_set():
                return
            yield block

    with ThreadPoolExecutor(workers) as pool:
        try:
            parts = [pool.submit(work, blocks(*edge)) for edge in zip(edges, edges[1:])]
            while wait(parts, timeout=0.1, return_when=FIRST_EXCEPTION).not_done and not any(
                part.done() and part.exception() for part in parts
            ):
                progress.show()
        finally:
            stop.set()
    return [part.result() for part in parts]
