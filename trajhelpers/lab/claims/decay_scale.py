"""Chapter "Switching off momentum and weight decay": what depends on how large λ is."""

from ..studies.load import load_study
from .columns import EXPOSURE, ordered
from .rule import Claim


def _small_negative():
    study = load_study("decay-scale")
    return {
        f"μ {m:g}": ordered(
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
        f"λ {decay:.3g}": ordered(
            study,
            "mds",
            {"no decay": no_decay, "no momentum": {"momentum": 0.0, "weight_decay": decay}},
        )
        for decay in sorted(study.table.weight_decay.unique())[1:]
    }


CLAIMS = (
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
        EXPOSURE,
        "04-momentum-and-decay",
    ),
)
