"""Which parts of a tree of names are states, and whose: the network's, an optimizer's, an
average's, or something that lies beside them.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .roles import (
    SLOTS,
    aside,
    is_average,
    is_model,
    is_one_of_several,
    is_optimizer,
    originals,
)
from .tensors import dtype_of
from .tree import Node

_SEPARATOR = re.compile(r"[./]")
# What a network's tensors are called at the end of their names, beside dotted ones.
_USUAL = re.compile(r"[./]|^(weight|bias|kernel|scale|embedding)$")
_FLOAT = re.compile("float|bfloat|complex|F8|F6|F4")
# The share of an optimizer's names in a part that is one's state, beside the network's at most 3/4.
_MOSTLY = 0.9


@dataclass(frozen=True, eq=False)
class State:
    path: tuple[str, ...]
    tensors: Mapping[str, Any]
    role: str
    why: str = ""
    # Without names, so that it is a network's at most where nothing else is.
    is_list: bool = False

    @property
    def title(self) -> str:
        return ".".join(self.path) or "the tensors on top"

    @property
    def size(self) -> int:
        """Numbers."""
        return sum(math.prod(tensor.shape) for tensor in self.tensors.values())

    @property
    def is_network(self) -> bool:
        return (
            self.role == "network"
            and not self.is_list
            and any(map(is_weight, self.tensors.values()))
        )

    @property
    def shapes(self) -> frozenset:
        names = list(self.tensors)
        while names and all(name.startswith("module.") for name in names):
            names = [name.removeprefix("module.") for name in names]
        return frozenset(
            (name, tuple(tensor.shape)) for name, tensor in zip(names, self.tensors.values())
        )


def is_weight(tensor: Any) -> bool:
    return bool(len(tensor.shape) and _FLOAT.match(dtype_of(tensor)))


_OPTIMIZERS = "an optimizer's state"
_AVERAGES = "an average of the network"


def states_in(node: Node, path: tuple[str, ...], is_only: bool) -> Iterator[State]:
    """Of a part of the tree, by the rules of :func:`choose_state`."""
    key = path[-1] if path else ""
    if (key and is_optimizer(key)) or _keeps_slots(node, bool(path)):
        yield State(path, dict(node.flat()), "optimizer", _OPTIMIZERS + _slots_in(node))
        return
    beside = aside(key)
    if beside:
        yield State(path, dict(node.flat()), "aside", beside)
        return
    if key and is_average(key):
        found = list(_of_network(node, path, True))
        # Some keep the network beside its average (ema_pytorch's online_model).
        role, why = "average", _AVERAGES
        if any(state.role == "average" for state in found):
            role, why = "aside", "the network beside its average"
        for state in found:
            is_this = state.role == "network"
            yield State(state.path, state.tensors, role, why) if is_this else state
        return
    yield from _of_network(node, path, is_only)


def _of_network(node: Node, path: tuple[str, ...], is_only: bool) -> Iterator[State]:
    if node.is_list and node.tensors and not node.parts:
        yield State(path, node.tensors, "network", "a list of tensors", is_list=True)
        return
    if node.is_module or not node.parts or _only_nests(node, path, is_only):
        yield from _split(path, dict(node.flat()))
        return
    only = len(node.parts) == 1
    inner = [
        state
        for key, part in node.parts.items()
        for state in states_in(part, (*path, key), only and not node.tensors)
    ]
    if "averaging_state" in node.keys and "current_model_state" in node.parts:
        # Lightning's WeightAveraging puts the average where the network was.
        inner = [
            State(state.path, state.tensors, "average", _AVERAGES)
            if state.path[len(path)] == "state_dict" and state.role == "network"
            else state
            for state in inner
        ]
    if node.tensors:
        named = {name for state in inner for name in state.tensors if state.role == "average"}
        is_network = any(
            is_weight(tensor) and (_USUAL.search(name) or name in named)
            for name, tensor in node.tensors.items()
        )
        if is_network or not any(state.role in ("network", "average") for state in inner):
            yield from _split(path, node.tensors)
        else:
            yield State(path, node.tensors, "aside", f"beside the states: {_some(node.tensors)}")
    yield from inner


def _only_nests(node: Node, path: tuple[str, ...], is_only: bool) -> bool:
    """Whether the parts are of one network, and no states of their own."""
    if any(_is_apart(key, part) for key, part in node.parts.items()):
        return False
    if (is_only and not node.is_list) or (path and is_model(path[-1])):
        return True
    if any(_is_apart(key, part) for key, part in node.below()):
        return False
    if any("." in name for name in node.names()):
        return False
    deep = any(part.parts for part in node.parts.values())
    return deep or all(re.search(r"\d$", key) for key in node.parts)


def _is_apart(key: str, part: Node) -> bool:
    """Whether a part is a state of its own, or has one in it."""
    return (
        part.is_module
        or is_model(key)
        or is_optimizer(key)
        or is_average(key)
        or is_one_of_several(key)
        or key == "batch_stats"
    )


def _keeps_slots(node: Node, is_part: bool) -> bool:
    """Whether a mapping of tensors, not flat, is an optimizer's state."""
    if {"param_groups", "state"} <= node.keys:
        return not any(map(is_model, node.parts))
    if not node.parts or node.is_module or not is_part:
        return False
    names = list(node.names())
    slots = [name for name in names if name in SLOTS]
    return len(slots) > _MOSTLY * len([name for name in names if name != "step"])


