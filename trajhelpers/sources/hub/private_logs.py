"""Signed addresses stay out of logs.

The hub's client and what it stands on write addresses down, and a signed address is a key to the
file. The records of our own requests lose what follows the question mark; others' stay as they are.
"""

import contextvars
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager

_LOGGERS = (
    "httpx",
    "httpcore.http11",
    "httpcore.http2",
    "httpx2",
    "httpcore2.http11",
    "httpcore2.http2",
    "urllib3.connectionpool",
    "huggingface_hub.utils._http",
)
# urllib3 writes the host first and then what it asks it, "GET /path?query HTTP/1.1".
_QUERY = re.compile(r"((?:https?:/|\b[A-Z]+ )/[^\s?'\"]*)\?[^\s'\"]*")
_OURS = contextvars.ContextVar("a request of ours is under way", default=False)


class _WithoutSignatures(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        if _OURS.get():
            record.msg, record.args = _QUERY.sub(r"\1?…", record.getMessage()), ()
        return True


_FILTER = _WithoutSignatures()


@contextmanager
def no_signatures_logged() -> Iterator[None]:
    """While this thread makes a request of ours."""
    # Once there, the filter stays: taking it away under another thread's record could make that
    # one skip a filter. To add it twice does nothing.
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_FILTER)
    token = _OURS.set(True)
    try:
        yield
    finally:
        _OURS.reset(token)
