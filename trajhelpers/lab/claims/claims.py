"""Every finding of the paper against our runs, by one rule; computed from `data/`, and nothing
typed but the paper's own words and numbers.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from html import escape

import numpy as np
import pandas as pd

from ...hallmarks import angles, effective_rank, norms, spectra
from ...nulls import random_walk_like
from ..pythia.settle import settling
from ..studies.load import group_kernels, load_study
from ..studies.statistics import paired_difference
from ..theory import quadratic
from ..theory.width import departure, local_slopes, slope

REPRODUCED, CONDITION, NOT, NOT_RUN = (
    "reproduced",
    "under a condition",
    "not reproduced",
    "not run here",
)


@dataclass(frozen=True)
class Claim:
    """A finding of the paper, and how it is put to the test.

    ``conditions`` returns, for each condition under which we looked, the quantities that the claim
    orders: columns that should fall from left to right, one row a seed. ``explains`` is what else
    could explain an agreement."""

    finding: str
    source: str
    paper: str
    conditions: Callable[[], dict[str, pd.DataFrame]] | None
    explains: str
    chapter: str


def verdict(conditions):
    """The rule: all conditions hold (see `holds`): reproduced; some: under a condition; none: not
    reproduced.

    >>> falls, rises = pd.DataFrame({"a": [3.0, 3.1], "b": [2.0, 2.1], "c": [1.0, 1.1]}), pd.DataFrame({"a": [1.0, 1.1], "b": [2.0, 2.1]})
    >>> verdict({"one": falls}), verdict({"one": falls, "two": rises}), verdict({"two": rises})
    ('reproduced', 'under a condition', 'not reproduced')
    """
    held = [holds(columns) for columns in conditions.values()]
    return REPRODUCED if all(held) else CONDITION if any(held) else NOT


def holds(columns):
    """Whether the first column is above the last, and no column below the next, on the evidence of
    the seeds: by paired 95 % intervals.

    Neighbours that the seeds cannot tell apart break no order; neighbours that are reversed do.
    """
    whole = paired_difference(columns.iloc[:, 0], columns.iloc[:, -1])
    steps = [
        paired_difference(columns.iloc[:, i], columns.iloc[:, i + 1])
        for i in range(columns.shape[1] - 1)
    ]
    return whole.low > 0 and all(step.high >= 0 for step in steps)


def scorecard(chapter=None):
    """One row a claim.

    Parameters
    ----------
    chapter : str, optional
        The claims of one chapter, by its file's name without ending; by default all.

    Returns
    -------
    pandas.DataFrame
        Columns ``claim``, ``paper``, ``source``, ``ours`` (a line a condition: the means over seeds
        in the claimed order, and the 95 % interval of first − last), ``holds`` (in how many
        conditions), ``seeds``, ``verdict``, ``what else could explain it``, ``chapter``.

    Page "Scorecard".
    """
    rows = []
    for claim, conditions in _looked_at(chapter):
        rows.append(
            {
                "claim": claim.finding,
                "paper": claim.paper,
                "source": claim.source,
                "ours": "\n".join(
                    ": ".join([name, *_numbers(columns)[:2]])
                    for name, columns in conditions.items()
                ),
                "holds": _count(conditions),
                "seeds": "/".join(
                    str(n) for n in sorted({len(columns) for columns in conditions.values()})
                ),
                "verdict": verdict(conditions) if conditions else NOT_RUN,
                "what else could explain it": claim.explains,
                "chapter": claim.chapter,
            }
        )
    return pd.DataFrame(rows)


def show_scorecard(chapter=None):
    """`scorecard` to be read in a notebook: verdict and claim, and the numbers to unfold.

    Returns
    -------
    IPython.display.HTML
    """
    from IPython.display import HTML

    rows = []
    for claim, conditions in _looked_at(chapter):
        numbers = "".join(
            "<tr>"
            + "".join(f"<td>{escape(cell)}</td>" for cell in (name, *_numbers(columns)))
            + "</tr>"
            for name, columns in conditions.items()
        )
        paper = f"{claim.paper} ({claim.source})" if claim.paper else claim.source
        rows.append(
            f"<tr><td>{verdict(conditions) if conditions else NOT_RUN}</td><td>{_count(conditions)}</td><td><details><summary>{escape(claim.finding)}</summary><p>Paper:"
            f" {escape(paper)}</p><table><tr><th>condition</th><th>mean over seeds, in the claimed"
            f" order</th><th>first − last</th><th>holds</th></tr>{numbers}</table><p>What else"
            f" could explain it: {escape(claim.explains)}.</p></details></td></tr>"
        )
    return HTML(
        "<table class='scorecard'><tr><th>verdict</th><th>holds in</th><th>claim (unfold for the"
        f" numbers)</th></tr>{''.join(rows)}</table>"
    )


def _looked_at(chapter):
    return [
        (claim, claim.conditions() if claim.conditions else {})
        for claim in CLAIMS
        if chapter in (None, claim.chapter)
    ]


def _count(conditions):
    return f"{sum(map(holds, conditions.values()))} of {len(conditions)}"


def _numbers(columns):
    """The means in order, the interval of first − last, and whether the order holds."""
    whole = paired_difference(columns.iloc[:, 0], columns.iloc[:, -1])
    return (
        " > ".join(f"{label} {value:.3g}" for label, value in columns.mean().items()),
        f"{whole.mean:+.3g} [{whole.low:+.3g}, {whole.high:+.3g}]",
        "yes" if holds(columns) else "no",
    )


# ---- what is compared ----


def _column(study, value, field_values, arm=None):
    """One value a seed, of the runs with these values of fields."""
    table = study.table if arm is None else study.table[study.table.arm == arm]
    for field, wanted in field_values.items():
        table = table[np.isclose(table[field], wanted, rtol=1e-9, atol=0)]
    if len(table) != table.seed.nunique() or table.empty:
        raise ValueError(
            f"expected one run a seed for {field_values}"
            + f" in arm {arm!r}" * bool(arm)
            + f", got {len(table)}"
        )
    if callable(value):
        return pd.Series(
            {
                row.seed: value(study.kernels[run]) if row.diverged == "" else np.nan
                for run, row in table.iterrows()
            }
        )
    return table.set_index("seed")[value]


def _ordered(study, value, settings, arm=None):
    """Columns in the claimed, falling order: ``settings`` from a label to the fields' values."""
    return pd.DataFrame(
        {label: _column(study, value, fields, arm) for label, fields in settings.items()}
    )


