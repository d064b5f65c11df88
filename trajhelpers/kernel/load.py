"""From a file to the kernel that was saved in it."""

from pathlib import Path

from ..errors import TrajectoryError
from ..kernel_file import read_kernel_file
from ..reading.boundary import damage_named
from .models import ModelSetKernel
from .sampled import Sample
from .trajectory import TrajectoryKernel
from .validity import refuse_no_kernel


def load_kernel(path: str | Path) -> TrajectoryKernel | ModelSetKernel:
    """Read a kernel that was saved, of the kind that it was.

    Raises
    ------
    FileNotFoundError
        Where there is no such file.
    TrajectoryError
        Where the file is not a kernel, is damaged or forged, so that its matrices are no Gram
        matrices, or was written by a newer version.
    """
    with damage_named(path, "compute it again with `trajhelpers gram`", TrajectoryError):
        kind, parts = read_kernel_file(path)
        refuse_no_kernel(parts)
        if parts["sample"] is not None:
            parts["sample"] = Sample(**parts["sample"])
        return ModelSetKernel(**parts) if kind == "models" else TrajectoryKernel(**parts)
