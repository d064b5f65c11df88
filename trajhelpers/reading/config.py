"""The ``config.json`` beside a checkpoint."""

from .boundary import damage_named
from .json_text import parse_json, refuse_depth

_LONGEST = 1 << 24
_REMEDY = "fetch or write it again, or move it away"


def read_config(content: bytes | str, where) -> dict:
    """The dict that it holds; ``where`` names it in errors."""
    with damage_named(where, _REMEDY):
        if len(content) > _LONGEST:
            raise ValueError(f"{len(content):,} bytes, where {_LONGEST:,} are the most")
        config = parse_json(content)
        if not isinstance(config, dict):
            raise ValueError(f"it holds a {type(config).__name__}, where a dict was expected")
        refuse_depth(config)
    return config
