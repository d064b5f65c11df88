"""Write a file so that a reader never sees half of it, and that a killed writer leaves nothing
behind for long.

A writer works in a hidden folder of its own beside the file, which holds what libraries put beside
what they write, too. It locks a file in there while it lives: by that the next writer tells what is
abandoned from what is being written. Locks may be none of other machines' business, so that what
another machine left has to be a day old, too; on a file system without locks nothing is taken for
abandoned."""

import errno
import fcntl
import os
import re
import secrets
import shutil
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_LOCK, _DAY = ".lock", 24 * 3600
# Of a name of 255 bytes, as many characters as leave room for the rest.
_SHOWN = 50
_TOKEN = re.compile(r"[0-9a-f]{16}\.tmp")


@contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary path, to be written to; it takes the place of ``path`` when the block ends
    without an error, and both are on the disk then.

    As where ``open`` writes: what a symlink leads to is replaced, and not the link; a file that is
    there keeps its permissions (and its owner, as far as the system allows); a new one gets those
    of any new file.

    Raises
    ------
    OSError
        Where ``path`` cannot be written: before the block, where that shows; else with ``path`` as
        it was. It names the path and the reason, in the class of the reason.
    """
    target, there = _target(path)
    with _folder_of_its_own(path, target) as folder:
        temporary = folder / target.name
        try:
            yield temporary
            with open(temporary, "rb+") as file:
                _give_permissions(file.fileno(), folder, there)
                os.fsync(file.fileno())
            os.replace(temporary, target)
        except OSError as error:
            if error.errno is None or error.filename not in (None, str(temporary)):
                raise
            kept = "what was there before is as it was" if there else "nothing is there"
            raise _error(path, error.errno, f"{error.strerror}; {kept}") from error
    _sync(target.parent)


def refuse_unwritable(path: str | os.PathLike) -> None:
    """Raise what :func:`atomic_path` would, before hours of work and not after them."""
    target, _ = _target(path)
    with _folder_of_its_own(path, target):
        pass


def remove_abandoned(path: Path) -> None:
    """Remove what a writer left that was killed; nothing, where the writer lives."""
    if not path.is_dir():
        path.unlink(missing_ok=True)  # of an earlier version, which made files
        return
    with suppress(OSError):
        path.rmdir()  # killed before there was anything in it
    with suppress(OSError):
        descriptor = os.open(path / _LOCK, os.O_RDWR)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_ours = os.read(descriptor, 1000) in (b"", _machine())
            if is_ours or time.time() - os.fstat(descriptor).st_mtime > _DAY:
                shutil.rmtree(path)
        finally:
            os.close(descriptor)


def _target(path):
    """The file that is to be written, and its status where it is there."""
    target = Path(os.path.realpath(path))
    try:
        there = target.lstat()
        if stat.S_ISREG(there.st_mode):
            os.close(os.open(target, os.O_WRONLY))
    except FileNotFoundError:
        there = None
        if not target.parent.is_dir():
            raise _error(path, errno.ENOENT, f"there is no folder {target.parent}") from None
    except OSError as error:
        raise _error(path, error.errno, error.strerror) from None
    if there is None:
        return target, there
    if stat.S_ISDIR(there.st_mode):
        raise _error(path, errno.EISDIR, "is a folder; give the name of a file")
    if stat.S_ISLNK(there.st_mode):
        raise _error(path, errno.ELOOP, "is a symlink that leads to itself")
    if not stat.S_ISREG(there.st_mode):
        raise _error(path, errno.EINVAL, "is no regular file, and would be replaced by one")
    return target, there


@contextmanager
def _folder_of_its_own(path, target):
    prefix = f".{target.name[:_SHOWN]}."
    try:
        with os.scandir(target.parent) as entries:
            names = [one.name for one in entries if one.name.startswith(prefix)]
    except OSError:
        names = []  # a folder that may be written to and not read
    for name in names:
        if _TOKEN.fullmatch(name.removeprefix(prefix)):
            remove_abandoned(target.with_name(name))
    try:
        folder, descriptor = _locked_folder(target.with_name(prefix))
    except OSError as error:
        raise _error(path, error.errno, error.strerror) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def _locked_folder(prefix):
    while True:
        folder = prefix.with_name(f"{prefix.name}{secrets.token_hex(8)}.tmp")
        folder.mkdir()
        try:
            descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        except FileNotFoundError:
            continue  # another writer took the folder for an abandoned one
        except OSError:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        try:
            os.write(descriptor, _machine())
            with suppress(OSError):  # a file system without locks
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            if os.fstat(descriptor).st_nlink:
                return folder, descriptor
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(descriptor)
            raise
        os.close(descriptor)  # taken as well, a moment later


def _machine():
    return socket.gethostname().encode()


def _give_permissions(descriptor, folder, there):
    """Those of the file that was there, else those that the lock file got, as any new file does:
    some libraries write files that nobody else may read.
    """
    if there is not None:
        with suppress(OSError):
            os.fchown(descriptor, there.st_uid, there.st_gid)
    mode = ((folder / _LOCK).stat() if there is None else there).st_mode
    with suppress(OSError):  # a file system that knows of no permissions
        os.fchmod(descriptor, stat.S_IMODE(mode))


def _sync(folder):
    with suppress(OSError):  # not every file system can
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _error(path, number, why):
    """OSError makes the class of the number, PermissionError for example."""
    return OSError(number, f"{os.fspath(path)}: cannot be written: {why}")
