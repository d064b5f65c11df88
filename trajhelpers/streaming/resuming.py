"""What an interrupted pass leaves behind, from which the next one goes on: the sums of the blocks
that are done.
"""

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64

from ..atomic import atomic_path
from ..errors import TrajectoryError
from ..kernel_file import whole_from_upper
from ..reading.arrays import read_arrays
from ..reading.boundary import damage_named
from ..reading.json_text import parse_json
from ..stored import Stored
from .segments import Segment

_COUNTS = "numbers of groups and checkpoints"


class State(NamedTuple):
    """``blocks`` of them are done; ``lost`` are the indices of checkpoints that were left out
    because they hold NaN or infinity.
    """

    blocks: int
    lost: list[int]
    increments: Float64[np.ndarray, "groups n n"]


class Partial:
    """The file of a pass. ``conditions`` is a dict of what has to be the same for its state to be
    of any use.
    """

    def __init__(self, path: str | Path, conditions: dict[str, Any]):
        self._path = Path(path)
        self._conditions = json.loads(json.dumps(conditions))

    def read(self) -> State | None:
        """The state that is there, or None. TrajectoryError where it is of another pass."""
        # by a process that was killed
        for abandoned in self._path.parent.glob(f".{self._path.name}.*.tmp"):
            abandoned.unlink(missing_ok=True)
        if not self._path.exists():
            return None
        with damage_named(self._path, "delete it to begin anew", TrajectoryError):
            stored = read_arrays(self._path, ("about", "increments"))
            about = parse_json(str(stored["about"]))
            found = about["conditions"]
            state = State(
                about["blocks"],
                about["lost"],
                whole_from_upper(stored["increments"], about["n"]),
            )
            _refuse_no_state(state, found.get(_COUNTS))
        other = [name for name in self._conditions if found.get(name) != self._conditions[name]]
        if other:
            raise TrajectoryError(
                f"{self._path}: was begun with other {', '.join(other)}; give the same, or delete"
                " it to begin anew"
            )
        return state

    def write(self, state: State) -> None:
        rows, columns = np.triu_indices(state.increments.shape[1])
        about = {
            "conditions": self._conditions,
            "blocks": state.blocks,
            "lost": state.lost,
            "n": state.increments.shape[1],
        }
        with atomic_path(self._path) as temporary, open(temporary, "wb") as file:
            np.savez(
                file,
                increments=state.increments[:, rows, columns],
                about=np.array(json.dumps(about)),
            )


def _refuse_no_state(state: State, counts: Any) -> None:
    """A ValueError unless it may be of so many groups and checkpoints."""
    groups, n, _ = state.increments.shape
    lost = state.lost if isinstance(state.lost, list) else [None]
    if type(state.blocks) is not int or state.blocks < 0:
        raise ValueError(f"{state.blocks!r} blocks")
    if not all(type(index) is int and 0 <= index < n + len(lost) for index in lost):
        raise ValueError(f"it leaves out checkpoints {lost}")
    if counts is not None and counts != [groups, n + len(lost)]:
        raise ValueError(f"{groups} groups of {n} checkpoints, and {len(lost)} left out")
    if not np.all(np.isfinite(state.increments)):
        raise ValueError("increments: hold NaN or infinity")


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
