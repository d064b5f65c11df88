"""Widgets that work on a rendered page, where there is no kernel: what moves was drawn before."""

import io
from collections.abc import Iterable, Mapping

import ipywidgets
import matplotlib.pyplot as plt

from ..hallmarks import mds_in_words, of_a_path
from ..kernel import TrajectoryKernel
from .counting import counted
from .maps import plot_map
from .style import styled


def picture_slider(
    labels: Iterable[str], pictures: Iterable[bytes], description: str
) -> ipywidgets.VBox:
    """A slider that shows one of several pictures, with no kernel behind it.

    Parameters
    ----------
    labels : sequence of str
        One a picture: what the slider reads.
    pictures : sequence of bytes
        Image files, of one format (WebP is smallest).
    description : str
        What the slider moves over.

    Returns
    -------
    ipywidgets.VBox
        Must be the last expression of its cell, to be displayed.
    """
    stack = ipywidgets.Stack(
        [ipywidgets.Image(value=picture, format="webp") for picture in pictures], selected_index=0
    )
    slider = ipywidgets.SelectionSlider(
        options=list(labels),
        index=0,
        description=description,
        continuous_update=True,
        style={"description_width": "initial"},
        layout={"width": "400px", "max_width": "100%"},
    )
    ipywidgets.jslink((slider, "index"), (stack, "selected_index"))
    return ipywidgets.VBox([slider, stack])


def origin_slider(kernel: TrajectoryKernel, unit: str = "step") -> ipywidgets.VBox:
    """A slider over the origin τ: O first, then every checkpoint; beneath it the map seen from
    there. Chapter 2.

    >>> import trajhelpers as th
    >>> slider, stack = th.origin_slider(th.random_walk(4)).children
    >>> slider.options
    ('O', '0', '1', '2', '3')
    >>> len(stack.children)
    5
    """
    of_a_path("origin_slider", kernel)
    origins = [None, *range(kernel.n)]
    count = counted(kernel, unit)
    labels = ["O", *map(count.written, count.numbers)]
    return picture_slider(
        labels, [_webp(kernel, origin, unit) for origin in origins], f"origin: {count.unit}"
    )


def map_slider(kernels: Mapping[str, TrajectoryKernel], description: str) -> ipywidgets.VBox:
    """A slider over the settings of stored runs; beneath it the map and the relative map of the
    run, all on one scale of colours.

    Parameters
    ----------
    kernels : dict of str → TrajectoryKernel
        What the slider reads, and the run that it shows.
    description : str
        What the slider moves over.

    Returns
    -------
    ipywidgets.VBox

    >>> import trajhelpers as th
    >>> walks = {"a walk": th.random_walk(20), "from afar": th.random_walk(20, start=10)}
    >>> slider, stack = th.map_slider(walks, "start").children
    >>> slider.options
    ('a walk', 'from afar')
    """
    lowest = {
        origin: min(kernel.cosine(origin).min() for kernel in kernels.values())
        for origin in (None, 0)
    }
    return picture_slider(
        kernels, [_pair(kernel, lowest) for kernel in kernels.values()], description
    )


@styled
def _pair(kernel, lowest):
    figure, axes = plt.subplots(1, 2, figsize=(8.2, 3.7), layout="constrained")
    for ax, origin, symbol in zip(axes, (None, 0), ("ω", "ω₀")):
        plot_map(kernel, origin, ax, vmin=lowest[origin])
        ax.set_title(f"{symbol} = {mds_in_words(kernel, origin)}")
    return _picture(figure)


@styled
def _webp(kernel, origin, unit):
    figure, ax = plt.subplots(figsize=(4.6, 3.9), layout="constrained")
    plot_map(kernel, origin, ax, vmin=-1, unit=unit)
    return _picture(figure)


def _picture(figure):
    with io.BytesIO() as file:
        figure.savefig(file, format="webp", dpi=85, pil_kwargs={"quality": 80})
        plt.close(figure)
        return file.getvalue()
