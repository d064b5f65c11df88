"""Where commands write, and what they print for scripts."""

import json
from pathlib import Path

from ..atomic import refuse_unwritable


def writable(given, example, endings):
    """The path of a file to be written, refused before hours of work where that cannot be."""
    output = Path(given)
    folder = output.absolute().parent
    if output.is_dir():
        wrong = "is a folder"
    elif not folder.is_dir():
        wrong = f"there is no folder {output.parent}"
    elif output.suffix.lower() not in endings:
        wrong = f"its ending has to be {', '.join(endings)}"
    else:
        refuse_unwritable(output)
        return output
    raise OSError(f"{output}: {wrong}; give the name of a file, {example}")


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
