"""Where the records of torch's zip files begin, and a copy of such a file without its weights, from
which torch reads names, types and shapes.

A zip's directory says where each record's header is; the record itself begins behind that header,
whose length only the header tells. On this machine all headers are read. Over the network that
would be one request a tensor, so there a record's beginning is inferred from its end (torch aligns
records to 64 bytes and writes 16 or 24 bytes behind each), and the header that confirms it is read
along with the weights."""

import io
import re
import struct
import zipfile
from typing import BinaryIO, NamedTuple

from ..errors import CheckpointError
from .place import File

_HEADER = 30
_ALIGNMENT = 64
_BEHIND = (16, 24)
_LONGEST_PADDING = _ALIGNMENT + 32
_READ = re.compile(r"(^|/)(data\.pkl|byteorder|version)$")
# With these torch computes where records should begin, instead of looking.
_OMITTED = re.compile(r"(^|/)\.(format_version|storage_alignment)$")


class Record(NamedTuple):
    name: str
    header: int
    start: int
    size: int


def read_index(file: File, opened: BinaryIO) -> tuple[dict[int, Record], io.BytesIO]:
    """``(records, skeleton)``: the skeleton is a small zip with all names and no weights;
    ``records`` maps the byte at which a record begins in it to the :class:`Record` of ``file``.

    Compressed, overlapping, truncated or doubled records are refused with a CheckpointError.
    """
    try:
        with zipfile.ZipFile(opened) as archive:
            entries = sorted(archive.infolist(), key=lambda entry: entry.header_offset)
            starts = _starts(file, entries, archive.start_dir)
            records = [
                Record(entry.filename, entry.header_offset, start, entry.file_size)
                for entry, start in zip(entries, starts)
            ]
            _refuse_disorder(file, entries, records, archive.start_dir)
            return _skeleton(file, archive, entries, records)
    except (
        zipfile.BadZipFile,
        struct.error,
        NotImplementedError,
        EOFError,
        UnicodeDecodeError,
    ) as error:
        raise CheckpointError(f"{file}: damaged ({error}); fetch or save it again") from error


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


def _refuse_disorder(file, entries, records, directory):
    end, names = 0, set()
    for entry, record in zip(entries, records):
        if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
            raise CheckpointError(
                f"{file}: record {record.name} is compressed, which torch.save never does; save it"
                " again"
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


def _skeleton(file, archive, entries, records):
    places, skeleton = {}, io.BytesIO()
    with zipfile.ZipFile(skeleton, "w") as small:
        for entry, record in zip(entries, records):
            if _OMITTED.search(record.name):
                continue
            content = archive.read(entry) if _READ.search(record.name) else b""
            if record.name.endswith("/byteorder") and content != b"little":
                raise CheckpointError(
                    f"{file}: was written on a big-endian machine; load it with torch and save it"
                    " again on this one"
                )
            small.writestr(record.name, content)
            places[skeleton.tell() - len(content)] = record
    skeleton.seek(0)
    return places, skeleton
