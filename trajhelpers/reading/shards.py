"""A checkpoint in several files: the index that names them."""

import re
from collections.abc import Callable, Iterable

from ..errors import CheckpointError
from .boundary import damage_named
from .contents import Contents
from .json_text import parse_json, text_of
from .parsed import EqualHeaders
from .place import File, within

_OF = re.compile(r"(?P<before>.*-)(?P<number>\d+)(?P<of>-of-(?P<count>\d{1,5})\.\w+)")


class _Index:
    """``shards`` by the name of each tensor."""

    def __init__(self, shards: dict[str, str]):
        self.shards = shards


_INDEXES: EqualHeaders[_Index] = EqualHeaders()


def read_shards(index: File, read: Callable[[File], Contents]) -> Contents:
    """The tensors that an index promises, each file of them read by ``read``, which reads no other
    index.
    """
    with damage_named(index):
        text = text_of(index)
        promised = _INDEXES.parsed(text.encode(), lambda: _Index(_weight_map(parse_json(text))))
    shards = promised.shards
    files = {shard: index.beside(shard) for shard in sorted(set(shards.values()))}
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
        (promised, *(header for part in found.values() for header in part.parsed)),
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
        return tuple(sorted(set(_weight_map(parse_json(content)).values()))) or None
    except ValueError:
        return None


def _weight_map(index: object) -> dict[str, str]:
    """By tensor, its shard: a file of the index's own folder, or below it, and no other index."""
    found = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(found, dict):
        raise ValueError("it is no index of shards, without a 'weight_map'")
    for shard in found.values():
        if not isinstance(shard, str) or within(shard).endswith(".json"):
            raise ValueError(f"it names {shard!r} for a shard")
    return found
