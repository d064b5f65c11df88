"""Whether what is found in a kernel is more than chance, where the kernel is one of a sample."""

from collections.abc import Callable

from ..kernel import TrajectoryKernel

_ERRORS = 3  # standard errors


def is_sure(
    kernel: TrajectoryKernel, margin: float, measure: Callable[[TrajectoryKernel], float]
) -> bool:
    """Whether ``margin``, which is ``measure(kernel)``, is above zero beyond its standard error."""
    return bool(margin > 0 and margin > _ERRORS * kernel.standard_error(measure))
