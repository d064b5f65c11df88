"""The explorer: a kernel in a page that computes, with no kernel of Python's behind it.

What it computes is in ``js``, modules without a dependency; tests compare it with Python."""

from ..lazily import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
