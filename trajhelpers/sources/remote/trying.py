"""Words between whoever asks for a range and whoever tries again."""

import time
from typing import Protocol

# Until then an answer may be slow, or not have begun; afterwards it has to come at this rate. It is
# that of a thin line, shared by all ranges that are in flight.
_PATIENCE = 30
_LEAST_BYTES_A_SECOND = 10_000

# Whoever asks us to wait for longer is asked again all the same. The hub's limits end after 300.
LONGEST_ASKED = 330


def longest(size: int) -> float:
    """Seconds after which so many bytes are too few."""
    return max(_PATIENCE, size / _LEAST_BYTES_A_SECOND)


class Stop(Protocol):
    """What tells readers to stop: a :class:`threading.Event`."""

    def is_set(self) -> bool: ...

    def wait(self, timeout: float) -> bool: ...


class Stopped(Exception):
    """The reader was told to stop."""


class Unfit(Exception):
    """An answer that is not what was asked for; the next may be. ``at_once``: after the first one
    without a pause.
    """

    def __init__(
        self, problem: str, status: int = 206, asked_to_wait: int = 0, at_once: bool = False
    ):
        super().__init__(problem)
        self.status, self.asked_to_wait, self.at_once = status, asked_to_wait, at_once


class Filling:
    """A range on its way: chunk by chunk into ``view``, not more than fits, not too slowly, until
    told to stop.
    """

    def __init__(self, view: memoryview, stop: Stop):
        self._view, self._stop, self._at, self._begun = view, stop, 0, time.monotonic()

    def add(self, chunk) -> None:
        if self._stop.is_set():
            raise Stopped
        end, seconds = self._at + len(chunk), time.monotonic() - self._begun
        if end > len(self._view):
            raise Unfit("more bytes than were asked for")
        self._view[self._at : end] = chunk
        self._at = end
        if seconds > longest(end):
            raise Unfit(f"{end:,} bytes of {len(self._view):,} in {seconds:.0f} seconds")

    def finish(self) -> None:
        """All has to be there."""
        if self._at < len(self._view):
            raise Unfit(f"{self._at:,} bytes of {len(self._view):,}")
