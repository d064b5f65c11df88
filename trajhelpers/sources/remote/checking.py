"""What a pass reads of files far away, compared with checksums while it goes by.

Which ranges a pass asks for is known before it begins. Where they come in the order of the file,
and what lies between them was read when the file was opened, or is fetched for the purpose
(``verify``), its whole checksum runs along, in the threads that fetch; else those of a zip's
records that are read whole. What can be compared neither way is said, with the reason; with
``verify`` the file is read again afterwards, and what the pass had of it must be the same.
"""

import bisect
import hashlib
import threading
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...errors import ChecksumError
from ...reading.compared import NO_CHECKSUM, facts_of
from .checksums import CALLED, Checksum, Content, Running
from .file import RemoteFile

if TYPE_CHECKING:
    from .files import RemoteFiles

Pieces = Sequence[tuple[int, int]]

_CHUNK = 16 << 20
# Why files are not compared.
IN_PARTS = "not read whole"
ANOTHER_ORDER = "their tensors lie in another order than those of the first"
INTERRUPTED = "a part was read before the pass was interrupted"
APART = "read tensor by tensor"
SHARED = "several processes read a part each"


class Asked(NamedTuple):
    """What a pass asks for of one file, in turn; ``before`` is what it had before it was
    interrupted, ``others`` what those ask for who share it.
    """

    before: Pieces
    pieces: Pieces
    others: Pieces = ()


