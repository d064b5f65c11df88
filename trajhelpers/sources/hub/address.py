"""Addresses on the hub: hf://OWNER/NAME."""

import re
from typing import Any


def is_hub(source: Any) -> bool:
    """Whether a source is an address of a repository on the hub.

    >>> is_hub("hf://EleutherAI/pythia-14m"), is_hub("runs/digits")
    (True, False)
    """
    return (
        isinstance(source, str)
        and source.startswith("hf://")
        and not source.startswith("hf://buckets/")
    )


def repository(source: str) -> str:
    """The repository's name.

    >>> repository("hf://EleutherAI/pythia-14m")
    'EleutherAI/pythia-14m'
    """
    name = source.removeprefix("hf://").strip("/")
    if "@" in name or "/tree/" in name:
        raise ValueError(
            f"{source}: names a revision; give the repository alone, hf://OWNER/NAME, and the"
            " revisions as revisions="
        )
    if name.startswith(("datasets/", "spaces/", "kernels/", "buckets/")):
        raise ValueError(
            f"{source}: is a {name.split('/')[0][:-1]}, which holds no checkpoints; give a model's"
            " repository, hf://OWNER/NAME"
        )
    if not is_hub(source) or not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", name, re.ASCII):
        raise ValueError(
            f"{source}: is no repository on the hub; expected hf://OWNER/NAME, e.g."
            " hf://EleutherAI/pythia-14m"
        )
    return name
