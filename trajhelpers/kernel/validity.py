"""Whether what a kernel's file holds can be a kernel: a Gram matrix, and names and numbers that fit
it. A ValueError names the array that cannot.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64

from ..links import outwards

# Against the lengths of the differences: what rounding can do to a product, and some more. Float32
# products are summed in float64, so many at a time that the worst case is 2^14 roundings.
_ROUNDING = {"float64": 1e-9, "float32": 1e-3}
_AT_ONCE = 1 << 23
# Of a unit of lengths, as a power of two: float64 has no others.
_LARGEST = 1100


def refuse_no_kernel(parts: dict[str, Any]) -> None:
    """Of what the class of a kernel takes, by the names of its parameters."""
    products = parts["increments"] if "increments" in parts else parts["differences"]
    groups, n, _ = products.shape
    squared_path = parts.get("squared_path")
    if parts["precision"] not in _ROUNDING:
        raise ValueError(f"precision: unknown, {parts['precision']!r}")
    if not isinstance(parts["source"], dict):
        raise ValueError(f"source: a {type(parts['source']).__name__}, where a dict was expected")
    _refuse_no_text("names", parts["names"], groups)
    if len(set(parts["names"])) < groups:
        raise ValueError("names: two groups share one")
    _refuse_no_counts("sizes", parts["sizes"], groups)
    if "labels" in parts:
        _refuse_no_text("labels", parts["labels"], n)
    else:
        _refuse_no_numbers("steps", parts["steps"], (n,), "i")
        _refuse_no_text("runs", parts["runs"], n)
    if parts.get("links") is not None:
        _refuse_no_numbers("links", parts["links"], (n,), "i")
        if np.any((parts["links"] < -1) | (parts["links"] >= n)):
            raise ValueError(f"links: lead to no checkpoint, {parts['links'].tolist()}")
        outwards(parts["links"])
    if type(parts.get("exponent", 0)) is not int or abs(parts.get("exponent", 0)) > _LARGEST:
        raise ValueError(f"exponent: expected a whole number, got {parts['exponent']!r}")
    if parts.get("tokens") is not None:
        _refuse_no_counts("tokens", parts["tokens"], n, "iuf")
    if squared_path is not None:
        _refuse_no_numbers("squared_path", squared_path, (groups, n), "f")
        if not np.all(np.isfinite(squared_path)) or np.any(squared_path < 0):
            raise ValueError("squared_path: has squared lengths that are negative or not finite")
    refuse_no_gram(products, squared_path, parts["precision"])
    if parts.get("sample") is not None:
        _refuse_no_sample(parts["sample"], groups, parts["precision"])


def _refuse_no_sample(sample: dict[str, Any], groups: int, precision: str) -> None:
    """Two cells at least of each stratum that is not whole, which hold all blocks drawn of it."""
    for name in ("seed", "block"):
        if type(sample[name]) is not int:
            raise ValueError(f"sample: {name}: expected a whole number, got {sample[name]!r}")
    strata, cells = sample["group"].shape, sample["stratum"].shape
    for name in ("group", "blocks", "drawn", "numbers"):
        _refuse_no_counts(f"sample: {name}", sample[name], strata[0])
    for name in ("stratum", "counts"):
        _refuse_no_counts(f"sample: {name}", sample[name], cells[0])
    held = np.zeros(strata, int)
    if np.any(sample["group"] >= groups) or np.any(sample["stratum"] >= strata[0]):
        raise ValueError("sample: of groups that the kernel has not")
    np.add.at(held, sample["stratum"], sample["counts"])
    part = sample["drawn"] < sample["blocks"]
    several = np.bincount(sample["stratum"], minlength=strata[0])
    if (
        not part.any()
        or np.any(sample["drawn"] > sample["blocks"])
        or np.any(held != np.where(part, sample["drawn"], 0))
        or np.any(several[part] < 2)
        or np.any(sample["counts"] < 1)
    ):
        raise ValueError("sample: its blocks are not those that were drawn")
    refuse_no_gram(sample["products"], None, precision)


def refuse_no_gram(
    products: Float64[np.ndarray, "groups n n"],
    squared_path: Float64[np.ndarray, "groups n"] | None = None,
    precision: str = "float64",
) -> None:
    """A ValueError unless each matrix is the Gram matrix of some vectors, up to rounding.

    Rounding is measured against ``squared_path``, the squared lengths of what each vector was made
    of, where they are longer than the vectors.
    """
    n = products.shape[1]
    rounding, together = _ROUNDING[precision], max(1, _AT_ONCE // n**2)
    for first in range(0, len(products), together):
        some = slice(first, first + together)
        matrices = products[some]
        if not np.all(np.isfinite(matrices)):
            raise ValueError("increments: hold NaN or infinity, which no Gram matrix does")
        squared = np.einsum("gss->gs", matrices)
        longest = np.abs(squared)
        if squared_path is not None:
            longest = np.maximum(longest, squared_path[some])
        if np.any(squared < -rounding * longest):
            raise ValueError("increments: have a negative squared length, no Gram matrix")
        # A square may have vanished where the product with a longer vector has not.
        lengths = np.sqrt(np.maximum(longest, np.finfo(precision).tiny))
        scaled = matrices / lengths[:, :, None] / lengths[:, None, :]
        if np.any(np.abs(scaled) > 1 + rounding):
            raise ValueError("increments: have products longer than their lengths allow")
        scaled[:, np.arange(n), np.arange(n)] += n * rounding
        try:
            np.linalg.cholesky(scaled)
        except np.linalg.LinAlgError:
            raise ValueError("increments: are not positive semidefinite, no Gram matrix") from None
    with np.errstate(over="ignore"):
        if not np.all(np.isfinite(products.sum(0))):
            raise ValueError("increments: their sum over all groups is not finite")


def _refuse_no_text(what: str, values: Sequence, count: int) -> None:
    if len(values) != count or not all(isinstance(value, str) for value in values):
        raise ValueError(f"{what}: expected {count} of text")


def _refuse_no_numbers(what: str, values: np.ndarray, shape: tuple[int, ...], kinds: str) -> None:
    if values.shape != shape or values.dtype.kind not in kinds:
        raise ValueError(f"{what}: of shape {values.shape} {values.dtype}, expected {shape}")


def _refuse_no_counts(what: str, values: np.ndarray, count: int, kinds: str = "i") -> None:
    """Of what is counted, or NaN where that is unknown."""
    _refuse_no_numbers(what, values, (count,), kinds)
    if np.any(values < 0) or np.any(np.isinf(values)):
        raise ValueError(f"{what}: has a negative or infinite number")
