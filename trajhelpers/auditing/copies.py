"""Checkpoints that are equal, in all groups or in some of them."""

from collections.abc import Iterable

import numpy as np

from ..kernel import TrajectoryKernel
from ..reading.account import percent
from .off_path import Distances
from .report import Finding

# Of all parameters: fewer, such as the scales of a layer, may come back to where they were.
_SHARE = 0.01


def copies(
    kernel: TrajectoryKernel, d: Distances
) -> tuple[list[Finding], list[Finding], list[int]]:
    """(errors, notes, rows): what is one and the same under several steps, and the rows that are
    left, no two of them equal.

    "repeated", an error: equal, and another in between. "still", a note: equal in a row, as where
    the learning rate is 0.
    """
    steps = [int(step) for step in kernel.steps]
    errors, notes, wrong = [], [], set()
    classes = _classes(kernel.n, kernel.identical())
    doubled = {row for one in classes for row in one if len(stays(one)) > 1}
    for one in classes:
        stayed = stays(one)
        notes += [
            Finding("still", None, _of(steps, stay), "no parameter moved in between")
            for stay in stayed
            if len(stay) > 1
        ]
        if len(stayed) > 1:
            home, where = _home(one, [row for row in range(kernel.n) if row not in doubled], d)
            errors.append(Finding("repeated", None, _of(steps, one), _said(steps, home, where)))
            wrong |= set(one) - set(home)
    for same, names, share in _in_part(kernel, doubled):
        others = [row for row in range(kernel.n) if row not in same]
        home, where = _home(same, others, _distances_in(kernel, names))
        of = f"{names[0]}{f' … ({len(names)} groups)' if len(names) > 1 else ''}"
        text = f"{of}, {percent(share)} of the parameters: {_said(steps, home, where)}"
        errors.append(Finding("repeated", None, _of(steps, same), text))
        wrong |= set(same) - set(home)
    # A walk that stood still went on from where it was: one row of it is enough.
    again = {row for one in classes for stay in stays(one) for row in stay[1:]}
    return errors, notes, [row for row in range(kernel.n) if row not in wrong | again]


def stays(rows: Iterable[int]) -> list[list[int]]:
    """
    >>> stays([0, 1, 2, 7])
    [[0, 1, 2], [7]]
    """
    rows = np.array(list(rows))
    return [one.tolist() for one in np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1)]


def _classes(n, pairs):
    """Rows that are equal, by pairs in order."""
    of = list(range(n))
    for s, t in pairs:
        of[t] = of[s]
    return [one for root in range(n) if len(one := [t for t in range(n) if of[t] == root]) > 1]


def _home(rows, others, d):
    """(The stay that is beside the nearest of the others, that one); nothing where there is none.

    >>> import numpy as np
    >>> theta = np.array([0.0, 5, 2, 3, 4, 5])
    >>> _home([1, 5], [0, 2, 3, 4], abs(theta[:, None] - theta))
    ([5], 4)
    """
    if not others:
        return [], None
    nearest = min(others, key=lambda row: d[rows[0], row])
    beside = [stay for stay in stays(rows) if nearest in (stay[0] - 1, stay[-1] + 1)]
    return (beside[0] if len(beside) == 1 else []), nearest


def _said(steps, home, where):
    text = "one and the same under these steps, but another in between; they cannot all be right"
    if where is None:
        return text
    return f"{text}. The nearest is step {steps[where]}" + (
        f", so that {'steps' if len(home) > 1 else 'step'}"
        f" {', '.join(str(step) for step in _of(steps, home))} may be right"
        if home
        else ""
    )


def _of(steps, rows):
    return tuple(steps[row] for row in rows)


def _distances_in(kernel, names):
    part = kernel.group_by(lambda name: "part" if name in names else "others").groups()["part"]
    row = np.arange(kernel.n)
    return part.distance(row[:, None], row)


def _in_part(kernel, known):
    """(Rows, groups, share of the parameters) of what is repeated in these groups alone."""
    if len(kernel.names) == 1 or not kernel.p:
        return
    found: dict[tuple[int, ...], list[str]] = {}
    for name, group in kernel.groups().items():
        for one in _classes(kernel.n, group.identical()):
            same = tuple(row for row in one if row not in known)
            if len(stays(one)) > 1 and len(stays(same)) > 1:
                found.setdefault(same, []).append(name)
    sizes = dict(zip(kernel.names, kernel.sizes))
    for rows, names in found.items():
        share = sum(sizes[name] for name in names) / kernel.p
        if share >= _SHARE:
            yield rows, names, share
