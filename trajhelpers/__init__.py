"""Trajectory maps: the lengths, bends and dead ends of a training run, computed from its
checkpoints.

>>> import trajhelpers as th
>>> kernel = th.random_walk(39)            # or th.gram(th.open_trajectory("runs/digits"))
>>> round(th.mds(kernel, origin=0), 4)
0.6813

What looks at runs is here. What the book's chapters run beyond that is in the rooms
``th.training``, ``th.studies``, ``th.theory``, ``th.pythia`` and ``th.claims``."""

# Puts the method `append` on the kernel.
from . import appending as appending

# These two bear the names of their modules, and a module that is loaded later would hide them.
from .gram import gram as gram
from .hallmarks import hallmarks as hallmarks
from .lazily import attach
from .version import __version__ as __version__

# All names are in __init__.pyi and loaded when first used: some import torch, matplotlib or pandas.
__getattr__, __dir__, __all__ = attach(__name__, __file__)
