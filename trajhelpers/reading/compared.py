"""What was compared with which checksums: facts for a kernel's file, and in words."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

_WITH = {
    "sha256": "the SHA-256 that the hub lists",
    "git": "the SHA-1 that the hub lists",
    "crc32": "the CRC-32 of their zip's records",
}
NO_CHECKSUM = "no checksum of them is known"


def facts_of(
    files: int, compared: Mapping[str, int], not_compared: Mapping[str, int], interrupted: int = 0
) -> dict[str, Any]:
    """How many files were compared with which kind of checksum; how many were not, by the reason;
    and of how many a part was read before the pass was interrupted.
    """
    return {
        "files": files,
        "compared": dict(compared),
        "not_compared": dict(not_compared),
        **({"interrupted": interrupted} if interrupted else {}),
    }


def sum_of_facts(several: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Of files in several places."""
    compared: Counter[str] = Counter()
    not_compared: Counter[str] = Counter()
    for facts in several:
        compared.update(facts["compared"])
        not_compared.update(facts["not_compared"])
    return facts_of(
        sum(facts["files"] for facts in several),
        compared,
        not_compared,
        sum(facts.get("interrupted", 0) for facts in several),
    )


def in_words(facts: Mapping[str, Any]) -> str:
    """In a line.

    >>> print(in_words(facts_of(5, {"sha256": 3}, {"not read whole": 2})))
    of 5 files, 3 with the SHA-256 that the hub lists; 2 with nothing: not read whole
    """
    compared = [f"{count:,} with {_WITH[kind]}" for kind, count in facts["compared"].items()]
    others = [f"{count:,} with nothing: {why}" for why, count in facts["not_compared"].items()]
    if count := facts.get("interrupted"):
        others.append(
            f"of {count:,} a part was read before the pass was interrupted, and that was not"
            " compared"
        )
    said = "; ".join(filter(None, [", ".join(compared), *others]))
    return f"of {facts['files']:,} file{'s'[: facts['files'] != 1]}, {said}"
