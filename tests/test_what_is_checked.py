"""The page "What is checked, and what is not" names tests that exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "book" / "what-is-checked.md"
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.read_text().splitlines()
    if line.startswith("| ") and not line.startswith("| threat")
]


def named(cell):
    """Of "`file`: one test; another": (file, test), each as it is called in the source."""
    file = None
    for part in cell.split("; "):
        if match := re.fullmatch(r"`(\w+)`: (.*)", part):
            file, part = match.groups()
        yield file, "test_" + re.sub("[ -]", "_", part)


@pytest.mark.parametrize("threat, happens, tests", ROWS, ids=[row[0] for row in ROWS])
def test_each_test_that_is_named_exists(threat, happens, tests):
    assert happens
    for file, test in named(tests):
        source = (ROOT / "tests" / f"test_{file}.py").read_text()
        assert re.search(rf"^def {test}\(", source, re.M), f"{threat}: {file} has no {test}"


def test_the_table_is_read():
    assert len(ROWS) > 10
