"""A kernel's file: one ``.npz`` of plain arrays, nothing in it pickled; of symmetric matrices the
upper triangle.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from .atomic import atomic_path
from .errors import TrajectoryError
from .reading.arrays import most_expanded, read_arrays
from .reading.budgets import LONGEST_NAME
from .reading.json_text import parse_json, refuse_depth
from .version import __version__

# Of each kind of kernel, the format's number: the first version read number 1 alone, and says of a
# higher one that it is newer, where it finds all arrays that it looks for.
_FORMATS = {"trajectory": 1, "models": 2}
# Of each kind, which array holds what the kernel calls otherwise.
_CALLED: dict[str, dict[str, str]] = {
    "trajectory": {},
    "models": {"differences": "increments", "labels": "steps"},
}
# Of products in other units, or of differences along other links than usual: older versions would
# take them for what they are not.
_OTHERWISE = 3
# Of a sample: older versions would take it for exact.
_SAMPLED = 4
_ARRAYS = ("increments", "squared_path", "steps", "runs", "names", "sizes", "about")
_OPTIONAL = ("tokens", "links")
# Of a sample: a row a stratum; a row a cell; the cells' sums, as increments are.
_OF_SAMPLE = ("sample_strata", "sample_cells", "sample_products")
_STRATA, _CELLS = ("group", "blocks", "drawn", "numbers"), ("stratum", "counts")


def write_kernel_file(path: str | Path, kind: str, kernel: dict[str, Any]) -> None:
    """Write what the class of a kind of kernel takes, by the names of its parameters, in one atomic
    move.
    """
    kernel = {_CALLED[kind].get(name, name): value for name, value in kernel.items()}
    n, products = len(kernel["steps"]), kernel["increments"]
    upper = np.triu_indices(n)
    links, exponent = kernel.get("links"), kernel.get("exponent", 0)
    usual = _FORMATS[kind] if links is None and not exponent else _OTHERWISE
    sample = kernel.get("sample")
    about = {
        "format": usual if sample is None else _SAMPLED,
        "kind": kind,
        "version": __version__,
        "precision": kernel["precision"],
        "p": sum(kernel["sizes"]),
        "source": kernel["source"],
        **({"exponent": exponent} if exponent else {}),
        **({"sample": {"seed": sample.seed, "block": sample.block}} if sample else {}),
    }
    optional = {name: kernel[name] for name in _OPTIONAL if kernel.get(name) is not None}
    if sample:
        optional |= {
            "sample_strata": np.stack([getattr(sample, name) for name in _STRATA], 1),
            "sample_cells": np.stack([getattr(sample, name) for name in _CELLS], 1),
            "sample_products": sample.products[:, upper[0], upper[1]],
        }
    arrays = {
        "increments": products[:, upper[0], upper[1]],
        "squared_path": kernel.get("squared_path", np.einsum("gss->gs", products)),
        "steps": np.array(kernel["steps"]),
        "runs": np.array(kernel.get("runs", [""] * n)),
        "names": np.array(kernel["names"]),
        "sizes": np.array(kernel["sizes"]),
        "about": np.array(json.dumps(about)),
        **optional,
    }
    _refuse_what_does_not_come_back(path, kernel, arrays)
    with atomic_path(path) as temporary:
        # What is nearly all zeros compresses to less than a reader trusts.
        for save in (np.savez_compressed, np.savez):
            with open(temporary, "wb") as file:
                save(file, **arrays)
            if sum(one.nbytes for one in arrays.values()) < most_expanded(temporary.stat().st_size):
                break


def _refuse_what_does_not_come_back(path, kernel, arrays) -> None:
    """A ValueError for names and steps that NumPy's arrays, of one type and width, do not keep."""
    for what in ("names", "runs", "steps"):
        if what not in kernel:
            continue
        given, kept = list(kernel[what]), arrays[what].tolist()
        changed = [
            one for one, other in zip(given, kept) if one != other or len(str(one)) > LONGEST_NAME
        ]
        if changed or (what == "steps" and arrays[what].dtype.kind not in "iU"):
            raise ValueError(
                f"{path}: {what}: a kernel's file keeps whole numbers of 64 bits and text of at"
                f" most {LONGEST_NAME:,} characters that does not end in NUL, not"
                f" {str((changed or given)[0])[:60]!r}"
            )


