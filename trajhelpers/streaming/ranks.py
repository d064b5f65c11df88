"""Ranks: processes that share a pass. Here the one that has it for itself; where there are several,
:mod:`.several`.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from ..sources.protocol import Checks
from .columns import Columns, share
from .sums import Sums

T = TypeVar("T")


class Ranks:
    """One alone: it meets itself."""

    rank, size = 0, 1
    is_first_of_several = property(lambda self: self.rank == 0 and self.size > 1)

    def share(self, columns: Columns) -> Columns:
        """Those that this rank reads, and no other."""
        return share(columns, self.rank, self.size)

    @contextmanager
    def together(self) -> Iterator[None]:
        """What goes wrong within it on one rank goes wrong on all: the same error."""
        yield

    def meet(self, value: T) -> Sequence[T]:
        """What each rank has, in order; all ranks come, and wait for one another."""
        return [value]

    def once(self, call: Callable[[], T]) -> T:
        """What the first rank finds, for all."""
        return call()

    def done(self, count: int) -> int:
        """This rank has done so much: how much all have, as far as the first one has heard. Called
        often: raises where another rank has failed or is gone.
        """
        return count

    def sum(self, sums: Sums, segments: int) -> Sums:
        """Of all ranks, the same bits on each."""
        return sums

    def exchange(self, checks: Checks) -> None:
        """What each rank had of files of which others had parts, for whom compares them."""


ALONE = Ranks()


@contextmanager
def ranks_of(group: Any, trajectory: Any, given: Sequence[Any]) -> Iterator[Ranks]:
    """Those of a process group of torch.distributed, all of which call this with the same
    trajectory and what else was given; without a group, this process alone.
    """
    if group is None:
        yield ALONE
        return
    # Not at the top of the file: torch takes seconds to import.
    from .several import several

    with several(group, trajectory, given) as ranks:
        yield ranks
