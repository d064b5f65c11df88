"""What the book's chapters run. Nothing outside of the lab imports it."""

from ..lazily import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__, "lab")
