"""JSON from anywhere, in bounds: little text may ask for much memory, or for a deep stack."""

import json
from typing import Any

from .place import File

# safetensors' own limit for its header: of a million tensors.
LONGEST_JSON = 100_000_000
_MOST_VALUES = 8_000_000
DEEPEST_JSON = 64


def read_json(file: File, most: int = LONGEST_JSON) -> Any:
    """What a file of JSON holds; a ValueError where it is none, or out of bounds."""
    return parse_json(text_of(file, most))


def text_of(file: File, most: int = LONGEST_JSON) -> str:
    """A file of JSON as it stands; a ValueError where it is out of bounds."""
    if file.size > most:
        raise ValueError(f"{file.size:,} bytes of JSON, where {most:,} are the most")
    return file.read_text()


def parse_json(text: str | bytes, unique: bool = False) -> Any:
    """``unique``: no name stands twice in a mapping, of which others read the first."""
    if isinstance(text, bytes):
        text = text.decode()
    if len(text) > LONGEST_JSON or text.count(",") + text.count("[") > _MOST_VALUES:
        raise ValueError(f"JSON of more than {_MOST_VALUES:,} values")
    try:
        return json.loads(text, object_pairs_hook=without_doubles if unique else None)
    except RecursionError:
        raise ValueError("JSON that is nested too deep") from None


def without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands twice")
    return found


def refuse_depth(value: Any, deepest: int = DEEPEST_JSON) -> None:
    """A ValueError for what is nested so deep that it could not be written again."""
    level = [value]
    for _ in range(deepest):
        level = [
            inner
            for outer in level
            if isinstance(outer, (dict, list))
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return
    raise ValueError(f"JSON that is nested more than {deepest} deep")
