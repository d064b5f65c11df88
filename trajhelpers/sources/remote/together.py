"""Several fetchers as one, for checkpoints that lie in several places far away."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from ...reading.compared import sum_of_facts
from ..protocol import Checks, Fetch, Fetcher, Range


class Together:
    """``fetchers`` has, by place, the one that fetches from there."""

    def __init__(self, fetchers: Mapping[Any, Fetcher]):
        self._fetchers = dict(fetchers)

    @property
    def _each(self) -> list[Fetcher]:
        return list({id(fetcher): fetcher for fetcher in self._fetchers.values()}.values())

    def fetch(self, pieces: Iterable[Range], checks: "_Checks | None" = None) -> Fetch:
        return _Fetches(
            [
                fetcher.fetch(own, checks and checks.of[id(fetcher)])
                for fetcher, own in self._shared(pieces)
            ]
        )

    def check(
        self,
        blocks: Iterable[Sequence[Range]],
        done: int = 0,
        verify: bool = False,
        apart: bool = False,
        others: int = 0,
    ) -> Checks:
        shares: dict[int, list[list[Range]]] = {
            id(fetcher): [] for fetcher in self._fetchers.values()
        }
        for block in blocks:
            own = {id(fetcher): some for fetcher, some in self._shared(block)}
            for key, several in shares.items():
                several.append(own.get(key, []))
        fetchers = {id(fetcher): fetcher for fetcher in self._fetchers.values()}
        return _Checks(
            {
                key: fetcher.check(shares[key], done, verify, apart, others)
                for key, fetcher in fetchers.items()
            }
        )

    def share(self, rank: int, size: int, tell: Callable[[float], None] | None) -> None:
        for fetcher in self._each:
            fetcher.share(rank, size, tell)

    def hold_back(self, seconds: float) -> None:
        for fetcher in self._each:
            fetcher.hold_back(seconds)

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


class _Checks:
    """Those of each fetcher, by its id."""

    def __init__(self, of: Mapping[int, Checks]):
        self.of, self._held = of, ExitStack()

    @property
    def to_fetch(self) -> tuple[int, int]:
        requests, sizes = zip(*(one.to_fetch for one in self.of.values()))
        return sum(requests), sum(sizes)

    @property
    def received(self) -> int:
        return sum(one.received for one in self.of.values())

    @property
    def facts(self) -> dict[str, Any]:
        return sum_of_facts([one.facts for one in self.of.values()])

    @property
    def parts(self) -> list[Any]:
        return [one.parts for one in self.of.values()]

    def add_parts(self, several: Iterable[Any]) -> None:
        for one, parts in zip(self.of.values(), zip(*several)):
            one.add_parts(parts)

    def confirm(self, pieces: Iterable[Range]) -> None:
        for file, begin, end in pieces:
            self.of[id(file.files)].confirm([(file, begin, end)])

    def finish(self) -> None:
        for one in self.of.values():
            one.finish()

    def wait(self, seconds: float | None) -> bool:
        return all(one.wait(seconds) for one in self.of.values())

    def cancel(self) -> None:
        for one in self.of.values():
            one.cancel()

    def drain(self) -> None:
        for one in self.of.values():
            one.drain()

    def __enter__(self) -> "_Checks":
        for one in self.of.values():
            self._held.enter_context(one)
        return self

    def __exit__(self, *exception) -> None:
        self._held.close()
