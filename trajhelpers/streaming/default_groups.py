"""Which tensors make a group where nobody says: each for itself, up to 2,000 of them. Of more, as
experts make them, those together whose names differ in a number alone.

A group costs n² × 8 bytes, 190 kB for 154 checkpoints: the 44,000 tensors of a mixture of experts
would be a kernel of 8 GB. What each expert does is asked for with ``groups=``.

What never moves is found group by group, so that a frozen expert must not be among those that
move: on this machine, where a look costs little, such tensors are a group beside them.
"""

import re
from collections.abc import Collection, Container, Mapping, Sequence

import numpy as np

from ..stored import Stored

MOST_ALONE = 2000
STILL = " (still)"
# Most tensors are seen to move in their first few numbers.
_FIRST_LOOK, _LOOK = 256, 1 << 20
# A part of its own, or behind what Megatron's grouped experts have in common.
_NUMBER = re.compile(r"(?<![^./])\d+(?![^./])|(?<=weight)\d+$|(?<=bias)\d+$")


def default_groups(names: Collection[str], still: Container[str] = ()) -> dict[str, list[str]]:
    """The tensors of each group, by its name.

    Up to 2,000 tensors are a group each. Of more, the last number in each name becomes ``*``, of a
    name that has two at least, and the one before it where more than 2,000 groups are left; the
    first number, which says the layer, stays: ``kernel.select("model.layers.3.*")`` finds it. Of a
    group in which some are ``still`` and others are not, the former are one of their own.

    >>> expert = "model.layers.{}.mlp.experts.{}.up_proj.weight"
    >>> names = [expert.format(layer, number) for layer in range(2) for number in range(1024)]
    >>> groups = default_groups([*names, "model.layers.0.mlp.gate.weight"], still=names[:2])
    >>> for name, members in groups.items():
    ...     print(name, len(members))
    model.layers.0.mlp.experts.*.up_proj.weight (still) 2
    model.layers.0.mlp.experts.*.up_proj.weight 1022
    model.layers.1.mlp.experts.*.up_proj.weight 1024
    model.layers.0.mlp.gate.weight 1
    """
    groups = {name: [name] for name in names}
    while len(groups) > MOST_ALONE:
        fewer: dict[str, list[str]] = {}
        for group, members in groups.items():
            fewer.setdefault(_without_last_number(group), []).extend(members)
        if len(fewer) == len(groups):
            break
        groups = fewer
    found: dict[str, list[str]] = {}
    for group, members in groups.items():
        apart = [name for name in members if name in still]
        if 0 < len(apart) < len(members):
            found[group + STILL] = apart
            members = [name for name in members if name not in still]
        found[group] = members
    return found


def still_ones(trajectory: Stored) -> set[str]:
    """Of more than 2,000 tensors on this machine, those that are the same in the first and in the
    last checkpoint: none that never moves is missing. Of a recorded sample, none: it was drawn
    before anything moved.
    """
    few = len(trajectory.sizes) <= MOST_ALONE
    if few or trajectory.remote is not None or trajectory.drawn:
        return set()
    return {name for name, size in trajectory.sizes.items() if _is_still(trajectory, name, size)}


def _is_still(trajectory: Stored, name: str, size: int) -> bool:
    ends = slice(0, trajectory.n, trajectory.n - 1)
    start, width = 0, _FIRST_LOOK
    while start < size:
        stop = min(size, start + width)
        values = np.empty((2, stop - start))
        trajectory.read_into([(name, start, stop)], values, ends)
        if (values[0] != values[1]).any():
            return False
        start, width = stop, _LOOK
    return True


def told_of(groups: Mapping[str, Sequence]) -> str:
    """What is told of such groups, "" where each tensor is one."""
    largest = max(groups, key=lambda name: len(groups[name]))
    if len(groups[largest]) < 2:
        return ""
    return (
        f"{sum(map(len, groups.values())):,} tensors in {len(groups):,} groups by their names, as"
        f" {largest}, of {len(groups[largest]):,}; groups= for others"
    )


def _without_last_number(name: str) -> str:
    """The name with its last number as ``*``, but for its first.

    >>> _without_last_number("layers.3.experts.7.w1"), _without_last_number("layers.3.mlp.w1")
    ('layers.3.experts.*.w1', 'layers.3.mlp.w1')
    >>> _without_last_number("layers.3.experts.linear_fc1.weight7")
    'layers.3.experts.linear_fc1.weight*'
    """
    numbers = list(_NUMBER.finditer(name))
    if len(numbers) < 2:
        return name
    return f"{name[: numbers[-1].start()]}*{name[numbers[-1].end() :]}"
