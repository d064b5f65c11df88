"""Files that hold some columns of each tensor, the same in all checkpoints, as a recorder with
``sample=`` writes them: the shape is that of the whole tensor, and what is not there is refused."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import prod
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

from ..errors import CheckpointError
from .json_text import parse_json
from .place import Place
from .tensors import RAW, StoredTensor

# Of the metadata of a safetensors file.
KEY = "trajhelpers_sample"
Ranges = Sequence[tuple[int, int]]


class Drawn(NamedTuple):
    """As :func:`trajhelpers.streaming.sampling.draw` is told it."""

    fraction: float
    seed: int
    block: int

    def __str__(self) -> str:
        return f"sample={self.fraction:g}, seed={self.seed}"


@dataclass(frozen=True, eq=False)
class Kept:
    """Of a tensor of that shape: ``bounds``, where each range of columns that is there begins and
    ends.
    """

    shape: tuple[int, ...]
    bounds: Int[np.ndarray, "ranges 2"]

    @cached_property
    def before(self) -> Int[np.ndarray, " ranges"]:
        """How many columns lie in front of each range."""
        lengths = self.bounds[:, 1] - self.bounds[:, 0]
        return np.cumsum(lengths) - lengths

    @property
    def size(self) -> int:
        return int((self.bounds[:, 1] - self.bounds[:, 0]).sum())


class Partly:
    """A :class:`trajhelpers.reading.place.Composed`: bytes of a whole tensor, from ``begin`` on, of
    which some lie in ``place``, one range after the other, from ``begin`` on.
    """

    def __init__(self, name: str, place: Place, begin: int, itemsize: int, kept: Kept, of: Drawn):
        self._name, self._place, self._begin, self._itemsize = name, place, begin, itemsize
        self.kept, self.drawn, self.places = kept, of, (place,)

    def __str__(self) -> str:
        return str(self._place)

    def _there(self, begin: int, end: int) -> int:
        """Where the bytes ``begin`` to ``end`` of the whole tensor begin in the file."""
        first = (begin - self._begin) // self._itemsize
        last = (end - self._begin) // self._itemsize
        starts, stops = self.kept.bounds.T
        found = int(np.searchsorted(starts, first, "right")) - 1
        if found < 0 or last > stops[found]:
            raise CheckpointError(
                f"{self}: holds a sample of the parameters ({self.drawn}), and numbers"
                f" {first}:{last} of {self._name!r} are not in it; th.gram(trajectory) reads what"
                " is there"
            )
        within = int(self.kept.before[found] + first - starts[found])
        return self._begin + within * self._itemsize

    def read_into(self, offset: int, buffer: np.ndarray) -> None:
        self._place.read_into(self._there(offset, offset + buffer.nbytes), buffer)

    def values(self, offset: int, count: int, dtype: np.dtype) -> np.ndarray:
        begin = self._there(offset, offset + count * dtype.itemsize)
        return self._place.values(begin, count, dtype)

    def ranges(self, begin: int, end: int) -> list[tuple[Place, int, int]]:
        there = self._there(begin, end)
        return [(self._place, there, there + end - begin)]

    def stamp(self) -> tuple | None:
        return self._place.stamp()


def described(of: Drawn, shapes: Mapping[str, Sequence[int]], kept: Mapping[str, Ranges]) -> str:
    """What the metadata say."""
    tensors = {name: [list(shapes[name]), list(map(list, kept[name]))] for name in kept}
    return json.dumps({**of._asdict(), "tensors": tensors})


def whole_tensors(
    file: Any, tensors: Mapping[str, StoredTensor], description: str
) -> dict[str, StoredTensor]:
    """Of what a file holds, the tensors that it is a part of. CheckpointError where the description
    is not of these.
    """
    of, kept = said_of_sample(file, description)
    found = {}
    # In the order in which they were drawn from, which is that of columns of several together.
    for name in kept | dict.fromkeys(tensors):
        if name not in kept or name not in tensors or kept[name].size != tensors[name].size:
            raise CheckpointError(_damaged(file, f"{name!r} is not what was drawn of it"))
        dtype, _, lies, offset, *_ = tensors[name]
        if lies is None or dtype not in RAW:
            raise CheckpointError(_damaged(file, f"{name!r} is stored as {dtype}"))
        place = Partly(name, lies, offset, RAW[dtype].itemsize, kept[name], of)
        found[name] = StoredTensor(dtype, kept[name].shape, place, offset)
    return found


def said_of_sample(file: Any, description: str) -> tuple[Drawn, dict[str, Kept]]:
    """What was drawn, and what of each tensor. CheckpointError where the description is none."""
    try:
        return _parsed(description)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise CheckpointError(_damaged(file, error)) from error


@lru_cache(4)
def _parsed(description: str) -> tuple[Drawn, dict[str, Kept]]:
    """Once for all files of a run, which share the arrays."""
    said = parse_json(description)
    of = Drawn(float(said["fraction"]), int(said["seed"]), int(said["block"]))
    if not 0 < of.fraction < 1 or of.seed < 0 or of.block < 1:
        raise ValueError(f"{of}, in blocks of {of.block}")
    return of, {name: _kept(name, *entry) for name, entry in said["tensors"].items()}


def _kept(name, shape, ranges):
    bounds = np.array(ranges, np.int64).reshape(-1, 2)
    edges = bounds.ravel()
    if (
        not all(type(size) is int and size >= 0 for size in shape)
        or (np.diff(edges) < 0).any()
        or (len(edges) and not 0 <= edges[0] <= edges[-1] <= prod(shape))
    ):
        raise ValueError(f"{name!r} has shape {shape}, of which no such ranges can be kept")
    bounds.setflags(write=False)
    return Kept(tuple(shape), bounds)


def _damaged(file, reason):
    return f"{file}: what it says of its sample is damaged ({reason}); record it again"
