"""When each group of parameters settles, and one table of how far and how straight each of them
went.
"""

import numpy as np
import pandas as pd

from ...hallmarks import mds
from .parts import layer_of, part_of

_SEEN_FROM = {"O": None, "initialization": 0}


def cosine_to_end(kernel, origin=None):
    """The cosine of every checkpoint to the last one, both seen from ``origin``: a column of C or
    of C_τ.

    Parameters
    ----------
    origin : int, optional
        A checkpoint's index, or None for O.

    Returns
    -------
    array, shape (n,)
        NaN for a checkpoint without a direction: the origin itself, and what equals it. No row is
        left out.

    >>> import numpy as np, trajhelpers as th
    >>> cosine_to_end(th.TrajectoryKernel(np.eye(3)), origin=0).round(3)
    array([  nan, 0.707, 1.   ])
    """
    return kernel.cosine_between(origin, np.arange(kernel.n), origin, kernel.n - 1)


def settling(kernel, thresholds=(0.9, 0.95, 0.99)):
    """When each group settles: the first checkpoint from which on the cosine to the last one stays
    at or above a threshold.

    Parameters
    ----------
    kernel : TrajectoryKernel
        Of one run. Each of its groups is looked at by itself.
    thresholds : float or sequence of float
        Between −1 and 1.

    Returns
    -------
    pandas.DataFrame
        One row a group, origin and threshold:

        - ``group``, ``layer``, ``part``: the group's name, and what `layer_of` and `part_of` read
          from it, missing where they read nothing.
        - ``origin``: ``"O"`` for the cosine of θ_t with θ_T, ``"initialization"`` for that of θ_t −
          θ_0 with θ_T − θ_0, θ_0 being the first checkpoint.
        - ``threshold``
        - ``step``: that of the first settled checkpoint; missing where the group has no direction
          at the end (it stayed at the origin, or came back).
        - ``after``: the step of the checkpoint before it, the last one below the threshold; missing
          where none is below. The group settled after ``after`` and by ``step``: the checkpoints
          resolve no more.
        - ``share``: ``step`` as a share of the last step.

        A checkpoint without a direction (a bias that is zero at the start) counts as below every
        threshold. A ``step`` equal to the last one says no more than that the last checkpoint but
        one is below.

    Raises
    ------
    ValueError
        For a threshold outside of (−1, 1), and for joined runs, whose steps begin again.

    Notes
    -----
    This is one meaning of "converge" out of several, and it compares with where training stopped,
    not with a limit: as the learning rate falls to its floor, everything settles. Seen from O, a
    group that hardly leaves a large θ_0 has settled from the start, whatever it did on its way;
    seen from initialization that share of θ_0 is gone, and the same group may be among the last.
    The threshold is a choice too: look whether the order of the groups depends on it. Other
    meanings would be the distance left, ‖θ_T − θ_t‖ / ‖θ_T − θ_0‖ (it sees lengths, which weight
    decay changes without a turn), the share of the path that is behind (it counts noise as way), or
    a threshold relative to the group's first cosine.

    Beyond the paper, to put a number on its "converge the latest" (of the query-key-value weights
    of a middle layer, Fig 9); chapter "Layer by layer".

    >>> import numpy as np, trajhelpers as th
    >>> theta = np.array([[1.0, 0], [1, 1], [1, 4], [1, 5], [1, 6]])    # turns away from its start
    >>> delta = np.diff(theta, axis=0, prepend=0)
    >>> kernel = th.TrajectoryKernel(delta @ delta.T, steps=[0, 10, 20, 30, 40])
    >>> settling(kernel, thresholds=0.95)[["origin", "threshold", "after", "step", "share"]]
               origin  threshold  after  step  share
    0               O       0.95     10    20    0.5
    1  initialization       0.95      0    10   0.25
    """
    thresholds = np.atleast_1d(np.asarray(thresholds, dtype=float))
    if not len(thresholds) or not np.all(np.abs(thresholds) < 1):
        raise ValueError(
            f"thresholds: expected cosines between -1 and 1, got {thresholds.tolist()}"
        )
    _refuse_joined_runs(kernel)
    rows = []
    for name, group in kernel.groups().items():
        for seen_from, origin in _SEEN_FROM.items():
            cosine = cosine_to_end(group, origin)
            for threshold in thresholds:
                rows.append(
                    (*_place(name), seen_from, threshold, *_settled(group, cosine, threshold))
                )
    table = pd.DataFrame(
        rows, columns=["group", "layer", "part", "origin", "threshold", "after", "step"]
    )
    table = table.astype({"layer": "Int64", "after": "Int64", "step": "Int64"})
    return table.assign(share=table.step / int(kernel.steps[-1]))


