"""Byte ranges of files far away: every failure tried again by one policy, whoever is asked.

What is fetched ahead is held in memory, where reads find it; other reads are requests of their own.
"""

import bisect
import random
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np

from ...errors import CheckpointError, ChecksumError
from ...reading.zip_records import end_of_header
from ..protocol import Range
from .checking import Asked, Checks, all_within, asked_of
from .checksums import Checksum
from .fetch import Fetch
from .file import RemoteFile, RemoteRange
from .trying import LONGEST_ASKED, Stop, Stopped, Unfit

_IN_FLIGHT = 12
_TRIES = 10
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 60
# What lies between two tensors of a file, padding and a zip's headers, is read along and dropped
# where it is shorter than a request is worth.
_WIDEST_GAP = 1024
_LONGEST_READ = 64 << 20
# Of headers and directories of all files together, for their checksums.
_MOST_KEPT = 128 << 20

# Waits are jittered by dice of our own: the user's stay as they are.
_DICE = random.Random()


class Requests(Protocol):
    """How the files of one kind of place are asked for."""

    # What to do where ranges are not enough.
    whole: str

    def get_range(self, file: RemoteFile, offset: int, view: memoryview, stop: Stop) -> None:
        """Fill ``view`` by one request whose answer is checked. Unfit where it is worth another
        try, CheckpointError where it is not.
        """

    def content_of(self, file: RemoteFile) -> bytes:
        """All of a small file."""

    def share(self, size: int) -> None:
        """So many processes ask from now on, of which this is one."""


