"""The hub's client, whichever of its generations the environment has: its versions 0 stand on
requests, which transformers 4 asks for, 1 on httpx, 2 on httpx2. What differs for us is here.
"""

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from functools import partial
from importlib import import_module
from typing import Any, NamedTuple

from huggingface_hub import constants, get_session
from huggingface_hub.errors import HTTPError
from huggingface_hub.utils import build_hf_headers

from ..remote.trying import longest
from .in_time import in_time
from .redirects import MOST_REDIRECTS, Misled, led_to, same_server

_CHUNK = 1 << 16
# Of answers that may be others the next time.
TRANSIENT = (408, 429, 500, 502, 503, 504)
_REDIRECTS = (301, 302, 303, 307, 308)
# draft-ietf-httpapi-ratelimit-headers: '"resolvers";r=0;t=55'.
_USED_UP = re.compile(r";\s*r=0\s*;\s*t=(\d{1,9})", re.ASCII)
_SECONDS = re.compile(r"\d{1,9}", re.ASCII)


def _failures() -> tuple[type[Exception], ...]:
    """What a request may end with. RuntimeError: the client was closed by another thread, whose
    connection had failed. ValueError: an answer leads to what is no address.
    """
    always = (RuntimeError, TimeoutError, ValueError)
    stands_on = HTTPError.__module__.partition(".")[0]
    if stands_on == "requests":
        # Its root, of which HTTPError is a branch, and of what it stands on in its turn.
        return (HTTPError.__mro__[1], import_module("urllib3").exceptions.HTTPError, *always)
    return (HTTPError, import_module(stands_on).InvalidURL, *always)


FAILURES = _failures()


def headers_of_ours(token: bool | None = None) -> dict[str, str]:
    """With the token that the hub's client finds; without one where that is False."""
    # In time: the client may ask the hub for something before it knows what it is called.
    own = in_time(partial(build_hf_headers, token=token, library_name="trajhelpers"), longest(0))
    return own | {"Accept-Encoding": "identity"}


class Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    chunks: Iterator[bytes]


@contextmanager
def answered(address: str, headers: dict[str, str], timeout: float = 0) -> Iterator[Answer]:
    """The answer to a GET, its body still to come, from wherever the address leads; Misled where
    that is nowhere to go. No other server than the first is shown a token.
    """
    for _ in range(MOST_REDIRECTS):
        begin = partial(_begin, address, headers, timeout or constants.HF_HUB_DOWNLOAD_TIMEOUT)
        with closing(in_time(begin, longest(0))) as answer:
            location = answer.headers.get("Location")
            if answer.status_code not in _REDIRECTS or location is None:
                yield Answer(answer.status_code, answer.headers, _chunks(answer))
                return
        following = led_to(address, location)
        if not same_server(address, following):
            headers = {k: v for k, v in headers.items() if k.lower() != "authorization"}
        address = following
    raise Misled(f"leads on and on, {MOST_REDIRECTS} times")


def _begin(address: str, headers: dict[str, str], timeout: float) -> Any:
    # Asked for each time: another thread may have closed the client.
    session: Any = get_session()
    if hasattr(session, "build_request"):
        request = session.build_request("GET", address, headers=headers, timeout=timeout)
        return session.send(request, stream=True, follow_redirects=False)
    return session.get(
        address, headers=headers, timeout=timeout, stream=True, allow_redirects=False
    )


def _chunks(answer: Any) -> Iterator[bytes]:
    """As they come: to wait until one is full would hide how slowly it fills."""
    if hasattr(answer, "iter_raw"):
        return answer.iter_raw()
    return iter(partial(answer.raw.read1, _CHUNK), b"")


def whole(answer: Answer, most: int) -> bytes:
    """A body; OverflowError where it is longer than that, TimeoutError where it is too slow."""
    content, begun = bytearray(), time.monotonic()
    for chunk in answer.chunks:
        content += chunk
        if len(content) > most:
            raise OverflowError
        if time.monotonic() - begun > longest(len(content)):
            raise TimeoutError
    return bytes(content)


def asked_to_wait(headers: Mapping[str, str]) -> int:
    """Seconds, as an answer's headers have it; 0 where they have no number of them."""
    if used_up := _USED_UP.search(headers.get("RateLimit", "")):
        return int(used_up[1]) + 1
    seconds = _SECONDS.match(headers.get("Retry-After", ""))
    return int(seconds[0]) if seconds else 0
