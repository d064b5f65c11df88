"""The state dict within what a training loop saved: which of its tensors are the network's."""

from collections.abc import Iterator, Mapping

from ..errors import CheckpointError
from .tensors import StoredTensor, dtype_of, in_memory

_NESTED = (
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "module",
    "network",
    "net",
    "params",
    "weights",
)


def from_state_dict(content, where) -> dict[str, StoredTensor]:
    """The tensors of a state dict in memory, torch's or NumPy's; ``where`` names it in errors."""
    state = parameters(content, where)
    for name, value in state.items():
        if getattr(value, "is_sparse", False) or getattr(value, "is_quantized", False):
            raise CheckpointError(
                f"{where}: tensor {name!r} is {'sparse' if value.is_sparse else 'quantized'}, and"
                " only dense tensors can be read; save it as a dense one"
            )
    return {str(name): in_memory(value) for name, value in state.items()}


def parameters(content, where) -> dict:
    """The state dict within what a training loop saved, as a flat dict of tensors."""
    if not isinstance(content, Mapping):
        raise CheckpointError(
            f"{where}: holds a {type(content).__name__}, where a dict of tensors was expected; save"
            " model.state_dict()"
        )
    for key in _NESTED:
        if isinstance(content.get(key), Mapping) and (state := dict(_flat(content[key]))):
            return state
    state = {name: value for name, value in content.items() if _is_tensor(value)}
    inner = [
        key
        for key, value in content.items()
        if isinstance(value, Mapping) and "optim" not in str(key) and dict(_flat(value))
    ]
    # A best score or a generator's state beside the weights is a tensor too, but a scalar or of
    # integers.
    if any(len(value.shape) and "float" in dtype_of(value) for value in state.values()) or (
        state and not inner
    ):
        return state
    if len(inner) == 1:
        return dict(_flat(content[inner[0]]))
    if inner:
        raise CheckpointError(
            f"{where}: holds several networks, under {', '.join(map(repr, inner))}; save one of"
            " them alone"
        )
    raise CheckpointError(
        f"{where}: no state dict found under its keys {', '.join(map(repr, content)) or '(none)'};"
        f" expected tensors, or one of {', '.join(_NESTED)}"
    )


def _flat(nested: Mapping, prefix: str = "") -> Iterator[tuple]:
    for key, value in nested.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        elif _is_tensor(value):
            yield f"{prefix}{key}", value


def _is_tensor(value) -> bool:
    """Of torch or of NumPy, without importing torch."""
    return hasattr(value, "dtype") and hasattr(value, "shape")
