"""Every finding of the paper against our runs."""

from ...lazily import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__, "lab")
