"""Several ranks that share a pass, over torch.distributed: each reads and multiplies columns of its
own, and the groups' products are summed once, at the end.

They meet at a few places, all of them each time, and hear of one another in between
(:mod:`.hearing`). An error on one rank is brought to the next meeting, to which the others then
come at once, and raised there on all; of a rank that has ended the others hear, and end."""

import hashlib
import os
import pickle
import socket
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import numpy as np
import torch
from torch import distributed

from ..errors import RankEnded, TrajectoryError, TrajectoryWarning
from ..sources.protocol import Checks
from ..stored import Stored
from ..telling import silently
from .hearing import Hearing
from .ranks import Ranks
from .settings import cores, cores_shared_by
from .sums import Scaled, Sums

T = TypeVar("T")

# A rank may be done hours before another is. Of one that has ended, the others hear otherwise.
_LONGEST = timedelta(days=30)
_BETWEEN_WORDS = 0.5
# How long until it is known which rank it was whose connection has broken.
_UNTIL_HEARD = 5
_HALF, _LOW = np.uint64(32), np.uint64(0xFFFFFFFF)
# An exponent that no product has.
_NOTHING = -(1 << 30)


class _Elsewhere(Exception):
    """Something has gone wrong on another rank, which brings it to the meeting."""


class Several(Ranks):
    """``meeting`` is a group of gloo, and for nothing else."""

    def __init__(self, meeting: distributed.ProcessGroup, hearing: Hearing):
        self.rank, self.size = distributed.get_rank(meeting), distributed.get_world_size(meeting)
        self._meeting, self._hearing, self._meetings = meeting, hearing, 0
        self._raised: Exception | None = None
        self._last_word = 0.0

    @contextmanager
    def together(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            if error is self._raised or isinstance(error, RankEnded):
                raise
            if not isinstance(error, _Elsewhere):
                self._hearing.tell_failed(self._meetings)
            self._meet(error, None)
        except BaseException:
            self._hearing.tell_gone()
            raise

    def meet(self, value):
        return self._meet(None, value)

    def _meet(self, error: Exception | None, value: T) -> Sequence[T]:
        said: list[Any] = [None] * self.size
        self._meetings += 1
        try:
            distributed.all_gather_object(said, (_carried(error), value), self._meeting)
        except RuntimeError:
            raise self._gone() from None
        failed = [rank for rank, (one, _) in enumerate(said) if one and not _is_elsewhere(one)]
        if failed:
            self._raised = error if error and failed[0] == self.rank else said[failed[0]][0]
            raise self._raised
        return [value for _, value in said]

    def once(self, call):
        return self.meet(call() if self.rank == 0 else None)[0]

    def done(self, count):
        if self._hearing.gone >= 0:
            raise self._gone()
        if self._hearing.failed_before >= self._meetings:
            raise _Elsewhere
        if time.monotonic() - self._last_word > _BETWEEN_WORDS:
            self._last_word = time.monotonic()
            self._hearing.tell_done(count)
        return count + self._hearing.done

    def sum(self, sums, segments):
        self.meet(None)
        products, exponent = sums.in_one_unit(segments)
        unit = torch.tensor([exponent if products.any() else _NOTHING])
        # What gloo knows no unsigned sums for, in two halves that stay below 2⁶³.
        halves = torch.from_numpy(np.stack([sums.prints & _LOW, sums.prints >> _HALF]).astype(int))
        try:
            distributed.all_reduce(unit, distributed.ReduceOp.MAX, self._meeting)
            largest = int(unit) if int(unit) != _NOTHING else 0
            np.ldexp(products, 2 * (exponent - largest), out=products)
            distributed.all_reduce(torch.from_numpy(products), group=self._meeting)
            distributed.all_reduce(halves, group=self._meeting)
        except RuntimeError:
            raise self._gone() from None
        low, high = halves.numpy().astype(np.uint64)
        prints = low + (high << _HALF)  # mod 2⁶⁴, as one process adds them
        return Sums({index: Scaled(one, largest) for index, one in enumerate(products)}, prints)

    def exchange(self, checks: Checks) -> None:
        checks.add_parts(self.meet(checks.parts))

    def _gone(self) -> RankEnded:
        if self._hearing.gone < 0:
            self._hearing.something.wait(_UNTIL_HEARD)
        which = self._hearing.gone
        called = f"rank {which} of {self.size}" if which >= 0 else f"one of {self.size} ranks"
        return RankEnded(
            f"{called} has ended before the others (killed, out of memory, or interrupted?), and"
            " the pass with it; begin it again, with any number of ranks",
            which,
        )


@contextmanager
def several(group: Any, trajectory: Stored, given: Sequence[Any]) -> Iterator[Several]:
    """The ranks of a group, for the length of a pass. Ranks but the first are silent."""
    _refuse_no_group(group)
    with ExitStack() as held:
        meeting, between = _new_group(group, held), _new_group(group, held)
        hearing = Hearing(between, _waiting(trajectory))
        ranks = Several(meeting, hearing)
        if ranks.rank:
            held.enter_context(silently())
            held.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore", TrajectoryWarning)
        try:
            with ranks.together():
                _refuse_different(ranks.meet(_facts(trajectory, given)))
                here = socket.gethostname(), sorted(_affinity())
                beside = sum(one == here for one in ranks.meet(here))
                held.enter_context(cores_shared_by(beside))
                held.enter_context(_sharing(trajectory, ranks, hearing))
                yield ranks
                ranks.meet(None)
        finally:
            hearing.close()


def _refuse_no_group(group: Any) -> None:
    if not distributed.is_available() or not distributed.is_initialized():
        raise ValueError(
            "group: torch.distributed is not initialised; call"
            " torch.distributed.init_process_group() first, or start with torchrun"
        )
    if not isinstance(group, distributed.ProcessGroup):
        raise TypeError(
            "group: expected a process group of torch.distributed that this process is in, as"
            f" torch.distributed.group.WORLD, got {type(group).__name__}"
        )


def _new_group(group: Any, held: ExitStack) -> Any:
    new = distributed.new_group(
        distributed.get_process_group_ranks(group),
        timeout=_LONGEST,
        backend="gloo",
        use_local_synchronization=True,
    )
    held.callback(distributed.destroy_process_group, new)
    return new


def _affinity() -> set[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else {cores()}


def _waiting(trajectory: Any):
    return lambda seconds: trajectory.remote and trajectory.remote.hold_back(seconds)


@contextmanager
def _sharing(trajectory: Any, ranks: Ranks, hearing: Hearing) -> Iterator[None]:
    """What the hub lets one ask for is for all ranks together."""
    if trajectory.remote is None:
        yield
        return
    trajectory.remote.share(ranks.rank, ranks.size, hearing.tell_wait)
    try:
        yield
    finally:
        trajectory.remote.share(0, 1, None)


def _facts(trajectory: Stored, given: Sequence[Any]) -> dict[str, str]:
    """By the names that an error gives them, what has to be the same on all ranks, hashed."""
    layout = trajectory.layout
    found = {
        "checkpoints": [trajectory.identity, trajectory.commits, trajectory.nonfinite],
        "tensors": [layout.names, layout.shapes, layout.dtypes],
        "files": trajectory.stamps(),
        "arguments": given,
    }
    return {name: hashlib.sha256(repr(one).encode()).hexdigest() for name, one in found.items()}


def _refuse_different(facts: Sequence[dict[str, Any]]) -> None:
    for rank, other in enumerate(facts):
        names = [name for name in facts[0] if facts[0][name] != other.get(name)]
        if names:
            raise TrajectoryError(
                f"rank {rank} was given other {', '.join(names)} than rank 0; give all ranks the"
                " same trajectory and arguments"
            )


def _carried(error: Exception | None) -> Exception | None:
    """As it can be sent to other ranks."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def _is_elsewhere(error: Exception) -> bool:
    return isinstance(error, _Elsewhere)
