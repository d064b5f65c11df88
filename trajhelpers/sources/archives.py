"""Zip and tar archives as folders: their files are read where they lie in the archive, here or far
away, and nothing is unpacked.

Names in an archive are looked up and never used as paths on disk. Still, an archive with names that
lead out of it, with two files of one name, or with files over the same bytes was made to deceive,
and is refused whole. Links are not followed.
"""

import io
import re
import stat
import tarfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO, NamedTuple, cast

import numpy as np

from ..errors import CheckpointError
from ..reading.boundary import damage_named
from ..reading.folders import weights_in
from ..reading.place import File, Place, read_values
from ..reading.zip_records import end_of_header
from .listed import ListedFolder

_COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tzst")
# A torch checkpoint by an old habit, model.pth.tar.
_NONE = (".pth.tar", ".pt.tar", ".ckpt.tar")
_AGAIN = "fetch or pack it again"
_HEADER = 30
# Of a directory, or of a header that holds a name.
_LONGEST_READ = 64 << 20
_LONGEST_TEXT = 64 << 20
_MOST_MEMBERS = 1_000_000
_OF_TORCH = re.compile(r"[^/]+/data\.pkl")
_ENCRYPTED = 1


def is_archive(name: str) -> bool:
    """Whether a file that is given as a source is one, by its name: torch's files are zips, too.

    >>> is_archive("run.zip"), is_archive("step_1.pt"), is_archive("model.pth.tar")
    (True, False, False)
    """
    name = name.lower()
    return name.endswith((".zip", ".tar", *_COMPRESSED)) and not name.endswith(_NONE)


def open_archive(file: File) -> tuple[ListedFolder, list[str]]:
    """The folder that an archive is, or the one that is all it holds; and what in it is left out,
    with the reason.
    """
    if file.name.lower().endswith(_COMPRESSED):
        raise _compressed(file)
    with file.open() as opened:
        start = opened.read(4)
        opened.seek(0)
        if start.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zX", b"\x28\xb5\x2f\xfd")):
            raise _compressed(file)
        limited = cast(BinaryIO, _Limited(file, opened))
        is_zip = file.name.lower().endswith(".zip")
        members, left_out = (_of_zip if is_zip else _of_tar)(file, limited)
    archive = Archive(file, members, is_zip)
    folder = ListedFolder(
        str(file), members, lambda path: ArchivedFile(archive, path), remote=file.remote
    )
    while not folder.files() and len(folder.folders()) == 1:
        (inner,) = folder.folders()
        if weights_in(inner) is not None:
            break
        folder = inner
    return folder, left_out


def _compressed(file: File) -> CheckpointError:
    return CheckpointError(
        f"{file}: is compressed as a whole, so that nothing in it can be read where it lies; unpack"
        " it (`tar xf`), or pack it without compression (`tar cf`)"
    )


class Member(NamedTuple):
    """Bytes ``begin`` to ``begin + size`` of the archive; in a zip, those from its header to the
    ``end`` that it must not cross. ``problem``: why it cannot be read there.
    """

    begin: int
    size: int
    end: int
    problem: str = ""


class Archive:
    """A file with the members that it has, by name."""

    def __init__(self, file: File, members: Mapping[str, Member], is_zip: bool):
        self.file, self.members, self._is_zip = file, members, is_zip
        self._begins: dict[str, int] = {}

    def begin(self, path: str) -> int:
        """Where a member's first byte lies."""
        if path not in self._begins:
            member = self.members[path]
            if member.problem:
                raise CheckpointError(f"{self.file}/{path}: {member.problem}")
            begin = member.begin
            if self._is_zip:
                (header,) = self.file.read_headers([begin], _HEADER)
                begin = _behind_header(self.file, begin, header)
            if begin + member.size > member.end:
                raise _damaged(self.file, f"{path} ends beyond its place")
            self._begins[path] = begin
        return self._begins[path]


