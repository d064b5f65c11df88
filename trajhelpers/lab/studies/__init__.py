"""The studies: their recipes, how they are run, read, compared and drawn."""

from ...lazily import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__, "lab")
