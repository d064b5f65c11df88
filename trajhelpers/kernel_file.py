"""A kernel's file: one ``.npz`` of plain arrays, nothing in it pickled; of symmetric matrices the
upper triangle.
"""

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from .atomic import atomic_path
from .errors import TrajectoryError
from .version import __version__

_FORMAT = 1
_ARRAYS = ("increments", "squared_path", "steps", "runs", "names", "sizes", "about")


def write_kernel_file(path: str | Path, kernel: dict[str, Any]) -> None:
    """Write what :class:`~trajhelpers.TrajectoryKernel` takes, by the names of its parameters, in
    one atomic move.
    """
    upper = np.triu_indices(len(kernel["steps"]))
    about = {
        "format": _FORMAT,
        "version": __version__,
        "precision": kernel["precision"],
        "p": sum(kernel["sizes"]),
        "source": kernel["source"],
    }
    optional = {} if kernel["tokens"] is None else {"tokens": kernel["tokens"]}
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(
            file,
            increments=kernel["increments"][:, upper[0], upper[1]],
            squared_path=kernel["squared_path"],
            steps=kernel["steps"],
            runs=np.array(kernel["runs"]),
            names=np.array(kernel["names"]),
            sizes=np.array(kernel["sizes"]),
            about=np.array(json.dumps(about)),
            **optional,
        )


def read_kernel_file(path: str | Path) -> dict[str, Any]:
    """What :func:`write_kernel_file` was given. Errors are those of
    :func:`trajhelpers.load_kernel`.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such file; `trajhelpers gram SOURCE -o {path}` writes one"
        )
    try:
        with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
            stored = {key: file[key] for key in _ARRAYS}
            tokens = file["tokens"] if "tokens" in file.files else None
        about = json.loads(str(stored["about"]))
        newer = about["format"] > _FORMAT
    except (
        OSError,
        EOFError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        zipfile.BadZipFile,
    ) as error:
        raise TrajectoryError(
            f"{path}: not a trajectory kernel, or damaged ({error}); compute it again with"
            " `trajhelpers gram`"
        ) from error
    if newer:
        raise TrajectoryError(
            f"{path}: written by trajhelpers {about['version']}, in a newer format than this"
            " version reads; upgrade trajhelpers"
        )
    n, count = len(stored["steps"]), len(stored["names"])
    if stored["increments"].shape != (count, n * (n + 1) // 2):
        raise TrajectoryError(
            f"{path}: damaged, its increments have shape {stored['increments'].shape} for {count}"
            f" groups of {n} checkpoints; compute it again"
        )
    increments = whole_from_upper(stored["increments"], n)
    # Nobody else has it: the kernel need not copy it.
    increments.setflags(write=False)
    return {
        "increments": increments,
        "steps": stored["steps"],
        "names": stored["names"].tolist(),
        "sizes": stored["sizes"],
        "runs": stored["runs"].tolist(),
        "source": about["source"],
        "precision": about["precision"],
        "squared_path": stored["squared_path"],
        "tokens": tokens,
    }


def whole_from_upper(upper: np.ndarray, n: int) -> np.ndarray:
    """Symmetric matrices, shape (groups, n, n), from their upper triangles, row by row."""
    rows, columns = np.triu_indices(n)
    whole = np.empty((len(upper), n, n))
    whole[:, rows, columns] = whole[:, columns, rows] = upper
    return whole
