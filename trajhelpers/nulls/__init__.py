"""Kernels of paths that nobody trained, which tell what a value of a hallmark means."""

from .descent import noisy_descent as noisy_descent
from .made_of import averaged as averaged
from .made_of import resumed as resumed
from .paths import ar1 as ar1
from .paths import circular_orbit as circular_orbit
from .paths import independent_initializations as independent_initializations
from .paths import initialization_cosine as initialization_cosine
from .paths import random_walk as random_walk
from .paths import random_walk_like as random_walk_like
from .paths import straight_line as straight_line
