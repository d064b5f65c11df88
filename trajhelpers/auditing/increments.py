"""Increments that are zero or out of line with their neighbours: what a checkpoint in the wrong
place leaves in the kernel.
"""

import numpy as np

_SIDE = 3
_TIMES, _JUMPS, _TIMES_AT_ENDS = 4, 6, 30
_DETOUR = 2


def irregular_increments(kernel):
    """(kind, steps, text) of what is irregular, by the rules that :func:`trajhelpers.audit` states.

    >>> import numpy as np
    >>> theta = np.cumsum(np.ones((12, 4)), axis=0) + 0.1 * np.sin(np.arange(48)).reshape(12, 4)
    >>> theta[6] = theta[11]                                # a checkpoint of later on
    >>> delta = np.diff(theta, axis=0, prepend=0)
    >>> from trajhelpers import TrajectoryKernel
    >>> kernel = TrajectoryKernel(delta @ delta.T)
    >>> [(kind, steps) for kind, steps, _ in irregular_increments(kernel)]
    [('length', (5, 6)), ('detour', (6,))]
    """
    steps, total = [int(step) for step in kernel.steps], kernel.total
    squared = np.maximum(np.diag(total)[1:], 0)
    runs = np.array(kernel.runs)
    # How many steps lie between two stages is not known.
    counted = runs[1:] == runs[:-1]
    found = [
        ("still", (steps[t], steps[t + 1]), "no parameter moved in between")
        for t in np.flatnonzero(squared == 0)
    ]
    return found + _lengths(steps, squared, counted) + _detours(steps, total, squared)


def _lengths(steps, squared, counted):
    with np.errstate(divide="ignore", invalid="ignore"):
        lengths = np.log(squared / np.abs(np.diff(steps))) / 2
    moved = np.isfinite(lengths) & counted
    jump = 1.4826 * float(np.median(np.abs(np.diff(lengths[moved])))) if moved.sum() > 2 else np.inf
    found = []
    for t in np.flatnonzero(moved):
        sides = [
            float(np.median(side))
            for side in (lengths[max(t - _SIDE, 0) : t], lengths[t + 1 : t + 1 + _SIDE])
            if len(side)
        ]
        least = max(np.log(_TIMES if len(sides) == 2 else _TIMES_AT_ENDS), _JUMPS * jump)
        excess = {
            "longer": lengths[t] - max(sides, default=np.inf),
            "shorter": min(sides) - lengths[t] if len(sides) == 2 else -np.inf,
        }
        found += [
            (
                "length",
                (steps[t], steps[t + 1]),
                f"the increment is {np.exp(value):.3g} times {way} than its neighbours'",
            )
            for way, value in excess.items()
            if least < value < np.inf
        ]
    return found


def _detours(steps, total, squared):
    lengths = np.sqrt(squared)
    with np.errstate(divide="ignore", invalid="ignore"):
        ways = (lengths[:-1] + lengths[1:]) / np.sqrt(
            np.maximum(squared[:-1] + squared[1:] + 2 * np.diag(total, 1)[1:], 0)
        )
    found = []
    for t, way in enumerate(ways):
        # The pair before and the one after share an increment with this one.
        near = np.concatenate(
            [ways[max(t - 1 - _SIDE, 0) : max(t - 1, 0)], ways[t + 2 : t + 2 + _SIDE]]
        )
        near = near[np.isfinite(near)]
        if lengths[t] and lengths[t + 1] and len(near) > 1 and way > _DETOUR * np.median(near):
            found.append(
                (
                    "detour",
                    (steps[t + 1],),
                    (
                        f"the way through this checkpoint is {way:.3g} times the direct one, where"
                        f" {np.median(near):.3g} is usual"
                    ),
                )
            )
    return found
