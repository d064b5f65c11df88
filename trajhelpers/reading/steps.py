"""From the names of checkpoints to their order: the run they are of, its stages, steps and tokens.

Three questions have three functions. :func:`choose_run`: of all that lies there, which names are a
run's? :func:`order_all`: in which order are these? :func:`as_listed`: in this order, which steps do
they have? An order that is a guess says so (``Order.guess``), and where two would do, a StepError
asks.
"""

import operator
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from typing import NamedTuple, NoReturn, SupportsIndex

from ..errors import StepError
from .names import Kind, Name, families, pattern_of, read_names
from .numbers import settings_in

# Words for what comes after the main part of a training.
_LATER = re.compile(
    r"(ext(ension|ended)?|anneal(ing|ed)?|decay|cooldown|lc|long|mid|midtrain(ing)?|sft|dpo|rl)"
    r"(?![a-z])",
    re.IGNORECASE,
)
_CALLED = 20
_WITHOUT = "no step in its name"
# In the order in which they say what is counted.
_COUNTS = ("step", "steps", "globalstep", "ba", "iter", "iteration", "epoch", "ep")


class Position(NamedTuple):
    """Where a checkpoint is: ``stage`` is "" where there is one only; ``tokens`` are those seen
    before it, where its name says so. A name that counts tokens alone has them for its step.
    """

    step: int
    stage: str = ""
    tokens: int | None = None


class Aside(NamedTuple):
    """Names that are not among those that are ordered, and why."""

    indices: tuple[int, ...]
    # One name, or a pattern of all and how many there are.
    names: str
    why: str


@dataclass(frozen=True)
class Order:
    """Indices of names, in order, with a position each. ``told`` is the rule by which something was
    chosen, ``guess`` what may be wrong with it.
    """

    indices: tuple[int, ...]
    positions: tuple[Position, ...]
    left_out: tuple[Aside, ...] = ()
    told: str = ""
    guess: str = ""


# What the user should do, from patterns of names, one of which is to be chosen, and others that may
# be joined end to end.
Remedy = Callable[[Sequence[str], Sequence[str]], str]


def choose_run(names: Sequence[str], where: str, remedy: Remedy) -> Order:
    """The run that a person would mean: names of one kind, of which there are most, stage by stage.

    >>> order = choose_run(["main", "stage2-step5", "stage1-step10", "stage1-step9"], "", print)
    >>> [(position.stage, position.step) for position in order.positions]
    [('stage1', 9), ('stage1', 10), ('stage2', 5)]
    >>> order.left_out
    (Aside(indices=(0,), names='main', why='no step in its name'),)
    """
    read = read_names(names)
    kinds = families(read)
    initial = [index for index, one in enumerate(read) if one.is_initial]
    guess = ""
    chosen = _largest(kinds)
    if chosen is None and all(len(family) == 1 for family in kinds.values()):
        # Each has words of its own, which then say nothing of a stage.
        chosen = [index for family in kinds.values() for index in family]
        guess = _each_in_its_way(names, chosen)
    elif chosen is None:
        most = max(map(len, kinds.values()))
        equals = [family for family in kinds.values() if len(family) == most]
        _ask(where, names, equals, remedy, "are several runs side by side")
    order = _by_stage(names, read, [*chosen, *initial], where, remedy) if chosen else Order((), ())
    aside = asides(names, order.indices)
    stages = {position.stage for position in order.positions}
    is_plain = len(stages) < 2 and all(one.why == _WITHOUT for one in aside)
    return replace(
        order,
        left_out=aside,
        told="" if is_plain else describe(order, aside),
        guess=guess or order.guess,
    )


def asides(names: Sequence[str], taken: Iterable[int]) -> tuple[Aside, ...]:
    """The names that are not taken: those of a kind together, then those without a step."""
    read, taken = read_names(names), set(taken)
    found = []
    for family in families(read).values():
        if rest := [index for index in family if index not in taken]:
            # Of very many kinds, nobody reads the patterns.
            called = _call(names, rest) if len(found) < _CALLED else names[rest[0]]
            why = "a name of another kind, perhaps another run"
            found.append(Aside(tuple(rest), called, why))
    return (
        *found,
        *(
            Aside((index,), names[index], _WITHOUT)
            for index, one in enumerate(read)
            if one.kind is None and index not in taken
        ),
    )


