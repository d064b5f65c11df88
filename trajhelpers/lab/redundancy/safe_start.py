"""From which epoch on BatchNorm's scalars are enough, and whether the map says so beforehand."""

import warnings

import numpy as np
import pandas as pd

from ...errors import TrajectoryWarning
from ...hallmarks import return_to_mean
from . import plan
from .plan import CHECKPOINTS_AN_EPOCH as EACH

# What is looked at, and whether it is small or large when the time has come.
SIGNS = {"turn": 1, "slowest layer": 1, "return to the mean": 1, "loss": -1, "fall of the loss": -1}


def safe_starts(table, arm="batchnorm"):
    """The earliest safe k of each recipe: the first from which on the arm loses less than a point
    to everything, on the mean over seeds.

    Parameters
    ----------
    table : pandas.DataFrame
        As `load_redundancy` gives it.

    Returns
    -------
    pandas.Series
        In epochs, by recipe; 12, the whole run, where none is safe.

    >>> import pandas as pd
    >>> rows = [("a", "decayed", 8, 0.80)] + [
    ...     ("a", "batchnorm", k, accuracy)
    ...     for k, accuracy in zip((1, 2, 3, 5, 8), (.7, .8, .7, .792, .81))]
    >>> table = pd.DataFrame(rows, columns=["recipe", "arm", "at", "test_accuracy"])
    >>> int(safe_starts(table)["a"])
    5
    """
    means = table.groupby(["recipe", "arm", "at"]).test_accuracy.mean()
    found = {}
    for recipe in dict.fromkeys(table.recipe[table.arm == arm]):
        lost = means[recipe, "decayed", plan.DECAY_AT] - means[recipe, arm]
        unsafe = [k for k in lost.index if not lost[k] < plan.SAFE_LOSS]
        found[recipe] = min((k for k in lost.index if k > max(unsafe, default=0)), default=None)
    return pd.Series({name: found[name] or plan.EPOCHS for name in found}, name="safe k")


def signals(kernel, log):
    """What is known of a stem at the end of each epoch.

    Parameters
    ----------
    kernel : TrajectoryKernel
        Of the stem, two checkpoints an epoch, a group a layer.
    log : pandas.DataFrame
        Its rows.

    Returns
    -------
    pandas.DataFrame
        Indexed by epoch: ``turn``, cos(θ_k, θ_{k−1}); ``slowest layer``, the least of its layers';
        ``return to the mean``, of the last half epoch, from the third epoch on; ``loss``, the mean
        training loss of the epoch; ``fall of the loss``, in shares of that of the epoch before.
    """
    epochs = np.arange(1, plan.EPOCHS + 1)
    here, before = EACH * epochs, EACH * (epochs - 1)
    layers = kernel.groups().values()
    back = np.full(len(epochs), np.nan)
    from_third = EACH * epochs - 1 >= 4
    back[from_third] = return_to_mean(kernel, EACH * epochs[from_third] - 1, ahead=1)
    loss = log.sort_values("epoch").running_loss.to_numpy()
    with warnings.catch_warnings():
        # decay can switch a residual branch off: at O its direction is rounding, and turns at will
        warnings.simplefilter("ignore", TrajectoryWarning)
        turns = [layer.cosine_between(None, here, None, before) for layer in layers]
    return pd.DataFrame(
        {
            "turn": kernel.cosine_between(None, here, None, before),
            "slowest layer": np.min(turns, axis=0),
            "return to the mean": back,
            "loss": loss,
            "fall of the loss": np.append(np.nan, 1 - loss[1:] / loss[:-1]),
        },
        index=epochs,
    )


def first_start(values, threshold, sign):
    """The first of the five starts at which a quantity has passed a threshold, 12 where none
    has.

    >>> import pandas as pd
    >>> first_start(pd.Series({1: .1, 2: .4, 3: .6, 5: .5, 8: .9}), .5, sign=1)
    3
    """
    passed = [k for k in plan.STARTS if sign * values[k] >= sign * threshold]
    return passed[0] if passed else plan.EPOCHS


def predicted_starts(observed, safe):
    """The safe k of each recipe, predicted from what was fitted on the others.

    Parameters
    ----------
    observed : dict of str → pandas.DataFrame
        `signals` of each recipe, the mean over its seeds.
    safe : pandas.Series
        `safe_starts`.

    Returns
    -------
    pandas.DataFrame
        A row a recipe; ``safe k``, ``fixed k``, and a column a quantity. Their errors are
        differences of the first to the others, in epochs.
    """
    rows = {}
    for left_out in safe.index:
        others = safe.drop(left_out)
        row = {"safe k": safe[left_out], "fixed k": _fixed(others)}
        for name, sign in SIGNS.items():
            values = {recipe: observed[recipe][name] for recipe in safe.index}
            row[name] = first_start(values[left_out], _threshold(values, others, sign), sign)
        rows[left_out] = row
    return pd.DataFrame.from_dict(rows, orient="index")


def _fixed(safe):
    return _best((*plan.STARTS, plan.EPOCHS), lambda k: np.abs(safe - k).mean())


def _threshold(values, safe, sign):
    """Between two values that were seen, or beyond all of them."""
    seen = np.unique([values[recipe][k] for recipe in safe.index for k in plan.STARTS])
    seen = seen[np.isfinite(seen)]
    return _best(
        [seen[0] - 1, *(seen[1:] + seen[:-1]) / 2, seen[-1] + 1],
        lambda threshold: np.mean(
            [abs(first_start(values[one], threshold, sign) - safe[one]) for one in safe.index]
        ),
    )


def _best(candidates, error):
    """The middle one of those with the least error."""
    errors = np.array([error(one) for one in candidates])
    least = np.flatnonzero(errors <= errors.min() + 1e-12)
    return candidates[least[(len(least) - 1) // 2]]
