"""Which tensors of a checkpoint are θ: what was asked for, without what nobody trains, a tied
tensor once, and no scales of quantized weights.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from ..errors import LayoutError
from .account import gathered, listed
from .buffers import what_buffer
from .quantized import quantized
from .tensors import RAW, StoredTensor

# Of ``exclude``, no pattern: what never moves, which shows in the pass.
CONSTANT = "constant"
_EXCLUDED, _NOT_INCLUDED, _NO_PARAMETER = "excluded", "not included", ", not a parameter"
_UNREAD = ("float", "complex", "F8_", "F4", "F6_", "C64")


@dataclass(frozen=True)
class Counting:
    """What is to be said of the parameters that count: ``left_out`` has a line a tensor, or for
    many that are alike; ``ties`` the names of one tensor, the one that counts first; ``prefixes``
    what names have lost; ``notes`` what one is told. ``without_constant``: the pass leaves out what
    never moves.
    """

    left_out: tuple[str, ...] = ()
    tensors_left_out: int = 0
    ties: tuple[tuple[str, ...], ...] = ()
    prefixes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    without_constant: bool = False


class Choice:
    """``include`` and ``exclude``, as they are given to :func:`trajhelpers.open_trajectory`."""

    def __init__(self, include: str | Sequence[str] | None, exclude: str | Sequence[str] | None):
        self._include = None if include is None else _listed(include)
        excluded = _listed(exclude or ())
        self._exclude = [pattern for pattern in excluded if pattern != CONSTANT]
        self._without_constant = CONSTANT in excluded

    def of(
        self, stored: Sequence[Mapping[str, StoredTensor]], prefixes: tuple[str, ...], where: str
    ) -> tuple[list[str], Counting]:
        """The names that count, those of the first checkpoint, which ``where`` names in errors, and
        what is to be said of them.
        """
        first = stored[0]
        reasons = {name: self._reason(name, first) for name in first}
        self._refuse_quantized(first, reasons, where)
        _refuse_unread(first, reasons, where)
        ties, notes = _settle_ties(stored, reasons)
        names = [name for name, reason in reasons.items() if reason is None and first[name].size]
        if not names:
            asked = {"include": self._include, "exclude": self._exclude}
            chosen = ", ".join(f"{what}={said}" for what, said in asked.items() if said)
            raise LayoutError(
                f"{where}: no parameters left{f' ({chosen})' if chosen else ''}; it holds"
                f" {', '.join(list(first)[:8]) or 'nothing'}"
            )
        notes = (*notes, *self._idle(first))
        out = {name: reason for name, reason in reasons.items() if reason}
        return names, Counting(
            tuple(gathered(out)), len(out), ties, prefixes, notes, self._without_constant
        )

    def is_new(
        self,
        name: str,
        tensors: Mapping[str, StoredTensor],
        first: Mapping[str, StoredTensor],
    ) -> bool:
        """Whether a tensor counts that does not in the first checkpoint."""
        tensor, before = tensors[name], first.get(name)
        if before is not None and before.dtype == tensor.dtype and before.size:
            return False
        return bool(tensor.size) and self._reason(name, tensors) is None

    def _reason(self, name, tensors):
        """Why a tensor is left out, or None."""
        tensor = tensors[name]
        if _matches(name, self._exclude):
            return _EXCLUDED
        if self._include is not None and not _matches(name, self._include):
            return _NOT_INCLUDED
        # Who names a buffer in full means it; a pattern means parameters.
        named = self._include is not None and name in self._include
        if not named and (what := what_buffer(name, tensor, tensors)):
            return what
        return None if tensor.dtype in RAW else f"{tensor.dtype}{_NO_PARAMETER}"

    def _idle(self, tensors):
        """What is told of patterns that match nothing, of which somebody may think otherwise."""
        for what, patterns in (("include", self._include or ()), ("exclude", self._exclude)):
            for pattern in patterns:
                if not any(fnmatchcase(name, pattern) for name in tensors):
                    there = listed(list(tensors), 4)
                    yield f"{what}={pattern!r} matches no name; there are {there}"

    def _refuse_quantized(self, tensors, reasons, where):
        found = quantized(tensors)
        meant = [
            name for name in found if reasons[name] is None or reasons[name].endswith(_NO_PARAMETER)
        ]
        if meant:
            scheme, companions = found[meant[0]]
            beside = f" beside {companions[0]!r}" if companions else ""
            more = f" and {len(meant) - 1} more" if len(meant) > 1 else ""
            raise LayoutError(
                f"{where}: parameter {meant[0]!r}{more}: quantized ({scheme}{beside}), and neither"
                " its codes nor its scales are weights; open checkpoints that are not quantized,"
                " dequantize and save these, or leave such layers out with"
                f" exclude={_layer_of(meant[0])!r}"
            )
        for name, (_, companions) in found.items():
            for companion in companions:
                if reasons[companion] is None:
                    reasons[companion] = f"belongs to {name}, which is quantized"


def _listed(given):
    return [given] if isinstance(given, str) else list(given)


def _matches(name, patterns):
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _layer_of(name):
    layer, dot, _ = name.rpartition(".")
    return f"{layer}.*" if dot else f"{name}*"


def _refuse_unread(tensors, reasons, where):
    unread = [
        name
        for name, tensor in tensors.items()
        if tensor.dtype.startswith(_UNREAD) and (reasons[name] or "").endswith(_NO_PARAMETER)
    ]
    if unread:
        raise LayoutError(
            f"{where}: parameter {unread[0]!r} is stored as {tensors[unread[0]].dtype}; only"
            f" {', '.join(RAW)} can be read: leave it out with exclude={unread[0]!r}"
        )


def _settle_ties(stored, reasons):
    """What counts once, by all its names; what is excluded by one of them; and why, into
    ``reasons``.
    """
    ties, with_others = [], {}
    for names in _tied(stored):
        excluded = [name for name in names if reasons[name] == _EXCLUDED]
        counted = [name for name in names if reasons[name] is None]
        if excluded and counted:
            for name in counted:
                reasons[name] = f"tied to {excluded[0]}, which is excluded"
                with_others[name] = excluded[0]
        elif counted:
            others = [name for name in names if reasons[name] in (None, _NOT_INCLUDED)]
            others.remove(counted[0])
            for name in others:
                reasons[name] = f"tied to {counted[0]}, counted once"
            if others:
                ties.append((counted[0], *others))
    note = (
        f"{listed(list(with_others), 4)}: tied to {listed(list(with_others.values()), 4)}, which"
        " exclude leaves out; left out together"
    )
    return tuple(ties), (note,) if with_others else ()


def _tied(stored):
    """Names of one tensor in every checkpoint, as lists."""
    in_first: dict[tuple, list[str]] = {}
    for name, tensor in stored[0].items():
        if tensor.identity and tensor.size:
            in_first.setdefault(tensor.identity, []).append(name)
    for names in in_first.values():
        if len(names) > 1:
            in_all: dict[tuple, list[str]] = {}
            for name in names:
                if all(name in tensors for tensors in stored):
                    key = tuple(tensors[name].identity for tensors in stored)
                    in_all.setdefault(key, []).append(name)
            yield from (group for key, group in in_all.items() if len(group) > 1 and all(key))