def order_all(names: Sequence[str], where: str, remedy: Remedy) -> Order:
    """All of these names, in the order of their stages and steps.

    >>> order = order_all(["extension_step20", "step300", "step1e3"], "", print)
    >>> order.indices, order.guess
    ((1, 2, 0), 'extension_step20 is taken to come after the rest, by its name alone')
    """
    read = read_names(names)
    kinds = families(read)
    initial = [index for index, one in enumerate(read) if one.is_initial]
    for name, one in zip(names, read):
        if one.kind is None and not one.is_initial:
            problem = f"{where}: {name!r} has no step in its name"
            patterns = [pattern_of(names, family) for family in kinds.values()]
            raise StepError(f"{problem}; {remedy(patterns, ())}" if patterns else problem)
    in_a_row = sorted(kinds, key=lambda kind: _natural(kind.words))
    later = [kind for kind in in_a_row if len(kinds) > 1 and _LATER.match(kind.words)]
    first = [kind for kind in in_a_row if kind not in later]
    guess = ""
    if len(kinds) < 2:
        parts = [[*range(len(names))]]
    elif len(first) == len(later) == 1:
        parts = [[*kinds[first[0]], *initial], kinds[later[0]]]
        guess = f"{_call(names, parts[1])} is taken to come after the rest, by its name alone"
    elif all(len(family) == 1 for family in kinds.values()) and not later:
        parts = [[*range(len(names))]]
        guess = _each_in_its_way(names, parts[0])
    else:
        groups = [kinds[kind] for kind in (*first, *later)]
        _ask(where, names, groups, remedy, "differ in more than their numbers", groups)
    orders = [_by_stage(names, read, part, where, remedy) for part in parts]
    order = _order(
        [
            (index, position._replace(stage=position.stage or _words(read[index])))
            if len(orders) > 1
            else (index, position)
            for order in orders
            for index, position in zip(order.indices, order.positions)
        ]
    )
    several = len({position.stage for position in order.positions}) > 1
    back = next((one.guess for one in orders if one.guess), "")
    return replace(order, told=describe(order) if several else "", guess=guess or back)


def as_listed(names: Sequence[str]) -> Order:
    """A list, whose order is what somebody said: steps come from the names where they increase
    along it, within each stage, else they are 0, 1, 2, …

    A list in the order of the alphabet is no such word: a shell's pattern comes so, ``step10``
    before ``step9``. It is put in order where its names leave no doubt.

    >>> as_listed(["stage1-step1413814", "stage2-step1000"]).positions[1]
    Position(step=1000, stage='stage2', tokens=None)
    >>> [position.step for position in as_listed(["base", "seed_10", "seed_2"]).positions]
    [0, 1, 2]
    """
    indices, read = tuple(range(len(names))), read_names(names)
    lowest = min((one.step for one in read if one.step is not None), default=None)
    found = [_before(lowest) if one.is_initial else one.step for one in read]
    steps = [step for step in found if step is not None]
    tokens = [one.tokens for one in read]
    numbered = [Position(index, "", tokens[index]) for index in indices]
    own = f"the list is taken in its own order, with steps 0 … {len(names) - 1}"
    if len(steps) < len(names) or lowest is None:
        why = "its names have none" if lowest is None else "not all its names have one"
        return Order(indices, tuple(numbered), told=f"{own}, since {why}")
    # By stages where names have them, or where the steps begin anew with another word.
    own_words = next(_words(one) for one in read if one.step is not None)
    by_stage = [one.label if one.stage else "" for one in read]
    for labels in (by_stage, [own_words if one.is_initial else _words(one) for one in read]):
        blocks = [list(block) for _, block in groupby(indices, labels.__getitem__)]
        if len(blocks) == len(set(labels)) and all(
            steps[earlier] < steps[later] and _count_alike(read[earlier], read[later])
            for block in blocks
            for earlier, later in pairwise(block)
        ):
            stages = labels if len(blocks) > 1 else [""] * len(names)
            return Order(
                indices, tuple(Position(*position) for position in zip(steps, stages, tokens))
            )
    if list(names) == sorted(names) and (order := _undoubted(names)):
        told = (
            "the list is in the order of the alphabet, as a shell's pattern gives it; its"
            " checkpoints are taken in the order of the steps in their names"
        )
        return replace(order, told=told)
    back = next((pair for pair in pairwise(indices) if steps[pair[0]] >= steps[pair[1]]), None)
    if back is None or len(families(read)) > 1:
        why = "those in its names are of several kinds"
        return Order(indices, tuple(numbered), told=f"{own}, since {why}")
    return Order(
        indices,
        tuple(numbered),
        guess=f"{own}: in it {names[back[1]]} comes after {names[back[0]]}. If it should follow"
        " the steps in its names, sort it by them",
    )


