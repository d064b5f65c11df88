"""Fingerprints of checkpoints, made of what a pass reads: 64 bits of each, of all its numbers.

A sum mod 2⁶⁴, Σ w(j) (Xⱼ + ⌊Xⱼ/2³³⌋), where Xⱼ are the bits of two numbers as float32, those at the
places 2j and 2j + 1 of a tensor (of one as float64, where a checkpoint stores that), and the odd
weights depend on the tensor's name and on j. A number adds the same whatever its neighbour is, so
that sums are the same in whatever order numbers come, and whichever blocks, formats and types of
files they are in. Of the uppermost bits of Xⱼ, signs among them, a product mod 2⁶⁴ keeps little:
hence what is shifted. A changed bit, alone or with others elsewhere, passes by a chance of 2⁻³¹ at
worst and mostly of 2⁻⁶⁴; no defence against somebody who wants sums to agree, as a sha256 is."""

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Float, UInt64

from .segments import Segment

# SplitMix64 (Steele, Lea and Flood 2014), a counter's bits mixed.
_STEP, _MIX = 0x9E3779B97F4A7C15, ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))
_HIGH = 33
# Weights are those of a table times one a window of words: mixing them anew costs as much as the
# sum.
_WINDOW = 8192
_AT_ONCE = 1 << 18


def _mixed(counters: UInt64[np.ndarray, " m"]) -> UInt64[np.ndarray, " m"]:
    for bits, factor in _MIX:
        counters = (counters ^ (counters >> np.uint64(bits))) * np.uint64(factor)
    return (counters ^ (counters >> np.uint64(31))) | np.uint64(1)


_TABLE = _mixed(np.arange(_WINDOW, dtype=np.uint64) * np.uint64(_STEP))


@lru_cache(4096)
def _seed(name: str) -> int:
    content = name.encode(errors="surrogatepass")
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little")


@lru_cache(4096)
def _of_window(name: str, window: int) -> np.uint64:
    return _mixed(np.array([(_seed(name) + window * _STEP) % 2**64], np.uint64))[0]


def weights(name: str, start: int, stop: int, wide: bool) -> UInt64[np.ndarray, " words"]:
    """Of the words that elements ``start`` to ``stop`` of a tensor lie in."""
    if not wide:
        start, stop = start // 2, -(-stop // 2)
    found = []
    while start < stop:
        window, first = divmod(start, _WINDOW)
        last = min(_WINDOW, first + stop - start)
        found.append(_TABLE[first:last] * _of_window(name, window))
        start += last - first
    return found[0] if len(found) == 1 else np.concatenate(found)


class Fingerprints:
    """Of n rows, of blocks of so many columns at most, that come in any order.

    >>> rows = np.random.default_rng(0).standard_normal((2, 100)).astype(np.float32)
    >>> whole, parts = Fingerprints(2, 100, wide=False), Fingerprints(2, 100, wide=False)
    >>> whole.add(rows, [("w", 0, 100)])
    >>> parts.add(rows[:, 41:].astype(float), [("w", 41, 100)])
    >>> parts.add(rows[:, :41], [("w", 0, 41)])
    >>> (whole.prints == parts.prints).tolist()
    [True, True]
    """

    def __init__(self, n: int, columns: int, wide: bool):
        self.prints = np.zeros(n, np.uint64)
        self._wide = wide
        words = columns if wide else columns // 2 + 1
        # So many rows at a time as a cache has room for.
        self._rows = max(1, _AT_ONCE // words)
        self._shifted = np.empty(min(n, self._rows) * words, np.uint64)

    def add(self, theta: Float[np.ndarray, "n columns"], block: Segment) -> None:
        column = 0
        for name, start, stop in block:
            words = self._words(theta[:, column : column + stop - start], start)
            of_words = weights(name, start, stop, self._wide)
            for first in range(0, len(words), self._rows):
                some = words[first : first + self._rows]
                shifted = self._shifted[: some.size].reshape(some.shape)
                np.right_shift(some, np.uint64(_HIGH), out=shifted)
                np.add(shifted, some, out=shifted)
                sums = np.einsum("ij,j->i", shifted, of_words)
                self.prints[first : first + self._rows] += sums
            column += stop - start

    def _words(self, numbers, start):
        if self._wide:
            return numbers.view(np.uint64)
        before, after = start % 2, (start + numbers.shape[1]) % 2
        if before or after or numbers.dtype != np.float32:
            padded = np.zeros((len(numbers), before + numbers.shape[1] + after), np.float32)
            with np.errstate(invalid="ignore"):  # a NaN that signals
                padded[:, before : before + numbers.shape[1]] = numbers
            numbers = padded
        return numbers.view(np.uint64)


def together(
    one: UInt64[np.ndarray, " n"], other: UInt64[np.ndarray, " n"]
) -> UInt64[np.ndarray, " n"]:
    """The fingerprints of two parts of all numbers, as that of both.

    >>> together(np.array([2**64 - 1], np.uint64), np.array([1], np.uint64))
    array([0], dtype=uint64)
    """
    return one + other


def sums_of_torch(theta: Any, block: Segment, wide: bool) -> Any:
    """What a block adds, of torch's tensors on their device, as signed numbers."""
    import torch

    total, column = torch.zeros(len(theta), dtype=torch.int64, device=theta.device), 0
    for name, start, stop in block:
        numbers = theta[:, column : column + stop - start]
        numbers = numbers.double() if wide else numbers.float()
        padding = (0, 0) if wide else (start % 2, stop % 2)
        words = torch.nn.functional.pad(numbers, padding).contiguous().view(torch.int64)
        of_words = torch.from_numpy(weights(name, start, stop, wide).view(np.int64))
        # Shifted in, signs are ones.
        high = (words >> _HIGH) & (2 ** (64 - _HIGH) - 1)
        total += ((words + high) * of_words.to(theta.device)).sum(1)
        column += stop - start
    return total


def in_words(prints: UInt64[np.ndarray, " n"]) -> list[str]:
    """As a kernel's file has them."""
    return [f"{print_:016x}" for print_ in prints.tolist()]


def from_words(prints: Sequence[str]) -> UInt64[np.ndarray, " n"]:
    """
    >>> in_words(from_words(["00000000000000ff"]))
    ['00000000000000ff']
    """
    return np.array([int(print_, 16) for print_ in prints], np.uint64)
