"""The ``config.json`` beside a checkpoint."""

from .boundary import damage_named
from .json_text import parse_json, refuse_depth
from .place import File

_LONGEST = 1 << 24
_REMEDY = "fetch or write it again, or move it away"


def config_in(file: File) -> dict:
    """That of a file, {} where it is not there."""
    if not file.is_file():
        return {}
    with damage_named(file, _REMEDY):
        _refuse_size(file.size)
        return read_config(file.read_text(), file)


def read_config(content: bytes | str, where) -> dict:
    """The dict that it holds; ``where`` names it in errors."""
    with damage_named(where, _REMEDY):
        _refuse_size(len(content))
        config = parse_json(content)
        if not isinstance(config, dict):
            raise ValueError(f"it holds a {type(config).__name__}, where a dict was expected")
        refuse_depth(config)
    return config


def _refuse_size(size: int) -> None:
    if size > _LONGEST:
        raise ValueError(f"{size:,} bytes, where {_LONGEST:,} are the most")
