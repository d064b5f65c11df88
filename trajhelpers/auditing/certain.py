"""Whether what is found in a kernel is more than chance, where the kernel is one of a sample."""

from collections.abc import Callable
from typing import Any

_ERRORS = 3  # standard errors


def is_sure(kernel: Any, margin: float, measure: Callable[[Any], float]) -> bool:
    """Whether ``margin``, which is ``measure(kernel)``, is above zero beyond its standard error."""
    if not margin > 0:
        return False
    error = getattr(kernel, "standard_error", None)
    return error is None or margin > _ERRORS * error(measure)
