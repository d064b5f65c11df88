"""What a checkpoint may ask for, against what lies in it."""

import math
import re
from collections.abc import Iterable, Mapping

from ..errors import CheckpointError
from .place import Place
from .scattered import Scattered
from .strided import Strided
from .tensors import StoredTensor

# The longest of known models have some 150. A kernel keeps names as wide as its longest.
LONGEST_NAME = 1000
# An expanded tensor repeats few numbers: so many elements may be made of others, or as many as lie
# in the file.
MOST_EXPANDED = 1 << 24
# NumPy's text ends at a NUL; of half a surrogate pair no terminal can write anything.
_UNKEPT = re.compile("[\0\ud800-\udfff]")


def refuse_names(names: Iterable[str], where: object) -> None:
    """A CheckpointError for the name of a tensor that no kernel could keep."""
    for name in names:
        if len(name) > LONGEST_NAME:
            raise CheckpointError(
                f"{where}: a tensor's name has {len(name):,} characters, {name[:40]!r} …, where"
                f" {LONGEST_NAME:,} are the most; save it under a shorter one"
            )
        if found := _UNKEPT.search(name):
            what = "a NUL" if found[0] == "\0" else "half a character"
            raise CheckpointError(
                f"{where}: the name {name!r} has {what} in it; save the tensor under another"
            )


def refuse_expansion(tensors: Mapping[str, StoredTensor], where: object) -> None:
    """A CheckpointError where there are many more elements than numbers in the files."""
    made = {
        name: _made(tensor.place, tensor.size)
        for name, tensor in tensors.items()
        if isinstance(tensor.place, (Strided, Scattered))
    }
    if not made:
        return
    total = sum(made.values())
    if total > max(MOST_EXPANDED, sum(tensor.size for tensor in tensors.values()) - total):
        name = max(made, key=made.__getitem__)
        raise CheckpointError(
            f"{where}: is expanded to {total:,} elements more than lie in it, most of them in"
            f" {name!r}; save tensor.contiguous() if that is meant"
        )


def _made(place: Place | None, size: int) -> int:
    """Of so many elements, how many are others again."""
    if isinstance(place, Strided):
        return max(size - place.extent, 0)
    if isinstance(place, Scattered):
        return sum(_made(box.place, math.prod(box.sizes)) for box in place.boxes)
    return 0
