"""Pictures of kernels: matplotlib Axes in, Axes out. What is computed here is computed by the hallmarks.

The horizontal axis of every line plot shows steps, in their unit (`unit`, "step" unless you say "epoch"). By one rule:

- linear, where the largest gap between neighbouring checkpoints is at most 50 times the smallest;
- symmetric-logarithmic, where it is more (Pythia's 0, 1, 2, 4, …, 512, 1000, 2000, …, 143000);
- one checkpoint a place, labelled with its step, where several runs are joined: their steps begin again. Maps are drawn this way always,
  so that each checkpoint has a row of the same height whatever the spacing.
"""

import math

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import Normalize, SymLogNorm

from . import hallmarks
from .kernel import TrajectoryKernel
from .style import MAP_COLOURS, NULL_COLOUR, STEP_COLOURS, UNDEFINED_COLOUR, styled

_MOST_UNEVEN_LINEAR = 50

_ANGLE_LABELS = {
    "consecutive": "consecutive updates",
    "update_position": "update, position",
    "update_total": "update, whole way",
    "progress_total": "progress, whole way",
    "apex_initialization": "apex at initialization",
    "apex_origin": "apex at O",
}
_NORM_LABELS = {
    "parameters": r"length of $\theta_t$",
    "updates": "length of update",
    "from_initialization": "distance from initialization",
}
_SPECTRUM_LABELS = {"K": "$K$", "C": "$C$", "K0": r"$K_{%s}$", "C0": r"$C_{%s}$"}


# ---- maps ----


@styled
def plot_map(kernel, origin=None, ax=None, vmin=None, vmax=1.0, unit="step", colorbar=True):
    """The Trajectory Map C, or with an origin the Relative Trajectory Map C_τ: dark where two checkpoints point the same way.

    Parameters
    ----------
    kernel : TrajectoryKernel
    origin : int, optional
        A checkpoint's index, or None for O.
    ax : matplotlib Axes, optional
        A new figure's, where none is given.
    vmin, vmax : float
        Cosines of the lightest and the darkest colour. By default from the smallest one, rounded down to a twentieth, to 1.
    unit : str
        What the steps are: "step", "epoch".
    colorbar : bool

    Returns
    -------
    matplotlib Axes
        One row and one column a checkpoint, the first at the top left, labelled with steps; rows that the kernel leaves out (the origin's own)
        are not there. Runs that were joined are set apart by lines and named.

    Source: Fig 2 of the paper; chapter "The kernel and its maps".

    >>> import trajhelpers as th
    >>> ax = th.plot_map(th.random_walk(20), origin=0)
    >>> ax.images[0].get_array().shape
    (19, 19)
    """
    cosine = kernel.cosine(origin)
    if vmin is None:
        vmin = _round_down(cosine)
    if ax is None:
        _, ax = plt.subplots(figsize=(4.6, 3.9))
    image = _draw_map(ax, cosine, vmin, vmax)
    kept = kernel.kept(origin)
    _label_checkpoints(ax.xaxis, kernel, kept, unit)
    _label_checkpoints(ax.yaxis, kernel, kept, unit)
    if colorbar:
        ax.figure.colorbar(image, ax=ax, label="cosine similarity", fraction=0.046, pad=0.04)
    return ax


@styled
def plot_maps(kernels, origin=None, columns=4, vmin=None, vmax=1.0, unit="step"):
    """Maps of several trajectories side by side, on one scale of colours.

    Parameters
    ----------
    kernels : dict of name → TrajectoryKernel
        Names stand above the maps. ``kernel.groups()`` is one.
    origin, vmin, vmax, unit
        As in `plot_map`; ``vmin`` is by default that of the lowest cosine in any of them.
    columns : int
        Maps in a row, at most.

    Returns
    -------
    array of Axes, shape (len(kernels),)

    Source: Fig 3 of the paper.

    >>> import trajhelpers as th
    >>> axes = th.plot_maps({"a walk": th.random_walk(20), "noise": th.ar1(20, correlation=0.5, distance=2)})
    >>> [ax.get_title() for ax in axes]
    ['a walk', 'noise']
    """
    if vmin is None:
        vmin = min(_round_down(kernel.cosine(origin)) for kernel in kernels.values())
    columns = min(columns, len(kernels))
    rows = math.ceil(len(kernels) / columns)
    width = min(3.0, 8.4 / columns)
    figure, grid = plt.subplots(rows, columns, figsize=(width * columns + 0.9, (width + 0.25) * rows + 0.3), squeeze=False)
    axes = grid.ravel()
    for ax, (name, kernel) in zip(axes, kernels.items()):
        plot_map(kernel, origin, ax, vmin, vmax, unit, colorbar=False)
        ax.set_title(name)
    for ax in axes[len(kernels):]:
        ax.remove()
    axes = axes[:len(kernels)]
    for ax in axes:
        if len(set(kernel.runs for kernel in kernels.values())) == 1:
            ax.label_outer() if False else None
    figure.colorbar(axes[0].images[0], ax=axes, label="cosine similarity", fraction=0.03, pad=0.02, aspect=25)
    return axes