def _decay(study):
    """The λ of the four cells."""
    return study.table.weight_decay.max()


def _cells(study):
    on = _decay(study)
    return {
        "neither": {"momentum": 0, "weight_decay": 0},
        "no decay": {"momentum": 0.9, "weight_decay": 0},
        "no momentum": {"momentum": 0, "weight_decay": on},
        "both": {"momentum": 0.9, "weight_decay": on},
    }


_FOUR_CELLS = {
    "VGG": "momentum-decay-vgg",
    "ResNet": "momentum-decay-resnet",
    "VGG, clean labels": "clean-labels",
}


def _in_cells(value, *order):
    """A claim on the four cells, looked at in each network: columns of ``order``."""

    def conditions():
        found = {}
        for name, study in _FOUR_CELLS.items():
            study = load_study(study)
            cells = _cells(study)
            found[name] = _ordered(study, value, {label: cells[label] for label in order})
        return found

    return conditions


def _within_cell(cell, *values):
    """A claim on quantities of one cell: ``values`` are (label, function of a kernel), in the
    claimed falling order.
    """

    def conditions():
        found = {}
        for name, study in _FOUR_CELLS.items():
            study = load_study(study)
            found[name] = pd.DataFrame(
                {label: _column(study, value, _cells(study)[cell]) for label, value in values}
            )
        return found

    return conditions


def _constant(level):
    return lambda kernel: level


def _stage_angle(first, last):
    """Mean angle between consecutive updates, in degrees, over the pairs that meet at checkpoints
    first … last.
    """
    return lambda kernel: angles(kernel)["consecutive"][first - 1 : last].mean()


def _block(stage, other):
    """Mean cosine between the checkpoints of two stages of ten."""
    stages = {1: slice(0, 10), 2: slice(10, 20), 3: slice(20, 31)}
    return lambda kernel: kernel.cosine()[stages[stage], stages[other]].mean()


def _three_blocks():
    """Each stage's mean cosine inside, and to the neighbour that it resembles more."""
    found = {}
    for name, study in _FOUR_CELLS.items():
        study = load_study(study)
        for stage, neighbours in ((1, (2,)), (2, (1, 3)), (3, (2,))):
            inside = _column(study, _block(stage, stage), _cells(study)["both"])
            across = pd.DataFrame(
                {n: _column(study, _block(stage, n), _cells(study)["both"]) for n in neighbours}
            ).max(axis=1)
            found[f"{name}, stage {stage}"] = pd.DataFrame(
                {"inside": inside, "to a neighbour": across}
            )
    return found


def _sweep(study, field, value="mds", reverse=False, arms=None, labels="{:g}", only=None, **fixed):
    """A claim that ``value`` falls as ``field`` grows (or as it shrinks), over all values of the
    study.
    """

    def conditions():
        loaded = load_study(study)
        found = {}
        for arm in arms or [None]:
            table = loaded.table if arm is None else loaded.table[loaded.table.arm == arm]
            values = [
                v for v in sorted(table[field].unique(), reverse=reverse) if only is None or only(v)
            ]
            settings = {labels.format(v): {field: v, **fixed} for v in values}
            found[arm or "all values"] = _ordered(loaded, value, settings, arm)
        return found

    return conditions


def _momentum_vgg():
    study = load_study("momentum-vgg")
    on = _decay(study)
    return {
        f"η {rate:g}, λ {decay:.3g}": _ordered(
            study,
            "mds",
            {
                f"{m:g}": {"momentum": m, "learning_rate": rate, "weight_decay": decay}
                for m in (0.0, 0.5, 0.9, 0.95)
            },
        )
        for rate in (0.1, 0.01)
        for decay in (on, 0.0)
    }


def _learning_rate():
    study = load_study("learning-rate")
    return {
        f"λ {decay:.3g}": _ordered(
            study,
            "mds",
            {
                f"{rate:g}": {"learning_rate": rate, "weight_decay": decay}
                for rate in (0.01, 0.03, 0.1, 0.3)
            },
        )
        for decay in (_decay(study), 0.0)
    }


def _equal_effective_rate():
    study = load_study("effective-rate")
    found = {}
    for arm, table in study.table.groupby("arm", sort=False):
        on = table.weight_decay.max()
        for decay in (on, 0.0):
            for effective in (0.1, 0.2, 1.0):
                found[f"{arm}, λ {decay:.3g}, η/(1−μ) {effective:g}"] = _ordered(
                    study,
                    "mds",
                    {
                        f"μ {m:g}": {
                            "momentum": m,
                            "learning_rate": effective * (1 - m),
                            "weight_decay": decay,
                        }
                        for m in (0.0, 0.9)
                    },
                    arm,
                )
    return found


def _switched_off():
    study = load_study("effective-rate")
    return {
        f"{arm}, λ {decay:.3g}, η .1": _ordered(
            study,
            "mds",
            {
                "μ 0": {"momentum": 0.0, "learning_rate": 0.1, "weight_decay": decay},
                "μ 0.9": {"momentum": 0.9, "learning_rate": 0.1, "weight_decay": decay},
            },
            arm,
        )
        for arm, table in study.table.groupby("arm", sort=False)
        for decay in (table.weight_decay.max(), 0.0)
    }


def _sam():
    study = load_study("sam")
    learns = study.table.groupby("sam_rho").train_accuracy.mean() > 0.5
    radii = sorted(study.table.sam_rho.unique(), reverse=True)
    return {
        name: _ordered(study, "mds", {f"ρ {rho:g}": {"sam_rho": rho} for rho in some})
        for name, some in (
            ("all radii", radii),
            ("radii with training accuracy above one half", [rho for rho in radii if learns[rho]]),
        )
    }


