"""A folder whose files were all listed at once: a revision on the hub, what lies under a prefix
of a bucket, an archive.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ..reading.place import File, is_unfinished


@dataclass(frozen=True)
class ListedFolder:
    """A :class:`trajhelpers.reading.place.Folder`.

    ``address`` is what errors call it; ``paths`` are those of all files below it, relative to it;
    ``file_at`` gives the file of a relative path, there or not.
    """

    address: str
    paths: Iterable[str] = field(compare=False, repr=False)
    file_at: Callable[[str], File] = field(compare=False, repr=False)
    remote: bool = True
    _within: Mapping[str, list[str]] = field(init=False, compare=False, repr=False)
    _files: Sequence[str] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        within: dict[str, list[str]] = {}
        files = []
        for path in sorted(self.paths):
            first, slash, rest = path.partition("/")
            if is_unfinished(first):
                continue
            if slash:
                within.setdefault(first, []).append(rest)
            else:
                files.append(first)
        object.__setattr__(self, "_within", within)
        object.__setattr__(self, "_files", files)

    @property
    def name(self) -> str:
        return self.address.rstrip("/").rpartition("/")[2]

    def __str__(self) -> str:
        return self.address

    def folders(self) -> Sequence["ListedFolder"]:
        return [self._inner(name) for name in sorted(self._within)]

    def files(self) -> Sequence[File]:
        return [self.file_at(name) for name in self._files]

    def folder(self, path: str) -> "ListedFolder":
        found = self
        for name in path.split("/"):
            found = found._inner(name)
        return found

    def file(self, path: str) -> File:
        return self.file_at(path)

    def _inner(self, name: str) -> "ListedFolder":
        return ListedFolder(
            f"{self.address.rstrip('/')}/{name}",
            self._within.get(name, ()),
            lambda path: self.file_at(f"{name}/{path}"),
            self.remote,
        )
