"""One case: a sound file, a change, another; what we make of it, and what the format's own library
does.
"""

import os
import re
import resource
import shutil
import signal
import traceback
import warnings
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from changes import Tree, changed
from formats import Format, Values

from trajhelpers.errors import TrajectoryError, TrajectoryWarning

# What is far over the milliseconds and the kilobytes that a case is worth, on a busy machine too.
SECONDS, BYTES = 20, 1 << 30

# The number of a sound file, and those of the changes: what "3.17.2041" says.
Case = tuple[int, ...]


class Outcome(NamedTuple):
    """``kind`` is clean, equal, lenient (the reference refuses what we read) or other."""

    kind: str
    reason: str


class Slow(BaseException):
    """Out of time; no Exception, so that nobody takes it for a damaged file."""


class Judge:
    def __init__(self, format: Format, folder: Path):
        self._format, self._folder = format, folder

    @cached_property
    def seeds(self) -> list[Tree]:
        return self._format.seeds()

    @cached_property
    def _sound(self) -> list[Values]:
        found = []
        for seed in self.seeds:
            self._lay(seed, seed)
            found.append(self._format.read(self._folder))
        return found

    def tree(self, case: Case) -> Tree:
        tree = self.seeds[case[0]]
        for number in case[1:]:
            tree = changed(tree, number, self.seeds)
        return tree

    def judge(self, case: Case, tree: Tree | None = None) -> Outcome:
        tree, sound = tree or self.tree(case), self._sound[case[0]]
        self._lay(tree, self.seeds[case[0]])
        try:
            with _limited():
                found = self._format.read(self._folder)
        except (TrajectoryError, FileNotFoundError) as error:
            named = str(self._folder) in str(error) or "step_1" in str(error)
            return Outcome("clean" if named else "other", said(error))
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            return Outcome("other", f"{said(error)} at {_place(error)}")
        return self._compared(found, sound)

    def _compared(self, found: Values, sound: Values) -> Outcome:
        reference = self._format.reference
        try:
            with _limited():
                theirs = sound if reference is None else reference(self._folder)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            why = f"reference: {said(error)}"
            return (
                Outcome("equal", why)
                if _differing(found, sound) is None
                else Outcome("lenient", why)
            )
        name = _differing(found, theirs)
        if name is None:
            return Outcome("equal", "")
        return Outcome("other" if reference else "lenient", f"differs: {name}")

    def _lay(self, tree: Tree, before: Tree) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir()
        self._format.lay(self._folder, tree, before)


def _differing(found: Values, theirs: Values) -> str | None:
    """The name of what is not equal to anything that the reference calls so; names may have lost
    what a state or a wrapper puts before them.
    """
    ends: dict[str, list[np.ndarray]] = {}
    for name, values in theirs.items():
        parts = name.split(".")
        for at in range(len(parts)):
            ends.setdefault(_plain(".".join(parts[at:])), []).append(values)
    for name, values in found.items():
        others = ends.get(_plain(name), [])
        if not any(
            other.shape == values.shape and np.array_equal(other, values, equal_nan=True)
            for other in others
        ):
            shapes = [other.shape for other in others]
            return f"{name} {values.shape} {shapes}"
    return None


def _plain(name: str) -> str:
    return re.sub(r"(^|\.)(module\.|_orig_mod\.|_forward_module\.)+", r"\1", name)


@contextmanager
def _limited():
    """SECONDS, and no warnings but our own."""

    def late(signum, frame):
        raise Slow(f"{SECONDS} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.simplefilter("ignore", TrajectoryWarning)
            warnings.simplefilter("ignore", ResourceWarning)
            # NumPy's own, of headers as Python 2 or an older NumPy wrote them.
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.filterwarnings("ignore", "Reading `.npy` or `.npz`")
            yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def limit_memory() -> None:
    """Of this process, to BYTES more than it has; where the system tells how much that is."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        most = int(statm.read_text().split()[0]) * resource.getpagesize() + BYTES
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def shape(text: str) -> str:
    """A reason without what differs from file to file."""
    text = re.sub(r"/\S*?(?=[\s:;,)]|$)", "…", text[:4000])
    text = re.sub(r"'[^']*'|\"[^\"]*\"|\([^)]*\)|\[[^]]*\]", "…", text)
    return re.sub(r"\d[\d,._]*", "#", text)[:160]


def _place(error: BaseException) -> str:
    """The last line of the package in a traceback."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if f"{os.sep}trajhelpers{os.sep}" in frame.filename]
    last = own[-1] if own else frames[-1]
    return f"{Path(last.filename).name}:{last.lineno} {last.line}"
