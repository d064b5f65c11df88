"""Which branches and tags of a repository are the checkpoints that are asked for, in which order.
Nothing here asks the hub.
"""

import operator
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

from ...errors import StepError
from ...reading.names import families, read_names
from ...reading.steps import (
    Order,
    Position,
    as_listed,
    asides,
    choose_run,
    describe,
    doubles,
    order_all,
    pythia_steps,
)
from .suites import Suite, suite_of

_LAST_PYTHIA_STEP = 143_000


class Chosen(NamedTuple):
    """Revisions in order. ``note`` says which they are and what was left out; ``guess`` what may be
    wrong with their order.
    """

    names: list[str]
    positions: list[Position]
    note: str = ""
    guess: str = ""


def choose_revisions(
    repo: str, there: Iterable[str], revisions: str | Sequence[str | int] | None
) -> Chosen | None:
    """``there`` are the names of all branches and tags. None where nothing was asked for, and no
    two of them look like the steps of a run.
    """
    where, names, suite = f"hf://{repo}", sorted(there), suite_of(repo)
    if revisions is None:
        chosen = _by_suite(where, names, suite) if suite else None
        return chosen or _by_rule(where, names)
    if isinstance(revisions, str):
        matching = _matching(where, names, revisions)
        order = order_all(matching, where, _remedy)
        return _refuse_doubles(where, _in_order(matching, order))
    revisions = list(revisions)
    if not revisions:
        raise StepError(f"{where}: the list of revisions is empty")
    listed = [name for item in revisions for name in _meant(where, names, item, suite)]
    for name, count in Counter(listed).items():
        if count > 1:
            raise StepError(f"{where}: {name} is asked for twice; give each revision once")
    return _refuse_doubles(where, _as_listed(listed, suite))


def _by_rule(where: str, names: list[str]) -> Chosen | None:
    read = read_names(names)
    counting = [name for name, one in zip(names, read) if one.kind and one.kind.says_what_it_counts]
    chosen = _in_order(counting, choose_run(counting, where, _remedy))
    if len(chosen.names) < 2:
        return None
    order = Order(tuple(map(names.index, chosen.names)), tuple(chosen.positions))
    note = f"{where}: {describe(order, asides(names, order.indices))}"
    return _refuse_doubles(where, chosen._replace(note=note))


def _by_suite(where: str, names: list[str], suite: Suite) -> Chosen | None:
    if suite.schedule == "pythia":
        steps = pythia_steps(_LAST_PYTHIA_STEP)
        wanted, positions = [f"step{step}" for step in steps], [Position(step) for step in steps]
        aside = asides(names, [names.index(name) for name in wanted if name in names])
        said = describe(Order(tuple(range(len(steps))), tuple(positions)), aside)
        return Chosen(wanted, positions, f"{where}: {said} (the schedule of {suite.source})")
    matches = [
        [name for name in names if fnmatchcase(name, pattern)] for pattern in suite.revisions
    ]
    listed = [
        matching[index]
        for matching in matches
        if matching
        for index in (
            order_all(matching, where, _remedy).indices if len(matching) > 1 else range(1)
        )
    ]
    if len(listed) < 2:
        return None
    chosen = _as_listed(listed, suite)
    order = Order(tuple(map(names.index, chosen.names)), tuple(chosen.positions))
    said = describe(order, asides(names, order.indices))
    note = f"{where}: {said} (the order is that of {suite.source})"
    return _refuse_doubles(where, chosen._replace(note=note))


def _as_listed(listed: list[str], suite: Suite | None) -> Chosen:
    alias = {"main": suite.main} if suite and suite.main else {}
    order = as_listed([alias.get(name, name) for name in listed])
    return _in_order(listed, order)


def _in_order(names: list[str], order: Order) -> Chosen:
    return Chosen(
        [names[index] for index in order.indices], list(order.positions), order.told, order.guess
    )


def _meant(where: str, names: list[str], item: str | int, suite: Suite | None) -> list[str]:
    """The names that an item of a list stands for: itself, those that match a pattern, the one of a
    step.
    """
    if isinstance(item, str) and item in names:
        return [item]
    if isinstance(item, str) and re.search(r"[*?[]", item):
        matching = _matching(where, names, item)
        return [matching[index] for index in order_all(matching, where, _remedy).indices]
    if isinstance(item, str) and not item.isdecimal():
        if suite and suite.schedule and re.fullmatch(r"step\d+", item):
            return [item]  # the audit says that it is missing
        raise StepError(f"{where}: there is no revision {item!r}; it has {few(names)}")
    try:
        step = operator.index(int(item) if isinstance(item, str) else item)
    except TypeError:
        raise TypeError(f"revisions: expected names and steps, got {item!r}") from None
    if step < 0 or isinstance(item, bool):
        raise ValueError(f"revisions: expected steps from 0 on, got {item!r}")
    return [_of_step(where, names, step, suite)]


def _of_step(where: str, names: list[str], step: int, suite: Suite | None) -> str:
    if f"step{step}" in names or (suite and suite.schedule):
        return f"step{step}"
    known = [suite.main if suite and suite.main and name == "main" else name for name in names]
    read = read_names(known)
    kinds = sorted(families(read).values(), key=len, reverse=True)
    for family in kinds:
        found = [names[index] for index in family if read[index].step == step]
        if len(found) > 1:
            raise StepError(
                f"{where}: {' and '.join(found)} are both step {step}; give the name of one"
            )
        if found:
            return found[0]
    raise StepError(f"{where}: there is no revision of step {step}; it has {few(names)}")


def _matching(where: str, names: list[str], pattern: str) -> list[str]:
    found = [name for name in names if fnmatchcase(name, pattern)]
    if not found:
        raise StepError(f"{where}: no revision matches {pattern!r}; it has {few(names)}")
    return found


def _refuse_doubles(where: str, chosen: Chosen) -> Chosen:
    order = Order(tuple(range(len(chosen.names))), tuple(chosen.positions))
    if two := doubles(order):
        first, second = (chosen.names[index] for index in two)
        raise StepError(
            f"{where}: {first} and {second} are both step {chosen.positions[two[0]].step}; choose"
            " one of them with revisions="
        )
    return chosen


def _remedy(patterns: Sequence[str], joined: Sequence[str]) -> str:
    one = f"choose one with revisions={' or '.join(map(repr, patterns[:2]))}"
    if not joined:
        return one
    return (
        f"{one}, or join them in the order in which they were trained: revisions={list(joined)!r}"
    )


def few(names: Iterable[str], most: int = 6) -> str:
    """The first names, and how many there are."""
    names = sorted(names)
    return (", ".join(names[:most]) or "none") + (f" … ({len(names)})" if len(names) > most else "")
