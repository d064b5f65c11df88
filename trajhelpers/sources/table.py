"""The sources there are."""

from typing import Any

from .disk import Disk
from .hub.buckets import HubBuckets
from .hub.source import Hub
from .memory import Memory
from .protocol import Source
from .stores.source import Stores

# The first that accepts what it is given lists it: an address is a string, as a path is.
SOURCES: tuple[Source, ...] = (Hub(), HubBuckets(), Stores(), Memory(), Disk())


def source_of(what: Any) -> Source:
    """The source that accepts this; every path or list has one."""
    return next(source for source in SOURCES if source.accepts(what))
