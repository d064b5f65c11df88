"""What an interrupted pass leaves behind, from which the next one goes on: the sums of the blocks
that are done.
"""

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..atomic import atomic_path, refuse_unwritable
from ..errors import TrajectoryError
from ..kernel_file import whole_from_upper
from ..reading.arrays import read_arrays
from ..reading.boundary import damage_named
from ..reading.json_text import parse_json
from ..stored import Stored
from .segments import Segment
from .sums import Scaled, Sums

_COUNTS = "numbers of groups and checkpoints"


class State(NamedTuple):
    """``blocks`` of them are done; ``lost`` are the indices of checkpoints that were left out
    because they hold NaN or infinity.
    """

    blocks: int
    lost: list[int]
    sums: Sums


class Partial:
    """The file of a pass. ``conditions`` is a dict of what has to be the same for its state to be
    of any use.

    Raises OSError where it cannot be written.
    """

    def __init__(self, path: str | Path, conditions: dict[str, Any]):
        self._path = Path(path)
        refuse_unwritable(self._path)
        self._conditions = json.loads(json.dumps(conditions))

    def read(self) -> State | None:
        """The state that is there, or None. TrajectoryError where it is of another pass."""
        if not self._path.exists():
            return None
        with damage_named(self._path, "delete it to begin anew", TrajectoryError):
            stored = read_arrays(self._path, ("about", "increments", "prints"))
            about = parse_json(str(stored["about"]))
            found = about["conditions"]
            products = map(
                Scaled, whole_from_upper(stored["increments"], about["n"]), about["exponents"]
            )
            sums = Sums(dict(zip(about["segments"], products, strict=True)), stored["prints"])
            state = State(about["blocks"], about["lost"], sums)
            _refuse_no_state(state, found.get(_COUNTS))
        other = [name for name in self._conditions if found.get(name) != self._conditions[name]]
        if other:
            raise TrajectoryError(
                f"{self._path}: was begun with other {', '.join(other)}; give the same, or delete"
                " it to begin anew"
            )
        return state

    def discard(self) -> None:
        """What is there counts no more."""
        self._path.unlink(missing_ok=True)

    def write(self, state: State) -> None:
        n, sums = len(state.sums.prints), state.sums
        rows, columns = np.triu_indices(n)
        several = list(sums.products.values())
        about = {
            "conditions": self._conditions,
            "blocks": state.blocks,
            "lost": state.lost,
            "n": n,
            "segments": list(sums.products),
            "exponents": [one.exponent for one in several],
        }
        with atomic_path(self._path) as temporary, open(temporary, "wb") as file:
            np.savez(
                file,
                increments=np.stack([one.values[rows, columns] for one in several]),
                prints=sums.prints,
                about=np.array(json.dumps(about)),
            )


def _refuse_no_state(state: State, counts: Any) -> None:
    """A ValueError unless it may be of so many groups and checkpoints."""
    products, prints = state.sums.products, state.sums.prints
    lost = state.lost if isinstance(state.lost, list) else [None]
    n = prints.size
    if type(state.blocks) is not int or state.blocks < 0:
        raise ValueError(f"{state.blocks!r} blocks")
    if not all(type(index) is int and 0 <= index < n + len(lost) for index in lost):
        raise ValueError(f"it leaves out checkpoints {lost}")
    if prints.shape != (n,) or prints.dtype != np.uint64:
        raise ValueError(f"prints: of shape {prints.shape} {prints.dtype}")
    for index, one in products.items():
        if type(index) is not int or index < 0 or type(one.exponent) is not int:
            raise ValueError(f"group {index!r} in units of 2^{one.exponent!r}")
        if one.values.shape != (n, n) or not np.all(np.isfinite(one.values)):
            raise ValueError("increments: hold NaN or infinity, or are of other checkpoints")
    if counts is not None and (counts[1] != n + len(lost) or max(products, default=0) >= counts[0]):
        raise ValueError(f"{len(products)} groups of {n} checkpoints, and {len(lost)} left out")


def conditions(
    trajectory: Stored,
    segments: dict[str, Segment],
    precision: str,
    device: str,
    memory: int,
    version: str,
) -> dict[str, Any]:
    """What a state depends on, by the names that an error gives them. ValueError for checkpoints in
    memory, which nothing tells from others.
    """
    stamps = trajectory.stamps()
    if stamps is None:
        raise ValueError(
            "partial: is for checkpoints in files, and some of these are in memory, where nothing"
            " would tell whether they are still the same"
        )
    groups = hashlib.sha256(json.dumps(list(segments.items())).encode()).hexdigest()
    return {
        **trajectory.identity,
        "commits": list(trajectory.commits),
        "files": stamps,
        "groups": groups,
        _COUNTS: [len(segments), trajectory.n],
        "precision": precision,
        "memory": memory,
        "device": device,
        "version of trajhelpers": version,
    }
