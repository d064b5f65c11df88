"""Averages of checkpoints: what their weights are, and where they lie, from the kernel alone."""

from typing import NamedTuple

import numpy as np

from . import plan

AVERAGES = ("lawa", "swa", "ema")


def average_weights(which):
    """How much each checkpoint of a stem counts in an average.

    Parameters
    ----------
    which : str
        ``"lawa"``: the last five alike. ``"swa"``: all from epoch 8 on alike. ``"ema"``: from epoch
        8 on, an average that each checkpoint pulls a fifth of the way to itself.

    Returns
    -------
    array, shape (25,)
        Of sum 1.

    >>> average_weights("lawa")[-6:]
    array([0. , 0.2, 0.2, 0.2, 0.2, 0.2])
    """
    if which not in AVERAGES:
        raise ValueError(f"which: expected one of {', '.join(AVERAGES)}, got {which!r}")
    weights = np.zeros(plan.EPOCHS * plan.CHECKPOINTS_AN_EPOCH + 1)
    if which == "lawa":
        weights[-plan.LAST :] = 1 / plan.LAST
        return weights
    averaged = weights[plan.DECAY_AT * plan.CHECKPOINTS_AN_EPOCH :]
    if which == "swa":
        averaged[:] = 1 / len(averaged)
        return weights
    averaged[0] = 1
    for i in range(1, len(averaged)):
        averaged[:i] *= plan.EMA_FACTOR
        averaged[i] = 1 - plan.EMA_FACTOR
    return weights


def average_of(checkpoints, which):
    """The average of a stem's checkpoints, dicts of tensors; summed in float64."""
    weights = average_weights(which)
    return {
        name: sum(
            weight * one[name].double() for weight, one in zip(weights, checkpoints, strict=True)
        ).to(value.dtype)
        for name, value in checkpoints[0].items()
    }


class AveragePlace(NamedTuple):
    """Where an average lies: its ``norm``, its ``distance`` from the last checkpoint, in parameter
    units, and the ``angle`` between the two at O, in degrees.
    """

    norm: float
    distance: float
    angle: float


def average_place(kernel, weights):
    """Where Σ w_t θ_t lies, Σ w = 1, from the kernel alone: K gives its norm and its product with
    θ_T, and K seen from θ_T its distance.

    Parameters
    ----------
    kernel : TrajectoryKernel
    weights : array, shape (n,)

    Returns
    -------
    AveragePlace

    >>> import trajhelpers as th
    >>> line = th.straight_line(5, start=1)                  # 1, 2, 3, 4, 5
    >>> place = average_place(line, [0.2] * 5)
    >>> place.norm, place.distance
    (3.0, 2.0)
    >>> place.angle < 1e-5                    # to what a cosine next to 1 can tell
    True
    """
    weights, t = np.asarray(weights, float), np.arange(kernel.n)
    seen_from_end = kernel.inner_between(-1, t[:, None], -1, t)
    squared = weights @ kernel.gram() @ weights
    with_last = weights @ kernel.inner_between(None, t, None, -1)
    cosine = with_last / np.sqrt(squared * kernel.inner_between(None, -1, None, -1))
    return AveragePlace(
        norm=round(float(np.sqrt(squared)), 12),
        distance=round(float(np.sqrt(max(weights @ seen_from_end @ weights, 0))), 12),
        angle=round(float(np.degrees(np.arccos(min(cosine, 1)))), 12),
    )
