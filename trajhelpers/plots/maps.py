"""Trajectory Maps: matplotlib Axes in, Axes out. What is computed here is computed by the kernel.

Maps give each checkpoint a row of the same height, whatever the spacing, and label rows with their
steps (joined runs with their names, models of a set with theirs)."""

import math
from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Float64, Int
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import MaxNLocator

from ..errors import missing_extra
from ..kernel import ModelSetKernel, TrajectoryKernel
from .counting import counted
from .sampled import say_sample_of_map
from .style import MAP_COLOURS, literally, styled


@styled
def plot_map(
    kernel: TrajectoryKernel | ModelSetKernel,
    origin: Any = None,
    ax: Axes | None = None,
    vmin: float | None = None,
    vmax: float = 1.0,
    unit: str = "step",
    colorbar: bool = True,
    order: str = "given",
) -> Axes:
    """The Trajectory Map C, or with an origin the Relative Trajectory Map C_τ: dark where two
    checkpoints point the same way.

    Parameters
    ----------
    kernel : TrajectoryKernel or ModelSetKernel
    origin : int or str, optional
        A checkpoint's index, or None for O. Of a set of models: a label, ``"O"``, or None for the
        base.
    ax : matplotlib Axes, optional
        A new figure's, where none is given.
    vmin, vmax : float
        Cosines of the lightest and the darkest colour. By default from the smallest one, rounded
        down to a twentieth, to 1.
    unit : str
        What the steps are: "step", "epoch"; or "tokens", where the names of checkpoints say how
        many they were trained on.
    colorbar : bool
    order : {"given", "clustered"}
        Of the models of a set. Clustered, those that point the same way are neighbours: the leaves
        of an average-linkage tree on 1 − cosine, turned so that neighbours are as close as the tree
        allows.

    Returns
    -------
    matplotlib Axes
        One row and one column a checkpoint, the first at the top left, labelled with steps; rows
        that the kernel leaves out (the origin's own) are not there. Runs that were joined, and the
        stages of one, are set apart by lines and named, or labelled with tokens that are asked for
        and go on through them; models of a set stand by their labels. Beneath a sample's it says
        so, with ω and its standard error.

    Source: Fig 2 of the paper; chapter "The kernel and its maps".

    >>> import trajhelpers as th
    >>> ax = th.plot_map(th.random_walk(20), origin=0)
    >>> ax.images[0].get_array().shape
    (19, 19)
    """
    if order not in ("given", "clustered"):
        raise ValueError(f"order: expected 'given' or 'clustered', got {order!r}")
    if not isinstance(kernel, (TrajectoryKernel, ModelSetKernel)):
        raise TypeError(f"kernel: expected what gram returns, got {type(kernel).__name__}")
    if isinstance(kernel, TrajectoryKernel) and order != "given":
        raise ValueError("order: a trajectory has its own; only a set of models can be clustered")
    cosine, kept = kernel.cosine(origin), kernel.kept(origin)
    if not len(kept):
        place = "O" if origin in (None, "O") else origin
        raise ValueError(f"kernel: all of it lies at the origin ({place}), and has no direction")
    if order == "clustered":
        leaves = clustered(cosine)
        cosine, kept = cosine[np.ix_(leaves, leaves)], [kept[leaf] for leaf in leaves]
    if vmin is None:
        vmin = round_down(cosine)
    if ax is None:
        _, ax = plt.subplots(figsize=_size(kernel, len(kept)))
    image = ax.imshow(cosine, cmap=MAP_COLOURS, vmin=vmin, vmax=vmax, interpolation="none")
    ax.grid(False)
    if isinstance(kernel, ModelSetKernel):
        labels = [literally(label) for label in kept]
        ax.set_xticks(range(len(kept)), labels, rotation=90)
        ax.set_yticks(range(len(kept)), labels)
    else:
        label_checkpoints(ax.xaxis, kernel, kept, unit)
        label_checkpoints(ax.yaxis, kernel, kept, unit)
    say_sample_of_map(ax, kernel, origin)
    if colorbar:
        ax.figure.colorbar(image, ax=ax, label="cosine similarity", fraction=0.046, pad=0.04)
    return ax


