"""What a checkpoint holds as a tree of names with tensors for leaves: mappings, lists, modules, and
the inert objects of a pickle.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..errors import CheckpointError
from .pickles import Inert
from .unpickling import NOT_DENSE, SHARD, Unreadable

_DEEPEST = 64
_MOST_PARTS = 2_000_000


class Buffer(NamedTuple):
    """A tensor that its module calls a buffer."""

    tensor: Any

    @property
    def dtype(self) -> Any:
        return self.tensor.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        return self.tensor.shape


@dataclass
class Node:
    """A part that holds tensors, directly or in parts of it."""

    tensors: dict[str, Any] = field(default_factory=dict)
    parts: dict[str, "Node"] = field(default_factory=dict)
    # All keys, of what holds no tensors too.
    keys: frozenset[str] = frozenset()
    is_module: bool = False
    is_list: bool = False

    def flat(self, prefix: str = "") -> Iterator[tuple[str, Any]]:
        for name, tensor in self.tensors.items():
            yield f"{prefix}{name}", tensor
        for key, part in self.parts.items():
            yield from part.flat(f"{prefix}{key}.")

    def names(self) -> Iterator[str]:
        """Of all tensors, each without the keys above it."""
        yield from self.tensors
        for part in self.parts.values():
            yield from part.names()

    def below(self) -> Iterator[tuple[str, "Node"]]:
        """All parts, and those in them, by their last key."""
        for key, part in self.parts.items():
            yield key, part
            yield from part.below()


_PLAIN = (str, bytes, bytearray, int, float, bool, type(None), type, set, frozenset)


def tree_of(content: Any, where) -> Node | None:
    """The tree of all that holds tensors; None where nothing does."""
    return _Gardener(where).grow(content, ())


class _Gardener:
    def __init__(self, where):
        self.where, self.count = where, 0

    def grow(self, value: Any, above: tuple[int, ...]) -> Node | None:
        module = _module(value)
        children = module if module is not None else _children(value)
        if not children or id(value) in above:
            return None
        if len(above) > _DEEPEST:
            raise CheckpointError(
                f"{self.where}: is nested more than {_DEEPEST} deep; save it flatter"
            )
        self.count += len(children)
        if self.count > _MOST_PARTS:
            raise CheckpointError(
                f"{self.where}: has more than {_MOST_PARTS:,} parts; save model.state_dict() alone"
            )
        is_list = all(key.isdecimal() for key in children) and not isinstance(value, Mapping)
        node = Node({}, {}, frozenset(children), module is not None, is_list)
        above = (*above, id(value))
        for key, child in children.items():
            if isinstance(child, _PLAIN):
                continue
            if getattr(child, "is_nested", False) is True:  # whose shape torch does not say
                node.tensors[key] = Unreadable(NOT_DENSE.format(kind="nested"), (1,))
            elif is_tensor(child):
                node.tensors[key] = child
            elif isinstance(child, Inert) and str(child).endswith(".ShardedTensor"):
                node.tensors[key] = Unreadable(SHARD.format(kind="ShardedTensor"), (1,))
            elif part := self.grow(child, above):
                node.parts[key] = part
        return node if node.tensors or node.parts else None


def is_tensor(value: Any) -> bool:
    """Of torch, of NumPy or of a file, without importing torch."""
    return hasattr(value, "dtype") and hasattr(value, "shape")


def _children(value: Any) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return _by_name(value)
    if isinstance(value, (list, tuple)):
        return {str(index): child for index, child in enumerate(value)}
    if isinstance(value, Inert):
        items = {str(index): child for index, child in enumerate(value.items)}
        return _by_name(_attributes(value) | items | value.entries)
    return {}


def _attributes(value: Inert) -> dict[Any, Any]:
    """What an object was made of, by name: attributes, slots, a dict that its maker got."""
    parts = value.state if isinstance(value.state, tuple) else (value.state,)
    found: dict[Any, Any] = {}
    for part in (*value.arguments, *parts):
        found |= part if isinstance(part, dict) else {}
    return found


def _by_name(mapping: Mapping) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in mapping.items():
        name = key if isinstance(key, str) else str(key)
        found[name if name not in found else repr(key)] = value
    return found


def _module(value: Any) -> dict[str, Any] | None:
    """The parameters, buffers and modules of a pickled module, or of one in memory."""
    if isinstance(value, Inert):
        own = _attributes(value)
        parameters, buffers, modules = (
            own.get(name) for name in ("_parameters", "_buffers", "_modules")
        )
        if not isinstance(parameters, dict) or not isinstance(modules, dict):
            return None
        unsaved = own.get("_non_persistent_buffers_set")
        unsaved = unsaved if isinstance(unsaved, (set, list)) else ()
        kept = {
            name: Buffer(tensor)
            for name, tensor in (buffers if isinstance(buffers, dict) else {}).items()
            if is_tensor(tensor) and name not in unsaved
        }
        return _by_name(parameters | kept | modules)
    if hasattr(value, "named_parameters") and hasattr(value, "named_buffers"):
        # Aliases are kept, as a state dict would have them; the layout counts them once.
        return dict(value.named_parameters(remove_duplicate=False)) | {
            name: Buffer(tensor) for name, tensor in value.named_buffers(remove_duplicate=False)
        }
    return None
