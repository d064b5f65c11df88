"""Train with settings of the reader's choice, and watch the map grow."""

import io
import threading
from html import escape

import ipywidgets
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ...checkpoints import open_trajectory
from ...errors import TrajectoryError
from ...gram import gram
from ...hallmarks import mds
from ...plots.maps import plot_map
from ...printable import printable
from .loop import train

_RATES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
_MOMENTA = (0.0, 0.5, 0.9, 0.95)
_DECAYS = (0.0, 1e-4, 0.002, 0.005, 0.01, 0.02, 0.05)
_ELSEWHERE = (
    "Here a notebook shows sliders for η, μ and λ, the buttons train and stop, and the Trajectory"
    " Map as it grows. Training needs a kernel behind it: open this chapter in JupyterLab (make"
    " lab) and run this cell."
)


class LiveTraining(ipywidgets.VBox):
    """What :func:`live_training` returns; where no notebook runs, as on a page, its place is taken
    by a line of text.
    """

    def _repr_mimebundle_(self, **kwargs):
        elsewhere = {"text/plain": _ELSEWHERE, "text/html": f"<p><em>{_ELSEWHERE}</em></p>"}
        return super()._repr_mimebundle_(**kwargs) | elsewhere


def live_training(recipe, folder="runs/live"):
    """Choose η, μ and λ, train, and see the Trajectory Map grow; stop when you have seen enough.

    Parameters
    ----------
    recipe : Recipe
        Of a run of seconds, with SGD: what the three sliders do not set, and where they begin.
    folder : path
        Is overwritten by each run, and holds the last one's checkpoints.

    Returns
    -------
    ipywidgets.VBox
        Needs a running notebook; elsewhere a line of text says so.

    Training runs in a thread, since a cell that trains could not hear the stop button.
    """
    rate = _slider("η", _RATES, recipe.learning_rate)
    momentum = _slider("μ", _MOMENTA, recipe.momentum)
    decay = _slider("λ", _DECAYS, recipe.weight_decay)
    start = ipywidgets.Button(description="train")
    stop = ipywidgets.Button(description="stop", disabled=True)
    steps = len(recipe.checkpoints) if isinstance(recipe.checkpoints, tuple) else recipe.checkpoints
    bar = ipywidgets.IntProgress(0, 0, steps)
    said = ipywidgets.HTML()
    picture = ipywidgets.Image(
        value=_png(lambda ax: ax.set_axis_off(), height=0.2),
        format="png",
        layout={"max_width": "100%"},
    )
    stopping = threading.Event()

    def on_checkpoint(step, log):
        bar.value += 1
        kernel = gram(open_trajectory(folder))
        picture.value = _png(lambda ax: plot_map(kernel, ax=ax, vmin=0))
        accuracy = f", test accuracy {log[-1]['test_accuracy_first_2000']:.1%}" if log else ""
        said.value = f"step {step}: ω = {mds(kernel):.3f}{accuracy}"
        return stopping.is_set()

    def run():
        try:
            train(
                recipe.replace(
                    learning_rate=rate.value, momentum=momentum.value, weight_decay=decay.value
                ),
                folder,
                overwrite=True,
                progress=False,
                on_checkpoint=on_checkpoint,
            )
        except (TrajectoryError, ValueError, OSError) as error:
            said.value = f"<b>{escape(printable(error))}</b>"
        finally:
            start.disabled, stop.disabled = False, True

    def on_start(_):
        start.disabled, stop.disabled = True, False
        bar.value = 0
        stopping.clear()
        threading.Thread(target=run, daemon=True).start()

    start.on_click(on_start)
    stop.on_click(lambda _: stopping.set())
    return LiveTraining(
        [
            ipywidgets.HBox([rate, momentum, decay], layout={"flex_flow": "row wrap"}),
            ipywidgets.HBox([start, stop, bar]),
            said,
            picture,
        ]
    )


def _slider(description, values, value):
    return ipywidgets.SelectionSlider(
        options=[(f"{option:g}", option) for option in sorted({*values, value})],
        value=value,
        description=description,
        layout={"width": "260px"},
        style={"description_width": "24px"},
    )


def _png(draw, height=3.9):
    # no pyplot: its figures belong to the main thread
    figure = Figure(figsize=(4.6, height), layout="constrained")
    FigureCanvasAgg(figure)
    draw(figure.subplots())
    with io.BytesIO() as file:
        figure.savefig(file, format="png", dpi=90)
        return file.getvalue()