def doubles(order: Order) -> tuple[int, int] | None:
    """Two names at one and the same position, where there are such."""
    at: dict[tuple[str, int], int] = {}
    for index, position in zip(order.indices, order.positions):
        other = at.setdefault((position.stage, position.step), index)
        if other != index:
            return other, index
    return None


def describe(order: Order, left_out: Sequence[Aside] = (), most: int = 6) -> str:
    """
    >>> describe(choose_run(["stage1-step1", "stage1-step2", "stage2-step1", "main"], "", print))
    '3 checkpoints: stage1 (2, steps 1 … 2), then stage2 (1, step 1)'
    """
    blocks = [
        (stage, list(block))
        for stage, block in groupby(order.positions, operator.attrgetter("stage"))
    ]
    parts = [
        f"{stage} ({len(block):,}, {span(block)})" if stage else span(block)
        for stage, block in blocks
    ]
    text = f"{len(order.positions):,} checkpoints: {parts[0] if parts else 'none'}"
    text += f", then {', '.join(parts[1:])}" if parts[1:] else ""
    if left_out:
        text += "; left out: " + ", ".join(aside.names for aside in left_out[:most])
        text += f" … and {len(left_out) - most} more" if len(left_out) > most else ""
    return text


def span(positions: Sequence[Position]) -> str:
    """The first and the last step, or count of tokens, of positions of one stage.

    >>> span([Position(0), Position(500)]), span([Position(220 * 10**9, "", 220 * 10**9)])
    ('steps 0 … 500', '220B tokens')
    """
    ends = positions[0], positions[-1]
    if all(position.tokens == position.step for position in positions):
        return f"{' … '.join(dict.fromkeys(in_units(end.step) for end in ends))} tokens"
    numbers = dict.fromkeys(str(end.step) for end in ends)
    return f"step{'s'[: len(numbers) > 1]} {' … '.join(numbers)}"


def first_and_last(steps: Sequence[int], runs: Sequence[str]) -> str:
    """Of checkpoints in order, where steps begin anew in each stage or run.

    >>> first_and_last([0, 500], ["", ""]), first_and_last([0, 500, 20], ["a", "a", "b"])
    ('steps 0 … 500', 'steps a 0 … b 20')
    """
    named = len(set(runs)) > 1
    ends = [f"{runs[end]} {steps[end]}" if named else f"{steps[end]}" for end in (0, -1)]
    return f"steps {' … '.join(ends)}"


def in_units(count: int) -> str:
    """
    >>> in_units(16_780_000_000), in_units(3 * 10**12), in_units(1000)
    ('16.78B', '3T', '1000')
    """
    for unit, size in (("T", 10**12), ("B", 10**9), ("M", 10**6)):
        if count >= size:
            return f"{count / size:.6g}{unit}"
    return str(count)


