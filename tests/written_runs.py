"""The runs that real libraries wrote (``tests/writers/``), unpacked from ``tests/written/``."""

import json
import tarfile
from functools import cache
from pathlib import Path

import numpy as np

WRITTEN = Path(__file__).parent / "written"


@cache
def cases():
    """(writer, case) of all that is there."""
    manifest = json.loads((WRITTEN / "manifest.json").read_text())
    return [(writer, case) for writer, facts in manifest.items() for case in facts["cases"]]


def unpack(writer, case, into):
    """The folder of a case: ``run/`` and what is expected of it."""
    with tarfile.open(WRITTEN / f"{writer}.tar.xz") as archive:
        members = [one for one in archive.getmembers() if one.name.startswith(f"{case}/")]
        archive.extractall(into, members, filter="data")
    return into / case


def expected(folder):
    """By step, the values of the parameters by name."""
    found = {}
    with np.load(folder / "expected.npz") as arrays:
        for key, values in arrays.items():
            step, _, name = key.partition("/")
            found.setdefault(int(step), {})[name] = values
    return dict(sorted(found.items()))


def read(trajectory):
    """By step, the values of the parameters by name, in float64."""
    found = {}
    for index, step in enumerate(trajectory.steps):
        tensors = {name: stored[index] for name, stored in trajectory.layout.tensors.items()}
        found[step] = {name: values_of(tensor) for name, tensor in tensors.items()}
    return found


def values_of(tensor):
    values = np.empty(tensor.size)
    tensor.read_into(0, tensor.size, values)
    return values.reshape(tensor.shape)


def inner_products(values):
    """Of all checkpoints, from their dense vectors: (n, n)."""
    names = list(next(iter(values.values())))
    theta = np.stack(
        [np.concatenate([one[name].reshape(-1) for name in names]) for one in values.values()]
    ).astype(np.float64)
    return theta @ theta.T
