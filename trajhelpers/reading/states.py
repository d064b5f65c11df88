"""Which of the tensors in a checkpoint are θ."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from ..errors import CheckpointError
from .contents import Contents
from .pickles import Inert
from .roles import SLOTS, aside, is_average, is_copy, is_model, is_one_of_several, is_optimizer
from .tensors import dtype_of
from .tree import Buffer, Node, tree_of
from .unpickling import Unreadable

_WILD = re.compile(r"[*?\[]")
_SEPARATOR = re.compile(r"[./]")
# What a network's tensors are called at the end of their names, beside dotted ones.
_USUAL = re.compile(r"[./]|^(weight|bias|kernel|scale|embedding)$")
_FLOAT = re.compile("float|bfloat|complex|F8|F6|F4")
# The share of an optimizer's names in a part that is one's state, beside the network's at most 3/4.
_MOSTLY = 0.9


def choose_state(content: Any, where, state: str | None = None) -> Contents:
    """The tensors that are θ of what a training loop saved, by name.

    Parameters
    ----------
    content : mapping, or what a pickle holds
        Nested; leaves have a dtype and a shape, and are given back as they are. Names may be
        flat and dotted.
    where
        Names the checkpoint in errors.
    state : str, optional
        The keys under which θ lies, joined by ".", or the last of them: ``"ema"``. With a
        wildcard (``"*"``, ``"net_?"``), all states that match and could be θ are taken together,
        each name with its keys before it.

    Returns
    -------
    Contents

    Raises
    ------
    CheckpointError
        Where several states could be θ, or none.

    Notes
    -----
    1. A state is a mapping of names to tensors, however deep it lies; a whole module is one.
       Mappings that only nest, as flax's do, are one state together: those under a key that
       training loops use for a model (``model``, ``state_dict``, ``net``, ``params`` …), or without
       dotted names.
    2. Not θ are: the state of an optimizer (by its key, by ``param_groups``, by names such as
       ``exp_avg``), of schedulers, generators, loops, losses, metrics, and tensors that lie beside
       states without a name of a parameter.
    3. Of a network and an average of it (``ema``, ``swa``, ``averaged`` … or, beside a key for a
       model, the same names and shapes), the network that is trained is θ; likewise of a student
       and its teacher. An average alone is θ.
    4. Where more than one is left, nothing is chosen.

    In flat names an optimizer's are told by their first parts (``optimizer.``) and last
    (``.exp_avg``); an average by its name and by having the shapes of another part.
    """
    tree = tree_of(content, where)
    if tree is None:
        raise CheckpointError(f"{where}: {_nothing(content)}; save model.state_dict()")
    states = list(_states(tree, (), False))
    if state is None:
        chosen, why = _default(states, where)
    else:
        chosen, why = _asked(states, state, where)
    left_out = tuple(
        f"{one.title}: {why.get(one.path) or one.why or 'not asked for'}, {_size(one)}"
        for one in states
        if one not in chosen and one.tensors
    )
    tensors = dict(chosen[0].tensors)
    if len(chosen) > 1:
        tensors = {
            ".".join((*one.path, name)): tensor
            for one in chosen
            for name, tensor in one.tensors.items()
        }
    _refuse_unreadable(tensors, where)
    return Contents(tensors, " and ".join(one.title for one in chosen if one.path), left_out)


# ---- the states ----


@dataclass(frozen=True, eq=False)
class _State:
    path: tuple[str, ...]
    tensors: Mapping[str, Any]
    role: str
    why: str = ""

    @property
    def title(self) -> str:
        return ".".join(self.path) or "the tensors on top"

    @property
    def is_network(self) -> bool:
        return self.role == "network" and any(map(_is_weight, self.tensors.values()))

    @property
    def shapes(self) -> frozenset:
        names = list(self.tensors)
        while names and all(name.startswith("module.") for name in names):
            names = [name.removeprefix("module.") for name in names]
        return frozenset(
            (name, tuple(tensor.shape)) for name, tensor in zip(names, self.tensors.values())
        )


def _is_weight(tensor: Any) -> bool:
    return bool(len(tensor.shape) and _FLOAT.match(dtype_of(tensor)))


_OPTIMIZERS = "an optimizer's state"
_AVERAGES = "an average of the network"


def _states(node: Node, path: tuple[str, ...], is_only: bool) -> Iterator[_State]:
    """Of a part of the tree, by the rules of :func:`choose_state`."""
    key = path[-1] if path else ""
    if (key and is_optimizer(key)) or _keeps_slots(node):
        yield _State(path, dict(node.flat()), "optimizer", _OPTIMIZERS + _slots_in(node))
        return
    beside = aside(key)
    if beside:
        yield _State(path, dict(node.flat()), "aside", beside)
        return
    if key and is_average(key):
        found = list(_of_network(node, path, True))
        # Some keep the network beside its average (ema_pytorch's online_model).
        role, why = "average", _AVERAGES
        if any(state.role == "average" for state in found):
            role, why = "aside", "the network beside its average"
        for state in found:
            is_this = state.role == "network"
            yield _State(state.path, state.tensors, role, why) if is_this else state
        return
    yield from _of_network(node, path, is_only)


def _of_network(node: Node, path: tuple[str, ...], is_only: bool) -> Iterator[_State]:
    if node.is_module or not node.parts or _only_nests(node, path, is_only):
        yield from _split(path, dict(node.flat()))
        return
    only = len(node.parts) == 1
    inner = [
        state
        for key, part in node.parts.items()
        for state in _states(part, (*path, key), only and not node.tensors)
    ]
    if node.tensors:
        named = {name for state in inner for name in state.tensors if state.role == "average"}
        is_network = any(
            _is_weight(tensor) and (_USUAL.search(name) or name in named)
            for name, tensor in node.tensors.items()
        )
        if is_network or not any(state.role in ("network", "average") for state in inner):
            yield from _split(path, node.tensors)
        else:
            yield _State(path, node.tensors, "aside", f"beside the states: {_some(node.tensors)}")
    yield from inner


def _only_nests(node: Node, path: tuple[str, ...], is_only: bool) -> bool:
    """Whether the parts are of one network, and no states of their own."""
    if any(map(_is_a_states, node.parts)):
        return False
    if is_only or (path and is_model(path[-1])):
        return True
    keys = list(node.all_keys())
    if any(map(_is_a_states, keys)) or any("." in name for name in node.names()):
        return False
    deep = any(part.parts for part in node.parts.values())
    return deep or all(re.search(r"\d$", key) for key in node.parts)


def _is_a_states(key: str) -> bool:
    return (
        is_model(key)
        or is_optimizer(key)
        or is_average(key)
        or is_one_of_several(key)
        or key == "batch_stats"
    )


def _keeps_slots(node: Node) -> bool:
    """Whether a mapping of tensors, not flat, is an optimizer's state."""
    if {"param_groups", "state"} <= node.keys:
        return not any(map(is_model, node.parts))
    if not node.parts or node.is_module:
        return False
    names = list(node.names())
    slots = [name for name in names if name in SLOTS]
    return len(slots) > _MOSTLY * len([name for name in names if name != "step"])


