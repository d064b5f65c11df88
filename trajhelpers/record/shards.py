"""Checkpoints to which each process of a sharded training writes what it holds, and nothing is
gathered: torch's distributed checkpoints, whose folders :func:`trajhelpers.open_trajectory` reads.

The threads that write have a process group of their own, of gloo's: what they say to one another
gets into no way of the training's own messages."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import distributed
from torch.distributed import checkpoint as dcp

from ..errors import CheckpointError, StepError, TrajectoryError
from ..reading.folder_formats.distributed import listed_shapes
from ..sources.disk import LocalFolder
from .lock import LOCK
from .processes import told_of_waiting, writes
from .writer import FolderWriter


class ShardWriter(FolderWriter):
    """A :class:`FolderWriter` in every process. The first holds the folder, names a checkpoint when
    all have written theirs, and removes what goes.
    """

    ending = ".shards"

    def _claim(self) -> None:
        self._group = distributed.new_group(backend="gloo")
        with _as_one(self._group):
            if writes():
                super()._claim()
                for left in self.folder.glob(".step_*.shards.*"):
                    shutil.rmtree(left)
        try:
            with _as_one(self._group):
                if not (self.folder / LOCK).exists():
                    raise TrajectoryError(
                        f"{self.folder}: process {distributed.get_rank()} does not find there what"
                        " the first has put there; shards=True is for a folder that all share"
                    )
        except BaseException:
            if self._lock:
                self._lock.release()
            raise

    def checkpoints(self) -> list[tuple[int, Path]]:
        """As the first finds them: others may see a folder of a network later."""
        return _said(self._group, super().checkpoints() if writes() else None)[0]

    def held(self, checkpoint: Path) -> tuple[dict[str, tuple[int, ...]], str]:
        try:
            return listed_shapes(LocalFolder(checkpoint)), ""
        except OSError as error:
            raise CheckpointError(f"{checkpoint}: cannot be read ({error})") from error

    def remove(self, checkpoint: Path) -> None:
        if writes():
            super().remove(checkpoint)

    def as_one(self):
        self.flush()  # the thread says nothing meanwhile
        return _as_one(self._group)

    def _save(self, step: int, state: dict[str, torch.Tensor]) -> None:
        with told_of_waiting(self.folder):
            steps = _said(self._group, step)
        if len(set(steps)) > 1:
            raise StepError(
                f"{self.folder}: processes recorded different steps, {_by_process(steps)}; call the"
                " recorder with the same steps in each"
            )
        with _as_one(self._group):
            self.hold()
        target = self.place(step)
        temporary = target.with_name(f".{target.name}.unfinished")
        try:
            dcp.save(
                state, storage_writer=dcp.FileSystemWriter(temporary), process_group=self._group
            )
        except dcp.CheckpointException as found:  # no Exception, and the same in all processes
            rank, (error, _) = next(iter(found.failures.items()))
            raise TrajectoryError(f"process {rank}: {error}") from error
        with _as_one(self._group):
            if writes():
                if target.exists():
                    super().remove(target)
                temporary.rename(target)


@contextmanager
def _as_one(group: Any) -> Iterator[None]:
    """Where the block raises in one process, it does in all."""
    met = None
    try:
        yield
    except Exception as error:
        met = error
    kind = type(met) if isinstance(met, TrajectoryError) else TrajectoryError
    errors = _said(group, met and (kind, str(met)))
    if met:
        raise met
    for kind, text in filter(None, errors):
        raise kind(text)


def _said(group: Any, word: Any) -> list[Any]:
    """What each process says, in their order."""
    words = [None] * distributed.get_world_size(group)
    distributed.all_gather_object(words, word, group=group)
    return words


def _by_process(steps: list[int]) -> str:
    several = {step: [rank for rank, one in enumerate(steps) if one == step] for step in steps}
    return ", ".join(
        f"{step} (process {', '.join(map(str, ranks[:4]))}{' …' if len(ranks) > 4 else ''})"
        for step, ranks in several.items()
    )
