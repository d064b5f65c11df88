"""Chapter "Weight decay"."""

from ...hallmarks import angles, norms
from ..studies.load import load_study
from .columns import EXPOSURE, final, ordered, sweep
from .rule import Claim, outcome


def _decay_sgd():
    study = load_study("weight-decay-sgd")
    decays = sorted(study.table.weight_decay.unique())
    return {
        name: ordered(study, "mds", {f"λ {d:.3g}": {"weight_decay": d} for d in values})
        for name, values in (("up to the matched λ", decays[:-1]), ("and to twice of it", decays))
    }


def _adamw_upturn():
    study = load_study("weight-decay-adamw")
    means = study.table.groupby("weight_decay").mds.mean()
    least, most = means.idxmin(), means.index.max()
    settings = {f"λ {most:g}": {"weight_decay": most}, f"λ {least:g}": {"weight_decay": least}}
    return (
        {"the largest λ against the one of least ω": ordered(study, "mds", settings)}
        if least != most
        else {
            "the largest λ has the least ω": ordered(
                study,
                "mds",
                {
                    "previous": {"weight_decay": means.index[-2]},
                    "largest": {"weight_decay": most},
                },
            ).iloc[:, ::-1]
        }
    )


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
        "square from a third on": ordered(
            study, lambda kernel: kernel.cosine()[10:, 10:].mean(), settings
        ),
        "band: three epochs apart, first stage": ordered(
            study, lambda kernel: kernel.cosine().diagonal(3)[1:8].mean(), settings
        ),
    }


def _underfits():
    study = load_study("weight-decay-adamw")
    most, best = (
        study.table.weight_decay.max(),
        study.table.groupby("weight_decay").test_accuracy.mean().idxmax(),
    )
    return {
        f"{name} accuracy": ordered(
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
        "final apex angle at initialization": ordered(
            study, lambda kernel: angles(kernel)["apex_initialization"][-1], settings
        ),
        "final distance from initialization": ordered(
            study, lambda kernel: norms(kernel)["from_initialization"][-1], settings
        ),
    }


def _corrects():
    """Where ω_0 stands above that of λ = 0, does the network underfit (test accuracy below that of
    λ = 0)?
    """
    found = {}
    for name, study in (("AdamW", "weight-decay-adamw"), ("SGD", "weight-decay-sgd")):
        study = load_study(study)
        for decay in sorted(study.table.weight_decay.unique())[1:]:
            settings = {"here": {"weight_decay": decay}, "λ 0": {"weight_decay": 0.0}}
            if outcome(ordered(study, "relative_mds", settings)).holds:
                found[f"{name}, λ {decay:.3g}, accuracy"] = ordered(
                    study, "test_accuracy", dict(reversed(settings.items()))
                )
    return found


CLAIMS = (
    Claim(
        "SGD: more weight decay, lower ω",
        "Fig 15–19",
        "figures only",
        _decay_sgd,
        f"{EXPOSURE}: λ = 1e-4 is next to none in so short a run",
        "05-weight-decay",
        setting="ResNet50 on ImageNet",
    ),
    Claim(
        "AdamW: more weight decay, lower ω, up to the least",
        "Fig 5, 20–24",
        "0.885, 0.882, 0.844, 0.679 for λ 0 to 0.1",
        lambda: {
            "up to the λ of least ω": ordered(
                study := load_study("weight-decay-adamw"),
                "mds",
                {
                    f"λ {d:g}": {"weight_decay": d}
                    for d in sorted(study.table.weight_decay.unique())
                    if d <= study.table.groupby("weight_decay").mds.mean().idxmin()
                },
            )
        },
        EXPOSURE,
        "05-weight-decay",
        setting="ResNet50 on ImageNet",
    ),
    Claim(
        "AdamW: ω turns up again at the extreme",
        "Fig 5",
        "0.679, then 0.731 at λ = 1",
        _adamw_upturn,
        "Weights shrunk so far that they no longer turn",
        "05-weight-decay",
        setting="ResNet50 on ImageNet",
    ),
    Claim(
        "test accuracy rises with weight decay up to there",
        "Fig 5",
        "71.41, 71.03, 73.38, 75.45 % for λ 0 to 0.1",
        lambda: {
            "up to the λ of least ω": ordered(
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
        setting="ResNet50 on ImageNet",
    ),
    Claim(
        "at the extreme a darker square from a third of the training on, and a wider band at the"
        " diagonal",
        "Fig 5",
        "seen in the map",
        _darker_square,
        "Weights that no longer turn",
        "05-weight-decay",
        setting="ResNet50 on ImageNet",
    ),
    Claim(
        "at the extreme the network underfits",
        "Fig 5",
        "54.63 / 50.52 % train / test against 75.45 %",
        _underfits,
        "Any strong regularizer does",
        "05-weight-decay",
        setting="ResNet50 on ImageNet",
    ),
    Claim(
        "distance and apex angle confirm the underfitting",
        "C.3",
        "figures only; direction read as: both smaller",
        _extreme_apex,
        "Decay alone takes θ_t − θ_0 to −θ_0, whatever the fit",
        "05-weight-decay",
        setting="ResNet50 on ImageNet",
        span=None,
    ),
    Claim(
        "ω_0 corrects for underfitting: above its level at λ = 0 it means a test accuracy below"
        " that at λ = 0",
        "section 4.2",
        "0.985 at λ = 1, against 0.807 to 0.900",
        _corrects,
        "ω_0 rises with decay because θ_t − θ_0 → −θ_0, before accuracy falls",
        "05-weight-decay",
        setting="ResNet50 on ImageNet",
    ),
    Claim(
        "ViT: more weight decay, lower ω",
        "Fig 25–29",
        "figures only; “similar”",
        sweep("weight-decay-vit", "weight_decay", labels="λ {:g}"),
        EXPOSURE,
        "05-weight-decay",
        setting="ViT on ImageNet",
    ),
    Claim(
        "the stronger the decay, the larger the angle at O",
        "Fig 7",
        "a picture",
        lambda: {
            name: ordered(
                study,
                final(angles, "apex_origin"),
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
        span=180,
    ),
)
