"""Where the records of zip files begin, of torch's and of NumPy's.

A zip's directory says where each record's header is; the record itself begins behind that header,
whose length only the header tells. On this machine all headers are read. Over the network that
would be one request a tensor, so there a record's beginning is inferred from its end (torch aligns
records to 64 bytes and writes 16 or 24 bytes behind each), and the header that confirms it is read
along with the weights."""

import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from typing import BinaryIO, NamedTuple

from ..errors import CheckpointError
from .place import File

_HEADER = 30
_ALIGNMENT = 64
_BEHIND = (16, 24)
_LONGEST_PADDING = _ALIGNMENT + 32
_ENCRYPTED = 1
# What zipfile raises about a damaged directory.
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    OSError,
    ValueError,
    LookupError,
    RuntimeError,
    OverflowError,
)
_LONGEST_READ = 1 << 30
_ENDING, _LENGTH_OF_ENDING = b"PK\x05\x06", 22


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
    for that, and for compressed, overlapping, truncated or doubled records.
    """
    try:
        with zipfile.ZipFile(opened) as archive:
            entries = sorted(archive.infolist(), key=lambda entry: entry.header_offset)
            reason = problem([entry.filename for entry in entries])
            if reason:
                raise CheckpointError(f"{file}: {reason}")
            _refuse_more_than_a_zip(file, opened, entries)
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
    except _DAMAGE as error:
        reason = str(error) or type(error).__name__
        raise CheckpointError(f"{file}: damaged ({reason}); fetch or save it again") from error


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
    return [
        end_of_header(file, header, content)
        for header, content in zip(headers, file.read_headers(headers, _HEADER))
    ]


def _inferred_start(entry: zipfile.ZipInfo, following: int) -> int | None:
    least = entry.header_offset + _HEADER + len(entry.filename.encode())
    if entry.file_size == 0:
        return least
    for behind in _BEHIND:
        start = following - behind - entry.file_size
        if start % _ALIGNMENT == 0 and least <= start <= least + _LONGEST_PADDING:
            return start
    return None


def _refuse_more_than_a_zip(file, opened, entries):
    """Of two zips in one file, or of one behind something else, readers take different ones."""
    opened.seek(-_LENGTH_OF_ENDING, 2)
    if not entries or entries[0].header_offset or opened.read(4) != _ENDING:
        raise CheckpointError(
            f"{file}: has something before or behind its zip archive; fetch or save it again"
        )


def _refuse_disorder(file, entries, records, directory):
    end, names = 0, set()
    for entry, record in zip(entries, records):
        if entry.flag_bits & _ENCRYPTED:
            raise CheckpointError(f"{file}: record {record.name} is encrypted; save it again")
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
        end = record.start + record.size
        names.add(record.name)
