"""Chapter "Pythia": the miniature of the suite."""

import numpy as np
import pandas as pd

from ..studies.load import load_study
from .columns import column, ordered
from .rule import Claim

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
            name: ordered(
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


def _within_warm_up(kernel):
    """Mean cosine among the checkpoints of the warm-up's 13 steps."""
    inside = kernel.steps <= 13
    return kernel.cosine()[np.ix_(inside, inside)].mean()


def _out_of_warm_up(kernel):
    """Mean cosine between those and the next five."""
    inside = kernel.steps <= 13
    return kernel.cosine()[np.ix_(inside, np.flatnonzero(~inside)[:5])].mean()


def _warm_up_square():
    study = load_study("pythia-mini")
    values = {"within warm-up": _within_warm_up, "to the next five": _out_of_warm_up}
    return {
        f"width {width}, η {rate:g}": pd.DataFrame(
            {
                label: column(study, value, {"width": width, "learning_rate": rate}, "factorial")
                for label, value in values.items()
            }
        )
        for width, rate in _SIZES["η ∝ 1/width"]
    }


def _rate_alone():
    study = load_study("pythia-mini")
    return {
        f"width {width}": ordered(
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
                f"Σηλ {value:g}": column(study, "mds", {"width": width, "learning_rate": rate}, arm)
                for value, arm in ((0, "no decay"), (exposure, "factorial"), (3.95, "ηλ constant"))
            }
        )
        for width in (16, 64, 256)
        for rate, exposure in ((0.002, 0.99), (0.004, 1.98))
    }


CLAIMS = (
    Claim(
        "larger language models: higher ω",
        "Fig 8",
        "0.650, 0.672, 0.678, 0.726, 0.759, 0.786, 0.818, 0.815 from 14M to 12B",
        _by_size("mds"),
        "Pythia's peak η, Σηλ and embeddings' share all fall as size grows; at equal η the widest"
        " miniature has a lower ω than the narrowest",
        "12-pythia",
        setting="Pythia, 14M to 12B",
    ),
    Claim(
        "the sliver next to initialization darkens with size",
        "Fig 8",
        "seen in the maps",
        _by_size(lambda kernel: kernel.cosine()[0, -1]),
        "As above",
        "12-pythia",
        setting="Pythia, 14M to 12B",
    ),
    Claim(
        "a small square top-left is the warm-up",
        "Fig 8",
        "seen in the maps",
        _warm_up_square,
        "Early checkpoints also lie closer together in steps",
        "12-pythia",
        setting="Pythia, 14M to 12B",
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
)
