"""A repository on the hub as a source of checkpoints."""

from collections.abc import Iterable
from importlib.util import find_spec
from typing import Any

from ...errors import missing_extra
from ..protocol import Listing
from .address import is_hub


class Hub:
    """``hf://OWNER/NAME``, a revision or folder of it, or a list of such, a checkpoint each."""

    options: tuple[str, ...] = ("revisions", "format", "cache", "accept", "file")

    def accepts(self, what: Any) -> bool:
        return is_hub(what) or (isinstance(what, list) and bool(what) and all(map(is_hub, what)))

    def list(self, what: Any, every: int, skip: Iterable[int | str], **options: Any) -> Listing:
        if find_spec("huggingface_hub") is None:
            raise missing_extra(what, "huggingface_hub", "hub")
        # Loaded with the hub's client, which whoever has files does not need.
        from .listing import list_hub

        return list_hub(what, every, skip, **options)
