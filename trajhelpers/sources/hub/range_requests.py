"""One request for a range of bytes, its answer checked."""

import threading
import time
from collections import deque

from ..remote.trying import Filling, Stop, Stopped, Unfit
from .client import answered, asked_to_wait, headers_of_ours
from .private_logs import no_signatures_logged
from .redirects import same_server


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


def headers_for(address: str, on_the_hub: str) -> dict[str, str]:
    """The token goes to the hub's own host and no other."""
    return headers_of_ours(None if same_server(address, on_the_hub) else False)


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
        filling = Filling(view, stop)
        for chunk in answer.chunks:
            filling.add(chunk)
    filling.finish()
