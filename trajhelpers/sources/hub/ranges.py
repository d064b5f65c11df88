"""Byte ranges of files on the hub: every answer checked, every failure tried again, no token where
it does not belong.

A file's address is asked of the hub once, with the token that the hub's own client finds; the
ranges are asked of that address, which is signed, may expire, and on another host gets no token.
What is fetched ahead is held in memory, where reads find it; other reads are requests of their own.
"""

import bisect
import logging
import random
import re
import threading
import time
import weakref
from collections import deque
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import NamedTuple
from urllib.parse import urlsplit

import numpy as np
from huggingface_hub import constants, get_hf_file_metadata, get_session, hf_hub_url
from huggingface_hub.errors import HfHubHTTPError, HTTPError, OfflineModeIsEnabled
from huggingface_hub.utils import build_hf_headers, parse_ratelimit_headers

from ...errors import CheckpointError
from ...reading.zip_records import end_of_header
from .revisions import _content

_IN_FLIGHT = 12
_TRIES = 10
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 60
_TRANSIENT = (408, 429, 500, 502, 503, 504)
# The hub's limit without an account is 3,000 in five minutes.
_RESOLVED, _WITHIN = 2_800, 300
# What lies between two tensors of a file, padding and a zip's headers, is read along and dropped
# where it is shorter than a request is worth.
_WIDEST_GAP = 1024
_LONGEST_READ = 64 << 20


class _WithoutSignatures(logging.Filter):
    """The client's own loggers write addresses down, and a signed address is a key to the file."""

    def filter(self, record):
        record.msg, record.args = (
            re.sub(r"(https?://[^\s?'\"]+)\?[^\s'\"]*", r"\1?…", record.getMessage()),
            (),
        )
        return True


for _name in (
    "httpx",
    "httpcore.http11",
    "httpcore.http2",
    "httpx2",
    "httpcore2.http11",
    "httpcore2.http2",
    "huggingface_hub.utils._http",
):
    logging.getLogger(_name).addFilter(_WithoutSignatures())


class Range(NamedTuple):
    file: object
    begin: int
    end: int


