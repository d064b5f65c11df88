"""Pictures and widgets of kernels, in one style."""

from ..lazily import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
