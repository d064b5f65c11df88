"""What a checkpoint is called on an axis: by its step, or by the tokens that it was trained on."""

from typing import NamedTuple

import numpy as np

from ..kernel import TrajectoryKernel
from ..reading.steps import in_units


class Counted(NamedTuple):
    """A number a checkpoint, and what the numbers count."""

    numbers: np.ndarray
    unit: str

    def written(self, number: float, thousands: str = "") -> str:
        """
        >>> Counted(np.arange(3), "step").written(143000)
        '143000'
        >>> Counted(np.arange(3), "tokens").written(3e12)
        '3T'
        """
        if self.unit == "tokens":
            return in_units(int(number)) if np.isfinite(number) else "?"
        return f"{number:,}".replace(",", thousands)


def counted(kernel: TrajectoryKernel, unit: str) -> Counted:
    """Tokens where these are asked for, and where the names of the checkpoints count nothing else;
    else steps.
    """
    are_tokens = kernel.tokens is not None and np.array_equal(kernel.tokens, kernel.steps)
    if unit != "tokens" and not are_tokens:
        return Counted(kernel.steps, unit)
    if kernel.tokens is None:
        raise ValueError(
            "unit: the names of these checkpoints say nothing of tokens; leave it at 'step'"
        )
    return Counted(kernel.tokens, "tokens")
