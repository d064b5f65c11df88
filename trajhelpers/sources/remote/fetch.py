"""Ranges of remote files on their way into memory."""

import bisect
import threading
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from typing import TYPE_CHECKING

import numpy as np

from .file import RemoteFile, RemoteRange

if TYPE_CHECKING:
    from .checking import Checks
    from .files import RemoteFiles


class Fetch:
    """Ranges on their way into memory. As a context manager, they are held: reads find them."""

    def __init__(
        self,
        files: "RemoteFiles",
        ranges: Sequence[RemoteRange],
        checks: "Checks | None" = None,
    ):
        self._files, self._checks, self._received = files, checks, 0
        self._stop, self._lock = threading.Event(), threading.Lock()
        self._failure: Exception | None = None
        self._places: dict[RemoteFile, tuple[list[int], list[memoryview]]] = {}
        # One piece of memory, which the system gets back as a whole.
        space, at = np.empty(sum(end - begin for _, begin, end in ranges), np.uint8).data, 0
        self._futures: list[Future] = []
        for file, begin, end in ranges:
            view, at = space[at : at + end - begin], at + end - begin
            self._places.setdefault(file, ([], []))
            self._places[file][0].append(begin)
            self._places[file][1].append(view)
            self._futures.append(files.submit(self._get, file, begin, view))

    @property
    def received(self) -> int:
        """Bytes, of the ranges that are complete."""
        return self._received

    def wait(self, seconds: float | None) -> bool:
        """Whether all is there, after so many seconds at most; raises what went wrong."""
        missing = wait(self._futures, seconds, FIRST_EXCEPTION).not_done
        if self._failure:
            raise self._failure
        return not missing

    def find(self, file: RemoteFile, offset: int, length: int) -> memoryview | None:
        """These bytes, where all of them are among the ranges."""
        begins, views = self._places.get(file, ((), ()))
        index = bisect.bisect_right(begins, offset) - 1
        if index < 0 or offset + length > begins[index] + len(views[index]):
            return None
        return views[index][offset - begins[index] : offset - begins[index] + length]

    def cancel(self) -> None:
        """Ask for no more."""
        self._stop.set()
        for future in self._futures:
            future.cancel()

    def drain(self) -> None:
        """Wait until nothing is on its way: no thread goes on asking for what nobody waits for."""
        wait(self._futures)

    def __enter__(self) -> "Fetch":
        self._files.held.append(self)
        return self

    def __exit__(self, *_) -> None:
        self._files.held.remove(self)

    def _get(self, file: RemoteFile, begin: int, view: memoryview) -> None:
        try:
            self._files.get(file, begin, view, self._stop)
            for header, start in self._files.unconfirmed(file, begin, begin + len(view)):
                self._files.confirm(file, start, bytes(view[header - begin : header - begin + 30]))
            if self._checks:
                self._checks.add(file, begin, view)
        except Exception as failure:
            # The first one; it stops the others, who then fail in their turn.
            with self._lock:
                self._failure = self._failure or failure
            self._stop.set()
            raise
        with self._lock:
            self._received += len(view)
