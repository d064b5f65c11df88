"""Which columns a sample is made of.

The columns of each group, a tensor as a rule, are laid end to end and cut into blocks of one length
(to within one). Of M blocks m are read: those that come first in an order that the seed and the
group's name fix. So of a larger sample a smaller one is the beginning, which can be continued, and
groups are strata: m/M is the same in all of them, but for two blocks that each has at least.
(By the variance of the blocks read so far, Neyman's shares, errors would be smaller; but then m
depends on blocks that count themselves, and where few rows of an embedding move most, sums came out
too small, by as much as their standard error.)

What was read is summed up by cells, for replicates: block i of the order is in cell i mod k, so
that cells are of one block each in a small sample, and are dealt more as it grows."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int

from ..reading.account import percent
from ..stored import Stored
from .segments import Segment, columns_of

# Of a group, so that there is a variance.
_LEAST_DRAWN = 2
# With fewer, of groups that are not whole, intervals are too short: 70 % for 95 % with two of each.
_FEW = 100
# Of all groups together, n² × 8 bytes each; and of each group at least.
_MOST_CELLS, _LEAST_CELLS = 512, 4


@dataclass(frozen=True)
class Draw:
    """``segments``: what is read, by name, of which each is the new part of a cell, by (group's
    name, number) in ``cells``. Of each group: how many ``blocks`` there are, how many are
    ``drawn``, of how many ``numbers``, and to how many cells they are ``dealt``.
    """

    seed: int
    block: int
    segments: dict[str, Segment]
    cells: list[tuple[str, int]]
    blocks: dict[str, int]
    drawn: dict[str, int]
    numbers: dict[str, int]
    dealt: dict[str, int]

    def __str__(self) -> str:
        drawn, blocks = sum(self.drawn.values()), sum(self.blocks.values())
        sampled = sum(count for name, count in self.drawn.items() if not self.is_whole(name))
        rough = "; so few that errors are rough" if sampled < _FEW else ""
        return f"{drawn:,} of {blocks:,} blocks, two at least of each group{rough}"

    def is_whole(self, name: str) -> bool:
        return self.drawn[name] == self.blocks[name]

    def count(self, name: str, cell: int) -> int:
        """Of how many blocks a cell is the sum."""
        return len(range(cell, self.drawn[name], self.dealt[name]))


def block_length(trajectory: Stored) -> int:
    """Numbers of a block: the more blocks, the smaller the error; the longer, the less they cost.

    On this machine see :func:`block_length_here`. Far away, as long as a request takes no longer to
    answer than to be asked, 1 MiB of each checkpoint; of smaller networks what makes some 32,000
    blocks, but 64 KiB.
    """
    if trajectory.remote is None:
        return block_length_here(trajectory.p)
    of_one = max(map(trajectory.largest_bytes_of, trajectory.names))
    return min(max(trajectory.p >> 15, (64 << 10) // of_one), (1 << 20) // of_one)


def block_length_here(p: int) -> int:
    """4,096, of smaller networks what makes some 8,000 blocks of all, but 64."""
    return min(max(p >> 13, 64), 4096)


def draw(
    trajectory: Stored | None,
    segments: Mapping[str, Segment],
    sample: float | int | None,
    seed: int,
    block: int,
    before: Mapping[str, int],
) -> Draw:
    """A sample, of which ``before`` says how many blocks of each group have been read. A fraction
    needs no trajectory. ValueError where it asks for nothing, or for less than there has to be.
    """
    columns = {name: columns_of(segment) for name, segment in segments.items()}
    blocks = {name: -(-of_one // block) for name, of_one in columns.items()}
    drawn = _drawn(trajectory, segments, blocks, sample)
    for name in drawn:
        drawn[name] = max(drawn[name], before.get(name, 0))
    if all(drawn[name] == before.get(name, 0) for name in drawn):
        done = sum(columns[name] * drawn[name] / blocks[name] for name in drawn)
        raise ValueError(
            f"sample: {percent(done / sum(columns.values()))} of the parameters have been read"
            " before; give more, or leave sample= out to read all"
        )
    total = sum(blocks.values())
    # A group that is whole needs no replicates.
    dealt = {
        name: 1 if drawn[name] == count else max(_LEAST_CELLS, round(_MOST_CELLS * count / total))
        for name, count in blocks.items()
    }
    cells: list[tuple[str, int]] = []
    parts: dict[str, Segment] = {}
    read: dict[str, int] = {}
    for name, segment in segments.items():
        # Whole numbers, so that blocks meet and none is longer by more than one.
        edges = columns[name] * np.arange(blocks[name] + 1) // blocks[name]
        order = order_of(name, seed, blocks[name])[: drawn[name]]
        read[name] = int((edges[order + 1] - edges[order]).sum())
        done = before.get(name, 0)
        for cell in range(min(dealt[name], drawn[name])):
            taken = np.sort(order[done:][(cell - done) % dealt[name] :: dealt[name]])
            if len(taken):
                cells.append((name, cell))
                parts[f"{name} [{cell}]"] = _pieces(segment, _united(edges, taken))
    return Draw(seed, block, parts, cells, blocks, drawn, read, dealt)


def order_of(name: str, seed: int, count: int) -> Int[np.ndarray, " count"]:
    """In which order a group's blocks are drawn.

    Of the raw bits of a generator, which no version of NumPy changes: a sample must be continued
    as it was begun.
    """
    digest = hashlib.blake2b(f"{seed}:{name}".encode(errors="surrogatepass"), digest_size=16)
    bits = np.random.PCG64(int.from_bytes(digest.digest(), "little")).random_raw(count)
    return np.argsort(bits, kind="stable")


def share_or_bytes(sample: Any) -> float | int | None:
    """What a user may give: a fraction as a float, bytes as an int, None for all.

    >>> share_or_bytes(0.01), share_or_bytes(4_000_000_000), share_or_bytes(1)
    (0.01, 4000000000, None)
    """
    if sample is None or (sample == 1 and not isinstance(sample, bool)):
        return None
    if isinstance(sample, (int, np.integer)) and not isinstance(sample, bool) and sample > 1:
        return int(sample)
    if isinstance(sample, (float, np.floating)) and 0 < sample < 1:
        return float(sample)
    raise ValueError(
        "sample: expected a fraction of the parameters in (0, 1], as 0.01, or a whole number of"
        f" bytes, as 4_000_000_000, got {sample!r}"
    )


def _drawn(trajectory, segments, blocks, sample):
    """Of each group, how many blocks."""
    if sample is None:
        return dict(blocks)
    if isinstance(sample, int):
        return _within(_bytes_of(trajectory, segments), blocks, sample)
    return _of_share(blocks, sample)


def _of_share(blocks: Mapping[str, int], share: float) -> dict[str, int]:
    """
    >>> _of_share({"matrix": 1000, "bias": 1, "norm": 3}, 0.01)
    {'matrix': 10, 'bias': 1, 'norm': 2}
    """
    return {
        name: min(count, max(_LEAST_DRAWN, round(share * count))) for name, count in blocks.items()
    }


def _within(sizes: Mapping[str, int], blocks: Mapping[str, int], limit: int) -> dict[str, int]:
    """The largest share of all groups that is of no more bytes than ``limit``."""

    def bytes_of(drawn):
        return sum(sizes[name] * drawn[name] / blocks[name] for name in blocks)

    least = bytes_of(_of_share(blocks, 0.0))
    if least > limit:
        raise ValueError(
            f"sample: two blocks of each group, without which no error is known, are {least:,.0f}"
            f" bytes ({percent(least / sum(sizes.values()))} of all); give as much"
        )
    low, high = 0.0, 1.0
    if bytes_of(blocks) <= limit:
        return dict(blocks)
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (
            (middle, high) if bytes_of(_of_share(blocks, middle)) <= limit else (low, middle)
        )
    return _of_share(blocks, low)


def _bytes_of(trajectory: Stored, segments: Mapping[str, Segment]) -> dict[str, int]:
    return {
        group: sum((stop - start) * trajectory.bytes_of(name) for name, start, stop in segment)
        for group, segment in segments.items()
    }


def _united(edges, taken) -> Iterable[tuple[int, int]]:
    """Columns of blocks in order, of neighbours together."""
    breaks = np.flatnonzero(np.diff(taken) > 1) + 1
    for run in np.split(taken, breaks):
        yield int(edges[run[0]]), int(edges[run[-1] + 1])


def _pieces(segment: Segment, columns: Iterable[tuple[int, int]]) -> Segment:
    """Ranges of columns, in order, of a segment laid end to end.

    >>> _pieces([("a", 10, 20), ("b", 0, 5)], [(2, 4), (8, 12)])
    [('a', 12, 14), ('a', 18, 20), ('b', 0, 2)]
    """
    found: Segment = []
    waiting, at = iter(columns), 0
    begin, end = next(waiting, (0, 0))
    for name, start, stop in segment:
        beyond = at + stop - start
        while begin < min(end, beyond):
            last = min(end, beyond)
            found.append((name, start + begin - at, start + last - at))
            begin = last
            if begin == end:
                begin, end = next(waiting, (0, 0))
        at = beyond
    return found
