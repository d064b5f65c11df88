"""What wrappers put before the names of parameters, and when it is taken off."""

import re
from collections.abc import Iterable

# torch.compile, FullyShardedDataParallel: anywhere in a name, where a part of a model was wrapped.
_WRAPPERS = re.compile(r"(^|\.)(?:(?:_orig_mod|_fsdp_wrapped_module)\.)+")
# DataParallel and DistributedDataParallel wrap a whole model, under a name that is also a word:
# where only some names begin with it, it is the model's own.
_WHOLE = "module."


def without_prefixes(names: Iterable[str]) -> list[str]:
    """The names without what DataParallel, DDP, FSDP and torch.compile put before them, in order.

    A prefix is taken off all names that a wrapper would have given it, or off none: no two names
    become one.

    >>> without_prefixes(["_orig_mod.module.weight", "_orig_mod.module.bias"])
    ['weight', 'bias']
    >>> without_prefixes(["weight", "module.weight"])
    ['weight', 'module.weight']
    >>> without_prefixes(["weight", "_orig_mod.weight"])
    ['weight', '_orig_mod.weight']
    """
    names = _unwrapped(list(names))
    while names and all(name.startswith(_WHOLE) for name in names):
        names = _unwrapped([name.removeprefix(_WHOLE) for name in names])
    return names


def without_wrappers(name: str) -> str:
    """A name without what torch.compile and FSDP put into it.

    >>> without_wrappers("net._orig_mod.weight")
    'net.weight'
    """
    return _WRAPPERS.sub(r"\1", name)


def taken_off(names: Iterable[str], shorter: Iterable[str]) -> list[str]:
    """The prefixes that the shorter names lack, in order of their appearance.

    >>> taken_off(["_orig_mod.module.weight"], ["weight"])
    ['_orig_mod', 'module']
    """
    return list(
        dict.fromkeys(
            part
            for before, after in zip(names, shorter)
            if before != after
            for part in before.split(".")
            if before.split(".").count(part) > after.split(".").count(part)
        )
    )


def _unwrapped(names: list[str]) -> list[str]:
    if not any("_orig_mod." in name or "_fsdp_wrapped_module." in name for name in names):
        return names
    shorter = [without_wrappers(name) for name in names]
    return shorter if len(set(shorter)) == len(set(names)) else names
