"""Settings of the whole process that a pass needs otherwise, and gives back."""

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any, NamedTuple

from threadpoolctl import ThreadpoolController

# Looked for once: the system calls back for every library, and a Ctrl-C that falls into such a call
# is lost.
_LIBRARIES = ThreadpoolController()
_SHARED_BY = ContextVar("processes that use the same cores", default=1)


class Place(NamedTuple):
    """Where a setting can be read and written."""

    read: Callable[[], Any]
    write: Callable[[Any], Any]


class Setting:
    """A setting of the process with the value that all passes need, however they overlap.

    The first pass to enter notes what it finds and sets the value, the last one to leave puts back
    what was found. A place that somebody else has set to another value meanwhile is theirs and
    stays so; a pass that is still under way then runs with their value.

    ``places`` is a function, called when the first pass enters.

    >>> threads = {"BLAS": 4}
    >>> place = Place(lambda: threads["BLAS"], lambda value: threads.update(BLAS=value))
    >>> one_thread = Setting(lambda: [place], 1)
    >>> with one_thread.held():
    ...     with one_thread.held():
    ...         pass
    ...     threads["BLAS"]
    1
    >>> threads["BLAS"]
    4
    """

    def __init__(self, places: Callable[[], Iterable[Place]], value: Any):
        self._places, self._value = places, value
        # Re-entrant, since garbage collection may end another pass while this one enters.
        self._lock = threading.RLock()
        self._holders: set[object] = set()
        self._found: list[tuple[Place, Any]] = []

    @contextmanager
    def held(self) -> Iterator[None]:
        # Each holder by itself and not a number of them: wherever a Ctrl-C falls, leaving undoes
        # just what entering did.
        holder = object()
        try:
            self._enter(holder)
            yield
        finally:
            self._leave(holder)

    def _enter(self, holder: object) -> None:
        with self._lock:
            first = not self._holders
            self._holders.add(holder)
            if first:
                # Not empty where the last one out was interrupted: that was found, and not this.
                self._found = self._found or [(place, place.read()) for place in self._places()]
                for place, _ in self._found:
                    place.write(self._value)

    def _leave(self, holder: object) -> None:
        with self._lock:
            self._holders.discard(holder)
            if self._holders:
                return
            for place, before in self._found:
                if place.read() == self._value:
                    place.write(before)
            self._found = []


def cores() -> int:
    """What this process may use, where the system says so (not on macOS): its share of them, where
    others use the same.
    """
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, (found or 1) // _SHARED_BY.get())


@contextmanager
def cores_shared_by(processes: int) -> Iterator[None]:
    token = _SHARED_BY.set(processes)
    try:
        yield
    finally:
        _SHARED_BY.reset(token)


def _blas_threads() -> list[Place]:
    return [
        Place(library.get_num_threads, library.set_num_threads)
        for library in _LIBRARIES.lib_controllers
        if library.user_api == "blas"
    ]


def _float32_products() -> list[Place]:
    import torch

    backends: list[Any] = [torch.backends.cuda.matmul, torch.backends.mkldnn.matmul]  # type: ignore[attr-defined]
    return [
        Place(
            partial(getattr, backend, "fp32_precision"), partial(setattr, backend, "fp32_precision")
        )
        for backend in backends
    ]


one_blas_thread = Setting(_blas_threads, 1)
# No TF32 and no bfloat16 in products of float32.
exact_products = Setting(_float32_products, "ieee")
