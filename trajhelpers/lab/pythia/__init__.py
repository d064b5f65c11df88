"""The Pythia suite, and the parts of a GPT-NeoX network."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
