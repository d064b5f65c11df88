"""What can be said without training: quadratics, and the laws of width."""

from ...lazily import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__, "lab")
