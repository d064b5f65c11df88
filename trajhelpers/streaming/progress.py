"""The progress bar of a pass."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tqdm.auto import tqdm

from ..reading.tensors import RAW
from ..sources.protocol import Checks
from ..stored import Stored
from ..telling import bar
from .blocks import Block, requests
from .segments import Segment


class Progress:
    """Counts bytes: those fetched, or, of files on this machine, those multiplied. Threads add, the
    main thread shows: a notebook's bar must be drawn from there.
    """

    def __init__(self, trajectory: Stored, bar: tqdm):
        self._bytes = (
            {}
            if trajectory.remote
            else {
                name: trajectory.n * RAW[dtype].itemsize
                for name, dtype in trajectory.dtypes.items()
            }
        )
        self._bar, self._done, self._lock, self._before = bar, 0, threading.Lock(), bar.n
        self.fetched = lambda: 0

    def bytes(self, segment: Segment) -> int:
        return sum((stop - start) * self._bytes.get(name, 0) for name, start, stop in segment)

    def add(self, block: Segment) -> None:
        with self._lock:
            self._done += self.bytes(block)

    def show(self) -> None:
        self._bar.update(self._before + self._done + self.fetched() - self._bar.n)


@contextmanager
def progress_bar(
    trajectory: Stored,
    segments: list[Segment],
    blocks: list[Block],
    done: int,
    checks: Checks | None = None,
    what: str = "kernel",
) -> Iterator[Progress]:
    sizes = [size for _, size in requests(trajectory, blocks)]
    with bar(unit="B", unit_scale=True, desc=what, initial=sum(sizes[:done])) as shown:
        progress = Progress(trajectory, shown)
        shown.total = sum(sizes) if trajectory.remote else sum(map(progress.bytes, segments))
        shown.total += checks.to_fetch[1] if checks else 0
        yield progress
        progress.show()