def every_but(
    steps: Sequence[int],
    every: int,
    skip: int | str | Iterable[int | str],
    names: Sequence[str] = (),
) -> list[int]:
    """Indices of every K-th of the steps, but for those that are skipped, by their step or name.

    >>> every_but([0, 10, 20, 30], 2, [20])
    [0]
    """
    if not isinstance(every, SupportsIndex):
        raise TypeError(f"every: expected a whole number, got {every!r}")
    every = operator.index(every)
    if every < 1:
        raise ValueError(f"every: expected a whole number from 1 on, got {every}")
    skipped: set[int] = set()
    if isinstance(skip, (str, int)):
        skip = [skip]
    for item in skip:
        if isinstance(item, str):
            if item not in names:
                raise StepError(f"skip: no checkpoint is named {item!r}{_few(names)}")
            skipped |= {index for index, name in enumerate(names) if name == item}
            continue
        step = operator.index(item)
        found = [index for index, other in enumerate(steps) if other == step]
        if not found:
            raise StepError(f"skip: no checkpoint at step {step}{_few(steps)}")
        if len(found) > 1:
            which = [names[index] for index in found] if names else []
            raise StepError(
                f"skip: {len(found)} checkpoints are at step {step}, in stages or runs of their"
                f" own; give the name of one{f', {which[0]!r}' if which else ''}"
            )
        skipped |= set(found)
    return [index for index in range(0, len(steps), every) if index not in skipped]


def _few(those: Sequence[int] | Sequence[str], most: int = 8) -> str:
    if not those:
        return ""
    return f"; there are {', '.join(map(str, those[:most]))}{' …' if len(those) > most else ''}"


def pythia_steps(last: int, every: int = 1000) -> list[int]:
    """The Pythia suite's schedule: 0, the powers of two up to 512, then every ``every`` steps to
    ``last``.

    >>> pythia_steps(2000)
    [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000, 2000]
    >>> len(pythia_steps(143_000))
    154
    """
    return sorted(
        {0}
        | {2**i for i in range(10) if 2**i <= min(last, every)}
        | set(range(every, last + 1, every))
    )


# ---- order ----


def _largest(kinds: dict[Kind, list[int]]) -> list[int] | None:
    """The family with the most members; of several, the one whose names say better what they count,
    or have the fewest words, or count more finely. [] where there is none, None where that does
    not decide.
    """

    def rank(kind):
        is_labelled = -_COUNTS.index(kind.counts) if kind.counts in _COUNTS else -len(_COUNTS)
        is_plain = not kind.words and not kind.suffix
        return len(kinds[kind]), is_labelled, is_plain, kind.numbers

    ranked = sorted(kinds, key=rank, reverse=True)
    if len(ranked) > 1 and (rank(ranked[0]) == rank(ranked[1]) or len(kinds[ranked[0]]) == 1):
        return None
    return list(kinds[ranked[0]]) if ranked else []


def _by_stage(
    names: Sequence[str], read: Sequence[Name], chosen: list[int], where: str, remedy: Remedy
) -> Order:
    """Names of one kind, and those that say "init", by stage and step."""
    stages: dict[tuple[int, ...], dict[str, list[int]]] = {}
    for index in chosen:
        if read[index].step is not None:
            stages.setdefault(read[index].stage, {}).setdefault(read[index].side, []).append(index)
    if any(len(sides) > 1 for sides in stages.values()):
        groups = [group for stage in sorted(stages) for group in stages[stage].values()]
        joined = [next(iter(stages[stage].values())) for stage in sorted(stages)]
        _ask(where, names, groups, remedy, "are several runs side by side", joined)
    found, guess = [], ""
    for stage in sorted(stages):
        (members,) = stages[stage].values()
        label = read[members[0]].label if len(stages) > 1 else ""
        at = [(read[index].step or 0, names[index], index) for index in members]
        found += [
            (index, Position(step, label, read[index].tokens)) for step, _, index in sorted(at)
        ]
        ordered = [index for _, _, index in sorted(at)]
        guess = guess or _back(names, read, ordered) or _again(names, ordered)
    first = Position(
        _before(min((position.step for _, position in found), default=None)),
        found[0][1].stage if found else "",
    )
    order = _order([(index, first) for index in chosen if read[index].step is None] + found)
    return replace(order, guess=guess)


