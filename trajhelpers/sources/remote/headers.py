"""Headers of many files far away, several in flight."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from ...reading.contents import Contents
from ...reading.formats import Where, read_checkpoint
from ...telling import bar
from .files import RemoteFiles

_IN_FLIGHT = 8


def read_headers(files: RemoteFiles, places: Sequence[Where], state: str | None) -> list[Contents]:
    """What each checkpoint holds; where one cannot be read, or on Ctrl-C, nobody goes on asking."""
    with ThreadPoolExecutor(_IN_FLIGHT, "headers") as pool:
        try:
            read = pool.map(partial(read_checkpoint, state=state), places)
            return list(bar(read, desc="headers", total=len(places)))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            files.give_up()
            raise
