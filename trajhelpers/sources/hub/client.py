"""The hub's client, whichever of its generations the environment has: its versions 0 stand on
requests, which transformers 4 asks for, 1 on httpx, 2 on httpx2. What differs for us is here.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from huggingface_hub import constants, get_session
from huggingface_hub.errors import HTTPError

_CHUNK = 1 << 16
# Of answers that may be others the next time.
TRANSIENT = (408, 429, 500, 502, 503, 504)
# draft-ietf-httpapi-ratelimit-headers: '"resolvers";r=0;t=55'.
_USED_UP = re.compile(r";\s*r=0\s*;\s*t=(\d+)")
# In httpx the root of its errors has this name, in requests one of the branches does, and the root
# is what it descends from.
_root: Any = HTTPError if HTTPError.__module__.startswith("httpx") else HTTPError.__base__
# What a request may end with. RuntimeError: the client was closed by another thread, whose
# connection had failed.
FAILURES: tuple[type[Exception], ...] = (_root, RuntimeError)


class Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    chunks: Iterator[bytes]


@contextmanager
def answered(address: str, headers: dict[str, str]) -> Iterator[Answer]:
    """The answer to a GET, its body still to come."""
    session: Any = get_session()
    timeout = constants.HF_HUB_DOWNLOAD_TIMEOUT
    if callable(session.stream):
        with session.stream("GET", address, headers=headers, timeout=timeout) as answer:
            yield Answer(answer.status_code, answer.headers, answer.iter_raw())
    else:
        with session.get(address, headers=headers, timeout=timeout, stream=True) as answer:
            yield Answer(answer.status_code, answer.headers, answer.iter_content(_CHUNK))


def status_of(error: Exception) -> int | None:
    """Of an error that an answer stands behind."""
    answer = getattr(error, "response", None)
    return None if answer is None else answer.status_code


def asked_to_wait(headers: Mapping[str, str]) -> int:
    """Seconds, as an answer's headers have it."""
    if used_up := _USED_UP.search(headers.get("RateLimit", "")):
        return int(used_up[1]) + 1
    seconds = headers.get("Retry-After", "")
    return int(seconds) if seconds.isdigit() else 0
