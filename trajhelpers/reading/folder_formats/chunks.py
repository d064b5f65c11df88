"""Where the numbers of the chunks of a ``.distcp`` file begin.

Each chunk is a small zip that torch.save wrote into the stream, one tensor in it. Its records lie
one behind the other, and the tensor's comes before all that is long, so that the first bytes of a
chunk tell its place: one small read a chunk, of a remote file several in flight.
"""

import struct
from collections.abc import Hashable, Iterable, Sequence
from typing import Any, NamedTuple

from ...errors import CheckpointError
from ..pickles import Ended
from ..place import File
from ..unpickling import read_pickle

# Up to the numbers, torch 2 needs some 700 bytes; a second read is for whoever needs more.
_FIRST, _MORE = 1024, 16 << 10
_MOST_HEADS = 64
_HEADER = struct.Struct("<4s2xH10x2I2H")
_HAS_DESCRIPTOR = 8
_BEHIND = (16, 24)


class Chunk(NamedTuple):
    """``length`` bytes of a file, from ``offset`` on."""

    offset: int
    length: int


class Opened(NamedTuple):
    """The tensor of a chunk, as its pickle speaks of it; the byte of the file at which its storage
    begins, of those up to ``end``, and that at which the record's header does.
    """

    tensor: Any
    header: int
    begin: int
    end: int

    def moved(self, by: int) -> "Opened":
        """That of a chunk of the same length and shape, elsewhere."""
        return Opened(self.tensor, self.header + by, self.begin + by, self.end + by)


class _TooShort(Exception):
    """The numbers begin behind what was read."""


def open_chunks(file: File, chunks: Sequence[Chunk]) -> list[Opened]:
    """The tensors of chunks, in order; a CheckpointError where one is none."""
    _refuse_beyond(file, chunks)
    found: dict[Chunk, Opened] = {}
    # Up to the numbers, chunks of one shape are the same bytes: each is read as a pickle once.
    heads: list[tuple[bytes, Chunk, Opened]] = []
    for most in (_FIRST, _MORE, 1 << 20):
        missing = [chunk for chunk in dict.fromkeys(chunks) if chunk not in found]
        for length in sorted({min(chunk.length, most) for chunk in missing}):
            of_length = [chunk for chunk in missing if min(chunk.length, most) == length]
            starts = file.read_headers([chunk.offset for chunk in of_length], length)
            for chunk, start in zip(of_length, starts):
                alike = next((one for one in heads if start.startswith(one[0])), None)
                if alike and alike[1].length == chunk.length:
                    found[chunk] = alike[2].moved(chunk.offset - alike[1].offset)
                    continue
                try:
                    found[chunk] = opened = _open(file, chunk, start)
                except _TooShort:
                    continue
                if len(heads) < _MOST_HEADS:
                    heads.append((start[: opened.begin - chunk.offset], chunk, opened))
    for chunk in chunks:
        if chunk not in found:
            raise _damaged(file, chunk)
    return [found[chunk] for chunk in chunks]


def open_like(
    file: File,
    chunks: Sequence[tuple[Chunk, Hashable]],
    known: dict[Hashable, tuple[Chunk, Opened]],
) -> list[Opened]:
    """As :func:`open_chunks`, of a remote file with few requests: one chunk of a kind is looked at,
    and the others of that kind, which are as long and have the same shape, lie alike. Their headers
    are confirmed when they are read.
    """
    _refuse_beyond(file, [chunk for chunk, _ in chunks])
    new = {kind: chunk for chunk, kind in reversed(chunks) if kind not in known}
    for (kind, chunk), opened in zip(new.items(), open_chunks(file, list(new.values()))):
        known[kind] = chunk, opened
    found = []
    for chunk, kind in chunks:
        like, opened = known[kind]
        found.append(opened.moved(chunk.offset - like.offset))
    file.expect_headers({opened.begin: opened.header for opened in found})
    return found


def _refuse_beyond(file: File, chunks: Iterable[Chunk]) -> None:
    # So that the size is that of what is read.
    file.open().close()
    for chunk in chunks:
        if chunk.offset < 0 or chunk.length < 1 or chunk.offset + chunk.length > file.size:
            raise CheckpointError(
                f"{file}: has {file.size:,} bytes, and .metadata promises a chunk at"
                f" {chunk.offset:,} that ends at {chunk.offset + chunk.length:,}; fetch or save it"
                " again"
            )


def _open(file: File, chunk: Chunk, start: bytes) -> Opened:
    """From the first bytes of a chunk."""
    at, tensor = 0, None
    while True:
        if len(start) < at + _HEADER.size:
            raise _TooShort
        signature, flags, _, size, name_length, extra_length = _HEADER.unpack_from(start, at)
        begin = at + _HEADER.size + name_length + extra_length
        if signature != b"PK\x03\x04":
            raise _damaged(file, chunk)
        if len(start) < begin:
            raise _TooShort
        name = start[at + _HEADER.size :][:name_length].rpartition(b"/")
        if name[0].endswith(b"/data") or name[0] == b"data":
            if tensor is None:
                raise _damaged(file, chunk)
            end = chunk.offset + chunk.length
            return Opened(tensor, chunk.offset + at, chunk.offset + begin, end)
        if name[2] == b"data.pkl":
            tensor, end = _read_pickle(file, start, begin)
        else:
            end = begin + size if not flags & _HAS_DESCRIPTOR else start.find(b"PK\x07\x08", begin)
        if name[2] == b"byteorder" and start[begin:end] not in (b"little", b""):
            raise CheckpointError(
                f"{file}: was written on a big-endian machine; load it with torch and save it again"
                " on this one"
            )
        at = _next_record(start, end, bool(flags & _HAS_DESCRIPTOR))


def _read_pickle(file: File, start: bytes, begin: int) -> tuple[Any, int]:
    try:
        return read_pickle(start, begin, file)
    except Ended:
        raise _TooShort from None


def _next_record(start: bytes, end: int, has_descriptor: bool) -> int:
    if not has_descriptor:
        return end
    if end < 0 or len(start) < end + _BEHIND[-1] + 4:
        raise _TooShort
    return next(
        (end + behind for behind in _BEHIND if start[end + behind :][:4] == b"PK\x03\x04"),
        end + _BEHIND[0],
    )


def _damaged(file: File, chunk: Chunk) -> CheckpointError:
    return CheckpointError(
        f"{file}: no tensor of torch.save at byte {chunk.offset:,}, where .metadata promises one;"
        " fetch or save it again"
    )