class RemoteFiles:
    """The counterpart of :class:`trajhelpers.reading.files.OpenFiles` for files on the hub."""

    def __init__(self):
        self._pool = ThreadPoolExecutor(_IN_FLIGHT, "hub")
        self._addresses, self._headers, self._starts, self._resolving = {}, {}, {}, {}
        self._held, self._texts = [], {}
        self._given_up, self._under_way = threading.Event(), weakref.WeakSet()
        self._calls = _Limit(_RESOLVED, _WITHIN)
        self._lock = threading.Lock()

    def read_into(self, file, offset, buffer):
        """Fill ``buffer``, a contiguous array, with the bytes of ``file`` from ``offset`` on."""
        view = memoryview(buffer).cast("B")
        for fetch in self._held:
            if (found := fetch.find(file, offset, len(view))) is not None:
                view[:] = found
                return
        if len(view):
            self.confirm(file, offset)
            self.get(file, offset, view)

    def read(self, file, offset, length):
        content = bytearray(length)
        if length:
            self.get(file, offset, memoryview(content))
        return bytes(content)

    def stamp(self, file):
        return file.path, file.sha256

    def text(self, file):
        if file.sha256 not in self._texts:
            self._texts[file.sha256] = _content(
                file.repository, file.commit, file.siblings[file.path]
            ).decode()
        return self._texts[file.sha256]

    def fetch(self, pieces):
        """Begin to fetch pieces, of which each is a Range, ahead; neighbouring ones in one request.
        Returns a :class:`Fetch`.
        """
        fetch = Fetch(self, self.join(pieces))
        with self._lock:
            self._under_way.add(fetch)
        if self._given_up.is_set():
            fetch.cancel()
        return fetch

    def give_up(self):
        """Nobody waits for anything any more: threads that wait before they try again end."""
        self._given_up.set()
        with self._lock:
            under_way = list(self._under_way)
        for fetch in under_way:
            fetch.cancel()

    def join(self, pieces):
        """The requests for pieces: neighbours together, long ones cut, each record of a zip with
        the header that confirms where it begins.
        """
        ranges = []
        for file, begin, end in sorted(
            (Range(file, self._header_of(file, begin), end) for file, begin, end in pieces),
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
                ranges.append(Range(file, begin, end))
        return ranges

    # ---- where the records of zip files begin ----

    def expect(self, file, headers):
        self._headers[file], self._starts[file] = dict(headers), sorted(headers)

    def _header_of(self, file, begin):
        return self._headers.get(file, {}).get(begin, begin)

    def unconfirmed(self, file, begin, end):
        """``(header, start)`` of the records that begin within a range and have not been read
        before.
        """
        starts, headers = self._starts.get(file, []), self._headers.get(file, {})
        within = starts[bisect.bisect_left(starts, begin) : bisect.bisect_left(starts, end)]
        return [(header, start) for start in within if (header := headers.get(start, -1)) >= begin]

    def confirm(self, file, offset, header_bytes=None):
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

    def get(self, file, offset, view, stop=None):
        """One range, tried until it is complete."""
        stop = self._given_up if stop is None else stop
        for attempt in range(_TRIES):
            if stop.is_set():
                raise Stopped
            pause = min(_FIRST_WAIT * 2**attempt, _LONGEST_WAIT) * random.uniform(0.75, 1)
            try:
                address = self._address(file, stop)
                return _read_range(
                    address, _headers_for(address, file), offset, view, file.size, stop
                )
            except _Unfit as answer:
                problem, pause = str(answer), max(pause, answer.asked_to_wait)
                if answer.status in range(400, 500) and answer.status not in _TRANSIENT:
                    self._forget(file, address)
                    pause = pause if attempt else 0
            except HfHubHTTPError as error:
                status = error.response.status_code
                if status not in _TRANSIENT:
                    raise CheckpointError(
                        f"{file}: the hub does not give it away (status {status}:"
                        f" {type(error).__name__}); check that the repository still has this commit"
                        " and that your token may read it (`hf auth login`)"
                    ) from None
                problem, pause = (
                    f"status {status} from the hub",
                    max(pause, _asked_to_wait(error.response.headers)),
                )
            except OfflineModeIsEnabled:
                raise CheckpointError(
                    f"{file}: the hub cannot be reached in offline mode; unset HF_HUB_OFFLINE"
                ) from None
            # RuntimeError: the client was closed by another thread, whose connection had failed
            except (HTTPError, RuntimeError) as error:
                problem = type(error).__name__
            if attempt < _TRIES - 1 and stop.wait(pause):
                raise Stopped
        raise CheckpointError(
            f"{file}: bytes {offset:,} to {offset + len(view):,} could not be had in {_TRIES} tries"
            f" (the last: {problem}); try again later, or keep whole files with cache=True"
            " (--cache)"
        )

    def _address(self, file, stop):
        with self._lock:
            lock = self._resolving.setdefault(file, threading.Lock())
        with lock:
            if file not in self._addresses:
                self._calls.wait(stop)
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

    def _forget(self, file, address):
        with self._lock:
            if self._addresses.get(file) == address:
                del self._addresses[file]


class Stopped(Exception):
    """The reader was told to stop."""


class _Unfit(Exception):
    """An answer that is not what was asked for."""

    def __init__(self, problem, status=206, asked_to_wait=0):
        super().__init__(problem)
        self.status, self.asked_to_wait = status, asked_to_wait


class Fetch:
    """Ranges on their way into memory. As a context manager, they are held: reads find them there."""

    def __init__(self, files, ranges):
        self._files, self._stop, self._received, self._lock = (
            files,
            threading.Event(),
            0,
            threading.Lock(),
        )
        self._failure = None
        self._places = {}
        # One piece of memory, which the system gets back as a whole.
        space, at = memoryview(np.empty(sum(end - begin for _, begin, end in ranges), np.uint8)), 0
        self._futures = []
        for file, begin, end in ranges:
            view, at = space[at : at + end - begin], at + end - begin
            self._places.setdefault(file, ([], []))
            self._places[file][0].append(begin)
            self._places[file][1].append(view)
            self._futures.append(files._pool.submit(self._get, file, begin, view))

    @property
    def received(self):
        """Bytes, of the ranges that are complete."""
        return self._received

    def wait(self, seconds):
        """Whether all is there, after so many seconds at most; raises what went wrong."""
        missing = wait(self._futures, seconds, FIRST_EXCEPTION).not_done
        if self._failure:
            raise self._failure
        return not missing

    def find(self, file, offset, length):
        begins, views = self._places.get(file, ((), ()))
        index = bisect.bisect_right(begins, offset) - 1
        if index < 0 or offset + length > begins[index] + len(views[index]):
            return None
        return views[index][offset - begins[index] : offset - begins[index] + length]

    def cancel(self):
        """Ask for no more."""
        self._stop.set()
        for future in self._futures:
            future.cancel()

    def drain(self):
        """Wait until nothing is on its way: no thread goes on asking for what nobody waits for."""
        wait(self._futures)

    def __enter__(self):
        self._files._held.append(self)
        return self

    def __exit__(self, *_):
        self._files._held.remove(self)

    def _get(self, file, begin, view):
        try:
            self._files.get(file, begin, view, self._stop)
            for header, start in self._files.unconfirmed(file, begin, begin + len(view)):
                self._files.confirm(file, start, bytes(view[header - begin : header - begin + 30]))
        except Exception as failure:
            # The first one; it stops the others, who then fail in their turn.
            with self._lock:
                self._failure = self._failure or failure
            self._stop.set()
            raise
        with self._lock:
            self._received += len(view)


class _Limit:
    """No more than so many calls within so many seconds."""

    def __init__(self, calls, seconds):
        self._times, self._seconds, self._lock = deque(maxlen=calls), seconds, threading.Lock()

    def wait(self, stop):
        with self._lock:
            if len(self._times) == self._times.maxlen and stop.wait(
                max(0, self._times[0] + self._seconds - time.monotonic())
            ):
                raise Stopped
            self._times.append(time.monotonic())


def _headers_for(address, file):
    """The token goes to the hub's own host and no other."""
    is_hub = urlsplit(address)[:2] == urlsplit(hf_hub_url(file.repository, file.path))[:2]
    return build_hf_headers(token=None if is_hub else False, library_name="trajhelpers") | {
        "Accept-Encoding": "identity"
    }


def _read_range(address, headers, offset, view, size, stop):
    """Fill ``view`` with a range of a file of ``size`` bytes, or raise what is wrong with the
    answer.
    """
    last = offset + len(view) - 1
    with get_session().stream(
        "GET",
        address,
        headers=headers | {"Range": f"bytes={offset}-{last}"},
        timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT,
    ) as answer:
        if answer.status_code != 206:
            page = ", a web page (HTML)" if "html" in answer.headers.get("Content-Type", "") else ""
            whole = (
                ", not the range that was asked for"
                if answer.status_code == 200 and not page
                else ""
            )
            raise _Unfit(
                f"status {answer.status_code}{page}{whole}",
                answer.status_code,
                _asked_to_wait(answer.headers),
            )
        if answer.headers.get("Content-Range") != f"bytes {offset}-{last}/{size}":
            raise _Unfit(f"another range than was asked for, {answer.headers.get('Content-Range')}")
        at = 0
        for chunk in answer.iter_raw():
            if stop.is_set():
                raise Stopped
            if at + len(chunk) > len(view):
                raise _Unfit("more bytes than were asked for")
            view[at : at + len(chunk)] = chunk
            at += len(chunk)
    if at < len(view):
        raise _Unfit(f"{at:,} bytes of {len(view):,}")


def _asked_to_wait(headers):
    """Seconds."""
    limit, seconds = parse_ratelimit_headers(headers), headers.get("Retry-After", "")
    if limit is not None and limit.remaining == 0:
        return limit.reset_in_seconds + 1
    return int(seconds) if seconds.isdigit() else 0
