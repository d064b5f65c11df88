"""The files of torch.save in a folder of ranks, each with all that it holds."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ...errors import CheckpointError
from ..boundary import damage_named
from ..located import Find, located
from ..pickles import Inert
from ..place import File, Folder
from ..tensors import StoredTensor
from ..torch_legacy import legacy_content
from ..torch_zip import zip_content


class TorchFile:
    """``content`` is what was saved: containers as Python's, tensors that are not read yet, and
    anything else inert.
    """

    def __init__(self, file: File):
        self.file = file
        if not file.is_file():
            raise CheckpointError(f"{file}: is missing, and the others of its folder need it")
        self.content, self._find = _content(file)

    def __str__(self) -> str:
        return str(self.file)

    def stored(self, name: str, tensor: Any) -> StoredTensor:
        """Where a tensor of the content lies; ``name`` is for errors."""
        if not hasattr(tensor, "dtype"):
            raise CheckpointError(f"{self}: {name!r} is no tensor; fetch or save it again")
        return located(name, tensor, self.file, self._find)

    def found(self, *keys: Any) -> Any:
        """What lies under these keys, one in the other; a CheckpointError where it does not."""
        value = self.content
        for key in keys:
            try:
                value = value[key]
            except (KeyError, IndexError, TypeError):
                raise CheckpointError(
                    f"{self}: has no {'/'.join(map(str, keys))}; fetch or save it again"
                ) from None
        return value


def _content(file: File) -> tuple[Any, Find]:
    with damage_named(file), file.open() as opened:
        start = opened.read(4)
        opened.seek(0)
        read = zip_content if start == b"PK\x03\x04" else legacy_content
        return read(file, opened)


def attributes(value: Any) -> Mapping[str, Any]:
    """Of an inert object, whose class may have slots, or of a mapping."""
    found = value.state if isinstance(value, Inert) else value
    if isinstance(found, tuple):
        return {k: v for some in found if isinstance(some, Mapping) for k, v in some.items()}
    return found if isinstance(found, Mapping) else {}


def by_rank(folder: Folder, pattern: str) -> dict[tuple[int, ...], File]:
    """The files of a folder whose names are of a pattern, by the numbers in its groups."""
    compiled = re.compile(pattern)
    return {
        tuple(int(number or 0) for number in match.groups()): file
        for file in folder.files()
        if (match := compiled.fullmatch(file.name))
    }


def refuse_gaps(where: Any, ranks: Sequence[int], expected: int | None, what: str) -> None:
    """A CheckpointError unless the ranks are those from 0 on, and as many as expected."""
    wanted = range(expected if expected is not None else max(ranks, default=-1) + 1)
    missing = [rank for rank in wanted if rank not in ranks]
    if missing:
        raise CheckpointError(
            f"{where}: the file of {what} {missing[0]} is missing, of {len(wanted)}; fetch it, or"
            " move the folder away"
        )
    if len(ranks) > len(wanted):
        raise CheckpointError(
            f"{where}: has files of {len(ranks)} ranks and was written by {len(wanted)}; those of"
            " another save lie among them, move them away"
        )
