"""Storage buckets on the hub: hf://buckets/OWNER/NAME/PREFIX."""

import re
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from typing import Any

from ...errors import missing_extra
from ..protocol import Listing

_START = "hf://buckets/"
_ADDRESS = re.compile(r"hf://buckets/(\w[\w.-]*/\w[\w.-]*)(?:/(.*))?", re.ASCII)


class HubBuckets:
    """A prefix of a bucket, or a list of such."""

    options: tuple[str, ...] = ("file",)

    def accepts(self, what: Any) -> bool:
        if isinstance(what, list):
            return bool(what) and all(map(self.accepts, what))
        return isinstance(what, str) and what.startswith(_START)

    def list(self, what: Any, every: int, skip: Iterable[int], **options: Any) -> Listing:
        if find_spec("huggingface_hub") is None:
            raise missing_extra(_START, "huggingface_hub", "hub")
        # Loaded with the hub's client, which whoever has files does not need.
        from .bucket_files import list_buckets

        addresses: Sequence[str] = [what] if isinstance(what, str) else what
        return list_buckets(
            [bucket_and_prefix(one) for one in addresses],
            every,
            skip,
            alone=isinstance(what, str),
            **options,
        )


def bucket_and_prefix(source: str) -> tuple[str, str]:
    """
    >>> bucket_and_prefix("hf://buckets/someone/runs/digits/")
    ('someone/runs', 'digits')
    """
    match = _ADDRESS.fullmatch(source)
    prefix = (match[2] or "").strip("/") if match else ""
    if match is None or {"", ".", ".."} & set(prefix.split("/") if prefix else ()):
        raise ValueError(
            f"{source}: is no bucket on the hub; expected hf://buckets/OWNER/NAME or"
            " hf://buckets/OWNER/NAME/PREFIX"
        )
    return match[1], prefix
