"""Checkpoints that are LoRA adapters, as the changes of weights that they stand for."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from .errors import LayoutError
from .reading.account import gathered
from .reading.choice import CONSTANT, Counting
from .reading.layout import Layout, of_names, settle
from .reading.lora import LowRankLayout, common_layout, is_adapter, read_adapter
from .reading.partly import Partly
from .reading.tensors import StoredTensor
from .telling import warn

_AS_STORED = "a LoRA's A and B count as they are stored; its change of weights with lora='product'"


def settle_lora(
    stored: Sequence[Mapping[str, StoredTensor]],
    sources: Sequence[str],
    include: str | Sequence[str] | None,
    exclude: str | Sequence[str] | None,
    lora: str,
) -> tuple[Layout | LowRankLayout, Counting]:
    """The layout of checkpoints that may be LoRA adapters, and count as their products or as their
    factors.
    """
    if lora not in ("product", "factors"):
        raise ValueError(f"lora: expected 'product' or 'factors', got {lora!r}")
    adapted = of_names(stored, is_adapter)
    if lora == "product" and any(adapted):
        return _products(stored, sources, adapted, include, exclude)
    layout, counting = settle(stored, sources, include, exclude)
    if any(adapted):
        counting = replace(counting, notes=(*counting.notes, _AS_STORED))
    return layout, counting


def _products(stored, sources, adapted, include, exclude):
    if not all(adapted):
        raise LayoutError(
            f"{sources[adapted.index(True)]}: is a LoRA adapter, a change of weights,"
            f" {sources[adapted.index(False)]} is none; adapters need no base, and to compare one"
            " with a whole model merge it into what it adapts (merge_and_unload)"
        )
    sampled = [any(isinstance(one.place, Partly) for one in found.values()) for found in stored]
    if any(sampled):
        raise LayoutError(
            f"{sources[sampled.index(True)]}: holds a sample of the adapter's A and B, of which no"
            " products can be made; give lora='factors', or adapters that were recorded whole"
        )
    patterns = _patterns(include), _patterns(exclude)
    adapters = [
        read_adapter(tensors, source, *patterns) for tensors, source in zip(stored, sources)
    ]
    bases = dict.fromkeys(adapter.base for adapter in adapters if adapter.base)
    if len(bases) > 1:
        warn(
            f"the adapters change several models, {', '.join(bases)}: each one's change is seen"
            " from its own"
        )
    layout = common_layout(adapters, sources)
    lacking = {
        name: [source for source, low in zip(sources, found) if low is None]
        for name, found in layout.layers.items()
    }
    notes = [
        f"{len(layout.names)} weights that adapters change, each change as its product B A"
        + (f" (of {next(iter(bases))})" if len(bases) == 1 else "")
    ]
    some = [name for name, without in lacking.items() if without]
    if some:
        notes.append(
            f"{len(some)} of them not in every adapter, where it counts as no change: {some[0]} not"
            f" in {lacking[some[0]][0]}" + (" …" if len(some) > 1 else "")
        )
    left_out = {name: why for adapter in adapters for name, why in adapter.left_out.items()}
    without_constant = CONSTANT in (_patterns(exclude) or ())
    counting = Counting(
        tuple(gathered(left_out)),
        len(left_out),
        notes=tuple(notes),
        without_constant=without_constant,
    )
    return layout, counting


def _patterns(given):
    return None if given is None else [given] if isinstance(given, str) else list(given)
