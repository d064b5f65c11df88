"""What headers say, parsed once for all that are equal byte by byte: the checkpoints of a run hold
tensors of the same names, types and shapes, and each says so anew.
"""

import hashlib
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar
from weakref import WeakValueDictionary

from .contents import Contents
from .states import choose_state


class Parsed:
    """``content``, as :func:`choose_state` takes it, of no file yet. Not to be changed: other
    files have it too.
    """

    def __init__(self, content: Any):
        self.content = content
        self._chosen: dict[str | None, Contents] = {}
        self._lock = threading.Lock()

    def chosen(self, where, state: str | None) -> Contents:
        """:func:`choose_state` of the content, which asks for nothing but the header."""
        with self._lock:
            if state not in self._chosen:
                self._chosen[state] = choose_state(self.content, where, state)
            return self._chosen[state]


_Kind = TypeVar("_Kind")


class EqualHeaders(Generic[_Kind]):
    """Headers of one format by their bytes, each as long as somebody holds what it says: contents
    do (``Contents.parsed``) while the others of a run are read.

    >>> headers = EqualHeaders()
    >>> first = headers.parsed(b"w 3", lambda: Parsed({"w": 3}))
    >>> first is headers.parsed(b"w 3", lambda: Parsed({"w": 3}))
    True
    """

    def __init__(self) -> None:
        self._held: WeakValueDictionary[bytes, _Kind] = WeakValueDictionary()
        # Headers from afar come at the same time.
        self._lock = threading.Lock()

    def parsed(self, header: bytes, parse: Callable[[], _Kind]) -> _Kind:
        key = hashlib.sha256(header).digest()
        with self._lock:
            found = self._held.get(key)
            if found is None:
                found = self._held[key] = parse()
            return found
