"""Is each checkpoint of a run what it says it is? By hashes, sizes and headers, before any weights
are read; by the increments, afterwards.
"""

import json
from collections import Counter
from typing import NamedTuple

import numpy as np

from ..reading.folders import _SIDE, _WEIGHTS
from ..sources.hub.revisions import FORMATS, choose_format, find_revisions, is_hub, repository, weight_files
from .increments import irregular_increments
from .local import local_revisions

# Two zip files of the same tensors differ by a few bytes, two dtypes by half.
_SAME_SIZE = 0.01


class Finding(NamedTuple):
    """``format`` is "safetensors" or "bin", None where it concerns both; ``steps`` are all the
    steps that it is about.
    """

    kind: str
    format: str | None
    steps: tuple
    text: str


class Audit:
    """What :func:`audit` returns; ``str(audit)`` is a table.

    Attributes
    ----------
    errors, notes : list of Finding
        Errors: a step is "missing" or "unreadable", or one weight file is "repeated" under steps
        that cannot all be it. Notes: "equal", "formats", "sharding", "dtypes", "size", "unread",
        "left out", and of the increments "still", "length", "detour".
    formats : dict
        By step, the format that :func:`trajhelpers.open_trajectory` reads; steps without weights
        are not in it.
    """

    def __init__(self, source, revisions, formats, errors, notes):
        self.source, self.revisions, self.formats, self.errors, self.notes = (
            source,
            list(revisions),
            dict(formats),
            list(errors),
            list(notes),
        )

    def errors_in(self, format):
        """The errors that matter to a reader of ``format``: "safetensors", "bin", or a dict of them
        by step, such as :attr:`formats`.
        """
        if not isinstance(format, dict):
            return [error for error in self.errors if error.format in (None, format)]
        return [
            error
            for error in self.errors
            if error.format is None or any(format.get(step) == error.format for step in error.steps)
        ]

    def table(self):
        """A DataFrame, one row a finding: level ("error" or "note"), kind, format, steps, text."""
        import pandas as pd

        rows = [
            (level, *finding)
            for level, findings in (("error", self.errors), ("note", self.notes))
            for finding in findings
        ]
        return pd.DataFrame(rows, columns=["level", "kind", "format", "steps", "text"])

    def to_json(self):
        """One JSON object: source, revisions (step, name, commit, format that is read), errors,
        notes.
        """
        revisions = [
            {
                "step": revision.step,
                "name": revision.name,
                "commit": revision.commit,
                "format": self.formats.get(revision.step),
            }
            for revision in self.revisions
        ]
        return json.dumps(
            {
                "source": self.source,
                "revisions": revisions,
                "errors": [finding._asdict() for finding in self.errors],
                "notes": [finding._asdict() for finding in self.notes],
            }
        )

    def __repr__(self):
        return (
            f"Audit({self.source}: {len(self.revisions)} steps, {_count(self.errors, 'error')},"
            f" {_count(self.notes, 'note')})"
        )

    def __str__(self):
        held = Counter(
            name for revision in self.revisions for name in FORMATS if weight_files(revision, name)
        )
        read = Counter(self.formats.values())
        lines = [
            f"{self.source or 'checkpoints'}:"
            f" {_steps(revision.step for revision in self.revisions)}; {_amounts(held)}; to be"
            f" read: {_amounts(read)}"
        ]
        rows = [
            (level, finding.kind, finding.format or "", _steps(finding.steps), finding.text)
            for level, findings in (("error", self.errors), ("note", self.notes))
            for finding in findings
        ]
        widths = [max((len(row[column]) for row in rows), default=0) for column in range(4)]
        lines += [
            "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths)), row[4]])
            for row in rows
        ]
        in_each = {name: self.errors_in(name) for name in FORMATS if held[name]}
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
        )
        if self.errors_in(self.formats):
            lines.append(
                "to go on: leave steps out (skip=, --skip), read the other format (format=,"
                " --format), or accept the errors (accept=True, --accept)"
            )
        return "\n".join(lines)


