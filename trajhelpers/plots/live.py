"""A run that trains, in a notebook: its maps and gauges, drawn anew with each new checkpoint."""

import io
import threading
from html import escape
from pathlib import Path
from typing import Any

import ipywidgets
from matplotlib.figure import Figure

from ..errors import TrajectoryError
from ..following import Following
from ..gauges import gauges_of
from ..kernel import TrajectoryKernel
from ..printable import printable
from .maps import plot_map
from .style import NULL_COLOUR, styled


class LiveMap(ipywidgets.VBox):
    """What :func:`live_map` returns: a button that ends it, a line, and the picture.

    Attributes
    ----------
    kernel : TrajectoryKernel or None
        Of the checkpoints that were there at the last look.
    is_looking : bool
        Whether there will be another.
    """

    def __init__(self, following: Following):
        self._following, self._stopping = following, threading.Event()
        self._thread: threading.Thread | None = None
        self._stop = ipywidgets.Button(description="stop")
        self._stop.on_click(lambda _: self.stop())
        self._said, self._picture = ipywidgets.HTML(), ipywidgets.Image(format="png")
        self._picture.layout.max_width = "100%"
        super().__init__([ipywidgets.HBox([self._stop, self._said]), self._picture])

    kernel = property(lambda self: self._following.kernel)
    is_looking = property(lambda self: self._thread is not None and self._thread.is_alive())

    def look(self) -> None:
        """Take what is new, and draw it; the thread does this every so often."""
        before = self.kernel
        lines = self._following.look()
        if lines:
            self._said.value = "<br>".join(escape(printable(line)) for line in lines)
        if self.kernel is not before:
            self._picture.value = _png(self.kernel)

    def start(self, interval: float) -> None:
        """Look every so many seconds, in a thread, so that other cells run meanwhile."""
        self._thread = threading.Thread(target=self._look_on, args=(interval,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Look no more; the last picture stays."""
        self._stopping.set()
        self._stop.disabled = True

    def _look_on(self, interval):
        while not self._stopping.is_set():
            try:
                self.look()
            except (TrajectoryError, ValueError, OSError) as error:
                self._said.value = f"<b>{escape(printable(error))}</b>"
                self.stop()
            self._stopping.wait(interval)


def live_map(
    source: Any,
    interval: float = 10.0,
    path: str | Path | None = None,
    device: str = "auto",
    precision: str = "float64",
    memory: int = 2_000_000_000,
    **choices: Any,
) -> LiveMap:
    """Follow a run while it trains: the map, the relative map, ω, ω_0, the angle between the last
    two updates and the drift, drawn anew each time that a checkpoint is complete.

    Parameters
    ----------
    source : path or address
        A folder that a running training fills, which need not be there yet, or ``hf://`` with a
        branch a checkpoint.
    interval : float
        Seconds between two looks.
    path : path, optional
        Where the kernel is kept, after each look that changes it; one that is there goes on.
    device, precision, memory
        As of :func:`trajhelpers.gram`.
    **choices
        What :func:`trajhelpers.open_trajectory` is given: ``include``, ``state``, …

    Returns
    -------
    ipywidgets.VBox
        Must be the last expression of its cell, to be displayed; ``.stop()`` ends it, as its button
        does, and ``.kernel`` is what it shows.

    Notes
    -----
    New checkpoints are appended (``kernel.append``). One that does not open yet, since it is still
    being written, is left alone until it does; if one does not change any more and still does not
    open, that is an error, which is shown, and ends it. Where checkpoints are no longer what they
    were, since the run was begun anew, the kernel is computed anew, which is said.

    The drift is the share of the path's length that is net displacement, ‖θ_T − θ_0‖ / Σ‖θ_{t+1} −
    θ_t‖: 1 on a straight line, 1/√(n − 1) on a random walk, which the gauge marks, 0 where the path
    comes back to its start; one over :func:`trajhelpers.path_ratio`.
    """
    following = Following(source, path, device, precision, memory, **choices)
    live = LiveMap(following)
    live.start(interval)
    return live


@styled
def _png(kernel: TrajectoryKernel) -> bytes:
    # no pyplot: its figures belong to the main thread
    figure = Figure(figsize=(8.2, 4.4), layout="constrained")
    axes = figure.subplot_mosaic([["map", "relative"], ["drift", "drift"]], height_ratios=(12, 1))
    gauges = gauges_of(kernel)
    plot_map(kernel, None, axes["map"])
    axes["map"].set_title(f"ω = {gauges.said('omega')}")
    plot_map(kernel, 0, axes["relative"])
    axes["relative"].set_title(f"ω₀ = {gauges.said('omega_0')}")
    figure.suptitle(f"{gauges.where}, {gauges.turn}")
    _draw_gauge(axes["drift"], gauges)
    with io.BytesIO() as file:
        figure.savefig(file, format="png", dpi=90)
        return file.getvalue()


def _draw_gauge(ax, gauges):
    ax.barh(0, gauges.drift, height=1, color="black")
    ax.axvline(gauges.walk, color=NULL_COLOUR, linestyle="--")
    ax.set(xlim=(0, 1), ylim=(-0.5, 0.5), yticks=[])
    ax.grid(False)
    ax.set_xlabel(f"drift {gauges.said('drift')}; dashed: a random walk's, {gauges.walk:.3f}")
