"""Which files of a folder, or of a list, are checkpoints, and in which order."""

import os
import re
from collections.abc import Iterable
from pathlib import Path

from ..errors import CheckpointError, StepError
from .formats import ENDINGS
from .steps import steps_from_names
from .weight_names import USUAL, is_index, is_shard, is_side_file, without_ending


def find_checkpoints(
    source: str | os.PathLike | Iterable[str | os.PathLike],
) -> tuple[list[int], list[Path], list[str], list[str]]:
    """From a folder, or a list of paths, to ``(steps, files, runs, left_out)``.

    ``runs`` names the run of each checkpoint where several folders are joined, and is empty strings
    where there is one."""
    if isinstance(source, (str, os.PathLike)):
        folder = Path(source)
        if not folder.exists():
            raise FileNotFoundError(f"{folder}: no such file or folder")
        if not folder.is_dir():
            raise StepError(
                f"{folder}: is one checkpoint, and a trajectory needs two at least; give the"
                " folder, or several files"
            )
        return _as_runs([("", folder)])
    paths = [Path(path) for path in source]
    if not paths:
        raise StepError("no checkpoints: the list is empty, and a trajectory needs two at least")
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(f"{path}: no such file or folder")
    folders = [path for path in paths if path.is_dir() and _is_run(path)]
    if folders and len(folders) < len(paths):
        other = next(path for path in paths if path not in folders)
        raise StepError(
            f"{folders[0]} is a run of several checkpoints, {other} is not: give runs or"
            " checkpoints, not both"
        )
    if folders:
        return _as_runs(list(zip(_short_names(folders), folders)))
    weights = [_weights(path) if path.is_dir() else path for path in paths]
    for path, found in zip(paths, weights):
        if found is None:
            raise CheckpointError(f"{path}: holds no checkpoint ({_expected()})")
    steps, files, left_out = _ordered(
        list(
            zip(
                _short_names([path.with_name(without_ending(path.name)) for path in paths]), weights
            )
        ),
        in_given_order=True,
    )
    return steps, files, [""] * len(files), left_out


def _as_runs(folders):
    steps, files, runs, left_out = [], [], [], []
    for name, folder in folders:
        _refuse_distributed(folder)
        found, aside = _candidates(folder)
        some_steps, some_files, some_aside = _ordered(found)
        if not some_files:
            raise StepError(
                f"{folder}: no checkpoints ({_expected()}, with the step in their names)"
                + _listing(aside + some_aside)
            )
        if len(some_files) == 1 and len(folders) == 1:
            raise StepError(
                f"{folder}: one checkpoint only ({some_files[0].name}), and a trajectory needs two"
                " at least" + _listing(aside + some_aside)
            )
        steps += some_steps
        files += some_files
        runs += [name] * len(some_files)
        left_out += aside + some_aside
    return steps, files, runs, left_out


def _is_run(folder):
    return (
        _weights(folder) is None
        or len(
            [
                step
                for step in steps_from_names([name for name, _ in _candidates(folder)[0]])
                if step is not None
            ]
        )
        > 1
    )


def _candidates(folder):
    """(name, file) of all that may be a checkpoint in a folder, and what is left out, with the
    reason.
    """
    found, left_out = [], []
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith(".") or entry.name.endswith((".tmp", ".partial")):
            continue
        if entry.is_dir():
            weights = _weights(entry)
            if weights:
                found.append((entry.name, weights))
            elif any(file.suffix in ENDINGS for file in entry.iterdir()):
                left_out.append(f"{entry}: holds several weight files, none of a usual name")
        elif is_side_file(entry.name) and entry.suffix in ENDINGS:
            left_out.append(f"{entry}: a training loop's side file")
        elif (entry.suffix in ENDINGS and not is_shard(entry.name)) or is_index(entry.name):
            found.append((without_ending(entry.name), entry))
    return found, left_out


def _weights(folder):
    """The file that holds the weights in a folder that is one checkpoint; None if it is not one."""
    _refuse_distributed(folder)
    for name in USUAL:
        if (folder / name).is_file():
            return folder / name
    files = [
        entry
        for entry in sorted(folder.iterdir())
        if entry.is_file()
        and not entry.name.startswith(".")
        and not is_side_file(entry.name)
        and not is_shard(entry.name)
    ]
    for endings in ((".safetensors",), ENDINGS):
        fitting = [entry for entry in files if entry.suffix in endings]
        if len(fitting) == 1:
            return fitting[0]
    return None


def _refuse_distributed(folder):
    shard = min(
        (file for pattern in ("*.distcp", "*/*.distcp") for file in folder.glob(pattern)),
        default=None,
    )
    if shard:
        raise CheckpointError(
            f"{shard.parent}: is a distributed checkpoint (.distcp), which one process cannot read"
            " piecewise; convert it with `python -m torch.distributed.checkpoint.format_utils"
            f" dcp_to_torch {shard.parent} OUT.pt`"
        )


def _ordered(found, in_given_order=False):
    """Sort (name, file) by the step in the name; ``in_given_order`` is for lists whose names carry
    no step at all.
    """
    left_out = []
    steps = steps_from_names([name for name, _ in found])
    if in_given_order and not any(
        step is not None and re.search(r"\d", name) for step, (name, _) in zip(steps, found)
    ):
        return list(range(len(found))), [file for _, file in found], left_out
    at = {}
    for step, (_, file) in zip(steps, found):
        if step is None:
            left_out.append(f"{file}: no step in its name")
            continue
        other = at.setdefault(step, file)
        if other is file:
            continue
        if _is_safetensors(file) == _is_safetensors(other):
            raise StepError(
                f"{other} and {file} are both at step {step}; move one away, or list the files to"
                " be read"
            )
        kept, dropped = (file, other) if _is_safetensors(file) else (other, file)
        at[step] = kept
        left_out.append(f"{dropped}: step {step} is read from {kept.name}")
    return sorted(at), [at[step] for step in sorted(at)], left_out


def _is_safetensors(file):
    return ".safetensors" in file.suffixes


def _short_names(paths):
    """Paths without the part that all share."""
    if len(paths) == 1:
        return [paths[0].name]
    absolute = [os.path.abspath(path) for path in paths]
    shared = os.path.commonpath([os.path.dirname(path) for path in absolute])
    return [os.path.relpath(path, shared) for path in absolute]


def _expected():
    return "expected " + ", ".join(ENDINGS) + " files, or one folder a checkpoint"


def _listing(left_out, most=5):
    return "".join(f"; left out {line}" for line in left_out[:most]) + (
        f"; and {len(left_out) - most} more" if len(left_out) > most else ""
    )
