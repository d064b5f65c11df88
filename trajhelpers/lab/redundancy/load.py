"""Read what the study of redundancy left."""

from pathlib import Path
from typing import NamedTuple

import pandas as pd

from ...kernel import load_kernel
from ..data import DATA_FOLDER, WHAT_BRINGS_THEM
from . import plan


class LoadedRedundancy(NamedTuple):
    """What `load_redundancy` returns."""

    table: pd.DataFrame
    log: pd.DataFrame
    kernels: dict


def load_redundancy(folder=None):
    """The study of redundancy: a table, the logs of the stems, and kernels.

    Parameters
    ----------
    folder : path, optional
        Where you ran ``python -m trajhelpers.lab.redundancy.run --out FOLDER``. By default what
        comes with the book.

    Returns
    -------
    LoadedRedundancy
        ``table``: one row a fork: ``recipe``, ``seed``, ``arm``, ``at`` (the epoch where it leaves
        the stem), ``step`` (where it ends), ``test_loss``, ``test_accuracy`` over all 10,000 test
        images, ``cpu_seconds``; ``"decayed anew"`` is ``"decayed"`` with BatchNorm's statistics
        taken anew; of pauses also the ``order`` of the layers, the steps at which they are
        ``paused`` by depth, and ``parameter_steps``. ``log``: one row an epoch of each stem.
        ``kernels``: by ``(recipe, seed, "stem")``, constant η, and ``(recipe, seed, "decayed")``, η
        × .1 from epoch 8 on: 25 checkpoints, a group a layer. ``(recipe, 100, "decayed")`` is the
        scout's.

    Raises
    ------
    FileNotFoundError
        Where the study was not run.

    >>> study = load_redundancy()
    >>> study.kernels["VGG, clean", 0, "stem"].n, sorted(set(study.table.arm))[:4]
    (25, ['batchnorm', 'decayed', 'decayed anew', 'ema'])
    """
    place = (DATA_FOLDER if folder is None else Path(folder)).resolve() / "redundancy"
    if not (place / "runs.csv").is_file():
        raise FileNotFoundError(
            f"{place / 'runs.csv'}: no study of redundancy there; the book's comes with its"
            f" repository: {WHAT_BRINGS_THEM}. Or run it yourself,"
            " python -m trajhelpers.lab.redundancy.run --out FOLDER, and give that folder"
        )
    table = pd.read_csv(place / "runs.csv")
    runs = [(name, seed) for name, seed in table[["recipe", "seed"]].drop_duplicates().to_numpy()]
    wanted = [(*run, kind) for run in runs for kind in ("stem", "decayed")]
    wanted += [(name, plan.SCOUT, "decayed") for name in plan.PAUSED]
    kernels = {key: load_kernel(place / kernel_name(*key)) for key in wanted}
    return LoadedRedundancy(table, pd.read_csv(place / "log.csv"), kernels)


def kernel_name(recipe, seed, kind):
    """The file of a kernel.

    >>> kernel_name("VGG, noisy, no decay", 2, "stem")
    'vgg-noisy-no-decay-2-stem.npz'
    """
    return f"{recipe.lower().replace(',', '').replace(' ', '-')}-{seed}-{kind}.npz"
