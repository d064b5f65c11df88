"""What the names of a run's checkpoints say, side by side: which of the numbers in them is the
step, and what is a word for a stage, or for another run.
"""

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from itertools import pairwise, takewhile
from typing import NamedTuple

from .numbers import (
    COUNTS,
    DATE,
    EPOCH,
    ITERATION,
    NUL,
    PLAIN,
    QUANTITY,
    STAGE,
    STEP,
    TOKENS,
    Number,
    Parts,
    blank,
    take_apart,
)

# A copy of some step's checkpoint, whatever numbers its name carries, unless all names are of this
# kind.
_CHOSEN = re.compile(r"(?<![a-z])(best|last|latest|final)(?![a-z])", re.IGNORECASE)
_CHECKPOINT = re.compile(r"ckpt|chck|check|snap|save|train|model|weights", re.IGNORECASE)
_INITIAL = re.compile(r"(?<![a-z])init(?:ial|ialization|ialisation)?(?![a-z])", re.IGNORECASE)


class Kind(NamedTuple):
    """What names of one kind have in common: the word for what they count, the words before it and
    behind.
    """

    counts: str
    words: str
    suffix: str
    # How many bare numbers there are before: checkpoint_1_100 counts otherwise than checkpoint1.
    numbers: int
    # How many numbers its stage has.
    stages: int

    @property
    def says_what_it_counts(self) -> bool:
        """Whether names of this kind are those of checkpoints, rather than of versions (v2) or of
        variants (fp32, 4bit).
        """
        return self.counts != PLAIN or not self.words or bool(_CHECKPOINT.search(self.words))


class Name(NamedTuple):
    """``stage`` are the numbers of its stages; ``side`` says which of several runs side by side it
    is of; ``label`` is all that tells its stage or run from others, in words.
    """

    step: int | None = None
    tokens: int | None = None
    stage: tuple[int, ...] = ()
    side: str = ""
    label: str = ""
    kind: Kind | None = None
    # Where the numbers are that change along a run.
    spans: tuple[tuple[int, int], ...] = ()
    # What else changes, and might have been counted: of a step with a label, an epoch and bare
    # numbers before it.
    others: tuple[int, ...] = ()
    is_initial: bool = False


def read_names(names: Sequence[str]) -> list[Name]:
    """What each name says beside the others.

    The step is the number in which the names differ: the one labelled "step", else "iter", else
    "epoch", else the last.

    >>> [one.step for one in read_names(["epoch_10", "epoch_2", "best"])]
    [10, 2, None]
    >>> [one.step for one in read_names(["epoch=3-step=300", "epoch=4-step=400-val_loss=0.25"])]
    [300, 400]
    >>> [one.step for one in read_names(["resnet50_1", "resnet50_2", "resnet50_last"])]
    [1, 2, None]
    """
    dated = _are_dated(names)
    apart = [take_apart(name, dated) for name in names]
    numbers = [list(parts.numbers) for parts in apart]
    if sum(bool(found) for name, found in zip(names, numbers) if not _CHOSEN.search(name)) > 1:
        numbers = [[] if _CHOSEN.search(name) else found for name, found in zip(names, numbers)]
    numbers = _differing(numbers, [parts.text for parts in apart])
    return [
        _read(name, parts, found, anew)
        for name, parts, found, anew in zip(names, apart, numbers, _count_on(numbers, names))
    ]


def families(read: Sequence[Name]) -> dict[Kind, list[int]]:
    """Indices of names that have a step, by kind."""
    found: dict[Kind, list[int]] = {}
    for index, one in enumerate(read):
        if one.kind is not None:
            found.setdefault(one.kind, []).append(index)
    return found


def pattern_of(names: Sequence[str], group: Sequence[int]) -> str:
    """The shortest shell pattern we can think of that fits these names and no others.

    >>> pattern_of(["main", "step1-tokens2B", "step2-tokens4B", "step1-seed-a"], [1, 2])
    'step*-tokens*'
    """
    if len(group) == 1:
        return names[group[0]]
    wanted = {names[index] for index in group}
    read = read_names([names[index] for index in group])
    masks = list(dict.fromkeys(_mask(names[index], one) for index, one in zip(group, read)))
    start, end = _common(masks), _common([mask[::-1] for mask in masks])[::-1]
    start, end = start.partition("*")[0], end.rpartition("*")[2]
    candidates = [f"{start}*", f"{start}*{end}"]
    if len(masks) == 1:
        pieces = masks[0].split("*")
        candidates += ["*".join(pieces[:count]) + "*" for count in range(2, len(pieces))] + masks
    candidates += [f"{candidate}[0-9]" for candidate in candidates if candidate.endswith("*")]
    fitting = (
        candidate
        for candidate in candidates
        if {name for name in names if fnmatchcase(name, candidate)} == wanted
    )
    return next(fitting, candidates[-1])


