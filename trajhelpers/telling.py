"""Lines and bars for whoever runs this: what was chosen by which rule, and how far it is."""

import inspect
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from tqdm.auto import tqdm

from .errors import TrajectoryWarning
from .printable import printable

_SILENT = ContextVar("nobody wants to be told", default=False)


def tell(line: str) -> None:
    """One line to stderr, above any bar that is on its way."""
    if not _SILENT.get():
        tqdm.write(f"trajhelpers: {printable(line)}", file=sys.stderr)


def warn(text: str) -> None:
    """A `TrajectoryWarning` at the line that called the package, however deep it is found."""
    frame, level = inspect.currentframe(), 0
    while frame and frame.f_globals.get("__name__", "").partition(".")[0] == __package__:
        frame, level = frame.f_back, level + 1
    warnings.warn(text, TrajectoryWarning, stacklevel=level + 1)


def bar(iterable=None, **options: Any) -> tqdm:
    """A progress bar, of what takes longer than a second."""
    return tqdm(iterable, delay=1, disable=_SILENT.get(), **options)


@contextmanager
def silently() -> Iterator[None]:
    """Without lines and bars. Warnings and errors stay.

    >>> with silently():
    ...     tell("nobody reads this")
    """
    token = _SILENT.set(True)
    try:
        yield
    finally:
        _SILENT.reset(token)
