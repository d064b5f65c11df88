"""What an interrupted pass leaves behind, from which the next one goes on: the sums of the blocks
that are done.
"""

import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64

from ..atomic import atomic_path
from ..errors import TrajectoryError
from ..kernel_file import whole_from_upper
from ..stored import Stored
from .segments import Segment


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
        try:
            with open(self._path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
                about, upper = json.loads(str(file["about"])), file["increments"]
            found, state = (
                about["conditions"],
                State(about["blocks"], about["lost"], whole_from_upper(upper, about["n"])),
            )
        except (
            OSError,
            EOFError,
            ValueError,
            KeyError,
            TypeError,
            IndexError,
            zipfile.BadZipFile,
        ) as error:
            raise TrajectoryError(
                f"{self._path}: not the state of a pass, or damaged ({error}); delete it to begin"
                " anew"
            ) from error
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
        "precision": precision,
        "memory": memory,
        "device": device,
        "version of trajhelpers": version,
    }
