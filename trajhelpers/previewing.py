"""A kernel before all is read: of a sample of blocks, scaled up, and what goes on from one."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from .checkpoints import Trajectory
from .errors import TrajectoryError
from .kernel import ModelSetKernel, TrajectoryKernel
from .kernel.sampled import Sample, Summed, summed
from .making import Kernel, certain_kernel, kernel_of
from .models import ModelSet
from .reading.account import percent
from .streaming.fingerprint import from_words, in_words, together
from .streaming.passing import How, pass_over
from .streaming.sampling import Draw, block_length, draw, share_or_bytes
from .streaming.segments import Segment, columns_of, once_each
from .streaming.sums import Sums
from .streaming.verifying import note_compared
from .telling import tell


def drawn_of(
    trajectory: Trajectory | ModelSet,
    segments: dict[str, Segment],
    precision: str,
    sample: float | int | None,
    seed: int,
    begun: Kernel | None,
) -> Draw | None:
    """What is read of a sample; None where that is all, in one go."""
    sample = share_or_bytes(sample)
    if begun is None:
        if sample is None:
            return None
        return draw(trajectory, segments, sample, seed, block_length(trajectory), {})
    sizes = {name: columns_of(segment) for name, segment in segments.items()}
    preview = _same_preview(begun, trajectory, sizes, precision)
    if seed not in (0, preview.seed):
        raise ValueError(f"seed: the preview was drawn with {preview.seed}, not {seed}")
    before = dict(zip(begun.names, preview.drawn.tolist()))
    return draw(trajectory, segments, sample, preview.seed, preview.block, before)


def gram_of_sample(
    trajectory: Trajectory | ModelSet,
    segments: dict[str, Segment],
    drawn: Draw,
    how: How,
    partial: str | Path | None,
    verify: bool,
    begun: Kernel | None,
) -> Kernel:
    sizes = {name: columns_of(segment) for name, segment in segments.items()}
    is_whole = all(map(drawn.is_whole, sizes))
    if verify and not is_whole:
        raise ValueError("verify: reads all of the files; leave it out for a sample")
    n = trajectory.n
    if not is_whole:
        share = percent(sum(drawn.numbers.values()) / sum(sizes.values()))
        tell(f"sample: {share} of the parameters: {drawn}")
    trajectory, sums, checks = pass_over(trajectory, drawn.segments, how, partial, verify)
    if begun and trajectory.n < n:
        raise TrajectoryError(
            "begun: has checkpoints that are not finite in what it had not read; begin anew without"
            " begun="
        )
    kernel = certain_kernel(
        lambda links: _kernel_of_sample(trajectory, drawn, sums, sizes, how.precision, begun),
        trajectory,
        False,
        how.ranks,
    )
    prints = _prints_of_all(sums.prints, sizes, begun)
    if not is_whole:
        kernel.source["sampled"] = {"prints": prints, "stamps": trajectory.stamps()}
        # Files of which a part is read can be compared with nothing.
        return kernel
    if prints and once_each(segments.values(), trajectory.sizes):
        kernel.source["digests"] = prints
    note_compared(kernel.source, trajectory, checks, verify, how.ranks)
    return kernel


def _prints_of_all(prints, sizes, begun):
    """Of what has been read so far, as a kernel's file has them; None where that is not known."""
    if begun is None:
        return in_words(prints)
    before = begun.source.get("sampled", {}).get("prints")
    if before is None or len(before) != len(prints) or set(begun.names) != set(sizes):
        return None
    return in_words(together(from_words(before), prints))


def _kernel_of_sample(
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

    def of_each(facts: dict[str, int]) -> np.ndarray:
        return np.array([facts[name] for name in sizes])

    sample = Sample(
        draw.seed,
        draw.block,
        np.arange(len(sizes)),
        of_each(draw.blocks),
        of_each(draw.drawn),
        of_each(draw.numbers),
        np.array([at for at, _, _ in sampled], int),
        np.array([draw.count(name, cell) for _, cell, name in sampled], int),
        np.array([cells[name, cell] for _, cell, name in sampled]),
    )
    return kernel_of(
        trajectory, products, unit, sizes, precision, None, sample if sampled else None
    )


def _same_preview(
    begun: Any, trajectory: Trajectory | ModelSet, sizes: dict[str, int], precision: str
) -> Sample:
    """Its sample, which a pass over the trajectory goes on from; or a ValueError or
    TrajectoryError.
    """
    kind = ModelSetKernel if isinstance(trajectory, ModelSet) else TrajectoryKernel
    if not isinstance(begun, kind):
        raise TypeError(f"begun: expected a {kind.__name__}, got {type(begun).__name__}")
    if begun.sample is None:
        raise ValueError("begun: is of all parameters, and there is nothing more to read")
    points: dict[str, Any] = (
        {"models": list(begun.labels)}
        if isinstance(begun, ModelSetKernel)
        else {"steps": begun.steps.tolist()}
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
    return begun.sample


def _in_json(value: Any) -> Any:
    return json.loads(json.dumps(value))
