"""What is said of a kernel when it is made: checkpoints that are equal, and what never moves."""

from typing import Any

import numpy as np

from .errors import LayoutError
from .kernel import ModelSetKernel, TrajectoryKernel
from .reading.account import capped, of_constant
from .reading.lora import LowRankLayout
from .stored import Stored
from .streaming.segments import blocks_of
from .telling import tell, warn

# Of ‖θ‖², that never moves: up to here a line is enough.
_LARGEST_SILENT_SHARE = 0.01
_SHOWN = 10

Pairs = list[tuple[int, int]]


def equal_pairs(
    kernel: TrajectoryKernel | ModelSetKernel, trajectory: Stored
) -> tuple[Pairs, Pairs]:
    """Of the pairs that the kernel cannot tell apart, those that are known to be equal, and those
    of which nothing more is known.
    """
    # A float64 difference of zero is proof, and so are equal hashes of files. Other pairs are read
    # again, but not from afar.
    still = kernel.unmoved & (kernel.precision == "float64")
    links = kernel.links
    low_rank = isinstance(trajectory.layout, LowRankLayout)
    stamps = trajectory.stamps() if trajectory.remote else None
    equal, close = [], []
    for s, t in kernel.indistinct():
        proven = (links[t] == s and still[t]) or (links[s] == t and still[s])
        if stamps:
            proven = proven or stamps[s] == stamps[t]
        elif not proven and not low_rank and kernel.sample is None:
            if not _equal(trajectory, s, t):
                continue
            proven = True
        (equal if proven else close).append((s, t))
    return equal, close


def warn_of_equal(kernel: TrajectoryKernel | ModelSetKernel, equal: Pairs, close: Pairs) -> None:
    """Checkpoints, or models, that cannot be told apart."""
    for pairs, are in ((equal, "identical"), (close, "equal up to rounding")):
        if pairs:
            names = [" and ".join(map(_name_in(kernel), pair)) for pair in pairs[:_SHOWN]]
            more = f" … ({len(pairs)} pairs)" if len(pairs) > _SHOWN else ""
            seen = " in what was sampled of them" if kernel.sample else ""
            what = "models" if isinstance(kernel, ModelSetKernel) else "checkpoints at steps"
            warn(f"{what} {', '.join(names)}{more} are {are}{seen}")


def without_constant(kernel: Any, leave_out: bool) -> Any:
    """Groups that never move are masks, tables, or frozen: they hold every cosine high. They are
    said, or left out.
    """
    constant = kernel.constant
    if len(constant) == len(kernel.names):
        if leave_out:
            raise LayoutError(
                "no parameters left (exclude='constant'): nothing moves between the checkpoints"
            )
        return kernel
    if not constant:
        return kernel
    # Of the checkpoint where it is most: what moves is of another length in each.
    whole = kernel.distance(None, np.arange(kernel.n)) ** 2
    squared = sum(constant.values())
    share = min(float(np.max(squared / whole)), 1.0) if squared else 0.0
    sizes = dict(zip(kernel.names, kernel.sizes))
    largest_first = sorted(constant, key=lambda name: -constant[name])
    facts = {
        "share": share,
        "numbers": sum(sizes[name] for name in largest_first),
        "groups": capped([f"{name} ({sizes[name]:,} numbers)" for name in largest_first]),
        "left_out": leave_out,
        **({"sampled": True} if kernel.sample else {}),
    }
    if leave_out:
        kernel = kernel.moving()
        tell(of_constant(facts))
    elif share > _LARGEST_SILENT_SHARE:
        warn(f"{of_constant(facts)}; leave it out with exclude='constant', or take kernel.moving()")
    elif share:
        tell(f"{of_constant(facts)}; leave it out with exclude='constant'")
    kernel.source["constant"] = facts
    return kernel


def _name_in(kernel):
    if isinstance(kernel, ModelSetKernel):
        return lambda at: repr(kernel.labels[at])
    return lambda at: f"{kernel.runs[at]} {kernel.steps[at]}".strip()


def _equal(trajectory: Stored, s: int, t: int) -> bool:
    segments = [[(name, 0, size)] for name, size in trajectory.sizes.items()]
    for _, block, width in blocks_of(segments, 0, trajectory.p, 1 << 20):
        both = np.empty((2, width))
        trajectory.read_into(block, both, slice(s, t + 1, t - s))
        if (both[0] != both[1]).any():
            return False
    return True
