"""The format in which torch saved before 1.6, which can only be loaded whole."""

from typing import BinaryIO

from .contents import Contents
from .place import File
from .state_dicts import from_state_dict
from .torch_loading import load


def read_legacy(file: File, opened: BinaryIO, state: str | None) -> Contents:
    """All tensors, in memory."""
    with file.open_whole(
        "is in torch's old format or none of torch's, which can only be loaded whole"
    ) as whole:
        return Contents(from_state_dict(load(whole, file), file))
