"""Read what was run: the table, the kernels and the logs of a study, and the runs of it that are
asked for.
"""

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from ...errors import TrajectoryError
from ...kernel import load_kernel
from ..data import DATA_FOLDER, WHAT_BRINGS_THEM
from .catalogue import STUDIES


class LoadedStudy(NamedTuple):
    """What `load_study` returns."""

    table: pd.DataFrame
    kernels: dict
    log: pd.DataFrame


def load_study(name, folder=None):
    """The runs of a study: a tidy table, the kernels and the logs.

    Parameters
    ----------
    name : str
        E.g. ``"momentum-decay-vgg"``; `trajhelpers study --list` lists them.
    folder : path, optional
        Where you ran ``trajhelpers study NAME --out FOLDER``. By default the runs that come with
        the book, from any working directory.

    Returns
    -------
    LoadedStudy
        ``table``: one row a run and arm, indexed by ``run``, with the recipe's fields by their
        names, ``arm``, ``mds`` (ω), ``relative_mds`` (ω_0), ``train_accuracy``, ``test_accuracy``
        (after training, over all images) or, of language models, ``validation_loss``,
        ``validation_bits`` and ``decay_exposure`` (Σηλ), ``seconds``, and ``diverged`` (why a run
        ended early; its numbers are missing then). ``kernels``: dict from run to TrajectoryKernel.
        ``log``: one row an epoch, as :func:`trajhelpers.training.train` returns it, with a column
        ``run``; of a study that measures them, also ``sharpness`` and ``full_loss`` at every
        checkpoint, or ``loss_outward``, ``loss_across``, ``decay_outward`` and ``decay_across``,
        the forces of :func:`trajhelpers.training.train_with_forces`.

    Raises
    ------
    ValueError
        For a name that is no study.
    FileNotFoundError
        Where the study was not run.
    TrajectoryError
        Where its table names a run outside of its folder.

    Notes
    -----
    What was read stays in memory (the book's studies take some 16 MB) and is read anew
    when a file of the study has changed. Each call returns tables of its own; the kernels, which
    nobody changes, are shared.

    >>> import trajhelpers as th
    >>> study = th.studies.load_study("momentum-decay-vgg")
    >>> sorted(set(study.table.momentum)), study.table.seed.nunique()
    ([0.0, 0.9], 3)
    >>> study.kernels[study.table.index[0]].n
    31
    """
    named_study(name)
    place = (DATA_FOLDER if folder is None else Path(folder)).resolve() / "studies" / name
    if not (place / "runs.csv").is_file():
        remedy = (
            f"the book's runs come with its repository: {WHAT_BRINGS_THEM}. Or run it yourself,"
            f" trajhelpers study {name} --out runs, and give folder='runs'"
            if folder is None
            else f"trajhelpers study {name} --out {folder}"
        )
        raise FileNotFoundError(f"{place / 'runs.csv'}: no such study there; {remedy}")
    table, kernels, log = _read(place, _stamps(place))
    return LoadedStudy(table.copy(), dict(kernels), log.copy())


def runs_with(study, arm=None, **fixed):
    """Which rows of a study's table have these values of fields, in one arm or in all: an array of
    booleans. Floats that agree to nine digits are equal: a rate may be read from a table or
    computed.
    """
    wanted = np.full(len(study.table), True)
    if arm is not None:
        fixed = {"arm": arm, **fixed}
    for field, value in fixed.items():
        values = study.table[field].to_numpy()
        wanted &= (
            np.isclose(values, value, rtol=1e-9, atol=0)
            if isinstance(value, float)
            else values == value
        )
    return wanted


def group_kernels(study, *fields, arm=None, **fixed):
    """The kernels of a study by setting: a dict from a label to the kernels of all seeds.

    Parameters
    ----------
    study : LoadedStudy
    fields : str
        The recipe's fields that tell the settings apart.
    arm : str, optional
        Of that arm only.
    fixed
        Of runs with these values only.

    Returns
    -------
    dict of tuple of the fields' values (or of the one value) → list of TrajectoryKernel, by seed

    >>> import trajhelpers as th
    >>> study = th.studies.load_study("momentum-decay-vgg")
    >>> groups = group_kernels(study, "momentum", weight_decay=0.0)
    >>> {momentum: len(kernels) for momentum, kernels in groups.items()}
    {0.9: 3, 0.0: 3}
    """
    table = study.table[runs_with(study, arm, **fixed)]
    if table.empty:
        raise ValueError(f"no run of this study has {fixed}" + (f" in arm {arm!r}" if arm else ""))
    groups = {}
    for run, row in table.sort_values("seed", kind="stable").iterrows():
        if row.diverged == "":
            groups.setdefault(
                tuple(row[field] for field in fields) if len(fields) > 1 else row[fields[0]], []
            ).append(study.kernels[run])
    wanted = table[list(fields)].drop_duplicates().itertuples(index=False, name=None)
    return {
        key: groups[key]
        for key in (setting if len(fields) > 1 else setting[0] for setting in wanted)
        if key in groups
    }


def named_study(name):
    """The study of that name in the catalogue; ValueError where there is none."""
    if name not in STUDIES:
        elsewhere = " (chapter 15's runs: th.redundancy.load_redundancy())" * (name == "redundancy")
        raise ValueError(f"study: expected one of {', '.join(STUDIES)}; got {name!r}{elsewhere}")
    return STUDIES[name]


def _stamps(place):
    """What changes when a file of the folder is written: also within one tick of the clock, since a
    file that is moved into place is another one.
    """
    statuses = ((path.name, path.stat()) for path in place.iterdir())
    return tuple(sorted((name, s.st_mtime_ns, s.st_size, s.st_ino) for name, s in statuses))


def _kernel_file(place, run):
    """The table may be a stranger's: a name in it leads nowhere else, and a symlink neither."""
    name = f"{run}.npz"
    if "\0" in name or Path(name).name != name or (place / name).resolve().parent != place:
        raise TrajectoryError(
            f"{place / 'runs.csv'}: the run {run!r} leads out of the study's folder; a run is"
            " called as its kernel in there, without .npz"
        )
    return place / name


@lru_cache(maxsize=len(STUDIES))
def _read(place, stamps):
    """``stamps`` says which state of the folder is meant."""
    # some ids are digits all through
    table = pd.read_csv(
        place / "runs.csv", index_col="run", dtype={"run": "str", "diverged": "str"}
    )
    table["diverged"] = table.diverged.fillna("")
    kernels = {
        run: load_kernel(_kernel_file(place, run))
        for run in table.index[table.diverged == ""].unique()
    }
    return table, kernels, pd.read_csv(place / "log.csv", dtype={"run": "str"})
