"""Every finding of the paper against our runs, by one rule; computed from `data/`, and nothing
typed but the paper's own words and numbers.
"""

from html import escape

import pandas as pd

from . import (
    batch_size_and_sam,
    decay_scale,
    layers,
    lemma,
    momentum_and_decay,
    momentum_and_rate,
    pythia,
    weight_decay,
    width,
)
from .rule import NOT_RUN, verdict

# As the book has them; the last add to its first chapter of studies what a later study found.
CLAIMS = (
    *momentum_and_decay.CLAIMS,
    *weight_decay.CLAIMS,
    *momentum_and_rate.CLAIMS,
    *batch_size_and_sam.CLAIMS,
    *lemma.CLAIMS,
    *width.CLAIMS,
    *pythia.CLAIMS,
    *layers.CLAIMS,
    *decay_scale.CLAIMS,
)

_PAGE = (
    "<table class='scorecard'><tr><th>in the paper's setting</th><th>here</th><th>holds in</th>"
    "<th>claim (unfold for the numbers)</th></tr>{rows}</table>"
)
_ANSWERS = {True: "yes", False: "no", None: "not decided"}
_ROW = (
    "<tr><td>{full_size}</td><td>{verdict}</td><td>{count}</td><td><details><summary>{finding}</summary>"
    "<p>Paper: {paper}</p>"
    "<table><tr><th>condition</th><th>mean over seeds, in the claimed order</th>"
    "<th>first − last</th><th>holds</th></tr>{numbers}</table>"
    "<p>What else could explain it: {explains}.</p></details></td></tr>"
)


def scorecard(chapter=None):
    """One row a claim.

    Parameters
    ----------
    chapter : str, optional
        The claims of one chapter, by its file's name without ending; by default all.

    Returns
    -------
    pandas.DataFrame
        Columns ``claim``, ``paper``, ``source``, ``setting`` (what the paper trained; empty where
        nothing had to be trained, or the claim is ours), ``in the paper's setting`` ("not run
        here", or empty with the setting), ``ours`` (a line a condition: the means over seeds in the
        claimed order, and the 95 % interval of first − last), ``holds`` (in how many conditions),
        ``seeds``, ``verdict`` (of our runs: in miniature, where there is a setting), ``what else
        could explain it``, ``chapter``.

    Notes
    -----
    A condition holds if the first quantity is above the last, and no neighbours are reversed, each
    by a paired 95 % interval over seeds and by half a percent: .005 in ω, cosines and accuracies,
    .9°, half a percent of the larger value of what has no bounds. All conditions hold:
    "reproduced"; some: "under a condition"; none: "not reproduced". A seed whose run diverged under
    one of a condition's settings is left out of it, and ``ours`` says so; such a condition is not
    decided where fewer than two seeds are left or those do not tell, and a claim that holds in none
    of the others is "not decided".

    Page "Scorecard".
    """
    rows = []
    for claim, outcomes in _looked_at(chapter):
        rows.append(
            {
                "claim": claim.finding,
                "paper": claim.paper,
                "source": claim.source,
                "setting": claim.setting,
                "in the paper's setting": NOT_RUN if claim.setting else "",
                "ours": "\n".join(
                    f"{_named(name, found)}: {_means(found)}: {_interval(found)}"
                    for name, found in outcomes.items()
                ),
                "holds": _count(outcomes),
                "seeds": "/".join(
                    str(n) for n in sorted({len(found.columns) for found in outcomes.values()})
                ),
                "verdict": _verdict(outcomes),
                "what else could explain it": claim.explains,
                "chapter": claim.chapter,
            }
        )
    return pd.DataFrame(rows)


def show_scorecard(chapter=None):
    """`scorecard` to be read in a notebook: verdicts and claim, and the numbers to unfold.

    Returns
    -------
    IPython.display.HTML
    """
    from IPython.display import HTML

    rows = []
    for claim, outcomes in _looked_at(chapter):
        numbers = (
            (_named(name, found), _means(found), _interval(found), _ANSWERS[found.holds])
            for name, found in outcomes.items()
        )
        rows.append(
            _ROW.format(
                full_size=escape(f"{NOT_RUN} ({claim.setting})") if claim.setting else "–",
                verdict=("in miniature: " if claim.setting else "") + _verdict(outcomes),
                count=_count(outcomes),
                finding=escape(claim.finding),
                paper=escape(f"{claim.paper} ({claim.source})" if claim.paper else claim.source),
                numbers="".join(
                    f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"
                    for cells in numbers
                ),
                explains=escape(claim.explains),
            )
        )
    return HTML(_PAGE.format(rows="".join(rows)))


def _looked_at(chapter):
    """Every claim, and what comes out under each of its conditions."""
    for claim in CLAIMS:
        if chapter in (None, claim.chapter):
            yield claim, claim.outcomes()


def _verdict(outcomes):
    return verdict(found.holds for found in outcomes.values())


def _count(outcomes):
    held = [found.holds for found in outcomes.values()]
    undecided = held.count(None)
    decided = f"{held.count(True)} of {len(held) - undecided}"
    return f"{decided}, {undecided} not decided" if undecided else decided


def _named(name, found):
    seeds = len(found.columns)
    return (
        f"{name} ({seeds} of {seeds + found.lost} seeds, {found.lost} diverged)"
        if found.lost
        else name
    )


def _means(found):
    """In the claimed order."""
    return " > ".join(f"{label} {_digits(value)}" for label, value in found.columns.mean().items())


def _digits(value):
    """Three digits; steps are whole numbers, and are read as such."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _interval(found):
    """Of first − last."""
    if found.whole is None:
        return "fewer than two seeds"
    return f"{found.whole.mean:+.3g} [{found.whole.low:+.3g}, {found.whole.high:+.3g}]"
