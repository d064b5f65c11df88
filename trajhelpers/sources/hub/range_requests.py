"""One request for a range of bytes, its answer checked."""

import threading
import time
from collections import deque
from typing import Protocol
from urllib.parse import urlsplit

from huggingface_hub import hf_hub_url
from huggingface_hub.utils import build_hf_headers

from .client import answered, asked_to_wait
from .private_logs import no_signatures_logged


class Stop(Protocol):
    """What tells readers to stop: a :class:`threading.Event`."""

    def is_set(self) -> bool: ...

    def wait(self, timeout: float) -> bool: ...


class Stopped(Exception):
    """The reader was told to stop."""


class Unfit(Exception):
    """An answer that is not what was asked for."""

    def __init__(self, problem: str, status: int = 206, asked_to_wait: int = 0):
        super().__init__(problem)
        self.status, self.asked_to_wait = status, asked_to_wait


class Limit:
    """No more than so many calls within so many seconds."""

    def __init__(self, calls: int, seconds: float):
        self._times: deque[float] = deque(maxlen=calls)
        self._calls, self._seconds, self._lock = calls, seconds, threading.Lock()

    def wait(self, stop: Stop) -> None:
        with self._lock:
            if len(self._times) == self._calls and stop.wait(
                max(0, self._times[0] + self._seconds - time.monotonic())
            ):
                raise Stopped
            self._times.append(time.monotonic())


def headers_for(address: str, file) -> dict[str, str]:
    """The token goes to the hub's own host and no other."""
    is_hub = urlsplit(address)[:2] == urlsplit(hf_hub_url(file.repository, file.path))[:2]
    return build_hf_headers(token=None if is_hub else False, library_name="trajhelpers") | {
        "Accept-Encoding": "identity"
    }


def read_range(
    address: str, headers: dict, offset: int, view: memoryview, size: int, stop: Stop
) -> None:
    """Fill ``view`` with a range of a file of ``size`` bytes, or raise what is wrong with the
    answer.
    """
    last = offset + len(view) - 1
    with (
        no_signatures_logged(),
        answered(address, headers | {"Range": f"bytes={offset}-{last}"}) as answer,
    ):
        if answer.status != 206:
            page = ", a web page (HTML)" if "html" in answer.headers.get("Content-Type", "") else ""
            whole = (
                ", not the range that was asked for" if answer.status == 200 and not page else ""
            )
            raise Unfit(
                f"status {answer.status}{page}{whole}",
                answer.status,
                asked_to_wait(answer.headers),
            )
        if answer.headers.get("Content-Range") != f"bytes {offset}-{last}/{size}":
            raise Unfit(f"another range than was asked for, {answer.headers.get('Content-Range')}")
        at = 0
        for chunk in answer.chunks:
            if stop.is_set():
                raise Stopped
            if at + len(chunk) > len(view):
                raise Unfit("more bytes than were asked for")
            view[at : at + len(chunk)] = chunk
            at += len(chunk)
    if at < len(view):
        raise Unfit(f"{at:,} bytes of {len(view):,}")