def read_kernel_file(path: str | Path) -> tuple[str, dict[str, Any]]:
    """The kind and what :func:`write_kernel_file` was given. What is wrong with the file may raise
    anything: :func:`trajhelpers.load_kernel` gives it its name.
    """
    path = Path(path)
    if not path.is_file():
        if path.is_dir():
            raise FileNotFoundError(
                f"{path}: is a folder and no kernel; `trajhelpers gram {path} -o run.npz` makes one"
                " of the checkpoints in it"
            )
        wrong = "is no regular file" if path.exists() else "no such file"
        raise FileNotFoundError(f"{path}: {wrong}; `trajhelpers gram SOURCE -o {path}` writes one")
    try:
        stored = read_arrays(path, _ARRAYS, (*_OPTIONAL, *_OF_SAMPLE))
    except KeyError as missing:
        raise TrajectoryError(
            f"{path}: no kernel of trajhelpers, which has {missing};"
            " `trajhelpers gram CHECKPOINTS -o run.npz` writes one"
        ) from missing
    about = parse_json(str(stored["about"]))
    refuse_depth(about)
    kind = about.get("kind", "trajectory")
    if about["format"] > (_SAMPLED if kind in _FORMATS else 0):
        raise TrajectoryError(
            f"{path}: written by trajhelpers {about['version']}, in a newer format than this"
            " version reads; upgrade trajhelpers"
        )
    n, count = len(stored["steps"]), len(stored["names"])
    if stored["increments"].shape != (count, n * (n + 1) // 2):
        raise ValueError(
            f"increments: have shape {stored['increments'].shape} for {count} groups of {n}"
        )
    increments = whole_from_upper(stored["increments"], n)
    # Nobody else has it: the kernel need not copy it.
    increments.setflags(write=False)
    parts = {
        "names": stored["names"].tolist(),
        "sizes": stored["sizes"],
        "source": about["source"],
        "precision": about["precision"],
        "squared_path": stored["squared_path"],
        "links": stored.get("links"),
        "exponent": about.get("exponent", 0),
        "sample": _sample_in(about, stored, n),
    }
    if kind == "models":
        return kind, {**parts, "differences": increments, "labels": stored["steps"].tolist()}
    return kind, {
        **parts,
        "increments": increments,
        "steps": stored["steps"],
        "runs": stored["runs"].tolist(),
        "tokens": stored.get("tokens"),
    }


def _sample_in(about: dict, stored: dict[str, np.ndarray], n: int) -> dict[str, Any] | None:
    """What the class of a sample takes, by the names of its parameters."""
    if about.get("sample") is None:
        return None
    strata, cells, products = (stored[name] for name in _OF_SAMPLE)
    if (
        strata.shape != (len(strata), len(_STRATA))
        or cells.shape != (len(cells), len(_CELLS))
        or products.shape != (len(cells), n * (n + 1) // 2)
    ):
        raise ValueError(
            f"sample: {products.shape} {products.dtype} of shape {cells.shape} and {strata.shape}"
        )
    return {
        "seed": about["sample"]["seed"],
        "block": about["sample"]["block"],
        **dict(zip(_STRATA, strata.T)),
        **dict(zip(_CELLS, cells.T)),
        "products": whole_from_upper(products, n),
    }


def whole_from_upper(upper: np.ndarray, n: int) -> np.ndarray:
    """Symmetric matrices, shape (groups, n, n), from their upper triangles, row by row."""
    rows, columns = np.triu_indices(n)
    whole = np.empty((len(upper), n, n))
    whole[:, rows, columns] = whole[:, columns, rows] = upper
    return whole
