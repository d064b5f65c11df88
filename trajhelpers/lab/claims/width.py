"""Chapter "The width argument"."""

import pandas as pd

from ..studies.load import load_study
from ..theory.width import departure, local_slopes, slope
from .columns import column, ordered
from .rule import Claim


def _departure_with_width(*arms, part, widths=None):
    """1 − cos(θ_T, θ_0) of hidden matrices, or of everything, from narrow to wide."""

    def conditions():
        study = load_study("width")
        return {
            arm: ordered(
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
            n: column(
                study, lambda kernel: departure(kernel.select("hidden"))[-1], {"width": n}, arm
            )
            for n in widths
        }
    )
    fitted = values.dropna().apply(
        lambda row: slope(widths, row).slope if octaves > 1 else local_slopes(widths, row)[0],
        axis=1,
    )
    # a seed that diverged at one width has no slope
    distance = (fitted - expected).abs().reindex(values.index)
    return pd.DataFrame({"a tenth": 0.1, f"|slope − ({expected})|": distance})


CLAIMS = (
    Claim(
        "wider networks: cos(W_T, W_0) of square hidden matrices nearer to 1",
        "App. B",
        "→ 1",
        _departure_with_width(part="hidden"),
        "The rule by which the learning rate falls with width",
        "11-width",
        span=None,
    ),
    Claim(
        "wider networks: cos(θ_T, θ_0) of everything nearer to 1",
        "App. B",
        "assumes that hidden matrices hold most of the norm",
        _departure_with_width(part="*"),
        "As above; in μP it flattens, for the input matrix keeps its share",
        "11-width",
        span=None,
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
        span=None,
    ),
)
