"""The format in which torch saved before 1.6, and plain pickles.

A pickle of a number that tells the format, of its version and of the machine; one of what was
saved, one of the storages' keys; and behind them the storages, each after its length.
"""

import struct
from typing import Any, BinaryIO

from ..errors import CheckpointError
from .contents import Contents
from .located import Find, chosen_and_located
from .parsed import Parsed
from .pickles import Ended
from .place import File, Place
from .unpickling import Storage, read_pickle

_MAGIC, _VERSION = 0x1950A86A20F9469CFC6C, 1001
_FIRST_READ, _LONGEST = 1 << 18, 1 << 30
_LENGTH = struct.Struct("<q")


def read_legacy(file: File, opened: BinaryIO, state: str | None) -> Contents:
    """The tensors of the state that is θ; only pickles and lengths are read."""
    content, find = legacy_content(file, opened)
    return chosen_and_located(Parsed(content), file, state, find)


def legacy_content(file: File, opened: BinaryIO) -> tuple[Any, Find]:
    """All that the pickle holds, and where its storages lie."""
    pickles = _Pickles(file, opened)
    content = pickles.next()
    if type(content) is not int or content != _MAGIC:
        return content, lambda storage: None
    version, machine = pickles.next(), pickles.next()
    if version != _VERSION:
        raise CheckpointError(
            f"{file}: damaged (of version {version!r} of torch's old format); fetch or save it"
            " again"
        )
    if not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise CheckpointError(
            f"{file}: was written on a big-endian machine; load it with torch and save it again on"
            " this one"
        )
    content = pickles.next()
    storages = dict(pickles.storages)
    begins = _begins(file, pickles.next(), storages, pickles.at)

    def find(storage: Storage) -> tuple[Place, int, int] | None:
        begin = begins.get(storage.key)
        return None if begin is None else (file, begin, storages[storage.key].nbytes)

    return content, find


class _Pickles:
    """One behind another, from the beginning of a file."""

    def __init__(self, file: File, opened: BinaryIO):
        self.file, self._opened = file, opened
        self._content = opened.read(_FIRST_READ)
        self.at = 0
        self.storages: dict[str, Storage] = {}

    def next(self) -> Any:
        while True:
            try:
                found, self.at = read_pickle(self._content, self.at, self.file, self.storages)
                return found
            except Ended:
                more = self._opened.read(max(len(self._content), 1))
                if not more or len(self._content) > _LONGEST:
                    raise CheckpointError(
                        f"{self.file}: damaged or not a checkpoint (its pickle ends too early);"
                        " fetch or save it again"
                    ) from None
                self._content += more


def _begins(file: File, keys: Any, storages: dict[str, Storage], at: int) -> dict[str, int]:
    """Where each storage begins, by its key. They fill the rest of the file, and on this machine
    each length is looked at.
    """
    if not isinstance(keys, list) or set(map(str, keys)) != set(storages):
        raise CheckpointError(
            f"{file}: damaged (its storages are not those of its tensors); fetch or save it again"
        )
    begins = {}
    for key in map(str, keys):
        begins[key] = at + _LENGTH.size
        at += _LENGTH.size + storages[key].nbytes
    if at != file.size:
        raise CheckpointError(
            f"{file}: its storages end at byte {at:,} of {file.size:,}; fetch or save it again"
        )
    if not file.remote:
        lengths = file.read_headers([begin - _LENGTH.size for begin in begins.values()], 8)
        for key, content in zip(begins, lengths):
            if content != _LENGTH.pack(storages[key].numel):
                raise CheckpointError(
                    f"{file}: storage {key!r} has another length than its tensors say; fetch or"
                    " save it again"
                )
    return begins
