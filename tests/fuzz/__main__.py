"""Changes files of each format and asks what we make of them, and what the format's own library
does::

    python tests/fuzz                                  ten minutes, all formats
    python tests/fuzz --cases 20000 --format zip npz   so many files of each
    python tests/fuzz --format zip --case 3.17.2041    one again: its files, its outcome

What reaches something new in the package is changed further, where atheris is installed, which
watches. A case is the number of a sound file and those of its changes, so that a line tells it; the
numbers hold as long as the libraries write the same bytes.

clean: refused, with the file's name. equal: read, as the library reads it (or as it was, where that
refuses). lenient: read, where the library refuses. other: anything else, which must not be.
"""

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # written_runs

from exploring import explore
from formats import FORMATS
from judging import SECONDS, Case, Judge

_KINDS = ("clean", "equal", "lenient", "other")
_FORK = multiprocessing.get_context("fork")


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests/fuzz", description=__doc__.split("::")[0])
    parser.add_argument("--format", nargs="+", choices=FORMATS, default=list(FORMATS))
    parser.add_argument("--seconds", type=float, default=600.0, help="of all formats together")
    parser.add_argument("--cases", type=int, help="of each format, however long it takes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--case", help="one case again, as a report calls it")
    parser.add_argument(
        "--reasons", action="store_true", help="of all outcomes, not of others only"
    )
    given = parser.parse_args()
    if given.case:
        return _again(given.format[0], tuple(map(int, given.case.split("."))))
    print(f"{'format':12} {'files':>8}", *(f"{kind:>8}" for kind in _KINDS))
    others = 0
    for name in given.format:
        seconds = float("inf") if given.cases else given.seconds / len(given.format)
        report = Report(name)
        with tempfile.TemporaryDirectory(dir=_memory()) as scratch:
            report.fill(Path(scratch), given.seed, seconds, given.cases or sys.maxsize)
        report.print(given.reasons)
        others += report.kinds["other"]
    return int(others > 0)


def _again(name: str, case: Case) -> int:
    """The outcome, and the files, which stay."""
    with tempfile.TemporaryDirectory() as scratch:
        judge = Judge(FORMATS[name], Path(scratch) / "run")
        print(*judge.judge(case), sep=": ")
    folder = Path(tempfile.mkdtemp())
    for path, content in judge.tree(case).items():
        print(f"{folder / path}: {content[:1000]!r}")
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return 0


def _memory() -> str | None:
    """Where files are written without a disk."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


class Report:
    """What came of the cases of one format."""

    def __init__(self, name: str):
        self.name = name
        self.kinds: Counter = Counter()
        # By kind and reason: how many, and the case with the fewest changes.
        self.reasons: dict[tuple[str, str], tuple[int, Case]] = {}

    def add(self, kind: str, reason: str, case: Case) -> None:
        self.kinds[kind] += 1
        count, shortest = self.reasons.get((kind, reason), (0, case))
        self.reasons[kind, reason] = count + 1, min(shortest, case, key=len)

    def fill(self, scratch: Path, seed: int, seconds: float, cases: int) -> None:
        """By processes of which a crash, or what hangs, ends one."""
        end = time.monotonic() + seconds
        corpus = scratch / "corpus"
        corpus.mkdir()

        def more() -> bool:
            return time.monotonic() < end and self.kinds.total() < cases

        while more():
            ours, theirs = _FORK.Pipe()
            begin = seed + self.kinds.total()
            process = _FORK.Process(
                target=explore, args=(self.name, scratch / "run", corpus, begin, theirs)
            )
            process.start()
            theirs.close()
            case: Case = ()
            try:
                while more():
                    # Of a process that has no case yet, imports take as long as the machine likes.
                    if not ours.poll(3 * SECONDS if case else 60 * SECONDS):
                        self.add("other", "hangs", case)
                        break
                    what, *told = ours.recv()
                    if what == "ends":
                        self.add(*told)
                    else:
                        (case,) = told
            except EOFError:
                process.join()
                if not case:
                    raise RuntimeError(f"{self.name}: its sound files can't be read") from None
                self.add("other", f"crashes, exit status {process.exitcode}", case)
            finally:
                process.kill()
                process.join()

    def print(self, all_reasons: bool) -> None:
        counts = self.kinds.total(), *(self.kinds[kind] for kind in _KINDS)
        print(f"{self.name:12}", *(f"{count:8,}" for count in counts), flush=True)
        by_number = sorted(self.reasons.items(), key=lambda item: (item[0][0], -item[1][0]))
        for (kind, reason), (count, case) in by_number:
            if kind == "other" or all_reasons:
                again = f"--format {self.name} --case {'.'.join(map(str, case))}"
                print(f"    {kind} {count:,} x {reason!r} ({again})", flush=True)


if __name__ == "__main__":
    sys.exit(main())
