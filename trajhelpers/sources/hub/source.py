"""A repository on the hub as a source of checkpoints."""

from collections.abc import Iterable
from importlib.util import find_spec
from typing import Any

from ...errors import missing_extra
from ..protocol import Listing
from .address import is_hub


class Hub:
    """``hf://OWNER/NAME``."""

    options: tuple[str, ...] = ("revisions", "format", "cache", "accept")

    def accepts(self, what: Any) -> bool:
        return is_hub(what)

    def list(self, what: str, every: int, skip: Iterable[int], **options: Any) -> Listing:
        if find_spec("huggingface_hub") is None:
            raise missing_extra(what, "huggingface_hub", "hub")
        # Loaded with the hub's client, which whoever has files does not need.
        from .listing import list_revisions

        return list_revisions(what, every, skip, **options)
