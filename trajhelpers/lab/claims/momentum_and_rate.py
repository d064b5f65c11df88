"""Chapter "Momentum and learning rate"."""

from ..studies.load import load_study
from .columns import EFFECTIVE, EXPOSURE, largest_decay, ordered, sweep
from .rule import Claim


def _momentum_vgg():
    study = load_study("momentum-vgg")
    on = largest_decay(study)
    return {
        f"η {rate:g}, λ {decay:.3g}": ordered(
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
        f"λ {decay:.3g}": ordered(
            study,
            "mds",
            {
                f"{rate:g}": {"learning_rate": rate, "weight_decay": decay}
                for rate in (0.01, 0.03, 0.1, 0.3)
            },
        )
        for decay in (largest_decay(study), 0.0)
    }


def _switched_off():
    study = load_study("effective-rate")
    return {
        f"{arm}, λ {decay:.3g}, η .1": ordered(
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


def _equal_effective_rate():
    study = load_study("effective-rate")
    found = {}
    for arm, table in study.table.groupby("arm", sort=False):
        on = table.weight_decay.max()
        for decay in (on, 0.0):
            for effective in (0.1, 0.2, 1.0):
                found[f"{arm}, λ {decay:.3g}, η/(1−μ) {effective:g}"] = ordered(
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


CLAIMS = (
    Claim(
        "more momentum, lower ω (ResNet)",
        "Fig 35–39",
        "figures only",
        sweep("momentum-resnet", "momentum", labels="μ {:g}"),
        EFFECTIVE,
        "06-momentum-and-rate",
        setting="ResNet50 on ImageNet",
    ),
    Claim(
        "more momentum, lower ω (VGG, four pairs of η and λ)",
        "Fig 40–59",
        "figures only",
        _momentum_vgg,
        EFFECTIVE,
        "06-momentum-and-rate",
        setting="VGG16 on CIFAR-10",
    ),
    Claim(
        "a larger learning rate, lower ω",
        "section 4.3",
        "no numbers",
        _learning_rate,
        EXPOSURE,
        "06-momentum-and-rate",
        setting="ResNet50 on ImageNet, VGG16 on CIFAR-10",
    ),
    Claim(
        "(ours) switching μ = .9 off at fixed η raises ω",
        "beyond the paper",
        "",
        _switched_off,
        EFFECTIVE,
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
)
