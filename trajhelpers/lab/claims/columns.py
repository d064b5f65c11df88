"""What claims compare: columns of one value a seed, from the runs of a study; and what could
explain more than one of them.
"""

import numpy as np
import pandas as pd

from ...hallmarks import angles
from ..studies.load import load_study, runs_with

EFFECTIVE = (
    "At fixed η, momentum .9 has ten times the effective rate η/(1−μ); see the row on equal η/(1−μ)"
)
EXPOSURE = "exposure η·λ·steps/(1−μ), which momentum and η change too"


def column(study, value, field_values, arm=None):
    """One value a seed, of the runs with these values of fields; NaN for a run that diverged.

    ``value`` is a column of the study's table, or a function of a kernel.
    """
    wanted = runs_with(study, arm, **field_values)
    seeds = study.table.seed[wanted]
    if seeds.empty or not seeds.is_unique:
        raise ValueError(
            f"expected one run a seed for {field_values}"
            + f" in arm {arm!r}" * bool(arm)
            + f", got {len(seeds)}"
        )
    if not callable(value):
        return pd.Series(study.table[value].to_numpy()[wanted], seeds)
    return pd.Series(
        [value(study.kernels[run]) if run in study.kernels else np.nan for run in seeds.index],
        seeds,
    )


def ordered(study, value, settings, arm=None):
    """Columns in the claimed, falling order: ``settings`` from a label to the fields' values."""
    return pd.DataFrame(
        {label: column(study, value, fields, arm) for label, fields in settings.items()}
    )


def largest_decay(study):
    """The λ of the four cells."""
    return study.table.weight_decay.max()


_FOUR_CELL_STUDIES = {
    "VGG": "momentum-decay-vgg",
    "ResNet": "momentum-decay-resnet",
    "VGG, clean labels": "clean-labels",
}


def four_cell_studies():
    """The studies that have the four cells: (name of the network, study)."""
    return [(name, load_study(study)) for name, study in _FOUR_CELL_STUDIES.items()]


def four_cells(study):
    """Momentum and weight decay on or off: from a cell's name to the values of its fields."""
    on = largest_decay(study)
    return {
        "neither": {"momentum": 0, "weight_decay": 0},
        "no decay": {"momentum": 0.9, "weight_decay": 0},
        "no momentum": {"momentum": 0, "weight_decay": on},
        "both": {"momentum": 0.9, "weight_decay": on},
    }


def in_cells(value, *order):
    """A claim on the four cells, looked at in each network: columns of ``order``."""

    def conditions():
        return {
            name: ordered(study, value, {cell: four_cells(study)[cell] for cell in order})
            for name, study in four_cell_studies()
        }

    return conditions


def within_cell(cell, *values):
    """A claim on quantities of one cell: ``values`` are (label, function of a kernel), in the
    claimed falling order.
    """

    def conditions():
        return {
            name: pd.DataFrame(
                {label: column(study, value, four_cells(study)[cell]) for label, value in values}
            )
            for name, study in four_cell_studies()
        }

    return conditions


def sweep(study, field, value="mds", reverse=False, arms=None, labels="{:g}", only=None, **fixed):
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
            found[arm or "all values"] = ordered(loaded, value, settings, arm)
        return found

    return conditions


def constant(level):
    """Of every kernel the same number."""
    return lambda kernel: level


def final(family, name):
    """The last number of a hallmark: ``family`` is `angles` or `norms`."""
    return lambda kernel: family(kernel)[name][-1]


def stage_angle(first, last):
    """Mean angle between consecutive updates, in degrees, over the pairs that meet at checkpoints
    first … last.
    """
    return lambda kernel: angles(kernel)["consecutive"][first - 1 : last].mean()