def _read(name: str, parts: Parts, found: list[Number], counts_on: bool) -> Name:
    step = _step(found, counts_on)
    if step is None:
        return Name(is_initial=bool(_INITIAL.search(name)))
    tokens = (
        step
        if step.kind in (QUANTITY, TOKENS)
        else next((number for number in found if number.kind == TOKENS), None)
    )
    text = parts.text
    for number in found:
        if number is not step:
            text = blank(text, number.label, number.end)
    before, after = text[: step.label], text[step.end :]
    words = _INITIAL.sub("", re.sub(r"[\s\0]+", "", before)).strip("-_./= ")
    counts = "tokens" if tokens is step else re.sub(r"[\W_]", "", name[step.label : step.begin])
    kind = Kind(
        (counts or step.kind).lower(),
        words,
        # What is measured or numbered behind the step varies along a run; words alone do not.
        "" if NUL in after else re.sub(r"[\W_]+", "-", after).strip("-"),
        sum(one.kind == PLAIN and one.begin < step.begin for one in found)
        if step.kind == PLAIN
        else 0,
        len(parts.stage),
    )
    stages = [match[0] for match in STAGE.finditer(name)] if parts.stage else []
    return Name(
        step.value,
        tokens.value if tokens else None,
        parts.stage,
        parts.side,
        "-".join(filter(None, [words, *stages, parts.side])),
        kind,
        tuple((number.begin, number.end) for number in found),
        tuple(
            one.value
            for one in found
            if one is not step
            and one.kind in (EPOCH, PLAIN)
            and (step.kind == PLAIN or one.kind != PLAIN or one.begin < step.begin)
        ),
    )


def _are_dated(names: Sequence[str]) -> bool:
    """Whether names tell their order by days, of which 12-30 in 2024-05-01_12-30 is the time: where
    several days are there, all with a time or all without.
    """
    dates = [match for name in names if (match := DATE.search(name))]
    if any(not match["gap"] and not match["time"] for match in dates):
        return False  # 20240501 counts days as any number does.
    days, timed = {match["day"] for match in dates}, {bool(match["time"]) for match in dates}
    return len(days) > 1 and len(timed) == 1


def _differing(numbers: list[list[Number]], texts: list[str]) -> list[list[Number]]:
    """Without what is the same in all names, or in all that differ in numbers alone, as 50 is in
    resnet50_1: but for those who would have nothing left to be ordered by.
    """
    said = [
        {(number.value, _squeezed(text[: number.begin])): number for number in found}
        for found, text in zip(numbers, texts)
    ]
    numbered = [index for index, found in enumerate(numbers) if found]
    groups = {"": numbered}
    for index in numbered:
        groups.setdefault(_squeezed(texts[index]) + ".", []).append(index)
    constant: list[set] = [set() for _ in numbers]
    for group in groups.values():
        if len(group) > 1:
            shared = set.intersection(*(set(said[index]) for index in group))
            for index in group:
                constant[index] |= shared
    kept = []
    for found, keys, same in zip(numbers, said, constant):
        rest = [number for key, number in keys.items() if number.kind == TOKENS or key not in same]
        kept.append(rest if any(number.kind != TOKENS for number in rest) else found)
    return kept


def _step(found: list[Number], counts_on: bool) -> Number | None:
    kinds = (STEP, ITERATION, *((PLAIN,) if counts_on else ()), *COUNTS[2:])
    return next(
        (number for kind in kinds for number in reversed(found) if number.kind == kind), None
    )


def _count_on(numbers: list[list[Number]], names: Sequence[str]) -> list[bool]:
    """Whether a bare number follows the epoch, as 7 does in ``epoch2_7``, and counts on from epoch
    to epoch, in all names that have an epoch.
    """
    epochs = [any(one.kind == EPOCH for one in found) for found in numbers]
    follows = [
        any(
            (one.kind, other.kind) == (EPOCH, PLAIN)
            and re.fullmatch(r"[\W_]+", name[one.end : other.begin])
            for one, other in pairwise(found)
        )
        for name, found in zip(names, numbers)
    ]
    last = [found[-1].value for found, has_epoch in zip(numbers, epochs) if has_epoch]
    if len(set(last)) < len(last) or epochs != follows:
        return [False] * len(numbers)
    return follows


def _squeezed(text: str) -> str:
    return re.sub(r"\0+", NUL, text)


def _mask(name: str, one: Name) -> str:
    for begin, end in reversed(one.spans):
        name = f"{name[:begin]}*{name[end:]}"
    return name


def _common(texts: Sequence[str]) -> str:
    """The beginning that all share."""
    return "".join(
        letters[0] for letters in takewhile(lambda letters: len(set(letters)) == 1, zip(*texts))
    )
