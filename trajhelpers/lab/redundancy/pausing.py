"""In what order layers are paused, and when."""

import numpy as np

from ..pythia.settle import cosine_to_end, settling
from .plan import SETTLED


def pausing_steps(sizes, order, start, end):
    """When each layer is paused, so that the paused share of the parameters rises linearly from
    none at ``start`` to all at ``end``: each layer in the middle of its own share.

    Parameters
    ----------
    sizes : sequence of int
        Parameters of each layer.
    order : sequence of int
        Their indices, first paused first.
    start, end : int
        Steps.

    Returns
    -------
    array of int, shape (layers,)
        By layer, to the nearest step.

    Notes
    -----
    Every order costs the same: with shares p_j and c_j the sum of those before, Σ p_j (c_j + p_j/2)
    = Σ_{i<j} p_i p_j + Σ p_j²/2 = (Σ p_j)²/2 = 1/2, whatever the order. So all parameters together
    are trained for (start + end)/2 steps on average, but for the rounding to whole steps.

    >>> sizes = [1, 2, 5]
    >>> times = pausing_steps(sizes, [2, 0, 1], 0, 800)
    >>> times, int((times * sizes).sum() / 8)
    (array([550, 700, 250]), 400)
    """
    if sorted(order) != list(range(len(sizes))):
        raise ValueError(f"order: expected each of {len(sizes)} layers once, got {list(order)}")
    shares = np.asarray(sizes, float)[list(order)] / np.sum(sizes)
    middles = np.cumsum(shares) - shares / 2
    steps = np.empty(len(sizes), dtype=int)
    steps[list(order)] = np.rint(start + (end - start) * middles).astype(int)
    return steps


def settling_order(kernel, layers):
    """The layers of a run, first settled first: by `settling` from initialization, equals by their
    mean cosine to the end.

    Parameters
    ----------
    kernel : TrajectoryKernel
        A group a layer.
    layers : sequence of str
        Their names.

    Returns
    -------
    list of int
    """
    table = settling(kernel, SETTLED)
    dates = table[table.origin == "initialization"].set_index("group").step
    groups = kernel.groups()

    def key(index):
        name = layers[index]
        return dates[name], -np.nanmean(cosine_to_end(groups[name], origin=0))

    return sorted(range(len(layers)), key=key)
