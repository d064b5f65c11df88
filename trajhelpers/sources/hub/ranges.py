"""Byte ranges of files on the hub: every answer checked, every failure tried again, no token where
it does not belong.

A file's address is asked of the hub once, with the token that the hub's own client finds; the
ranges are asked of that address, which is signed, may expire, and on another host gets no token.
What is fetched ahead is held in memory, where reads find it; other reads are requests of their own.
"""

import bisect
import random
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from huggingface_hub import get_hf_file_metadata, hf_hub_url
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

from ...errors import CheckpointError
from ...reading.zip_records import end_of_header
from ..protocol import Range
from .asking import content_of
from .client import FAILURES, TRANSIENT, asked_to_wait
from .fetch import Fetch
from .file import RemoteFile, RemoteRange
from .private_logs import no_signatures_logged
from .range_requests import Limit, Stop, Stopped, Unfit, headers_for, read_range

_IN_FLIGHT = 12
_TRIES = 10
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 60
# The hub's limit without an account is 3,000 in five minutes.
_RESOLVED, _WITHIN = 2_800, 300
# What lies between two tensors of a file, padding and a zip's headers, is read along and dropped
# where it is shorter than a request is worth.
_WIDEST_GAP = 1024
_LONGEST_READ = 64 << 20

# Waits are jittered by dice of our own: the user's stay as they are.
_DICE = random.Random()


class RemoteFiles:
    """The counterpart of :class:`trajhelpers.sources.disk.OpenFiles` for files on the hub.

    ``held`` are the fetches in which reads look first: :class:`Fetch` enters itself.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(_IN_FLIGHT, "hub")
        self._addresses: dict[RemoteFile, str] = {}
        self._resolving: dict[RemoteFile, threading.Lock] = {}
        # Of each file, where the headers of records are, by where the records should begin; and the
        # latter, sorted.
        self._headers: dict[RemoteFile, dict[int, int]] = {}
        self._starts: dict[RemoteFile, list[int]] = {}
        self._texts: dict[str, str] = {}
        self.held: list[Fetch] = []
        self._given_up = threading.Event()
        self._under_way: weakref.WeakSet[Fetch] = weakref.WeakSet()
        self._calls = Limit(_RESOLVED, _WITHIN)
        self._lock = threading.Lock()

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

    def read(self, file: RemoteFile, offset: int, length: int) -> bytes:
        """A range, in a request of its own."""
        content = bytearray(length)
        if length:
            self.get(file, offset, memoryview(content))
        return bytes(content)

    def text(self, file: RemoteFile) -> str:
        """All of a small file; the same contents are asked for once."""
        if file.sha256 not in self._texts:
            self._texts[file.sha256] = content_of(
                file.repository, file.commit, file.siblings[file.path]
            ).decode()
        return self._texts[file.sha256]

    def fetch(self, pieces: Iterable[Range]) -> Fetch:
        """Begin to fetch pieces, of which each is a Range, ahead; neighbouring ones in one request.
        Returns a :class:`Fetch`.
        """
        fetch = Fetch(self, self.join(pieces))
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
        for file, begin, end in sorted(
            (RemoteRange(file, self._header_of(file, begin), end) for file, begin, end in pieces),
            key=lambda piece: (str(piece.file), piece.begin),
        ):
            if (
                ranges
                and ranges[-1].file == file
                and begin - ranges[-1].end <= _WIDEST_GAP
                and max(end, ranges[-1].end) - ranges[-1].begin <= _LONGEST_READ + _WIDEST_GAP
            ):
                ranges[-1] = ranges[-1]._replace(end=max(end, ranges[-1].end))
            else:
                ranges.append(RemoteRange(file, begin, end))
        return ranges

    # ---- where the records of zip files begin ----

    def expect(self, file: RemoteFile, headers: Mapping[int, int]) -> None:
        """By where a record should begin, where its header does."""
        self._headers[file], self._starts[file] = dict(headers), sorted(headers)

    def _header_of(self, file: RemoteFile, begin: int) -> int:
        return self._headers.get(file, {}).get(begin, begin)

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
                " directory and torch's alignment have it; fetch the files whole with cache=True"
                " (--cache)"
            )
        self._headers[file].pop(start, None)

    # ---- requests ----

    def get(
        self, file: RemoteFile, offset: int, view: memoryview, stop: Stop | None = None
    ) -> None:
        """One range, tried until it is complete."""
        # Not as JSON is asked for (asking.py): these tries must end at once when nobody waits any
        # more, and ask for a new address where a signed one has expired.
        stop = self._given_up if stop is None else stop
        for attempt in range(_TRIES):
            if stop.is_set():
                raise Stopped
            pause = min(_FIRST_WAIT * 2**attempt, _LONGEST_WAIT) * _DICE.uniform(0.75, 1)
            try:
                address = self._address(file, stop)
                return read_range(
                    address, headers_for(address, file), offset, view, file.size, stop
                )
            except Unfit as answer:
                problem, pause = str(answer), max(pause, answer.asked_to_wait)
                if answer.status in range(400, 500) and answer.status not in TRANSIENT:
                    self._forget(file, address)
                    pause = pause if attempt else 0
            except HfHubHTTPError as error:
                status = error.response.status_code
                if status not in TRANSIENT:
                    raise CheckpointError(
                        f"{file}: the hub does not give it away (status {status}:"
                        f" {type(error).__name__}); check that the repository still has this commit"
                        " and that your token may read it (`hf auth login`)"
                    ) from None
                problem, pause = (
                    f"status {status} from the hub",
                    max(pause, asked_to_wait(error.response.headers)),
                )
            except OfflineModeIsEnabled:
                raise CheckpointError(
                    f"{file}: the hub cannot be reached in offline mode; unset HF_HUB_OFFLINE"
                ) from None
            except FAILURES as error:
                problem = type(error).__name__
            if attempt < _TRIES - 1 and stop.wait(pause):
                raise Stopped
        raise CheckpointError(
            f"{file}: bytes {offset:,} to {offset + len(view):,} could not be had in {_TRIES} tries"
            f" (the last: {problem}); try again later, or keep whole files with cache=True"
            " (--cache)"
        )

    def _address(self, file: RemoteFile, stop: Stop) -> str:
        with self._lock:
            lock = self._resolving.setdefault(file, threading.Lock())
        with lock:
            if file not in self._addresses:
                self._calls.wait(stop)
                with no_signatures_logged():
                    found = get_hf_file_metadata(
                        hf_hub_url(file.repository, file.path, revision=file.commit)
                    )
                if found.size is not None and found.size != file.size:
                    raise CheckpointError(
                        f"{file}: has {found.size:,} bytes, where the repository's list says"
                        f" {file.size:,}; open the trajectory again"
                    )
                self._addresses[file] = found.location
            return self._addresses[file]

    def _forget(self, file: RemoteFile, address: str) -> None:
        with self._lock:
            if self._addresses.get(file) == address:
                del self._addresses[file]
