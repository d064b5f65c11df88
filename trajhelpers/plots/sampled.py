"""What pictures of a sampled kernel say: how much it is of, and how far off they may be."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64
from matplotlib.axes import Axes

from ..hallmarks import mds_in_words
from ..kernel import ModelSetKernel, TrajectoryKernel

Kernel = TrajectoryKernel | ModelSetKernel


def say_sample(ax: Axes, kernel: Kernel, more: str = "") -> None:
    """Beneath the horizontal axis, "from 1 % of the parameters", and, in a line of its own since
    pictures are narrow, what is said besides; nothing where a kernel is exact.
    """
    if kernel.sample:
        lines = [ax.get_xlabel(), kernel.sample.in_words(kernel.p) + "," * bool(more), more]
        ax.set_xlabel("\n".join(filter(None, lines)))


def say_sample_of_map(ax: Axes, kernel: Kernel, origin: Any) -> None:
    if kernel.sample:
        symbol = {0: "ω₀"}.get(origin, "ω")
        say_sample(ax, kernel, f"{symbol} = {mds_in_words(kernel, origin)}")


class Bands:
    """Of one standard error on both sides of the lines of a picture, where there is one."""

    def __init__(self, ax: Axes, kernel: Kernel, measure: Callable[..., dict], **arguments: Any):
        self._ax = ax
        self._errors = kernel.standard_error(measure, **arguments) if kernel.sample else {}
        say_sample(ax, kernel, "± a standard error")

    def plot(
        self,
        x: Sequence[float] | np.ndarray,
        name: str,
        series: Float64[np.ndarray, " t"],
        label: str,
    ) -> None:
        line = self._ax.plot(x, series, label=label)[0]
        if name in self._errors:
            error = self._errors[name]
            self._ax.fill_between(
                x, series - error, series + error, color=line.get_color(), alpha=0.2, linewidth=0
            )