def _slots_in(node: Node) -> str:
    found = [name for name in dict.fromkeys(node.names()) if name in SLOTS]
    return f" ({', '.join(found)})" if found else ""


def _split(path: tuple[str, ...], tensors: dict[str, Any]) -> Iterator[_State]:
    """A flat state, without what lies in it of an optimizer or of an average."""
    if not _SUSPICIOUS.search("\n".join(tensors)):
        yield _State(path, tensors, "network")
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
        yield _State(path, tensors, "optimizer" if parts or slots else "network", _OPTIMIZERS)
        return
    averages = _averages_in(rest)
    kept = {name: tensor for name, tensor in rest.items() if name not in averages}
    is_split = bool(parts or slots or averages)
    prefix = _common_model(kept) if is_split else ""
    own = (*path, *_SEPARATOR.split(prefix)) if prefix else path
    yield _State(
        own, {name[len(prefix) + 1 :] if prefix else name: t for name, t in kept.items()}, "network"
    )
    for keys, found in parts.items():
        names = [piece for piece in SLOTS if any(piece in name for name in found)]
        some = f" ({', '.join(sorted(names))})" if names else ""
        yield _State((*path, *keys), found, "optimizer", _OPTIMIZERS + some)
    if slots:
        yield _State((*path, _some(slots)), slots, "optimizer", _OPTIMIZERS)
    for average in dict.fromkeys(averages.values()):
        within = {
            name[len(average) + 1 :]: rest[name]
            for name, other in averages.items()
            if other == average
        }
        yield _State((*path, *_SEPARATOR.split(average)), within, "average", _AVERAGES)


_SUSPICIOUS = re.compile(rf"(?i)opt|ema|swa|polyak|avg|averag|shadow|{'|'.join(SLOTS)}")
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
        weights = [name for name in names if _is_weight(tensors[name])]
        if weights and all(
            (_SEPARATOR.sub("", short), tuple(tensors[name].shape)) in others
            for name, short in zip(weights, _shortened(weights, prefix))
        ):
            found |= dict.fromkeys(names, prefix)
    return found


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


# ---- which is θ ----


def _default(states: Sequence[_State], where) -> tuple[list[_State], dict]:
    """The one that is θ by rule, and by path why others are not, where their names do not say."""
    networks = [state for state in states if state.is_network]
    why: dict[tuple[str, ...], str] = {}
    networks = _without_copies(networks, why)
    if not networks:
        networks = [state for state in states if state.role == "average"] or [
            state for state in states if state.role == "network"
        ]
    if not networks:
        raise CheckpointError(
            f"{where}: no state dict found: it holds {_listed(states)}; save model.state_dict(), or"
            " name one with state= (--state)"
        )
    if len(networks) > 1:
        first = networks[0].title
        raise CheckpointError(
            f"{where}: holds several states that could be θ: {_sizes(networks)}; say which with"
            f" state={first!r} (--state {first}), or take all with state=\"*\" (--state '*')"
        )
    return networks, why


