"""Where the records of zip files begin, of torch's and of NumPy's.

A zip's directory says where each record's header is; the record itself begins behind that header,
whose length only the header tells. On this machine all headers are read. Over the network that
would be one request a tensor, so there a record's beginning is inferred from its end (torch aligns
records to 64 bytes and writes 16 or 24 bytes behind each), and the header that confirms it is read
along with the weights."""

import struct
import zipfile
from collections.abc import Callable, Sequence
from typing import BinaryIO, NamedTuple

from ..errors import CheckpointError
from .place import File

_HEADER = 30
_ALIGNMENT = 64
_BEHIND = (16, 24)
_LONGEST_PADDING = _ALIGNMENT + 32
# Flags: of encryption's three kinds, of sizes that stand behind the record, of names in UTF-8.
_ENCRYPTED, _SIZES_BEHIND, _UTF_8 = 0x2041, 0x8, 0x800
# In a field of a header: the number stands elsewhere.
_ELSEWHERE_2, _ELSEWHERE_4 = 0xFFFF, 0xFFFFFFFF
_LOCAL = struct.Struct("<4s2x2H4x3I2H")
_LONGEST_READ, _LONGEST_NAME = 1 << 30, 4096
_ENDING, _END = b"PK\x05\x06", struct.Struct("<4s6xH4xI2x")


class Record(NamedTuple):
    name: str
    header: int
    start: int
    size: int


def read_index(
    file: File,
    opened: BinaryIO,
    wanted: Callable[[str], bool],
    problem: Callable[[Sequence[str]], str | None],
) -> tuple[dict[str, Record], dict[str, bytes]]:
    """The records by name, and the contents of those that are ``wanted``.

    ``problem`` says of all names why they are no checkpoint, if they are none. A CheckpointError
    for that, and for compressed, overlapping, truncated or doubled records; a ValueError, or what
    :mod:`zipfile` raises, for a directory that is damaged.
    """
    with zipfile.ZipFile(opened) as archive:
        entries = sorted(archive.infolist(), key=lambda entry: entry.header_offset)
        reason = problem([entry.filename for entry in entries])
        if reason:
            raise CheckpointError(f"{file}: {reason}")
        _refuse_more_than_a_zip(file, opened, entries, archive.start_dir)
        starts = _starts(file, entries, archive.start_dir)
        records = [
            Record(entry.filename, entry.header_offset, start, entry.file_size)
            for entry, start in zip(entries, starts)
        ]
        _refuse_disorder(file, entries, records, archive.start_dir)
        file.expect_checksums(
            {
                record.start: (record.size, entry.CRC)
                for entry, record in zip(entries, records)
                if record.size
            }
        )
        for entry in entries:
            # Torch writes 0 where it is told to compute none.
            entry.CRC = entry.CRC or None  # type: ignore[assignment]
        return (
            {record.name: record for record in records},
            {
                entry.filename: archive.read(entry)
                for entry in entries
                if wanted(entry.filename) and entry.file_size <= _LONGEST_READ
            },
        )


def end_of_header(file, header: int, content: bytes) -> int:
    """Where the record of a header begins, from the header's own 30 bytes."""
    signature, name_length, extra_length = struct.unpack("<4s22x2H", content)
    if signature != b"PK\x03\x04":
        raise CheckpointError(
            f"{file}: no record begins at byte {header}, where the zip's directory promises one;"
            " fetch or save it again"
        )
    return header + _HEADER + name_length + extra_length


