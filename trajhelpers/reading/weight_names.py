"""Which files hold weights, by their names: in a folder, or in a revision on the hub."""

import re
from collections.abc import Iterable, Mapping

from .formats import ENDINGS, KINDS
from .side_files import is_side_file

_INDEX = re.compile(r"(\.safetensors|\.bin)\.index\.json$")
_SHARD = re.compile(r"-\d{5}-of-\d{5}\.(safetensors|bin)$")
# In the order in which they are looked for.
USUAL = tuple(
    f"{stem}{ending}"
    for ending in (".safetensors", ".safetensors.index.json", ".bin", ".bin.index.json")
    for stem in ("model", "adapter_model", "pytorch_model")
)


def is_index(name: str) -> bool:
    """Whether a file names shards.

    >>> is_index("model.safetensors.index.json"), is_index("config.json")
    (True, False)
    """
    return bool(_INDEX.search(name))


def is_shard(name: str) -> bool:
    """Whether a file is one of several that an index names.

    >>> is_shard("model-00001-of-00002.safetensors"), is_shard("model.safetensors")
    (True, False)
    """
    return bool(_SHARD.search(name))


def without_ending(name: str) -> str:
    """
    >>> without_ending("step_5.pt"), without_ending("model.bin.index.json")
    ('step_5', 'model')
    """
    name = _INDEX.sub("", name)
    return next((name.removesuffix(ending) for ending in ENDINGS if name.endswith(ending)), name)


def weight_files(
    paths: Iterable[str], shards: Mapping[str, tuple[str, ...] | None], kind: str
) -> tuple[str, ...]:
    """Of the files of one checkpoint, those that hold its weights as a kind of KINDS: one file, or
    an index and the ``shards`` that it names, whether or not they are there. Empty where there are
    none.

    >>> weight_files(["config.json", "pytorch_model.bin", "training_args.bin"], {}, "bin")
    ('pytorch_model.bin',)
    """
    top = [path for path in paths if "/" not in path]
    for name in USUAL:
        if name in top and _kind_of(name) == kind:
            return name, *(shards.get(name) or ())
    others = [
        path
        for path in top
        if path.endswith(KINDS[kind]) and not is_side_file(path) and not is_shard(path)
    ] or [path for path in top if path.endswith(".index.json") and _kind_of(path) == kind]
    return (others[0], *(shards.get(others[0]) or ())) if len(others) == 1 else ()


def _kind_of(name: str) -> str:
    return "safetensors" if ".safetensors" in name else "bin"
