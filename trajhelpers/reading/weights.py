"""What holds the weights in a folder that is one checkpoint."""

import re
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase

from ..errors import CheckpointError
from .formats import ENDINGS, Several, Where, folder_format
from .msgpack_files import is_legacy_name
from .place import File, Folder
from .side_files import is_side_file
from .weight_names import USUAL, is_index, is_shard, without_ending

# Shell patterns on the paths of files of weights, within each checkpoint.
Patterns = Sequence[str] | None

# diffusers' name in unet/, transformer/, vae/.
_IN_COMPONENTS = (*USUAL, *(name.replace("model", "diffusion_pytorch_model", 1) for name in USUAL))
# accelerate's second and third network, and the modules of sentence-transformers.
_ANOTHER_NETWORK = re.compile(r"(pytorch_)?model_\d+\.(safetensors|bin)")
_ANOTHER_MODULE = re.compile(r"\d+_[A-Z]\w*")
_SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})(?P<ending>\.\w+)")
# What may be anything is called .bin.
_NO_BIN = tuple(ending for ending in ENDINGS if ending != ".bin")
# Folders with a number within a checkpoint: of accelerate's FSDP, of DeepSpeed in a Trainer.
_NUMBERED_INSIDE = re.compile(r"pytorch_model_fsdp_\d+|global_step\d+")


def weights_in(folder: Folder, patterns: Patterns = None) -> Where | None:
    """A file, several, or a folder; None where the folder is no checkpoint. A CheckpointError that
    asks where it holds several networks.
    """
    if patterns is not None:
        return _matching(folder, patterns)
    if folder_format(folder):
        return folder
    files = {file.name: file for file in folder.files()}
    usual = next((name for name in USUAL if name in files), None)
    if usual:
        _ask_about_others(folder, files, usual)
        return files[usual]
    names = [name for name in files if not is_side_file(name) and not is_shard(name)]
    for endings in ((".safetensors",), ENDINGS):
        fitting = [name for name in names if name.endswith(endings)]
        others = [name for name in names if name.endswith(_NO_BIN) and name not in fitting]
        # A generator may lie beside a discriminator of another format.
        if len(fitting) == 1 and {*map(_stem, others)} <= {_stem(fitting[0])}:
            return files[fitting[0]]
    return _shards_without_index(folder, files) or _component(folder)


def is_weights(name: str) -> bool:
    """Whether a file may be a checkpoint, by its name.

    >>> is_weights("step_5.pt"), is_weights("model-00001-of-00002.safetensors")
    (True, False)
    """
    return (name.endswith(ENDINGS) and not is_shard(name)) or is_index(name) or is_legacy_name(name)


def beside(folder: Folder, where: Where) -> list[str]:
    """Paths of weight files in a checkpoint's folder that are not read, and are no other format of
    what is: a value head, an average, a projector, an adapter in a folder of its own.
    """
    names = [file.name for file in folder.files()]
    if isinstance(where, (Folder, Several)) or where.name not in names:
        return []
    own = _stem(where.name)
    same_folder = sorted(
        name for name in names if is_weights(name) and not is_side_file(name) and _stem(name) != own
    )
    return [*same_folder, *sorted(path for _, (path, _) in _components(folder))]


def _stem(name: str) -> str:
    """What the formats of one state have in common."""
    return without_ending(name).removeprefix("pytorch_")


def why_no_weights(folder: Folder, patterns: Patterns) -> str:
    """For what is left out."""
    if patterns:
        return f"no file matches {' or '.join(patterns)}"
    names = [
        file.name
        for file in folder.files()
        if is_weights(file.name) and not is_side_file(file.name)
    ]
    return (
        f"holds several weight files, none of a usual name ({', '.join(names[:4])}"
        f"{' …' if len(names) > 4 else ''}); say which with file= (--file)"
    )


def _matching(folder: Folder, patterns: Sequence[str]) -> Where | None:
    """What patterns ask for, of the folder and of those in it: files, or folders of ranks."""
    places: dict[str, File | Folder] = {
        file.name: file for file in folder.files() if is_weights(file.name)
    }
    for inner in folder.folders():
        if folder_format(inner):
            places[inner.name] = inner
        else:
            files = [file for file in inner.files() if is_weights(file.name)]
            places |= {f"{inner.name}/{file.name}": file for file in files}
    chosen = {
        path: place
        for path, place in sorted(places.items())
        if any(fnmatchcase(path, pattern) for pattern in patterns)
    }
    if len(chosen) < 2:
        return next(iter(chosen.values()), None)
    return Several(tuple((without_ending(path), place) for path, place in chosen.items()))


def _ask_about_others(folder: Folder, files: Mapping[str, File], usual: str) -> None:
    others = [name for name in files if _ANOTHER_NETWORK.fullmatch(name)]
    for inner in folder.folders():
        if _ANOTHER_MODULE.fullmatch(inner.name):
            held = [file.name for file in inner.files()]
            others += [f"{inner.name}/{name}" for name in USUAL if name in held][:1]
    if others:
        raise several_networks(folder, [usual, *others])


def _shards_without_index(folder: Folder, files: Mapping[str, File]) -> Where | None:
    """Of torchtune, which wrote a single shard under a name of its own: all shards are read, and
    need no index to tell which tensor lies where.
    """
    sets: dict[tuple[str, str], dict[int, File]] = {}
    counts: set[int] = set()
    for name, file in files.items():
        match = _SHARD.fullmatch(name)
        if match and not is_side_file(name):
            found = sets.setdefault((match["stem"], match["ending"]), {})
            found[int(match["number"])] = file
            counts.add(int(match["count"]))
    if len(sets) != 1 or len(counts) != 1:
        return None
    (shards,), count = sets.values(), counts.pop()
    missing = [number for number in range(1, count + 1) if number not in shards]
    if missing:
        raise CheckpointError(
            f"{folder}: shard {missing[0]} of {count} is missing, and no index says what is in it;"
            " fetch it"
        )
    if count == 1:
        return shards[1]
    return Several(tuple(("", shards[number]) for number in range(1, count + 1)))


def _component(folder: Folder) -> Where | None:
    """What lies one folder deeper, where that is within the checkpoint and no step of a run."""
    found = dict(_components(folder))
    if not found:
        return None
    if len(found) > 1:
        raise several_networks(folder, [path for path, _ in found.values()])
    return next(where for _, where in found.values())


def _components(folder: Folder) -> Iterator[tuple[str, tuple[str, Where]]]:
    """By the name of a folder, the path that a pattern has to match, and what lies there."""
    for inner in folder.folders():
        if is_side_file(inner.name) or inner.name in ("train", "optim"):
            continue
        if re.search(r"\d", inner.name) and not _NUMBERED_INSIDE.fullmatch(inner.name):
            continue
        if folder_format(inner):
            yield inner.name, (inner.name, inner)
            continue
        files = {file.name: file for file in inner.files()}
        usual = next((name for name in _IN_COMPONENTS if name in files), None)
        if usual:
            yield inner.name, (f"{inner.name}/{usual}", files[usual])


def several_networks(folder: Folder, names: Sequence[str]) -> CheckpointError:
    """The question which of them is meant."""
    return CheckpointError(
        f"{folder}: holds several networks, {', '.join(names[:-1])} and {names[-1]}; say which with"
        f" file={names[0]!r} (--file), or take all together with"
        f" file=[{', '.join(map(repr, names))}]"
    )
