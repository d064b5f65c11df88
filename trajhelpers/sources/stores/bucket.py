"""A bucket, or a web server: its objects, listed or asked about one by one, and their ranges."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple, cast

import obstore

from ...errors import CheckpointError
from ...telling import bar
from ..remote.file import RemoteFile, Tree, changed
from ..remote.files import RemoteFiles
from ..remote.trying import Filling, Stop, Unfit
from .address import Address
from .clients import client_of
from .explaining import FAILURES, explained

_MOST_OBJECTS = 2_000_000
_LONGEST_TEXT = 64 << 20
_A_PAGE = 1000


class Object(NamedTuple):
    """``stamp`` is the ETag, or when it was written where there is none."""

    size: int
    stamp: str

    @classmethod
    def of(cls, meta: Mapping[str, Any]) -> "Object":
        # Whole seconds, which is what answers have; 1970 in one that does not say when.
        written: datetime = meta["last_modified"].replace(microsecond=0)
        when = written.isoformat() if written.timestamp() else ""
        # Azure's lists leave out the quotes that its answers have.
        return cls(meta["size"], (meta["e_tag"] or when).strip('"'))


@dataclass(frozen=True)
class Bucket(Tree):
    """Its files are all objects that are known of it."""

    # Without a path.
    where: Address = field(repr=False)
    # Of obstore.
    client: Any = field(compare=False, repr=False)


def list_objects(address: Address) -> dict[str, Object]:
    """All that lie below an address, by their paths from the bucket on; itself, where it is one."""
    client, found = client_of(address, tries=True), {}
    failure = None
    try:
        with bar(desc="objects", unit="") as progress:
            for page in obstore.list(client, address.path or None, chunk_size=_A_PAGE):
                for meta in page:
                    # In order, each once: otherwise it need not have an end.
                    if meta["path"] in found:
                        raise CheckpointError(
                            f"{address}: its list has {meta['path']!r} twice; try again later"
                        )
                    found[meta["path"]] = Object.of(meta)
                progress.update(len(page))
                if len(found) > _MOST_OBJECTS:
                    break
        if not found and address.path:
            found[address.path] = Object.of(obstore.head(client, address.path))
    except FAILURES as error:
        # Raised further down: not even the context of what is raised may quote a request.
        failure = explained(address, address, error)
    if failure is not None:
        raise _final(address, failure)
    if len(found) > _MOST_OBJECTS:
        raise CheckpointError(
            f"{address}: holds more than {_MOST_OBJECTS:,} objects; give a longer prefix"
        )
    return found


def _final(where: object, failure: Exception) -> Exception:
    return (
        CheckpointError(f"{where}: cannot be listed ({failure}); try again later")
        if isinstance(failure, Unfit)
        else failure
    )


class AskedAbout(Mapping):
    """The files of a web server, of which there is no list: each is asked for its first byte when
    something is first asked about it.
    """

    def __init__(self, address: Address):
        self._address, self._client = address, client_of(address, tries=True)
        self._known: dict[str, Object | None] = {}

    def __getitem__(self, path: str) -> Object:
        if path not in self._known:
            self._known[path] = self._ask(path)
        found = self._known[path]
        if found is None:
            raise KeyError(path)
        return found

    def __iter__(self) -> Iterator[str]:
        return (path for path, found in self._known.items() if found)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _ask(self, path: str) -> Object | None:
        where, failure = f"{self._address.root}/{path}", None
        try:
            # Not by HEAD, which signed addresses refuse.
            answer = obstore.get(self._client, path, options={"range": (0, 1)})
            found = Object.of(answer.meta)
            answer.bytes()
        except FileNotFoundError:
            return None
        except FAILURES as error:
            failure = explained(self._address, where, error)
        if failure is not None:
            raise _final(where, failure)
        if not found.stamp:
            raise CheckpointError(
                f"{where}: the server gives neither ETag nor Last-Modified, so that nothing would"
                " tell whether it changes; copy the files to this machine and open them there"
            )
        return found


class StoreRequests:
    """The :class:`trajhelpers.sources.remote.files.Requests` for files of a :class:`Bucket`."""

    whole = "copy the files to this machine and open them there"

    def share(self, size: int) -> None:
        """Nothing: stores have no limit that all have to keep together but what they answer."""

    def content_of(self, file: RemoteFile) -> bytes:
        if file.size > _LONGEST_TEXT:
            raise CheckpointError(
                f"{file}: has {file.size:,} bytes, too many for what it should be"
            )
        return file.files.read(file, 0, file.size)

    def get_range(self, file: RemoteFile, offset: int, view: memoryview, stop: Stop) -> None:
        bucket = cast(Bucket, file.tree)
        listed = cast(Object, bucket.listed[file.path])
        options: Any = {"range": (offset, offset + len(view))}
        failure: Exception | None = None
        try:
            options |= _pinned(listed)
            answer = obstore.get(bucket.client, file.path, options=options)
            if Object.of(answer.meta) != listed:
                raise changed(file)
            if tuple(answer.range) != options["range"]:
                raise Unfit(f"another range than was asked for, {answer.range}")
            filling = Filling(view, stop)
            for chunk in answer.stream(min_chunk_size=1):
                filling.add(chunk)
            filling.finish()
        except FileNotFoundError:
            failure = changed(file)
        except FAILURES as error:
            failure = explained(bucket.where, file, error)
        if failure is not None:
            raise failure


def _pinned(listed: Object) -> dict[str, Any]:
    """A weak ETag, or a time, says nothing to If-Match: those are compared with the answer's."""
    is_time = re.match(r"\d{4}-\d\d-\d\dT", listed.stamp)
    return {} if is_time or listed.stamp.startswith("W/") else {"if_match": f'"{listed.stamp}"'}


def files_in_stores() -> RemoteFiles:
    """By which those of one run are read."""
    return RemoteFiles(StoreRequests())
