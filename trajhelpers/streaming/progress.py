"""The progress bar of a pass."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from tqdm.auto import tqdm

from ..reading.tensors import RAW
from ..sources.protocol import Checks
from ..stored import Stored
from ..telling import bar
from .blocks import Block, requests
from .ranks import ALONE, Ranks
from .segments import Segment


class Progress:
    """Counts bytes: those fetched, or, of files on this machine, those multiplied. Threads add, the
    main thread shows: a notebook's bar must be drawn from there. Of several ranks the first shows
    what all have done.
    """

    def __init__(self, trajectory: Stored, ranks: Ranks):
        self._trajectory, self._ranks = trajectory, ranks
        self._bytes = {
            name: trajectory.n * RAW[dtype].itemsize for name, dtype in trajectory.dtypes.items()
        }
        self._done, self._lock = 0, threading.Lock()
        self._bar: tqdm | None = None
        self.fetched = lambda: 0

    @contextmanager
    def bar(self, total: int, before: int, what: str) -> Iterator[None]:
        with bar(unit="B", unit_scale=True, desc=what, initial=before) as shown:
            shown.total, self._bar, self._before = total, shown, before
            yield
            self.show()

    def bytes(self, segment: Segment) -> int:
        return sum((stop - start) * self._bytes[name] for name, start, stop in segment)

    def cost(self, blocks: list[Block]) -> int:
        """What will have been counted when blocks are done."""
        if self._trajectory.remote is not None:
            return sum(size for _, size in requests(self._trajectory, blocks))
        return sum(self.bytes(one) for block in blocks for one in block.segments.values())

    def add(self, block: Segment) -> None:
        if self._trajectory.remote is None:
            with self._lock:
                self._done += self.bytes(block)

    def show(self) -> None:
        """Here ranks hear of one another."""
        done = self._ranks.done(self._done + self.fetched())
        if self._bar is not None:
            self._bar.update(self._before + done - self._bar.n)


@contextmanager
def progress_bar(
    trajectory: Stored,
    before: list[Block],
    blocks: list[Block],
    checks: Checks | None = None,
    what: str = "kernel",
    ranks: Ranks = ALONE,
) -> Iterator[Progress]:
    """``before`` this rank's blocks come those that were done, or are another's."""
    progress = Progress(trajectory, ranks)
    own, more = progress.cost(blocks), checks.to_fetch[1] if checks else 0
    of_all = np.sum(ranks.meet((own, more)), axis=0).tolist()
    done = max(0, progress.cost(before) + own - of_all[0])
    with progress.bar(done + sum(of_all), done, what):
        yield progress
