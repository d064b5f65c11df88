"""How large a checkpoint is, and in which format, before anything of it is read."""

from collections.abc import Iterator

from .boundary import damage_named
from .formats import KINDS, Several, Where, folder_format
from .json_text import LONGEST_JSON
from .place import File, Folder
from .shards import named_in_index
from .weight_names import is_index


def size_of(where: Where) -> int:
    """Bytes of the files that hold it, those of an index with its shards."""
    if isinstance(where, Several):
        return sum(size_of(file) for _, file in where.files)
    if isinstance(where, Folder):
        return sum(file.size for folder in _with_inner(where) for file in folder.files())
    if not is_index(where.name):
        return where.size
    shards = [where.beside(name) for name in _shards(where)]
    return where.size + sum(shard.size for shard in shards if shard.is_file())


def _with_inner(folder: Folder) -> Iterator[Folder]:
    """The folder and all below it, however deep."""
    level: list[Folder] = [folder]
    while level:
        yield from level
        level = [inner for above in level for inner in above.folders()]


def _shards(index: File) -> tuple[str, ...]:
    if index.size > LONGEST_JSON:
        return ()
    with damage_named(index):
        return named_in_index(index.read_text()) or ()


def kind_of(where: Where) -> str:
    """The format, by the names alone; "" where they say nothing."""
    if isinstance(where, Several):
        return kind_of(where.files[0][1])
    if isinstance(where, Folder):
        found = folder_format(where)
        return found.kind if found else ""
    name = where.name.removesuffix(".index.json")
    return next((kind for kind, endings in KINDS.items() if name.endswith(endings)), "")
