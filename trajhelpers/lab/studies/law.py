"""The law of ω: cells of the two studies of miniatures, what one width says of another, and what
follows for a suite of which only the configurations are known.

The plan is at the head of ``miniature.py``; chapter "The law of ω"."""

from dataclasses import fields
from itertools import combinations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy import stats

from ...hallmarks import mds
from ...plots.style import LINES, styled
from ..pythia.parts import BLOCKS
from ..theory.law import memory, widened
from ..training.recipes import LanguageRecipe
from .load import load_study

LAW_STUDIES = ("pythia-mini", "omega-law")
HIDDEN = "hidden matrices"
_CELL = ["tokens", "layers", "batch_size", "exposure", "width", "learning_rate"]
_MARKERS = "osD^vPX*"


def law_runs(names=LAW_STUDIES, folder=None):
    """The runs of the miniatures, each once: a table with the fields that make a cell, and their
    kernels by block.

    Parameters
    ----------
    names : sequence of str
        Studies.
    folder : path, optional
        As :func:`load_study`.

    Returns
    -------
    table : pandas.DataFrame
        Indexed by run: ``tokens``, ``layers``, ``batch_size``, ``exposure`` (Σηλ), ``width``,
        ``learning_rate``, ``seed``, ``validation_loss``; ``number``, η · width; ``recipe``.
    kernels : dict of run → TrajectoryKernel
        With the groups of ``pythia.by_block``.

    >>> table, kernels = law_runs(["pythia-mini"])
    >>> len(table) == len(kernels) == 138
    True
    """
    tables, kernels = [], {}
    for name in names:
        study = load_study(name, folder)
        tables.append(study.table[study.table.diverged == ""])
        kernels |= study.kernels
    table = pd.concat(tables)
    table = table[~table.index.duplicated()]  # one recipe may be in several arms
    own = [field.name for field in fields(LanguageRecipe)]
    table["recipe"] = [LanguageRecipe.from_json(row.to_json()) for _, row in table[own].iterrows()]
    # sums of rates, equal up to rounding
    table["exposure"] = table.decay_exposure.round(6)
    table["number"] = (table.learning_rate * table.width).round(9)
    return table[[*_CELL, "seed", "number", "validation_loss", "recipe"]], kernels


def law_cells(runs, origin=None, stride=1):
    """Means over seeds, a row a cell, of ω of each block.

    Parameters
    ----------
    runs : tuple
        Of :func:`law_runs`.
    origin : {None, 0}
    stride : int
        Every so many-th checkpoint.

    Returns
    -------
    pandas.DataFrame
        The fields of a cell, ``number``, ``seeds``, ``validation_loss``, and a column a block.

    >>> cells = law_cells(law_runs(["pythia-mini"]))
    >>> same = cells[(cells.number == .256) & (cells.exposure == 3.95) & (cells.layers == 2)]
    >>> same.set_index("width")["hidden matrices"].round(3).to_dict()
    {16: 0.66, 32: 0.66, 64: 0.66}
    """
    table, kernels = runs
    values = pd.DataFrame(
        {
            block: {run: mds(kernels[run].select(block)[::stride], origin) for run in table.index}
            for block in BLOCKS
        }
    )
    grouped = table.join(values).groupby([*_CELL, "number"], sort=True)
    means = grouped[["validation_loss", *BLOCKS]].mean()
    return means.assign(seeds=grouped.size()).reset_index()


