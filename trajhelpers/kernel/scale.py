"""Powers of two that keep products of very long and very short rows within float64."""

import math

import numpy as np
from jaxtyping import Float64

# Squares of lengths stay between 2^-600 and 2^600: their own products and sums then do, too.
_LARGEST = 600


def in_range(
    products: Float64[np.ndarray, "groups n n"],
    squared_path: Float64[np.ndarray, "groups n"] | None,
    exponent: int,
) -> tuple[np.ndarray, np.ndarray | None, int]:
    """The same in units of 2^exponent, which is 0 as long as lengths are ordinary; products are in
    units of its square.

    >>> products, _, exponent = in_range(np.array([[[2.0**-900]]]), None, 0)
    >>> products.item(), exponent
    (0.25, -449)
    """
    largest = float(np.abs(np.einsum("gss->gs", products)).max(initial=0))
    if not 0 < largest < math.inf:
        return products, squared_path, exponent
    power = math.frexp(largest)[1]
    if abs(power) <= _LARGEST:
        return products, squared_path, exponent
    shift = power // 2 + 1
    return (
        np.ldexp(products, -2 * shift),
        None if squared_path is None else np.ldexp(squared_path, -2 * shift),
        exponent + shift,
    )