class Checks:
    """The checksums of one pass. As a context manager, reads that go past its fetches are seen."""

    def __init__(
        self,
        files: "RemoteFiles",
        asked: Mapping[RemoteFile, Asked],
        outside: Collection[RemoteFile],
        verify: bool,
        apart: bool,
    ):
        self._files, self._verify, self._apart = files, verify, apart
        # By file, those that run along, in order; and those for which it is read again, with what
        # the pass had of it.
        self._along: dict[RemoteFile, list[Running]] = {}
        self._again: dict[RemoteFile, list[Running]] = {}
        self._had: dict[RemoteFile, list[_Had]] = {}
        # Of those of which others have parts.
        self._shared: dict[RemoteFile, Checksum] = {}
        self._elsewhere: dict[str, _Outcome] = {}
        self._why: dict[RemoteFile, str] = {}
        self._interrupted = sum(bool(one.before) for one in asked.values()) if verify else 0
        # Requests and bytes that are asked for to this end alone.
        self.to_fetch = (0, 0)
        self.received = 0
        self._stop, self._lock = threading.Event(), threading.Lock()
        self._futures: list[Future] = []
        for number, file in enumerate(sorted(asked, key=str)):
            if asked[file].others:
                self._plan_shared(file, mine=number % files.size == files.rank)
            else:
                self._plan(file, asked[file], in_records=file not in outside)

    # ---- which ----

    def _plan(self, file: RemoteFile, asked: Asked, in_records: bool) -> None:
        pieces = [] if self._apart else asked.pieces
        whole = file.tree.checksum(file.path)
        if whole and self._runs_along(file, whole, pieces) and not self._apart:
            self._take(file, self._along, whole, pieces)
            return
        if whole and self._verify:
            self._take(file, self._again, whole, ())
            return
        records = self._files.records(file)
        own = _within(records, pieces)
        touched = own.keys() | _within(records, [*asked.before, *asked.pieces]).keys()
        # Of an archive, some files may be zips and others not.
        compared = bool(touched) and in_records
        for at in sorted(touched):
            record, inner = records[at], own.get(at, [])
            if inner and self._runs_along(file, record, inner):
                self._take(file, self._along, record, inner)
            elif record.value and self._verify:
                self._take(file, self._again, record, ())
            else:
                compared = False
        has_all = touched and in_records and all(records[at].value for at in touched)
        if whole is None and not has_all:
            self._why[file] = NO_CHECKSUM
        elif not compared:
            self._why[file] = (
                APART
                if self._apart
                else INTERRUPTED
                if asked.before
                else IN_PARTS
                if _in_order(pieces)
                else ANOTHER_ORDER
            )

    def _plan_shared(self, file: RemoteFile, mine: bool) -> None:
        """One of those who have parts reads it again, and compares what all have had."""
        whole = file.tree.checksum(file.path)
        if not (whole and self._verify):
            self._why[file] = SHARED if whole or self._files.records(file) else NO_CHECKSUM
            return
        self._shared[file] = whole
        self._had[file] = []
        if mine:
            self._take(file, self._again, whole, ())

    def _runs_along(self, file: RemoteFile, checksum: Checksum, pieces: Pieces) -> bool:
        if not checksum.value or not _in_order(pieces):
            return False
        return self._verify or not any(
            self._missing(file, begin, end) for begin, end in _holes(checksum, pieces)
        )

    def _take(
        self,
        file: RemoteFile,
        kind: dict[RemoteFile, list[Running]],
        checksum: Checksum,
        pieces: Pieces,
    ) -> None:
        kind.setdefault(file, []).append(
            Running(checksum, pieces, lambda begin, end: self._between(file, begin, end))
        )
        if kind is self._again:
            self._had.setdefault(file, [])
        missing = [part for hole in _holes(checksum, pieces) for part in self._missing(file, *hole)]
        requests, size = self.to_fetch
        self.to_fetch = (
            requests + sum(-(-(end - begin) // _CHUNK) for begin, end in missing),
            size + sum(end - begin for begin, end in missing),
        )

    # ---- what goes by ----

    def add(self, file: RemoteFile, begin: int, content: memoryview) -> None:
        """A range of the pass is there; it stays as it is until the next one is."""
        running = self._along.get(file, ())
        at = bisect.bisect_right(running, begin, key=lambda one: one.checksum.end)
        for one in running[at:]:
            first = max(begin, one.checksum.begin)
            last = min(begin + len(content), one.checksum.end)
            if first >= last:
                break
            one.add(first, content[first - begin : last - begin])
            self._compare(file, one)
        self._note(file, begin, content)

    def add_aside(self, file: RemoteFile, begin: int, content: memoryview) -> None:
        """Something is read that was not fetched ahead."""
        if file in self._along:
            self._why[file] = APART
        self._note(file, begin, content)

    def _note(self, file: RemoteFile, begin: int, content: memoryview) -> None:
        """What the pass has of a file that is read again."""
        again = [one.checksum for one in self._again.get(file, ())]
        for one in again or filter(None, [self._shared.get(file)]):
            first = max(begin, one.begin)
            last = min(begin + len(content), one.end)
            if first < last:
                digest = hashlib.sha256(content[first - begin : last - begin]).digest()
                with self._lock:
                    self._had[file].append(_Had(first, last, digest))

    def _between(self, file: RemoteFile, begin: int, end: int) -> Iterator[Content]:
        """Bytes that the pass does not ask for: kept since the file was opened, or fetched."""
        again = _Again(self._had[file]) if file in self._had else None
        while begin < end:
            kept = self._files.kept(file, begin, end)
            content = self._fetched(file, begin, end) if kept is None else kept
            if again:
                again.add(begin, content)
            yield content
            begin += len(content)
        if again and not again.alike():
            raise ChecksumError(
                f"{file}: arrived otherwise in the pass than when it was read again; {_REMEDY}"
            )

    def _fetched(self, file: RemoteFile, begin: int, end: int) -> bytearray:
        """Of bytes that are not at hand, the first ones."""
        upto = self._missing(file, begin, end)[0][1]
        content = bytearray(min(upto - begin, _CHUNK))
        self._files.get(file, begin, memoryview(content), self._stop)
        with self._lock:
            self.received += len(content)
        return content

    def _missing(self, file: RemoteFile, begin: int, end: int) -> list[tuple[int, int]]:
        """What of these bytes is not at hand."""
        found = []
        spans = self._files.kept_spans(file)
        first = bisect.bisect_right(spans, begin, key=lambda span: span[0])
        for at, content in spans[max(0, first - 1) :]:
            if at >= end:
                break
            if begin < at:
                found.append((begin, at))
            begin = max(begin, min(at + len(content), end))
        return [*found, (begin, end)] if begin < end else found

    def _compare(self, file: RemoteFile, running: Running) -> None:
        checksum, found = running.checksum, running.found
        if not found or found == checksum.value:
            return
        called = CALLED[checksum.kind]
        if checksum.kind == "crc32":
            raise ChecksumError(
                f"{file}: the record at byte {checksum.begin:,} is not what its {called} in the"
                f" zip's directory says; {_REMEDY}; if it stays so, the file is damaged where it"
                " lies"
            )
        raise ChecksumError(
            f"{file}: what arrived is not what the hub lists ({called} {found[:12]}…, not"
            f" {checksum.value[:12]}…); {_REMEDY}, or {self._files.whole}"
        )

    def confirm(self, pieces: Iterable[tuple[RemoteFile, int, int]]) -> None:
        """Read again, and compare, what these pieces lie in, which the pass has at hand: at once,
        since the pass ends here.
        """
        for file, begin, end in pieces:
            whole = file.tree.checksum(file.path)
            records = self._files.records(file)
            within = [records[at] for at in _within(records, [(begin, end)]) if records[at].value]
            known = [one.checksum for one in self._again.get(file, ())]
            for checksum in within or filter(None, [whole]):
                if checksum not in known:
                    self._take(file, self._again, checksum, ())
            content = np.empty(end - begin, np.uint8)
            self._files.read_into(file, begin, content)
            self._note(file, begin, content.data)
        self._along.clear()
        self.finish()
        self.wait(None)

    # ---- afterwards ----

    def finish(self) -> None:
        """Begin to read what no range of the pass leads to."""
        for file, several in [*self._along.items(), *self._again.items()]:
            for running in several:
                if not running.found:
                    self._futures.append(self._files.submit(self._finish, file, running))

    def _finish(self, file: RemoteFile, running: Running) -> None:
        if not self._stop.is_set():
            running.finish()
            self._compare(file, running)

    def wait(self, seconds: float | None) -> bool:
        """Whether all has been read, after so many seconds at most; raises what went wrong."""
        done, missing = wait(self._futures, seconds, FIRST_EXCEPTION)
        for future in done:
            future.result()
        return not missing

    def cancel(self) -> None:
        """Ask for no more."""
        self._stop.set()
        for future in self._futures:
            future.cancel()

    def drain(self) -> None:
        """Wait until nothing is on its way."""
        wait(self._futures)

    def __enter__(self) -> "Checks":
        self._files.watching.append(self)
        return self

    def __exit__(self, *_) -> None:
        self._files.watching.remove(self)

    # ---- of several who share a pass ----

    @property
    def parts(self) -> tuple[dict[str, "_Outcome"], dict[str, list["_Had"]]]:
        """By what files are called: what came of their comparison so far; what was had of them."""
        return self._outcomes, {str(file): self._had[file] for file in self._shared}

    def add_parts(self, several: Iterable[Any]) -> None:
        for outcomes, had in several:
            for called, outcome in outcomes.items():
                before = self._elsewhere.get(called)
                self._elsewhere[called] = before if before and before.kind else outcome
            for file in self._shared:
                # Somebody may have had all of it after all.
                if self._elsewhere[str(file)].kind:
                    self._again.pop(file, None)
                elif file in self._again:
                    self._had[file] += had[str(file)]

    @property
    def _outcomes(self) -> dict[str, "_Outcome"]:
        """By what files are called."""
        found: dict[str, _Outcome] = {}
        for file in {**self._along, **self._again, **self._why, **self._shared}:
            running = [*self._along.get(file, ()), *self._again.get(file, ())]
            if not self._why.get(file) and running and all(one.found for one in running):
                found[str(file)] = _Outcome(running[0].checksum.kind, "")
            else:
                found[str(file)] = _Outcome("", self._why.get(file) or IN_PARTS)
        return found

    @property
    def facts(self) -> dict[str, Any]:
        """How many files were compared with which kind of checksum; how many were not, and why."""
        outcomes = self._elsewhere or self._outcomes
        kinds = Counter(one.kind for one in outcomes.values() if one.kind)
        reasons = Counter(one.why for one in outcomes.values() if not one.kind)
        return facts_of(
            len(outcomes),
            dict(sorted(kinds.items())),
            dict(reasons.most_common()),
            self._interrupted,
        )


_REMEDY = "compute again, through another network if that does not help"


class _Outcome(NamedTuple):
    """The kind of checksum that a file was compared with, or, where that is "", why it was not."""

    kind: str
    why: str


class _Had(NamedTuple):
    """Bytes that a pass had."""

    begin: int
    end: int
    digest: bytes


class _Again:
    """Bytes that come in order, compared with what a pass had of them."""

    def __init__(self, had: Sequence[_Had]):
        self._had = [(one, hashlib.sha256()) for one in had]
        self._begin: int | None = None
        self._end = 0

    def add(self, at: int, content: Content) -> None:
        view, end = memoryview(content), at + len(content)
        self._begin = at if self._begin is None else self._begin
        self._end = end
        for one, hashed in self._had:
            first, last = max(at, one.begin), min(end, one.end)
            if first < last:
                hashed.update(view[first - at : last - at])

    def alike(self) -> bool:
        """As far as they lie within what has come."""
        begin = self._end if self._begin is None else self._begin
        return all(
            hashed.digest() == one.digest
            for one, hashed in self._had
            if begin <= one.begin and one.end <= self._end
        )


def asked_of(
    blocks: Iterable[Sequence[tuple[RemoteFile, int, int]]], done: int, others: int = 0
) -> dict[RemoteFile, Asked]:
    """By file, what a pass asks for, block after block: of the first so many others do, then so
    many are done.
    """
    found: dict[RemoteFile, tuple[list, list, list]] = {}
    for index, ranges in enumerate(blocks):
        which = 2 if index < others else 0 if index < others + done else 1
        for file, begin, end in ranges:
            found.setdefault(file, ([], [], []))[which].append((begin, end))
    return {file: Asked(*several) for file, several in found.items()}


def all_within(records: Sequence[Checksum], pieces: Pieces) -> bool:
    """Whether each piece lies in one of the records, which are in order."""
    at = 0
    for begin, end in sorted(pieces):
        while at < len(records) and records[at].end <= begin:
            at += 1
        if begin < end and not (
            at < len(records) and records[at].begin <= begin and end <= records[at].end
        ):
            return False
    return True


def _in_order(pieces: Pieces) -> bool:
    return all(end <= begin for (_, end), (begin, _) in zip(pieces, pieces[1:]))


def _holes(checksum: Checksum, pieces: Pieces) -> list[tuple[int, int]]:
    """What pieces, in order, leave out."""
    edges = [checksum.begin, *(edge for piece in pieces for edge in piece), checksum.end]
    return [(begin, end) for begin, end in zip(edges[::2], edges[1::2]) if begin < end]


def _within(records: Sequence[Checksum], pieces: Pieces) -> dict[int, list[tuple[int, int]]]:
    """By record, what pieces have of it."""
    found: dict[int, list[tuple[int, int]]] = {}
    for begin, end in pieces:
        at = bisect.bisect_right(records, begin, key=lambda record: record.end)
        while at < len(records) and records[at].begin < end:
            first, last = max(begin, records[at].begin), min(end, records[at].end)
            if first < last:
                found.setdefault(at, []).append((first, last))
            at += 1
    return found
