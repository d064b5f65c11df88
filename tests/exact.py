"""Cosines and lengths of differences of checkpoints without any rounding until the last: an oracle
for errors that float64 cannot show. Numbers become whole numbers of one unit, as large as need be.
"""

from fractions import Fraction
from math import isqrt

import numpy as np

_DIGITS = 200  # bits of a square root beyond those of a whole number


class ExactPath:
    """The points of a (n, p) float64 matrix, and O, which is point −1."""

    def __init__(self, theta):
        mantissas, exponents = np.frexp(theta)
        whole = np.ldexp(mantissas, 53).astype(np.int64)
        least = int(exponents[theta != 0].min(initial=0))
        rows = [
            [int(w) << int(e - least) if w else 0 for w, e in zip(row, of_row)]
            for row, of_row in zip(whole, exponents)
        ]
        self.unit = Fraction(2) ** (least - 53)
        self._inner = [[sum(map(int.__mul__, a, b)) for b in rows] for a in rows]

    def inner(self, a, b):
        """⟨θ_a[1] − θ_a[0], θ_b[1] − θ_b[0]⟩ in squared units, for pairs of indices."""
        return sum(
            (1 - 2 * (i != 1)) * (1 - 2 * (j != 1)) * self._inner[a[i]][b[j]]
            for i in (0, 1)
            for j in (0, 1)
            if a[i] >= 0 and b[j] >= 0
        )

    def length(self, a):
        return Fraction(isqrt(self.inner(a, a) << (2 * _DIGITS)), 1 << _DIGITS) * self.unit

    def cosine(self, a, b):
        """A Fraction, good to some 60 digits; None where one is zero."""
        squares = self.inner(a, a) * self.inner(b, b)
        if not squares:
            return None
        root = isqrt(squares << (2 * _DIGITS))
        return Fraction(self.inner(a, b) << _DIGITS, root)