def _batch_angles():
    study = load_study("batch-size")
    found = {}
    for arm in study.table.arm.unique():
        batches = sorted(study.table.batch_size.unique(), reverse=True)
        for name, value in (
            ("between updates", _stage_angle(2, 9)),
            ("update, position", lambda kernel: angles(kernel)["update_position"][2:10].mean()),
        ):
            found[f"{name}; {arm}"] = _ordered(
                study, value, {f"B {b}": {"batch_size": b} for b in batches}, arm
            )
    return found


def _decay_sgd():
    study = load_study("weight-decay-sgd")
    decays = sorted(study.table.weight_decay.unique())
    return {
        name: _ordered(study, "mds", {f"λ {d:.3g}": {"weight_decay": d} for d in values})
        for name, values in (("up to the matched λ", decays[:-1]), ("and to twice of it", decays))
    }


def _adamw_upturn():
    study = load_study("weight-decay-adamw")
    means = study.table.groupby("weight_decay").mds.mean()
    least, most = means.idxmin(), means.index.max()
    settings = {f"λ {most:g}": {"weight_decay": most}, f"λ {least:g}": {"weight_decay": least}}
    return (
        {"the largest λ against the one of least ω": _ordered(study, "mds", settings)}
        if least != most
        else {
            "the largest λ has the least ω": _ordered(
                study,
                "mds",
                {
                    "previous": {"weight_decay": means.index[-2]},
                    "largest": {"weight_decay": most},
                },
            ).iloc[:, ::-1]
        }
    )


def _corrects():
    """Where ω_0 stands above that of λ = 0, does the network underfit (test accuracy below that of
    λ = 0)?
    """
    found = {}
    for name, study in (("AdamW", "weight-decay-adamw"), ("SGD", "weight-decay-sgd")):
        study = load_study(study)
        without = _column(study, "test_accuracy", {"weight_decay": 0.0})
        raised = _column(study, "relative_mds", {"weight_decay": 0.0})
        for decay in sorted(study.table.weight_decay.unique())[1:]:
            if (
                paired_difference(
                    _column(study, "relative_mds", {"weight_decay": decay}), raised
                ).low
                > 0
            ):
                found[f"{name}, λ {decay:.3g}, accuracy"] = pd.DataFrame(
                    {
                        "λ 0": without,
                        "here": _column(study, "test_accuracy", {"weight_decay": decay}),
                    }
                )
    return found


def _underfits():
    study = load_study("weight-decay-adamw")
    most, best = (
        study.table.weight_decay.max(),
        study.table.groupby("weight_decay").test_accuracy.mean().idxmax(),
    )
    return {
        f"{name} accuracy": _ordered(
            study,
            f"{name}_accuracy",
            {f"λ {best:g}": {"weight_decay": best}, f"λ {most:g}": {"weight_decay": most}},
        )
        for name in ("train", "test")
    }


def _extreme_apex():
    study = load_study("weight-decay-adamw")
    most, best = (
        study.table.weight_decay.max(),
        study.table.groupby("weight_decay").test_accuracy.mean().idxmax(),
    )
    settings = {f"λ {best:g}": {"weight_decay": best}, f"λ {most:g}": {"weight_decay": most}}
    return {
        "final apex angle at initialization": _ordered(
            study, lambda kernel: angles(kernel)["apex_initialization"][-1], settings
        ),
        "final distance from initialization": _ordered(
            study, lambda kernel: norms(kernel)["from_initialization"][-1], settings
        ),
    }


def _darker_square():
    """The largest λ against the one of least ω: cosines after the first third, and near the
    diagonal before.
    """
    study = load_study("weight-decay-adamw")
    most, least = (
        study.table.weight_decay.max(),
        study.table.groupby("weight_decay").mds.mean().idxmin(),
    )
    settings = {f"λ {most:g}": {"weight_decay": most}, f"λ {least:g}": {"weight_decay": least}}
    return {
        "square from a third on": _ordered(
            study, lambda kernel: kernel.cosine()[10:, 10:].mean(), settings
        ),
        "band: three epochs apart, first stage": _ordered(
            study, lambda kernel: kernel.cosine().diagonal(3)[1:8].mean(), settings
        ),
    }


def _redundant():
    """How many directions the map uses (effective rank of C), against the number of checkpoints,
    and against the random walk with the run's lengths.
    """
    found = {}
    for name, study in _FOUR_CELLS.items():
        study = load_study(study)
        rank = _column(
            study, lambda kernel: effective_rank(spectra(kernel)["C"]), _cells(study)["both"]
        )
        walk = _column(
            study,
            lambda kernel: effective_rank(spectra(random_walk_like(kernel))["C"]),
            _cells(study)["both"],
        )
        found[f"{name}, against the count"] = pd.DataFrame(
            {
                "checkpoints": _column(study, lambda kernel: kernel.n, _cells(study)["both"]),
                "directions": rank,
            }
        )
        found[f"{name}, against a walk"] = pd.DataFrame({"walk": walk, "directions": rank})
    return found


def _draws(seed):
    """10,000 quadratics as in chapter 10: eigenvalues, coordinates, hyperparameters."""
    generator = np.random.default_rng(seed)
    theta = generator.normal(size=(10_000, 4))
    return (
        generator.uniform(0, 1, (10_000, 4)),
        theta / np.linalg.norm(theta, axis=1, keepdims=True),
        {
            "lr": 10 ** generator.uniform(-2, 1, 10_000),
            "next_lr": 10 ** generator.uniform(-2, 1, 10_000),
            "momentum": generator.uniform(0, 1, 10_000),
            "weight_decay": generator.uniform(0, 0.01, 10_000),
        },
    )


