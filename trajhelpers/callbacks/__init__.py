"""Trainers of other libraries → checkpoints, and what the trainer logs to: ω, ω_0 and the last angle
while the run goes on.
"""

from ..lazily import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
