"""From the names of checkpoints to their steps, and so to their order."""

import operator
import re
from collections.abc import Iterable, Sequence

from ..errors import StepError

# A decimal or a power of ten is a metric or a setting; it is matched so that its digits are not
# taken for a step.
_NUMBER = re.compile(
    r"(?P<decimal>\d+\.\d+(?:e[+-]?\d+)?|\d+e[+-]\d+)|(?P<whole>\d+)(?P<thousand>k(?![a-z]))?",
    re.IGNORECASE,
)
_LABELS = [
    re.compile(rf"(?<![a-z]){label}[\W_]*$", re.IGNORECASE)
    for label in ("(?:global[_-]?)?steps?", "iter(?:ation)?s?", "ep(?:och)?s?")
]
_STEP, _ITERATION, _EPOCH = range(3)
# A copy of some step's checkpoint, whatever numbers its name carries, unless all names are of this
# kind.
_CHOSEN = re.compile(r"(?<![a-z])(best|last|latest|final)(?![a-z])", re.IGNORECASE)
_INITIAL = re.compile(r"(?<![a-z])init(?:ial|ialization|ialisation)?(?![a-z])", re.IGNORECASE)


def steps_from_names(names: Sequence[str]) -> list[int | None]:
    """The step of each name, None for a name without one.

    The step is the number in which the names differ: the one labelled "step", else "iter", else
    "epoch", else the last.

    >>> steps_from_names(["epoch_10", "epoch_init", "epoch_2", "best"])
    [10, 0, 2, None]
    >>> steps_from_names(["epoch=3-step=300", "epoch=4-step=400-val_loss=0.25"])
    [300, 400]
    >>> steps_from_names(["resnet50_1", "resnet50_2", "resnet50_last"])
    [1, 2, None]
    """
    numbers = [_numbers(name) for name in names]
    if sum(bool(found) for name, found in zip(names, numbers) if not _CHOSEN.search(name)) > 1:
        numbers = [[] if _CHOSEN.search(name) else found for name, found in zip(names, numbers)]
    shared = (
        set.intersection(*(set(found) for found in numbers if found))
        if sum(map(bool, numbers)) > 1
        else set()
    )
    differing = [[number for number in found if number not in shared] for found in numbers]
    if not any(differing):
        # Nothing differs but, perhaps, the folder above: names that are all alike carry one step,
        # and the caller says so.
        differing = numbers
    steps = _chosen(differing)
    lowest = min((step for step in steps if step is not None), default=1)
    return [
        (-1 if lowest == 0 else 0) if step is None and _INITIAL.search(name) else step
        for step, name in zip(steps, names)
    ]


def every_but(steps: Sequence[int], every: int, skip: Iterable[int]) -> list[int]:
    """Indices of every K-th of the steps, but for those that are skipped.

    >>> every_but([0, 10, 20, 30], 2, [20])
    [0]
    """
    every, skip = operator.index(every), {operator.index(step) for step in skip}
    if every < 1:
        raise ValueError(f"every: expected a whole number from 1 on, got {every}")
    if unknown := skip - set(steps):
        raise StepError(
            f"skip: no checkpoint at step {min(unknown)}; there are"
            f" {', '.join(map(str, list(steps)[:8]))}{' …' if len(steps) > 8 else ''}"
        )
    return [index for index in range(0, len(steps), every) if steps[index] not in skip]


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


def _numbers(name):
    """All whole numbers in a name, each with the text before it, in which earlier numbers are
    masked.
    """
    return [
        (
            _NUMBER.sub("#", name[: match.start()]),
            int(match["whole"]) * (1000 if match["thousand"] else 1),
        )
        for match in _NUMBER.finditer(name)
        if match["whole"]
    ]


def _chosen(found):
    numbered = [numbers for numbers in found if numbers]
    for label in (_STEP, _ITERATION):
        labelled = [_labelled(numbers, label) for numbers in numbered]
        if None not in labelled:
            return [_labelled(numbers, label) for numbers in found]
    epochs = [_labelled(numbers, _EPOCH) for numbers in numbered]
    last = [numbers[-1][1] for numbers in numbered]
    if None not in epochs and not (
        all(map(_counts_within_epoch, numbered)) and len(set(last)) == len(last)
    ):
        return [_labelled(numbers, _EPOCH) for numbers in found]
    return [numbers[-1][1] if numbers else None for numbers in found]


def _labelled(numbers, label):
    return next(
        (value for before, value in reversed(numbers) if _LABELS[label].search(before)), None
    )


def _counts_within_epoch(numbers):
    """Whether a bare number follows the epoch, as 7 does in ``epoch2_7``: it counts on from epoch
    to epoch.
    """
    if len(numbers) < 2:
        return False
    (before, _), (before_last, _) = numbers[-2:]
    return (
        bool(_LABELS[_EPOCH].search(before))
        and re.fullmatch(r"#[\W_]+", before_last[len(before) :]) is not None
    )