def widening(runs, block=HIDDEN):
    """Every pair of cells that differ in width alone, at one η · width and Σηλ: what the narrower
    says of the wider by :func:`trajhelpers.theory.widened`, beside what was measured.

    Returns
    -------
    pandas.DataFrame
        ``tokens``, ``layers``, ``batch_size``, ``exposure``, ``number``, ``width``, ``to``;
        ``own``, ω of the narrower, ``predicted`` and ``measured`` of the wider, means over seeds;
        ``error``, predicted − measured; root mean square differences of the mean maps, of the
        predicted from the measured (``map_error``) and of the narrower's own (``map_own``).

    >>> pairs = widening(law_runs(["pythia-mini"]))
    >>> bool((pairs.map_error < pairs.map_own).all())
    True
    """
    table, kernels = runs
    same = [*(field for field in _CELL if field not in ("width", "learning_rate")), "number"]
    rows = []
    for key, part in table.groupby(same):
        by_width = dict(list(part.groupby("width")))
        for width, other in combinations(sorted(by_width), 2):
            narrow = [
                (kernels[run].select(block), memory(row.recipe))
                for run, row in by_width[width].iterrows()
            ]
            own = [kernel for kernel, _ in narrow]
            predicted = [widened(kernel, other / width, left) for kernel, left in narrow]
            measured = [kernels[run].select(block) for run in by_width[other].index]
            maps = {
                name: np.mean([kernel.cosine() for kernel in group], axis=0)
                for name, group in (("own", own), ("predicted", predicted), ("measured", measured))
            }
            rows.append(
                dict(zip(same, key))
                | {"width": width, "to": other}
                | {name: drawn.mean() for name, drawn in maps.items()}
                | {
                    "error": maps["predicted"].mean() - maps["measured"].mean(),
                    "map_error": _rms(maps["predicted"] - maps["measured"]),
                    "map_own": _rms(maps["own"] - maps["measured"]),
                }
            )
    return pd.DataFrame(rows)


def _rms(values):
    return float(np.sqrt(np.mean(values**2)))


def initial_shares(suite):
    """The share of each block in ‖θ_0‖², on average over draws, from a network's sizes alone.

    Parameters
    ----------
    suite : pandas.DataFrame
        With ``vocabulary``, ``layers`` and ``hidden``, as :func:`trajhelpers.pythia.pythia_suite`.

    Returns
    -------
    pandas.DataFrame
        A column a block, of sum 1.

    Notes
    -----
    Matrices start with variance 2 / (5n), those that write to the residual stream with 4 / (L²n),
    gains at 1, biases at 0.

    >>> sizes = pd.DataFrame({"vocabulary": [63], "layers": [2], "hidden": [16]})
    >>> initial_shares(sizes).round(3).to_dict("records")
    [{'embeddings': 0.133, 'hidden matrices': 0.657, 'norms and biases': 0.211}]
    """
    layers, hidden = suite.layers, suite.hidden
    squares = pd.DataFrame(
        {
            "embeddings": 0.8 * suite.vocabulary,
            HIDDEN: 2.8 * layers * hidden + 20 * hidden / layers,
            "norms and biases": (2 * layers + 1) * hidden,
        }
    )
    return squares.div(squares.sum(axis=1), axis=0)


