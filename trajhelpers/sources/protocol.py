"""What a source of checkpoints is: something that lists them, in order, and whose files can be read
by ranges.

``trajhelpers.sources.table`` has the sources there are. A new one is a file with a class that has
what :class:`Source` asks for, and a line in that table.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from ..reading.contents import Contents
from .catalogue import Revision

# (file, begin, end), in bytes; the file is one of the source's own.
Range = tuple[Any, int, int]


class Checkpoint(NamedTuple):
    """``source`` is what errors call it: a file, an address. ``commit`` and ``format`` are of those
    on the hub.
    """

    step: int
    run: str
    source: str
    commit: str = ""
    format: str = ""
    # Trained on so far, where names say so.
    tokens: int | None = None


class Fetch(Protocol):
    """Ranges on their way into memory. As a context manager, reads find them there."""

    @property
    def received(self) -> int:
        """Bytes, so far."""

    def wait(self, seconds: float | None) -> bool:
        """Whether all is there, after so many seconds at most; raises what went wrong."""

    def cancel(self) -> None:
        """Ask for no more."""

    def drain(self) -> None:
        """Wait until nothing is on its way."""

    def __enter__(self) -> Any: ...

    def __exit__(self, *exception) -> None: ...


class Checks(Protocol):
    """Of one pass: what it fetches, compared with checksums. As a context manager, reads that go
    past its fetches are seen.
    """

    @property
    def to_fetch(self) -> tuple[int, int]:
        """Requests and bytes that are asked for to this end alone."""

    @property
    def received(self) -> int:
        """Of those bytes, so far."""

    @property
    def facts(self) -> dict[str, Any]:
        """How many files were compared with what, and how many were not, and why."""

    def confirm(self, pieces: Iterable[Range]) -> None:
        """That what the pass has at hand of these is what the files hold, before it ends here."""

    @property
    def parts(self) -> Any:
        """What others who share the pass are to know of what this one had, for
        :meth:`add_parts` of each, before it finishes.
        """

    def add_parts(self, several: Iterable[Any]) -> None:
        """The :attr:`parts` of all who share the pass."""

    def finish(self) -> None:
        """Begin to read what the pass has not led to."""

    def wait(self, seconds: float | None) -> bool:
        """Whether all is compared, after so many seconds at most; raises what went wrong."""

    def cancel(self) -> None:
        """Ask for no more."""

    def drain(self) -> None:
        """Wait until nothing is on its way."""

    def __enter__(self) -> Any: ...

    def __exit__(self, *exception) -> None: ...


class Fetcher(Protocol):
    """Of a source far away: gives ranges ahead of their being read, several in flight."""

    def fetch(self, pieces: Iterable[Range], checks: Any = None) -> Fetch:
        """Begin to fetch."""

    def check(
        self,
        blocks: Iterable[Sequence[Range]],
        done: int = 0,
        verify: bool = False,
        apart: bool = False,
        others: int = 0,
    ) -> Checks:
        """The checksums of what a pass will fetch, block by block, of which so many are done;
        before those come so many that ``others`` fetch, who share the pass. ``apart`` where it
        reads one thing after another instead. ``verify``: all of each file.
        """

    def share(self, rank: int, size: int, tell: Callable[[float], None] | None) -> None:
        """So many ask from now on, of which this is one: each for its share. ``tell`` the others
        where one was asked to wait, for so many seconds.
        """

    def hold_back(self, seconds: float) -> None:
        """Ask for nothing new so long."""

    def join(self, pieces: Iterable[Range]) -> Sequence[Range]:
        """What would be asked for: neighbours together."""


@dataclass(frozen=True)
class Listing:
    """The checkpoints that a source has of what it was asked for, in order; of no tensor anything
    is known before ``read_headers``.
    """

    checkpoints: Sequence[Checkpoint]
    # What each checkpoint holds, of the state that is asked for, if one is.
    read_headers: Callable[[str | None], Sequence[Contents]]
    # The config.json beside the first checkpoint, {} where there is none.
    read_config: Callable[[], dict] = dict
    # Files that are no checkpoints of this run, and why.
    left_out: Sequence[str] = ()
    # What was chosen, and by which rule.
    notes: Sequence[str] = ()
    # What may be wrong with it.
    guesses: Sequence[str] = ()
    repository: str = ""
    # What an audit looks at before weights are read, where the source knows hashes; by the key of
    # each, the format that is read.
    revisions: Sequence[Revision] = ()
    formats: Mapping[int | str, str] = field(default_factory=dict)
    # Bytes of the files of each checkpoint; () where they are in memory.
    sizes: Callable[[], Sequence[int]] = tuple
    # None where nothing has to be fetched ahead.
    fetcher: Fetcher | None = None
    # What was compared with checksums while headers were read.
    compared: Callable[[], dict[str, Any]] = dict


class Source(Protocol):
    """A kind of place where checkpoints lie."""

    # Which keywords of open_trajectory it takes beside ``every`` and ``skip``.
    options: tuple[str, ...]

    def accepts(self, what: Any) -> bool:
        """Whether it knows what to do with this, a path or address or a list."""

    @property
    def list(self) -> Callable[..., Listing]:
        """``list(what, every, skip, **options)``: every so-manieth of its checkpoints, but for the
        steps that are skipped.
        """
