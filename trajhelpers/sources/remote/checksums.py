"""Checksums of what goes by: of whole files, as a list has them, of records, as a zip's directory
has them; fed in order, range after range.
"""

import hashlib
import threading
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

Content = bytes | bytearray | memoryview
# Of each kind, how a message calls it.
CALLED = {"sha256": "SHA-256", "git": "SHA-1 in git", "crc32": "CRC-32"}


class Checksum(NamedTuple):
    """What bytes ``begin`` to ``end`` of a file should come to. ``kind`` is one of CALLED;
    ``value`` is in hexadecimal, "" where whoever wrote the file left it out.
    """

    kind: str
    begin: int
    end: int
    value: str


def of_file(size: int, listed: str) -> Checksum | None:
    """That of a whole file, from what a list calls its hash: a SHA-256, or the id of git's blob."""
    kind = {64: "sha256", 40: "git"}.get(len(listed))
    is_hex = not set(listed) - set("0123456789abcdef")
    return Checksum(kind, 0, size, listed) if kind and is_hex else None


def of_record(begin: int, size: int, crc: int) -> Checksum:
    """That of a zip's record. Torch writes 0 where it is told to compute none."""
    return Checksum("crc32", begin, begin + size, f"{crc:08x}" if crc else "")


class _Crc32:
    """As hashlib has its own."""

    def __init__(self) -> None:
        self._value = 0

    def update(self, content: Content) -> None:
        self._value = zlib.crc32(content, self._value)

    def hexdigest(self) -> str:
        return f"{self._value:08x}"


def begun(checksum: Checksum):
    """What computes it: an object with ``update`` and ``hexdigest``."""
    if checksum.kind == "crc32":
        return _Crc32()
    if checksum.kind == "git":
        size = checksum.end - checksum.begin
        return hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    return hashlib.sha256()


class Running:
    """A checksum on its way. Which ``pieces`` will come is known, ``(begin, end)``, in the order in
    which they lie; they may arrive in another, and wait. What lies between them ``between(begin,
    end)`` gives, in parts.

    Threads add; whoever adds the next piece goes on with those that wait.
    """

    def __init__(
        self,
        checksum: Checksum,
        pieces: Sequence[tuple[int, int]],
        between: Callable[[int, int], Iterable[Content]],
    ):
        self.checksum = checksum
        # What it came to, when all has gone by.
        self.found = ""
        self._pieces, self._between = deque(pieces), between
        self._waiting: dict[int, memoryview] = {}
        self._at, self._hash = checksum.begin, begun(checksum)
        self._lock = threading.Lock()

    def add(self, begin: int, content: memoryview) -> None:
        """A piece is there; it must stay as it is until its turn."""
        with self._lock:
            self._waiting[begin] = content
            while self._pieces and self._pieces[0][0] in self._waiting:
                begin, end = self._pieces.popleft()
                self._go_on_to(begin)
                self._hash.update(self._waiting.pop(begin))
                self._at = end
        self.finish()

    def finish(self) -> None:
        """Where no piece is to come, what lies behind the last one."""
        with self._lock:
            if not self._pieces and not self.found:
                self._go_on_to(self.checksum.end)
                self.found = self._hash.hexdigest()

    def _go_on_to(self, end: int) -> None:
        if self._at < end:
            for content in self._between(self._at, end):
                self._hash.update(content)
            self._at = end
