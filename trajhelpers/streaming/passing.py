"""A pass: all columns once, from where a state of it is; with checkpoints left out that are not
finite, and what is done kept on the disk."""

from contextlib import closing, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

from ..errors import ChecksumError, NonFiniteError
from ..sources.protocol import Checks
from ..stored import Stored
from ..telling import warn
from ..version import __version__
from .blocks import Block, checks_of, cut, in_turn
from .comparing import confirm_nonfinite
from .cpu import products_on_cpu
from .differences import Differences
from .nonfinite import NonFiniteFound, NotFinite, nonfinite_checkpoints
from .progress import progress_bar
from .resuming import Partial, State, conditions
from .segments import Segment
from .sums import Sums


class How(NamedTuple):
    """``memory``: bytes of what is fetched ahead."""

    precision: str
    device: str
    memory: int


def begin(
    trajectory: Stored, segments: dict[str, Segment], how: How, partial: str | Path | None
) -> tuple[State, Partial | None]:
    """Where a pass goes on from, and where it keeps what is done."""
    none = State(0, [], Sums.none(trajectory.n))
    if partial is None:
        return none, None
    store = Partial(partial, conditions(trajectory, segments, *how, __version__))
    return store.read() or none, store


def pass_over(
    trajectory: Any,
    segments: dict[str, Segment],
    how: How,
    partial: str | Path | None,
    verify: bool,
    known: int = 0,
) -> tuple[Any, Sums, Checks | None]:
    """The checkpoints that are finite, the sums of their products over all blocks, and what they
    were compared with. Of the first ``known`` the products with each other are not asked for.
    """
    whole, (state, store) = trajectory, begin(trajectory, segments, how, partial)
    ranges = list(segments.values())
    while True:
        trajectory = without(whole, state.lost)
        try:
            return trajectory, *one_pass(
                trajectory, ranges, trajectory.links, how, state, store, verify, known
            )
        except ChecksumError:
            if store:
                store.discard()
            raise
        except NonFiniteFound as found:
            trajectory.refuse_changed()
            if trajectory.nonfinite == "raise" or not found.bad:
                raise NonFiniteError(found.message) from None
            warn(f"{found.message}; left out of the trajectory")
            left = [index for index in range(whole.n) if index not in state.lost]
            lost = sorted([*state.lost, *(left[index] for index in found.bad)])
            state = State(0, lost, Sums.none(whole.n - len(lost)))


def without(trajectory: Any, lost: list[int]) -> Any:
    left = [index for index in range(trajectory.n) if index not in lost]
    return trajectory[left] if lost else trajectory


def one_pass(
    trajectory: Stored,
    segments: list[Segment],
    links: Int[np.ndarray, " n"],
    how: How,
    state: State | None = None,
    store: Partial | None = None,
    verify: bool = False,
    known: int = 0,
) -> tuple[Sums, Checks | None]:
    """Of rows that are linked so, of all or of those behind the first ``known`` with all."""
    state = state or State(0, [], Sums.none(trajectory.n))
    sums, differences = state.sums, Differences(links, known)
    whole = trajectory.remote is None and store is None
    blocks = (
        [Block([], dict(enumerate(segments)))] if whole else cut(trajectory, segments, how.memory)
    )
    checks = checks_of(trajectory, blocks, state.blocks, verify)
    with (
        progress_bar(trajectory, segments, blocks, state.blocks, checks) as progress,
        closing(in_turn(trajectory, blocks[state.blocks :], progress, checks)) as in_hand,
    ):
        for done, block in enumerate(in_hand, state.blocks + 1):
            try:
                sums.add(_products(trajectory, block.segments, differences, how, progress))
            except NotFinite as found:
                bad, message = nonfinite_checkpoints(trajectory, found.segment, how.precision)
                confirm_nonfinite(trajectory, checks, bad, found.segment)
                raise NonFiniteFound(bad, message) from None
            if store:
                store.write(State(done, state.lost, sums))
    trajectory.refuse_changed()
    return sums, checks


def _products(trajectory, segments, differences, how, progress):
    if how.device != "cpu":
        # Not at the top of the file: torch takes seconds to import.
        from .accelerator import products_on_accelerator

        with suppress(NotFinite):
            return products_on_accelerator(
                trajectory, segments, differences, how.precision, progress, how.device
            )
        # Not finite, or so small or large that the rows have to be scaled, as the CPU does.
    return products_on_cpu(trajectory, segments, differences, how.precision, progress)
