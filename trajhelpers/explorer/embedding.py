"""Kernels as a page holds them: JSON, its numbers float64 in base64, so that none is rounded."""

import base64
from typing import Any

import numpy as np

from ..kernel import TrajectoryKernel
from ..links import path_links


def embedded(kernel: TrajectoryKernel, label: str) -> dict[str, Any]:
    """What ``files.mjs`` makes a kernel of."""
    products, exponent = kernel.rows
    upper = np.triu_indices(kernel.n)
    is_usual = np.array_equal(kernel.links, path_links(kernel.n))
    own = np.einsum("gss->gs", products)
    squared = kernel.squared_ways
    return {
        "label": label,
        "steps": kernel.steps.tolist(),
        "precision": kernel.precision,
        "exponent": exponent,
        "sample": kernel.sample.in_words(kernel.p) if kernel.sample else "",
        "links": None if is_usual else kernel.links.tolist(),
        "groups": [
            {
                "name": name,
                "size": size,
                "products": _base64(products[g][upper]),
                "squared": None if np.array_equal(squared[g], own[g]) else _base64(squared[g]),
            }
            for g, (name, size) in enumerate(zip(kernel.names, kernel.sizes))
        ],
    }


def _base64(numbers: np.ndarray) -> str:
    return base64.b64encode(numbers.astype("<f8").tobytes()).decode()
