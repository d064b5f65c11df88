"""State dicts and modules in memory, in the order in which they are given."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..errors import TrajectoryError
from ..reading.contents import Contents
from ..reading.state_dicts import from_state_dict
from ..reading.steps import every_but
from ..reading.tensors import StoredTensor
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
            lambda state: [Contents(tensors) for tensors in _tensors(what, chosen)],
        )


def _tensors(states: Sequence, chosen: Sequence[int]) -> list[dict[str, StoredTensor]]:
    stored = [_from_memory(states[index], index) for index in chosen]
    _refuse_aliases(stored)
    return stored


def _from_memory(item, index: int) -> dict[str, StoredTensor]:
    where = f"checkpoint {index}"
    if isinstance(item, Mapping):
        return from_state_dict(item, where)
    if hasattr(item, "named_parameters"):
        # Aliases are kept, as a state dict would have them; the layout counts them once.
        parameters, buffers = (
            dict(item.named_parameters(remove_duplicate=False)),
            dict(item.named_buffers()),
        )
        return (from_state_dict(parameters, where) if parameters else {}) | {
            name: replace(tensor, is_buffer=True)
            for name, tensor in (from_state_dict(buffers, where) if buffers else {}).items()
        }
    raise TypeError(
        f"source: item {index} is a {type(item).__name__}; expected paths, or state dicts, or"
        " modules"
    )


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