def layer_table(kernel, threshold=0.95):
    """How far, how straight and until when each group went.

    Parameters
    ----------
    kernel : TrajectoryKernel
        Of one run, a group a tensor: from ``gram(trajectory, groups=gpt_neox_groups(trajectory))``.
    threshold : float
        As in `settling`.

    Returns
    -------
    pandas.DataFrame
        One row a group, in the kernel's order; ``table.pivot(index="layer", columns="part",
        values="omega")`` lays one of the columns out.

        - ``group``, ``layer``, ``part``, ``parameters``
        - ``omega``, ``omega_0``: mean directional similarity from O and from the first checkpoint,
          over the ``checkpoints`` and ``checkpoints_0`` that have a direction from there. A bias
          that is zero at the start has none from O before it first moves. NaN where there is none
          at all.
        - ``angle``: between θ_T and θ_0, in degrees; NaN where one of them is zero.
        - ``moved``: ‖θ_T − θ_0‖ / ‖θ_0‖; NaN where θ_0 is zero.
        - ``settled``, ``settled_0``: the step of `settling`, from O and from initialization.

    Appendix "Biases, gains, and what noise does" of chapter "Layer by layer".

    >>> import numpy as np, trajhelpers as th
    >>> dense, along = "layers.0.attention.dense", np.array([0.0, 1.0])
    >>> states = [
    ...     {f"{dense}.weight": t * along + [3, 0], f"{dense}.bias": t * along} for t in range(5)
    ... ]
    >>> table = layer_table(th.gram(th.open_trajectory(states)))
    >>> table[["part", "omega", "checkpoints", "angle", "moved", "settled"]].round(3)
                       part  omega  checkpoints  angle  moved  settled
    0  attention out weight  0.895            5  53.13  1.333        3
    1    attention out bias  1.000            4    NaN    NaN        1
    """
    last = settling(kernel, threshold)
    settled = {origin: last.step[last.origin == origin].array for origin in _SEEN_FROM}
    rows = []
    for name, group in kernel.groups().items():
        seen, seen_0 = with_direction(group), with_direction(group, 0)
        start, moved = float(group.distance(None, 0)), float(group.distance(0, -1))
        with np.errstate(invalid="ignore"):
            angle = float(np.degrees(np.arccos(group.cosine_between(None, -1, None, 0))))
        omegas = (mds(seen) if seen else np.nan, mds(seen_0, 0) if seen_0 else np.nan)
        counts = (seen.n if seen else 0, seen_0.n - 1 if seen_0 else 0)
        rows.append(
            (*_place(name), group.p, *omegas, *counts, angle, moved / start if start else np.nan)
        )
    table = pd.DataFrame(
        rows,
        columns=[
            "group",
            "layer",
            "part",
            "parameters",
            "omega",
            "omega_0",
            "checkpoints",
            "checkpoints_0",
            "angle",
            "moved",
        ],
    )
    return table.astype({"layer": "Int64"}).assign(
        settled=settled["O"], settled_0=settled["initialization"]
    )


def with_direction(kernel, origin=None):
    """The kernel of the checkpoints that have a direction from an origin, None for O or 0 for the
    first, which stays; None where none has.

    What a map of it shows is what the whole kernel's map shows, without a warning of what is left
    out."""
    kept = kernel.kept(origin)
    if not len(kept):
        return None
    return kernel[kept if origin is None else [0, *kept]]


def _settled(kernel, cosine, threshold):
    """The steps of the last checkpoint below the threshold and of the one after it."""
    below = np.flatnonzero(~(cosine >= threshold))
    if not len(below):
        return pd.NA, int(kernel.steps[0])
    if below[-1] == kernel.n - 1:
        return pd.NA, pd.NA
    return int(kernel.steps[below[-1]]), int(kernel.steps[below[-1] + 1])


def _place(name):
    layer = layer_of(name)
    return name, pd.NA if layer is None else layer, part_of(name)


def _refuse_joined_runs(kernel):
    if len(set(kernel.runs)) > 1:
        raise ValueError(
            f"joined runs ({', '.join(dict.fromkeys(kernel.runs))}) have no last step in common:"
            f" take one of them, kernel[[run == {kernel.runs[0]!r} for run in kernel.runs]]"
        )
