"""Fingerprints of checkpoints, made of what a pass reads: 64 bits of each, of all its numbers.

Σ w(i) h(xᵢ) mod 2⁶⁴ over the parameters, where h mixes the bits of a number as float64 and the odd
weight w depends on the tensor's name and the place in it: whatever the order in which numbers come,
in whichever blocks, types and formats of files, it is the same. It tells other numbers from these
by all but a chance of some 2⁻³³ at worst; it is no defence against somebody who wants them to
agree, as a sha256 is."""

import hashlib
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Float, UInt64

from .segments import Segment

# SplitMix64 (Steele, Lea and Flood 2014), a counter's bits mixed.
_STEP, _MIX = 0x9E3779B97F4A7C15, ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))


@lru_cache(4096)
def _seed(name: str) -> int:
    content = name.encode(errors="surrogatepass")
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little")


def weights(block: Segment) -> UInt64[np.ndarray, " columns"]:
    """Of the columns of a block."""
    found = np.concatenate(
        [
            np.arange(start, stop, dtype=np.uint64) * np.uint64(_STEP) + np.uint64(_seed(name))
            for name, start, stop in block
        ]
    )
    for bits, factor in _MIX:
        found ^= found >> np.uint64(bits)
        found *= np.uint64(factor)
    return found | np.uint64(1)


def fingerprints(
    theta: Float[np.ndarray, "n columns"], weights: UInt64[np.ndarray, " columns"]
) -> UInt64[np.ndarray, " n"]:
    """What a block adds to that of each row.

    >>> rows = np.random.default_rng(0).standard_normal((2, 100)).astype(np.float32)
    >>> whole = fingerprints(rows, weights([("w", 0, 100)]))
    >>> end = fingerprints(rows[:, 40:], weights([("w", 40, 100)]))
    >>> start = fingerprints(rows[:, :40], weights([("w", 0, 40)]))
    >>> (end + start == whole).tolist()
    [True, True]
    """
    bits = theta.astype(np.float64, copy=False).view(np.uint64)
    mixed = bits >> np.uint64(32)
    mixed ^= bits
    return np.einsum("ij,j->i", mixed, weights)


def fingerprints_of_torch(theta: Any, weights: Any) -> Any:
    """The same of torch's tensors, on their device, whose integers have a sign."""
    import torch

    bits = theta.double().view(torch.int64)
    return (((bits >> 32 & 0xFFFFFFFF) ^ bits) * weights).sum(1)


def in_words(prints: UInt64[np.ndarray, " n"]) -> list[str]:
    """As a kernel's file has them."""
    return [f"{print_:016x}" for print_ in prints.tolist()]
