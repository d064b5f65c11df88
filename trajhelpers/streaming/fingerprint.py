"""Fingerprints of checkpoints, made of what a pass reads: 64 bits of each, of all its numbers.

Two sums mod 2³², Σ w(i) xᵢ and Σ v(i) ⌊xᵢ/2¹⁶⌋, where xᵢ are the bits of a number as float32 (of
float64, where a checkpoint stores that: two words) and the odd weights depend on the tensor's name
and the place in it. So they are the same in whatever order numbers come, and whichever blocks,
formats and types of files they are in. One sum tells changes of low bits, the other those of high
ones, signs among them, by all but a chance of 2⁻¹⁶ at worst and mostly of 2⁻⁶⁴; no defence against
somebody who wants them to agree, as a sha256 is."""

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Float, UInt32, UInt64

from .segments import Segment

# SplitMix64 (Steele, Lea and Flood 2014), a counter's bits mixed.
_STEP, _MIX = 0x9E3779B97F4A7C15, ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))
_HIGH = np.uint32(16)
_AT_ONCE = 1 << 16


@lru_cache(4096)
def _seed(name: str) -> int:
    content = name.encode(errors="surrogatepass")
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little")


def weights(block: Segment, words: int) -> UInt32[np.ndarray, "2 columns_times_words"]:
    """Of the columns of a block, so many words each."""
    mixed = np.concatenate(
        [
            np.arange(start * words, stop * words, dtype=np.uint64) * np.uint64(_STEP)
            + np.uint64(_seed(name))
            for name, start, stop in block
        ]
    )
    for bits, factor in _MIX:
        mixed ^= mixed >> np.uint64(bits)
        mixed *= np.uint64(factor)
    # A copy of each half, since sums over strided numbers are slow.
    return np.ascontiguousarray(mixed.view(np.uint32).reshape(-1, 2).T) | np.uint32(1)


class Fingerprints:
    """Of n rows, of blocks of so many columns at most, that come in any order.

    >>> rows = np.random.default_rng(0).standard_normal((2, 100)).astype(np.float32)
    >>> whole, parts = Fingerprints(2, 100, wide=False), Fingerprints(2, 100, wide=False)
    >>> whole.add(rows, [("w", 0, 100)])
    >>> parts.add(rows[:, 40:].astype(float), [("w", 40, 100)])
    >>> parts.add(rows[:, :40], [("w", 0, 40)])
    >>> (whole.prints == parts.prints).tolist()
    [True, True]
    """

    def __init__(self, n: int, columns: int, wide: bool):
        self._words = 2 if wide else 1
        # So many rows at a time as a core's cache has room for beside the block.
        self._rows = max(1, _AT_ONCE // (columns * self._words))
        self._narrow = np.empty((self._rows, 0 if wide else columns), np.float32)
        self._high = np.empty((self._rows, columns * self._words), np.uint32)
        self._sums = np.zeros((2, n), np.uint32)

    def add(self, theta: Float[np.ndarray, "n columns"], block: Segment) -> None:
        of_low, of_high = weights(block, self._words)
        for first in range(0, len(theta), self._rows):
            rows = slice(first, first + self._rows)
            low = self._low_words(theta[rows])
            high = np.right_shift(low, _HIGH, out=self._high[: len(low), : low.shape[1]])
            self._sums[0, rows] += np.einsum("ij,j->i", low, of_low)
            self._sums[1, rows] += np.einsum("ij,j->i", high, of_high)

    def _low_words(self, theta):
        if self._words == 1 and theta.dtype != np.float32:
            narrow = self._narrow[: len(theta), : theta.shape[1]]
            with np.errstate(invalid="ignore"):  # a NaN that signals
                np.copyto(narrow, theta, casting="same_kind")
            theta = narrow
        return theta.view(np.uint32)

    @property
    def prints(self) -> UInt64[np.ndarray, " n"]:
        return joined(self._sums)


def joined(sums: UInt32[np.ndarray, "2 n"]) -> UInt64[np.ndarray, " n"]:
    """Both sums of each row as one number."""
    return sums[0].astype(np.uint64) | sums[1].astype(np.uint64) << np.uint64(32)


def together(
    one: UInt64[np.ndarray, " n"], other: UInt64[np.ndarray, " n"]
) -> UInt64[np.ndarray, " n"]:
    """The fingerprints of two parts of all numbers, as that of both.

    >>> together(np.array([2**32 - 1], np.uint64), np.array([1], np.uint64))
    array([0], dtype=uint64)
    """
    both = one.view(np.uint32) + other.view(np.uint32)
    return both.view(np.uint64)


def sums_of_torch(theta: Any, of_columns: Any, wide: bool) -> Any:
    """What a block adds to both sums, of torch's tensors on their device, as whole numbers of 64
    bits.
    """
    import torch

    bits = (theta.double() if wide else theta.float()).view(torch.int32).long() & 0xFFFFFFFF
    return torch.stack([(part * w).sum(1) for part, w in zip((bits, bits >> 16), of_columns)])


def in_words(prints: UInt64[np.ndarray, " n"]) -> list[str]:
    """As a kernel's file has them."""
    return [f"{print_:016x}" for print_ in prints.tolist()]


def from_words(prints: Sequence[str]) -> UInt64[np.ndarray, " n"]:
    """
    >>> in_words(from_words(["00000000000000ff"]))
    ['00000000000000ff']
    """
    return np.array([int(print_, 16) for print_ in prints], np.uint64)
