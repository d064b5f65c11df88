"""A checkpoint in several files: the index that names them."""

import json
from collections.abc import Callable

from ..errors import CheckpointError
from .contents import Contents
from .place import File


def read_shards(index: File, read: Callable[[File], Contents]) -> Contents:
    """The tensors that an index promises, each file of them read by ``read``."""
    try:
        shards = json.loads(index.read_text())["weight_map"]
        files = {shard: index.beside(shard) for shard in sorted(set(shards.values()))}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{index}: is not an index of shards (no readable 'weight_map'); fetch or save it again"
        ) from error
    missing = [shard for shard, file in files.items() if not file.is_file()]
    if missing:
        raise CheckpointError(
            f"{index}: names shards that are not there: {', '.join(missing)}; fetch them"
        )
    found = [read(file) for file in files.values()]
    tensors = {name: tensor for part in found for name, tensor in part.tensors.items()}
    absent = sorted(set(shards) - set(tensors))
    if absent:
        raise CheckpointError(
            f"{index}: promises {absent[0]!r}, which shard {shards[absent[0]]} does not hold; fetch"
            " or save it again"
        )
    return Contents(
        {name: tensors[name] for name in shards},
        found[0].state,
        tuple(line for part in found for line in part.left_out),
    )


def named_in_index(content: bytes | str) -> tuple[str, ...] | None:
    """The files that an index names, sorted; None if it is no index."""
    try:
        names = set(json.loads(content)["weight_map"].values())
        return (
            tuple(sorted(names)) if names and all(isinstance(name, str) for name in names) else None
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
