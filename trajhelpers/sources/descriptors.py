"""File descriptors, of which a process has few: 256 by default on a Mac, for everything it does."""

import errno
import os
import resource
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterable
from itertools import islice

from ..errors import CheckpointError

# What is left to others: sockets, the kernel that is saved, what the caller has open.
_SHARE = 2
# Above this a file that is opened again costs little beside what is read of it.
_MOST = 2048


class Descriptor:
    """One that is open, and how many threads read from it now."""

    def __init__(self, number: int):
        self.number, self.users = number, 0


class Descriptors:
    """Those of all files that a process reads; the least recently used are closed where there are
    too many.
    """

    def __init__(self) -> None:
        # Least recently used first.
        self._open: OrderedDict[Hashable, Descriptor] = OrderedDict()
        self._dropped: deque[Hashable] = deque()
        self._most = _MOST
        self._lock = threading.Lock()

    def take(self, file: Hashable, open: Callable[[], int]) -> Descriptor:
        """The file's descriptor, opened where it is not; it stays open until it is given back."""
        found = self.held(file)
        if found:
            return found
        # Not under the lock: on a file system far away this takes a while.
        number = self._opened(open)
        with self._lock:
            if file in self._open:  # by another thread, meanwhile
                os.close(number)
            else:
                self._open[file] = Descriptor(number)
            found = self._used(file)
            self._close_beyond(self._budget())
        return found

    def held(self, file: Hashable) -> Descriptor | None:
        """The same of a file that is open, else None."""
        with self._lock:
            return self._used(file) if file in self._open else None

    def give_back(self, descriptor: Descriptor) -> None:
        with self._lock:
            descriptor.users -= 1
        self._close_dropped()

    def drop(self, files: Iterable[Hashable]) -> None:
        """Close those of files that nobody will read again. The garbage collector may call this at
        any time, in a thread that holds the lock as well.
        """
        self._dropped.extend(files)
        self._close_dropped()

    def _used(self, file: Hashable) -> Descriptor:
        self._open.move_to_end(file)
        found = self._open[file]
        found.users += 1
        return found

    def _budget(self) -> int:
        # Asked each time: a program may change it.
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        share = _MOST if soft == resource.RLIM_INFINITY else soft // _SHARE
        return min(share, self._most)

    def _opened(self, open: Callable[[], int]) -> int:
        while True:
            try:
                return open()
            except OSError as error:
                if error.errno not in (errno.EMFILE, errno.ENFILE):
                    raise
                with self._lock:
                    if not self._open:
                        raise CheckpointError(
                            f"{error.filename}: cannot be opened, since this process has as many"
                            " files open as it may (`ulimit -n`); close some, or raise that"
                        ) from None
                    # Others need more than was left to them: they get half of these, for good.
                    self._most = len(self._open) // 2
                    closed = self._close_beyond(self._most)
                if not closed:
                    # All are being read from, by other threads, which soon have done so.
                    time.sleep(0.001)

    def _close_beyond(self, most: int) -> int:
        """How many were closed; those that are being read from stay."""
        idle = (file for file, found in self._open.items() if not found.users)
        closed = list(islice(idle, max(0, len(self._open) - most)))
        for file in closed:
            os.close(self._open.pop(file).number)
        return len(closed)

    def _close_dropped(self) -> None:
        while self._dropped and self._lock.acquire(blocking=False):
            try:
                while self._dropped:
                    found = self._open.pop(self._dropped.popleft(), None)
                    if found:
                        os.close(found.number)
            finally:
                self._lock.release()


DESCRIPTORS = Descriptors()
