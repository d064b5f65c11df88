"""From the sums of a pass to a kernel: along links that make it certain enough, with what there is
to be said of it."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float64, Int

from .checkpoints import Trajectory
from .errors import TrajectoryError
from .kernel import ModelSetKernel, TrajectoryKernel
from .kernel.certainty import better_links, largest_error
from .kernel.sampled import Sample, Summed, summed
from .models import ModelSet
from .remarks import equal_pairs, warn_of_equal, without_constant
from .streaming.sampling import Draw
from .streaming.sums import Sums
from .telling import tell

# After so many passes nothing is gained by another.
_MOST_REPEATS = 3

Kernel = TrajectoryKernel | ModelSetKernel
Links = Int[np.ndarray, " n"]


def certain_kernel(
    kernel_along: Callable[[Links | None], Kernel],
    trajectory: Trajectory | ModelSet,
    may_repeat: bool,
) -> Kernel:
    """The kernel of a pass, or of another one along shorter links, where the first's is not certain
    enough; with what there is to be said of it.
    """
    kernel = kernel_along(None)
    equal, close = equal_pairs(kernel, trajectory)
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
        equal, close = equal_pairs(kernel, trajectory)
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


def kernel_of_sample(
    trajectory: Trajectory | ModelSet,
    draw: Draw,
    sums: Sums,
    sizes: dict[str, int],
    precision: str,
    begun: Kernel | None,
) -> Kernel:
    """Of what was drawn, and what a preview had of it before: each group scaled up; exact, where
    nothing is left to be drawn.
    """
    new, exponent = sums.in_one_unit(len(draw.cells))
    before = summed(begun, begun.sample) if begun and begun.sample else Summed({}, {}, exponent)
    unit = max(exponent, before.exponent)
    cells: dict[tuple[str, int], np.ndarray] = {}
    for found, of_unit in (
        (before.cells, before.exponent),
        (dict(zip(draw.cells, new)), exponent),
    ):
        for (name, cell), one in found.items():
            key = name, 0 if draw.is_whole(name) else cell
            cells[key] = cells.get(key, 0) + np.ldexp(one, 2 * (of_unit - unit))
    products = np.zeros((len(sizes), *new.shape[1:]))
    index = {name: at for at, name in enumerate(sizes)}
    for (name, _), one in cells.items():
        products[index[name]] += one
    scale = [draw.blocks[name] / draw.drawn[name] for name in sizes]
    products *= np.array(scale)[:, None, None]
    sampled = sorted((index[name], cell, name) for name, cell in cells if not draw.is_whole(name))
    sample = Sample(
        draw.seed,
        draw.block,
        np.arange(len(sizes)),
        *(np.array([of[name] for name in sizes]) for of in (draw.blocks, draw.drawn, draw.numbers)),
        np.array([at for at, _, _ in sampled], int),
        np.array([draw.count(name, cell) for _, cell, name in sampled], int),
        np.array([cells[name, cell] for _, cell, name in sampled]),
    )
    return kernel_of(
        trajectory, products, unit, sizes, precision, None, sample if sampled else None
    )


def refuse_other_preview(
    begun: Any, trajectory: Trajectory | ModelSet, sizes: dict[str, int], precision: str
) -> None:
    """A ValueError or TrajectoryError unless a pass over the trajectory can go on from it."""
    kind = ModelSetKernel if isinstance(trajectory, ModelSet) else TrajectoryKernel
    if not isinstance(begun, kind):
        raise TypeError(f"begun: expected a {kind.__name__}, got {type(begun).__name__}")
    if begun.sample is None:
        raise ValueError("begun: is of all parameters, and there is nothing more to read")
    points = (
        {"steps": begun.steps.tolist()}
        if kind is TrajectoryKernel
        else {"models": list(begun.labels)}
    )
    groups = dict(zip(begun.names, begun.sizes))
    if begun.source.get("constant", {}).get("left_out"):
        # What did not move in the sample is read anew.
        groups = sizes | groups
    known = begun.source.get("sampled", {})
    here = {
        **trajectory.identity,
        "groups": sizes,
        "precision": precision,
        "files": trajectory.stamps(),
    }
    there = {
        **points,
        "groups": groups,
        "precision": begun.precision,
        "files": known.get("stamps"),
    }
    if None in (here["files"], there["files"]):
        here["files"] = there["files"] = None
    # As a kernel's file has them.
    other = [what for what in here if _in_json(here[what]) != _in_json(there[what])]
    if other or begun.sample.group.tolist() != list(range(len(begun.names))):
        raise TrajectoryError(
            f"begun: is a preview of other {', '.join(other or ['groups'])}; give the trajectory"
            " and the choices that it was made with, or begin anew without begun="
        )


def _in_json(value: Any) -> Any:
    return json.loads(json.dumps(value))
