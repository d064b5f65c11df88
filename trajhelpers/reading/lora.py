"""LoRA adapters: which tensors of a checkpoint are the factors of which layer's ΔW = s · B A, and
what the scale s is.

Names and scales are those of peft (``lora_A``, ``lora_B``, an ``adapter_config.json`` beside the
file), of kohya and of the older diffusers (``lora_down``, ``to_q_lora.down``, ``alpha``)."""

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any

import numpy as np

from ..errors import CheckpointError, LayoutError
from .boundary import damage_named
from .config import config_in
from .place import Place
from .tensors import RAW, StoredTensor, is_far, rows_first

_PEFT = re.compile(
    r"(?P<layer>.+)\.lora_(?:embedding_)?(?P<side>[AB])(?:\.(?!(?:weight|bias)$)(?P<adapter>[^.]+))?"
    r"(?:\.weight)?"
)
_KOHYA = re.compile(r"(?P<layer>.+?)[._]lora[._](?P<side>down|up)(?:\.weight)?")
_SIDES = {"A": "down", "B": "up", "down": "down", "up": "up"}
_DORA = re.compile(r"\.(lora_magnitude_vector|dora_scale)(\.|$)")
_OTHER_KINDS = re.compile(
    r"\.(lora_mid|lora_E|lora_ranknum|hada_w\w+|lokr_w\w+|vera_lambda_\w+)(\.|$)"
)
_IS_DORA = "is DoRA, which also scales the columns of the sum"
_NO_PRODUCT = (
    "so that its change is no product B A; merge it into the base and open the merged model, or"
    " count its tensors as they are with lora='factors'"
)
# What begins from the base model's own weights; others move these when training begins, so that
# their product is no difference from the base.
_INITIALIZATIONS = (True, False, None, "gaussian", "eva", "orthogonal")
# Settings of peft under which the weights change by something else than the product, or more.
_MORE_THAN_A_PRODUCT = (
    "lora_bias",
    "target_parameters",
    "use_qalora",
    "use_bdlora",
    "velora_config",
    "monteclora_config",
    "kasa_config",
    "megatron_config",
)


@dataclass(frozen=True)
class LowRank:
    """ΔW = scale · up · down, with ``down`` (A) of shape (rank, …) and ``up`` (B) of shape (rows,
    rank).
    """

    down: StoredTensor
    up: StoredTensor
    scale: float

    @property
    def rank(self) -> int:
        return self.down.shape[0]

    @property
    def shape(self) -> tuple[int, int]:
        """Of ΔW as a matrix; a convolution's kernel lies along the columns."""
        return self.up.shape[0], self.down.size // self.rank


@dataclass(frozen=True)
class Adapter:
    """``layers`` has the change of each weight by the weight's name; ``base`` is the model that is
    adapted, "" where nothing says so; of ``transposed`` layers ΔW is (B A)ᵀ.
    """

    layers: Mapping[str, LowRank]
    base: str = ""
    transposed: bool = False
    # By name, why.
    left_out: Mapping[str, str] = field(default_factory=dict)


def is_adapter(names: Iterable[str]) -> bool:
    """Whether a checkpoint with tensors of these names is an adapter, or holds one.

    >>> is_adapter(["layers.0.q.lora_A.weight", "layers.0.q.lora_B.weight"])
    True
    >>> is_adapter(["layers.0.q.weight"])
    False
    """
    return any(
        _PEFT.fullmatch(name) or _KOHYA.fullmatch(name) or _OTHER_KINDS.search(name)
        for name in names
    )


