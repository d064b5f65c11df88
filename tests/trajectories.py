"""Seeded trajectories, each a list of n state dicts of p parameters in a few tensors of different
shapes.

They are the rows of the accuracy table: each is hard in a way of its own.
"""

import numpy as np
import torch

N = 60


def split(theta, dtype=torch.float64):
    """One flat vector of p >= 300 numbers as a state dict: a convolution, a vector, a matrix and a
    scalar.
    """
    p = len(theta)
    columns = 7
    rows = (p - 217) // columns
    cuts = np.cumsum([2 * 3 * 3 * 3, 162, columns * rows])
    parts = np.split(np.asarray(theta, dtype=np.float64), [*cuts, p - 1])
    shapes = {
        "conv.weight": (2, 3, 3, 3),
        "norm.weight": (162,),
        "linear.weight": (rows, columns),
        "head.bias": (-1,),
        "scale": (),
    }
    return {
        name: torch.from_numpy(part.copy()).reshape(shape).to(dtype)
        for (name, shape), part in zip(shapes.items(), parts)
    }


def split_all(thetas, dtype=torch.float64):
    return [split(theta, dtype) for theta in thetas]


def weights(rng, p):
    """An initialization: entries of several magnitudes, as layers have, scaled to ||theta|| = 1."""
    theta = rng.standard_normal(p) * np.exp(rng.standard_normal(p))
    return theta / np.linalg.norm(theta)


def steps(rng, n, p):
    """(n - 1, p) random steps of length about one."""
    return rng.standard_normal((n - 1, p)) / np.sqrt(p)


def walk_from(start, moves):
    """(n, p): the start and its partial sums."""
    return np.concatenate([start[None], start + np.cumsum(moves, axis=0)])


def random_walk(p, n=N, seed=0, dtype=torch.float32):
    rng = np.random.default_rng(seed)
    return split_all(walk_from(weights(rng, p), 0.1 * steps(rng, n, p)), dtype)


def noisy_line(p, n=N, seed=1):
    rng = np.random.default_rng(seed)
    start, direction = weights(rng, p), weights(rng, p)
    times = np.arange(n)[:, None]
    noise = 0.01 * rng.standard_normal((n, p)) / np.sqrt(p)
    return split_all(start + 0.05 * times * direction + noise, torch.float32)


def shrinking(p, n=N, seed=2, dtype=torch.float64):
    """Updates from 1e-1 down to 1e-10 of ||theta||, evenly in the logarithm.

    In float32 the last ones are far below half an ulp of most entries: what is left of them are
    single-ulp flips of the few entries that lay next to a rounding boundary."""
    rng = np.random.default_rng(seed)
    lengths = np.logspace(-1, -10, n - 1)[:, None]
    states = split_all(walk_from(weights(rng, p), lengths * steps(rng, n, p)), dtype)
    for before, after in zip(states, states[1:]):
        assert any((before[name] != after[name]).any() for name in before), (
            "an update is exactly zero"
        )
    return states


def orbit(p, n=N, seed=3, turns=50, gap=1e-3):
    """A circle run `turns` times, not around O, whose end is `gap` radii from its start: path /
    displacement is 1e5.
    """
    rng = np.random.default_rng(seed)
    plane, _ = np.linalg.qr(rng.standard_normal((p, 2)))
    phase = np.linspace(0, 2 * np.pi * turns + gap, n)[:, None]
    return split_all(
        weights(rng, p) + np.cos(phase) * plane[:, 0] + np.sin(phase) * plane[:, 1], torch.float64
    )


def from_afar(p, n=N, seed=4):
    """||theta_0|| is 100 times the distance between the walk's ends."""
    rng = np.random.default_rng(seed)
    moves = steps(rng, n, p)
    return split_all(
        walk_from(100 * np.linalg.norm(moves.sum(axis=0)) * weights(rng, p), moves), torch.float32
    )


def half(p, n=N, seed=5):
    """Stored in float16, with entries of about 1 and steps of about .02, 20 to 40 of their ulps."""
    rng = np.random.default_rng(seed)
    return split_all(
        walk_from(rng.standard_normal(p), 0.02 * np.sqrt(p) * steps(rng, n, p)), torch.float16
    )


def shrinking_float32(p, n=N, seed=2):
    return shrinking(p, n, seed, torch.float32)


ACCURACY_TABLE = {
    "random walk": random_walk,
    "noisy line": noisy_line,
    "shrinking, fp64": shrinking,
    "shrinking, fp32": shrinking_float32,
    "orbit": orbit,
    "from afar": from_afar,
    "fp16": half,
}
