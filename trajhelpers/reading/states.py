"""Which of the tensors in a checkpoint are θ."""

import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from ..errors import CheckpointError
from .contents import Contents
from .pickles import Inert
from .roles import is_copy, is_like_copy, is_model, is_one_of_several
from .state_finding import State, states_in
from .tree import Buffer, tree_of
from .unpickling import NOT_DENSE, Unreadable

_WILD = re.compile(r"[*?\[]")


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
        each name with its keys before it; ``"*"`` alone takes no copies (Note 3).

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
    3. Of a network and an average of it (``ema``, ``swa``, ``averaged`` …), the network that is
       trained is θ; likewise of a student and its teacher, and of a model and what is called a
       copy (``target``, ``old``, ``slow`` …) and has its names and shapes. An average alone is θ.
    4. Where more than one is left, nothing is chosen.

    In flat names an optimizer's are told by their first parts (``optimizer.``) and last
    (``.exp_avg``); an average by its name and by having the shapes of another part.
    """
    tree = tree_of(content, where)
    if tree is None:
        raise CheckpointError(f"{where}: {_nothing(content)}; save model.state_dict()")
    states = list(states_in(tree, (), False))
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


# ---- which is θ ----


def _default(states: Sequence[State], where) -> tuple[list[State], dict]:
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


def _without_copies(networks: Sequence[State], why: dict) -> list[State]:
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


def _is_copy(state: State, other: State) -> bool:
    """Whether a state is called a teacher or a copy of another, and has its names and shapes: these
    alone a head may have too.
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
        and any(map(is_like_copy, own))
        and state.shapes == other.shapes
    )


def _asked(states: Sequence[State], asked: str, where) -> tuple[list[State], dict]:
    """Those that ``state=`` means."""
    networks = [state for state in states if state.is_network]
    if _WILD.search(asked):
        for some in (networks, states):
            all_found = [
                one for one in some if any(fnmatchcase(k, asked) for k in _ends_of(one.path))
            ]
            if all_found:
                why: dict[tuple[str, ...], str] = {}
                # Who writes more than "*" may mean a copy by it: "*.ema".
                return (_without_copies(all_found, why) if asked == "*" else all_found), why
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
            return [State(tuple(asked.split(".")), below, "network")], {}
    raise _no_such(states, asked, where)


def _ends_of(path: tuple[str, ...]) -> list[str]:
    return [".".join(path[start:]) for start in range(max(1, len(path)))]


def _no_such(states, asked, where) -> CheckpointError:
    return CheckpointError(f"{where}: has no state {asked!r}; it holds {_listed(states)}")


# ---- what errors say ----


def _size(state: State) -> str:
    return f"{state.size:,} number{'s'[: state.size != 1]}"


def _sizes(states: Sequence[State]) -> str:
    return ", ".join(f"{state.title!r} ({_size(state)})" for state in states)


def _listed(states: Sequence[State]) -> str:
    return ", ".join(
        f"{state.title!r} ({state.why + ', ' if state.why else ''}{_size(state)})"
        for state in states
    )


def _why_not_dense(tensor: Any) -> str | None:
    """Of a tensor of torch's in memory."""
    if getattr(tensor, "is_meta", False):
        return "on the meta device, without values; give one that has some"
    kinds = {
        "quantized": getattr(tensor, "is_quantized", False),
        "sparse": "sparse" in str(getattr(tensor, "layout", "")),
    }
    kind = next((kind for kind, is_so in kinds.items() if is_so), None)
    return kind and NOT_DENSE.format(kind=kind)


def _nothing(content: Any) -> str:
    if isinstance(content, Mapping):
        keys = ", ".join(map(repr, map(str, list(content)[:12]))) or "(none)"
        return f"no state dict found under its keys {keys}"
    what = str(content) if isinstance(content, Inert) else f"a {type(content).__name__}"
    return f"holds {what}, and no tensors"


def _refuse_unreadable(tensors: Mapping[str, Any], where) -> None:
    for name, tensor in tensors.items():
        inner = tensor.tensor if isinstance(tensor, Buffer) else tensor
        why = inner.why if isinstance(inner, Unreadable) else _why_not_dense(inner)
        if why:
            raise CheckpointError(f"{where}: tensor {name!r} is {why}")
        if "_flat_param" in name or name.rpartition(".")[2] == "flat_param":
            raise CheckpointError(
                f"{where}: {name!r} is one rank's flattened part of the parameters (FSDP); gather"
                " them before saving (FULL_STATE_DICT), or save with torch.distributed.checkpoint,"
                " and open its folder"
            )
