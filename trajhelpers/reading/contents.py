"""What a reader says of one checkpoint."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .tensors import StoredTensor


@dataclass(frozen=True)
class Contents:
    """``tensors`` are those of the state that was chosen, by name; ``state`` are the keys under
    which it lies, joined by ".", "" where it is the whole; ``left_out`` says what else there is,
    ``KEYS: why``.
    """

    tensors: Mapping[str, StoredTensor]
    state: str = ""
    left_out: tuple[str, ...] = ()
    # Held, so that an equal header of the next checkpoint is not parsed again.
    parsed: tuple[Any, ...] = field(default=(), compare=False, repr=False)
