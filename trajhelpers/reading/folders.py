"""Which files and folders of a run are checkpoints, and in which order."""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from functools import partial
from typing import NamedTuple

from ..errors import CheckpointError, StepError
from .folder_formats.rank_files import folders_of_ranks
from .formats import ENDINGS, Several, Where, refuse_single_rank
from .names import read_names
from .place import File, Folder
from .side_files import is_side_file
from .steps import Order, Position, as_listed, choose_run
from .strangers import seen_instead
from .weight_names import without_ending
from .weights import Patterns, beside, is_weights, weights_in, why_no_weights

# How far below what was given its checkpoints may lie: lightning_logs/version_0/checkpoints.
_DEEPEST = 4


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
    for name, given in runs:
        folder = run_within(given, patterns)
        if folder is not given:
            result.notes.append(f"{given}: its checkpoints are those in {folder}")
        candidates, aside = _candidates(folder, patterns)
        _refuse_single_ranks(candidates)
        order = choose_run(
            [one for one, _ in candidates], str(folder), partial(_remedy, folder=str(folder))
        )
        placed, more_aside = _one_a_step(candidates, order)
        aside += more_aside
        if not placed:
            raise StepError(
                f"{folder}: no checkpoints ({_expected()}, with the step in their names)"
                + _strangers(folder)
                + _listing(aside)
                + "; list them in their order, or, if they are no path, give open_models a name for"
                " each" * (len(candidates) > 1)
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
        chosen = {one.name: one.where for one in placed}
        inner = [(entry, chosen.get(entry.name)) for entry in folder.folders()]
        result.notes.extend(_notes_on_others(inner, patterns))
        known = {name for name, _ in candidates}
        without = [one for one in folder.folders() if one.name not in known]
        empty = _named_alike(without, [one.name for one in placed])
        result.notes.extend(
            f"{one}: is named as the checkpoints are, and holds no weights that can be read;"
            " left out"
            for one in empty[:8]
        )
        result.left_out.extend(
            f"{one}: holds no weights that can be read"
            for one in empty
            if not any(is_weights(file.name) for file in one.files())
        )
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
    _refuse_single_ranks(candidates)
    order = as_listed([name for name, _ in candidates])
    found = [
        _found(*candidates[index], position)
        for index, position in zip(order.indices, order.positions)
    ]
    inner = [
        (place, where) for (_, place), (_, where) in zip(listed, candidates) if place is not where
    ]
    others = _notes_on_others(inner, patterns)
    told = list(filter(None, [order.told, *others]))
    return FoundRuns(found, others, told, list(filter(None, [order.guess])))


def _named_alike(folders: Sequence[Folder], names: Sequence[str]) -> list[Folder]:
    """Those that are named as checkpoints are: of a download or a save that was not finished."""
    read = read_names([*names, *(folder.name for folder in folders)])
    kinds = {one.kind for one in read[: len(names)]} - {None}
    return [folder for folder, one in zip(folders, read[len(names) :]) if one.kind in kinds]


def _notes_on_others(
    inner: Sequence[tuple[File | Folder, Where | None]], patterns: Patterns
) -> list[str]:
    """What is told of weights that lie beside those that are read, and have not been asked for."""
    found: dict[str, list[str]] = {}
    for folder, where in inner:
        if patterns is None and where is not None and isinstance(folder, Folder):
            for name in beside(folder, where):
                found.setdefault(name, []).append(_name_of(where))
    return [
        f"{name} lies beside {kept[0]} in {len(kept)} of the checkpoints, and is not read; to read"
        f" both, give file={[kept[0], name]!r}"
        for name, kept in list(found.items())[:8]
    ]


def run_within(folder: Folder, patterns: Patterns = None) -> Folder:
    """The folder itself, or the one below it that has checkpoints where it has none: of Lightning's
    root, accelerate's project, hydra's outputs. A StepError that asks where there are several.
    """
    if _candidates(folder, patterns)[0]:
        return folder
    level = [folder]
    for _ in range(_DEEPEST):
        level = [inner for above in level for inner in above.folders()]
        runs = [inner for inner in level if _candidates(inner, patterns)[0]]
        if len(runs) > 1:
            raise StepError(
                f"{folder}: holds several runs, {', '.join(map(str, runs[:4]))}"
                f"{' …' if len(runs) > 4 else ''}; open one of them, or, if each goes on where the"
                " one before ended, list them in their order"
                + (
                    ""
                    if any(map(_has_steps, runs))
                    else _listing(_candidates(folder, patterns)[1], 2)
                )
            )
        if runs:
            return runs[0]
    return folder


def _has_steps(folder: Folder) -> bool:
    read = read_names([name for name, _ in _candidates(folder, None)[0]])
    return any(one.step is not None for one in read)


def is_run(folder: Folder, patterns: Patterns = None) -> bool:
    """Whether a folder holds several checkpoints, rather than being one."""
    if weights_in(folder, patterns) is None:
        return True
    read = read_names([name for name, _ in _candidates(folder, patterns)[0]])
    return sum(one.step is not None or one.is_initial for one in read) > 1


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
        elif any(is_weights(file.name) for file in entry.files()):
            left_out.append(f"{entry}: {why_no_weights(entry, patterns)}")
    by_rank = folders_of_ranks(folder)
    found += [(ranks.name, ranks) for ranks in by_rank]
    of_ranks = {file.name for ranks in by_rank for file in ranks.files()}
    for file in folder.files():
        if not is_weights(file.name) or file.name in of_ranks:
            continue
        if is_side_file(file.name):
            left_out.append(f"{file}: a training loop's side file")
        elif patterns and not any(fnmatchcase(file.name, pattern) for pattern in patterns):
            left_out.append(f"{file}: {why_no_weights(folder, patterns)}")
        else:
            found.append((without_ending(file.name), file))
    return sorted(found, key=lambda one: one[0]), left_out


def _refuse_single_ranks(candidates: Sequence[tuple[str, Where]]) -> None:
    for _, where in candidates:
        if not isinstance(where, (Folder, Several)):
            refuse_single_rank(where)


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


def _strangers(folder: Folder) -> str:
    places = (folder, *folder.folders())
    seen = seen_instead(file.name for place in places for file in place.files())
    return f"; {seen}" if seen else ""


def _listing(left_out, most=5):
    return "".join(f"; left out {line}" for line in left_out[:most]) + (
        f"; and {len(left_out) - most} more" if len(left_out) > most else ""
    )
