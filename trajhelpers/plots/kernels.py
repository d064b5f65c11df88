"""Pictures of kernels: matplotlib Axes in, Axes out. What is computed here is computed by the
hallmarks.

The horizontal axis of every line plot shows steps, in their unit (`unit`, "step" unless you say
"epoch"). By one rule:

- linear, where the largest gap between neighbouring checkpoints is at most 50 times the smallest;
- symmetric-logarithmic, where it is more (Pythia's 0, 1, 2, 4, …, 512, 1000, 2000, …, 143000);
- the checkpoint's index, where several runs are joined: their steps begin again.

Maps give each checkpoint a row of the same height, whatever the spacing, and label rows with their
steps (joined runs with their names)."""

import math

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import MaxNLocator

from ..hallmarks import angles, mds, norms, principal_components, spectra
from .style import MAP_COLOURS, NULL_COLOUR, STEP_COLOURS, styled

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
    """The Trajectory Map C, or with an origin the Relative Trajectory Map C_τ: dark where two
    checkpoints point the same way.

    Parameters
    ----------
    kernel : TrajectoryKernel
    origin : int, optional
        A checkpoint's index, or None for O.
    ax : matplotlib Axes, optional
        A new figure's, where none is given.
    vmin, vmax : float
        Cosines of the lightest and the darkest colour. By default from the smallest one, rounded
        down to a twentieth, to 1.
    unit : str
        What the steps are: "step", "epoch".
    colorbar : bool

    Returns
    -------
    matplotlib Axes
        One row and one column a checkpoint, the first at the top left, labelled with steps; rows
        that the kernel leaves out (the origin's own) are not there. Runs that were joined are set
        apart by lines and named.

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
    image = ax.imshow(cosine, cmap=MAP_COLOURS, vmin=vmin, vmax=vmax, interpolation="none")
    ax.grid(False)
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
    >>> noise = th.ar1(20, correlation=0.5, distance=2)
    >>> axes = th.plot_maps({"a walk": th.random_walk(20), "noise": noise})
    >>> [ax.get_title() for ax in axes]
    ['a walk', 'noise']
    """
    if vmin is None:
        vmin = min(_round_down(kernel.cosine(origin)) for kernel in kernels.values())
    columns = min(columns, len(kernels))
    rows = math.ceil(len(kernels) / columns)
    width = min(3.0, 8.4 / columns)
    figure, grid = plt.subplots(
        rows, columns, figsize=(width * columns + 0.9, (width + 0.25) * rows + 0.3), squeeze=False
    )
    axes = grid.ravel()
    for ax, (name, kernel) in zip(axes, kernels.items()):
        plot_map(kernel, origin, ax, vmin, vmax, unit, colorbar=False)
        ax.set_title(name)
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


def _round_down(cosine):
    """The lightest colour: the least cosine, rounded down to a twentieth, or more finely where all
    are close to one.
    """
    least = cosine.min(initial=1)
    return (
        max(-1.0, math.floor(least * 20) / 20)
        if least < 0.95
        else math.floor(least * 200) / 200 - 0.005
    )


def _label_checkpoints(axis, kernel, kept, unit):
    """Label rows with steps: round ones where there are any, else evenly spaced rows; fewer in a
    small map.
    """
    steps, runs = kernel.steps[kept], np.array(kernel.runs)[kept]
    borders = np.flatnonzero(runs[1:] != runs[:-1]) + 1
    if len(borders):
        starts, ends = np.concatenate([[0], borders]), np.concatenate([borders, [len(kept)]])
        axis.set_ticks((starts + ends - 1) / 2, [runs[start] for start in starts])
        line = axis.axes.axvline if axis.axis_name == "x" else axis.axes.axhline
        for border in borders:
            line(border - 0.5, color="white", linewidth=1.2)
        axis.set_label_text("run")
        return
    count = 5 if axis.axes.bbox.width > 2.2 * axis.axes.figure.dpi else 3
    wanted = MaxNLocator(count, integer=True).tick_values(steps[0], steps[-1])
    places = [int(np.flatnonzero(steps == step)[0]) for step in wanted if step in steps]
    if len(places) < 3 or np.ptp(places) < 0.6 * (len(kept) - 1):
        places = sorted(set(np.linspace(0, len(kept) - 1, count).round().astype(int)))
    axis.set_ticks(places, [f"{steps[place]:,}".replace(",", "\u202f") for place in places])
    axis.set_label_text(unit)


# ---- lines ----


def _places(kernel, ax, unit):
    """Where checkpoints lie on a horizontal axis, by the rule at the top of this file."""
    if len(set(kernel.runs)) > 1:
        ax.set_xlabel("checkpoint")
        return np.arange(kernel.n)
    ax.set_xlabel(unit)
    gaps = np.diff(kernel.steps)
    if gaps.max() > _MOST_UNEVEN_LINEAR * gaps.min():
        ax.set_xscale("symlog", linthresh=1)
        ax.set_xlim(min(kernel.steps[0], 0), kernel.steps[-1] * 1.3)
    return kernel.steps


