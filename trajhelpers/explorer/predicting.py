"""Questions that a reader answers before the page does: which map is it, how does the curve go?"""

import html
import itertools
import math
import warnings
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from scipy import stats

from ..hallmarks import mds_in_words, of_a_path
from ..kernel import TrajectoryKernel
from ..plots import plot_maps
from ..plots.style import literally, styled
from .embedding import embedded
from .parts import PagePart, as_webp


def choose_map(
    question: str,
    maps: Mapping[str, TrajectoryKernel],
    answer: str,
    why: str,
    seed: int = 0,
) -> PagePart:
    """Maps without their names, in one scale of colours: the reader chooses one, and then sees
    which is which, the ω of each, and why.

    Parameters
    ----------
    question : str
        Which map is asked for.
    maps : dict of name → TrajectoryKernel
        Two to five. The page computes them, seen from O.
    answer : str
        The name of the map that is asked for.
    why : str
        What one sees it by: a sentence or two.
    seed : int
        Of the order in which they stand.

    Returns
    -------
    PagePart
        The last expression of a cell shows it. Without JavaScript and in print the maps have their
        names, and the answer stands under them.

    Raises
    ------
    ValueError
        For fewer than two or more than five maps, an answer that is none of them, a set of models.

    >>> import trajhelpers as th
    >>> maps = {"from O": th.random_walk(31), "from afar": th.random_walk(31, start=30)}
    >>> th.choose_map("Which walk begins at O?", maps, "from O", "It turns more.")
    Which walk begins at O? Of two maps, “from O”, ω = 0.684. It turns more.
    """
    if not 2 <= len(maps) <= 5:
        raise ValueError(f"maps: expected two to five, got {len(maps)}")
    if answer not in maps:
        raise ValueError(f"answer: expected one of {', '.join(maps)}; got {answer!r}")
    kernels = {name: of_a_path("choose_map", kernel) for name, kernel in maps.items()}
    order = [list(kernels)[i] for i in np.random.default_rng(seed).permutation(len(kernels))]
    data = {
        "question": question,
        "maps": [embedded(kernels[name], name) for name in order],
        "answer": order.index(answer),
        "why": why,
    }
    count = ("two", "three", "four", "five")[len(maps) - 2]
    omegas = {name: mds_in_words(kernel) for name, kernel in kernels.items()}
    said = f"Of {count} maps, “{answer}”, ω = {omegas[answer]}. {why}"
    alt = "; ".join(f"{name}: ω = {omega}" for name, omega in omegas.items())
    static = _static(question, _maps(kernels), alt, said)
    return PagePart("prediction", data, static, f"{question} {said}")


