"""The numbers in a checkpoint's name, and what each counts: steps, epochs, tokens, stages."""

import re
from decimal import Decimal
from typing import NamedTuple

STEP, ITERATION, EPOCH = "step", "iteration", "epoch"
PLAIN, TOKENS, QUANTITY = "plain", "tokens", "quantity"
# What a name may be ordered by, first come first: a quantity is a number of millions and more that
# nothing labels, and so, where nothing else counts, one of tokens.
COUNTS = (STEP, ITERATION, EPOCH, PLAIN, QUANTITY, TOKENS)

_NUMBER = re.compile(
    r"(?P<digits>\d+)(?P<decimals>\.\d+)?"
    r"(?:(?P<exponent>e[+-]?\d+)(?![a-z0-9])|(?P<unit>[kmbt])(?P<tokens>t)?(?![a-z0-9]))?",
    re.IGNORECASE,
)
# A day, and perhaps a time of it.
DATE = re.compile(
    r"(?<!\d)(?P<day>(?:19|20)\d\d(?P<gap>[-_.]?)(?:0[1-9]|1[0-2])(?P=gap)(?:0[1-9]|[12]\d|3[01]))"
    r"(?:[-_T. ]+(?P<time>(?:[01]\d|2[0-3])(?P<colon>[-_:.h]?)[0-5]\d(?:(?P=colon)[0-5]\d)?))?"
    r"(?!\d)"
)
NUL = "\0"
_UNITS = {"k": 10**3, "m": 10**6, "b": 10**9, "t": 10**12}
_LABELS = {
    kind: re.compile(rf"(?<![a-z])(?:{label})[\W_]*$", re.IGNORECASE)
    for kind, label in (
        # Composer counts batches.
        (STEP, r"(?:global[\W_]?)?steps?|ba|batch(?:es)?"),
        (ITERATION, r"iter(?:ation)?s?"),
        (EPOCH, r"ep(?:och)?s?"),
        (TOKENS, r"tok(?:en)?s?"),
        ("metric", r"loss|ppl|acc|accuracy|lr|wd|score|f1|map|iou|auc"),
    )
}
# What a sweep varies and a run keeps, unlike a loss, which may be anything in any checkpoint.
_SETTING = re.compile(
    r"(?<![a-z])(?P<label>lr|learning[\W_]?rate|wd|weight[\W_]?decay|bs|batch[\W_]?size|dropout"
    r"|momentum|mom|rho|alpha|beta|gamma|lambda|lam|sigma|tau|temp|temperature)"
    r"[\W_]*(?P<value>\d+(?:\.\d+)?(?:e[+-]?\d+)?)",
    re.IGNORECASE,
)
_TOKENS_AFTER = re.compile(r"[\W_]*tok(?:en)?s?(?![a-z])", re.IGNORECASE)
_COUNT_LABEL = r"(?=$|[\W_]+(?:global[\W_]?)?(?:steps?|iter|ep|tok|ba)(?![a-z]))"
STAGE = re.compile(r"(?<![a-z])(?:stage|phase)[\W_]*(\d+)", re.IGNORECASE)
# Which of several runs side by side.
_SIDE = re.compile(
    r"(?<![a-z])(?:seed[\W_]*(?:\d+|[a-z][\w\W]*?" + _COUNT_LABEL + r")"
    r"|(?:ingredient|run|trial|fold|replica)[\W_]*\d+)",
    re.IGNORECASE,
)


class Number(NamedTuple):
    """``label`` is where the word begins that says what it counts, ``begin`` where itself does."""

    value: int
    kind: str
    label: int
    begin: int
    end: int


class Parts(NamedTuple):
    """A name taken apart: its numbers that count, the numbers of its stage ("stage2"), which of
    several runs side by side it says that it is ("seed-default"), and its text, in which stage and
    side are blank and numbers are NUL.
    """

    numbers: tuple[Number, ...]
    stage: tuple[int, ...]
    side: str
    text: str


