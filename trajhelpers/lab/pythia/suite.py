"""The Pythia suite as the paper studies it."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from ...kernel import load_kernel
from ..data import DATA_FOLDER

STEPS = 143_000
WEIGHT_DECAY = 0.1
_WARMUP_STEPS = STEPS // 100
_FLOOR = 0.1  # of the peak learning rate
_BYTES = 2  # a parameter: float16, or bfloat16 for 1b


class PythiaModel(NamedTuple):
    """A model of the suite. ``paper_mds`` is ω of the paper's 39 checkpoints, None where it has
    none.
    """

    vocabulary: int
    layers: int
    hidden: int
    heads: int
    peak_rate: float
    paper_mds: float | None = None

    @property
    def parameters(self):
        """How many numbers θ holds."""
        per_layer = 12 * self.hidden**2 + 13 * self.hidden
        return 2 * self.vocabulary * self.hidden + self.layers * per_layer + 2 * self.hidden

    @property
    def tensors(self):
        """How many tensors θ is made of."""
        return 4 + 12 * self.layers


# EleutherAI/pythia, models/*/*.yml, and the paper. For 1b the model card and the README of that
# repository say 3e-4.
SUITE = {
    "14m": PythiaModel(50304, 6, 128, 4, 1e-3, 0.650),
    "31m": PythiaModel(50304, 6, 256, 8, 1e-3),
    "70m": PythiaModel(50304, 6, 512, 8, 1e-3, 0.672),
    "160m": PythiaModel(50304, 12, 768, 12, 6e-4, 0.678),
    "410m": PythiaModel(50304, 24, 1024, 16, 3e-4, 0.726),
    "1b": PythiaModel(50304, 16, 2048, 8, 2.5e-4),
    "1.4b": PythiaModel(50304, 24, 2048, 16, 2e-4, 0.759),
    "2.8b": PythiaModel(50304, 32, 2560, 32, 1.6e-4, 0.786),
    "6.9b": PythiaModel(50432, 32, 4096, 32, 1.2e-4, 0.818),
    "12b": PythiaModel(50688, 36, 5120, 40, 1.2e-4, 0.815),
}


def pythia_suite():
    """The suite as a table, one row a model.

    Returns
    -------
    pandas.DataFrame
        ``vocabulary``, ``layers``, ``hidden``, ``heads``, ``parameters``, ``tensors``;
        ``embedding_share``, that of input and output embedding in all parameters; ``peak_rate``, η;
        ``decay_exposure``, Σηλ over the 143,000 steps, with 1 % of warm-up and a cosine to a tenth
        of the peak, λ = 0.1; ``decay_exposure_as_run``; ``paper_mds``, ω (NaN for the two that the
        paper leaves out); ``bytes_39`` and ``bytes_154``, of every fourth checkpoint and of all, at
        two bytes a parameter.

    Notes
    -----
    gpt-neox, as it was when the suite was trained, let the cosine fall towards zero and cut it off
    at a tenth of the peak (its pull request 1008 changed that): ``decay_exposure_as_run`` sums that
    schedule. It is 6 % less, for all models alike.

    Source: EleutherAI/pythia, ``models/*/*.yml``; Fig 8 of the paper; chapter "Pythia".

    >>> columns = ["parameters", "embedding_share", "peak_rate", "decay_exposure", "paper_mds"]
    >>> pythia_suite().loc[["14m", "12b"], columns].round(4)
          parameters  embedding_share  peak_rate  decay_exposure  paper_mds
    14m     14067712           0.9154     0.0010          7.8579      0.650
    12b  11846072320           0.0438     0.0001          0.9430      0.815
    """
    stated, as_run = WEIGHT_DECAY * _rates().sum(), WEIGHT_DECAY * _rates_as_run().sum()
    return pd.DataFrame.from_dict(
        {
            name: {
                "vocabulary": model.vocabulary,
                "layers": model.layers,
                "hidden": model.hidden,
                "heads": model.heads,
                "parameters": model.parameters,
                "tensors": model.tensors,
                "embedding_share": 2 * model.vocabulary * model.hidden / model.parameters,
                "peak_rate": model.peak_rate,
                "decay_exposure": model.peak_rate * stated,
                "decay_exposure_as_run": model.peak_rate * as_run,
                "paper_mds": np.nan if model.paper_mds is None else model.paper_mds,
                "bytes_39": 39 * _BYTES * model.parameters,
                "bytes_154": 154 * _BYTES * model.parameters,
            }
            for name, model in SUITE.items()
        },
        orient="index",
    )


def pythia_kernels(folder=None):
    """The kernels of the suite that someone has computed.

    Parameters
    ----------
    folder : path, optional
        Where ``14m.npz``, ``70m.npz`` … lie; by default ``data/pythia/`` of the book's repository.

    Returns
    -------
    dict
        From a model's name, in the order of size, to its TrajectoryKernel. Empty where there are
        none: none come with the book.
    """
    folder = DATA_FOLDER / "pythia" if folder is None else Path(folder)
    return {
        name: load_kernel(folder / f"{name}.npz")
        for name in SUITE
        if (folder / f"{name}.npz").is_file()
    }


def _rates():
    """η of every step, of a peak of 1."""
    step = np.arange(STEPS)
    cosine = (1 + np.cos(np.pi * (step - _WARMUP_STEPS) / (STEPS - _WARMUP_STEPS))) / 2
    return np.where(
        step < _WARMUP_STEPS, (step + 1) / _WARMUP_STEPS, _FLOOR + (1 - _FLOOR) * cosine
    )


def _rates_as_run():
    step = np.arange(STEPS)
    cosine = (1 + np.cos(np.pi * (step - _WARMUP_STEPS) / STEPS)) / 2
    return np.where(step <= _WARMUP_STEPS, step / _WARMUP_STEPS, np.maximum(cosine, _FLOOR))
