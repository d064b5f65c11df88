"""From a file to the kernel that was saved in it."""

from pathlib import Path

from ..kernel_file import read_kernel_file
from .models import ModelSetKernel
from .trajectory import TrajectoryKernel


def load_kernel(path: str | Path) -> TrajectoryKernel | ModelSetKernel:
    """Read a kernel that was saved, of the kind that it was.

    Raises
    ------
    FileNotFoundError
        Where there is no such file.
    TrajectoryError
        Where the file is not a kernel, is damaged, or was written by a newer version.
    """
    kind, parts = read_kernel_file(path)
    return ModelSetKernel(**parts) if kind == "models" else TrajectoryKernel(**parts)
