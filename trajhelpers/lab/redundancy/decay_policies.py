"""When to decay η: what each policy chooses, and which accuracy the study has for it."""

import numpy as np
import pandas as pd

from ...hallmarks import return_to_mean
from . import plan


def decay_times(kernel, log):
    """When each policy decays η, of a stem at constant η.

    Parameters
    ----------
    kernel : TrajectoryKernel
        Of the stem.
    log : pandas.DataFrame
        Its rows.

    Returns
    -------
    dict of str → int
        ``"a third"``, ``"two thirds"``, ``"return to the mean"``, ``"plateau"``: one of the five
        times of the study, in epochs, or 12, where it never decays.
    """
    places = np.arange(4, kernel.n - 1)
    positive = places[return_to_mean(kernel, places, ahead=1) > 0]
    loss = log.sort_values("epoch").running_loss.to_numpy()
    best = np.minimum.accumulate(loss)[:-1]
    flat = np.flatnonzero(loss[1:] > (1 - plan.IMPROVEMENT) * best)
    return {
        "a third": plan.EPOCHS // 3,
        "two thirds": 2 * plan.EPOCHS // 3,
        "return to the mean": next_time((positive + 1) / plan.CHECKPOINTS_AN_EPOCH),
        "plateau": next_time(flat + 2),
    }


def next_time(signals):
    """The first of the study's five times that is not before the first signal; 12 where there is
    none.

    >>> next_time([4.5, 7]), next_time([11]), next_time([])
    (6, 12, 12)
    """
    for time in plan.DECAYS:
        if len(signals) and time >= signals[0]:
            return time
    return plan.EPOCHS


def policy_accuracies(study):
    """The test accuracy of each policy, of each run.

    Parameters
    ----------
    study : LoadedRedundancy

    Returns
    -------
    pandas.DataFrame
        A row a recipe and seed; columns the policies of `decay_times`, ``"random"`` (the mean of
        the five times), ``"best of five"`` (hindsight) and ``"never"``.
    """
    rows = {}
    for (name, seed), runs in study.table.groupby(["recipe", "seed"], sort=False):
        accuracy = runs[runs.arm == "decayed"].set_index("at").test_accuracy
        never = runs[runs.arm == "none"].test_accuracy.item()
        of_run = (study.log.recipe == name) & (study.log.seed == seed)
        times = decay_times(study.kernels[name, seed, "stem"], study.log[of_run])
        rows[name, seed] = {
            policy: never if time == plan.EPOCHS else accuracy[time]
            for policy, time in times.items()
        } | {"random": accuracy.mean(), "best of five": accuracy.max(), "never": never}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(["recipe", "seed"])
