"""Safetensors files of ranks, as torch's HuggingFaceStorageWriter writes them where it does not
consolidate: each says in its metadata where in each tensor its own part begins.
"""

import re

from ..boundary import damage_named
from ..contents import Contents
from ..json_text import parse_json
from ..pieces import joined
from ..place import Folder
from ..safetensors_files import stored_tensors
from ..states import choose_state
from ..tensors import StoredTensor
from .torch_files import refuse_gaps

_FILE = re.compile(r"shard-(\d{5})-model-(\d{5})-of-(\d{5})\.safetensors")


def is_by_safetensors_rank(folder: Folder) -> bool:
    return any(_FILE.fullmatch(file.name) for file in folder.files())


def read_safetensors_ranks(folder: Folder, state: str | None) -> Contents:
    """All tensors, each joined from the ranks that have a part of it."""
    pieces: dict[str, dict[tuple, StoredTensor]] = {}
    ranks = []
    for file in folder.files():
        match = _FILE.fullmatch(file.name)
        if not match:
            continue
        ranks.append(int(match[1]) - 1)
        with damage_named(file), file.open() as opened:
            tensors, metadata = stored_tensors(file, opened)
            begins = parse_json(metadata["DCP_SHARDING_INFO"])
            offsets = {name: tuple(begins[name]["saved_offsets"]) for name in tensors}
        for name, tensor in tensors.items():
            if tensor.size:
                pieces.setdefault(name, {})[offsets[name]] = tensor
    refuse_gaps(folder, sorted(set(ranks)), None, "rank")
    return choose_state(
        {
            name: joined(_extent(found), list(found.items()), f"{folder}: {name}")
            for name, found in pieces.items()
        },
        folder,
        state,
    )


def _extent(pieces: dict[tuple, StoredTensor]) -> tuple[int, ...]:
    """Of the whole, as the last of its pieces end: no file says it."""
    ends = [
        [offset + size for offset, size in zip(offsets, piece.shape)]
        for offsets, piece in pieces.items()
    ]
    return tuple(map(max, zip(*ends)))
