"""What ranks hear of one another between their meetings: how far they are, that one has failed, is
gone, or was asked by the hub to wait.

All tell the first, which tells the others. A thread for each waits for the next word, so that
nobody else does; and since the system closes the connections of a process that ends, however it
does, that is heard at once."""

import threading
import time
from collections.abc import Callable

import torch
from torch import distributed

_PATIENCE = 10
_DONE, _FAILED, _GONE, _WAIT, _BYE = range(5)


class Hearing:
    """``group`` is of gloo, and for nothing else. ``wait`` is called with seconds."""

    def __init__(self, group: distributed.ProcessGroup, wait: Callable[[float], None]):
        self._group, self._wait = group, wait
        self.rank, self._size = distributed.get_rank(group), distributed.get_world_size(group)
        # By rank; the meeting before which one failed; which rank has ended.
        self._done = [0] * self._size
        self.failed_before, self.gone = -1, -1
        self.something = threading.Event()
        self._locks = [threading.Lock() for _ in range(self._size)]
        self._peers = [0] if self.rank else list(range(1, self._size))
        self._closing = False
        self._threads = [
            threading.Thread(target=self._listen, args=[peer], daemon=True, name="hears ranks")
            for peer in self._peers
        ]
        for thread in self._threads:
            thread.start()

    @property
    def done(self) -> int:
        """By the others, as far as the first rank has heard."""
        return sum(self._done)

    def tell_done(self, count: int) -> None:
        if self.rank:
            self._tell(_DONE, count)

    def tell_failed(self, before: int) -> None:
        """So that all come to that meeting."""
        self._tell(_FAILED, before)

    def tell_gone(self) -> None:
        """This rank comes to no meeting any more."""
        self._tell(_GONE, self.rank)

    def tell_wait(self, seconds: float) -> None:
        self._wait(seconds)
        self._tell(_WAIT, int(1000 * seconds))

    def close(self) -> None:
        """All ranks do, and each waits for the others' good-bye, so that no thread is left to be
        torn from the system's hands when the process ends; for a while, since one may be busy.
        """
        self._closing = True
        self._tell(_BYE, 0)
        until = time.monotonic() + _PATIENCE
        for thread in self._threads:
            thread.join(max(0, until - time.monotonic()))

    def _tell(self, kind: int, value: int, but: int = -1) -> None:
        for peer in self._peers:
            if peer != but:
                self._send(peer, kind, value)

    def _send(self, peer: int, kind: int, value: int) -> None:
        message = torch.tensor([kind, value])
        try:
            with self._locks[peer]:
                distributed.send(
                    message, distributed.get_global_rank(self._group, peer), self._group
                )
        except RuntimeError:
            pass  # it is gone: the thread that listens to it hears so, too

    def _listen(self, peer: int) -> None:
        message = torch.zeros(2, dtype=torch.int64)
        source = distributed.get_global_rank(self._group, peer)
        while True:
            try:
                distributed.recv(message, source, self._group)
            except RuntimeError:
                if not self._closing:
                    self._hear(peer, _GONE, peer)
                return
            kind, value = message.tolist()
            if kind == _BYE:
                return
            self._hear(peer, kind, value)

    def _hear(self, peer: int, kind: int, value: int) -> None:
        if kind == _DONE:
            self._done[peer] = value
            return
        if kind == _WAIT:
            self._wait(value / 1000)
        elif kind == _FAILED:
            self.failed_before = max(self.failed_before, value)
        elif self.gone < 0:
            self.gone = value
        self.something.set()
        if self.rank == 0:
            self._tell(kind, value, but=peer)
