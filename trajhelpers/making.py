"""From the sums of a pass to a kernel: along links that make it certain enough, with what there is
to be said of it."""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float64, Int

from .checkpoints import Trajectory
from .kernel import ModelSetKernel, TrajectoryKernel
from .kernel.certainty import better_links, largest_error
from .kernel.sampled import Sample
from .models import ModelSet
from .remarks import equal_pairs, warn_of_equal, without_constant
from .streaming.ranks import ALONE, Ranks
from .telling import tell

# After so many passes nothing is gained by another.
_MOST_REPEATS = 3

Kernel = TrajectoryKernel | ModelSetKernel
Links = Int[np.ndarray, " n"]


def certain_kernel(
    kernel_along: Callable[[Links | None], Kernel],
    trajectory: Trajectory | ModelSet,
    may_repeat: bool,
    ranks: Ranks = ALONE,
) -> Kernel:
    """The kernel of a pass, or of another one along shorter links, where the first's is not certain
    enough; with what there is to be said of it.
    """

    def pairs(kernel):
        return ranks.once(lambda: equal_pairs(kernel, trajectory))

    kernel = kernel_along(None)
    equal, close = pairs(kernel)
    for _ in range(_MOST_REPEATS if may_repeat else 0):
        links = better_links(kernel, equal)
        if links is None:
            break
        tell(
            f"rounding could change cosines by {min(largest_error(kernel, equal), 2):.0e}, since"
            f" {kernel.too_close}; the checkpoints are read again, each measured from the nearest"
        )
        other = kernel_along(links)
        kernel = min(kernel, other, key=lambda one: largest_error(one, equal))
        equal, close = pairs(kernel)
        if kernel is not other:
            break
    warn_of_equal(kernel, equal, close)
    if isinstance(kernel, ModelSetKernel):
        return kernel.moving() if trajectory.origin.counting.without_constant else kernel
    return without_constant(kernel, trajectory.origin.counting.without_constant)


def kernel_of(
    trajectory: Trajectory | ModelSet,
    products: Float64[np.ndarray, "groups n n"],
    exponent: int,
    sizes: dict[str, int],
    precision: str,
    links: Links | None,
    sample: Sample | None = None,
) -> Kernel:
    # Nobody else has them: the kernel need not copy them.
    products.setflags(write=False)
    parts: dict[str, Any] = {
        "names": list(sizes),
        "sizes": list(sizes.values()),
        "source": trajectory.provenance,
        "precision": precision,
        "links": links,
        "exponent": exponent,
        "sample": sample,
    }
    if isinstance(trajectory, ModelSet):
        return ModelSetKernel(products, trajectory.labels, **parts)
    return TrajectoryKernel(
        products,
        trajectory.steps,
        runs=trajectory.runs,
        tokens=_tokens(trajectory),
        **parts,
    )


def _tokens(trajectory: Trajectory) -> np.ndarray | None:
    if trajectory.tokens is None:
        return None
    is_known = all(tokens is not None for tokens in trajectory.tokens)
    return np.array(trajectory.tokens, np.int64 if is_known else np.float64)