@dataclass(frozen=True)
class ArchivedFile:
    """A :class:`trajhelpers.reading.place.File` within another."""

    archive: Archive = field(compare=False, repr=False)
    path: str

    remote = property(lambda self: self.archive.file.remote)
    name = property(lambda self: self.path.rpartition("/")[2])
    size = property(lambda self: self.archive.members[self.path].size if self.is_file() else 0)

    def __str__(self) -> str:
        return f"{self.archive.file}/{self.path}"

    @property
    def places(self) -> Sequence[Place]:
        """The archive."""
        return (self.archive.file,)

    def ranges(self, begin: int, end: int) -> list[tuple[Place, int, int]]:
        """Where bytes ``begin`` to ``end`` lie in it."""
        first = self._at(begin, end - begin)
        return [(self.archive.file, first, first + end - begin)]

    def is_file(self) -> bool:
        return self.path in self.archive.members

    def beside(self, name: str) -> "ArchivedFile":
        return ArchivedFile(self.archive, self.path.removesuffix(self.name) + name)

    def open(self) -> BinaryIO:
        begin = self._at(0, self.size)
        return cast(BinaryIO, _Window(self.archive.file.open(), begin, self.size))

    def read_text(self) -> str:
        if self.size > _LONGEST_TEXT:
            raise CheckpointError(
                f"{self}: has {self.size:,} bytes, too many for what it should be"
            )
        try:
            with self.open() as opened:
                return opened.read().decode()
        except UnicodeDecodeError:
            raise CheckpointError(
                f"{self}: holds something other than text; pack it again"
            ) from None

    def read_headers(self, offsets: Sequence[int], length: int) -> list[bytes]:
        begin = self._at(0, self.size)
        return self.archive.file.read_headers([begin + offset for offset in offsets], length)

    def expect_headers(self, starts: Mapping[int, int]) -> None:
        begin = self._at(0, self.size)
        self.archive.file.expect_headers(
            {begin + start: begin + header for start, header in starts.items()}
        )

    def expect_checksums(self, records: Mapping[int, tuple[int, int]]) -> None:
        begin = self._at(0, self.size)
        self.archive.file.expect_checksums(
            {begin + start: record for start, record in records.items()}
        )

    def read_into(self, offset: int, buffer: np.ndarray) -> None:
        self.archive.file.read_into(self._at(offset, buffer.nbytes), buffer)

    def values(self, offset: int, count: int, dtype: np.dtype) -> np.ndarray:
        return read_values(self, offset, count, dtype)

    def stamp(self) -> tuple | None:
        return self.archive.file.stamp()

    def _at(self, offset: int, length: int) -> int:
        if offset < 0 or offset + length > self.size:
            raise CheckpointError(
                f"{self}: has {self.size:,} bytes, where {offset + length:,} are needed; fetch or"
                " save it again"
            )
        return self.archive.begin(self.path) + offset


class _Window(io.RawIOBase):
    """Part of an open file, as a file."""

    def __init__(self, opened: BinaryIO, begin: int, size: int):
        self._opened, self._begin, self._size, self._at = opened, begin, size, 0

    def readable(self):
        return True

    def seekable(self):
        return True

    def tell(self):
        return self._at

    def seek(self, offset, whence=io.SEEK_SET):
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def read(self, size=-1):
        left = max(0, self._size - self._at)
        size = left if size is None or size < 0 else min(size, left)
        self._opened.seek(self._begin + self._at)
        content = self._opened.read(size)
        self._at += len(content)
        return content

    def readinto(self, buffer):
        content = self.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def close(self):
        if not self.closed:
            self._opened.close()
        super().close()


class _Limited:
    """An open archive, of which no header may ask for more than one should be long."""

    def __init__(self, file: File, opened: BinaryIO):
        self._file, self._opened = file, opened
        self.seek, self.tell, self.seekable = opened.seek, opened.tell, opened.seekable

    def read(self, size: int = -1) -> bytes:
        # -1 is all that is left: of a zip, its last bytes.
        least = _LONGEST_READ + 1
        content = self._opened.read(least if size == -1 else min(max(0, size), least))
        if size < -1 or len(content) == least:
            raise _damaged(self._file, "a header of it has an impossible length")
        return content


