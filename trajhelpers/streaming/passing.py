"""A pass: all columns once, from where a state of it is; with checkpoints left out that are not
finite, and what is done kept on the disk."""

import warnings
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

from ..errors import ChecksumError, NonFiniteError, TrajectoryWarning
from ..sources.protocol import Checks
from ..stored import Stored
from ..version import __version__
from .blocks import checks_of, cut, in_turn
from .columns import Columns, all_columns, both, less, part
from .cpu import products_on_cpu
from .differences import Differences
from .nonfinite import NonFiniteFound, NotFinite, nonfinite_checkpoints
from .progress import progress_bar
from .ranks import ALONE, Ranks
from .resuming import Partial, State, conditions
from .segments import Segment, columns_of
from .sums import Sums
from .verifying import confirm_nonfinite


class How(NamedTuple):
    """``memory``: bytes of what is fetched ahead. ``ranks`` share the pass."""

    precision: str
    device: str
    memory: int
    ranks: Ranks = ALONE


def begin(
    trajectory: Stored, segments: dict[str, Segment], how: How, partial: str | Path | None
) -> tuple[State, Columns, Partial | None]:
    """Where a pass goes on from, the columns that are left, and where it keeps what is done."""
    state, whole = State.none(trajectory.n), all_columns(list(segments.values()))
    if partial is None:
        return state, whole, None
    precision, device, memory, ranks = how
    alike = ranks.once(
        lambda: conditions(trajectory, segments, precision, device, memory, __version__)
    )
    store = Partial(partial, alike, ranks.rank)
    if ranks.rank == 0:
        state = store.read() or state
    # The first rank has the sums so far, and all know of which columns they are.
    done, lost = ranks.meet((state.done, state.lost))[0]
    if ranks.rank:
        state = State.none(trajectory.n - len(lost), lost)
    return state, less(whole, done), store


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
    whole, (state, left, store) = trajectory, begin(trajectory, segments, how, partial)
    ranges = list(segments.values())
    while True:
        trajectory = without(whole, state.lost)
        try:
            return trajectory, *one_pass(
                trajectory, ranges, trajectory.links, how, known, state, left, store, verify
            )
        except ChecksumError:
            if store:
                store.discard()
            raise
        except NonFiniteFound as found:
            trajectory.refuse_changed()
            if trajectory.nonfinite == "raise" or not found.bad:
                raise NonFiniteError(found.message) from None
            warnings.warn(
                f"{found.message}; left out of the trajectory", TrajectoryWarning, stacklevel=3
            )
            rows = [index for index in range(whole.n) if index not in state.lost]
            lost = sorted([*state.lost, *(rows[index] for index in found.bad)])
            state, left = State.none(whole.n - len(lost), lost), all_columns(ranges)
            # Before any rank writes the first of the new ones: they meet when a pass begins.
            if store and how.ranks.rank == 0:
                store.discard()


def without(trajectory: Any, lost: list[int]) -> Any:
    left = [index for index in range(trajectory.n) if index not in lost]
    return trajectory[left] if lost else trajectory


def one_pass(
    trajectory: Stored,
    segments: list[Segment],
    links: Int[np.ndarray, " n"],
    how: How,
    known: int = 0,
    state: State | None = None,
    left: Columns | None = None,
    store: Partial | None = None,
    verify: bool = False,
) -> tuple[Sums, Checks | None]:
    """Of rows that are linked so, of all or of those behind the first ``known`` with all, over the
    columns that are left, by default all.
    """
    state = state or State.none(trajectory.n)
    sums, differences, whole = state.sums, Differences(links, known), all_columns(segments)
    left = whole if left is None else left
    ranks, mine = how.ranks, how.ranks.share(left)
    memory = None if trajectory.remote is None and store is None else how.memory
    with ranks.together():
        before, others, blocks = (
            cut(trajectory, segments, memory, columns)
            for columns in (less(whole, left), less(left, mine), mine)
        )
        checks = checks_of(
            trajectory, [*others, *before, *blocks], len(before), verify, len(others)
        )
        done = 0
        with (
            progress_bar(trajectory, [*others, *before], blocks, checks, ranks=ranks) as progress,
            closing(in_turn(trajectory, blocks, progress, checks, ranks)) as in_hand,
        ):
            for block in in_hand:
                try:
                    sums.add(_products(trajectory, block.segments, differences, how, progress))
                except NotFinite as found:
                    bad, message = nonfinite_checkpoints(trajectory, found.segment, how.precision)
                    confirm_nonfinite(trajectory, checks, bad, found.segment)
                    raise NonFiniteFound(bad, message) from None
                done += columns_of(block.pieces)
                if store:
                    columns = both(state.done, part(mine, 0, done))
                    store.write(State(columns, state.lost, sums))
                progress.show()
        trajectory.refuse_changed()
        sums = ranks.sum(sums, len(segments))
        if store and ranks.is_first_of_several:
            store.finish(State(whole, state.lost, sums))
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
