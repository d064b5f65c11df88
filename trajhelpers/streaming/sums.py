"""Sums of products, whatever their size: numbers in units of a power of two."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64, UInt64

from .fingerprint import together

# Of the squared length of a row in a block, what products of that type hold with all their digits;
# less, and terms have underflowed.
SHORTEST = {"float64": 2.0**-900, "float32": 2.0**-110}
# Squared lengths beyond these are put into other units, so that their sums over blocks fit.
_LARGEST = 600


class Scaled(NamedTuple):
    """``values`` in units of 2^exponent, squared."""

    values: Float64[np.ndarray, "rows n"]
    exponent: int = 0

    def plus(self, other: "Scaled") -> "Scaled":
        """The sum, in the larger of both units; where they are one, in place.

        >>> Scaled(np.ones((1, 1)), 2).plus(Scaled(np.ones((1, 1)), 1))
        Scaled(values=array([[1.25]]), exponent=2)
        """
        if self.exponent == other.exponent:
            np.add(self.values, other.values, out=self.values)
            return self
        small, large = sorted((self, other), key=lambda scaled: scaled.exponent)
        # Nothing has no size.
        if not large.values.any():
            return small
        shift = 2 * (small.exponent - large.exponent)
        return Scaled(large.values + np.ldexp(small.values, shift), large.exponent)


def product(delta: Float[np.ndarray, "rows columns"], n: int, known: int = 0) -> Scaled:
    """Of the first n rows of a block with their own transpose, but for the very first, of which it
    is known; rows behind them are zeros.
    """
    plain = (delta[known:] @ delta.T)[: n - known, :n]
    delta = delta[:n]
    squared = np.einsum("ij,ij->i", delta, delta) if known else np.diagonal(plain)
    short = squared < SHORTEST[delta.dtype.name]
    if np.isfinite(squared).all() and not (short.any() and delta[short].any()):
        return Scaled(plain.astype(np.float64, copy=False))
    return _product_of_scaled(delta, known)


def _product_of_scaled(delta, known):
    """Where squares overflow or underflow: of rows that are scaled to a length of about one."""
    longest = np.abs(delta).max(1)
    shifts = np.frexp(np.where(np.isfinite(longest), longest, 0))[1]
    rows = np.ldexp(delta, -shifts[:, None])
    inner = (rows[known:] @ rows.T).astype(np.float64)
    largest = int(np.max(shifts, initial=-_LARGEST, where=longest > 0))
    exponent = largest if abs(2 * largest) > _LARGEST else 0
    return Scaled(np.ldexp(inner, shifts[known:, None] + shifts - 2 * exponent), exponent)


@dataclass
class Sums:
    """What a pass adds up: ``products`` of each segment that it has met, by its index, and the
    fingerprints of all rows.
    """

    products: dict[int, Scaled]
    prints: UInt64[np.ndarray, " n"]

    @classmethod
    def none(cls, n: int) -> "Sums":
        return cls({}, np.zeros(n, np.uint64))

    def add_product(self, index: int, product: Scaled) -> None:
        before = self.products.get(index)
        self.products[index] = product if before is None else before.plus(product)

    def add(self, other: "Sums") -> None:
        for index, product in other.products.items():
            self.add_product(index, product)
        self.prints = together(self.prints, other.prints)

    def renamed(self, indices: Sequence[int]) -> "Sums":
        """With what its segments are called elsewhere."""
        products = {indices[index]: product for index, product in self.products.items()}
        return Sums(products, self.prints)

    def in_one_unit(self, segments: int) -> tuple[Float64[np.ndarray, "segments rows n"], int]:
        """The products of all segments, in units of 2^exponent, and that: the largest of any that
        is not zero.
        """
        exponent = max(
            (one.exponent for one in self.products.values() if one.values.any()), default=0
        )
        n = len(self.prints)
        rows = max((len(one.values) for one in self.products.values()), default=n)
        found = np.zeros((segments, rows, n))
        for index, one in self.products.items():
            np.ldexp(one.values, 2 * (one.exponent - exponent), out=found[index])
        return found, exponent
