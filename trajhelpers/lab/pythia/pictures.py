"""Pictures of a language model layer by layer: depth against steps, and a map a layer.

Checkpoints without a direction (a bias that is zero at the start) have no cosine: they are hatched
in `plot_depth` and missing from the maps, whose titles then say of how many checkpoints ω is: "ω =
0.728 of 37"."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize

from ...hallmarks import mds, mds_in_words
from ...plots.maps import label_checkpoints, plot_map, plot_maps, round_down
from ...plots.sampled import say_sample
from ...plots.style import MAP_COLOURS, NULL_COLOUR, literally, styled
from ...printable import printable
from .parts import PARTS, layer_of, part_of
from .settle import cosine_to_end, with_direction

_OMEGA = {None: "ω", 0: "ω₀"}
_MOST_LAYERS_LABELLED = 12


@styled
def plot_depth(kernel, part, origin=None, ax=None, vmin=None, unit="step"):
    """One part of all layers: the cosine of each checkpoint to the last one, layers from top to
    bottom, steps from left to right.

    Parameters
    ----------
    kernel : TrajectoryKernel
        A group a tensor, from ``gram(trajectory, groups=gpt_neox_groups(trajectory))``.
    part : str
        One of ``trajhelpers.lab.pythia.parts.PARTS``, e.g. ``"query weight"``.
    origin : {None, 0}
        From where cosines are seen: O, or the first checkpoint, whose own column is then left out.
    vmin : float
        Cosine of the lightest colour; give several plots the same one to compare them. By default
        the lowest, rounded down.
    unit : str
        What the steps are.

    Returns
    -------
    matplotlib Axes
        Every checkpoint has a column of the same width, as in `plot_map`. Hatched: no direction.

    Chapter "Layer by layer".

    >>> import numpy as np, trajhelpers as th
    >>> walks = np.stack([th.random_walk(20, start=start).total for start in (1, 2, 4)])
    >>> names = [f"layers.{layer}.attention.query.weight" for layer in range(3)]
    >>> kernel = th.TrajectoryKernel(walks, names=names)
    >>> plot_depth(kernel, "query weight").images[0].get_array().shape
    (3, 20)
    """
    _refuse_origin(origin)
    groups = _in_layers(kernel, part)
    shown = np.arange(0 if origin is None else 1, kernel.n)
    cosine = np.ma.masked_invalid(
        [cosine_to_end(group, origin)[shown] for group in groups.values()]
    )
    if ax is None:
        _, ax = plt.subplots(figsize=(6.0, 1.4 + 0.24 * min(len(groups), 16)))
    image = ax.imshow(
        cosine,
        cmap=MAP_COLOURS,
        vmin=round_down(cosine.compressed()) if vmin is None else vmin,
        vmax=1,
        aspect="auto",
        interpolation="none",
    )
    ax.patch.set(facecolor="white", hatch="////", edgecolor=NULL_COLOUR)
    ax.grid(False)
    label_checkpoints(ax.xaxis, kernel, shown, unit)
    say_sample(ax, kernel)
    every = -(-len(groups) // _MOST_LAYERS_LABELLED)
    ax.set_yticks(range(0, len(groups), every), list(groups)[::every])
    ax.set_ylabel("layer")
    seen_from = literally(f"{unit} {kernel.steps[0]}")
    ax.set_title(part if origin is None else f"{part}, seen from {seen_from}")
    ax.figure.colorbar(image, ax=ax, label="cosine to the end", fraction=0.046, pad=0.02)
    return ax


def plot_layer_maps(kernel, part=None, layer=None, origin=None, columns=4, vmin=None, unit="step"):
    """Maps side by side, of one part in all layers or of all parts of one layer, on one scale of
    colours and each with its ω.

    Parameters
    ----------
    kernel : TrajectoryKernel
        A group a tensor. ``kernel.select("*.weight")`` leaves the biases out.
    part : str
    layer : int
        The one or the other: one of ``trajhelpers.lab.pythia.parts.PARTS``, or a layer's number.
    origin : {None, 0}
        Seen from O, or from the first checkpoint.
    columns, vmin, unit
        As in `plot_maps`.

    Returns
    -------
    array of Axes

    Source: Fig 9, 69 and 70 of the paper; chapter "Layer by layer".

    >>> import numpy as np, trajhelpers as th
    >>> walks = np.stack([th.random_walk(20, start=start).total for start in (1, 2, 4)])
    >>> names = [f"layers.{layer}.attention.query.weight" for layer in range(3)]
    >>> kernel = th.TrajectoryKernel(walks, names=names)
    >>> [ax.get_title() for ax in plot_layer_maps(kernel, "query weight")]
    ['layer 0\\nω = 0.693', 'layer 1\\nω = 0.771', 'layer 2\\nω = 0.878']
    """
    _refuse_origin(origin)
    if (part is None) == (layer is None):
        raise ValueError("part, layer: give one of the two, e.g. part='query weight' or layer=0")
    if part is not None:
        groups = {f"layer {number}": group for number, group in _in_layers(kernel, part).items()}
    else:
        groups = {
            part_of(name) or name: group
            for name, group in kernel.groups().items()
            if layer_of(name) == layer
        }
        groups = dict(sorted(groups.items(), key=lambda item: _order(item[0])))
        if not groups:
            raise ValueError(f"layer: no group of layer {layer!r}; {_layers_there(kernel)}")
    maps = {}
    for name, group in groups.items():
        seen = with_direction(group, origin)
        if seen is None:
            seen_from = "O" if origin is None else "the first"
            raise ValueError(
                f"{printable(name)}: no checkpoint has a direction seen from {seen_from}, so that"
                " there is no map; leave the group out with kernel.select"
            )
        maps[_title(name, group, seen, origin)] = seen
    return plot_maps(maps, origin, columns, vmin, unit=unit)


@styled
def plot_parts(kernel, parts, origin=None, vmin=None):
    """Small maps of several parts (rows) in all layers (columns), on one scale of colours and each
    with its ω: a look at a whole network.

    Parameters
    ----------
    kernel : TrajectoryKernel
        A group a tensor, from ``gram(trajectory, groups=gpt_neox_groups(trajectory))``.
    parts : sequence of str
        Of ``trajhelpers.lab.pythia.parts.PARTS``.
    origin : {None, 0}
        Seen from O, or from the first checkpoint.
    vmin : float
        Cosine of the lightest colour. By default the lowest of all, rounded down.

    Returns
    -------
    array of Axes, shape (parts, layers)
        Blank where a layer has no such part, or the part no direction. Without labels of
        checkpoints, for which a map of this size has no room: `plot_layer_maps` has them.

    Source: Fig 9, 69 and 70 of the paper; chapter "Layer by layer".

    >>> import numpy as np, trajhelpers as th
    >>> walks = np.stack([th.random_walk(20, start=start).total for start in (1, 2, 4)])
    >>> names = [f"layers.{layer}.attention.query.weight" for layer in range(3)]
    >>> axes = plot_parts(th.TrajectoryKernel(walks, names=names), ["query weight"])
    >>> [ax.get_title() for ax in axes[0]]
    ['layer 0\\n0.69', 'layer 1\\n0.77', 'layer 2\\n0.88']
    """
    _refuse_origin(origin)
    groups = {part: _in_layers(kernel, part) for part in parts}
    layers = sorted({layer for of_part in groups.values() for layer in of_part})
    seen = {
        (part, layer): with_direction(group, origin)
        for part, of_part in groups.items()
        for layer, group in of_part.items()
    }
    if vmin is None:
        vmin = min(
            (round_down(group.cosine(origin)) for group in seen.values() if group), default=-1
        )
    fig, axes = plt.subplots(
        len(parts), len(layers), squeeze=False, figsize=(8.4, 1.0 + 1.25 * len(parts))
    )
    for row, part in zip(axes, parts):
        for ax, layer in zip(row, layers):
            above = f"layer {layer}\n" if part == parts[0] else ""
            if group := seen.get((part, layer)):
                plot_map(group, origin, ax, vmin=vmin, colorbar=False)
                above += f"{mds(group, origin):.2f}"
            else:
                ax.spines[:].set_visible(False)
            ax.set(xticks=[], yticks=[], xlabel="", ylabel="")
            ax.set_title(above, fontsize=9)
        row[0].set_ylabel("\n".join(part.rsplit(" ", 1)), fontsize=9)
    say_sample(axes[-1, 0], kernel)
    scale = ScalarMappable(Normalize(vmin, 1), MAP_COLOURS)
    fig.colorbar(scale, ax=axes, fraction=0.03, pad=0.02, label="cosine similarity")
    return axes


def _title(name, group, seen, origin):
    return (
        (f"{name}\n" if name else "")
        + f"{_OMEGA[origin]} = {mds_in_words(seen, origin)}"
        + (f" of {seen.n}" if seen.n < group.n else "")
    )


def _order(part):
    return PARTS.index(part) if part in PARTS else len(PARTS)


def _in_layers(kernel, part):
    groups = {
        layer_of(name): group
        for name, group in kernel.groups().items()
        if part_of(name) == part and layer_of(name) is not None
    }
    if not groups:
        there = ", ".join(
            part
            for part in PARTS
            if any(part_of(name) == part and layer_of(name) is not None for name in kernel.names)
        )
        none = "none: a group a tensor is needed, as gram gives with gpt_neox_groups"
        raise ValueError(f"part: no layer has a {part!r}; there are {there or none}")
    return dict(sorted(groups.items()))


def _layers_there(kernel):
    layers = sorted({layer_of(name) for name in kernel.names} - {None})
    return (
        f"there are layers {layers[0]} to {layers[-1]}"
        if layers
        else f"no group is of a layer: {printable(', '.join(kernel.names[:4]))} …; a group a tensor"
        " is needed"
    )


def _refuse_origin(origin):
    if origin not in _OMEGA:
        raise ValueError(
            f"origin: expected None for O or 0 for the first checkpoint, got {origin!r}"
        )