def audit(source, revisions=None, every=1, skip=(), format=None, deep=None):
    """Look for steps that are missing, damaged or doubled, in both formats where a run has both,
    without reading weights.

    Parameters
    ----------
    source : str or path
        ``"hf://OWNER/NAME"``, for which the hub's metadata suffice; or a folder (or list of files)
        as :func:`trajhelpers.open_trajectory` takes it, whose files are hashed.
    revisions, every, skip
        As for :func:`trajhelpers.open_trajectory`.
    format : {"safetensors", "bin"}, optional
        The format that is to be read; the other is then not looked at.
    deep : TrajectoryKernel, optional
        The kernel of these checkpoints. Increments that are zero, or out of line with their
        neighbours, are noted.

    Returns
    -------
    Audit

    Raises
    ------
    CheckpointError, StepError
        Where there is nothing to audit. What is wrong with single checkpoints is not raised, but
        reported.

    Notes
    -----
    *Repeated* is a weight file (or shard) under two steps when the weights changed in between: a
    step between them holds another file, or their files of the other format differ. Steps in a row
    with the same file may be a run that stood still, and are only noted: Pythia's learning rate was
    0 in the first step, so that step 1 is step 0.

    An increment is noted when its length a root of steps is more than 4 times longer (or shorter)
    than the medians of the 3 before and of the 3 after, and by more than 6 usual jumps (1.4826 ×
    the median change of the logarithm from one to the next); at either end of the run, where there
    is one side, 30 times longer. A checkpoint is noted when the way through it is a detour: its two
    increments are together more than twice as long, against the direct way, as is usual (median)
    among the 3 such pairs before and after."""
    problems, notes = {}, []
    if is_hub(source):
        catalogue = find_revisions(repository(source), revisions, every, skip)
    else:
        if revisions is not None:
            raise ValueError(
                f"revisions: is for sources on the hub (hf://OWNER/NAME), not for {source}"
            )
        catalogue, problems, left_out = local_revisions(source, every, skip)
        notes = [Finding("left out", None, (), line) for line in left_out]
    result = audit_revisions(catalogue, format, problems)
    if not is_hub(source) and format is None:
        # Of a folder, each step is read by itself, from safetensors where it has them.
        result.formats = {
            revision.step: choose_format([revision])[revision.step] for revision in catalogue
        }
    result.source = (
        source
        if isinstance(source, str)
        else ", ".join(map(str, source))
        if isinstance(source, (list, tuple))
        else str(source)
    )
    result.notes += notes
    if deep is not None:
        unknown = sorted(
            {int(step) for step in deep.steps} - {revision.step for revision in catalogue}
        )
        if unknown:
            raise ValueError(
                f"deep: the kernel has step {unknown[0]}, which is not among those that are"
                " audited; give the kernel of these checkpoints"
            )
        result.notes += [
            Finding(kind, None, steps, text) for kind, steps, text in irregular_increments(deep)
        ]
    return result


def audit_revisions(revisions, format=None, problems=None):
    """The audit of a catalogue (:func:`trajhelpers.sources.hub.revisions.find_revisions`), which reads
    nothing.

    ``format`` is None, for both formats; "safetensors" or "bin"; or a dict of them by step, for no
    errors but those in what is read. ``problems`` are errors known beforehand, text by (step,
    format)."""
    formats = format if isinstance(format, dict) else choose_format(revisions, format)
    errors = [
        Finding("missing", None, (revision.step,), f"there is no revision {revision.name}")
        for revision in revisions
        if not revision.commit and not revision.files
    ]
    errors += [
        Finding(
            "unreadable",
            None,
            (revision.step,),
            f"{revision.name} holds no weights"
            + (f" but {_listing(_loose(revision, '.index.json'))}" if _loose(revision) else ""),
        )
        for revision in revisions
        if (revision.commit or revision.files)
        and not any(weight_files(revision, name) for name in FORMATS)
    ]
    notes = []
    for name in FORMATS if format is None else dict.fromkeys(formats.values()):
        held = {index: weight_files(revision, name) for index, revision in enumerate(revisions)}
        for index, revision in enumerate(revisions):
            text = (problems or {}).get((revision.step, name)) or _unreadable(revision, held[index])
            if not held[index] and format is not None and formats.get(revision.step) == name:
                text = f"{revision.name} holds no weights as {name}"
            if text:
                errors.append(Finding("unreadable", name, (revision.step,), text))
        repeated, equal = _same_files(revisions, name)
        errors, notes = (
            errors + repeated,
            notes + equal + _sharding(revisions, name, held) + _sizes(revisions, name, held),
        )
    result = Audit(
        "",
        revisions,
        formats,
        errors,
        ([] if format is not None else _mixed_formats(revisions))
        + notes
        + _dtypes(revisions)
        + _unread(revisions),
    )
    if isinstance(format, dict):
        result.errors = result.errors_in(format)
    return result


# ---- errors ----


def _unreadable(revision, files):
    if not files:
        return None
    if files[0].endswith(".index.json") and len(files) == 1:
        return f"{revision.name}/{files[0]} is no index of shards"
    absent = [path for path in files if path not in revision.files]
    if absent:
        return (
            f"{revision.name}/{files[0]} names {_listing(absent)}, which"
            f" {'is' if len(absent) == 1 else 'are'} not there"
        )
    empty = [path for path in files if revision.files[path].size == 0]
    return f"{revision.name}/{empty[0]} is empty" if empty else None


