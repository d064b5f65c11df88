"""Several settings in one figure, each with its seeds: what a study shows."""

import matplotlib.pyplot as plt
import numpy as np

from ...hallmarks import angles, norms, spectra
from ...nulls import random_walk_like
from ...plots.style import LINES, NULL_COLOUR, literally, styled

_MEASURES = {
    "consecutive": (angles, 1, "consecutive updates (degrees)"),
    "update_position": (angles, 0, "update, position (degrees)"),
    "update_total": (angles, 0, "update, whole way (degrees)"),
    "progress_total": (angles, 1, "progress, whole way (degrees)"),
    "apex_initialization": (angles, 1, "apex at initialization (degrees)"),
    "apex_origin": (angles, 0, "apex at O (degrees)"),
    "parameters": (norms, 0, r"length of $\theta_t$"),
    "updates": (norms, 0, "length of update"),
    "from_initialization": (norms, 1, "distance from initialization"),
    "K": (spectra, 1, "spectrum of $K$ (share)"),
    "C": (spectra, 1, "spectrum of $C$ (share)"),
    "K0": (spectra, 1, "spectrum of $K_0$ (share)"),
    "C0": (spectra, 1, "spectrum of $C_0$ (share)"),
}
_WHITE_NOISE = 120


@styled
def plot_measure(groups, measure, ax=None, unit="epoch", null=True):
    """One hallmark of several settings over the training: the mean over seeds, and a band from the
    lowest to the highest.

    Parameters
    ----------
    groups : dict of label → list of TrajectoryKernel
        As :func:`trajhelpers.studies.group_kernels` gives it, with labels for readers.
    measure : str
        ``"consecutive"``, ``"update_position"``, ``"update_total"``, ``"progress_total"``,
        ``"apex_initialization"``, ``"apex_origin"`` (degrees); ``"parameters"``, ``"updates"``,
        ``"from_initialization"`` (lengths, logarithmic); ``"K"``, ``"C"``, ``"K0"``, ``"C0"``
        (eigenvalues' shares of their sum, by rank, logarithmic).
    unit : str
        What one checkpoint is: "epoch", "checkpoint". The horizontal axis counts them.
    null : bool
        In grey, in the setting's own dashes: the random walk that has the lengths of the setting's
        first run. For the angles of updates instead 90°, where every random walk is, and 120°,
        where white noise around a point is; for the lengths of updates nothing, since the walk has
        the same.

    Returns
    -------
    matplotlib Axes

    Source: Fig 4 and the appendix of the paper.
    """
    compute, first, label = _MEASURES[measure]
    ax = plt.subplots()[1] if ax is None else ax
    spectral = compute is spectra

    def series(kernel):
        values = compute(kernel)[measure]
        return (
            np.where(values > values.sum() * np.finfo(float).eps, values, np.nan) / values.sum()
            if spectral
            else values
        )

    for style, (name, kernels) in zip(LINES * (1 + len(groups) // len(LINES)), groups.items()):
        values = np.stack([series(kernel) for kernel in kernels])
        x = np.arange(first, first + values.shape[1])
        ax.plot(x, values.mean(0), label=literally(name), **style)
        ax.fill_between(
            x, values.min(0), values.max(0), color=style["color"], alpha=0.2, linewidth=0
        )
        if null and measure not in ("consecutive", "updates", "update_position"):
            ax.plot(
                x,
                series(random_walk_like(kernels[0])),
                color=NULL_COLOUR,
                linestyle=style["linestyle"],
                linewidth=0.9,
                zorder=1,
            )
    if null and measure in ("consecutive", "update_position"):
        for level in (90, _WHITE_NOISE) if measure == "consecutive" else (90,):
            ax.axhline(level, color=NULL_COLOUR, linewidth=0.9, linestyle="-", zorder=0)
    if compute is not angles:
        ax.set_yscale("log")
    ax.set_xlabel("rank" if spectral else literally(unit))
    ax.set_ylabel(label)
    return ax


@styled
def plot_hallmarks(
    groups,
    measures=(
        "consecutive",
        "update_position",
        "apex_initialization",
        "apex_origin",
        "parameters",
        "updates",
        "from_initialization",
        "C",
    ),
    unit="epoch",
    null=True,
):
    """Panels of `plot_measure`, with one legend.

    Returns
    -------
    array of Axes

    >>> import trajhelpers as th
    >>> groups = {"walk": [th.random_walk(20)], "orbit": [th.circular_orbit(20, distance=2)]}
    >>> axes = th.studies.plot_hallmarks(groups, ["apex_origin", "C"])
    >>> [ax.get_ylabel() for ax in axes]
    ['apex at O (degrees)', 'spectrum of $C$ (share)']
    """
    rows = -(-len(measures) // 2)
    figure, grid = plt.subplots(rows, 2, figsize=(8.4, 2.5 * rows + 0.5), dpi=80, squeeze=False)
    axes = grid.ravel()
    for ax, measure in zip(axes, measures):
        plot_measure(groups, measure, ax, unit, null)
    for ax in axes[len(measures) :]:
        ax.remove()
    figure.legend(
        *axes[0].get_legend_handles_labels(), loc="outside upper left", ncols=min(5, len(groups))
    )
    return axes[: len(measures)]


@styled
def plot_points(table, x, y, by=None, ax=None, labels=None):
    """Every run as a point, and a line through the means over seeds.

    Parameters
    ----------
    table : pandas.DataFrame
        A study's table, or part of it.
    x, y : str
        Columns. The values of ``x`` stand at equal distances, in increasing order, and the axis
        says so.
    by : str, optional
        A column: one line for each of its values.
    labels : dict, optional
        From a column to what its axis is to say, and from a value of ``by`` to its name in the
        legend.

    Returns
    -------
    matplotlib Axes
    """
    ax = plt.subplots()[1] if ax is None else ax
    labels = labels or {}
    ticks = sorted(table[x].unique())
    groups = [("", table)] if by is None else list(table.groupby(by, sort=False))
    for style, (name, part) in zip(LINES * (1 + len(groups) // len(LINES)), groups):
        mean = part.groupby(x)[y].mean()
        ax.plot(
            [ticks.index(value) for value in mean.index],
            mean,
            label=labels.get(name, literally(name)),
            **style,
        )
        ax.plot(
            [ticks.index(value) for value in part[x]],
            part[y],
            color=style["color"],
            linestyle="none",
            marker="o",
            markersize=3.5,
            markerfacecolor="none",
        )
    ax.set_xticks(
        range(len(ticks)),
        [
            f"{tick:.3g}" if isinstance(tick, (int, float, np.number)) else literally(tick)
            for tick in ticks
        ],
    )
    if name := labels.get(x, literally(x)):
        ax.set_xlabel(f"{name} (not to scale)")
    ax.set_ylabel(labels.get(y, literally(y)))
    if by is not None:
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    return ax
