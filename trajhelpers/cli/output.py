"""What commands print for scripts."""

import json


def print_json(value):
    """One object: arrays as lists, what is undefined as null."""
    print(json.dumps(_plain(value), allow_nan=False))


def _plain(value):
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value if not isinstance(value, float) or abs(value) < float("inf") else None