class RemoteFiles:
    """The counterpart of :class:`trajhelpers.sources.disk.OpenFiles` for files far away.

    ``held`` are the fetches in which reads look first: :class:`Fetch` enters itself.
    """

    def __init__(self, requests: Requests) -> None:
        self._requests = requests
        # Of those who share a pass: which one this is, and how it tells the others to wait.
        self.rank, self.size = 0, 1
        self._tell: Callable[[float], None] | None = None
        self._not_before = 0.0
        # Of each file, where the headers of records are, by where the records should begin; and the
        # latter, sorted.
        self._headers: dict[RemoteFile, dict[int, int]] = {}
        self._starts: dict[RemoteFile, list[int]] = {}
        self._texts: dict[tuple[str, str], str] = {}
        # Of each file, what was read of it when it was opened, and the checksums of its records.
        self._kept: dict[RemoteFile, list[tuple[int, bytes]]] = {}
        self._bytes_kept = 0
        self._records: dict[RemoteFile, list[Checksum]] = {}
        self._begin()

    def _begin(self) -> None:
        """What another process gets none of."""
        self._pool = ThreadPoolExecutor(_IN_FLIGHT, "ranges")
        self.held: list[Fetch] = []
        self.watching: list[Checks] = []
        self._given_up = threading.Event()
        self._under_way: weakref.WeakSet[Fetch] = weakref.WeakSet()
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        """For a process that shares a pass: what was read when the files were opened."""
        own = ("_pool", "held", "watching", "_given_up", "_under_way", "_lock", "_tell")
        return {name: value for name, value in vars(self).items() if name not in own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _tell=None, _not_before=0.0)
        self._begin()

    # ---- of several who share a pass ----

    def share(self, rank: int, size: int, tell: Callable[[float], None] | None) -> None:
        """So many ask from now on, of which this is one: each for its share of what is allowed.
        ``tell`` the others where one was asked to wait, for so many seconds.
        """
        self.rank, self.size, self._tell = rank, size, tell
        self._pool.shutdown(wait=False)
        self._pool = ThreadPoolExecutor(max(1, _IN_FLIGHT // size), "ranges")
        self._requests.share(size)

    def hold_back(self, seconds: float) -> None:
        """Ask for nothing new so long."""
        self._not_before = max(self._not_before, time.monotonic() + seconds)

    def read_into(self, file: RemoteFile, offset: int, buffer: np.ndarray) -> None:
        """Fill ``buffer``, a contiguous array, with the bytes of ``file`` from ``offset`` on."""
        view = buffer.view(np.uint8).data
        for fetch in self.held:
            if (found := fetch.find(file, offset, len(view))) is not None:
                view[:] = found
                return
        if len(view):
            self.confirm(file, offset)
            self.get(file, offset, view)
            for checks in list(self.watching):
                checks.add_aside(file, offset, view)

    def read(self, file: RemoteFile, offset: int, length: int) -> bytes:
        """A range, in a request of its own, as headers are read."""
        content = bytearray(length)
        if length:
            self.get(file, offset, memoryview(content))
        found = bytes(content)
        self._keep(file, offset, found)
        return found

    def text(self, file: RemoteFile) -> str:
        """All of a small file, which is asked for once."""
        stamp = file.stamp()
        if stamp not in self._texts:
            try:
                self._texts[stamp] = self._requests.content_of(file).decode()
            except UnicodeDecodeError:
                raise CheckpointError(
                    f"{file}: holds something other than text; fetch or save it again"
                ) from None
        return self._texts[stamp]

    def fetch(self, pieces: Iterable[Range], checks: Checks | None = None) -> Fetch:
        """Begin to fetch pieces, of which each is a Range, ahead; neighbouring ones in one request.
        Returns a :class:`Fetch`.
        """
        fetch = Fetch(self, self.join(pieces), checks)
        with self._lock:
            self._under_way.add(fetch)
        if self._given_up.is_set():
            fetch.cancel()
        return fetch

    def submit(self, do: Callable, *arguments) -> Future:
        """To one of the threads that ask."""
        return self._pool.submit(do, *arguments)

    def give_up(self) -> None:
        """Nobody waits for anything any more: threads that wait before they try again end."""
        self._given_up.set()
        with self._lock:
            under_way = list(self._under_way)
        for fetch in under_way:
            fetch.cancel()

    def join(self, pieces: Iterable[Range]) -> list[RemoteRange]:
        """The requests for pieces: neighbours together, long ones cut, each record of a zip with
        the header that confirms where it begins.
        """
        ranges: list[RemoteRange] = []
        for file, parts in _by_file(pieces):
            headers = self._headers.get(file, {})
            joined: list[list[int]] = []
            for begin, end in sorted((headers.get(begin, begin), end) for begin, end in parts):
                last = joined[-1] if joined else [0, -_WIDEST_GAP - 1]
                whole = max(end, last[1])
                if (
                    begin - last[1] <= _WIDEST_GAP
                    and whole - last[0] <= _LONGEST_READ + _WIDEST_GAP
                ):
                    last[1] = whole
                else:
                    joined.append([begin, end])
            ranges += [RemoteRange(file, begin, end) for begin, end in joined]
        return ranges

    # ---- checksums ----

    def check(
        self,
        blocks: Iterable[Sequence[Range]],
        done: int = 0,
        verify: bool = False,
        apart: bool = False,
        others: int = 0,
    ) -> Checks:
        """Those of what a pass will fetch, block by block; so many are ``done``, after so many that
        ``others`` fetch; ``apart`` where it will read one thing after another instead.
        """
        outside: set[RemoteFile] = set()

        def joined(block: Sequence[Range]) -> list[RemoteRange]:
            outside.update(
                file for file, parts in _by_file(block) if not all_within(self.records(file), parts)
            )
            return self.join(block)

        asked = asked_of(map(joined, blocks), done, others)
        for file, spans in self._kept.items():
            # All of a small file came when it was opened.
            if sum(len(content) for _, content in spans) == file.size and file.tree.checksum(
                file.path
            ):
                asked.setdefault(file, Asked([], []))
        return Checks(self, asked, outside, verify, apart)

    def _keep(self, file: RemoteFile, begin: int, content: bytes) -> None:
        """For the checksum of the whole file; no more than is worth its memory."""
        with self._lock:
            spans = self._kept.setdefault(file, [])
            end, new, at = begin + len(content), [], begin
            for first, kept in spans:
                last = min(first + len(kept), end)
                if begin < last and first < end:
                    same = max(first, begin)
                    if kept[same - first : last - first] != content[same - begin : last - begin]:
                        raise ChecksumError(f"{file}: arrives otherwise each time; {self.whole}")
                    new.append((at, content[at - begin : same - begin]))
                    at = last
            for first, part in [*new, (at, content[at - begin :])]:
                if part and self._bytes_kept + len(part) <= _MOST_KEPT:
                    self._bytes_kept += len(part)
                    bisect.insort(spans, (first, part))

    def kept(self, file: RemoteFile, begin: int, end: int) -> bytes | None:
        """Some of what was kept from a byte on, None where nothing was."""
        spans = self.kept_spans(file)
        index = bisect.bisect_right(spans, begin, key=lambda span: span[0]) - 1
        first, content = spans[index] if index >= 0 else (0, b"")
        return content[begin - first : end - first] or None

    def kept_spans(self, file: RemoteFile) -> list[tuple[int, bytes]]:
        """``(begin, content)`` of what was kept, in order."""
        return self._kept.get(file, [])

    def expect_records(self, file: RemoteFile, records: Sequence[Checksum]) -> None:
        """Those of a zip's records, which are compared when they are read."""
        with self._lock:
            known = {*self._records.get(file, ()), *records}
            self._records[file] = sorted(known, key=lambda record: record.begin)

    def records(self, file: RemoteFile) -> list[Checksum]:
        """Of those that are known, in order."""
        return self._records.get(file, [])

    # ---- where the records of zip files begin ----

    def expect(self, file: RemoteFile, headers: Mapping[int, int]) -> None:
        """By where a record should begin, where its header does; an archive is told of each of its
        files.
        """
        with self._lock:
            known = self._headers.get(file, {}) | dict(headers)
            self._headers[file] = known
            self._starts[file] = sorted({*self._starts.get(file, ()), *headers})

    def unconfirmed(self, file: RemoteFile, begin: int, end: int) -> list[tuple[int, int]]:
        """``(header, start)`` of the records that begin within a range and have not been read
        before.
        """
        starts, headers = self._starts.get(file, []), self._headers.get(file, {})
        within = starts[bisect.bisect_left(starts, begin) : bisect.bisect_left(starts, end)]
        return [(header, start) for start in within if (header := headers.get(start, -1)) >= begin]

    def confirm(self, file: RemoteFile, offset: int, header_bytes: bytes | None = None) -> None:
        """That the record in which a byte lies begins where it should."""
        starts = self._starts.get(file, [])
        position = bisect.bisect_right(starts, offset) - 1
        if position < 0 or (header := self._headers[file].get(starts[position])) is None:
            return
        start = starts[position]
        if (
            end_of_header(
                file, header, self.read(file, header, 30) if header_bytes is None else header_bytes
            )
            != start
        ):
            raise CheckpointError(
                f"{file}: the record at byte {header} does not begin at byte {start}, as the zip's"
                f" directory and torch's alignment have it; {self.whole}"
            )
        self._headers[file].pop(start, None)

    # ---- requests ----

    @property
    def whole(self) -> str:
        """What to do where ranges are not enough."""
        return self._requests.whole

    def get(
        self, file: RemoteFile, offset: int, view: memoryview, stop: Stop | None = None
    ) -> None:
        """One range, tried until it is complete."""
        stop = self._given_up if stop is None else stop
        for attempt in range(_TRIES):
            if stop.is_set():
                raise Stopped
            if (pause := self._not_before - time.monotonic()) > 0 and stop.wait(pause):
                raise Stopped
            try:
                return self._requests.get_range(file, offset, view, stop)
            except Unfit as answer:
                problem, pause = str(answer), _wait(attempt, answer)
                if answer.asked_to_wait and self._tell:
                    self._tell(pause)
            if attempt < _TRIES - 1 and stop.wait(pause):
                raise Stopped
        raise CheckpointError(
            f"{file}: bytes {offset:,} to {offset + len(view):,} could not be had in {_TRIES} tries"
            f" (the last: {problem}); try again later, or {self.whole}"
        )


def _by_file(pieces: Iterable[Range]) -> list[tuple[RemoteFile, list[tuple[int, int]]]]:
    """In the order of their names. There may be 10⁵ pieces of a file, whose hash takes its time."""
    same: dict[int, tuple[RemoteFile, list[tuple[int, int]]]] = {}
    for file, begin, end in pieces:
        same.setdefault(id(file), (file, []))[1].append((begin, end))
    found: dict[RemoteFile, list[tuple[int, int]]] = {}
    for file, parts in same.values():
        found.setdefault(file, []).extend(parts)
    return sorted(found.items(), key=lambda item: str(item[0]))


def _wait(attempt: int, answer: Unfit) -> float:
    if answer.at_once and attempt == 0:
        return 0
    pause = min(_FIRST_WAIT * 2**attempt, _LONGEST_WAIT) * _DICE.uniform(0.75, 1)
    return max(pause, min(answer.asked_to_wait, LONGEST_ASKED))
