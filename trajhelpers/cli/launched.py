"""Processes that torchrun or SLURM's srun has started together for one command: the first opens
the checkpoints and writes, the others compute with it and are silent.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, NamedTuple

from ..errors import RankEnded

# The first may be asked a question, or list for long.
_LONGEST = timedelta(days=30)


class Launch(NamedTuple):
    """Of this process: which of how many, on this machine and in all."""

    rank: int
    size: int
    local_rank: int


def launch() -> Launch | None:
    """As the environment says; None for one process. ValueError where it does not say where the
    others are found.

    torchrun's variables go first.
    """
    own = _of_torchrun() or _of_slurm()
    return own if own and own.size > 1 else None


def _of_torchrun() -> Launch | None:
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        return None
    return Launch(*(int(os.environ.get(name, 0)) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")))


def _of_slurm() -> Launch | None:
    names = ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID")
    if any(name not in os.environ for name in names[:2]):
        return None
    own = Launch(*(int(os.environ.get(name, 0)) for name in names))
    missing = [name for name in ("MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
    if own.size > 1 and missing:
        raise ValueError(
            f"SLURM runs {own.size} tasks, and {' and '.join(missing)} must say where they meet:"
            " export MASTER_ADDR=$(scontrol show hostnames $SLURM_JOB_NODELIST | head -n 1)"
            " MASTER_PORT=29500 before srun; or run one process, with srun --ntasks=1"
        )
    return own


class Together:
    """The processes of a launch, in a group of torch.distributed's."""

    def __init__(self, group: Any, rank: int):
        self.group, self.is_first = group, rank == 0
        self._has_given = False

    def give(self, value: Any) -> None:
        """From the first to the others, who take it."""
        from torch import distributed

        self._has_given = True
        distributed.broadcast_object_list([value])

    def take(self) -> Any:
        from torch import distributed

        given = [None]
        try:
            distributed.broadcast_object_list(given)
        except RuntimeError:
            raise RankEnded("the first process has ended before it opened the source", 0) from None
        return given[0]

    def until_first_ends(self) -> None:
        """What goes wrong it says, then: torchrun ends all processes when one has."""
        from torch import distributed

        with suppress(RuntimeError):
            distributed.broadcast_object_list([None])

    def give_nothing(self) -> None:
        """Unless something was given: the others end."""
        if self.is_first and not self._has_given:
            self.give(None)


@contextmanager
def launched() -> Iterator[Together | None]:
    """The processes of this launch; None where this is the only one."""
    own = launch()
    if own is None:
        yield None
        return
    # Not at the top of the file: torch takes seconds to import.
    import torch
    from torch import distributed

    if torch.cuda.is_available():
        torch.cuda.set_device(own.local_rank % torch.cuda.device_count())
    distributed.init_process_group("gloo", rank=own.rank, world_size=own.size, timeout=_LONGEST)
    together = Together(distributed.group.WORLD, own.rank)
    try:
        yield together
    finally:
        together.give_nothing()
        distributed.destroy_process_group()
