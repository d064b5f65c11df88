"""From memory to a folder, in the background, and in order."""

import os
import re
import shutil
import threading
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path

import safetensors.torch
import torch

from ..atomic import atomic_path, remove_abandoned
from ..errors import CheckpointError, TrajectoryError
from ..reading.partly import KEY, said_of_sample
from ..telling import tell
from .lock import FolderLock
from .processes import writes

_AT_ONCE = 3  # checkpoints in memory: one that is being written, two that wait
# A file, or a folder to which each process wrote its shards.
_CHECKPOINT = re.compile(r"step_(\d+)(\.safetensors|\.shards)")


class FolderWriter:
    """Writes checkpoints into a folder that is its own while it lives.

    A thread lives as long as there is something to write, and is no daemon. So Python waits for it
    wherever a process ends in good order, after an exception and in the children of
    multiprocessing too, where functions registered with atexit are not called; and nothing is lost
    where nobody calls ``close``.

    Parameters
    ----------
    folder : pathlib.Path
        Made where it does not exist.
    take_over : bool
        Close another recorder of this process that has the folder: in a notebook, that of a cell
        that was run before.
    follower : callable, optional
        Called by the thread, with this writer, whenever a checkpoint has been written. It raises
        nothing, and refers to no recorder, which would live on.
    """

    ending = ".safetensors"

    def __init__(self, folder: Path, take_over: bool, follower: Callable | None = None):
        self.folder, self._follower = folder, follower
        # Beside the step, in each file.
        self.metadata: dict[str, str] = {}
        self._waiting: deque[tuple[int, dict[str, torch.Tensor]]] = deque()
        self._changed = threading.Condition()
        self._error: Exception | None = None
        self._closed = ""
        self._lock: FolderLock | None = None
        place = str(folder.resolve())
        if take_over and (other := _WRITERS.get(place)):
            other.close("another recorder of this process has taken over the folder")
        self._claim()
        _WRITERS[place] = self

    def _claim(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = FolderLock(self.folder)
        for left in self.folder.glob(".step_*.tmp"):
            remove_abandoned(left)

    def checkpoints(self) -> list[tuple[int, Path]]:
        """The checkpoints that are in the folder, with their steps and in their order."""
        found = [(_CHECKPOINT.fullmatch(path.name), path) for path in self.folder.iterdir()]
        return sorted((int(match[1]), path) for match, path in found if match)

    def place(self, step: int) -> Path:
        return self.folder / f"step_{step}{self.ending}"

    def held(self, checkpoint: Path) -> tuple[dict[str, tuple[int, ...]], str]:
        """The shapes of the parameters that it is of, and what it says of a sample, "" where it
        holds them whole. CheckpointError where it cannot be read.
        """
        try:
            with safetensors.safe_open(checkpoint, "pt") as opened:
                names = list(opened.keys())
                shapes = {name: tuple(opened.get_slice(name).get_shape()) for name in names}
                description = (opened.metadata() or {}).get(KEY, "")
        except (safetensors.SafetensorError, OSError) as error:
            raise CheckpointError(f"{checkpoint}: cannot be read ({error})") from error
        if description:
            kept = said_of_sample(checkpoint, description)[1]
            shapes = {name: one.shape for name, one in kept.items()}
        return shapes, description

    def remove(self, checkpoint: Path) -> None:
        """Whole or not at all, for whoever looks; nothing where it is gone."""
        if checkpoint.is_dir():
            hidden = checkpoint.with_name(f".{checkpoint.name}.removed")
            checkpoint.rename(hidden)
            shutil.rmtree(hidden)
        else:
            checkpoint.unlink(missing_ok=True)

    def as_one(self) -> AbstractContextManager:
        """Where the block raises in one of the processes that write, it does in all."""
        return nullcontext()

    def put(self, step: int, state: dict[str, torch.Tensor]) -> None:
        """Write soon; waits while too many do. Raises what an earlier one has met."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._waiting) < _AT_ONCE or self._closed)
            self.check()
            self._waiting.append((step, state))
            if len(self._waiting) > 1:
                return  # a thread is at it
        if threading.main_thread().is_alive():  # later nobody would wait for another thread
            with suppress(RuntimeError):  # no thread is to be had
                # a daemon's threads would be daemons too
                threading.Thread(target=self._write_all, daemon=False).start()
                return
        self._write_all()

    def check(self) -> None:
        """Raise where nothing can be written any more."""
        if self._error:
            raise TrajectoryError(
                f"{self.folder}: a checkpoint could not be written ({self._error})"
            ) from self._error
        if self._closed:
            raise TrajectoryError(
                f"{self.folder}: {self._closed}; make another recorder with resume=True"
            )

    def flush(self) -> None:
        """Wait until all is on disk."""
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting)
        if self._error:
            self.check()

    def close(self, why="this recorder is closed") -> None:
        """Wait until all is on disk, and leave the folder to others."""
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting)
            self._closed = self._closed or why
            self._changed.notify_all()
        if self._lock:
            self._lock.release()

    def leave_to_parent(self) -> None:
        self._waiting, self._changed = deque(), threading.Condition()
        self._closed = "this recorder belongs to the process from which this one was forked"
        if self._lock:
            self._lock.leave_to_parent()

    def _write_all(self) -> None:
        while True:
            with self._changed:
                step, state = self._waiting[0]
            if not self._error:
                self._write(step, state)
            del state
            if self._follower and not self._error:
                self._follower(self)
            with self._changed:
                self._waiting.popleft()
                self._changed.notify_all()
                if not self._waiting:
                    return

    def _write(self, step: int, state: dict[str, torch.Tensor]) -> None:
        try:
            self._save(step, state)
        except Exception as error:  # raised at the next call; told, since there may be none
            self._error = error
            if writes():
                tell(f"{self.place(step)} could not be written: {error}")

    def _save(self, step: int, state: dict[str, torch.Tensor]) -> None:
        self.hold()
        metadata = {"step": str(step), **self.metadata}
        with atomic_path(self.place(step)) as temporary:
            safetensors.torch.save_file(state, temporary, metadata=metadata)

    def hold(self) -> None:
        """See that the folder is this recorder's still; ExistingRunError where it is another's."""
        if self._lock:
            self._lock.hold()


_WRITERS: weakref.WeakValueDictionary[str, FolderWriter] = weakref.WeakValueDictionary()


def _in_a_forked_child() -> None:
    for writer in list(_WRITERS.values()):
        writer.leave_to_parent()
    _WRITERS.clear()


os.register_at_fork(after_in_child=_in_a_forked_child)
