"""One layout of parameters in all checkpoints: that none differs, and how each is stored."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import TypeVar

from ..errors import LayoutError
from ..telling import warn
from .account import percent
from .choice import Choice, Counting
from .partly import Drawn, Partly
from .prefixes import taken_off, without_prefixes, without_wrappers
from .tensors import RAW, StoredTensor, rows_first

# Networks that are trained against each other, where each is a trajectory.
_OPPONENTS = (
    ("generator", "discriminator"),
    ("gen", "disc"),
    ("g", "d"),
    ("netg", "netd"),
    ("actor", "critic"),
)
_Said = TypeVar("_Said")
_NUMBER = re.compile(r"\d+$")
_REMEDY = "leave it out with exclude=, or open files of one model only"


@dataclass(frozen=True)
class Layout:
    """The parameters of all checkpoints: by name, in the order of the first checkpoint, one
    :class:`StoredTensor` a checkpoint, all of one shape.
    """

    tensors: Mapping[str, tuple[StoredTensor, ...]]

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(self.tensors)

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: stored[0].shape for name, stored in self.tensors.items()}

    @cached_property
    def sizes(self) -> dict[str, int]:
        """Numbers of parameters."""
        return {name: stored[0].size for name, stored in self.tensors.items()}

    @cached_property
    def dtypes(self) -> dict[str, str]:
        """The widest that any checkpoint stores."""
        return {
            name: _widest({tensor.dtype for tensor in stored})
            for name, stored in self.tensors.items()
        }

    @cached_property
    def permuted(self) -> set[str]:
        """Names of tensors that all checkpoints store in another order than row-major."""
        return {name for name, stored in self.tensors.items() if stored[0].strides}

    @cached_property
    def drawn(self) -> Drawn | None:
        """The sample that checkpoints hold, where there are some that hold no more."""
        return next(filter(None, map(_drawn, next(iter(self.tensors.values()), ()))), None)

    def stored(self) -> Iterator[StoredTensor]:
        """All that is read of all checkpoints."""
        return chain.from_iterable(self.tensors.values())

    def of(self, indices: Sequence[int]) -> "Layout":
        """That of some of the checkpoints."""
        return Layout(
            {
                name: tuple(stored[index] for index in indices)
                for name, stored in self.tensors.items()
            }
        )


def settle(
    stored: Sequence[Mapping[str, StoredTensor]],
    sources: Sequence[str],
    include: str | Sequence[str] | None,
    exclude: str | Sequence[str] | None,
) -> tuple[Layout, Counting]:
    """The one layout of all checkpoints, and what is left out of it, with the reason.

    ``stored`` has the tensors of each checkpoint; ``sources`` name the checkpoints in errors;
    ``include`` and ``exclude`` are shell patterns. LayoutError where the checkpoints differ, or
    nothing is left.
    """
    stored, prefixes = _without_prefixes(stored)
    choice = Choice(include, exclude)
    names, counting = choice.of(stored, prefixes, sources[0])
    _check_names(stored, sources, names, choice)
    tensors = {name: _column(name, [one[name] for one in stored], sources) for name in names}
    _warn_of_mixed_types(tensors)
    notes = (
        *counting.notes,
        *_two_for_one(names),
        *_two_networks(tensors),
        *_one_sample(tensors, sources),
    )
    return Layout(tensors), replace(counting, notes=notes)


def _without_prefixes(stored):
    """The checkpoints by names without prefixes, and the prefixes of any of them."""
    shorter = of_names(
        stored, lambda names: (after := without_prefixes(names), taken_off(names, after))
    )
    bare = [dict(zip(after, tensors.values())) for tensors, (after, _) in zip(stored, shorter)]
    return bare, tuple(dict.fromkeys(prefix for _, taken in shorter for prefix in taken))


def of_names(
    stored: Sequence[Mapping[str, StoredTensor]], what: Callable[[list[str]], _Said]
) -> list[_Said]:
    """What names say in each checkpoint, asked once for all that follow one of equal names."""
    names: list[str] = []
    found: list[_Said] = []
    for tensors in stored:
        before, names = names, list(tensors)
        found.append(found[-1] if found and names == before else what(names))
    return found


def _widest(dtypes: set[str]) -> str:
    if len(dtypes) == 1:
        return next(iter(dtypes))
    return "float64" if "float64" in dtypes else "float32"


def _two_for_one(names):
    """What is told where a file holds a network and its compiled copy, whose names stay as they are
    so that neither is lost.
    """
    seen: dict[str, str] = {}
    for name in names:
        bare = without_wrappers(name) if "_orig_mod" in name or "_fsdp_" in name else name
        if bare in seen:
            return (
                f"{seen[bare]!r} and {name!r} are one name but for what torch.compile or FSDP puts"
                " before it; both are counted: leave one out with exclude=",
            )
        seen[bare] = name
    return ()


def _two_networks(tensors):
    """What is told where all names are of two parts that are alike, as those of a network and a
    copy under a name of its own, or where some are of a network and its opponent.
    """
    parts: dict[str, dict[str, tuple[int, ...]]] = {}
    for name, stored in tensors.items():
        part, _, rest = name.partition(".")
        parts.setdefault(part, {})[rest] = stored[0].shape
    called = {part.lower().replace("_", ""): part for part in parts if len(parts[part]) > 1}
    for pair in _OPPONENTS:
        if called.keys() >= set(pair):
            one, other = (called[name] for name in pair)
            return (
                f"{one} and {other} both count; for one of them leave the other out with"
                f" exclude='{other}.*'",
            )
    if len(parts) != 2:
        return ()
    (one, inside), (other, others) = parts.items()
    # Layers that are alike have numbers for names (h.0, h1), or no parts.
    is_layer = _NUMBER.sub("", one) == _NUMBER.sub("", other) or not any("." in n for n in inside)
    if is_layer or inside != others or len(inside) < 2:
        return ()
    return (
        f"{one} and {other} have tensors of the same names and shapes, and both count; if one is a"
        f" copy, leave it out with exclude='{other}.*'",
    )


def _check_names(stored, sources, names, choice):
    expected = set(names)
    for tensors, source in zip(stored[1:], sources[1:]):
        missing = [name for name in names if name not in tensors]
        if missing:
            raise LayoutError(
                f"{source}: lacks parameter {missing[0]!r}{_and_more(missing)}, which {sources[0]}"
                f" has; {_REMEDY}"
            )
        extra = [
            name
            for name in tensors
            if name not in expected and choice.is_new(name, tensors, stored[0])
        ]
        if extra:
            raise LayoutError(
                f"{source}: has parameter {extra[0]!r}{_and_more(extra)}, which {sources[0]} lacks;"
                f" {_REMEDY}"
            )


def _column(name, tensors, sources):
    """One tensor in all checkpoints, of one shape. Inner products do not ask in which order its
    elements lie, if it is one order: channels_last tensors are read as they lie.
    """
    dtypes, shapes, _, _, strides, *_ = zip(*tensors)
    if shapes.count(shapes[0]) < len(shapes):
        at, shape = next((at, one) for at, one in enumerate(shapes) if one != shapes[0])
        raise LayoutError(
            f"{sources[at]}: parameter {name!r} has shape {shape}, expected {shapes[0]} as in"
            f" {sources[0]}; {_REMEDY}"
        )
    if not RAW.keys() >= set(dtypes):
        at, dtype = next((at, one) for at, one in enumerate(dtypes) if one not in RAW)
        raise LayoutError(
            f"{sources[at]}: parameter {name!r} is stored as {dtype}; only {', '.join(RAW)} can be"
            f" read: leave it out with exclude={name!r}"
        )
    if strides.count(strides[0]) == len(strides):
        return tuple(tensors)
    return tuple(map(rows_first, tensors))


def _drawn(tensor):
    return tensor.place.drawn if isinstance(tensor.place, Partly) else None


def _one_sample(tensors, sources):
    """What is told where checkpoints hold a sample, which must be one."""
    drawn = list(map(_drawn, next(iter(tensors.values()))))
    found = [at for at, one in enumerate(drawn) if one]
    if not found:
        return ()
    first = drawn[found[0]]
    if others := [at for at in found if drawn[at] != first]:
        raise LayoutError(
            f"{sources[others[0]]}: holds a sample of the parameters with {drawn[others[0]]},"
            f" {sources[found[0]]} one with {first}; open checkpoints of one sample"
        )
    kept = sum(stored[found[0]].place.kept.size for stored in tensors.values())
    share = percent(kept / sum(stored[0].size for stored in tensors.values()))
    return (
        f"the files hold a sample, {share} of the parameters ({first}): what is computed of it is"
        " an estimate, with a standard error",
    )


def _warn_of_mixed_types(tensors):
    mixed = {
        name: sorted(found)
        for name, stored in tensors.items()
        if len(found := {tensor.dtype for tensor in stored}) > 1
    }
    if mixed:
        first, dtypes = next(iter(mixed.items()))
        warn(
            f"parameter {first!r}{_and_more(list(mixed))} changes its dtype between checkpoints"
            f" ({', '.join(dtypes)}); all are converted exactly"
        )


def _and_more(names):
    return f" and {len(names) - 1} more" if len(names) > 1 else ""
