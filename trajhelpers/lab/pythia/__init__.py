"""The Pythia suite, and the parts of a GPT-NeoX network."""

from ...lazily import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__, "lab")