def _slots_in(node: Node) -> str:
    found = [name for name in dict.fromkeys(node.names()) if name in SLOTS]
    return f" ({', '.join(found)})" if found else ""


def _split(path: tuple[str, ...], tensors: dict[str, Any]) -> Iterator[State]:
    """A flat state, without what lies in it of an optimizer or of an average."""
    text = "\n".join(tensors).lower()
    if not any(word in text for word in _SUSPICIOUS):
        yield State(path, tensors, "network")
        return
    parts: dict[tuple[str, ...], dict[str, Any]] = {}
    slots: dict[str, Any] = {}
    rest: dict[str, Any] = {}
    for name, tensor in tensors.items():
        pieces = _SEPARATOR.split(name)
        at = next((i for i, piece in enumerate(pieces[:3]) if _names_optimizer(piece)), None)
        if at is not None and len(pieces) > at + 1:
            parts.setdefault(tuple(pieces[: at + 1]), {})[name] = tensor
        elif any(piece in SLOTS or _ENDS_IN_SLOT.search(piece) for piece in pieces):
            slots[name] = tensor
        else:
            rest[name] = tensor
    if not rest:
        yield State(path, tensors, "optimizer" if parts or slots else "network", _OPTIMIZERS)
        return
    averages = _averages_in(rest)
    copies = _copies_in({name: tensor for name, tensor in rest.items() if name not in averages})
    kept = {
        name: tensor
        for name, tensor in rest.items()
        if name not in averages and not _is_within(name, copies)
    }
    is_split = bool(parts or slots or averages)
    prefix = _common_model(kept) if is_split else ""
    own = (*path, *_SEPARATOR.split(prefix)) if prefix else path
    yield State(
        own, {name[len(prefix) + 1 :] if prefix else name: t for name, t in kept.items()}, "network"
    )
    for keys, found in parts.items():
        names = [piece for piece in SLOTS if any(piece in name for name in found)]
        some = f" ({', '.join(sorted(names))})" if names else ""
        yield State((*path, *keys), found, "optimizer", _OPTIMIZERS + some)
    if slots:
        yield State((*path, _some(slots)), slots, "optimizer", _OPTIMIZERS)
    for copy, original in copies.items():
        within = {
            name[len(copy) + 1 :]: tensor
            for name, tensor in rest.items()
            if name.startswith(f"{copy}.")
        }
        why = f"a copy of {original}, or its teacher"
        yield State((*path, *copy.split(".")), within, "aside", why)
    for average in dict.fromkeys(averages.values()):
        within = {
            name[len(average) + 1 :]: rest[name]
            for name, other in averages.items()
            if other == average
        }
        yield State((*path, *_SEPARATOR.split(average)), within, "average", _AVERAGES)