def _without_copies(networks: Sequence[_State], why: dict) -> list[_State]:
    kept = []
    for state in networks:
        original = next(
            (other for other in networks if other is not state and _is_copy(state, other)), None
        )
        if original:
            why[state.path] = f"a copy of {original.title}, or its teacher"
        else:
            kept.append(state)
    return kept


def _is_copy(state: _State, other: _State) -> bool:
    """Whether a state is a teacher of another, or of the same names and shapes as one that is
    called a model and it is not.
    """
    shared = 0
    while state.path[shared : shared + 1] == other.path[shared : shared + 1] != ():
        shared += 1
    own, others = state.path[shared:], other.path[shared:]
    if not own or any(map(is_copy, others)):
        return False
    if any(map(is_copy, own)):
        return "student" in map(str.lower, others) or state.shapes == other.shapes
    return (
        (not others or any(map(is_model, others)))
        and not any(map(is_model, own))
        and not any(map(is_one_of_several, own))
        and state.shapes == other.shapes
    )


def _asked(states: Sequence[_State], asked: str, where) -> tuple[list[_State], dict]:
    """Those that ``state=`` means."""
    networks = [state for state in states if state.is_network]
    if _WILD.search(asked):
        for some in (networks, states):
            all_found = [
                one for one in some if any(fnmatchcase(k, asked) for k in _ends_of(one.path))
            ]
            if all_found:
                return all_found, {}
        raise _no_such(states, asked, where)
    paths = list(
        dict.fromkeys(
            state.path[:length]
            for state in states
            for length in range(1, len(state.path) + 1)
            if asked in _ends_of(state.path[:length])
        )
    )
    paths = [path for path in paths if not any(path[: len(p)] == p and p != path for p in paths)]
    if not paths and asked == "ema":
        paths = [state.path for state in states if state.role == "average"]
    if len(paths) > 1:
        listed = " and ".join(repr(".".join(path)) for path in paths)
        raise CheckpointError(
            f"{where}: state={asked!r} may be {listed}; give all keys of one of them"
        )
    if paths:
        within = [state for state in states if state.path[: len(paths[0])] == paths[0]]
        exact = [
            s for s in within if s.path == paths[0] and (s.role != "aside" or len(within) == 1)
        ]
        return (exact[:1], {}) if exact else _default(within, where)
    for state in states:
        whole = ".".join((*state.path, ""))
        below = {
            name[len(asked) - len(whole) + 1 :]: tensor
            for name, tensor in state.tensors.items()
            if f"{whole}{name}".startswith(f"{asked}.")
        }
        if below:
            return [_State(tuple(asked.split(".")), below, "network")], {}
    raise _no_such(states, asked, where)


def _ends_of(path: tuple[str, ...]) -> list[str]:
    return [".".join(path[start:]) for start in range(max(1, len(path)))]


def _no_such(states, asked, where) -> CheckpointError:
    return CheckpointError(f"{where}: has no state {asked!r}; it holds {_listed(states)}")


# ---- what errors say ----


def _size(state: _State) -> str:
    numbers = sum(math.prod(tensor.shape) for tensor in state.tensors.values())
    return f"{numbers:,} number{'s'[: numbers != 1]}"


def _sizes(states: Sequence[_State]) -> str:
    return ", ".join(f"{state.title!r} ({_size(state)})" for state in states)


def _listed(states: Sequence[_State]) -> str:
    return ", ".join(
        f"{state.title!r} ({state.why + ', ' if state.why else ''}{_size(state)})"
        for state in states
    )


def _some(names: Mapping[str, Any]) -> str:
    some = list(names)[:2]
    return ", ".join(some) + (f" and {len(names) - 2} more" if len(names) > 2 else "")


def _nothing(content: Any) -> str:
    if isinstance(content, Mapping):
        keys = ", ".join(map(repr, map(str, list(content)[:12]))) or "(none)"
        return f"no state dict found under its keys {keys}"
    what = str(content) if isinstance(content, Inert) else f"a {type(content).__name__}"
    return f"holds {what}, and no tensors"


def _refuse_unreadable(tensors: Mapping[str, Any], where) -> None:
    for name, tensor in tensors.items():
        inner = tensor.tensor if isinstance(tensor, Buffer) else tensor
        why = inner.why if isinstance(inner, Unreadable) else None
        if getattr(inner, "is_sparse", False) or getattr(inner, "is_quantized", False):
            kind = "sparse" if inner.is_sparse else "quantized"
            why = f"{kind}, and only dense tensors can be read; save it as a dense one"
        if why:
            raise CheckpointError(f"{where}: tensor {name!r} is {why}")
        if "_flat_param" in name or name.rpartition(".")[2] == "flat_param":
            raise CheckpointError(
                f"{where}: {name!r} is one rank's flattened part of the parameters (FSDP); gather"
                " them before saving (FULL_STATE_DICT), or save with torch.distributed.checkpoint,"
                " and open its folder"
            )
