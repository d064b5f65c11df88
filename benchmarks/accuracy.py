"""How far cosines are from the truth, which is computed in whole numbers: by the kernel and by what
one would do without it."""

import sys
import warnings
from math import isqrt
from pathlib import Path

import numpy as np
import torch

import trajhelpers as th
from trajhelpers.telling import silently

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import oracle
import trajectories
from exact import ExactPath

ORIGINS = 8
_DIGITS = 200  # bits of a square root beyond those of a whole number


def outlier(p):
    """A walk one of whose checkpoints is a million times as far out as the others."""
    states = trajectories.random_walk(p, dtype=torch.float64)
    states[20] = {name: tensor * 1e6 for name, tensor in states[20].items()}
    return states


def stored_as(dtype):
    """A walk of entries of about 1, in steps of .02, rounded to what the file holds."""

    def build(p):
        rng = np.random.default_rng(5)
        moves = 0.02 * np.sqrt(p) * trajectories.steps(rng, trajectories.N, p)
        return trajectories.split_all(
            trajectories.walk_from(rng.standard_normal(p), moves), getattr(torch, dtype)
        )

    return build


STORED = {f"stored in {name}": stored_as(name) for name in ("float32", "float16", "bfloat16")}
PATHS = {name: build for name, build in trajectories.ACCURACY_TABLE.items() if name != "fp16"} | {
    "outlier": outlier,
    **STORED,
}


def accuracy(p):
    """A row a path: the largest error of a cosine, of C, of C_τ for some τ and between consecutive
    updates, by each way of computing; the kernel's own bound; of what is stored in few bits, how
    far it is from what was rounded.
    """
    unrounded = _cosines_of(ExactPath(oracle.flat(stored_as("float64")(p))))
    return [
        _row(name, build(p), unrounded if name in STORED else None) for name, build in PATHS.items()
    ]


def _row(name, states, unrounded):
    theta = oracle.flat(states)
    exact = _cosines_of(ExactPath(theta))
    increments = np.diff(theta, axis=0, prepend=0)
    trajectory = th.open_trajectory(states)
    with warnings.catch_warnings(), silently(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", th.TrajectoryWarning)
        along_path = th.TrajectoryKernel(increments @ increments.T, sizes=[theta.shape[1]])
        certain = th.gram(trajectory, "cpu")
        found = {
            "K in float64": _cosines_from_K(theta @ theta.T),
            "increments": _cosines_of_kernel(along_path),
            "gram": _cosines_of_kernel(certain),
        }
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found["gram in float32"] = _cosines_of_kernel(th.gram(trajectory, "cpu", "float32"))
    bounds = [certain.error_bound(origin=origin).max() for origin in _origins()]
    return {
        "path": name,
        "n": len(theta),
        "p": theta.shape[1],
        "errors": {way: _error(cosines, exact) for way, cosines in found.items()},
        "bound": float(max(bounds)),
        "shortest_links": not np.array_equal(certain.links, along_path.links),
        "float32_warned": any(issubclass(one.category, th.TrajectoryWarning) for one in said),
        "of_storage": _error(exact, unrounded) if unrounded is not None else None,
    }


def _origins():
    return [None, *np.linspace(0, trajectories.N - 1, ORIGINS).round().astype(int).tolist()]


def _cosines_of(path):
    """All of them as one array, each true to the last digit of a float64."""
    n, found = trajectories.N, []
    for origin in _origins():
        begin = -1 if origin is None else origin
        ways = [(begin, t) for t in range(n) if t != origin]
        found += [_cosine(path, a, b) for i, a in enumerate(ways) for b in ways[:i]]
    found += [_cosine(path, (t - 1, t), (t, t + 1)) for t in range(1, n - 1)]
    return np.array(found)


def _cosine(path, a, b):
    squares = path.inner(a, a) * path.inner(b, b)
    # Python divides whole numbers of any size with one rounding.
    return (path.inner(a, b) << _DIGITS) / isqrt(squares << 2 * _DIGITS)


def _cosines_of_kernel(kernel):
    found = []
    for origin in _origins():
        kept = kernel.kept(origin)
        map_ = np.full((kernel.n, kernel.n), np.nan)
        map_[np.ix_(kept, kept)] = kernel.cosine(origin)
        found.append(_once(map_, origin))
    t = np.arange(1, kernel.n - 1)
    return np.concatenate([*found, kernel.cosine_between(t, t + 1, t - 1, t)])


def _cosines_from_K(K):
    """As one would take them from the inner products of the checkpoints."""
    found = []
    for origin in _origins():
        seen = K if origin is None else K - K[origin] - K[:, [origin]] + K[origin, origin]
        lengths = np.sqrt(seen.diagonal())
        found.append(_once(seen / np.outer(lengths, lengths), origin))

    def inner(a, b, c, d):
        return K[b, d] - K[b, c] - K[a, d] + K[a, c]

    t = np.arange(1, len(K) - 1)
    before, after = inner(t - 1, t, t - 1, t), inner(t, t + 1, t, t + 1)
    return np.concatenate([*found, inner(t - 1, t, t, t + 1) / np.sqrt(before * after)])


def _once(map_, origin):
    """Each pair of a map once, without the origin's row."""
    others = np.arange(len(map_)) != (-1 if origin is None else origin)
    map_ = map_[np.ix_(others, others)]
    return map_[np.tril_indices(len(map_), -1)]


def _error(found, exact):
    """None where one is undefined: checkpoints that rounding has made equal, or the root of a
    square that it has made negative.
    """
    worst = float(abs(found - exact).max())
    return worst if np.isfinite(worst) else None


def print_accuracy(rows):
    print(f"\nlargest error of a cosine, n = {rows[0]['n']}, p = {rows[0]['p']:,}, whole numbers")
    print(f"  {'':20}" + "".join(f"{name:>17}" for name in (*rows[0]["errors"], "bound")))
    for row in rows:
        values = [*row["errors"].values(), row["bound"]]
        shown = "".join(f"{'undefined' if v is None else f'{v:.1e}':>17}" for v in values)
        print(f"  {row['path']:20}{shown}" + "  along shortest links" * row["shortest_links"])
    for row in rows:
        if row["of_storage"] is not None:
            print(f"  {row['path']}: off what was rounded by {row['of_storage']:.1e}")
