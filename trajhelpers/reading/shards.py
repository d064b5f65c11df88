"""A checkpoint in several files: the index that names them."""

import json
import re
from collections.abc import Callable, Iterable

from ..errors import CheckpointError
from .contents import Contents
from .place import File

_OF = re.compile(r"(?P<before>.*-)(?P<number>\d+)(?P<of>-of-(?P<count>\d{1,5})\.\w+)")


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
    unnamed = _unnamed(files)
    if unnamed:
        raise CheckpointError(
            f"{index}: names no tensor of {unnamed}, though its shards are numbered so that there"
            " is one; fetch or save the index again"
        )
    found = {shard: read(file) for shard, file in files.items()}
    absent = sorted(name for name, shard in shards.items() if name not in found[shard].tensors)
    if absent:
        raise CheckpointError(
            f"{index}: promises {absent[0]!r}, which shard {shards[absent[0]]} does not hold; fetch"
            " or save it again"
        )
    return Contents(
        {name: found[shard].tensors[name] for name, shard in shards.items()},
        next((part.state for part in found.values()), ""),
        (
            *(line for part in found.values() for line in part.left_out),
            *(
                f"{name}: in {shard}, where the index does not list it"
                for shard, part in found.items()
                for name in part.tensors
                if shards.get(name) != shard
            ),
        ),
        tuple(header for part in found.values() for header in part.parsed),
    )


def _unnamed(shards: Iterable[str]) -> str:
    """The first shard that there must be, by the numbers in the names of the others, "" if none."""
    matches = [match for shard in shards if (match := _OF.fullmatch(shard))]
    there = {match[0] for match in matches}
    for match in matches:
        same = [other for other in matches if other["before"] == match["before"]]
        first = min(1, *(int(other["number"]) for other in same))
        for number in range(first, first + int(match["count"])):
            name = f"{match['before']}{number:0{len(match['number'])}}{match['of']}"
            if name not in there:
                return name
    return ""


def named_in_index(content: bytes | str) -> tuple[str, ...] | None:
    """The files that an index names, sorted; None if it is no index."""
    try:
        names = set(json.loads(content)["weight_map"].values())
        return (
            tuple(sorted(names)) if names and all(isinstance(name, str) for name in names) else None
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
