"""At which steps a recorder writes."""

import operator
from bisect import bisect_right
from collections.abc import Iterable
from typing import SupportsIndex


def whole_number(name: str, value: SupportsIndex, least: int = 0) -> int:
    """An int of what is one, NumPy's integers and tensors among them; True and 1.0 are none."""
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None:
        raise TypeError(
            f"{name}: expected a whole number, got {value!r}, which is {type(value).__name__}"
        )
    if number < least:
        raise ValueError(f"{name}: expected a whole number from {least} on, got {number}")
    if number >= 2**63:  # more than a kernel's file holds
        raise ValueError(f"{name}: expected a whole number below 2⁶³, got {number}")
    return number


class Schedule:
    """Every so many steps, or the steps of a list.

    >>> schedule = Schedule(10)
    >>> 20 in schedule, schedule.next(20), str(schedule)
    (True, 30, 'every=10')
    >>> schedule = Schedule(steps=[4, 1, 2])
    >>> 3 in schedule, schedule.next(2), schedule.next(4), str(schedule)
    (False, 4, None, 'steps=1, 2, 4')
    """

    def __init__(self, every: SupportsIndex = 1, steps: Iterable[SupportsIndex] | None = None):
        self._every = whole_number("every", every, 1)
        self._steps = None if steps is None else sorted({whole_number("steps", n) for n in steps})

    @property
    def listed(self) -> bool:
        """Whether each step was asked for."""
        return self._steps is not None

    def next(self, after: int) -> int | None:
        """The first step after another; None where there is none."""
        if self._steps is None:
            return after - after % self._every + self._every
        place = bisect_right(self._steps, after)
        return self._steps[place] if place < len(self._steps) else None

    def __contains__(self, step: int) -> bool:
        return self.next(step - 1) == step

    def __str__(self):
        if self._steps is None:
            return f"every={self._every}"
        numbers = [str(step) for step in self._steps]
        return "steps=" + ", ".join(
            numbers if len(numbers) < 7 else [*numbers[:5], "…", numbers[-1]]
        )