def read_adapter(
    tensors: Mapping[str, StoredTensor],
    where: str,
    include: Sequence[str] | None,
    exclude: Sequence[str] | None,
) -> Adapter:
    """The products in a checkpoint of which :func:`is_adapter` is true; ``where`` names it in
    errors. Patterns are on the names of the weights that change.
    """
    for pattern, kind in ((_DORA, _IS_DORA), (_OTHER_KINDS, "is not plain LoRA")):
        if found := next(filter(pattern.search, tensors), None):
            raise CheckpointError(f"{where}: {kind} ({found!r}), {_NO_PRODUCT}")
    factors, others = _factors(tensors, where)
    config, config_file = _config_beside(tensors)
    _refuse_more_than_a_product(config, config_file)
    layers, left_out = {}, {}
    for layer, sides in factors.items():
        name = f"{_short(layer)}.weight"
        if reason := _reason(name, include, exclude):
            left_out[name] = reason
        else:
            layers[name] = _low_rank(layer, sides, tensors, config, config_file, where)
    for name in others:
        short = _short(name).replace(".base_layer.", ".")
        if name.endswith(".base_layer.weight"):
            left_out[short] = "the adapted model's own"
        elif reason := _reason(short, include, exclude):
            left_out[short] = reason
        else:
            raise LayoutError(
                f"{where}: holds {short!r} beside its factors, which was trained as it is"
                " (modules_to_save, bias): its change would need the base model; leave it out with"
                f" exclude={short!r}, or count all tensors as they are with lora='factors'"
            )
    if not layers:
        raise LayoutError(f"{where}: no layer of the adapter is left")
    return Adapter(
        layers,
        str(config.get("base_model_name_or_path") or ""),
        bool(config.get("fan_in_fan_out")),
        left_out,
    )


@dataclass(frozen=True)
class LowRankLayout:
    """The weights that any of n adapters changes: by name its n changes, None where an adapter
    leaves it alone. What :class:`trajhelpers.reading.layout.Layout` is to tensors that are stored.
    """

    layers: Mapping[str, tuple[LowRank | None, ...]]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.layers)

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: next(filter(None, found)).shape for name, found in self.layers.items()}

    @cached_property
    def sizes(self) -> dict[str, int]:
        return {name: rows * columns for name, (rows, columns) in self.shapes.items()}

    @cached_property
    def dtypes(self) -> dict[str, str]:
        """Of the factors, the widest."""
        return {
            name: max(
                (tensor.dtype for low in found if low for tensor in (low.down, low.up)),
                key=lambda dtype: RAW[dtype].itemsize,
            )
            for name, found in self.layers.items()
        }

    # None is stored in another order.
    permuted: frozenset[str] = frozenset()
    # Of the products, nobody records a sample.
    drawn: None = None

    @property
    def tensors(self) -> Mapping[str, tuple[StoredTensor, ...]]:
        raise TypeError(
            "an adapter's product B A is never formed, so that its values cannot be read; open the"
            " factors themselves with lora='factors'"
        )

    def far(self) -> list[tuple[Place, int, int]]:
        """Where the factors lie that have to be fetched, in bytes."""
        return [
            found
            for tensor in self.stored()
            for found in tensor.ranges(0, tensor.size)
            if is_far(found[0])
        ]

    def stored(self) -> Iterator[StoredTensor]:
        """All factors of all adapters."""
        for lows in self.layers.values():
            for low in filter(None, lows):
                yield from (low.down, low.up)

    def of(self, indices: Sequence[int]) -> "LowRankLayout":
        """That of some of the adapters."""
        some = {name: tuple(found[i] for i in indices) for name, found in self.layers.items()}
        return LowRankLayout({name: found for name, found in some.items() if any(found)})


def common_layout(adapters: Sequence[Adapter], sources: Sequence[str]) -> LowRankLayout:
    """LayoutError where adapters do not change weights of the same shapes."""
    layers: dict[str, tuple[LowRank | None, ...]] = {}
    for name in dict.fromkeys(name for adapter in adapters for name in adapter.layers):
        layers[name] = tuple(adapter.layers.get(name) for adapter in adapters)
        having = [index for index, found in enumerate(layers[name]) if found]
        first = having[0]
        for index in having[1:]:
            shapes = [adapters[i].layers[name].shape for i in (first, index)]
            if shapes[0] != shapes[1]:
                raise LayoutError(
                    f"{sources[index]}: changes {name!r} of shape {shapes[1]}, which has shape"
                    f" {shapes[0]} in {sources[first]}; give adapters of one model"
                )
            if adapters[first].transposed != adapters[index].transposed:
                raise LayoutError(
                    f"{sources[index]}: stores {name!r} the other way round than"
                    f" {sources[first]} (fan_in_fan_out); give adapters of one model"
                )
    return LowRankLayout(layers)


