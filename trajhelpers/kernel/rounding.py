"""How large rounding errors are, of products of rows and of what is made of them."""

import math
from typing import Any

import numpy as np
from jaxtyping import Float64

# Above these a warning says how large errors of cosines are: in float64 a bound, in float32 an
# estimate.
LARGEST_SILENT = {"float64": 1e-9, "float32": 1e-6}
# The largest relative error of one rounding.
_UNIT = {"float64": 2.0**-53, "float32": 2.0**-24}
# Blocks are at most so long that one sum runs over that many terms; sums of blocks are float64.
_LONGEST_SUM = 8192


def relative_error(p: int, precision: str) -> float:
    """Of the product of two rows of p numbers, relative to their lengths.

    Each number is rounded when it is subtracted, and its products are; a sum of m terms adds √m
    errors, where each is as likely up as down: six standard deviations for the worst order, one
    after the other, of terms of one sign.
    """
    return _UNIT[precision] * (3 + math.sqrt(min(p, _LONGEST_SUM)) + math.sqrt(p / _LONGEST_SUM))


def cosine_bound(relative: float, way: Any, other_way: Any) -> Any:
    """Of the cosine between two differences of points, with the lengths of the ways along which
    they are sums of rows, over their own.

    Of ⟨a, b⟩/(|a| |b|) the three products are wrong by g w w', g w² and g w'²; and the last
    operations add their own.
    """
    return relative / 2 * (way + other_way) ** 2 + 4 * _UNIT["float64"]


def estimate(
    made_of: Float64[np.ndarray, "*pairs"], squared: Float64[np.ndarray, "*pairs"]
) -> Float64[np.ndarray, "*pairs"]:
    """The size, not a bound, that an error of a cosine has in float32: each product carries half an
    eps, independent of the others, and errors add as squares.
    """
    return _UNIT["float32"] * made_of / squared