def _same_files(revisions, name):
    """Errors and notes about files that several steps share."""
    shards = {format: [_hashes(revision, format) for revision in revisions] for format in FORMATS}
    (other,) = (format for format in FORMATS if format != name)
    mine, others = shards[name], shards[other]
    found = {}
    for index, hashes in enumerate(mine):
        for sha256, path in hashes.items():
            found.setdefault(sha256, []).append((index, path))
    groups = {}
    for sha256, places in found.items():
        if len(places) > 1:
            groups.setdefault(tuple(index for index, _ in places), []).append((sha256, places))
    errors, notes = [], []
    for where, files in groups.items():
        steps = tuple(revisions[index].step for index in where)
        whole = all(set(mine[index]) == set(mine[where[0]]) for index in where)
        between = [
            index
            for index in range(where[0], where[-1])
            if index not in where and _differs(index, where, mine, others)
        ]
        contradicted = whole and len({tuple(others[index]) for index in where if others[index]}) > 1
        text = (
            _listing(sorted({path for _, places in files for _, path in places}))
            + f" (sha256 {files[0][0][:10]}…)"
        )
        if between:
            errors.append(
                Finding(
                    "repeated",
                    name,
                    steps,
                    f"{text}: one and the same under these steps, but another at step"
                    f" {revisions[between[0]].step}; they cannot all be right",
                )
            )
        elif contradicted:
            errors.append(
                Finding(
                    "repeated",
                    name,
                    steps,
                    f"{text}: one and the same under these steps, whose {other} files differ; one"
                    " of the formats is wrong",
                )
            )
        else:
            notes.append(
                Finding(
                    "equal",
                    name,
                    steps,
                    f"{text}: {'the checkpoint is' if whole else 'this shard is'} the same"
                    f" {len(where)} times in a row",
                )
            )
    return errors, notes


def _hashes(revision, format):
    """Of each weight file that is there, in order: path by hash."""
    return {
        revision.files[path].sha256: path
        for path in weight_files(revision, format)
        if path in revision.files
        and revision.files[path].sha256
        and not path.endswith(".index.json")
    }


def _differs(index, where, mine, others):
    """Whether the step's weights are others than those of the steps that share a file."""
    if mine[index]:
        return True
    # Not in this format at all: then the other one may say so.
    return bool(others[index]) and all(
        tuple(others[index]) != tuple(others[other]) for other in where
    )


# ---- notes ----


def _mixed_formats(revisions):
    kinds = {
        revision.step: " and ".join(name for name in FORMATS if weight_files(revision, name))
        for revision in revisions
    }
    kinds = {step: kind for step, kind in kinds.items() if kind}
    return _uneven("formats", None, kinds, "{value}")


def _sharding(revisions, name, held):
    counts = {
        revisions[index].step: len(_hashes(revisions[index], name))
        for index, files in held.items()
        if files
    }
    return _uneven("sharding", name, counts, "files: {value}")


def _dtypes(revisions):
    return _uneven(
        "dtypes",
        None,
        {revision.step: " and ".join(revision.dtypes) for revision in revisions if revision.dtypes},
        "{value}",
    )


def _uneven(kind, format, values, wording):
    """A note on the steps that are not like most, where all are not alike."""
    counts = Counter(values.values())
    if len(counts) < 2:
        return []
    usual = counts.most_common(1)[0][0]
    text = "; ".join(
        f"{wording.format(value=value)} in {count} steps" for value, count in counts.most_common()
    )
    return [
        Finding(kind, format, tuple(step for step, value in values.items() if value != usual), text)
    ]


def _sizes(revisions, name, held):
    sizes = {
        revisions[index].step: sum(
            revisions[index].files[path].size
            for path in files
            if path in revisions[index].files and not path.endswith(".index.json")
        )
        for index, files in held.items()
        if files
    }
    usual = float(np.median(list(sizes.values()))) if sizes else 0.0
    odd = {step: size for step, size in sizes.items() if abs(size - usual) > _SAME_SIZE * usual}
    return (
        [
            Finding(
                "size",
                name,
                tuple(odd),
                f"{_bytes(min(odd.values()))} to {_bytes(max(odd.values()))}, where most have"
                f" {_bytes(usual)}",
            )
        ]
        if odd
        else []
    )


def _unread(revisions):
    found = {
        revision.step: _loose(revision)
        for revision in revisions
        if any(weight_files(revision, name) for name in FORMATS)
    }
    found = {step: paths for step, paths in found.items() if paths}
    return (
        [
            Finding(
                "unread",
                None,
                tuple(found),
                "beside the weights: "
                + _listing(sorted({path for paths in found.values() for path in paths})),
            )
        ]
        if found
        else []
    )


def _loose(revision, *more):
    """Files that may be weights, and are none of those that are read."""
    used = {path for name in FORMATS for path in weight_files(revision, name)}
    return sorted(
        path
        for path in revision.files
        if path.endswith((*_WEIGHTS, *more))
        and path not in used
        and not _SIDE.search(path.rsplit("/")[-1])
    )


# ---- words ----


def _steps(steps):
    """
    >>> _steps([0, 1, 2]), _steps(range(0, 154))
    ('step 0, 1, 2', 'step 0, 1, 2 … 153 (154 steps)')
    """
    steps = list(steps)
    return (
        ""
        if not steps
        else "step "
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


def _listing(names, most=3):
    return ", ".join(names[:most]) + (f" … ({len(names)} files)" if len(names) > most else "")


def _count(findings, word):
    return f"{len(findings) or 'no'} {word}{'s'[: len(findings) != 1]}"


def _bytes(size):
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"
