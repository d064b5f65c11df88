"""Chapter "Layer by layer"."""

import re
from functools import lru_cache

import pandas as pd

from ..pythia.parts import part_of
from ..pythia.settle import settling
from ..studies.load import load_study
from .rule import Claim

_THRESHOLDS = (0.8, 0.9, 0.95, 0.99)
_MATRICES = ("query-key-value weight", "attention out weight", "mlp in weight", "mlp out weight")


@lru_cache(maxsize=8)  # four claims look at the same few kernels
def _settled_matrices(kernel):
    """When the matrices of the layers settle, query, key and value fused as in the paper: a row a
    group, origin and threshold.
    """
    fused = kernel.group_by(
        lambda name: re.sub(r"attention\.(query|key|value)\.", "attention.query_key_value.", name)
    )
    matrices = fused.select([name for name in fused.names if part_of(name) in _MATRICES])
    return settling(matrices, _THRESHOLDS).astype({"step": float})


def _by_view(columns, origins=("O", "initialization")):
    """``columns`` of the rows of each origin and threshold, a row a seed."""
    study = load_study("pythia-mini-layers")
    settled = pd.concat(
        _settled_matrices(study.kernels[run]).assign(seed=seed)
        for run, seed in study.table.seed[study.table.diverged == ""].items()
    )
    return {
        f"from {origin}, threshold {threshold:g}": columns(rows).reindex(study.table.seed)
        for (origin, threshold), rows in settled.groupby(["origin", "threshold"])
        if origin in origins
    }


def _middle_layers_last():
    """The later of the two middle layers' query-key-value weights, and the last of the others."""

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


CLAIMS = (
    Claim(
        "the query-key-value weights of the middle layers converge the latest, among layers",
        "Fig 9, section 7",
        "“converge the latest”; seen in the maps of one run",
        _middle_layers_last,
        "Which layer is last changes with the seed and the threshold, and checkpoints are 40 steps"
        " apart: one run by eye shows neither",
        "13-layer-by-layer",
        setting="Pythia-14M",
        span=None,
    ),
    Claim(
        "and later than other types of matrices",
        "Fig 9, 69, 70; one reading of it",
        "no number",
        _of_types(_attention_last),
        "Schedule and decay alone make a matrix settle, and seen from initialization its starting"
        " variance dates it",
        "13-layer-by-layer",
        setting="Pythia-14M",
        span=None,
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
        span=None,
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
        span=None,
    ),
)
