"""Headers of many files far away, several in flight."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ...reading.contents import Contents
from ...reading.formats import read_checkpoint
from ...telling import bar
from .files import RemoteFiles

_IN_FLIGHT = 8


def read_headers(
    files: RemoteFiles | None,
    places: Sequence[Any],
    state: str | None,
    read: Callable[[Any, str | None], Contents] = read_checkpoint,
) -> list[Contents]:
    """What each checkpoint holds, as ``read`` reads it of a place; where one cannot be read, or on
    Ctrl-C, nobody goes on asking.
    """
    with ThreadPoolExecutor(_IN_FLIGHT, "headers") as pool:
        try:
            found = pool.map(lambda place: read(place, state), places)
            return list(bar(found, desc="headers", total=len(places)))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            if files is not None:
                files.give_up()
            raise
