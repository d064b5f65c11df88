"""The ``config.json`` beside a checkpoint."""

import json

from ..errors import CheckpointError


def read_config(content: bytes | str, where) -> dict:
    """The dict that it holds; ``where`` names it in errors."""
    try:
        config = json.loads(content)
    except ValueError as error:
        raise CheckpointError(
            f"{where}: is no JSON ({error}); fetch or write it again, or move it away"
        ) from error
    if not isinstance(config, dict):
        raise CheckpointError(
            f"{where}: holds a {type(config).__name__}, where a dict was expected; fetch or write"
            " it again, or move it away"
        )
    return config
