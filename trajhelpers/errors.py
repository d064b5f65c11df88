"""What can go wrong, by name. Every message says which file or checkpoint, what is wrong with it,
and what to do. They hold names from files, as they are; what is shown of them is printable.
"""

from .printable import printable


class TrajectoryError(Exception):
    """Base of everything this package raises about checkpoints, kernels and recordings."""

    def __str__(self) -> str:
        return printable(super().__str__())


class CheckpointError(TrajectoryError):
    """A checkpoint file cannot be read: truncated, corrupt, forged, of an unknown kind, or refused
    as unsafe.
    """


class ChecksumError(CheckpointError):
    """What arrived of a file is not what its checksum says: nothing that was made of it counts."""


class LayoutError(TrajectoryError):
    """Checkpoints do not hold the same parameters: a name or a shape differs, or no parameter is
    left.
    """


class StepError(TrajectoryError):
    """The checkpoints have no order: none found, one only, or two of them at the same step."""


class NonFiniteError(TrajectoryError):
    """A checkpoint holds NaN or infinity, or the loss of a training run became so."""


class ExistingRunError(TrajectoryError, FileExistsError):
    """A recording would mix with one that is already in the folder."""


class TrajectoryWarning(UserWarning):
    """The result is right as far as it goes, but the reader must know something to read it well."""

    def __str__(self) -> str:
        return printable(super().__str__())


class RankEnded(TrajectoryError):
    """One of several processes that share a pass has ended, killed perhaps, before the others:
    ``rank``, -1 where it is not known which.
    """

    def __init__(self, message: str, rank: int = -1):
        super().__init__(message)
        self.rank = rank


def missing_extra(what, package, extra):
    """An ImportError that says what to install."""
    return ImportError(
        f"{what} needs {package}, which is not installed: pip install 'trajhelpers[{extra}]'"
    )