def _damaged(file: File, what: object) -> CheckpointError:
    return CheckpointError(f"{file}: damaged or forged ({what}); {_AGAIN}")


# ---- zip ----


def _of_zip(file: File, opened: BinaryIO) -> tuple[dict[str, Member], list[str]]:
    found: dict[str, Member] = {}
    left_out: list[str] = []
    with damage_named(file, _AGAIN), zipfile.ZipFile(opened) as archive:
        entries = sorted(archive.infolist(), key=lambda entry: entry.header_offset)
        directory = archive.start_dir
    ends = [*(entry.header_offset for entry in entries[1:]), directory]
    for entry, end in zip(entries, ends):
        least = entry.header_offset + _HEADER + len(entry.filename) + entry.compress_size
        if least > end:
            raise _damaged(file, f"{entry.filename!r} overlaps another")
        path = _path_of(file, entry.filename)
        if entry.is_dir() or path.startswith("__MACOSX/"):
            continue
        if stat.S_ISLNK(entry.external_attr >> 16):
            left_out.append(f"{file}/{path}: is a link, which is not followed")
            continue
        problem = ""
        if entry.flag_bits & _ENCRYPTED:
            problem = "is encrypted; unpack the archive"
        elif entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
            problem = (
                "is compressed, so that it cannot be read where it lies; unpack the archive, or"
                " pack it without compression (`zip -0`)"
            )
        _add(file, found, path, Member(entry.header_offset, entry.file_size, end, problem))
    if any(map(_OF_TORCH.fullmatch, found)):
        raise CheckpointError(
            f"{file}: is one checkpoint, as torch.save writes them, and no archive of several; give"
            " it a name that ends in .pt"
        )
    return found, left_out


def _behind_header(file: File, header: int, content: bytes) -> int:
    with damage_named(file, _AGAIN):
        return end_of_header(file, header, content)


# ---- tar ----


def _of_tar(file: File, opened: BinaryIO) -> tuple[dict[str, Member], list[str]]:
    found: dict[str, Member] = {}
    left_out: list[str] = []
    remedy = f"{_AGAIN}, or, where it is a checkpoint of torch, give it a name that ends in .pt"
    with damage_named(file, remedy), tarfile.open(fileobj=opened, mode="r:") as archive:
        for member in _in_a_row(file, archive):
            path = _path_of(file, member.name)
            if member.isdir():
                continue
            if not member.isfile():
                left_out.append(f"{file}/{path}: is a link or device, which is not followed")
                continue
            begin, end = member.offset_data, member.offset_data + member.size
            if end > file.size:
                raise _damaged(file, f"{member.name!r} ends beyond it")
            problem = "is sparse; unpack the archive" if member.issparse() else ""
            _add(file, found, path, Member(begin, member.size, end, problem))
    return found, left_out


def _in_a_row(file: File, archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """The members; each must begin behind the one before, or reading would not end."""
    reached = 0
    for _ in range(_MOST_MEMBERS):
        member = archive.next()
        if member is None:
            return
        if member.size < 0 or member.offset < reached or archive.offset <= reached:
            raise _damaged(file, f"{member.name!r} overlaps another")
        reached = archive.offset
        yield member
    raise CheckpointError(f"{file}: has more than {_MOST_MEMBERS:,} members; unpack it")


# ---- names ----


def _path_of(file: File, name: str) -> str:
    """A member's path, or a refusal."""
    path = name.rstrip("/")
    while path.startswith("./"):
        path = path.removeprefix("./").lstrip("/")
    parts = path.split("/")
    if path == ".":
        return path
    if name.startswith("/") or "\\" in name or "\0" in name or {"", ".", ".."} & set(parts):
        raise _damaged(file, f"a name in it leads elsewhere, {name[:100]!r}")
    return path


def _add(file: File, found: dict[str, Member], path: str, member: Member) -> None:
    if path in found:
        raise _damaged(file, f"two files in it have the name {path!r}")
    if len(found) >= _MOST_MEMBERS:
        raise CheckpointError(f"{file}: has more than {_MOST_MEMBERS:,} members; unpack it")
    found[path] = member
