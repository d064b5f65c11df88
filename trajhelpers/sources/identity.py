"""Which file it was: what tells that one on this machine is no longer the same, or holds something
else.

What another process writes through a mapping of the file into its memory may leave no trace in
these; the fingerprints of a kernel tell it afterwards (``trajhelpers verify``).
"""

import os
import stat
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from ..errors import CheckpointError

# How far apart two writes must be for their times to differ: most file systems take times from a
# clock that ticks every 1 to 10 ms; those that know whole seconds only (FAT: even ones) show it.
_TICK, _COARSE_TICK = 20_000_000, 2_000_000_000
_MOST_LOOKS = 100
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe (FIFO)",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class Identity(NamedTuple):
    """Times are in nanoseconds. ``changed`` is the one that no program can set."""

    device: int
    inode: int
    size: int
    modified: int
    changed: int


def identity_of(found: os.stat_result) -> Identity:
    return Identity(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def open_regular(path: Path) -> int:
    """A descriptor of a file that has bytes of its own; a CheckpointError for anything else, since
    a pipe may never answer.
    """
    try:
        _refuse_special(path, os.stat(path))
    except FileNotFoundError:
        if path.is_symlink():
            raise CheckpointError(
                f"{path}: is a link to {os.readlink(path)}, which is not there; fetch it, or remove"
                " the link"
            ) from None
        raise
    # Not waiting for a writer, should it have become a pipe by now.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        _refuse_special(path, os.fstat(descriptor))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _refuse_special(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        kind = _KINDS.get(stat.S_IFMT(found.st_mode), "something special")
        raise CheckpointError(f"{path}: is {kind}, and no file; give the file itself")


def settled_identity(path: Path, descriptor: int) -> Identity:
    """What an open file is, from which any later write will tell it.

    A write that falls into the same tick of the clock as the one before leaves no trace in the
    times (git's "racy" entries). So a file that was written just now is looked at again when that
    tick has passed, and nothing is read of it before.
    """
    found = _looked_at(descriptor)
    for _ in range(_MOST_LOOKS):
        tick = _TICK if found.changed % 1_000_000_000 else _COARSE_TICK
        # A time that is still to come is another machine's, whose clock is not ours: then the
        # whole tick has to pass.
        left = tick - max(time.time_ns() - found.changed, 0)
        if left <= 0:
            return found
        time.sleep(left / 1e9)
        before, found = found, _looked_at(descriptor)
        if found == before:
            return found
    raise CheckpointError(f"{path}: is still being written; open it when that is done")


def _looked_at(descriptor: int) -> Identity:
    """With no write under way that had begun before."""
    found = identity_of(os.fstat(descriptor))
    # One call may write 2 GB, and sets the times when it begins. Where the file's holes are
    # (ext4, btrfs and tmpfs take its lock for that) is answered when such a call has ended.
    with suppress(OSError):
        os.lseek(descriptor, 0, getattr(os, "SEEK_HOLE", os.SEEK_SET))
    return found


def is_same(identity: Identity, found: os.stat_result) -> bool:
    """Whether an open file is what it was. Removing its last name is a change, too, but none of
    what it holds: runs that keep their newest checkpoints remove others while these are read.
    """
    now = identity_of(found)
    return now == identity or (found.st_nlink == 0 and now[:-1] == identity[:-1])
