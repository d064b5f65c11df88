"""Which files and folders of a run are checkpoints, and in which order."""

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

from ..errors import CheckpointError, StepError
from .formats import ENDINGS, Several, Where, folder_format
from .place import File, Folder
from .steps import steps_from_names
from .strangers import seen_instead
from .weight_names import USUAL, is_index, is_shard, is_side_file, without_ending

# Shell patterns on the paths of files of weights, within each checkpoint.
Patterns = Sequence[str] | None


class Found(NamedTuple):
    """A checkpoint of a run, with what :func:`trajhelpers.reading.formats.read_checkpoint` takes.

    ``run`` is "" where there is one run.
    """

    step: int
    run: str
    where: Where


def checkpoints_of_runs(
    runs: Sequence[tuple[str, Folder]], patterns: Patterns = None
) -> tuple[list[Found], list[str]]:
    """The checkpoints of folders, each a run with a name, joined end to end; and what was left out,
    with the reason.
    """
    found: list[Found] = []
    left_out: list[str] = []
    for name, folder in runs:
        _refuse_distributed(folder)
        candidates, aside = _candidates(folder, patterns)
        placed, more_aside = _ordered(candidates)
        aside += more_aside
        if not placed:
            raise StepError(
                f"{folder}: no checkpoints ({_expected()}, with the step in their names)"
                + _strangers(folder)
                + _listing(aside)
            )
        if len(placed) == 1 and len(runs) == 1:
            raise StepError(
                f"{folder}: one checkpoint only ({_name_of(placed[0][1])}), and a trajectory needs"
                " two at least" + _listing(aside)
            )
        found += [Found(step, name, where) for step, where in placed]
        left_out += aside
    return found, left_out


def listed_checkpoints(
    listed: Sequence[tuple[str, File | Folder]], patterns: Patterns = None
) -> tuple[list[Found], list[str]]:
    """Of files and folders that are one checkpoint each, by the names from which steps are read."""
    candidates: list[tuple[str, Where]] = []
    for name, place in listed:
        weights = weights_in(place, patterns) if isinstance(place, Folder) else place
        if weights is None:
            raise CheckpointError(f"{place}: holds no checkpoint ({_expected()})")
        candidates.append((name, weights))
    placed, left_out = _ordered(candidates, in_given_order=True)
    return [Found(step, "", where) for step, where in placed], left_out


def is_run(folder: Folder, patterns: Patterns = None) -> bool:
    """Whether a folder holds several checkpoints, rather than being one."""
    if weights_in(folder, patterns) is None:
        return True
    names = [name for name, _ in _candidates(folder, patterns)[0]]
    return len([step for step in steps_from_names(names) if step is not None]) > 1


def weights_in(folder: Folder, patterns: Patterns = None) -> Where | None:
    """What holds the weights in a folder that is one checkpoint; None if it is not one."""
    if patterns is not None:
        return _matching(folder, patterns)
    _refuse_distributed(folder)
    if folder_format(folder):
        return folder
    files = {file.name: file for file in folder.files()}
    for name in USUAL:
        if name in files:
            return files[name]
    names = [name for name in files if not is_side_file(name) and not is_shard(name)]
    for endings in ((".safetensors",), ENDINGS):
        fitting = [name for name in names if name.endswith(endings)]
        if len(fitting) == 1:
            return files[fitting[0]]
    return None


def _matching(folder, patterns):
    """The files that patterns ask for, of the folder and of those in it."""
    places = {file.name: file for file in folder.files()}
    for inner in folder.folders():
        places |= {f"{inner.name}/{file.name}": file for file in inner.files()}
    chosen = {
        path: file
        for path, file in places.items()
        if _is_weights(file.name) and any(fnmatchcase(path, pattern) for pattern in patterns)
    }
    if len(chosen) < 2:
        return next(iter(chosen.values()), None)
    return Several(tuple((without_ending(path), file) for path, file in sorted(chosen.items())))


def _candidates(folder: Folder, patterns: Patterns):
    """(name, where) of all that may be a checkpoint in a folder, and what is left out, with the
    reason.
    """
    found: list[tuple[str, Where]] = []
    left_out: list[str] = []
    for entry in folder.folders():
        weights = weights_in(entry, patterns)
        if weights:
            found.append((entry.name, weights))
        elif any(file.name.endswith(ENDINGS) for file in entry.files()):
            left_out.append(f"{entry}: {_why_no_weights(patterns)}")
    for file in folder.files():
        if not _is_weights(file.name):
            continue
        if is_side_file(file.name):
            left_out.append(f"{file}: a training loop's side file")
        elif patterns and not any(fnmatchcase(file.name, pattern) for pattern in patterns):
            left_out.append(f"{file}: {_why_no_weights(patterns)}")
        else:
            found.append((without_ending(file.name), file))
    return sorted(found, key=lambda one: one[0]), left_out


def _is_weights(name):
    return (name.endswith(ENDINGS) and not is_shard(name)) or is_index(name)


def _why_no_weights(patterns):
    if patterns:
        return f"no file matches {' or '.join(patterns)}"
    return "holds several weight files, none of a usual name"


def _refuse_distributed(folder):
    inner = [folder, *folder.folders()]
    shard = next(
        (place for place in inner for file in place.files() if file.name.endswith(".distcp")), None
    )
    if shard:
        raise CheckpointError(
            f"{shard}: is a distributed checkpoint (.distcp), which one process cannot read"
            " piecewise; convert it with `python -m torch.distributed.checkpoint.format_utils"
            f" dcp_to_torch {shard} OUT.pt`"
        )


def _ordered(found, in_given_order=False):
    """(step, where), by the steps in the names; ``in_given_order`` is for lists whose names carry
    no step at all.
    """
    left_out: list[str] = []
    steps = steps_from_names([name for name, _ in found])
    if in_given_order and not any(
        step is not None and re.search(r"\d", name) for step, (name, _) in zip(steps, found)
    ):
        return list(enumerate(where for _, where in found)), left_out
    at: dict[int, Where] = {}
    for step, (_, where) in zip(steps, found):
        if step is None:
            left_out.append(f"{where}: no step in its name")
            continue
        other = at.setdefault(step, where)
        if other is where:
            continue
        if _is_safetensors(where) == _is_safetensors(other):
            raise StepError(
                f"{other} and {where} are both at step {step}; move one away, or list the files to"
                " be read"
            )
        kept, dropped = (where, other) if _is_safetensors(where) else (other, where)
        at[step] = kept
        left_out.append(f"{dropped}: step {step} is read from {_name_of(kept)}")
    return sorted(at.items()), left_out


def _name_of(where: Where) -> str:
    return str(where) if isinstance(where, Several) else where.name


def _is_safetensors(where):
    return ".safetensors" in _name_of(where)


def _expected():
    return "expected " + ", ".join(ENDINGS) + " files, or one folder a checkpoint"


def _strangers(folder: Folder) -> str:
    places = (folder, *folder.folders())
    seen = seen_instead(file.name for place in places for file in place.files())
    return f"; {seen}" if seen else ""


def _listing(left_out, most=5):
    return "".join(f"; left out {line}" for line in left_out[:most]) + (
        f"; and {len(left_out) - most} more" if len(left_out) > most else ""
    )
