"""torch.load, with errors that say what to do; and where in a file the tensors lie.

Nothing in a file is run: ``weights_only=True``, always.
"""

import re
import threading
from typing import Any, BinaryIO

from ..errors import CheckpointError

# torch's fake tensors and its unpickler keep state of their own, and several headers may be on
# their way.
_FAKES = threading.Lock()


class UnknownPlaces(Exception):
    """This torch does not tell where the storages of a file begin."""


def load(opened: BinaryIO, where) -> Any:
    """What a file of torch's holds, on the CPU; ``where`` names it in errors."""
    import torch

    try:
        return torch.load(opened, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # a damaged pickle can raise anything at all
        refused = re.search(
            r"(?:GLOBAL|[Uu]nsupported (?:class|type|operand|function))\s+([\w.]+)", str(error)
        )
        if refused:
            raise CheckpointError(
                f"{where}: holds {refused[1]}, which is neither a tensor nor a plain container, and"
                " was refused (weights_only=True); nothing in the file has been run. If you trust"
                f" the file, allow it with torch.serialization.add_safe_globals([{refused[1]}]);"
                " better, save model.state_dict() alone"
            ) from error
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(
            f"{where}: damaged or not a checkpoint ({reason}); fetch or save it again"
        ) from error


def load_without_data(opened: BinaryIO, where) -> Any:
    """As :func:`load`, with tensors that have no data; :func:`begin_of` says where it lies.

    Torch documents this (notes on serialization, "Layout control"), but by two names that it keeps
    to itself: whether they are there is asked here, and by :func:`begin_of`, and nowhere else.
    """
    try:
        from torch._subclasses.fake_tensor import FakeTensorMode
    except ImportError:
        raise UnknownPlaces from None
    with _FAKES, FakeTensorMode():
        return load(opened, where)


def begin_of(storage) -> int:
    """The byte at which a storage begins in the file that :func:`load_without_data` read."""
    begin = getattr(storage, "_checkpoint_offset", None)
    if begin is None:
        raise UnknownPlaces
    return begin
