"""Chapters "Batch size" and "Sharpness-aware minimization"."""

from ...hallmarks import angles
from ..studies.load import load_study
from .columns import ordered, stage_angle, sweep
from .rule import Claim


def _batch_angles():
    study = load_study("batch-size")
    found = {}
    for arm in study.table.arm.unique():
        batches = sorted(study.table.batch_size.unique(), reverse=True)
        for name, value in (
            ("between updates", stage_angle(2, 9)),
            ("update, position", lambda kernel: angles(kernel)["update_position"][2:10].mean()),
        ):
            found[f"{name}; {arm}"] = ordered(
                study, value, {f"B {b}": {"batch_size": b} for b in batches}, arm
            )
    return found


def _sam():
    study = load_study("sam")
    learns = study.table.groupby("sam_rho").train_accuracy.mean() > 0.5
    radii = sorted(study.table.sam_rho.unique(), reverse=True)
    return {
        name: ordered(study, "mds", {f"ρ {rho:g}": {"sam_rho": rho} for rho in some})
        for name, some in (
            ("all radii", radii),
            ("radii with training accuracy above one half", [rho for rho in radii if learns[rho]]),
        )
    }


CLAIMS = (
    Claim(
        "larger batches, lower ω",
        "Fig 6, 60–64",
        "0.753, 0.723, 0.660, 0.619",
        sweep(
            "batch-size",
            "batch_size",
            arms=("η ∝ B, equal steps", "fixed η, equal steps", "η ∝ B, equal epochs"),
            labels="B {}",
        ),
        "In the paper's design η, η·λ·steps and the epochs all grow with B: the three arms tell"
        " them apart",
        "07-batch-size",
        setting="VGG16 on CIFAR-10",
    ),
    Claim(
        "larger batches, higher test accuracy (up to the second largest)",
        "Fig 6",
        "91.63, 91.82, 92.44, 92.39 %",
        sweep(
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
        setting="VGG16 on CIFAR-10",
    ),
    Claim(
        "larger batches: angles between updates, and of update and position, more obtuse",
        "C.11",
        "figures only; small batches near 90°",
        _batch_angles,
        "The same three things grow with B",
        "07-batch-size",
        setting="VGG16 on CIFAR-10",
        span=180,
    ),
    Claim(
        "SAM: ω rises with ρ",
        "Fig 30–34",
        "slightly; figures only",
        _sam,
        "The weights turn less per epoch at a larger ρ; a lower rate that turns them as little"
        " raises ω by less",
        "08-sam",
        setting="ResNet50 on ImageNet",
    ),
)
