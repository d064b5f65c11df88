"""Lines and paths: matplotlib Axes in, Axes out; what they show is computed by the hallmarks.

The horizontal axis of every line plot shows steps, in their unit (`unit`, "step" unless you say
"epoch"), or with "tokens" what the checkpoints were trained on so far. By one rule:

- linear, where the largest gap between neighbouring checkpoints is at most 50 times the smallest;
- symmetric-logarithmic, where it is more (Pythia's 0, 1, 2, 4, …, 512, 1000, 2000, …, 143000);
- the checkpoint's index, where several runs are joined: their steps begin again. Tokens are shown
  where they increase from one to the next."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from ..hallmarks import angles, norms, of_a_path, principal_components, spectra
from ..kernel import TrajectoryKernel, with_error
from .counting import counted
from .sampled import Bands, say_sample
from .style import NULL_COLOUR, STEP_COLOURS, literally, styled

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


def _places(kernel, ax, unit):
    """Where checkpoints lie on a horizontal axis, by the rule at the top of this file."""
    of_a_path("this picture", kernel)
    count = counted(kernel, unit)
    if len(set(kernel.runs)) > 1 and not (unit == "tokens" and np.all(np.diff(count.numbers) > 0)):
        ax.set_xlabel("checkpoint")
        return np.arange(kernel.n)
    ax.set_xlabel(literally(count.unit))
    gaps = np.diff(count.numbers)
    if gaps.max() > _MOST_UNEVEN_LINEAR * gaps.min():
        first = count.numbers[count.numbers > 0][0] if count.unit == "tokens" else 1
        ax.set_xscale("symlog", linthresh=first)
        ax.set_xlim(min(count.numbers[0], 0), count.numbers[-1] * 1.3)
    if count.unit == "tokens":
        ax.xaxis.set_major_formatter(lambda number, place: count.written(number))
    return count.numbers


@styled
def plot_angles(
    kernel: TrajectoryKernel,
    names: Sequence[str] = ("consecutive", "update_position", "update_total"),
    stride: int = 1,
    ax: Axes | None = None,
    unit: str = "step",
) -> Axes:
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
    bands = Bands(ax, kernel, angles, stride=stride)
    for name, angle in angles(kernel, stride).items():
        if name in names:
            start = first.get(name, 0)
            bands.plot(x[start : start + len(angle)], name, angle, _ANGLE_LABELS[name])
    ax.axhline(90, color=NULL_COLOUR, linewidth=1, linestyle="-", zorder=0)
    ax.set_ylabel("angle (degrees)")
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    return ax


@styled
def plot_norms(
    kernel: TrajectoryKernel,
    names: Sequence[str] = ("parameters", "updates", "from_initialization"),
    stride: int = 1,
    ax: Axes | None = None,
    unit: str = "step",
) -> Axes:
    """The three lengths against steps, in parameter units, on a logarithmic axis.

    Returns
    -------
    matplotlib Axes

    Source: Fig 4 (f) to (h) of the paper; chapter "Lengths and bends".
    """
    ax = _axes(ax)
    x = _places(kernel, ax, unit)
    bands = Bands(ax, kernel, norms, stride=stride)
    for name, length in norms(kernel, stride).items():
        if name in names:
            start = 1 if name == "from_initialization" else 0
            bands.plot(x[start : start + len(length)], name, length, _NORM_LABELS[name])
    ax.set_yscale("log")
    ax.set_ylabel("length (parameter units)")
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    return ax


@styled
def plot_spectra(
    kernel: TrajectoryKernel,
    names: Sequence[str] = ("K", "C", "K0", "C0"),
    origin: int = 0,
    ax: Axes | None = None,
) -> Axes:
    """Eigenvalues of kernels and maps by rank, each as a share of their sum, on a logarithmic axis.

    Returns
    -------
    matplotlib Axes

    Source: Fig 68 of the paper; chapter "Lengths and bends".
    """
    ax = _axes(ax)
    ax.set_xlabel("rank")
    bands = Bands(ax, kernel, _shares, origin=origin)
    for name, share in _shares(kernel, origin).items():
        if name in names:
            share = np.where(share > np.finfo(float).eps, share, np.nan)
            label = _SPECTRUM_LABELS[name]
            label = label % kernel.steps[origin] if "%" in label else label
            bands.plot(np.arange(1, len(share) + 1), name, share, label)
    ax.set_yscale("log")
    ax.set_ylabel("share of the sum")
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    return ax


def _shares(kernel, origin):
    return {name: found / found.sum() for name, found in spectra(kernel, origin).items()}


@styled
def plot_path(
    kernel: TrajectoryKernel, ax: Axes | None = None, unit: str = "step", colorbar: bool = True
) -> Axes:
    """The path in the plane of its first two principal components; a square marks the start, a star
    the end.

    Draw ``plot_path(random_walk(n))`` beside it before reading anything into a curve.

    Returns
    -------
    matplotlib Axes

    Beyond the paper; after Li et al. 2018. Chapter "Lengths and bends".
    """
    ax = _axes(ax, figsize=(4.6, 3.9))
    coordinates, explained = principal_components(kernel, min(2, kernel.n - 1))
    if kernel.n == 2:  # a line, of one component
        coordinates, explained = np.c_[coordinates, np.zeros(2)], np.r_[explained, 0.0]
    ax.plot(*coordinates.T, color=NULL_COLOUR, linewidth=0.8, linestyle="-", zorder=1)
    points = ax.scatter(
        coordinates[:, 0],
        coordinates[:, 1],
        c=np.arange(kernel.n),
        cmap=STEP_COLOURS,
        s=16,
        zorder=2,
    )
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
    first, second = _in_percent(kernel, explained[:2])
    ax.set_xlabel(f"first component ({first} of variance)")
    ax.set_ylabel(f"second component ({second})")
    say_sample(ax, kernel)
    ax.set_aspect("equal", adjustable="datalim")
    if colorbar:
        count = counted(kernel, unit)
        places = np.linspace(0, kernel.n - 1, 5).round().astype(int)
        labels = [count.written(count.numbers[place]) for place in places]
        label = literally(count.unit)
        if np.any(np.diff(count.numbers) <= 0):  # anew in each run, as in the other pictures
            label, labels = "checkpoint", [str(place) for place in places]
        bar = ax.figure.colorbar(points, ax=ax, label=label, fraction=0.046, pad=0.04)
        bar.set_ticks(places.tolist(), labels=labels)
    return ax


def _in_percent(kernel, explained):
    """The first shares of variance, with their errors where they are of a sample."""
    if kernel.sample is None:
        return [f"{share:.0%}" for share in explained]
    errors = kernel.standard_error(lambda one: principal_components(one)[1][: len(explained)])
    return [f"{with_error(*pair)} %" for pair in zip(100 * explained, 100 * errors)]


def _axes(ax, figsize=None):
    return plt.subplots(figsize=figsize)[1] if ax is None else ax