def draw_curve(
    question: str,
    x: Sequence,
    y: Sequence,
    xlabel: str = "",
    ylabel: str = "ω",
    y_range: tuple[float, float] = (0.0, 1.0),
    why: str = "",
    logx: bool = False,
) -> PagePart:
    """Axes without their curve: the reader draws it, and then sees the measured one over it, and in
    one sentence how far off the guess was and where it went the wrong way.

    Parameters
    ----------
    question : str
    x : sequence
        Two to twelve values or names, in their order.
    y : sequence of float, or of sequences of float
        What was measured at each, or the values of its seeds, always in one order: then the curve
        is their mean, and they are drawn too. A step that is not level is not judged where the 95 %
        interval of its change (paired, where there are as many seeds) has 0 in it.
    xlabel, ylabel : str
    y_range : (float, float)
        Lowest and highest value of the axis.
    why : str
        What is said of the curve when it is seen.
    logx : bool
        x on a logarithmic axis, else evenly spaced.

    Returns
    -------
    PagePart
        The last expression of a cell shows it. Without JavaScript and in print the measured curve
        stands there.

    Raises
    ------
    ValueError
        For x and y of different lengths, values that are not finite or beyond ``y_range``, or a
        logarithm of x ≤ 0.

    >>> import trajhelpers as th
    >>> th.draw_curve("How does ω change?", [0, 0.1, 1], [0.95, 0.94, [0.86, 0.84]], xlabel="λ")
    How does ω change? Measured ω, by λ: 0: 0.95, 0.1: 0.94, 1: 0.85
    """
    points = [[float(value) for value in np.atleast_1d(values)] for values in y]
    labels = [value if isinstance(value, str) else f"{value:.3g}" for value in x]
    _check(labels, points, y_range)
    places = np.arange(len(labels), dtype=float)
    if logx:
        numbers = np.array(x, float)
        if not (numbers > 0).all():
            raise ValueError(f"x: has no logarithm at {numbers.min():g}; leave logx out")
        places = np.log(numbers)
    if not (np.diff(places) > 0).all():
        raise ValueError(f"x: expected ascending values, got {', '.join(labels)}")
    share = (places - places[0]) / (places[-1] - places[0])
    low, high = y_range
    # About a hundred steps of the axis can be told apart.
    digits = max(0, 2 - math.floor(math.log10(high - low)))
    means = [math.fsum(values) / len(values) for values in points]
    numbers_said = ", ".join(f"{of}: {mean:.{digits}f}" for of, mean in zip(labels, means))
    said = f"Measured {ylabel}{f', by {xlabel}' * bool(xlabel)}: {numbers_said}"
    data = {
        "question": question,
        "x": labels,
        "places": share.tolist(),
        "points": points,
        "means": means,
        "told": [_is_told(*pair) for pair in itertools.pairwise(points)],
        "range": [float(low), float(high)],
        "digits": digits,
        "xlabel": xlabel,
        "ylabel": ylabel,
        "why": why,
    }
    picture = _curve(labels, share, points, means, data)
    static = _static(question, picture, said, f"{said}. {why}")
    return PagePart("prediction", data, static, f"{question} {said}")


def _check(labels, points, y_range):
    if len(labels) != len(points):
        raise ValueError(f"x and y: expected as many of each, got {len(labels)} and {len(points)}")
    if not 2 <= len(labels) <= 12:
        raise ValueError(f"x: expected two to twelve values, got {len(labels)}")
    low, high = y_range
    if not low < high:
        raise ValueError(f"y_range: expected the lower end first, got {low:g} and {high:g}")
    for label, values in zip(labels, points):
        if not values or not all(low <= value <= high for value in values):
            raise ValueError(f"y at {label}: expected {low:g} to {high:g} (y_range), got {values}")


def _is_told(before, after):
    """Whether seeds tell that it rises, or that it falls."""
    if len(before) == len(after) == 1:
        return True
    with warnings.catch_warnings():
        # Changes that are all the same have an interval of no length.
        warnings.filterwarnings("ignore", "Precision loss occurred|.*too small", RuntimeWarning)
        if len(before) == len(after):
            return bool(stats.ttest_rel(before, after).pvalue < 0.05)
        return bool(stats.ttest_ind(before, after, equal_var=False).pvalue < 0.05)


def _static(question, picture, alt, said):
    return (
        f'<p class="question">{html.escape(question)}</p>\n'
        f'<figure><img src="{picture}" alt="{html.escape(alt)}">'
        f"<figcaption>{html.escape(said)}</figcaption></figure>"
    )


def _maps(kernels):
    axes = plot_maps(kernels, columns=len(kernels))
    return as_webp(np.ravel(axes)[0].figure)


@styled
def _curve(labels, share, points, means, data):
    figure, ax = plt.subplots(figsize=(6.4, 3.2), layout="constrained")
    ax.plot(share, means)
    for place, values in zip(share, points):
        ax.plot([place] * len(values), values, "o", color="black", markerfacecolor="none")
    ax.set_xticks(share, [literally(label) for label in labels])
    ax.set(xlabel=data["xlabel"], ylabel=data["ylabel"], ylim=data["range"])
    return as_webp(figure)
