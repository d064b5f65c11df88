"""What a pass multiplies: the first row as it is, and differences of the others from something."""

from collections.abc import Callable
from typing import Any

# What is subtracted from the rows of a block after its first, of NumPy or of torch: along a path
# each one's predecessor, in a set the base, which is the first, or nothing where there is no base.
SUBTRACTED: dict[str, Callable[[Any], Any]] = {
    "predecessor": lambda theta: theta[:-1],
    "base": lambda theta: theta[:1],
    "nothing": lambda theta: 0.0,
}


def subtracted_row(differences: str, row: int) -> int | None:
    """The same by rows: which is subtracted from a row, None for none."""
    if row == 0 or differences == "nothing":
        return None
    return row - 1 if differences == "predecessor" else 0
