"""Stores as a source of checkpoints."""

from collections.abc import Iterable
from importlib.util import find_spec
from typing import Any

from ...errors import missing_extra
from ..protocol import Listing
from .address import is_in_a_store


class Stores:
    """``s3://BUCKET/PREFIX``, ``gs://``, ``az://``, or a list of such, or of ``https://`` files."""

    options: tuple[str, ...] = ("file",)

    def accepts(self, what: Any) -> bool:
        return is_in_a_store(what)

    def list(self, what: Any, every: int, skip: Iterable[int], **options: Any) -> Listing:
        if find_spec("obstore") is None:
            raise missing_extra("an address in a store", "obstore", "stores")
        # Loaded with the stores' client, which whoever has files does not need.
        from .listing import list_stores

        return list_stores(what, every, skip, **options)
