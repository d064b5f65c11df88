"""What a pass multiplies: each row of a block minus the row that it is linked to, or as it is."""

from itertools import groupby
from typing import Any

import numpy as np
from jaxtyping import Int


class Differences:
    """Rows minus those that ``links`` has for them, −1 for none; in as few subtractions as there
    are runs of rows that are linked alike. Of the first ``known`` rows the products with each other
    are known, and those of the others with all are wanted.

    >>> differences = Differences(np.array([-1, 0, 1, 1, 1]))
    >>> differences.runs
    [(slice(0, 1, None), None), (slice(1, 3, None), slice(0, 2, None)), \
(slice(3, 5, None), slice(1, 2, None))]
    """

    def __init__(self, links: Int[np.ndarray, " n"], known: int = 0):
        self.links, self.known = links.tolist(), known
        self.runs: list[tuple[slice, slice | None]] = []
        rows = range(len(links))
        while rows:
            first, link = rows[0], self.links[rows[0]]
            alike = [
                _length(self.links[row] == link for row in rows),
                _length(link >= 0 and self.links[row] - link == row - first for row in rows),
            ]
            count, source = max(alike), None
            if link >= 0:
                source = slice(link, link + (1 if alike[0] == count else count))
            self.runs.append((slice(first, first + count), source))
            rows = rows[count:]

    def of(self, theta: Any, delta: Any) -> None:
        """Into ``delta``: arrays of NumPy's or torch's, a row a checkpoint; taken in the wider of
        both types.
        """
        for rows, source in self.runs:
            if source is None:
                delta[rows] = theta[rows]
            elif isinstance(theta, np.ndarray):
                np.subtract(
                    theta[rows],
                    theta[source],
                    out=delta[rows],
                    dtype=np.promote_types(theta.dtype, delta.dtype),
                    casting="same_kind",
                )
            else:
                delta[rows] = theta[rows] - theta[source]


def _length(alike) -> int:
    """How many come first that are so."""
    return sum(1 for _ in next((group for so, group in groupby(alike) if so), ()))
