"""What a redundant path is good for: training parts, averaging instead of decaying, pausing."""

from ...lazily import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__, "lab")
