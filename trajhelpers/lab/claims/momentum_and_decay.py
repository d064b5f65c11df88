"""Chapter "Switching off momentum and weight decay"."""

import pandas as pd

from ...hallmarks import angles, effective_rank, norms, spectra
from ...nulls import random_walk_like
from .columns import (
    EFFECTIVE,
    column,
    constant,
    final,
    four_cell_studies,
    four_cells,
    in_cells,
    stage_angle,
    within_cell,
)
from .rule import Claim


def _with_momentum(value, larger):
    """A claim that ``value`` is larger with momentum, or smaller: with weight decay and without."""
    rows = {"with decay": ("both", "no momentum"), "without": ("no decay", "neither")}

    def conditions():
        return {
            f"{name}, {row}": columns
            for row, cells in rows.items()
            for name, columns in in_cells(value, *(cells if larger else cells[::-1]))().items()
        }

    return conditions


def _block(stage, other):
    """Mean cosine between the checkpoints of two stages of ten."""
    stages = {1: slice(0, 10), 2: slice(10, 20), 3: slice(20, 31)}
    return lambda kernel: kernel.cosine()[stages[stage], stages[other]].mean()


def _three_blocks():
    """Each stage's mean cosine inside, and to the neighbour that it resembles more."""
    found = {}
    for name, study in four_cell_studies():
        for stage, neighbours in ((1, (2,)), (2, (1, 3)), (3, (2,))):
            inside = column(study, _block(stage, stage), four_cells(study)["both"])
            across = pd.DataFrame(
                {n: column(study, _block(stage, n), four_cells(study)["both"]) for n in neighbours}
            ).max(axis=1)
            found[f"{name}, stage {stage}"] = pd.DataFrame(
                {"inside": inside, "to a neighbour": across}
            )
    return found


def _redundant():
    """How many directions the map uses (effective rank of C), against the number of checkpoints,
    and against the random walk with the run's lengths.
    """
    found = {}
    for name, study in four_cell_studies():
        rank = column(
            study, lambda kernel: effective_rank(spectra(kernel)["C"]), four_cells(study)["both"]
        )
        walk = column(
            study,
            lambda kernel: effective_rank(spectra(random_walk_like(kernel))["C"]),
            four_cells(study)["both"],
        )
        found[f"{name}, against the count"] = pd.DataFrame(
            {
                "checkpoints": column(study, lambda kernel: kernel.n, four_cells(study)["both"]),
                "directions": rank,
            }
        )
        found[f"{name}, against a walk"] = pd.DataFrame({"walk": walk, "directions": rank})
    return found


def _update(at):
    return lambda kernel: norms(kernel)["updates"][at]


def _shrinking_updates():
    return {
        f"{name}, {cell}, phase {phase}": pd.DataFrame(
            {
                "first": column(study, _update(start), fields),
                "last": column(study, _update(stop - 1), fields),
            }
        )
        for name, study in four_cell_studies()
        for cell, fields in four_cells(study).items()
        for phase, (start, stop) in enumerate(((0, 10), (10, 20), (20, 30)), 1)
    }


