"""Checkpoints that are not on the path, found from distances alone: what a file of another step, or
of another run, leaves in a kernel, be it one of a sample.

One fact decides: on a path, the nearer in time is the nearer in space, D(s, t) ≤ D(s, u) for s < t
< u. Steps of any length and spacing keep it, and so do warm-up, decays and restarts; noise around
one place keeps it with equality. Only what swings back and forth breaks it, and that its neighbours
do too: what is usual near by is therefore taken off.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float64

from ..kernel import TrajectoryKernel
from .certain import is_sure
from .report import Finding

# Chosen before any stored run was looked at, of which 14 of 591 had a finding then, and 3 have one
# since `_elsewhere` is asked, too.
_TIMES = 2  # the way through a row is at most that of the direct one, where nearer is nearer
_AWAY = 3  # rows in a row that may be elsewhere
_APART = 4  # places between rows that were swapped; of those farther apart, each is a detour
_SIDE = 3  # neighbours before, and after, that are asked
_BACKWARD = 0.5  # half-way between noise, 0, and a random walk in reverse, 1

Distances = Float64[np.ndarray, "n n"]


def off_path(kernel: TrajectoryKernel, rows: list[int]) -> tuple[list[Finding], list[int]]:
    """Findings about some rows of a kernel, which are all different, and the rows that are left,
    in the order in which they seem to belong.

    "swapped": seen from those before, the earlier of two is farther, and nearer from those after.
    "detour": one row, or up to three, between two that are nearer to each other than to it. A row
    at an end: it is nearer to others than to its neighbour.
    """
    everywhere, found = distances(kernel), []
    steps = [int(step) for step in kernel.steps]
    for rule, keys in ((_swap, _pairs), (_detour, _stays), (_end, _ends)):
        refused: set[tuple[int, int]] = set()
        while True:
            here = everywhere[np.ix_(rows, rows)]
            margins = {
                key: rule(here, *key)
                for key in keys(len(rows))
                if (rows[key[0]], rows[key[1]]) not in refused
            }
            key = max(margins, key=lambda key: margins[key], default=None)
            if key is None or not margins[key] > 0:
                break

            first, last, seen = *key, np.ix_(rows, rows)

            def margin(one, rule=rule, key=key, seen=seen):
                return rule(distances(one)[seen], *key)

            if not is_sure(kernel, margins[key], margin):
                refused.add((rows[first], rows[last]))
            elif rule is _swap:
                found.append(_swapped(steps, *sorted((rows[first], rows[last]))))
                rows = list(rows)
                rows[first], rows[last] = rows[last], rows[first]
            else:
                found.append(_away(steps, everywhere, rows, first, last))
                rows = rows[:first] + rows[last + 1 :]
    return found, rows


def distances(kernel: TrajectoryKernel) -> Distances:
    """‖θ_t − θ_s‖; where rounding matters, the most that it can be."""
    row = np.arange(kernel.n)
    return kernel.distance(row[:, None], row) + kernel.distance_error(row[:, None], row)


# ---- rules: how far beyond what is allowed, by rows in their order ----


def _pairs(n: int) -> Iterator[tuple[int, int]]:
    """With two that look on from either side: from one, half of a swing looks like a swap."""
    for apart in range(1, _APART + 1):
        for first in range(2, n - apart - 2):
            yield first, first + apart


def _swap(d: Distances, first: int, last: int) -> float:
    before = np.arange(max(first - _SIDE, 0), first)
    after = np.arange(last + 1, min(last + 1 + _SIDE, len(d)))
    between = d[first, last]
    # Of two that are all but equal, the order says nothing.
    if 2 * between < min(d[first - 1, last], d[first, last + 1]):
        return -np.inf
    backward = np.concatenate(
        [
            d[before, first] ** 2 - d[before, last] ** 2,
            d[after, last] ** 2 - d[after, first] ** 2,
        ]
    )
    return float((backward / between**2).min()) - _BACKWARD


def _stays(n: int) -> Iterator[tuple[int, int]]:
    for count in range(_AWAY):
        for first in range(1, n - count - 1):
            yield first, first + count


def _detour(d: Distances, first: int, last: int) -> float:
    n, count = len(d), last - first
    near = [
        _way(d, at, at + count)
        for at in (
            *range(max(first - count - 1 - _SIDE, 1), first - count - 1),
            *range(last + 2, min(last + 2 + _SIDE, n - count - 1)),
        )
    ]
    if len(near) < 2:
        return -np.inf
    swing = _way(d, first, last) / (_TIMES * max(np.median(near), 1))
    return float(np.log(min(swing, _elsewhere(d, first, last))))


def _elsewhere(d, first, last):
    """An instability swings out, too, and back: to where nobody else is, but not far. A wrong file
    is of another step, and then nearer to that one than to its neighbours; or of another run, and
    then about as far from all of this one as this one has come.
    """
    away = np.arange(first, last + 1)
    beside = [first - 1, last + 1]
    others = np.setdiff1d(np.arange(len(d)), [*away, *beside])
    to_beside, to_others = (d[np.ix_(away, rows)].min(1) for rows in (beside, others))
    far = np.minimum(to_beside, to_others) / d[0, beside].max()
    return max((to_beside / to_others).min() / _TIMES, far.min() * _TIMES)


def _way(d, first, last):
    """There and back, over the direct way: at most 2 where nearer in time is nearer in space."""
    return (d[first - 1, first] + d[last, last + 1]) / d[first - 1, last + 1]


def _ends(n: int) -> Iterator[tuple[int, int]]:
    if n >= _SIDE + 3:
        yield from ((0, 0), (n - 1, n - 1))


def _end(d: Distances, first: int, last: int) -> float:
    """Nearest to the first should be the next, and to the last the one before."""
    d = d[::-1, ::-1] if last else d
    first, *near = (d[at, at + 1] / d[at, at + 2 :].min() for at in range(_SIDE + 1))
    return float(np.log(first / (_TIMES * max(np.median(near), 1))))


# ---- what is said ----


def _swapped(steps, one, other):
    return Finding(
        "swapped",
        None,
        (steps[one], steps[other]),
        "seen from the checkpoints before and from those after, they are in the wrong order",
    )


def _away(steps, d, rows, first, last):
    away, rest = rows[first : last + 1], rows[:first] + rows[last + 1 :]
    beside = [rows[at] for at in (first - 1, last + 1) if 0 <= at < len(rows)]
    # Of several, that of the one in the middle.
    one = away[len(away) // 2]
    nearest = min(rest, key=lambda row: d[one, row])
    far = min(d[one, row] for row in beside)
    who = f"step {steps[one]}" if len(away) > 1 else "it"
    where = (
        f"{who} is {far / d[one, nearest]:.3g} times nearer to step {steps[nearest]} than to its"
        " neighbours"
        if _TIMES * d[one, nearest] < far
        else f"{who} is near no other step"
    )
    way = (
        f"the way through {'these' if len(away) > 1 else 'this checkpoint'} is"
        f" {(d[beside[0], away[0]] + d[away[-1], beside[-1]]) / d[beside[0], beside[-1]]:.3g}"
        " times the direct one; "
        if len(beside) == 2
        else ""
    )
    return Finding("detour", None, tuple(steps[row] for row in away), f"{way}{where}")
