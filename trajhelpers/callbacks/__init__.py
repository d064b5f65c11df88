"""In the loops of other libraries: checkpoints, and ω, ω_0 and the last angle in their logs."""

from ..lazily import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