def _violations(bounds):
    """Shares of draws outside of bounds, in three batches, against one in a thousand."""
    rows = []
    for seed in range(3):
        spectrum, theta, setting = _draws(seed)
        inner = quadratic.two_step_inner_product(spectrum, theta, form="printed", **setting)
        low, high = bounds(spectrum, setting)
        slack = 1e-12 * np.abs(high - low)
        rows.append(
            {"allowed": 0.001, "outside": np.mean((inner < low - slack) | (inner > high + slack))}
        )
    return {"random convex quadratics": pd.DataFrame(rows)}


def _momentum_on_quadratics():
    found = {}
    for form in ("printed", "pytorch", "heavy-ball"):
        rows = []
        for seed in range(3):
            spectrum, theta, setting = _draws(seed)
            angle = {
                mu: (
                    np.degrees(
                        np.arccos(
                            quadratic.two_step_cosine(
                                spectrum, theta, form=form, **setting | {"momentum": mu}
                            )
                        )
                    ).mean()
                )
                for mu in (0.9, 0.0)
            }
            rows.append({"μ 0.9 (°)": angle[0.9], "μ 0 (°)": angle[0.0]})
        found[form] = pd.DataFrame(rows)
    return found


def _at_the_edge():
    """How far sharpness is from 2(1 + μ)/η, as a share of it, in the second quarter of full-batch
    training, against a fifth.
    """
    study = load_study("edge-of-stability")
    found = {}
    for (rate, momentum), part in study.table[study.table.arm == "full batch"].groupby(
        ["learning_rate", "momentum"], sort=False
    ):
        rows = []
        for run in part.index:
            log = study.log[study.log.run == run].dropna(subset="sharpness")
            ratio = log.sharpness[log.step.between(150, 300)].median() * rate / (2 * (1 + momentum))
            rows.append({"a fifth": 0.2, "distance": abs(ratio - 1)})
        found[f"η {rate:g}, μ {momentum:g}"] = pd.DataFrame(rows)
    return found


def _decay_equilibrium():
    """Measured against predicted angle between the updates of epochs 6 to 9, against 5°."""
    study = load_study("decay-scale")
    found = {}
    for momentum in (0.9, 0.0):
        for decay, kernels in group_kernels(study, "weight_decay", momentum=momentum).items():
            epsilon = 0.1 * decay * 64 / (1 - momentum)
            predicted = np.degrees(np.arccos(-(1 - np.exp(-epsilon)) / 2))
            found[f"μ {momentum:g}, λ {decay:.3g}"] = pd.DataFrame(
                {
                    "5°": 5.0,
                    "error": [abs(_stage_angle(6, 9)(kernel) - predicted) for kernel in kernels],
                }
            )
    return found


def _departure_with_width(*arms, part, widths=None):
    """1 − cos(θ_T, θ_0) of hidden matrices, or of everything, from narrow to wide."""

    def conditions():
        study = load_study("width")
        return {
            arm: _ordered(
                study,
                lambda kernel: departure(kernel.select(part))[-1],
                {
                    f"width {n}": {"width": n}
                    for n in sorted(study.table.width.unique())
                    if widths is None or n in widths
                },
                arm,
            )
            for arm in arms or study.table.arm.unique()
        }

    return conditions


def _slope_near(arm, expected, octaves):
    """How far the slope of the hidden matrices' 1 − cos over the last octaves is from what theory
    says, a seed at a time, against a tenth.
    """
    study = load_study("width")
    widths = sorted(study.table.width.unique())[-1 - octaves :]
    values = pd.DataFrame(
        {
            n: _column(
                study, lambda kernel: departure(kernel.select("hidden"))[-1], {"width": n}, arm
            )
            for n in widths
        }
    )
    fitted = [
        slope(widths, row).slope if len(widths) > 2 else local_slopes(widths, row)[0]
        for row in values.to_numpy()
    ]
    return pd.DataFrame(
        {"a tenth": 0.1, f"|slope − ({expected})|": np.abs(np.array(fitted) - expected)}
    )


def _small_negative():
    study = load_study("decay-scale")
    return {
        f"μ {m:g}": _ordered(
            study,
            "mds",
            {
                "λ 0": {"momentum": m, "weight_decay": 0.0},
                "λ 1e-4": {"momentum": m, "weight_decay": 1e-4},
            },
        )
        for m in (0.9, 0.0)
    }


def _middle_pair():
    study = load_study("decay-scale")
    no_decay = {"momentum": 0.9, "weight_decay": 0.0}
    return {
        f"λ {decay:.3g}": _ordered(
            study,
            "mds",
            {"no decay": no_decay, "no momentum": {"momentum": 0.0, "weight_decay": decay}},
        )
        for decay in sorted(study.table.weight_decay.unique())[1:]
    }


def _final(family, name):
    return lambda kernel: family(kernel)[name][-1]


def _shrinking_updates():
    found = {}
    for name, study in _FOUR_CELLS.items():
        study = load_study(study)
        for cell, fields in _cells(study).items():
            for stage, (start, stop) in enumerate(((0, 10), (10, 20), (20, 30)), 1):
                found[f"{name}, {cell}, phase {stage}"] = pd.DataFrame(
                    {
                        "first": _column(
                            study, lambda kernel: norms(kernel)["updates"][start], fields
                        ),
                        "last": _column(
                            study, lambda kernel: norms(kernel)["updates"][stop - 1], fields
                        ),
                    }
                )
    return found


# ---- the miniature of Pythia ----

_SIZES = {
    "η ∝ 1/width": ((16, 0.016), (32, 0.008), (64, 0.004), (128, 0.002)),
    "η ∝ 1/width, twice that": ((32, 0.016), (64, 0.008), (128, 0.004), (256, 0.002)),
    "η ∝ 1/√width": ((16, 0.016), (64, 0.008), (256, 0.004)),
    "η ∝ 1/√width, half that": ((16, 0.008), (64, 0.004), (256, 0.002)),
    **{
        f"η {rate:g}": tuple((width, rate) for width in (16, 32, 64, 128, 256))
        for rate in (0.016, 0.008, 0.004, 0.002)
    },
}


