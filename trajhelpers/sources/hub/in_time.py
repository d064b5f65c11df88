"""A limit to what cannot be stopped from outside: a client that waits for an answer's headers has
a limit for each piece of them, and none for all.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import copy_context
from typing import Any, TypeVar

_T = TypeVar("_T")


def in_time(call: Callable[[], _T], seconds: float) -> _T:
    """What a call gives; TimeoutError where that takes too long. Then it ends in a thread that
    nobody waits for, and what it gives, an answer that is still open, is closed.

    >>> in_time(lambda: "at once", 60)
    'at once'
    """
    future: Future[_T] = Future()
    context = copy_context()

    def run() -> None:
        try:
            future.set_result(context.run(call))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, name="asks the hub", daemon=True).start()
    try:
        return future.result(seconds)
    except BaseException:
        future.add_done_callback(_close)
        raise


def _close(late: Future[Any]) -> None:
    if late.exception() is None and hasattr(late.result(), "close"):
        late.result().close()
