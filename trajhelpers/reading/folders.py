"""Which files and folders of a run are checkpoints, and in which order."""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from functools import partial
from typing import NamedTuple

from ..errors import CheckpointError, StepError
from .formats import ENDINGS, Several, Where, folder_format
from .names import read_names
from .place import File, Folder
from .steps import Order, Position, as_listed, choose_run
from .weight_names import USUAL, is_index, is_shard, is_side_file, without_ending

# Shell patterns on the paths of files of weights, within each checkpoint.
Patterns = Sequence[str] | None


class Found(NamedTuple):
    """A checkpoint of a run, with what :func:`trajhelpers.reading.formats.read_checkpoint` takes.

    ``run`` is "" where there is one run, of one stage; ``tokens`` are those seen before, where the
    name says so.
    """

    step: int
    run: str
    where: Where
    name: str
    tokens: int | None = None


class FoundRuns(NamedTuple):
    """Checkpoints in order; what was left out, with the reason; what was chosen by which rule; and
    where that is a guess.
    """

    found: list[Found]
    left_out: list[str]
    notes: list[str]
    guesses: list[str]


def checkpoints_of_runs(runs: Sequence[tuple[str, Folder]], patterns: Patterns = None) -> FoundRuns:
    """The checkpoints of folders, each a run with a name, joined end to end."""
    result = FoundRuns([], [], [], [])
    for name, folder in runs:
        _refuse_distributed(folder)
        candidates, aside = _candidates(folder, patterns)
        order = choose_run(
            [one for one, _ in candidates], str(folder), partial(_remedy, folder=str(folder))
        )
        placed, more_aside = _one_a_step(candidates, order)
        aside += more_aside
        if not placed:
            raise StepError(
                f"{folder}: no checkpoints ({_expected()}, with the step in their names)"
                + _listing(aside)
            )
        if len(placed) == 1 and len(runs) == 1:
            raise StepError(
                f"{folder}: one checkpoint only ({_name_of(placed[0].where)}), and a trajectory"
                " needs two at least" + _listing(aside)
            )
        result.found.extend(
            one._replace(run="/".join(filter(None, [name, one.run]))) for one in placed
        )
        result.left_out.extend(aside)
        result.notes.extend([f"{folder}: {order.told}"] if order.told else [])
        result.guesses.extend([f"{folder}: {order.guess}"] if order.guess else [])
    return result


def listed_checkpoints(
    listed: Sequence[tuple[str, File | Folder]], patterns: Patterns = None
) -> FoundRuns:
    """Of files and folders that are one checkpoint each, by the names from which steps are read."""
    candidates: list[tuple[str, Where]] = []
    for name, place in listed:
        weights = weights_in(place, patterns) if isinstance(place, Folder) else place
        if weights is None:
            raise CheckpointError(f"{place}: holds no checkpoint ({_expected()})")
        candidates.append((name, weights))
    order = as_listed([name for name, _ in candidates])
    found = [
        _found(*candidates[index], position)
        for index, position in zip(order.indices, order.positions)
    ]
    return FoundRuns(found, [], list(filter(None, [order.told])), list(filter(None, [order.guess])))


def is_run(folder: Folder, patterns: Patterns = None) -> bool:
    """Whether a folder holds several checkpoints, rather than being one."""
    if weights_in(folder, patterns) is None:
        return True
    read = read_names([name for name, _ in _candidates(folder, patterns)[0]])
    return sum(one.step is not None or one.is_initial for one in read) > 1


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


def _one_a_step(
    candidates: Sequence[tuple[str, Where]], order: Order
) -> tuple[list[Found], list[str]]:
    """In order; of two at one step, the one in safetensors."""
    left_out = [
        f"{candidates[index][1]}: {aside.why}"
        for aside in order.left_out
        for index in aside.indices
    ]
    at: dict[tuple[str, int], Found] = {}
    for index, position in zip(order.indices, order.positions):
        found = _found(*candidates[index], position)
        other = at.setdefault((found.run, found.step), found)
        if other is found:
            continue
        if _is_safetensors(found.where) == _is_safetensors(other.where):
            raise StepError(
                f"{other.where} and {found.where} are both at step {found.step}; move one away, or"
                " list the files to be read"
            )
        kept, dropped = (found, other) if _is_safetensors(found.where) else (other, found)
        at[found.run, found.step] = kept
        left_out.append(f"{dropped.where}: step {found.step} is read from {_name_of(kept.where)}")
    return list(at.values()), left_out


def _found(name: str, where: Where, position: Position) -> Found:
    return Found(position.step, position.stage, where, name, position.tokens)


def _remedy(patterns: Sequence[str], joined: Sequence[str], folder: str) -> str:
    one = f"list the files of one ({folder}/{patterns[0]})"
    return f"{one}, or those of {' and '.join(joined)} in a row" if joined else one


def _name_of(where: Where) -> str:
    return str(where) if isinstance(where, Several) else where.name


def _is_safetensors(where):
    return ".safetensors" in _name_of(where)


def _expected():
    return "expected " + ", ".join(ENDINGS) + " files, or one folder a checkpoint"


def _listing(left_out, most=5):
    return "".join(f"; left out {line}" for line in left_out[:most]) + (
        f"; and {len(left_out) - most} more" if len(left_out) > most else ""
    )
