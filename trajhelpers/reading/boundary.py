"""The one boundary between what readers of damaged bytes may raise, which is anything, and those
who asked for a file by its name.
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import CheckpointError, TrajectoryError

AGAIN = "fetch or save it again"
# What is so whatever the file holds, and says itself what is wrong.
_NOT_OF_THE_FILE = (
    TrajectoryError,
    FileNotFoundError,
    PermissionError,
    ConnectionError,
    TimeoutError,
    ImportError,
    Warning,
)
# What the system answers to names and places that a file made up. Any other answer, such as of a
# disk that fails or of too many open files, is none of the file's.
_MADE_UP = (
    None,
    errno.EINVAL,
    errno.ENAMETOOLONG,
    errno.ELOOP,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EFBIG,
    errno.EOVERFLOW,
)
_LONGEST_REASON = 300


@contextmanager
def damage_named(
    where: object, remedy: str = AGAIN, kind: type[TrajectoryError] = CheckpointError
) -> Iterator[None]:
    """Within it whatever goes wrong is an error of ``kind`` that names ``where``, the file or what
    of it is read, and what to do. What went wrong stays its cause.
    """
    try:
        yield
    except _NOT_OF_THE_FILE:
        raise
    except MemoryError as error:
        raise kind(f"{where}: damaged (it asks for more memory than there is); {remedy}") from error
    except Exception as error:
        if isinstance(error, OSError) and error.errno not in _MADE_UP:
            if error.filename:
                raise
            many = error.errno in (errno.EMFILE, errno.ENFILE)
            help_ = "close some, or raise `ulimit -n`" if many else "check the disk"
            raise kind(f"{where}: cannot be read ({error.strerror}); {help_}") from error
        raise kind(f"{where}: damaged ({_reason(error)}); {remedy}") from error


def _reason(error: Exception) -> str:
    """A ValueError is what readers raise with words of their own."""
    said = " ".join(str(error).split())[:_LONGEST_REASON]
    return said if type(error) is ValueError and said else f"{type(error).__name__}: {said}"