def _by_size(value):
    """From the largest to the smallest, by each rule for the learning rate; the last with the
    larger vocabulary.
    """

    def conditions():
        study = load_study("pythia-mini")
        rules = [(name, "factorial", cells) for name, cells in _SIZES.items()] + [
            ("η ∝ 1/√width, 2,048 tokens", "2,048 tokens", _SIZES["η ∝ 1/√width"])
        ]
        return {
            name: _ordered(
                study,
                value,
                {
                    f"width {width}": {"width": width, "learning_rate": rate}
                    for width, rate in reversed(cells)
                },
                arm,
            )
            for name, arm, cells in rules
        }

    return conditions


def _warm_up(kernel):
    """Mean cosine among the checkpoints of the warm-up's 13 steps, and between them and the next
    five.
    """
    cosines, inside = kernel.cosine(), kernel.steps <= 13
    after = np.flatnonzero(~inside)[:5]
    return cosines[np.ix_(inside, inside)].mean(), cosines[np.ix_(inside, after)].mean()


def _warm_up_square():
    study = load_study("pythia-mini")
    return {
        f"width {width}, η {rate:g}": pd.DataFrame(
            {
                label: _column(
                    study,
                    lambda kernel: _warm_up(kernel)[i],
                    {"width": width, "learning_rate": rate},
                    "factorial",
                )
                for i, label in enumerate(("within warm-up", "to the next five"))
            }
        )
        for width, rate in _SIZES["η ∝ 1/width"]
    }


def _rate_alone():
    study = load_study("pythia-mini")
    return {
        f"width {width}": _ordered(
            study,
            "mds",
            {
                f"η {rate:g}": {"width": width, "learning_rate": rate}
                for rate in (0.002, 0.004, 0.008, 0.016)
            },
            "ηλ constant",
        )
        for width in (16, 64, 256)
    }


def _exposure_alone():
    """The factorial has Σηλ = .99 at the lowest rate and 1.98 at the next; the arm 3.95 at both."""
    study = load_study("pythia-mini")
    return {
        f"width {width}, η {rate:g}": pd.DataFrame(
            {
                f"Σηλ {value:g}": _column(
                    study, "mds", {"width": width, "learning_rate": rate}, arm
                )
                for value, arm in ((0, "no decay"), (exposure, "factorial"), (3.95, "ηλ constant"))
            }
        )
        for width in (16, 64, 256)
        for rate, exposure in ((0.002, 0.99), (0.004, 1.98))
    }


# ---- layer by layer ----

_THRESHOLDS = (0.8, 0.9, 0.95, 0.99)
_MATRICES = ("query-key-value weight", "attention out weight", "mlp in weight", "mlp out weight")


def _settled_matrices():
    """When the matrices of the layers settle, query, key and value fused as in the paper: a row a
    seed, group, origin and threshold.
    """
    study = load_study("pythia-mini-layers")
    fused = {
        row.seed: (
            study.kernels[run].group_by(
                lambda name: re.sub(
                    r"attention\.(query|key|value)\.", "attention.query_key_value.", name
                )
            )
        )
        for run, row in study.table.iterrows()
    }
    table = pd.concat(
        [settling(kernel, _THRESHOLDS).assign(seed=seed) for seed, kernel in fused.items()]
    )
    return table[table.part.isin(_MATRICES)].astype({"step": float})


def _by_view(columns, origins=("O", "initialization")):
    """``columns`` of the rows of each origin and threshold."""
    return {
        f"from {origin}, threshold {threshold:g}": columns(rows)
        for (origin, threshold), rows in _settled_matrices().groupby(["origin", "threshold"])
        if origin in origins
    }


def _middle_layers_last():
    """The last of the two middle layers' query-key-value weights, and the last of the other four."""

    def columns(rows):
        rows = rows[rows.part == "query-key-value weight"]
        middle = rows.layer.isin([2, 3])
        return pd.DataFrame(
            {
                "layers 2 and 3: last step": rows[middle].groupby("seed").step.max(),
                "the other four: last step": rows[~middle].groupby("seed").step.max(),
            }
        )

    return _by_view(columns)


def _of_types(columns):
    """``columns`` of the mean step of the layers: a row a seed, a column a type."""
    return lambda: _by_view(
        lambda rows: columns(rows.groupby(["seed", "part"]).step.mean().unstack())
    )


def _attention_last(steps):
    return pd.DataFrame(
        {
            "query-key-value": steps["query-key-value weight"],
            "the latest other type": steps.drop(columns="query-key-value weight").max(axis=1),
        }
    )


def _writing_last(steps):
    return pd.DataFrame(
        {
            "attention out and mlp out": (
                steps[["attention out weight", "mlp out weight"]].mean(axis=1)
            ),
            "query-key-value": steps["query-key-value weight"],
        }
    )


def _front_layers_last():
    def columns(rows):
        rows = rows[rows.part == "query-key-value weight"]
        return pd.DataFrame(
            {
                f"layers {first} and {first + 1}": (
                    rows[rows.layer.isin([first, first + 1])].groupby("seed").step.mean()
                )
                for first in (0, 2, 4)
            }
        )

    return _by_view(columns, ["O"])


_EFFECTIVE = (
    "At fixed η, momentum .9 has ten times the effective rate η/(1−μ); see the row on equal η/(1−μ)"
)
_EXPOSURE = "exposure η·λ·steps/(1−μ), which momentum and η change too"