def take_apart(name: str, dated: bool = False) -> Parts:
    """
    ``dated``: a day and its time are one number.

    >>> parts = take_apart("stage2-ingredient1-step1000-tokens4B")
    >>> [(number.kind, number.value) for number in parts.numbers], parts.stage, parts.side
    ([('step', 1000), ('tokens', 4000000000)], (2,), 'ingredient1')
    >>> [(number.kind, number.value) for number in take_apart("epoch=4-val_loss=0.25").numbers]
    [('epoch', 4)]
    >>> [number.value for name in ("0.5T", "16.78B", "step_1e3") for number in take_apart(name)[0]]
    [500000000000, 16780000000, 1000]
    """
    side = _SIDE.search(name)
    stages = list(STAGE.finditer(name))
    rest = name
    for found in (*stages, *([side] if side else [])):
        rest = blank(rest, *found.span())
    numbers, text = _numbers(rest, dated)
    if not numbers and (side or stages):
        # Nothing else counts: seed_1, seed_2; stage1, stage2.
        side, stages, (numbers, text) = None, [], _numbers(name, dated)
    return Parts(
        tuple(numbers),
        tuple(int(found[1]) for found in stages),
        side[0].strip("-_. ") if side else "",
        text,
    )


def _numbers(name: str, dated: bool) -> tuple[list[Number], str]:
    """The numbers of a name that may count something, and its text without any number."""
    found, sizes, spans, masked = [], [], [], name
    if dated:
        for match in DATE.finditer(name):
            begin, end = match.span()
            # Of as many digits with a time as without.
            digits = re.sub(r"\D", "", match[0]).ljust(14, "0")
            found.append(Number(int(digits), PLAIN, begin, begin, end))
            spans.append((begin, end))
            masked = blank(masked, begin, end, "0")
    dates = {begin for begin, _ in spans}
    for match in _NUMBER.finditer(masked):
        if match.start() in dates:
            continue
        begin, before = match.start(), masked[: match.start()]
        value, end = _value(match)
        kind, label = next(
            ((kind, at) for kind, pattern in _LABELS.items() if (at := pattern.search(before))),
            (PLAIN, None),
        )
        if kind == PLAIN:
            if _TOKENS_AFTER.match(name, end) or match["tokens"]:
                kind = TOKENS
            elif match["unit"] and match["unit"].lower() != "k":
                kind = QUANTITY
            elif match["exponent"] and before[-1:].isalpha():
                value = None  # of a hash
        masked = before + "0" * (end - begin) + masked[end:]
        spans.append((begin, end))
        if value is not None and kind != "metric":
            found.append(Number(value, kind, label.start() if label else begin, begin, end))
            if match["unit"] and kind in (PLAIN, QUANTITY):
                sizes.append((found[-1], spans[-1]))
    found, spans = sorted(found, key=lambda number: number.begin), sorted(spans)
    if any(number.kind in (STEP, ITERATION) for number in found):
        # Beside a step, "4k-to-32k" says what the run is, and not how far.
        found = [number for number in found if all(number is not size for size, _ in sizes)]
        spans = [span for span in spans if all(span != size for _, size in sizes)]
    for span in spans:
        name = blank(name, *span, NUL)
    return found, name


def _value(match: re.Match) -> tuple[int | None, int]:
    """The number, None for what counts nothing (0.25, 1e-3), and where it ends."""
    digits, decimals, exponent = match["digits"], match["decimals"] or "", match["exponent"]
    if match["unit"]:
        quantity = Decimal(digits + decimals) * _UNITS[match["unit"].lower()]
        return int(quantity) if quantity == int(quantity) else None, match.end()
    if decimals or (exponent and not (exponent[1:].isdecimal() and int(exponent[1:]) < 16)):
        return None, match.end()
    return int(digits) * 10 ** int(exponent[1:] if exponent else 0), match.end()


def settings_in(name: str) -> dict[str, float]:
    """The settings of a training that a name gives, by their labels.

    >>> settings_in("lr1e-3_wd=0.1_ep10-loss0.25")
    {'lr': 0.001, 'wd': 0.1}
    """
    return {found["label"].lower(): float(found["value"]) for found in _SETTING.finditer(name)}


def blank(text: str, begin: int, end: int, filling: str = " ") -> str:
    """The text, as long as before, without some of it."""
    return text[:begin] + filling * (end - begin) + text[end:]
