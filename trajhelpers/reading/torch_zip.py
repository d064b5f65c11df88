"""The zip files of torch.save: where each tensor's bytes lie, without reading them."""

import re
from typing import Any, BinaryIO

from ..errors import CheckpointError
from .contents import Contents
from .located import Find, chosen_and_located
from .parsed import EqualHeaders, Parsed
from .pickles import Ended
from .place import File
from .strangers import zip_of
from .unpickling import Storage, read_pickle
from .zip_records import read_index

# Of which an element is less than a byte.
_PACKED = ("quint4x2", "quint2x4")
_READ = re.compile(r"[^/]+/(data\.pkl|byteorder)")
_PICKLES: EqualHeaders[Parsed] = EqualHeaders()


def read_zip(file: File, opened: BinaryIO, state: str | None) -> Contents:
    """The tensors of the state that is θ, located by the zip's index."""
    pickle, find = _pickle(file, opened)
    parsed = _PICKLES.parsed(pickle, lambda: Parsed(_content(file, pickle)))
    return chosen_and_located(parsed, file, state, find)


def zip_content(file: File, opened: BinaryIO) -> tuple[Any, Find]:
    """All that the pickle holds, and where its storages lie."""
    pickle, find = _pickle(file, opened)
    return _content(file, pickle), find


def _content(file: File, pickle: bytes) -> Any:
    try:
        return read_pickle(pickle, 0, file)[0]
    except Ended:
        raise CheckpointError(f"{file}: its pickle ends early; fetch or save it again") from None


def _pickle(file: File, opened: BinaryIO) -> tuple[bytes, Find]:
    """As it lies in the zip, and where its storages do."""
    records, read = read_index(file, opened, _is_read, zip_of)
    pickle = next(name for name in read if name.endswith("data.pkl"))
    top = pickle.removesuffix("data.pkl")
    if read.get(f"{top}byteorder", b"little") != b"little":
        raise CheckpointError(
            f"{file}: was written on a big-endian machine; load it with torch and save it again on"
            " this one"
        )

    def find(storage: Storage):
        record = records.get(f"{top}data/{storage.key}")
        if record and record.size != storage.nbytes and storage.dtype not in _PACKED:
            raise CheckpointError(
                f"{file}: record {record.name} has {record.size:,} bytes, and its storage"
                f" {storage.nbytes:,}; fetch or save it again"
            )
        return record and (file, record.start, record.size)

    return read[pickle], find


def _is_read(name: str) -> bool:
    return bool(_READ.fullmatch(name))
