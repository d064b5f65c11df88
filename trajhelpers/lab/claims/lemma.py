"""Chapter "Why updates turn back"."""

import numpy as np
import pandas as pd

from ...hallmarks import angles
from ..studies.load import load_study
from ..theory import quadratic
from .columns import column, four_cell_studies, four_cells, stage_angle
from .rule import Claim


def _draws(seed):
    """10,000 quadratics as in chapter 10's appendix: eigenvalues, coordinates, hyperparameters."""
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
    """Measured against predicted angle between the last updates of the first stage, at strides of
    one to five epochs, against 5°.
    """
    study = load_study("decay-scale")
    found = {}
    for momentum in (0.9, 0.0):
        for decay in study.table.weight_decay[study.table.momentum == momentum].unique():
            for stride in range(1, 6):
                epsilon = 0.1 * decay * 64 * stride / (1 - momentum)
                predicted = np.degrees(np.arccos(-(1 - np.exp(-epsilon)) / 2))
                measured = column(
                    study,
                    lambda kernel, k=stride: angles(kernel[:11], k)["consecutive"][-1],
                    {"momentum": momentum, "weight_decay": decay},
                )
                found[f"μ {momentum:g}, λ {decay:.3g}, stride {stride}"] = pd.DataFrame(
                    {"5°": 5.0, "error": (measured - predicted).abs()}
                )
    return found


def _acute_across():
    """In the cell whose angle is obtuse before."""
    return {
        f"{name}, {which} decay": pd.DataFrame(
            {
                "right angle": 90.0,
                "pair across (°)": column(study, stage_angle(at, at), four_cells(study)["both"]),
            }
        )
        for name, study in four_cell_studies()
        for which, at in (("first", 10), ("second", 20))
    }


def _across_a_decay():
    """The pair of epochs across a decay of η, in each cell, above the pair before it."""
    return {
        f"{name}, {cell}, {which} decay": pd.DataFrame(
            {
                label: column(study, stage_angle(at, at), fields)
                for label, at in (("across (°)", across), ("before (°)", across - 1))
            }
        )
        for name, study in four_cell_studies()
        for cell, fields in four_cells(study).items()
        for which, across in (("first", 10), ("second", 20))
    }


CLAIMS = (
    Claim(
        "Lemma 1: the printed bounds",
        "Lemma 1, App. A",
        "for any symmetric M",
        lambda: _violations(
            lambda spectrum, setting: quadratic.printed_bounds(spectrum, **setting)
        ),
        "The extreme eigenvalues of M are not the extremes of a cubic",
        "10-the-lemma",
        span=None,
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
        span=None,
    ),
    Claim(
        "over two steps on a quadratic, momentum makes the angle larger",
        "Lemma 1",
        "follows from the printed form",
        _momentum_on_quadratics,
        "The printed form has the sign of momentum reversed",
        "10-the-lemma",
        span=180,
    ),
    Claim(
        "a decay of η turns the angle of the pair across it acute",
        "section 4.1",
        "“scales with η_{t+1}”",
        _acute_across,
        "η_{t+1} cancels from the angle. (Tested in the paper's cell, with momentum and decay."
        " In the other cells the mean angle is acute in 9 of 18 conditions, and in each of the 18"
        " more obtuse than that of the pair before: next row but one)",
        "10-the-lemma",
        setting="ResNet50 on ImageNet",
        span=180,
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
        "(ours) the pair of epochs across a decay of η is more obtuse than the one before it",
        "beyond the paper",
        "",
        _across_a_decay,
        "A tenth of the drift is left, and noise in stiff directions is taken back within an epoch",
        "10-the-lemma",
        span=180,
    ),
    Claim(
        "(ours, after Kosson et al., Wang and Aitchison) weight decay's equilibrium gives the"
        " angle between updates of one to five epochs",
        "beyond the paper",
        "",
        _decay_equilibrium,
        "At λ = 0 and 1e-4 the prediction is a random walk's; at stride 1 drift and what the noise"
        " lacks can cancel",
        "10-the-lemma",
        span=180,
    ),
)
