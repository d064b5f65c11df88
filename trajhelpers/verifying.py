"""Whether checkpoints are still those that a kernel was made of, by the fingerprints that it keeps
of them.
"""

from collections.abc import Iterable
from contextlib import closing
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt64

from .checkpoints import Trajectory, open_trajectory
from .errors import StepError, TrajectoryError
from .kernel import ModelSetKernel, TrajectoryKernel, load_kernel
from .models import ModelSet
from .streaming.blocks import Block, cut, in_turn
from .streaming.fingerprint import Fingerprints, in_words, together
from .streaming.on_cores import on_all_cores
from .streaming.progress import Progress, progress_bar
from .streaming.segments import Segment

_COLUMNS = 8192


def verify(
    kernel: TrajectoryKernel | ModelSetKernel | str | Path,
    source: Any,
    memory: int = 2_000_000_000,
    **choices: Any,
) -> list[int]:
    """Which of a kernel's checkpoints are not, or no longer, in ``source`` as they were when it was
    made. All their numbers are read once, and nothing is multiplied.

    Parameters
    ----------
    kernel : TrajectoryKernel, ModelSetKernel or path
        From :func:`trajhelpers.gram`, or the file of one.
    source : Trajectory, ModelSet, or what open_trajectory takes
        Checkpoints that the kernel has not may be among them; those of other files, formats and
        types count as the same as long as they hold the same numbers under the same names.
    memory : int
        As of :func:`trajhelpers.gram`.
    **choices
        What :func:`trajhelpers.open_trajectory` was given: ``include``, ``state``, …

    Returns
    -------
    list of int
        The indices, in the kernel, of those whose numbers are others; empty where all are the same.

    Raises
    ------
    TrajectoryError
        Where the kernel has no fingerprints, as of one that an older version wrote, of a sample, or
        of LoRA adapters' products; where it is a part of another; where ``source`` lacks some of
        its steps, or counts other parameters.

    Notes
    -----
    A fingerprint has 64 bits and finds accidents, not somebody who wants it to agree.

    >>> import numpy as np, trajhelpers as th
    >>> walk = [{"w": np.full(3, float(t))} for t in range(4)]
    >>> kernel = th.gram(th.open_trajectory(walk))
    >>> th.verify(kernel, walk)
    []
    >>> walk[2]["w"][1] += 1e-9
    >>> th.verify(kernel, walk)
    [2]
    """
    name = "the kernel"
    if isinstance(kernel, (str, Path)):
        name, kernel = str(kernel), load_kernel(kernel)
    known = digests_of(kernel, name)
    if isinstance(source, (Trajectory, ModelSet)):
        if choices:
            raise TypeError(f"{next(iter(choices))}: is for a source that is opened here")
    else:
        source = open_trajectory(source, **choices)
    read = _same_checkpoints(kernel, source, name)
    counted = kernel.source["counted"]["numbers"]
    if counted != read.p:
        raise TrajectoryError(
            f"{name}: was made of {counted:,} parameters of each checkpoint, and the source counts"
            f" {read.p:,}; give the choices that it was made with (include, exclude, state, file,"
            " lora)"
        )
    found = in_words(_prints(read, memory))
    read.refuse_changed()
    return [index for index, (was, now) in enumerate(zip(known, found)) if was != now]


def digests_of(kernel: TrajectoryKernel | ModelSetKernel, name: str) -> list[str]:
    """A fingerprint a checkpoint, as the pass found them. TrajectoryError where there are none."""
    digests = kernel.source.get("digests")
    if not digests:
        raise TrajectoryError(
            f"{name}: keeps no fingerprints of its checkpoints: it was made by an older version, of"
            " adapters' products or a sample, or with groups that are not all of the parameters;"
            " compute it again with gram"
        )
    if len(digests) != kernel.n:
        raise TrajectoryError(
            f"{name}: has {kernel.n} of the {len(digests)} checkpoints of the kernel that it was"
            " taken from; give that one"
        )
    return digests


def _same_checkpoints(
    kernel: TrajectoryKernel | ModelSetKernel, source: Trajectory | ModelSet, name: str
) -> Trajectory | ModelSet:
    """Those of the kernel, in its order."""
    if isinstance(kernel, ModelSetKernel):
        if not isinstance(source, ModelSet) or source.labels != kernel.labels:
            raise TrajectoryError(
                f"{name}: is of the models {', '.join(map(repr, kernel.labels))}; give what"
                " open_models returns for the same labels"
            )
        return source
    if not isinstance(source, Trajectory):
        raise TrajectoryError(f"{name}: is of a trajectory; give one, and no set of models")
    steps = [int(step) for step in kernel.steps]
    if steps == list(source.steps):
        return source
    at = {key: index for index, key in enumerate(zip(source.runs, source.steps))}
    indices = [at.get(key) for key in zip(kernel.runs, steps)]
    lacking = [step for step, index in zip(steps, indices) if index is None]
    if lacking:
        raise StepError(
            f"{name}: is of steps that the source has not:"
            f" {', '.join(map(str, lacking[:8]))}{' …' * (len(lacking) > 8)}; give the source that"
            " it was made of, with the same revisions, every and skip"
        )
    return source[indices]


def _prints(source: Trajectory | ModelSet, memory: int) -> UInt64[np.ndarray, " n"]:
    segments = [[(name, 0, size)] for name, size in source.sizes.items()]
    blocks = (
        [Block([], dict(enumerate(segments)))]
        if source.remote is None
        else cut(source, segments, memory)
    )
    prints = np.zeros(source.n, np.uint64)
    with (
        progress_bar(source, [], blocks, what="fingerprints") as progress,
        closing(in_turn(source, blocks, progress)) as in_hand,
    ):
        for block in in_hand:
            found = _prints_of_block(source, list(block.segments.values()), progress)
            prints = together(prints, found)
    return prints


def _prints_of_block(
    source: Trajectory | ModelSet, segments: list[Segment], progress: Progress
) -> UInt64[np.ndarray, " n"]:
    wide = "float64" in source.dtypes.values()

    def work(blocks: Iterable[tuple[int, Segment, int]]) -> np.ndarray:
        theta = np.empty((source.n, _COLUMNS), np.float64 if wide else np.float32)
        prints = Fingerprints(source.n, _COLUMNS, wide)
        for _, block, width in blocks:
            source.read_into(block, theta[:, :width])
            prints.add(theta[:, :width], block)
            progress.add(block)
        return prints.prints

    return reduce(together, on_all_cores(segments, _COLUMNS, work, progress))
