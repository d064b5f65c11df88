"""How the figures look: legible at the 700 pixels of a page, in greyscale, and to the
colour-blind.
"""

import functools
import threading
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import matplotlib
from matplotlib.rcsetup import cycler

from ..printable import printable_lines

P = ParamSpec("P")
R = TypeVar("R")

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

RC: dict[Any, Any] = {
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


def use_style() -> None:
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


def literally(name: object) -> str:
    """A name from a file as matplotlib's text: no ``$`` begins a formula, and no underscore at its
    start keeps it out of a legend.

    >>> print(literally("$^$"), literally("_run"))
    \\$^\\$  _run
    """
    text = printable_lines(name).replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text


# Settings are the whole process's, and pyplot's current figure too: one thread draws at a time. A
# picture may be drawn by others, in one thread.
_drawing = threading.RLock()


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """Make a function draw in the book's style, and leave the settings as they were; several
    threads draw one after the other.
    """

    @functools.wraps(draw)
    def drawn(*arguments: P.args, **options: P.kwargs) -> R:
        with _drawing, matplotlib.rc_context(RC):
            return draw(*arguments, **options)

    return drawn
