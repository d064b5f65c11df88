"""Bounds on the errors of the measures that are made of a kernel: ``kernel.error_bound``."""

from collections.abc import Callable
from typing import Any

import numpy as np

from .hallmarks import angle_pairs, angles, length_pairs, mds, norms, of_a_path


def bound_of(kernel: Any, measure: Callable | None, arguments: dict[str, Any]) -> Any:
    """What :meth:`trajhelpers.TrajectoryKernel.error_bound` gives."""
    if measure is not None and measure not in _BOUNDS:
        raise ValueError(
            "measure: bounds are known of mds, angles, norms and, where none is given, the map; got"
            f" {getattr(measure, '__name__', measure)!r}"
        )
    bound: Callable = _of_the_map if measure is None else _BOUNDS[measure]
    return bound(kernel, **arguments)


def _of_the_map(kernel, origin=None):
    start, kept = kernel._moved(origin)
    bound = kernel._error_of_cosine(start, kept[:, None], start, kept)
    np.fill_diagonal(bound, 0)
    return bound


def _of_mds(kernel, origin=None):
    bound = _of_the_map(kernel, origin)
    # The mean of all entries, of which each adds a rounding of its own.
    return float(bound.mean() + len(bound) * np.finfo(float).eps) if bound.size else float("nan")


def _of_angles(kernel, stride=1):
    found = {}
    for name, pairs in angle_pairs(of_a_path("error_bound", kernel), stride).items():
        between = (*kernel._pair(*pairs[:2]), *kernel._pair(*pairs[2:]))
        cosine, error = kernel._cosine_of(*between), kernel._error_of_cosine(*between)
        with np.errstate(invalid="ignore"):
            angle = np.arccos(cosine)
            ends = [np.arccos(np.clip(cosine + sign * error, -1, 1)) for sign in (-1, 1)]
        rounding = 4 * np.finfo(float).eps * np.pi
        found[name] = np.degrees(np.maximum(*(abs(end - angle) for end in ends)) + rounding)
    return found


def _of_norms(kernel, stride=1):
    return {
        name: kernel._error_of_length(*kernel._pair(*pair))
        + 4 * np.finfo(float).eps * kernel.distance(*pair)
        for name, pair in length_pairs(of_a_path("error_bound", kernel), stride).items()
    }


_BOUNDS: dict[Callable, Callable] = {mds: _of_mds, angles: _of_angles, norms: _of_norms}