def _factors(tensors, where):
    """By layer, the names of its factors (down, up, alpha), and the names of all other tensors."""
    factors: dict[str, dict[str, str]] = {}
    others, adapters = [], {}
    for name in tensors:
        if match := _PEFT.fullmatch(name) or _KOHYA.fullmatch(name):
            factors.setdefault(match["layer"], {})[_SIDES[match["side"]]] = name
            adapters[match.groupdict().get("adapter")] = name
        else:
            others.append(name)
    if len(adapters) > 1:
        raise CheckpointError(
            f"{where}: holds several adapters ({' and '.join(map(repr, adapters.values()))}); save"
            " each by itself with save_pretrained"
        )
    for layer, sides in factors.items():
        if f"{layer}.alpha" in others:
            sides["alpha"] = f"{layer}.alpha"
            others.remove(sides["alpha"])
        if missing := {"down", "up"} - set(sides):
            raise CheckpointError(
                f"{where}: lacks the factor lora_{'A' if 'down' in missing else 'B'} of {layer!r};"
                " save the adapter again"
            )
    return factors, others


def _short(name: str) -> str:
    """As the base model calls it."""
    return name.removeprefix("base_model.model.")


def _reason(name, include, exclude):
    if exclude and any(fnmatchcase(name, pattern) for pattern in exclude):
        return "excluded"
    if include is not None and not any(fnmatchcase(name, pattern) for pattern in include):
        return "not included"
    return None


def _config_beside(tensors: Mapping[str, StoredTensor]) -> tuple[dict[str, Any], str]:
    """peft's configuration of the adapter, {} where there is none, and where it is."""
    for tensor in tensors.values():
        for place in tensor.places:
            if hasattr(place, "beside"):
                file = place.beside("adapter_config.json")
                return config_in(file), str(file)
    return {}, ""


def _refuse_more_than_a_product(config, where):
    kind = config.get("peft_type", "LORA")
    if kind != "LORA":
        raise CheckpointError(f"{where}: is of kind {kind} and not plain LoRA, {_NO_PRODUCT}")
    if config.get("use_dora"):
        raise CheckpointError(f"{where}: {_IS_DORA} (use_dora), {_NO_PRODUCT}")
    if setting := next((name for name in _MORE_THAN_A_PRODUCT if config.get(name)), None):
        raise CheckpointError(
            f"{where}: has {setting}, with which weights change by something else, {_NO_PRODUCT}"
        )
    initialization = config.get("init_lora_weights")
    if initialization not in _INITIALIZATIONS:
        raise CheckpointError(
            f"{where}: began with init_lora_weights={initialization!r}, which moves the base's"
            " weights, so that B A is no difference from the base; convert it (peft's"
            " path_initial_model_for_weight_conversion), or merge it and open the merged model"
        )


def _low_rank(layer, sides, tensors, config, config_file, where) -> LowRank:
    down, up = (rows_first(tensors[sides[side]]) for side in ("down", "up"))
    for side, tensor in (("down", down), ("up", up)):
        if tensor.dtype not in RAW or not tensor.size:
            raise LayoutError(
                f"{where}: {sides[side]!r} is stored as {tensor.dtype} {tensor.shape}; only"
                f" {', '.join(RAW)} can be read"
            )
    rank = down.shape[0]
    if len(up.shape) < 2 or up.shape[1] != rank or up.size != up.shape[0] * rank:
        raise LayoutError(
            f"{where}: the factors of {layer!r} do not fit, A {down.shape} and B {up.shape}"
        )
    return LowRank(down, up, _scale(layer, sides, tensors, rank, config, config_file, where))


def _scale(layer, sides, tensors, rank, config, config_file, where) -> float:
    if "alpha" in sides:
        stored = np.empty(1)
        tensors[sides["alpha"]].read_into(0, 1, stored)
        return float(stored[0]) / rank
    if _KOHYA.fullmatch(sides["down"]):
        # As the scripts that write such files read them.
        return 1.0
    if not config:
        raise CheckpointError(
            f"{where}: is a LoRA adapter without an adapter_config.json beside it, which says how"
            " its product is scaled (lora_alpha, use_rslora); give the folder that save_pretrained"
            " wrote, or count A and B as they are with lora='factors'"
        )
    with damage_named(config_file, "save the adapter again"):
        name = _short(layer)
        expected = _by_pattern(config.get("rank_pattern"), name, config["r"])
        alpha = float(_by_pattern(config.get("alpha_pattern"), name, config["lora_alpha"]))
    if expected != rank:
        raise CheckpointError(
            f"{where}: {layer!r} has rank {rank}, where {config_file} says {expected}; file and"
            " configuration are not of one adapter"
        )
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _by_pattern(patterns, name, default):
    """What peft would choose for a layer: of the first pattern that matches the end of its name."""
    for pattern, value in (patterns or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", name):
            return value
    return default