CLAIMS = (
    Claim(
        "ω rises from both, to no momentum, to no weight decay, to neither",
        "Fig 2, 3, 10",
        "0.764, 0.901, 0.931, 0.979",
        in_cells("mds", "neither", "no decay", "no momentum", "both"),
        f"{EFFECTIVE}. The middle pair swaps with λ",
        "04-momentum-and-decay",
        setting="ResNet50 on ImageNet",
    ),
    Claim(
        "top-1 falls in the same order",
        "section 4",
        "about 76, 72.63, 70.86, 68.73 %",
        in_cells("test_accuracy", "both", "no momentum", "no decay", "neither"),
        "One η and one λ for all cells: ours is past the best λ for so short a run",
        "04-momentum-and-decay",
        setting="ResNet50 on ImageNet",
    ),
    Claim(
        "three dark blocks, their edges at the decays of η",
        "Fig 2",
        "seen in the map",
        _three_blocks,
        "Noise shrinks at a decay too",
        "04-momentum-and-decay",
        setting="ResNet50 on ImageNet",
    ),
    Claim(
        "a lighter sliver beside the initialization",
        "Fig 2, footnote 2",
        "seen in the map",
        within_cell(
            "both",
            ("checkpoint 1 to the rest", lambda k: k.cosine()[1, 2:].mean()),
            ("initialization to the rest", lambda k: k.cosine()[0, 2:].mean()),
        ),
        "The initialization is random numbers that decay removes, and is farthest in time from the"
        " rest",
        "04-momentum-and-decay",
        setting="ResNet50 on ImageNet",
    ),
    Claim(
        "consecutive updates turn obtuse early",
        "Fig 4(a)",
        "past 90°",
        within_cell(
            "both",
            ("mean angle, epochs 4 to 9 (°)", stage_angle(4, 9)),
            ("right angle", constant(90)),
        ),
        "Noise around a slowly moving point: up to 120°",
        "04-momentum-and-decay",
        setting="ResNet50 on ImageNet",
        span=180,
    ),
    Claim(
        "the angle is larger with momentum",
        "Fig 4(a)",
        "seen in the figure",
        in_cells(stage_angle(4, 9), "both", "no momentum"),
        EFFECTIVE,
        "04-momentum-and-decay",
        setting="ResNet50 on ImageNet",
        span=180,
    ),
    Claim(
        "and larger still with weight decay",
        "Fig 4(a)",
        "seen in the figure",
        in_cells(stage_angle(4, 9), "both", "no decay"),
        "With BatchNorm, decay raises the effective angular rate η/‖θ‖²",
        "04-momentum-and-decay",
        setting="ResNet50 on ImageNet",
        span=180,
    ),
    Claim(
        "back to acute right after the first decay",
        "Fig 4(a)",
        "below 90°",
        within_cell(
            "both", ("right angle", constant(90)), ("angle at epoch 11 (°)", stage_angle(11, 11))
        ),
        "Shorter steps change a noise-dominated path to a drifting one; the pair across the decay"
        " is still obtuse",
        "04-momentum-and-decay",
        setting="ResNet50 on ImageNet",
        span=180,
    ),
    Claim(
        "and after the second",
        "Fig 4(a)",
        "below 90°",
        within_cell(
            "both", ("right angle", constant(90)), ("angle at epoch 21 (°)", stage_angle(21, 21))
        ),
        "As above",
        "04-momentum-and-decay",
        setting="ResNet50 on ImageNet",
        span=180,
    ),
    Claim(
        "with momentum a larger angle at the origin",
        "Fig 4(c)",
        "seen in the figure",
        _with_momentum(final(angles, "apex_origin"), larger=True),
        EFFECTIVE,
        "04-momentum-and-decay",
        setting="ResNet50 on ImageNet",
        span=180,
    ),
    Claim(
        "and a smaller apex angle at initialization",
        "Fig 4(d)",
        "seen in the figure",
        _with_momentum(final(angles, "apex_initialization"), larger=False),
        "The first epoch, against which the angle is taken, is itself longer with momentum",
        "04-momentum-and-decay",
        setting="ResNet50 on ImageNet",
        span=180,
    ),
    Claim(
        "with momentum further from initialization",
        "Fig 4(h)",
        "seen in the figure",
        _with_momentum(final(norms, "from_initialization"), larger=True),
        EFFECTIVE,
        "04-momentum-and-decay",
        setting="ResNet50 on ImageNet",
        span=None,
    ),
    Claim(
        "without weight decay momentum makes updates larger",
        "Fig 4(g)",
        "seen in the figure",
        in_cells(lambda k: norms(k)["updates"][:10].mean(), "no decay", "neither"),
        EFFECTIVE,
        "04-momentum-and-decay",
        setting="ResNet50 on ImageNet",
        span=None,
    ),
    Claim(
        "without weight decay, with momentum, the norm rises",
        "Fig 4(f)",
        "seen in the figure",
        within_cell(
            "no decay",
            ("end", final(norms, "parameters")),
            ("start", lambda k: norms(k)["parameters"][0]),
        ),
        "Scale-invariant weights grow under any noise",
        "04-momentum-and-decay",
        setting="ResNet50 on ImageNet",
        span=None,
    ),
    Claim(
        "with weight decay and momentum it falls",
        "Fig 4(f)",
        "seen in the figure",
        within_cell(
            "both",
            ("start", lambda k: norms(k)["parameters"][0]),
            ("end", final(norms, "parameters")),
        ),
        "Decay removes the initialization",
        "04-momentum-and-decay",
        setting="ResNet50 on ImageNet",
        span=None,
    ),
    Claim(
        "update norms shrink within each of the three phases",
        "Fig 4(g), footnote 5",
        "seen in the figure",
        _shrinking_updates,
        "A fixed η on a curved loss, and weights that shrink, do the same",
        "04-momentum-and-decay",
        setting="ResNet50 on ImageNet",
        span=None,
    ),
    Claim(
        "trajectories are redundant: few directions",
        "sections 3, 7",
        "no number",
        _redundant,
        "A random walk with the run's own lengths is more redundant still",
        "04-momentum-and-decay",
        setting="ResNet50 on ImageNet",
        span=None,
    ),
)
