"""Which tensors make a group where nobody says: each for itself, up to 2,000 of them. Of more, as
experts make them, those together whose names differ in a number alone.

A group costs n² × 8 bytes, 190 kB for 154 checkpoints: the 44,000 tensors of a mixture of experts
would be a kernel of 8 GB. What each expert does is asked for with ``groups=``.
"""

import re
from collections.abc import Collection, Mapping, Sequence

MOST_ALONE = 2000
# A part of its own, or behind what Megatron's grouped experts have in common.
_NUMBER = re.compile(r"(?<![^./])\d+(?![^./])|(?<=weight)\d+$|(?<=bias)\d+$")


def default_groups(names: Collection[str]) -> dict[str, list[str]]:
    """The tensors of each group, by its name.

    Up to 2,000 tensors are a group each. Of more, the last number in each name becomes ``*``, of a
    name that has two at least, and the one before it where more than 2,000 groups are left; the
    first number, which says the layer, stays: ``kernel.select("model.layers.3.*")`` finds it.

    >>> expert = "model.layers.{}.mlp.experts.{}.up_proj.weight"
    >>> names = [expert.format(layer, number) for layer in range(2) for number in range(1024)]
    >>> groups = default_groups([*names, "model.layers.0.mlp.gate.weight"])
    >>> for name, members in groups.items():
    ...     print(name, len(members))
    model.layers.0.mlp.experts.*.up_proj.weight 1024
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
    return groups


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
