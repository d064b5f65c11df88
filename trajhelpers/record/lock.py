"""One recorder a folder: a lock that dies with its process."""

import fcntl
import os
import socket
import weakref
from contextlib import suppress
from pathlib import Path

from ..errors import ExistingRunError

LOCK = ".recorder.lock"


class FolderLock:
    """Held from its making to ``release``, or until nothing refers to it, or the process ends."""

    def __init__(self, folder: Path):
        self._path = folder / LOCK
        self._descriptor = -1
        self.hold()

    def hold(self) -> None:
        """See that it is held still. It is taken anew where its file was removed, as cleaners of
        scratch disks do with old files.

        Raises ExistingRunError where another has it.
        """
        if _is(self._descriptor, self._path):
            return
        self.release()
        descriptor = None
        while descriptor is None:
            descriptor = self._taken()
        self._descriptor = descriptor
        self._finalizer = weakref.finalize(self, _release, descriptor, self._path)
        with suppress(OSError):  # on a full disk, nobody is told who it is
            os.truncate(descriptor, 0)
            os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode())

    def _taken(self) -> int | None:
        """The locked file; None where who had it removed it meanwhile."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            self._refuse_second(descriptor)
            # A disk that cannot be asked says so, and is not asked for ever.
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), os.stat(self._path)):
                    return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        return None

    def _refuse_second(self, descriptor: int) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 1000).decode(errors="replace") or "another process"
            raise ExistingRunError(
                f"{self._path.parent}: {holder} is recording into this folder; close that"
                " recorder, or choose another folder. Of several processes that train one"
                " network together the first records: make the recorder after"
                " torch.distributed.init_process_group"
            ) from None
        except OSError:
            pass  # a file system without locks, as some of clusters are: go on as if it had

    def release(self) -> None:
        if self._descriptor >= 0:
            self._finalizer()
            self._descriptor = -1

    def leave_to_parent(self) -> None:
        """In a forked child, which must not keep it when the parent has ended."""
        if self._descriptor >= 0:
            self._finalizer.detach()
            os.close(self._descriptor)
            self._descriptor = -1


def _is(descriptor: int, path: Path) -> bool:
    """Whether an open file is the one at a path."""
    try:
        return descriptor >= 0 and os.path.samestat(os.fstat(descriptor), os.stat(path))
    except OSError:
        return False


def _release(descriptor: int, path: Path) -> None:
    try:
        if _is(descriptor, path):  # and not another's, in a folder that was made anew
            with suppress(OSError):
                path.unlink()
    finally:
        os.close(descriptor)
