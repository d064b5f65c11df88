"""Tensors beside the parameters that nobody trains, as far as names can prove it.

- running statistics of normalizations (torch's, Keras's, flax's): ``running_mean``,
  ``running_var``, ``num_batches_tracked``, ``moving_mean``, ``moving_variance``, ``batch_stats.*``
- the vectors of spectral normalization: ``X_u`` and ``X_v`` beside ``X_orig``,
  ``parametrizations.X.N._u`` and ``._v``; ``weight_g`` and ``weight_v`` of weight normalization
  are parameters
- masks of pruning: ``X_mask`` beside ``X_orig``
- causal masks, and what stands in them for minus infinity: ``attn.bias`` and ``attention.bias`` of
  shape (1, 1, i, j), ``masked_bias``
- tables of rotary position embeddings: ``inv_freq``, ``original_inv_freq``, ``cos_cached``,
  ``sin_cached``, ``freqs_cis``
- what codebooks are averaged from: ``cluster_size`` beside ``embed_avg``; MoCo's ``queue`` beside
  ``queue_ptr``
- observers of quantization: ``activation_post_process.*``, ``weight_fake_quant.*``
- of a module in memory, all that it calls a buffer

What no name proves is seen by :func:`trajhelpers.gram`, if it never moves: masks and position
tables of other names, frozen layers, teachers.
"""

import re
from collections.abc import Container

from .tensors import StoredTensor

_STATISTIC, _SPECTRAL = "a running statistic", "a vector of spectral normalization"
_BY_LAST_PART = {
    **dict.fromkeys(
        ("running_mean", "running_var", "num_batches_tracked", "moving_mean", "moving_variance"),
        _STATISTIC,
    ),
    "masked_bias": "a causal mask",
    **dict.fromkeys(
        ("inv_freq", "original_inv_freq", "cos_cached", "sin_cached", "freqs_cis"),
        "a table of rotary embeddings",
    ),
}
_OBSERVER = re.compile(r"activation_post_process(_\d+)?|weight_fake_quant")
_CAUSAL_MASK = re.compile(r"(^|\.)(attn|attention)\.bias$")
_OF_CODEBOOKS = ("cluster_size", "embed_avg")
_BESIDE_ORIGINAL = {
    "_u": _SPECTRAL,
    "_v": _SPECTRAL,
    "_mask": "a mask of pruning",
}


def what_buffer(name: str, tensor: StoredTensor, names: Container[str]) -> str | None:
    """What a tensor is that is no parameter, or None; ``names`` are all those of the checkpoint.

    >>> weight = StoredTensor("float32", (2, 3))
    >>> what_buffer("conv.weight_v", weight, {"conv.weight_v", "conv.weight_orig"})
    'a vector of spectral normalization'
    >>> what_buffer("conv.weight_v", weight, {"conv.weight_v", "conv.weight_g"})
    """
    if tensor.is_buffer:
        return "a buffer"
    *above, own = name.split(".")
    if own in _BY_LAST_PART:
        return _BY_LAST_PART[own]
    if "batch_stats" in above:
        return _STATISTIC
    if any(map(_OBSERVER.fullmatch, above)):
        return "an observer of quantization"
    if own in ("_u", "_v") and above[-3:-2] == ["parametrizations"] and above[-1].isdecimal():
        return _SPECTRAL
    if len(tensor.shape) == 4 and tensor.shape[:2] == (1, 1) and _CAUSAL_MASK.search(name):
        return "a causal mask"
    for ending, what in _BESIDE_ORIGINAL.items():
        if name.endswith(ending) and f"{name.removesuffix(ending)}_orig" in names:
            return what
    layer, dot, _ = name.rpartition(".")
    if own == "queue" and f"{name}_ptr" in names:
        return "a queue"
    if own in _OF_CODEBOOKS and all(f"{layer}{dot}{other}" in names for other in _OF_CODEBOOKS):
        return _STATISTIC
    return None
