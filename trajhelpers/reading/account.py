"""What is counted, and what is not, in facts for a kernel's file and in words for a reader."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from ..printable import printable
from .compared import in_words as of_checksums

_EMBEDDING = re.compile(r"(^|\.)([^.]*embed[^.]*|wte|wpe|lm_head|shared)(\.|$)", re.IGNORECASE)
_ALONE, _PATTERNS, _NAMES, _LINES = 4, 8, 8, 50


class Text(str):
    """That a prompt shows as it reads."""

    def __repr__(self) -> str:
        return str(self)


def gathered(reasons: Mapping[str, str]) -> list[str]:
    """``NAME: REASON`` for a few names, a line with a pattern for many that are alike.

    >>> reasons = {f"h.{layer}.attn.bias": "a causal mask" for layer in range(24)}
    >>> gathered({"n": "I64, not a parameter", **reasons})
    ['n: I64, not a parameter', '24 tensors h.*.attn.bias: a causal mask']
    """
    by_reason: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        by_reason.setdefault(_without_numbers(reason), []).append(name)
    lines = []
    for reason, names in by_reason.items():
        if len(names) <= _ALONE:
            lines += [f"{name}: {reasons[name]}" for name in names]
            continue
        if len({reasons[name] for name in names}) == 1:
            reason = reasons[names[0]]
        for shorten in (_without_numbers, _last_part, lambda name: ""):
            alike: dict[str, list[str]] = {}
            for name in names:
                alike.setdefault(shorten(name), []).append(name)
            if len(alike) <= _PATTERNS:
                break
        lines += [
            f"{one[0]}: {reason}"
            if len(one) == 1
            else f"{len(one):,} tensors {pattern or listed(one, 3)}: {reason}"
            for pattern, one in alike.items()
        ]
    return lines


def _without_numbers(name):
    return re.sub(r"\d+", "*", name)


def _last_part(name):
    return f"*.{name.rpartition('.')[2]}"


def listed(names: Sequence[str], most: int = _NAMES) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def percent(share: float) -> str:
    """
    >>> percent(0.1234), percent(0.00123), percent(0.99985)
    ('12 %', '0.12 %', '99.98 %')
    """
    if 0.99 < share < 1:
        # What is not all is not called so.
        return f"{math.floor(1e4 * share) / 100:g} %"
    return f"{100 * share:.2g} %" if share < 0.1 else f"{100 * share:.0f} %"


def capped(lines: Sequence[str]) -> list[str]:
    """So many lines as a file of n × n numbers may bear, and how many there were."""
    more = [f"and {len(lines) - _LINES:,} more"] if len(lines) > _LINES else []
    return [*lines[:_LINES], *more]


def counted(
    sizes: Mapping[str, int],
    dtypes: Mapping[str, str],
    ties: Iterable[Sequence[str]],
    prefixes: Iterable[str],
) -> dict[str, Any]:
    """Plain facts of the parameters that count, for JSON."""
    embeddings = [name for name in sizes if _EMBEDDING.search(name)]
    by_dtype = sorted((dtype, sizes[name]) for name, dtype in dtypes.items())
    return {
        "tensors": len(sizes),
        "numbers": sum(sizes.values()),
        "dtypes": {
            dtype: sum(size for _, size in group)
            for dtype, group in groupby(by_dtype, key=lambda one: one[0])
        },
        "embeddings": {
            "numbers": sum(sizes[name] for name in embeddings),
            "names": capped(embeddings),
        },
        "ties": capped([" = ".join(names) for names in ties]),
        "prefixes": list(prefixes),
    }


def of_constant(facts: Mapping[str, Any]) -> str:
    """What a kernel's source says of groups that never move, in a line."""
    groups = listed(facts.get("groups", ()), 4)
    seen = ", as far as a sample shows" if facts.get("sampled") else ""
    what = f"{percent(facts.get('share', 0))} of ‖θ‖² never moves{seen}: {groups}"
    return f"left out, {what}" if facts["left_out"] else what


def in_words(source: Mapping[str, Any]) -> str:
    """What ``trajectory.provenance`` says, which a kernel keeps as its ``source``, line by line."""
    lines = []
    if facts := source.get("counted"):
        numbers, by_dtype = facts["numbers"], facts["dtypes"]
        dtypes = ", ".join(
            dtype if len(by_dtype) == 1 else f"{dtype} ({percent(size / numbers)})"
            for dtype, size in by_dtype.items()
        )
        tensors = f"tensor{'s'[: facts['tensors'] != 1]}"
        lines.append(f"θ: {numbers:,} numbers in {facts['tensors']:,} {tensors}, {dtypes}")
        embeddings = facts["embeddings"]
        if embeddings["names"]:
            share = percent(embeddings["numbers"] / numbers)
            lines.append(f"embeddings, by their names: {share}: {listed(embeddings['names'])}")
        lines += [f"one tensor, counted once: {names}" for names in facts["ties"]]
        if facts["prefixes"]:
            lines.append(f"taken off the names: {', '.join(facts['prefixes'])}")
    if source.get("state"):
        lines.append(f"state of each checkpoint: {source['state']}")
    if source.get("constant"):
        lines.append(of_constant(source["constant"]))
    if source.get("verified"):
        lines.append(f"compared: {of_checksums(source['verified'])}")
    lines += [f"chosen: {note}" for note in source.get("notes", ())]
    lines += [f"left out: {line}" for line in source.get("left_out", ())]
    return "\n".join(map(printable, lines))
