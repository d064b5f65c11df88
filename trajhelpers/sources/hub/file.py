"""A file on the hub, with what readers of headers need of a file: names, a size, reading and
seeking.
"""

import io
from dataclasses import dataclass, field

_HEADER_READ, _TAIL_READ = 32 << 10, 64 << 10


@dataclass(frozen=True)
class RemoteFile:
    """A file of one commit on the hub, with what :class:`pathlib.Path` has of what readers of
    headers need.
    """

    # The RemoteFiles by which it is read.
    files: object = field(compare=False, repr=False)
    repository: str
    revision: str
    commit: str
    path: str
    size: int = field(compare=False)
    sha256: str = field(compare=False)
    # Of the commit: path -> what has a size and a sha256.
    siblings: dict = field(compare=False, repr=False)

    name = property(lambda self: self.path.rpartition("/")[2])
    suffix = property(lambda self: "." + self.name.rpartition(".")[2])

    def __str__(self):
        return f"hf://{self.repository}@{self.revision}/{self.path}"

    def open(self, mode="rb"):
        return _Reader(self)

    def is_file(self):
        return self.path in self.siblings

    def beside(self, name):
        path = self.path.removesuffix(self.name) + name
        return remote_file(
            self.files, self.repository, self.revision, self.commit, path, self.siblings
        )

    def read_text(self):
        """Of a small file, whole."""
        return self.files.text(self)

    def read_headers(self, offsets, length):
        """So many bytes from each of the offsets on, in small requests, several in flight."""
        fetch = self.files.fetch([(self, offset, offset + length) for offset in offsets])
        try:
            fetch.wait(None)
            return [bytes(fetch.find(self, offset, length)) for offset in offsets]
        finally:
            fetch.cancel()
            fetch.drain()

    def expect_headers(self, headers):
        """A dict from where a record should begin to where its zip header does, which is checked
        when the record is first read.
        """
        self.files.expect(self, headers)


def remote_file(files, repository, revision, commit, path, siblings):
    """A :class:`RemoteFile`, which is not there (``is_file``) unless the commit has it."""
    found = siblings.get(path)
    return RemoteFile(
        files,
        repository,
        revision,
        commit,
        path,
        found.size if found else 0,
        found.sha256 if found else "",
        siblings,
    )


class _Reader(io.RawIOBase):
    """A remote file that can be read and sought, for headers: each byte is fetched once, the last
    ones, where zip files have their directory, together.
    """

    def __init__(self, file):
        self._file, self._at, self._spans = file, 0, []

    def readable(self):
        return True

    def seekable(self):
        return True

    def tell(self):
        return self._at

    def seek(self, offset, whence=io.SEEK_SET):
        self._at = max(
            0,
            offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._file.size}[whence],
        )
        return self._at

    def read(self, size=-1):
        end = self._file.size if size is None or size < 0 else min(self._at + size, self._file.size)
        parts = []
        while self._at < end:
            begin, content = next(
                (
                    (begin, content)
                    for begin, content in self._spans
                    if begin <= self._at < begin + len(content)
                ),
                (None, None),
            )
            if content is None:
                begin, content = self._fetch(end)
            parts.append(content[self._at - begin : end - begin])
            self._at += len(parts[-1])
        return b"".join(parts)

    def readinto(self, buffer):
        content = self.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def _fetch(self, end):
        tail = self._file.size - _TAIL_READ
        begin = max(0, tail) if self._at >= tail else self._at
        end = self._file.size if self._at >= tail else min(max(end, begin + _HEADER_READ), tail)
        end = min([end, *(span for span, _ in self._spans if span > self._at)])
        self._spans.append((begin, self._file.files.read(self._file, begin, end - begin)))
        return self._spans[-1]
