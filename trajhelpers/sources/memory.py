"""State dicts and modules in memory, in the order in which they are given."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..errors import TrajectoryError
from ..reading.budgets import refuse_names
from ..reading.contents import Contents
from ..reading.states import choose_state
from ..reading.steps import every_but
from ..reading.tensors import StoredTensor, in_memory
from ..reading.tree import Buffer
from .disk import is_path
from .protocol import Checkpoint, Listing


class Memory:
    """A list of state dicts or modules."""

    options: tuple[str, ...] = ()

    def accepts(self, what: Any) -> bool:
        return isinstance(what, list) and not all(map(is_path, what))

    def list(self, what: Sequence, every: int, skip: Iterable[int | str]) -> Listing:
        chosen = every_but(range(len(what)), every, skip)
        return Listing(
            [Checkpoint(index, "", f"checkpoint {index}") for index in chosen],
            lambda state: _contents(what, chosen, state),
        )


def _contents(states: Sequence, chosen: Sequence[int], state: str | None) -> list[Contents]:
    found = [_from_memory(states[index], index, state) for index in chosen]
    _refuse_aliases([one.tensors for one in found])
    return found


def _from_memory(item, index: int, state: str | None) -> Contents:
    if not isinstance(item, Mapping) and not hasattr(item, "named_parameters"):
        raise TypeError(
            f"source: item {index} is a {type(item).__name__}; expected paths, or state dicts, or"
            " modules"
        )
    chosen = choose_state(item, f"checkpoint {index}", state)
    refuse_names(chosen.tensors, f"checkpoint {index}")
    masked = [
        name for name, value in chosen.tensors.items() if isinstance(value, np.ma.MaskedArray)
    ]
    if masked:
        raise TypeError(
            f"source: checkpoint {index}: {masked[0]!r} is a masked array, and θ has no gaps; give"
            " its numbers, values.filled(0)"
        )
    return replace(chosen, tensors={name: _held(value) for name, value in chosen.tensors.items()})


def _held(value: Any) -> StoredTensor:
    if isinstance(value, Buffer):
        return in_memory(value.tensor)._replace(is_buffer=True)
    return in_memory(value)


def _refuse_aliases(stored: Sequence[Mapping[str, StoredTensor]]) -> None:
    for earlier, later in zip(range(len(stored)), range(1, len(stored))):
        places = [
            {
                tensor.identity[0]
                for tensor in stored[index].values()
                if tensor.identity and tensor.size
            }
            for index in (earlier, later)
        ]
        if places[0] and places[0] == places[1]:
            raise TrajectoryError(
                f"checkpoints {earlier} and {later} are the same tensors in memory, so that their"
                " values are equal whatever the training did; copy each when it is taken: {name:"
                " value.clone() for name, value in model.state_dict().items()}"
            )