def _starts(file: File, entries: list[zipfile.ZipInfo], directory: int) -> list[int]:
    """Where the records begin, by their headers; of a remote file inferred, and checked later."""
    if file.remote:
        ends = [*(entry.header_offset for entry in entries[1:]), directory]
        inferred = [_inferred_start(entry, end) for entry, end in zip(entries, ends)]
        starts = [start for start in inferred if start is not None]
        if len(starts) == len(entries):
            file.expect_headers(
                {
                    start: entry.header_offset
                    for start, entry in zip(starts, entries)
                    if entry.file_size
                }
            )
            return starts
    headers = [entry.header_offset for entry in entries]
    length = _HEADER + max((len(entry.orig_filename.encode()) for entry in entries), default=0)
    contents = file.read_headers(headers, length)
    for entry, content in zip(entries, contents):
        _refuse_another(entry, content)
    return [
        end_of_header(file, header, content[:_HEADER]) for header, content in zip(headers, contents)
    ]


def _refuse_another(entry: zipfile.ZipInfo, content: bytes) -> None:
    """A ValueError where a record's own header is not of the record that the directory has there.
    Some readers go by the one, others by the other.
    """
    _, flags, method, _, packed, size, name_length, _ = _LOCAL.unpack_from(content)
    name = content[_HEADER : _HEADER + name_length]
    sizes = (packed, size)
    known = (0, _ELSEWHERE_4) if flags & _SIZES_BEHIND else (_ELSEWHERE_4,)
    if (
        name.decode("utf-8" if entry.flag_bits & _UTF_8 else "cp437") != entry.orig_filename
        or method != entry.compress_type
        or (flags ^ entry.flag_bits) & _ENCRYPTED
        or (sizes != (entry.compress_size, entry.file_size) and not set(sizes) <= set(known))
    ):
        raise ValueError(f"the header of record {entry.filename!r} is not what the directory says")


def _inferred_start(entry: zipfile.ZipInfo, following: int) -> int | None:
    least = entry.header_offset + _HEADER + len(entry.filename.encode())
    if entry.file_size == 0:
        return least
    for behind in _BEHIND:
        start = following - behind - entry.file_size
        if start % _ALIGNMENT == 0 and least <= start <= least + _LONGEST_PADDING:
            return start
    return None


def _refuse_more_than_a_zip(file, opened, entries, directory):
    """Of two zips in one file, or of one behind something else, readers take different ones."""
    opened.seek(-_END.size, 2)
    signature, count, begin = _END.unpack(opened.read(_END.size))
    if (
        not entries
        or entries[0].header_offset
        or signature != _ENDING
        or count not in (len(entries), _ELSEWHERE_2)
        or begin not in (directory, _ELSEWHERE_4)
    ):
        raise CheckpointError(
            f"{file}: has something before or behind its zip archive; fetch or save it again"
        )
    for entry in entries:
        if "\0" in entry.orig_filename or len(entry.orig_filename) > _LONGEST_NAME:
            raise ValueError(f"no record has a name such as {entry.orig_filename[:40]!r}")


def _refuse_disorder(file, entries, records, directory):
    end, padding, names = 0, 0, set()
    for entry, record in zip(entries, records):
        if entry.flag_bits & _ENCRYPTED:
            raise CheckpointError(f"{file}: record {record.name} is encrypted; save it again")
        if entry.volume:  # torch gives memory that nothing was read into
            raise CheckpointError(
                f"{file}: record {record.name} is in another part of the archive, of which this is"
                " one; fetch or save it again"
            )
        if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
            raise CheckpointError(
                f"{file}: record {record.name} is compressed, so that its numbers do not lie in the"
                " file; save it again, uncompressed (torch.save and np.savez do)"
            )
        if record.header < end or record.start + record.size > directory:
            raise CheckpointError(
                f"{file}: record {record.name} overlaps another or ends beyond the file; fetch or"
                " save it again"
            )
        if record.name in names:
            raise CheckpointError(
                f"{file}: has two records of the name {record.name}; fetch or save it again"
            )
        if record.header > end + padding + _BEHIND[-1]:
            raise CheckpointError(
                f"{file}: has {record.header - end:,} bytes before record {record.name} that are of"
                " none; fetch or save it again"
            )
        end = record.start + record.size
        # Of an empty one, where it begins is not inferred.
        padding = _LONGEST_PADDING if file.remote and not record.size else 0
        names.add(record.name)
