"""How the figures look: legible at a page's 700 pixels, in greyscale, and to the colour-blind."""

import matplotlib
from matplotlib import cycler

# Light where two checkpoints point apart, dark where they point the same way, as in the paper.
# Lightness falls evenly.
MAP_COLOURS = "magma_r"
# The same, for checkpoints along a path: its light end still shows on white.
STEP_COLOURS = "viridis_r"
NULL_COLOUR = "#8a8a8a"

# Lightness 0, 36, 46, 62, 72 of 100; the least difference between two is 31 ΔE with and without red
# or green vision.
LINES = cycler(
    color=["#000000", "#a01a58", "#0072b2", "#d98200", "#66c2a5"],
    linestyle=["-", "--", "-.", (0, (5, 1.2, 1.2, 1.2, 1.2, 1.2)), (0, (1.4, 1.2))],
)

RC = {
    "figure.dpi": 110,
    "figure.figsize": (6.0, 3.6),
    "figure.constrained_layout.use": True,
    "savefig.dpi": 110,
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.labelsize": 10,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "legend.handlelength": 3.0,
    "axes.prop_cycle": LINES,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.7,
    "lines.linewidth": 1.7,
    "lines.markersize": 4,
    "image.cmap": MAP_COLOURS,
    "image.interpolation": "none",
}


def use_style():
    """Draw everything from here on, in this process, in the book's style: the first cell of a
    chapter.

    The package's own plots are drawn in it without that.

    >>> import matplotlib
    >>> with matplotlib.rc_context():
    ...     use_style()
    ...     matplotlib.rcParams["figure.dpi"]
    110.0
    """
    matplotlib.rcParams.update(RC)


def styled(draw):
    """Make a function draw in the book's style, and leave the settings as they were."""
    return matplotlib.rc_context(RC)(draw)