@styled
def plot_angles(
    kernel, names=("consecutive", "update_position", "update_total"), stride=1, ax=None, unit="step"
):
    """Angular measures against steps, in degrees, with a line at 90°.

    Parameters
    ----------
    names : sequence of str
        Which of the six that :func:`trajhelpers.angles` returns.
    stride : int
        As in :func:`trajhelpers.angles`.

    Returns
    -------
    matplotlib Axes

    Source: Fig 4 (a) to (e) of the paper; chapter "Lengths and bends".

    >>> import trajhelpers as th
    >>> len(plot_angles(th.random_walk(20)).lines)       # three series and the line at 90°
    4
    """
    ax = _axes(ax)
    x = _places(kernel, ax, unit)
    first = {"consecutive": stride, "progress_total": 1, "apex_initialization": 1}
    for name, angle in angles(kernel, stride).items():
        if name in names:
            start = first.get(name, 0)
            ax.plot(x[start : start + len(angle)], angle, label=_ANGLE_LABELS[name])
    ax.axhline(90, color=NULL_COLOUR, linewidth=1, linestyle="-", zorder=0)
    ax.set_ylabel("angle (degrees)")
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    return ax


@styled
def plot_norms(
    kernel, names=("parameters", "updates", "from_initialization"), stride=1, ax=None, unit="step"
):
    """The three lengths against steps, in parameter units, on a logarithmic axis.

    Returns
    -------
    matplotlib Axes

    Source: Fig 4 (f) to (h) of the paper; chapter "Lengths and bends".
    """
    ax = _axes(ax)
    x = _places(kernel, ax, unit)
    for name, length in norms(kernel, stride).items():
        if name in names:
            start = 1 if name == "from_initialization" else 0
            ax.plot(x[start : start + len(length)], length, label=_NORM_LABELS[name])
    ax.set_yscale("log")
    ax.set_ylabel("length (parameter units)")
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    return ax


@styled
def plot_spectra(kernel, names=("K", "C", "K0", "C0"), origin=0, ax=None):
    """Eigenvalues of kernels and maps by rank, each as a share of their sum, on a logarithmic axis.

    Returns
    -------
    matplotlib Axes

    Source: Fig 68 of the paper; chapter "Lengths and bends".
    """
    ax = _axes(ax)
    for name, eigenvalues in spectra(kernel, origin).items():
        if name in names:
            share = eigenvalues / eigenvalues.sum()
            share = np.where(share > np.finfo(float).eps, share, np.nan)
            label = _SPECTRUM_LABELS[name]
            ax.plot(
                np.arange(1, len(share) + 1),
                share,
                label=label % kernel.steps[origin] if "%" in label else label,
            )
    ax.set_yscale("log")
    ax.set_xlabel("rank")
    ax.set_ylabel("share of the sum")
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    return ax


@styled
def plot_path(kernel, ax=None, unit="step", colorbar=True):
    """The path in the plane of its first two principal components; a square marks the start, a star
    the end.

    Draw ``plot_path(random_walk(n))`` beside it before reading anything into a curve.

    Returns
    -------
    matplotlib Axes

    Beyond the paper; after Li et al. 2018. Chapter "Lengths and bends".
    """
    ax = _axes(ax, figsize=(4.6, 3.9))
    coordinates, explained = principal_components(kernel)
    ax.plot(*coordinates.T, color=NULL_COLOUR, linewidth=0.8, linestyle="-", zorder=1)
    points = ax.scatter(*coordinates.T, c=np.arange(kernel.n), cmap=STEP_COLOURS, s=16, zorder=2)
    ax.plot(
        *coordinates[0],
        marker="s",
        color="black",
        linestyle="none",
        markersize=7,
        markerfacecolor="none",
    )
    ax.plot(
        *coordinates[-1],
        marker="*",
        color="black",
        linestyle="none",
        markersize=11,
        markerfacecolor="none",
    )
    ax.set_xlabel(f"first component ({explained[0]:.0%} of variance)")
    ax.set_ylabel(f"second component ({explained[1]:.0%})")
    ax.set_aspect("equal", adjustable="datalim")
    if colorbar:
        bar = ax.figure.colorbar(points, ax=ax, label=unit, fraction=0.046, pad=0.04)
        places = np.linspace(0, kernel.n - 1, 5).round().astype(int)
        bar.set_ticks(places, labels=[str(kernel.steps[place]) for place in places])
    return ax


@styled
def plot_sheet(kernel, origin=0, unit="step"):
    """One figure: the map, the relative map, angles, norms, spectra and the path. What
    ``trajhelpers plot`` writes.

    Returns
    -------
    matplotlib Figure
    """
    figure, ((tm, rtm, path), (angle, length, spectrum)) = plt.subplots(2, 3, figsize=(13, 7.6))
    plot_map(kernel, None, tm, unit=unit)
    tm.set_title(f"Trajectory Map, ω = {mds(kernel):.3f}")
    plot_map(kernel, origin, rtm, unit=unit)
    rtm.set_title(f"seen from {unit} {kernel.steps[origin]}, ω = {mds(kernel, origin):.3f}")
    if kernel.n > 2:
        plot_path(kernel, path, unit=unit)
    plot_angles(kernel, ax=angle, unit=unit)
    plot_norms(kernel, ax=length, unit=unit)
    plot_spectra(kernel, origin=origin, ax=spectrum)
    return figure


def _axes(ax, figsize=None):
    return plt.subplots(figsize=figsize)[1] if ax is None else ax
