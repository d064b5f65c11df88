"""Cases without end, in a process of their own: drawn by chance, and, where atheris is installed,
further changes of those that reached something new in the package.
"""

import contextlib
import importlib
import os
import struct
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random

try:
    import atheris
except ImportError:  # there is one for few machines
    atheris = None

# What a case reaches; the rest of the package imports these.
_READERS = (
    "checkpoints",
    "models",
    "gram",
    "kernel.load",
    "streaming.resuming",
    "sources.archives",
)
with open(os.devnull, "w") as _nothing, contextlib.redirect_stderr(_nothing):
    with atheris.instrument_imports(["trajhelpers"]) if atheris else contextlib.nullcontext():
        for _reader in _READERS:
            importlib.import_module(f"trajhelpers.{_reader}")

from formats import FORMATS  # noqa: E402
from judging import Case, Judge, limit_memory, shape  # noqa: E402

_MOST_CHANGES = 7


def explore(name: str, folder: Path, corpus: Path, seed: int, to: Connection) -> None:
    """Tell the outcome of one case after another, until killed."""
    judge = Judge(FORMATS[name], folder)
    with open(os.devnull, "w") as nothing, contextlib.redirect_stderr(nothing):
        judge.judge((0,))
    limit_memory()
    # What libFuzzer tells, and the readers.
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)

    def tell(case: Case) -> None:
        to.send(("begins", case))
        kind, reason = judge.judge(case)
        to.send(("ends", kind, shape(reason), case))

    (_guided if atheris else _by_chance)(tell, len(judge.seeds), corpus, seed)


def _longer(case: Case, count: int, random: Random) -> Case:
    """A case with a change more; one of its own after so many, and now and then."""
    if not case or len(case) > _MOST_CHANGES or random.random() < 0.3:
        case = (random.randrange(count),)
    return (*case, random.randrange(1 << 32))


def _by_chance(tell: Callable[[Case], None], count: int, corpus: Path, seed: int) -> None:
    random, case = Random(seed), ()
    while True:
        case = _longer(case, count, random)
        tell(case)


def _guided(tell: Callable[[Case], None], count: int, corpus: Path, seed: int) -> None:
    """What libFuzzer keeps, and counts the reached branches of, are the numbers of a case."""

    def judged(data: bytes) -> None:
        if len(data) > 4:
            tell(_case(data, count))

    def longer(data: bytes, most: int, seed: int) -> bytes:
        case = _longer(_case(data, count), count, Random(seed))
        return struct.pack(f"<{len(case)}I", *case)

    options = f"-seed={seed + 1} -max_len={4 * (_MOST_CHANGES + 2)} -len_control=0 -timeout=0"
    options += f" -handle_alrm=0 -rss_limit_mb=0 -detect_leaks=0 -artifact_prefix={corpus}/"
    atheris.Setup(["fuzz", *options.split(), str(corpus)], judged, custom_mutator=longer)
    atheris.Fuzz()


def _case(data: bytes, count: int) -> Case:
    numbers = struct.unpack(f"<{len(data) // 4}I", data[: len(data) // 4 * 4])
    return (numbers[0] % count, *numbers[1:]) if numbers else ()