def predict_pairs(cells, points, shares=None, power=1.0):
    """Differences of ω between networks of which only the configurations are known.

    ω of a block is regressed on log₂(η · widthᵖ) and log₂ Σηλ over the cells, and read off at the
    points.

    Parameters
    ----------
    cells : pandas.DataFrame
        ``width``, ``learning_rate``, ``exposure`` (above 0) and a column a block.
    points : pandas.DataFrame
        One row a network, with the first three.
    shares : pandas.DataFrame, optional
        One row a network, one column a block: how much each block counts. By default the hidden
        matrices are all there is.
    power : float
        p.

    Returns
    -------
    pandas.DataFrame
        Indexed by pairs (first, second) in the order of the points: ``difference``, of the second
        from the first, and Student's 95 % interval ``low``, ``high`` for the difference of two new
        cells. Blocks count as independent.

    >>> cells = pd.DataFrame({"width": [16, 16, 64, 64], "learning_rate": [1, 2, 1, 4.0],
    ...                       "exposure": [1, 2, 4, 1.0]})
    >>> cells["hidden matrices"] = -np.log2(cells.width * cells.learning_rate)
    >>> points = pd.DataFrame({"width": [1, 2], "learning_rate": [1, 1.0], "exposure": [1, 1.0]})
    >>> float(predict_pairs(cells, points).difference.iloc[0].round(9))
    -1.0
    """
    if shares is None:
        shares = pd.DataFrame({HIDDEN: 1.0}, index=points.index)
    design, at = _design(cells, power), _design(points, power)
    degrees = len(design) - design.shape[1]
    inverse = np.linalg.inv(design.T @ design)
    fits = {}
    for block in shares:
        values = cells[block].to_numpy()
        solution = inverse @ (design.T @ values)
        left = values - design @ solution
        fits[block] = solution, left @ left / degrees
    reach = stats.t.ppf(0.975, degrees)
    rows = {}
    for first, second in combinations(range(len(points)), 2):
        difference = variance = 0.0
        for block, (solution, noise) in fits.items():
            weights = shares[block].to_numpy()
            apart = weights[second] * at[second] - weights[first] * at[first]
            difference += apart @ solution
            new = weights[second] ** 2 + weights[first] ** 2
            variance += noise * (apart @ inverse @ apart + new)
        half = reach * variance**0.5
        rows[points.index[first], points.index[second]] = {
            "difference": difference,
            "low": difference - half,
            "high": difference + half,
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def _design(table, power):
    number = table.learning_rate * table.width**power
    return np.column_stack([np.ones(len(table)), np.log2(number), np.log2(table.exposure)])


def local_exponent(narrow, same_number, same_root):
    """a from three cells: width n at η, width 4n at η/4 and at η/2.

    Where between η/4 (a = 1) and η/2 (a = ½) the wider network has the narrower one's ω, linearly
    in log η; beyond them where it has it nowhere between.

    Parameters
    ----------
    narrow, same_number, same_root : array-like
        ω by seed.

    Returns
    -------
    tuple of float
        a, and a 95 % interval by Student's t from the seeds, to first order in their scatter.

    >>> a, low, high = local_exponent([.66, .67], [.66, .67], [.60, .61])
    >>> round(a, 9), low < a < high
    (1.0, True)
    """
    groups = [np.asarray(values, float) for values in (narrow, same_number, same_root)]
    here, one, half = (values.mean() for values in groups)
    place = (here - one) / (half - one)  # 0 at η/4, 1 at η/2
    slopes = np.array([1, place - 1, -place]) / (half - one)
    errors = np.array([values.std(ddof=1) ** 2 / len(values) for values in groups])
    degrees = sum(len(values) - 1 for values in groups)
    reach = stats.t.ppf(0.975, degrees) * np.sqrt(slopes**2 @ errors) / 2
    a = 1 - place / 2
    return float(a), float(a - reach), float(a + reach)


@styled
def plot_collapse(cells, block=HIDDEN, axes=None):
    """ω before and after: against η, and against η · width.

    Parameters
    ----------
    cells : pandas.DataFrame
        Of :func:`law_cells`. Colours and lines are exposures, markers widths.
    block : str
    axes : two Axes, optional
        Of a figure that has a legend already, for another block of the same cells, no second one
        is drawn.

    Returns
    -------
    array of two Axes
    """
    if axes is None:
        _, axes = plt.subplots(1, 2, figsize=(9.2, 3.9), sharey=True)
    widths = sorted(cells.width.unique())
    markers = dict(zip(widths, _MARKERS * (1 + len(widths) // len(_MARKERS))))
    exposures = sorted(cells.exposure.unique())
    styles = dict(zip(exposures, LINES * (1 + len(exposures) // len(LINES))))
    for x, ax in zip(("learning_rate", "number"), axes):
        for (exposure, width), line in cells.groupby(["exposure", "width"]):
            line = line.sort_values(x)
            ax.plot(
                line[x],
                line[block],
                **styles[exposure],
                linewidth=0.8,
                marker=markers[width],
                markersize=5,
            )
        ax.set(xscale="log", xlabel="peak η" if x == "learning_rate" else "η · width")
        ax.minorticks_off()
        doublings = np.log2(sorted(cells[x].unique()))
        doublings -= doublings[0]
        # a new width's numbers may lie between two doublings, and their labels on one another
        ticks = cells[x].min() * 2 ** doublings[np.isclose(doublings, doublings.round())]
        ax.set_xticks(ticks, [f"{tick:.3g}" for tick in ticks], rotation=45)
    axes[0].set_ylabel(f"ω, {block}")
    shown = [
        *(
            plt.Line2D([], [], **style, label=f"Σηλ {exposure:.3g}")
            for exposure, style in styles.items()
        ),
        *(
            plt.Line2D([], [], color="#555555", linestyle="", marker=marker, label=f"width {width}")
            for width, marker in markers.items()
        ),
    ]
    if not axes[0].figure.legends:  # one for several blocks
        axes[0].figure.legend(handles=shown, loc="outside upper left", ncols=6)
    return axes
