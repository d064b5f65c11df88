"""Addresses on the hub: hf://OWNER/NAME."""

import re
from typing import Any, NamedTuple


class Address(NamedTuple):
    """``hf://OWNER/NAME@REVISION/FOLDER``: a repository, and, where they are given, one of its
    revisions and a folder in it.
    """

    repository: str
    revision: str = ""
    folder: str = ""

    def __str__(self) -> str:
        revision = f"@{self.revision}" if self.revision else ""
        return f"hf://{self.repository}{revision}{f'/{self.folder}' if self.folder else ''}"


_PART = r"\w[\w.-]*"
_ADDRESS = re.compile(
    rf"(?P<repository>{_PART}/{_PART})"
    r"(?:@(?P<revision>refs/[\w.-]+/[\w.-]+|[\w.+=-]+))?"
    r"(?:/(?P<folder>[^?#]+))?",
    re.ASCII,
)


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


def parse(source: str) -> Address:
    """
    >>> parse("hf://m-a-p/neo_7b/hf_ckpt")
    Address(repository='m-a-p/neo_7b', revision='', folder='hf_ckpt')
    >>> parse("hf://allenai/OLMo-1B@step1000-tokens4B").revision
    'step1000-tokens4B'
    """
    name = source.removeprefix("hf://").strip("/")
    if name.startswith(("datasets/", "spaces/", "kernels/", "buckets/")):
        raise ValueError(
            f"{source}: is a {name.split('/')[0][:-1]}, which holds no checkpoints; give a model's"
            " repository, hf://OWNER/NAME"
        )
    match = _ADDRESS.fullmatch(re.sub("^([^/]+/[^/@]+)/tree/", r"\1@", name))
    if not is_hub(source) or match is None or ".." in (match["folder"] or "").split("/"):
        raise ValueError(
            f"{source}: is no repository on the hub; expected hf://OWNER/NAME, e.g."
            " hf://EleutherAI/pythia-14m, or hf://OWNER/NAME@REVISION/FOLDER"
        )
    return Address(match["repository"], match["revision"] or "", match["folder"] or "")
