"""Paths made of another path, from its kernel alone: a null model's or a run's."""

import numpy as np

from ..hallmarks import of_a_path
from ..kernel import TrajectoryKernel


def averaged(kernel: TrajectoryKernel, memory: float) -> TrajectoryKernel:
    """The exponential moving average of a path: θ̄_t = β θ̄_{t−1} + (1 − β) θ_t, from θ̄_0 = θ_0.

    Increments are averaged alike, δ̄_t = β δ̄_{t−1} + (1 − β) δ_t, so that the kernel is a linear
    map of the path's and no weights are needed. Of a random walk the average looks steady:
    consecutive updates have the cosine β √((1 − β^{2t}) / (1 − β^{2t + 2})) → β.

    Parameters
    ----------
    kernel : TrajectoryKernel
        A null model's or a run's.
    memory : float
        β a checkpoint, from 0 (nothing is averaged) to below 1. A run that averages at each step,
        with β₁, has β₁ to the power of the steps between two checkpoints.

    Returns
    -------
    TrajectoryKernel
        With the path's n, groups, steps and runs.

    Raises
    ------
    ValueError
        For a memory out of range, a set of models, or a sample.

    Beyond the paper. Averages of weights: Izmailov et al. 2018. Chapter "How to read a map".

    >>> import trajhelpers as th
    >>> smooth = th.averaged(th.random_walk(60), memory=0.9)
    >>> float(th.angles(smooth)["consecutive"][-1].round(1))      # arccos .9
    25.8
    """
    _exact("averaged", kernel)
    if not 0 <= memory < 1:
        raise ValueError(f"memory: expected a number from 0 to below 1, got {memory}")
    t = np.arange(kernel.n)
    age = t[:, None] - t
    weights = np.where(age >= 0, (1 - memory) * memory ** np.maximum(age, 0), 0)
    weights[:, 0] = 0
    weights[0, 0] = 1  # θ_0 itself, from which the average starts
    return TrajectoryKernel(
        weights @ kernel.increments @ weights.T,
        steps=kernel.steps,
        names=kernel.names,
        sizes=kernel.sizes,
        runs=kernel.runs,
    )


def resumed(kernel: TrajectoryKernel, at: int) -> TrajectoryKernel:
    """A run and, behind it, what would have come of its checkpoint ``at`` with another seed: as a
    folder holds both where a run is resumed from an earlier checkpoint.

    The second branch has the law of the first, given the path up to ``at``: what that path tells of
    what follows (where noise is pulled back to) the two share, and the rest is at right angles.
    This is exact where all that moves is drawn at random in high dimension, as walks and noise are;
    the two branches of a straight line are one.

    Parameters
    ----------
    kernel : TrajectoryKernel
        Of one run.
    at : int
        Index of the checkpoint from which it is resumed, neither the first nor the last.

    Returns
    -------
    TrajectoryKernel
        With 2n − 1 − at checkpoints, in two runs, "seed 0" and "seed 1".

    Raises
    ------
    ValueError
        For an index out of range, several runs, a set of models, or a sample.

    Beyond the paper; chapter "How to read a map".

    >>> import trajhelpers as th
    >>> both = th.resumed(th.random_walk(40), at=20)
    >>> both.n, round(float(both.cosine(origin=20)[38, 57]), 6)      # the two ends, seen from 20
    (59, 0.0)
    """
    _exact("resumed", kernel)
    if len(set(kernel.runs)) > 1:
        raise ValueError(f"resumed: expected the kernel of one run, got {set(kernel.runs)}")
    n = kernel.n
    if not 0 < at < n - 1:
        raise ValueError(f"at: expected a checkpoint from 1 to {n - 2}, got {at}")
    told, after = slice(0, at + 1), slice(at + 1, n)
    first = kernel.increments
    with_trunk = first[:, told, after]
    # The part of an increment that is a combination of those before the branches.
    rounding = n * np.finfo(np.float64).eps
    shared = (
        with_trunk.transpose(0, 2, 1)
        @ np.linalg.pinv(first[:, told, told], rcond=rounding, hermitian=True)
        @ with_trunk
    )
    across = np.concatenate([with_trunk, shared], axis=1)
    increments = np.block([[first, across], [across.transpose(0, 2, 1), first[:, after, after]]])
    second = n - 1 - at
    return TrajectoryKernel(
        increments,
        steps=np.concatenate([kernel.steps, kernel.steps[after]]),
        names=kernel.names,
        sizes=kernel.sizes,
        runs=["seed 0"] * n + ["seed 1"] * second,
        links=np.concatenate([np.arange(-1, n - 1), [at], np.arange(n, n + second - 1)]),
    )


def _exact(what: str, kernel: TrajectoryKernel) -> None:
    if of_a_path(what, kernel).sample is not None:
        raise ValueError(f"{what}: needs all of a kernel, and this one is a sample's estimate")
