"""All of a kernel's pictures on one sheet."""

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from ..hallmarks import mds_in_words, of_a_path
from ..kernel import TrajectoryKernel
from .counting import counted
from .lines import plot_angles, plot_norms, plot_path, plot_spectra
from .maps import plot_map
from .style import literally, styled


@styled
def plot_sheet(kernel: TrajectoryKernel, origin: int = 0, unit: str = "step") -> Figure:
    """One figure: the map, the relative map, angles, norms, spectra and the path. What
    ``trajhelpers plot`` writes.

    Returns
    -------
    matplotlib Figure
    """
    of_a_path("plot_sheet", kernel)
    figure, ((tm, rtm, path), (angle, length, spectrum)) = plt.subplots(2, 3, figsize=(13, 7.6))
    plot_map(kernel, None, tm, unit=unit)
    tm.set_title(f"Trajectory Map, ω = {mds_in_words(kernel)}")
    plot_map(kernel, origin, rtm, unit=unit)
    count = counted(kernel, unit)
    origin_is = count.written(count.numbers[origin])
    run = f"{kernel.runs[origin]}, " if len(set(kernel.runs)) > 1 else ""
    seen_from = literally(f"{run}{count.unit} {origin_is}")
    rtm.set_title(f"seen from {seen_from}, ω = {mds_in_words(kernel, origin)}")
    if kernel.n > 2:
        plot_path(kernel, path, unit=unit)
    plot_angles(kernel, ax=angle, unit=unit)
    plot_norms(kernel, ax=length, unit=unit)
    plot_spectra(kernel, origin=origin, ax=spectrum)
    return figure
