"""One layout of parameters in all checkpoints: which tensors count, under which names, and that
none differs.
"""

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property

from ..errors import LayoutError, TrajectoryWarning
from .prefixes import without_prefixes
from .tensors import RAW, StoredTensor, rows_first

_BUFFER = re.compile(
    r"(^|\.)(running_mean|running_var|num_batches_tracked|masked_bias|rotary_emb\.inv_freq)$"
)
_CAUSAL_MASK = re.compile(r"(^|\.)(attn|attention)\.bias$")


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
) -> tuple[Layout, list[str]]:
    """The one layout of all checkpoints, and what is left out of it, with the reason.

    ``stored`` has the tensors of each checkpoint; ``sources`` name the checkpoints in errors;
    ``include`` and ``exclude`` are shell patterns. LayoutError where the checkpoints differ, or
    nothing is left.
    """
    stored = [dict(zip(without_prefixes(tensors), tensors.values())) for tensors in stored]
    included, excluded = _patterns(include), _patterns(exclude)
    names, aside = _parameter_names(stored[0], included, excluded)
    _check(stored, sources, names, included, excluded)
    names, tied = _without_ties(names, stored)
    tensors = {name: _in_one_order([tensors[name] for tensors in stored]) for name in names}
    _warn_of_mixed_types(tensors)
    return Layout(tensors), [*aside, *tied]


def _widest(dtypes: set[str]) -> str:
    if len(dtypes) == 1:
        return next(iter(dtypes))
    return "float64" if "float64" in dtypes else "float32"


def _patterns(given):
    return None if given is None else [given] if isinstance(given, str) else list(given)


def _matches(name, patterns):
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _reason_to_leave_out(name, tensor, include, exclude):
    if exclude is not None and _matches(name, exclude):
        return "excluded"
    if include is not None and not _matches(name, include):
        return "not included"
    if tensor.dtype not in RAW:
        return f"{tensor.dtype}, not a parameter"
    if include is None and (
        tensor.is_buffer
        or _BUFFER.search(name)
        or (_CAUSAL_MASK.search(name) and len(tensor.shape) == 4 and tensor.shape[:2] == (1, 1))
    ):
        return "a buffer"
    return None


def _parameter_names(tensors, include, exclude):
    reasons = {
        name: _reason_to_leave_out(name, tensor, include, exclude)
        for name, tensor in tensors.items()
    }
    unreadable = [
        name
        for name, tensor in tensors.items()
        if re.match("float|complex|F8|F4", tensor.dtype)
        and tensor.dtype not in RAW
        and reasons[name] not in ("excluded", "not included")
    ]
    if unreadable:
        raise LayoutError(
            f"parameter {unreadable[0]!r} is stored as {tensors[unreadable[0]].dtype}; only"
            f" {', '.join(RAW)} can be read: leave it out with exclude={unreadable[0]!r}"
        )
    names = [name for name, reason in reasons.items() if reason is None and tensors[name].size]
    if not names:
        chosen = f" (include={include}, exclude={exclude})" if include or exclude else ""
        raise LayoutError(
            f"no parameters left{chosen}; the first checkpoint holds"
            f" {', '.join(list(tensors)[:8]) or 'nothing'}"
        )
    return names, [f"{name}: {reason}" for name, reason in reasons.items() if reason]


def _check(stored, sources, names, include, exclude):
    expected = {name: stored[0][name].shape for name in names}
    for tensors, source in zip(stored[1:], sources[1:]):
        found = {
            name: tensor.shape
            for name, tensor in tensors.items()
            if name in expected
            or (tensor.size and not _reason_to_leave_out(name, tensor, include, exclude))
        }
        missing, extra = (
            [name for name in expected if name not in found],
            [name for name in found if name not in expected],
        )
        if missing:
            raise LayoutError(
                f"{source}: lacks parameter {missing[0]!r}{_and_more(missing)}, which {sources[0]}"
                " has; leave it out with exclude=, or open files of one model only"
            )
        if extra:
            raise LayoutError(
                f"{source}: has parameter {extra[0]!r}{_and_more(extra)}, which {sources[0]} lacks;"
                " leave it out with exclude=, or open files of one model only"
            )
        for name, shape in expected.items():
            if found[name] != shape:
                raise LayoutError(
                    f"{source}: parameter {name!r} has shape {found[name]}, expected {shape} as in"
                    f" {sources[0]}; leave it out with exclude=, or open files of one model only"
                )
            if tensors[name].dtype not in RAW:
                raise LayoutError(
                    f"{source}: parameter {name!r} is stored as {tensors[name].dtype}; only"
                    f" {', '.join(RAW)} can be read: leave it out with exclude={name!r}"
                )


def _without_ties(names, stored):
    """Names that are one tensor in every checkpoint count once."""
    first, kept, tied = {}, [], []
    for name in names:
        identities = tuple(tensors[name].identity for tensors in stored)
        if all(identities) and identities in first:
            tied.append(f"{name}: tied to {first[identities]}, counted once")
        else:
            first[identities] = name
            kept.append(name)
    return kept, tied


def _in_one_order(tensors):
    """Inner products do not ask in which order elements lie, if it is one order: channels_last
    tensors are read as they lie.
    """
    if len({tensor.strides for tensor in tensors}) == 1:
        return tuple(tensors)
    return tuple(rows_first(tensor) for tensor in tensors)


def _warn_of_mixed_types(tensors):
    mixed = {
        name: sorted({tensor.dtype for tensor in stored})
        for name, stored in tensors.items()
        if len({tensor.dtype for tensor in stored}) > 1
    }
    if mixed:
        first, dtypes = next(iter(mixed.items()))
        warnings.warn(
            f"parameter {first!r}{_and_more(list(mixed))} changes its dtype between checkpoints"
            f" ({', '.join(dtypes)}); all are converted exactly",
            TrajectoryWarning,
            stacklevel=4,
        )


def _and_more(names):
    return f" and {len(names) - 1} more" if len(names) > 1 else ""
