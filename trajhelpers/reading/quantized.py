"""Weights in 8 bits or fewer, which are numbers of nothing without their scales: found by names,
types and shapes, so that neither they nor their scales are taken for parameters.
"""

import re
from bisect import bisect_left
from collections.abc import Mapping
from typing import NamedTuple

from .tensors import StoredTensor

# As safetensors, torch and NumPy call them. Counters and position numbers have 64 bits, masks are
# of type bool; GPT-2's are of 8 bits, and are named "bias".
_PACKED = re.compile(r"[UI](8|32)$|u?int[1-8]$|u?int32$|F8_|F4|F6_|float[468]_|qu?int\d")
_EIGHT_BITS = re.compile(r"[UI]8$|u?int[1-8]$|F8_|F4|F6_|float[468]_|qu?int\d")
# The scheme; the name of the packed tensor within its layer; those of what belongs to it.
_SCHEMES = [
    (
        "bitsandbytes, 4 bits",
        r"weight",
        r"weight\.(absmax|quant_map|nested_\w+|quant_state\.\w+)",
    ),
    ("bitsandbytes, 8 bits", r"weight", r"(weight\.)?SCB|weight_format"),
    ("GPTQ or AWQ", r"qweight", r"scales|qzeros|g_idx"),
    (
        "compressed-tensors",
        r"weight_packed",
        r"weight_(scale|zero_point|shape|g_idx|global_scale)|input_global_scale",
    ),
    (
        "8 bits with scales",
        r"weight",
        r"(weight|input|activation|output)_(scale|scales|scale_inv|zero_point)|k_scale|v_scale",
    ),
    ("MLX", r"weight", r"scales|biases"),
    ("MXFP4", r"\w+_blocks", r"\w+_scales"),
    ("HQQ", r"W_q", r"scale|zero|meta|nbits|group_size|axis|shape"),
    (
        "torchao or quanto",
        r"_?weight[:._]_?(qdata|int_data|data)",
        r"_?weight[:._]_?(scale|zero_point|shift)",
    ),
]
_NAMED_WEIGHT = re.compile(r"(^|[._])\w*weight$")


class Quantized(NamedTuple):
    """A packed tensor's scheme, and the names of what belongs to it: scales, tables."""

    scheme: str
    companions: tuple[str, ...]


def quantized(tensors: Mapping[str, StoredTensor]) -> dict[str, Quantized]:
    """The packed weights of a checkpoint, by name.

    >>> layer = {"q.weight": StoredTensor("F8_E4M3", (4, 4))}
    >>> quantized({**layer, "q.weight_scale_inv": StoredTensor("float32", (1, 1))})
    {'q.weight': Quantized(scheme='8 bits with scales', companions=('q.weight_scale_inv',))}
    """
    candidates = [
        name for name, tensor in tensors.items() if tensor.shape and _PACKED.match(tensor.dtype)
    ]
    layers = _scale_and_zero_point(tensors)
    if not candidates and not layers:
        return {}
    ordered = sorted(tensors)
    found = {name: Quantized("torch.ao", companions) for name, companions in layers.items()}
    for name in candidates:
        for scheme, packed, beside in _SCHEMES:
            own = re.fullmatch(rf"(?P<layer>(?:.*\.)?)(?:{packed})", name)
            companions = _of_layer(ordered, own["layer"], beside) if own else ()
            if companions:
                found[name] = Quantized(scheme, companions)
                break
        else:
            dtype, shape = tensors[name].dtype, tensors[name].shape
            if len(shape) >= 2 and _EIGHT_BITS.match(dtype) and _NAMED_WEIGHT.search(name):
                found[name] = Quantized(f"stored as {dtype}", ())
    return found


def _of_layer(ordered, layer, beside):
    """Names of a layer whose own part matches."""
    pattern, found = re.compile(beside), []
    for name in ordered[bisect_left(ordered, layer) :]:
        if not name.startswith(layer):
            break
        if pattern.fullmatch(name, len(layer)):
            found.append(name)
    return tuple(found)


def _scale_and_zero_point(tensors):
    """Layers of torch's own quantization whose packed weight is no tensor of the file: nothing is
    there but a scale and an integer zero point.
    """
    found = {}
    for name, tensor in tensors.items():
        layer, _, own = name.rpartition(".")
        if own == "zero_point" and re.match(r"I\d|int", tensor.dtype):
            scale = f"{layer}.scale"
            if scale in tensors and f"{layer}.weight" not in tensors:
                found[scale] = (scale, name)
    return found
