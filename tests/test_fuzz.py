"""The fuzzer for a minute, as `make fuzz` runs it for ten: whatever a file holds, it is refused by
name or read as the library reads it whose format it is.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest

FUZZ = Path(__file__).parent / "fuzz"


def fuzz(*options):
    done = subprocess.run(
        [sys.executable, FUZZ, *options], capture_output=True, text=True, cwd=FUZZ.parents[1]
    )
    assert done.returncode in (0, 1), done.stderr[-2000:]
    return done


@pytest.mark.slow
def test_no_file_does_anything_else_for_a_minute():
    done = fuzz("--seconds", "60")
    assert done.returncode == 0, done.stdout


def test_a_case_is_told_by_its_numbers():
    """What a report says leads to the same bytes and the same outcome."""
    first, second = (fuzz("--format", "kernel", "--case", "1.4232935067.17").stdout for _ in "ab")
    files = [re.findall(r"b'.*'", said) for said in (first, second)]
    assert files[0] == files[1] and files[0]
    assert first.split(":")[0] == second.split(":")[0] == "clean"
