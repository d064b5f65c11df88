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

# Of each kind of kernel, the format's number: the first version read number 1 alone, and says of a
# higher one that it is newer, where it finds all arrays that it looks for.
_FORMATS = {"trajectory": 1, "models": 2}
# Of each kind, which array holds what the kernel calls otherwise.
_CALLED: dict[str, dict[str, str]] = {
    "trajectory": {},
    "models": {"differences": "increments", "labels": "steps"},
}
_ARRAYS = ("increments", "squared_path", "steps", "runs", "names", "sizes", "about")


def write_kernel_file(path: str | Path, kind: str, kernel: dict[str, Any]) -> None:
    """Write what the class of a kind of kernel takes, by the names of its parameters, in one atomic
    move.
    """
    kernel = {_CALLED[kind].get(name, name): value for name, value in kernel.items()}
    n, products = len(kernel["steps"]), kernel["increments"]
    upper = np.triu_indices(n)
    about = {
        "format": _FORMATS[kind],
        "kind": kind,
        "version": __version__,
        "precision": kernel["precision"],
        "p": sum(kernel["sizes"]),
        "source": kernel["source"],
    }
    tokens = kernel.get("tokens")
    optional = {} if tokens is None else {"tokens": tokens}
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(
            file,
            increments=products[:, upper[0], upper[1]],
            squared_path=kernel.get("squared_path", np.einsum("gss->gs", products)),
            steps=np.array(kernel["steps"]),
            runs=np.array(kernel.get("runs", [""] * n)),
            names=np.array(kernel["names"]),
            sizes=np.array(kernel["sizes"]),
            about=np.array(json.dumps(about)),
            **optional,
        )


def read_kernel_file(path: str | Path) -> tuple[str, dict[str, Any]]:
    """The kind and what :func:`write_kernel_file` was given. Errors are those of
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
        kind = about.get("kind", "trajectory")
        newer = about["format"] > _FORMATS.get(kind, 0)
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
    parts = {
        "names": stored["names"].tolist(),
        "sizes": stored["sizes"],
        "source": about["source"],
        "precision": about["precision"],
    }
    if kind == "models":
        return kind, {**parts, "differences": increments, "labels": stored["steps"].tolist()}
    return kind, {
        **parts,
        "increments": increments,
        "steps": stored["steps"],
        "runs": stored["runs"].tolist(),
        "squared_path": stored["squared_path"],
        "tokens": tokens,
    }


def whole_from_upper(upper: np.ndarray, n: int) -> np.ndarray:
    """Symmetric matrices, shape (groups, n, n), from their upper triangles, row by row."""
    rows, columns = np.triu_indices(n)
    whole = np.empty((len(upper), n, n))
    whole[:, rows, columns] = whole[:, columns, rows] = upper
    return whole
