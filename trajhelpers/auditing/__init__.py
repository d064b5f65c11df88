"""Is each checkpoint what it says it is?"""

from ..lazily import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
