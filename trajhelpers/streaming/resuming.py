"""What an interrupted pass leaves behind, from which the next one goes on: the sums of the columns
that are done.
"""

import hashlib
import json
from collections.abc import Sequence
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
from .columns import Columns, both, less
from .segments import Segment
from .sums import Scaled, Sums

_COUNTS = "numbers of groups and checkpoints"


class State(NamedTuple):
    """``done``: the columns that ``sums`` are of, as :mod:`.columns` has them; ``lost`` are the
    indices of checkpoints that were left out because they hold NaN or infinity.
    """

    done: Columns
    lost: list[int]
    sums: Sums

    @classmethod
    def none(cls, n: int, lost: Sequence[int] = ()) -> "State":
        return cls([], list(lost), Sums.none(n))


class Partial:
    """The file of a pass. ``conditions`` is a dict of what has to be the same for its state to be
    of any use.

    Of several ranks each has a file of its own, with what it has done itself: ``path.rank<i>``, the
    first one ``path``, with what was done before. Whoever goes on, one rank or several, gathers
    them into ``path`` first. At whatever moment that is cut short, no column is lost or counts
    twice: a file goes after it was gathered, and what is gathered already is known by its columns.

    Raises OSError where it cannot be written.
    """

    def __init__(self, path: str | Path, conditions: dict[str, Any], rank: int = 0):
        self._path = Path(path)
        self._own = self._path.with_name(f"{self._path.name}.rank{rank}") if rank else self._path
        refuse_unwritable(self._own)
        self._conditions = json.loads(json.dumps(conditions))

    def read(self) -> State | None:
        """The state that is there, or None. TrajectoryError where it is of another pass. Of what
        several ranks left, it is made first: one rank calls this before any other writes.
        """
        state = self._read(self._path) if self._path.exists() else None
        others = self._of_ranks()
        for path in others:
            found = self._read(path)
            state = found if state is None else _joined(state, found, path)
        if state and others:
            self._write(self._path, state)
            for path in others:
                path.unlink()
        return state

    def _of_ranks(self) -> list[Path]:
        """The files that ranks other than the first have left, in order."""
        begin = f"{self._path.name}.rank"
        numbers = (
            path.name.removeprefix(begin)
            for path in self._path.absolute().parent.iterdir()
            if path.name.startswith(begin)
        )
        return [
            self._path.with_name(f"{begin}{number}")
            for number in sorted(map(int, filter(str.isdecimal, numbers)))
        ]

    def _read(self, path: Path) -> State:
        with damage_named(path, "delete it to begin anew", TrajectoryError):
            stored = read_arrays(path, ("about", "increments", "prints"))
            about = parse_json(str(stored["about"]))
            found = about["conditions"]
            products = map(
                Scaled, whole_from_upper(stored["increments"], about["n"]), about["exponents"]
            )
            sums = Sums(dict(zip(about["segments"], products, strict=True)), stored["prints"])
            state = State(_columns(about["done"]), about["lost"], sums)
            _refuse_no_state(state, found.get(_COUNTS))
        other = [name for name in self._conditions if found.get(name) != self._conditions[name]]
        if other:
            raise TrajectoryError(
                f"{path}: was begun with other {', '.join(other)}; give the same, or delete"
                " it to begin anew"
            )
        return state

    def discard(self) -> None:
        """What is there counts no more."""
        for path in (self._path, *self._of_ranks()):
            path.unlink(missing_ok=True)

    def finish(self, state: State) -> None:
        """All is done: what ranks have left is in it."""
        self._write(self._path, state)
        for path in self._of_ranks():
            path.unlink()

    def write(self, state: State) -> None:
        """What this rank has done."""
        self._write(self._own, state)

    def _write(self, path: Path, state: State) -> None:
        n, sums = len(state.sums.prints), state.sums
        rows, columns = np.triu_indices(n)
        several = list(sums.products.values())
        about = {
            "conditions": self._conditions,
            "done": state.done,
            "lost": state.lost,
            "n": n,
            "segments": list(sums.products),
            "exponents": [one.exponent for one in several],
        }
        with atomic_path(path) as temporary, open(temporary, "wb") as file:
            np.savez(
                file,
                increments=np.stack([one.values[rows, columns] for one in several]),
                prints=sums.prints,
                about=np.array(json.dumps(about)),
            )


def _joined(state: State, found: State, path: Path) -> State:
    """A state with what another rank has done, unless that is in it already."""
    if not less(found.done, state.done):
        return state
    if found.lost != state.lost:
        raise TrajectoryError(
            f"{path}: leaves out other checkpoints than the states of the other ranks; delete them"
            " all to begin anew"
        )
    with damage_named(path, "delete it, and those of the other ranks", TrajectoryError):
        done = both(state.done, found.done)
        state.sums.add(found.sums)
        return state._replace(done=done)


def _columns(given: Any) -> Columns:
    """A ValueError unless they are columns."""
    try:
        found = [(begin, end) for begin, end in given]
        whole = all(type(edge) is int and edge >= 0 for part in found for edge in part)
        if whole and all(begin < end for begin, end in found) and both(found, []) == found:
            return found
    except (TypeError, ValueError):
        pass
    raise ValueError(f"{given!r} are no columns")


def _refuse_no_state(state: State, counts: Any) -> None:
    """A ValueError unless it may be of so many groups and checkpoints."""
    products, prints = state.sums.products, state.sums.prints
    lost = state.lost if isinstance(state.lost, list) else [None]
    n = prints.size
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
