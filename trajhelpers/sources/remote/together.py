"""Several fetchers as one, for checkpoints that lie in several places far away."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from ..protocol import Fetch, Fetcher, Range


class Together:
    """``fetchers`` has, by place, the one that fetches from there."""

    def __init__(self, fetchers: Mapping[Any, Fetcher]):
        self._fetchers = dict(fetchers)

    def fetch(self, pieces: Iterable[Range]) -> Fetch:
        return _Fetches([fetcher.fetch(own) for fetcher, own in self._shared(pieces)])

    def join(self, pieces: Iterable[Range]) -> Sequence[Range]:
        return [found for fetcher, own in self._shared(pieces) for found in fetcher.join(own)]

    def _shared(self, pieces: Iterable[Range]) -> list[tuple[Fetcher, list[Range]]]:
        shares: dict[int, tuple[Fetcher, list[Range]]] = {}
        for piece in pieces:
            fetcher = self._fetchers[piece[0]]
            shares.setdefault(id(fetcher), (fetcher, []))[1].append(piece)
        return list(shares.values())


class _Fetches:
    def __init__(self, fetches: Sequence[Fetch]):
        self._fetches, self._held = fetches, ExitStack()

    @property
    def received(self) -> int:
        return sum(fetch.received for fetch in self._fetches)

    def wait(self, seconds: float | None) -> bool:
        return all(fetch.wait(seconds) for fetch in self._fetches)

    def cancel(self) -> None:
        for fetch in self._fetches:
            fetch.cancel()

    def drain(self) -> None:
        for fetch in self._fetches:
            fetch.drain()

    def __enter__(self) -> "_Fetches":
        for fetch in self._fetches:
            self._held.enter_context(fetch)
        return self

    def __exit__(self, *exception) -> None:
        self._held.close()