def _back(names: Sequence[str], read: Sequence[Name], ordered: Sequence[int]) -> str:
    """What is said where another number of the names goes back along their order: of epochs whose
    steps begin anew, a score behind the step, a setting of a sweep.
    """
    for earlier, later in pairwise(ordered):
        one, other = read[earlier].others, read[later].others
        if len(one) == len(other) and any(b < a for a, b in zip(one, other)):
            return (
                f"{names[later]} is taken to come after {names[earlier]}, by the last number that"
                " counts in their names, though another goes back; if that is not their order, or"
                " they are of several runs, list the files in the order that is meant"
            )
    return ""


def _again(names: Sequence[str], ordered: Sequence[int]) -> str:
    """What is said where a setting in the names takes a value again after another one, as those of
    several runs of a sweep do, and hardly a schedule within one.
    """
    settings = [settings_in(names[index]) for index in ordered]
    for label in settings[0] if settings else ():
        values = [one[label] for one in settings if label in one]
        blocks = [value for value, _ in groupby(values)]
        if len(blocks) > len(set(blocks)):
            few = ", ".join(f"{value:g}" for value in blocks[:4])
            return (
                f"{names[ordered[0]]} … {names[ordered[-1]]} are taken as one run, though along"
                f" their steps {label} goes to and fro ({few}{' …' if len(blocks) > 4 else ''}); if"
                " they are of several runs, list the files of one"
            )
    return ""


def _before(lowest: int | None) -> int:
    """The step of what was there before any step."""
    return -1 if lowest == 0 else 0


def _order(found: Sequence[tuple[int, Position]]) -> Order:
    return Order(tuple(index for index, _ in found), tuple(position for _, position in found))


def _words(one: Name) -> str:
    """What tells a stage from others, where its number does not: its words, else what it counts."""
    return one.label or (one.kind.counts if one.kind else "")


def _count_alike(one: Name, other: Name) -> bool:
    if one.kind is None or other.kind is None:
        return True
    return (one.kind.counts, one.kind.numbers) == (other.kind.counts, other.kind.numbers)


def _undoubted(names: Sequence[str]) -> Order | None:
    try:
        order = order_all(names, "", lambda patterns, joined: "")
    except StepError:
        return None
    return None if order.guess or doubles(order) else order


def _each_in_its_way(names: Sequence[str], indices: Sequence[int]) -> str:
    return (
        f"{names[indices[0]]}, {names[indices[1]]} … are named each in its own way, and ordered by"
        " their numbers alone"
        if len(indices) > 1
        else ""
    )


# ---- asking ----


def _ask(
    where: str,
    names: Sequence[str],
    groups: Sequence[Sequence[int]],
    remedy: Remedy,
    problem: str,
    joined: Sequence[Sequence[int]] = (),
    most: int = 6,
) -> NoReturn:
    listed = ", ".join(_call(names, group) for group in groups[:most])
    more = f" … ({len(groups)})" if len(groups) > most else ""
    patterns = [pattern_of(names, group) for group in groups[:most]]
    in_a_row = [pattern_of(names, group) for group in joined[:most]] if len(joined) > 1 else []
    raise StepError(f"{where}: {listed}{more} {problem}; {remedy(patterns, in_a_row)}")


def _natural(words: str) -> list[tuple[bool, int, str]]:
    """A key that puts lc-4k before lc-32k."""
    return [
        (part.isdecimal(), int(part) if part.isdecimal() else 0, part)
        for part in re.split(r"(\d+)", words)
    ]


def _call(names: Sequence[str], group: Sequence[int]) -> str:
    return f"{pattern_of(names, group)} ({len(group):,})" if len(group) > 1 else names[group[0]]
