"""What an audit found, and how it is said."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ..errors import missing_extra
from ..printable import printable
from ..reading.formats import KINDS
from ..sources.catalogue import Revision


class Finding(NamedTuple):
    """``format`` is "safetensors" or "bin", None where it concerns both; ``steps`` are all the
    steps that it is about, in a run of several stages the names of their revisions.
    """

    kind: str
    format: str | None
    steps: tuple
    text: str


class Audit:
    """What :func:`trajhelpers.audit` returns; ``str(audit)`` is a table.

    Attributes
    ----------
    errors, notes : list of Finding
        Errors: a step is "missing" or "unreadable", or one weight file is "repeated" under steps
        that cannot all be it, or one checkpoint is, of which a kernel tells. Notes: "equal",
        "formats", "sharding", "dtypes", "size", "unread", "left out", "order" (a guess), and from a
        kernel "still", "unrelated", "swapped", "detour", "length".
    formats : dict
        By step, in a run of several stages by the name of the revision, the format that
        :func:`trajhelpers.open_trajectory` reads; steps without weights are not in it.
    sampled : str
        How much of the parameters the kernel is of that was audited with them, where not of all.
    """

    def __init__(
        self,
        source: str,
        revisions: Sequence[Revision],
        formats: Mapping[int | str, str],
        errors: Sequence[Finding],
        notes: Sequence[Finding],
        sampled: str = "",
    ):
        self.source, self.revisions, self.formats, self.errors, self.notes = (
            source,
            list(revisions),
            dict(formats),
            list(errors),
            list(notes),
        )
        self.sampled = sampled

    def errors_in(self, format: str | Mapping[int | str, str]) -> list[Finding]:
        """The errors that matter to a reader of ``format``: "safetensors", "bin", or a dict of them
        by step, such as :attr:`formats`.
        """
        if isinstance(format, str):
            return [error for error in self.errors if error.format in (None, format)]
        return [
            error
            for error in self.errors
            if error.format is None or any(format.get(step) == error.format for step in error.steps)
        ]

    def table(self):
        """A DataFrame, one row a finding: level ("error" or "note"), kind, format, steps, text."""
        try:
            import pandas as pd
        except ModuleNotFoundError as error:
            raise missing_extra("a report's table", "pandas", "notebook") from error

        rows = [
            (level, *finding)
            for level, findings in (("error", self.errors), ("note", self.notes))
            for finding in findings
        ]
        return pd.DataFrame(rows, columns=["level", "kind", "format", "steps", "text"])

    def to_json(self) -> str:
        """One JSON object: source, revisions (step, name, commit, format that is read), errors,
        notes.
        """
        revisions = [
            {
                "step": revision.step,
                "name": revision.label,
                "commit": revision.commit,
                "stage": revision.stage,
                "tokens": revision.tokens,
                "format": self.formats.get(revision.key),
            }
            for revision in self.revisions
        ]
        return json.dumps(
            {
                "source": self.source,
                "revisions": revisions,
                "errors": [finding._asdict() for finding in self.errors],
                "notes": [finding._asdict() for finding in self.notes],
                **({"sampled": self.sampled} if self.sampled else {}),
            }
        )

    def __repr__(self) -> str:
        of = f"{len(self.revisions)} steps, " if self.revisions else ""
        return printable(
            f"Audit({self.source}: {of}{_count(self.errors, 'error')},"
            f" {_count(self.notes, 'note')})"
        )

    def __str__(self) -> str:
        held = Counter(
            kind for revision in self.revisions for kind in KINDS if revision.weights[kind]
        )
        read = Counter(self.formats.values())
        files = (
            f": {_steps(revision.key for revision in self.revisions)}; {_amounts(held)}; to be"
            f" read: {_amounts(read)}"
        )
        # Of a kernel there are none.
        lines = [printable(f"{self.source or 'checkpoints'}{files if self.revisions else ''}")]
        rows = [
            [printable(cell) for cell in (level, *finding[:2], _steps(finding.steps), finding.text)]
            for level, findings in (("error", self.errors), ("note", self.notes))
            for finding in findings
        ]
        widths = [max((len(row[column]) for row in rows), default=0) for column in range(4)]
        lines += [
            "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths)), row[4]])
            for row in rows
        ]
        in_each = {name: self.errors_in(name) for name in KINDS if held[name]}
        lines.append(
            f"{_count(self.errors, 'error')}"
            + (
                " ("
                + ", ".join(
                    f"{len(errors)} for readers of {name}" for name, errors in in_each.items()
                )
                + ")"
                if self.errors and len(in_each) > 1
                else ""
            )
            + f", {_count(self.notes, 'note')}"
            + (f"; the path was seen {self.sampled}" if self.sampled else "")
        )
        if self.errors_in(self.formats):
            elsewhere = (
                ", read the other format (format=, --format), or accept the errors (accept=True,"
                " --accept)"
            )
            # A folder has no choice of formats, and opens whatever the audit says.
            on_the_hub = any(revision.commit for revision in self.revisions)
            lines.append(f"to go on: leave steps out (skip=, --skip){elsewhere * on_the_hub}")
        return "\n".join(lines)


def _steps(steps):
    """
    >>> _steps([0, 1, 2]), _steps(range(0, 154))
    ('step 0, 1, 2', 'step 0, 1, 2 … 153 (154 steps)')
    """
    steps = list(steps)
    return (
        ""
        if not steps
        else "step " * isinstance(steps[0], int)
        + (
            ", ".join(map(str, steps))
            if len(steps) < 5
            else f"{', '.join(map(str, steps[:3]))} … {steps[-1]} ({len(steps)} steps)"
        )
    )


def _amounts(counts):
    return (
        " and ".join(f"{name} of {count} steps" for name, count in counts.items() if count)
        or "nothing"
    )


def listing(names: Sequence[str], most: int = 3) -> str:
    """The first few names, and how many there are."""
    return ", ".join(names[:most]) + (f" … ({len(names)} files)" if len(names) > most else "")


def _count(findings, word):
    return f"{len(findings) or 'no'} {word}{'s'[: len(findings) != 1]}"


def in_bytes(size: float) -> str:
    """
    >>> in_bytes(166_000_000)
    '166 MB'
    """
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"
