"""What is an error in a catalogue, and what is worth a note."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from ..errors import CheckpointError
from ..reading.formats import ENDINGS, KINDS
from ..reading.side_files import is_side_file
from ..sources.catalogue import Revision, choose_format
from .report import Audit, Finding, in_bytes, listing

# Two zip files of the same tensors differ by a few bytes, two dtypes by half.
_SAME_SIZE = 0.01


def refuse_errors(
    where: str, revisions: Sequence[Revision], formats: Mapping[int | str, str]
) -> None:
    """A CheckpointError where the audit finds errors in what would be read."""
    errors = audit_revisions(revisions, formats).errors
    if errors:
        wrong = {step for error in errors for step in error.steps}
        steps = [revision.key for revision in revisions if revision.key in wrong]
        raise CheckpointError(
            f"{where}: the audit finds errors in what would be read: "
            + "; ".join(error.text for error in errors)
            + f". Leave steps out with skip={steps[:10]}{' …' if len(steps) > 10 else ''} (--skip),"
            " or go on in spite of them with accept=True (--accept)"
        )


def audit_revisions(
    revisions: Sequence[Revision],
    format: str | Mapping[int | str, str] | None = None,
    problems: Mapping[tuple[int | str, str], str] | None = None,
) -> Audit:
    """The audit of a catalogue, that of a repository or one of a folder, which reads nothing.

    ``format`` is None, for both formats; "safetensors" or "bin"; or a dict of them by step, for no
    errors but those in what is read. ``problems`` are errors known beforehand, text by (step,
    format)."""
    formats = (
        choose_format(revisions, format) if format is None or isinstance(format, str) else format
    )
    errors = [
        Finding("missing", None, (revision.key,), f"there is no revision {revision.label}")
        for revision in revisions
        if not revision.commit and not revision.files
    ]
    errors += [
        Finding(
            "unreadable",
            None,
            (revision.key,),
            f"{revision.label} holds no weights"
            + (f" but {listing(_loose(revision, '.index.json'))}" if _loose(revision) else ""),
        )
        for revision in revisions
        if (revision.commit or revision.files) and not revision.held
    ]
    notes: list[Finding] = []
    for name in KINDS if format is None else dict.fromkeys(formats.values()):
        if name not in KINDS:
            continue  # of ranks' files together: the names say nothing of which should be there
        held = {index: revision.weights[name] for index, revision in enumerate(revisions)}
        for index, revision in enumerate(revisions):
            text = (problems or {}).get((revision.key, name)) or _unreadable(revision, held[index])
            if not held[index] and format is not None and formats.get(revision.key) == name:
                text = f"{revision.label} holds no weights as {name}"
            if text:
                errors.append(Finding("unreadable", name, (revision.key,), text))
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
    if format is not None and not isinstance(format, str):
        result.errors = result.errors_in(format)
    return result


# ---- errors ----


def _unreadable(revision, files):
    if not files:
        return None
    if files[0].endswith(".index.json") and len(files) == 1:
        return f"{revision.label}/{files[0]} is no index of shards"
    absent = [path for path in files if path not in revision.files]
    if absent:
        return (
            f"{revision.label}/{files[0]} names {listing(absent)}, which"
            f" {'is' if len(absent) == 1 else 'are'} not there"
        )
    empty = [path for path in files if revision.files[path].size == 0]
    return f"{revision.label}/{empty[0]} is empty" if empty else None


def _same_files(revisions, name):
    """Errors and notes about files that several steps share."""
    shards = {format: [_hashes(revision, format) for revision in revisions] for format in KINDS}
    mine = shards.pop(name)
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
        steps = tuple(revisions[index].key for index in where)
        whole = all(set(mine[index]) == set(mine[where[0]]) for index in where)
        between = [
            index
            for index in range(where[0], where[-1])
            if index not in where and _differs(index, where, mine, shards)
        ]
        contradicting = [
            other
            for other, hashes in shards.items()
            if whole and len({tuple(hashes[index]) for index in where if hashes[index]}) > 1
        ]
        text = (
            listing(sorted({path for _, places in files for _, path in places}))
            + f" (sha256 {files[0][0][:10]}…)"
        )
        if between:
            errors.append(
                Finding(
                    "repeated",
                    name,
                    steps,
                    f"{text}: one and the same under these steps, but another at"
                    f" {_at(revisions[between[0]])}; they cannot all be right",
                )
            )
        elif contradicting:
            errors.append(
                Finding(
                    "repeated",
                    name,
                    steps,
                    f"{text}: one and the same under these steps, whose {contradicting[0]} files"
                    " differ; one of the formats is wrong",
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


def _at(revision):
    return f"step {revision.step}" if revision.key == revision.step else revision.label


def _hashes(revision, format):
    """Of each weight file that is there, in order: path by hash."""
    return {
        revision.files[path].sha256: path
        for path in revision.weights[format]
        if path in revision.files
        and revision.files[path].sha256
        and not path.endswith(".index.json")
    }


def _differs(index, where, mine, others):
    """Whether the step's weights are others than those of the steps that share a file."""
    if mine[index]:
        return True
    # Not in this format at all: then another one may say so.
    return any(
        hashes[index] and all(tuple(hashes[index]) != tuple(hashes[shared]) for shared in where)
        for hashes in others.values()
    )


# ---- notes ----


def _mixed_formats(revisions):
    kinds = {
        revision.key: " and ".join(name for name in KINDS if revision.weights[name])
        for revision in revisions
    }
    kinds = {step: kind for step, kind in kinds.items() if kind}
    return _uneven("formats", None, kinds, "{value}")


def _sharding(revisions, name, held):
    counts = {
        revisions[index].key: len(_hashes(revisions[index], name))
        for index, files in held.items()
        if files
    }
    return _uneven("sharding", name, counts, "files: {value}")


def _dtypes(revisions):
    return _uneven(
        "dtypes",
        None,
        {revision.key: " and ".join(revision.dtypes) for revision in revisions if revision.dtypes},
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
        revisions[index].key: sum(
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
                " to ".join(dict.fromkeys(map(in_bytes, (min(odd.values()), max(odd.values())))))
                + f", where most have {in_bytes(usual)}",
            )
        ]
        if odd
        else []
    )


def _unread(revisions):
    found = {
        revision.key: _loose(revision)
        for revision in revisions
        if any(revision.weights[name] for name in KINDS)
    }
    found = {step: paths for step, paths in found.items() if paths}
    return (
        [
            Finding(
                "unread",
                None,
                tuple(found),
                "beside the weights: "
                + listing(sorted({path for paths in found.values() for path in paths})),
            )
        ]
        if found
        else []
    )


def _loose(revision, *more):
    """Files that may be weights, and are none of those that are read."""
    used = {path for name in KINDS for path in revision.weights[name]}
    return sorted(
        path
        for path in revision.files
        if path.endswith((*ENDINGS, *more))
        and path not in used
        and not is_side_file(path.rsplit("/")[-1])
    )
