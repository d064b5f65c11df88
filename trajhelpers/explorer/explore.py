"""``th.explore(kernel)``: what a notebook shows, and what a page or a mail can hold."""

from collections.abc import Mapping
from pathlib import Path

import matplotlib.pyplot as plt

from ..atomic import atomic_path
from ..hallmarks import mds_in_words, of_a_path
from ..kernel import ModelSetKernel, TrajectoryKernel
from ..plots import plot_map, plot_path
from ..plots.style import styled
from .embedding import embedded
from .page import HOW_TO_READ, fragment, page
from .parts import as_webp


class Explorer:
    """What :func:`explore` returns: shown by a notebook, or written to a file."""

    def __init__(self, kernels: Mapping[str, TrajectoryKernel], unit: str, play: bool):
        self._kernels, self._unit, self._play = dict(kernels), unit, play

    def __repr__(self) -> str:
        label, kernel = next(iter(self._kernels.items()))
        return (
            f"{label + ': ' if label else ''}the map of {kernel.n} checkpoints, ω ="
            f" {mds_in_words(kernel)}, and the path in its first two principal components"
        )

    def _repr_html_(self) -> str:
        kernels = [embedded(kernel, label) for label, kernel in self._kernels.items()]
        picture = _picture(next(iter(self._kernels.values())), self._unit)
        data = {"kernels": kernels, "unit": self._unit, "play": self._play}
        return fragment(data, picture, f"{self!r}.")

    def save(self, path: str | Path) -> None:
        """Write one HTML file, which needs nothing else: it opens from a disk or a mail, offline.

        Raises
        ------
        OSError
            Where the path cannot be written, with what was there before as it was.
        """
        labels = [label for label in self._kernels if label]
        title = ", ".join(labels) if 0 < len(labels) < 4 else "Trajectory maps"
        content = page(title, [HOW_TO_READ, self._repr_html_()])
        with atomic_path(path) as temporary:
            temporary.write_text(content, encoding="utf-8")


def explore(
    kernels: TrajectoryKernel | Mapping[str, TrajectoryKernel | ModelSetKernel],
    unit: str = "step",
    play: bool = False,
) -> Explorer:
    """A map that computes where it is shown: in a notebook, on a rendered page, in a file of its
    own. Origin, stride, layers, range of checkpoints and the random walk beside it are moved by
    mouse, touch or keyboard, and map, path, angles, lengths and spectrum follow.

    Parameters
    ----------
    kernels : TrajectoryKernel, or dict of name → TrajectoryKernel
        One run, or several to choose from. The kernels themselves are in the page, with all their
        digits: 127 kB a group at 154 checkpoints.
    unit : str
        What the steps are: "step", "epoch".
    play : bool
        Let the run grow from its first checkpoints to its end when it first comes into view, but
        not for a reader who wants no motion. A button does it at any time.

    Returns
    -------
    Explorer
        The last expression of a cell shows it; ``.save("run.html")`` writes one file that needs no
        network. Without JavaScript there are map and path as a picture.

    Raises
    ------
    TypeError
        For what is no kernel, such as the name of a file.
    ValueError
        For a set of models, which has no path.

    Numbers are those of Python to 1e-9.

    >>> import trajhelpers as th
    >>> th.explore(th.random_walk(31, start=3))
    the map of 31 checkpoints, ω = 0.801, and the path in its first two principal components
    """
    if isinstance(kernels, (TrajectoryKernel, ModelSetKernel)):
        kernels = {"": kernels}
    if not isinstance(kernels, Mapping):
        raise TypeError(
            f"kernels: expected a kernel or a dict of them, got {type(kernels).__name__};"
            " th.load_kernel reads one of a file, th.gram makes one of checkpoints"
        )
    if not kernels:
        raise ValueError("kernels: expected at least one")
    paths = {label: of_a_path("explore", kernel) for label, kernel in kernels.items()}
    return Explorer(paths, unit, play)


@styled
def _picture(kernel, unit):
    figure, axes = plt.subplots(1, 2, figsize=(8.4, 3.8), layout="constrained")
    plot_map(kernel, ax=axes[0], unit=unit)
    plot_path(kernel, ax=axes[1], unit=unit)
    return as_webp(figure)
