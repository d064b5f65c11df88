"""What is known of suites on the hub beside the names of their branches: ``suites.toml``."""

import tomllib
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import NamedTuple


class Suite(NamedTuple):
    """A table of ``suites.toml``, which says what its entries mean."""

    name: str
    repositories: tuple[str, ...]
    source: str
    verified: str
    revisions: tuple[str, ...] = ()
    schedule: str = ""
    main: str = ""


def suite_of(repository: str) -> Suite | None:
    """
    >>> suite_of("LLM360/Amber").main, suite_of("someone/digits")
    ('ckpt_359', None)
    """
    return next(
        (
            suite
            for suite in suites()
            if any(fnmatchcase(repository, pattern) for pattern in suite.repositories)
        ),
        None,
    )


@cache
def suites() -> tuple[Suite, ...]:
    """All that are known."""
    written = Path(__file__).with_name("suites.toml").read_text(encoding="utf-8")
    return tuple(
        Suite(
            table["name"],
            tuple(table["repositories"]),
            table["source"],
            table["verified"],
            tuple(table.get("revisions", ())),
            table.get("schedule", ""),
            table.get("main", ""),
        )
        for table in tomllib.loads(written)["suite"]
    )