@styled
def plot_maps(
    kernels: Mapping[str, TrajectoryKernel],
    origin: int | None = None,
    columns: int | None = None,
    vmin: float | None = None,
    vmax: float = 1.0,
    unit: str = "step",
) -> np.ndarray:
    """Maps of several trajectories side by side, on one scale of colours.

    Parameters
    ----------
    kernels : dict of name → TrajectoryKernel
        Names stand above the maps. ``kernel.groups()`` is one.
    origin, vmin, vmax, unit
        As in `plot_map`; ``vmin`` is by default that of the lowest cosine in any of them.
    columns : int, optional
        Maps in a row, at most: three by default, so that each can be read; of four, two.

    Returns
    -------
    array of Axes, shape (len(kernels),)

    Source: Fig 3 of the paper.

    >>> import trajhelpers as th
    >>> noise = th.ar1(20, correlation=0.5, distance=2)
    >>> axes = th.plot_maps({"a walk": th.random_walk(20), "noise": noise})
    >>> [ax.get_title() for ax in axes]
    ['a walk', 'noise']
    """
    if vmin is None:
        vmin = min(round_down(kernel.cosine(origin)) for kernel in kernels.values())
    if columns is None:
        columns = 2 if len(kernels) == 4 else 3
    columns = min(columns, len(kernels))
    rows = math.ceil(len(kernels) / columns)
    width = min(3.0, 8.4 / columns)
    figure, grid = plt.subplots(
        rows, columns, figsize=(width * columns + 0.9, (width + 0.25) * rows + 0.3), squeeze=False
    )
    axes = grid.ravel()
    for ax, (name, kernel) in zip(axes, kernels.items()):
        plot_map(kernel, origin, ax, vmin, vmax, unit, colorbar=False)
        ax.set_title(literally(name))
    for ax in axes[len(kernels) :]:
        ax.remove()
    axes = axes[: len(kernels)]
    figure.colorbar(
        axes[0].images[0],
        ax=list(axes),
        label="cosine similarity",
        fraction=0.03,
        pad=0.02,
        aspect=25,
    )
    return axes


def clustered(cosine: Float64[np.ndarray, "rows rows"]) -> Int[np.ndarray, " rows"]:
    """Indices of rows in an order in which those that point the same way are neighbours.

    >>> a, b = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    >>> rows = np.stack([a, b, a, b])
    >>> (clustered(rows @ rows.T) % 2).tolist()
    [0, 0, 1, 1]
    """
    try:
        from scipy.cluster.hierarchy import leaves_list, linkage
        from scipy.spatial.distance import squareform
    except ModuleNotFoundError as error:
        raise missing_extra("order='clustered'", "scipy", "plots") from error

    if len(cosine) < 2:
        return np.arange(len(cosine))
    distance = np.maximum(1 - cosine, 0)
    np.fill_diagonal(distance, 0)
    tree = linkage(squareform(distance, checks=False), "average", optimal_ordering=True)
    return leaves_list(tree)


def _size(kernel, rows):
    """Inches: models have a label each, which needs a line."""
    side = max(3.9, 0.17 * rows + 1.6) if isinstance(kernel, ModelSetKernel) else 3.9
    return side + 0.7, side


def round_down(cosine: Float64[np.ndarray, "..."]) -> float:
    """The lightest colour: the least cosine, rounded down to a twentieth, or more finely where all
    are close to one.
    """
    least = cosine.min(initial=1)
    return (
        max(-1.0, math.floor(least * 20) / 20)
        if least < 0.95
        else math.floor(least * 200) / 200 - 0.005
    )


def label_checkpoints(
    axis: Axis, kernel: TrajectoryKernel, kept: Int[np.ndarray, " rows"], unit: str
) -> None:
    """Label rows with steps: round ones where there are any, else evenly spaced rows; fewer in a
    small map.
    """
    count, runs = counted(kernel, unit), np.array(kernel.runs)[kept]
    count = count._replace(numbers=count.numbers[kept])
    borders = np.flatnonzero(runs[1:] != runs[:-1]) + 1
    if len(borders):
        line = axis.axes.axvline if axis is axis.axes.xaxis else axis.axes.axhline
        for border in borders:
            line(border - 0.5, color="white", linewidth=1.2)
    # Tokens go on through the stages of a run, where steps begin anew.
    if len(borders) and not (count.unit == "tokens" and np.all(np.diff(count.numbers) > 0)):
        starts, ends = np.concatenate([[0], borders]), np.concatenate([borders, [len(kept)]])
        axis.set_ticks((starts + ends - 1) / 2, [literally(runs[start]) for start in starts])
        axis.set_label_text("run")
        return
    most = 5 if axis.axes.bbox.width > 2.2 * axis.axes.figure.dpi else 3
    wanted = MaxNLocator(most, integer=True).tick_values(count.numbers[0], count.numbers[-1])
    places = [
        int(np.flatnonzero(count.numbers == number)[0])
        for number in wanted
        if number in count.numbers
    ]
    if len(places) < 3 or np.ptp(places) < 0.6 * (len(kept) - 1):
        places = sorted(set(np.linspace(0, len(kept) - 1, most).round().astype(int)))
    labels = [count.written(count.numbers[place], thousands="\u202f") for place in places]
    axis.set_ticks(places, labels)
    axis.set_label_text(literally(count.unit))