CLAIMS = (
    Claim(
        "ω rises from both, to no momentum, to no weight decay, to neither",
        "Fig 2, 3, 10",
        "0.764, 0.901, 0.931, 0.979",
        _in_cells("mds", "neither", "no decay", "no momentum", "both"),
        f"{_EFFECTIVE}. The middle pair swaps with λ",
        "04-momentum-and-decay",
    ),
    Claim(
        "top-1 falls in the same order",
        "section 4",
        "about 76, 72.63, 70.86, 68.73 %",
        _in_cells("test_accuracy", "both", "no momentum", "no decay", "neither"),
        "One η and one λ for all cells: ours is past the best λ for so short a run",
        "04-momentum-and-decay",
    ),
    Claim(
        "three dark blocks, their edges at the decays of η",
        "Fig 2",
        "seen in the map",
        _three_blocks,
        "Noise shrinks at a decay too",
        "04-momentum-and-decay",
    ),
    Claim(
        "a lighter sliver beside the initialization",
        "Fig 2, footnote 2",
        "seen in the map",
        _within_cell(
            "both",
            ("checkpoint 1 to the rest", lambda k: k.cosine()[1, 2:].mean()),
            ("initialization to the rest", lambda k: k.cosine()[0, 2:].mean()),
        ),
        "The initialization is random numbers that decay removes, and is farthest in time from the"
        " rest",
        "04-momentum-and-decay",
    ),
    Claim(
        "consecutive updates turn obtuse early",
        "Fig 4(a)",
        "past 90°",
        _within_cell(
            "both",
            ("mean angle, epochs 4 to 9 (°)", _stage_angle(4, 9)),
            ("right angle", _constant(90)),
        ),
        "Noise around a slowly moving point: up to 120°",
        "04-momentum-and-decay",
    ),
    Claim(
        "the angle is larger with momentum",
        "Fig 4(a)",
        "seen in the figure",
        _in_cells(_stage_angle(4, 9), "both", "no momentum"),
        _EFFECTIVE,
        "04-momentum-and-decay",
    ),
    Claim(
        "and larger still with weight decay",
        "Fig 4(a)",
        "seen in the figure",
        _in_cells(_stage_angle(4, 9), "both", "no decay"),
        "With BatchNorm, decay raises the effective angular rate η/‖θ‖²",
        "04-momentum-and-decay",
    ),
    Claim(
        "back to acute right after the first decay",
        "Fig 4(a)",
        "below 90°",
        _within_cell(
            "both", ("right angle", _constant(90)), ("angle at epoch 11 (°)", _stage_angle(11, 11))
        ),
        "Shorter steps change a noise-dominated path to a drifting one; the pair across the decay"
        " is still obtuse",
        "04-momentum-and-decay",
    ),
    Claim(
        "and after the second",
        "Fig 4(a)",
        "below 90°",
        _within_cell(
            "both", ("right angle", _constant(90)), ("angle at epoch 21 (°)", _stage_angle(21, 21))
        ),
        "As above",
        "04-momentum-and-decay",
    ),
    Claim(
        "with momentum a larger angle at the origin",
        "Fig 4(c)",
        "seen in the figure",
        lambda: {
            **{
                f"{name}, with decay": columns
                for name, columns in _in_cells(
                    _final(angles, "apex_origin"), "both", "no momentum"
                )().items()
            },
            **{
                f"{name}, without": columns
                for name, columns in _in_cells(
                    _final(angles, "apex_origin"), "no decay", "neither"
                )().items()
            },
        },
        _EFFECTIVE,
        "04-momentum-and-decay",
    ),
    Claim(
        "and a smaller apex angle at initialization",
        "Fig 4(d)",
        "seen in the figure",
        lambda: {
            **{
                f"{name}, with decay": columns
                for name, columns in _in_cells(
                    _final(angles, "apex_initialization"), "no momentum", "both"
                )().items()
            },
            **{
                f"{name}, without": columns
                for name, columns in _in_cells(
                    _final(angles, "apex_initialization"), "neither", "no decay"
                )().items()
            },
        },
        "The first epoch, against which the angle is taken, is itself longer with momentum",
        "04-momentum-and-decay",
    ),
    Claim(
        "with momentum further from initialization",
        "Fig 4(h)",
        "seen in the figure",
        lambda: {
            **{
                f"{name}, with decay": columns
                for name, columns in _in_cells(
                    _final(norms, "from_initialization"), "both", "no momentum"
                )().items()
            },
            **{
                f"{name}, without": columns
                for name, columns in _in_cells(
                    _final(norms, "from_initialization"), "no decay", "neither"
                )().items()
            },
        },
        _EFFECTIVE,
        "04-momentum-and-decay",
    ),
    Claim(
        "without weight decay momentum makes updates larger",
        "Fig 4(g)",
        "seen in the figure",
        _in_cells(lambda k: norms(k)["updates"][:10].mean(), "no decay", "neither"),
        _EFFECTIVE,
        "04-momentum-and-decay",
    ),
    Claim(
        "without weight decay, with momentum, the norm rises",
        "Fig 4(f)",
        "seen in the figure",
        _within_cell(
            "no decay",
            ("end", _final(norms, "parameters")),
            ("start", lambda k: norms(k)["parameters"][0]),
        ),
        "Scale-invariant weights grow under any noise",
        "04-momentum-and-decay",
    ),
    Claim(
        "with weight decay and momentum it falls",
        "Fig 4(f)",
        "seen in the figure",
        _within_cell(
            "both",
            ("start", lambda k: norms(k)["parameters"][0]),
            ("end", _final(norms, "parameters")),
        ),
        "Decay removes the initialization",
        "04-momentum-and-decay",
    ),
    Claim(
        "update norms shrink within each of the three phases",
        "Fig 4(g), footnote 5",
        "seen in the figure",
        _shrinking_updates,
        "A fixed η on a curved loss, and weights that shrink, do the same",
        "04-momentum-and-decay",
    ),
    Claim(
        "trajectories are redundant: few directions",
        "sections 3, 7",
        "no number",
        _redundant,
        "A random walk with the run's own lengths is more redundant still",
        "04-momentum-and-decay",
    ),
    Claim(
        "SGD: more weight decay, lower ω",
        "Fig 15–19",
        "figures only",
        _decay_sgd,
        f"{_EXPOSURE}: λ = 1e-4 is next to none in so short a run",
        "05-weight-decay",
    ),
    Claim(
        "AdamW: more weight decay, lower ω, up to the least",
        "Fig 5, 20–24",
        "0.885, 0.882, 0.844, 0.679 for λ 0 to 0.1",
        lambda: {
            "up to the λ of least ω": _ordered(
                study := load_study("weight-decay-adamw"),
                "mds",
                {
                    f"λ {d:g}": {"weight_decay": d}
                    for d in sorted(study.table.weight_decay.unique())
                    if d <= study.table.groupby("weight_decay").mds.mean().idxmin()
                },
            )
        },
        _EXPOSURE,
        "05-weight-decay",
    ),
    Claim(
        "AdamW: ω turns up again at the extreme",
        "Fig 5",
        "0.679, then 0.731 at λ = 1",
        _adamw_upturn,
        "Weights shrunk so far that they no longer turn",
        "05-weight-decay",
    ),
    Claim(
        "test accuracy rises with weight decay up to there",
        "Fig 5",
        "71.41, 71.03, 73.38, 75.45 % for λ 0 to 0.1",
        lambda: {
            "up to the λ of least ω": _ordered(
                study := load_study("weight-decay-adamw"),
                "test_accuracy",
                {
                    f"λ {d:g}": {"weight_decay": d}
                    for d in sorted(study.table.weight_decay.unique(), reverse=True)
                    if d <= study.table.groupby("weight_decay").mds.mean().idxmin()
                },
            )
        },
        "Label noise, which decay keeps the network from fitting",
        "05-weight-decay",
    ),
    Claim(
        "at the extreme a darker square from a third of the training on, and a wider band at the"
        " diagonal",
        "Fig 5",
        "seen in the map",
        _darker_square,
        "Weights that no longer turn",
        "05-weight-decay",
    ),
    Claim(
        "at the extreme the network underfits",
        "Fig 5",
        "54.63 / 50.52 % train / test against 75.45 %",
        _underfits,
        "Any strong regularizer does",
        "05-weight-decay",
    ),
    Claim(
        "distance and apex angle confirm the underfitting",
        "C.3",
        "figures only; direction read as: both smaller",
        _extreme_apex,
        "Decay alone takes θ_t − θ_0 to −θ_0, whatever the fit",
        "05-weight-decay",
    ),
    Claim(
        "ω_0 corrects for underfitting: above its level at λ = 0 it means a test accuracy below"
        " that at λ = 0",
        "section 4.2",
        "0.985 at λ = 1, against 0.807 to 0.900",
        _corrects,
        "ω_0 rises with decay because θ_t − θ_0 → −θ_0, before accuracy falls",
        "05-weight-decay",
    ),
    Claim(
        "ViT: more weight decay, lower ω",
        "Fig 25–29",
        "figures only; “similar”",
        _sweep("weight-decay-vit", "weight_decay", labels="λ {:g}"),
        _EXPOSURE,
        "05-weight-decay",
    ),
    Claim(
        "the stronger the decay, the larger the angle at O",
        "Fig 7",
        "a picture",
        lambda: {
            name: _ordered(
                study,
                _final(angles, "apex_origin"),
                {
                    f"λ {d:.3g}": {"weight_decay": d}
                    for d in sorted(study.table.weight_decay.unique(), reverse=True)
                },
            )
            for name, study in (
                ("SGD", load_study("weight-decay-sgd")),
                ("AdamW", load_study("weight-decay-adamw")),
                ("ViT", load_study("weight-decay-vit")),
            )
        },
        "The initialization is forgotten sooner",
        "05-weight-decay",
    ),
    Claim(
        "more momentum, lower ω (ResNet)",
        "Fig 35–39",
        "figures only",
        _sweep("momentum-resnet", "momentum", labels="μ {:g}"),
        _EFFECTIVE,
        "06-momentum-and-rate",
    ),
    Claim(
        "more momentum, lower ω (VGG, four pairs of η and λ)",
        "Fig 40–59",
        "figures only",
        _momentum_vgg,
        _EFFECTIVE,
        "06-momentum-and-rate",
    ),
    Claim(
        "a larger learning rate, lower ω",
        "section 4.3",
        "no numbers",
        _learning_rate,
        _EXPOSURE,
        "06-momentum-and-rate",
    ),
    Claim(
        "(ours) switching μ = .9 off at fixed η raises ω",
        "beyond the paper",
        "",
        _switched_off,
        _EFFECTIVE,
        "06-momentum-and-rate",
    ),
    Claim(
        "(ours) at equal η/(1−μ), μ = .9 still lowers ω",
        "beyond the paper",
        "",
        _equal_effective_rate,
        "What is left may be the finite-time difference between the two recursions",
        "06-momentum-and-rate",
    ),
    Claim(
        "larger batches, lower ω",
        "Fig 6, 60–64",
        "0.753, 0.723, 0.660, 0.619",
        _sweep(
            "batch-size",
            "batch_size",
            arms=("η ∝ B, equal steps", "fixed η, equal steps", "η ∝ B, equal epochs"),
            labels="B {}",
        ),
        "In the paper's design η, η·λ·steps and the epochs all grow with B: the three arms tell"
        " them apart",
        "07-batch-size",
    ),
    Claim(
        "larger batches, higher test accuracy (up to the second largest)",
        "Fig 6",
        "91.63, 91.82, 92.44, 92.39 %",
        _sweep(
            "batch-size",
            "batch_size",
            "test_accuracy",
            reverse=True,
            only=lambda b: b <= 64,
            arms=("η ∝ B, equal steps", "fixed η, equal steps", "η ∝ B, equal epochs"),
            labels="B {}",
        ),
        "At equal steps a larger batch sees more epochs",
        "07-batch-size",
    ),
    Claim(
        "larger batches: angles between updates, and of update and position, more obtuse",
        "C.11",
        "figures only; small batches near 90°",
        _batch_angles,
        "The same three things grow with B",
        "07-batch-size",
    ),
    Claim(
        "SAM: ω rises with ρ",
        "Fig 30–34",
        "slightly; figures only",
        _sam,
        "The weights turn less per epoch at a larger ρ, and the two cannot be told apart",
        "08-sam",
    ),
    Claim(
        "Lemma 1: the printed bounds",
        "Lemma 1, App. A",
        "for any symmetric M",
        lambda: _violations(
            lambda spectrum, setting: quadratic.printed_bounds(spectrum, **setting)
        ),
        "The extreme eigenvalues of M are not the extremes of a cubic",
        "10-the-lemma",
    ),
    Claim(
        "(ours) the bounds over all eigenvalues",
        "beyond the paper",
        "",
        lambda: _violations(
            lambda spectrum, setting: quadratic.bounds(spectrum, form="printed", **setting)
        ),
        "Nothing: it is proved",
        "10-the-lemma",
    ),
    Claim(
        "over two steps on a quadratic, momentum makes the angle larger",
        "Lemma 1",
        "follows from the printed form",
        _momentum_on_quadratics,
        "The printed form has the sign of momentum reversed",
        "10-the-lemma",
    ),
    Claim(
        "a decay of η turns the angle of the pair across it acute",
        "section 4.1",
        "“scales with η_{t+1}”",
        _within_cell(
            "both",
            ("right angle", _constant(90)),
            ("pair across the decay (°)", _stage_angle(10, 10)),
        ),
        "η_{t+1} cancels from the angle",
        "10-the-lemma",
    ),
    Claim(
        "(ours) in full-batch training sharpness rests near 2(1 + μ)/η",
        "section 4.1, Cohen et al.",
        "cited",
        _at_the_edge,
        "With cross-entropy sharpness falls again as the loss does",
        "10-the-lemma",
    ),
    Claim(
        "(ours) weight decay's equilibrium gives the angle between epochs",
        "beyond the paper",
        "",
        _decay_equilibrium,
        "Noise of another origin with the same memory",
        "10-the-lemma",
    ),
    Claim(
        "wider networks: cos(W_T, W_0) of square hidden matrices nearer to 1",
        "App. B",
        "→ 1",
        _departure_with_width(part="hidden"),
        "The rule by which the learning rate falls with width",
        "11-width",
    ),
    Claim(
        "wider networks: cos(θ_T, θ_0) of everything nearer to 1",
        "App. B",
        "assumes that hidden matrices hold most of the norm",
        _departure_with_width(part="*"),
        "As above; in μP it flattens, for the input matrix keeps its share",
        "11-width",
    ),
    Claim(
        "(ours) the slope is −1 in μP and −2 in NTK scaling",
        "App. B, put in numbers",
        "at least √n smaller: −1 or less",
        lambda: {
            "μP SGD, last four octaves": _slope_near("μP SGD", -1, 4),
            "μP Adam, last four octaves": _slope_near("μP Adam", -1, 4),
            "NTK SGD, last two octaves": _slope_near("NTK SGD", -2, 2),
        },
        "Nothing: it follows where features are stable",
        "11-width",
    ),
    Claim(
        "larger language models: higher ω",
        "Fig 8",
        "0.650, 0.672, 0.678, 0.726, 0.759, 0.786, 0.818, 0.815 from 14M to 12B",
        _by_size("mds"),
        "Pythia's peak η, Σηλ and embeddings' share all fall as size grows; at equal η a wider"
        " miniature has a lower ω",
        "12-pythia",
    ),
    Claim(
        "the sliver next to initialization darkens with size",
        "Fig 8",
        "seen in the maps",
        _by_size(lambda kernel: kernel.cosine()[0, -1]),
        "As above",
        "12-pythia",
    ),
    Claim(
        "a small square top-left is the warm-up",
        "Fig 8",
        "seen in the maps",
        _warm_up_square,
        "Early checkpoints also lie closer together in steps",
        "12-pythia",
    ),
    Claim(
        "(ours) at equal Σηλ and width, a smaller η gives a higher ω",
        "beyond the paper",
        "",
        _rate_alone,
        "Adam's step lengths are proportional to η",
        "12-pythia",
    ),
    Claim(
        "(ours) at equal η and width, less decay exposure gives a higher ω",
        "beyond the paper",
        "",
        _exposure_alone,
        "Decay turns all weights away from where they began",
        "12-pythia",
    ),
    Claim(
        "the query-key-value weights of the middle layers converge the latest, among layers",
        "Fig 9, section 7",
        "“converge the latest”; seen in the maps of one run",
        _middle_layers_last,
        "Which layer is last changes with the seed and the threshold, and checkpoints are 40 steps"
        " apart: one run by eye shows neither",
        "13-layer-by-layer",
    ),
    Claim(
        "and later than other types of matrices",
        "Fig 9, 69, 70; one reading of it",
        "no number",
        _of_types(_attention_last),
        "Schedule and decay alone make a matrix settle, and seen from initialization its starting"
        " variance dates it",
        "13-layer-by-layer",
    ),
    Claim(
        "(ours, found in these runs) matrices that write to the residual stream settle after the"
        " query-key-value weights",
        "beyond the paper",
        "",
        _of_types(_writing_last),
        "They start with a smaller variance, so that AdamW on pure noise, too, settles later, but"
        " only from initialization",
        "13-layer-by-layer",
    ),
    Claim(
        "(ours, found in these runs) seen from O, query-key-value weights settle the later the"
        " nearer to the input",
        "beyond the paper",
        "",
        _front_layers_last,
        "Less signal in the gradients of these layers leaves them closer to what AdamW does on"
        " noise; from initialization there is no such order",
        "13-layer-by-layer",
    ),
    Claim(
        "(ours) λ = 1e-4, the paper's own, lowers ω here",
        "beyond the paper",
        "",
        _small_negative,
        "Our first stage has 640 steps, theirs 150,000",
        "04-momentum-and-decay",
    ),
    Claim(
        "(ours) no weight decay stands above no momentum, whatever λ",
        "beyond the paper",
        "0.931 > 0.901 at one λ",
        _middle_pair,
        _EXPOSURE,
        "04-momentum-and-decay",
    ),
)