# fmt: off
_SUSPICIOUS = (
    "opt", "ema", "swa", "polyak", "avg", "averag", "shadow", "teacher", "target", "momentum",
    "encoder_k", *SLOTS,
)
# fmt: on
_ENDS_IN_SLOT = re.compile(rf"_({'|'.join(sorted(SLOTS - {'prev_grad'}))})$")


def _names_optimizer(piece: str) -> bool:
    """Of a part of a dotted name, where a layer may be called anything."""
    return re.fullmatch(r"optim(izer|iser)?s?(_states?)?|opt_states?", piece) is not None


def _averages_in(tensors: dict[str, Any]) -> dict[str, str]:
    """By name, the prefix of the average that a tensor belongs to: one whose name says so, and
    whose tensors have the names, but for dots, and the shapes of others.
    """
    prefixes: dict[str, list[str]] = {}
    for name in tensors:
        pieces = _SEPARATOR.split(name)
        for at, piece in enumerate(pieces[:2]):
            if is_average(piece) and len(pieces) > at + 1:
                prefixes.setdefault(name[: len(".".join(pieces[: at + 1]))], []).append(name)
                break
    found: dict[str, str] = {}
    if not prefixes:
        return found
    inside = {name for names in prefixes.values() for name in names}
    others = set()
    for name, tensor in tensors.items():
        if name not in inside:
            pieces = _SEPARATOR.split(name)
            for at in range(min(3, len(pieces))):
                others.add(("".join(pieces[at:]), tuple(tensor.shape)))
    for prefix, names in prefixes.items():
        weights = [name for name in names if is_weight(tensors[name])]
        if weights and all(
            (_SEPARATOR.sub("", short), tuple(tensors[name].shape)) in others
            for name, short in zip(weights, _shortened(weights, prefix))
        ):
            found |= dict.fromkeys(names, prefix)
    return found


def _copies_in(tensors: Mapping[str, Any]) -> dict[str, str]:
    """By prefix, that of the network of which it names a copy, q_net of q_net_target and student of
    teacher: of the same names and shapes.
    """
    shapes: dict[str, dict[str, tuple[int, ...]]] = {}
    for name, tensor in tensors.items():
        pieces = name.split(".")
        for at in range(1, min(3, len(pieces))):
            inside = shapes.setdefault(".".join(pieces[:at]), {})
            inside[".".join(pieces[at:])] = tuple(tensor.shape)
    found: dict[str, str] = {}
    for prefix, inside in shapes.items():
        if not any("." in name for name in inside):
            continue  # A layer, which may be called anything.
        above, dot, key = prefix.rpartition(".")
        for original in originals(key):
            if shapes.get(f"{above}{dot}{original}") == inside and not _is_within(prefix, found):
                found[prefix] = f"{above}{dot}{original}"
                break
    return found


def _is_within(name: str, prefixes: Mapping[str, str]) -> bool:
    return any(name.startswith(f"{prefix}.") for prefix in prefixes)


def _shortened(names: Sequence[str], prefix: str) -> list[str]:
    """Names without a prefix, and without the wrapper that averages of torch's put behind it."""
    short = [name[len(prefix) + 1 :] for name in names]
    if all(name.startswith("module.") for name in short):
        short = [name.removeprefix("module.") for name in short]
    return short


def _common_model(names: Mapping[str, Any]) -> str:
    """The first parts that all names share, if they are what a training loop calls its model."""
    first = [_SEPARATOR.split(name) for name in names]
    shared = []
    while all(len(pieces) > 1 for pieces in first) and len({pieces[0] for pieces in first}) == 1:
        shared.append(first[0][0])
        first = [pieces[1:] for pieces in first]
        if is_model(shared[-1]):
            return ".".join(shared)
    return ""


def _some(names: Mapping[str, Any]) -> str:
    some = list(names)[:2]
    return ", ".join(some) + (f" and {len(names) - 2} more" if len(names) > 2 else "")
