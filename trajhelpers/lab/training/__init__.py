"""Recipes, and the training runs that they determine."""

from ...lazily import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__, "lab")
