"""Null models: kernels in closed form of trajectories nobody trained, which tell what a value of a
hallmark means.

Each function gives a `TrajectoryKernel`, so maps, angles, norms, spectra and paths of a null model
come from the same calls as those of a run. Nothing is simulated: "in high dimension" means that
what is orthogonal on average is orthogonal exactly. Lengths are in a unit of each model's own, on
which no cosine depends.

`distance` is that of an orbit's centre or of a fixed point from O, at a right angle to everything
that moves, as any direction in high dimension nearly is to any other."""

import math
from collections.abc import Iterable

import numpy as np
from jaxtyping import Float64

from .hallmarks import of_a_path
from .kernel import TrajectoryKernel


def straight_line(n: int, start: float = 1.0, offset: float = 0.0) -> TrajectoryKernel:
    """A straight line at constant speed: θ_t = (start + t, offset) in a plane, with steps of length
    one.

    With ``offset=0`` the line goes through O: C is all ones for start > 0, and changes sign where
    the line passes O for start < 0. Past O at an offset, ω < 1. Seen from initialization every
    straight line has ω_0 = 1, angles of 0 between updates and an effective rank of one.

    Parameters
    ----------
    n : int
        Checkpoints, at least 2.
    start : float
        How far, in steps, the first checkpoint lies beyond the point of the line that is nearest to
        O.
    offset : float
        Distance of that point from O, in steps. A checkpoint exactly at O (start 0, offset 0) has
        no direction.

    Returns
    -------
    TrajectoryKernel

    Source: the upper extreme of the MDS, section 2 of the paper; chapter "The kernel and its maps".

    >>> import trajhelpers as th
    >>> round(th.mds(th.straight_line(50)), 6)
    1.0
    >>> past = th.straight_line(50, offset=20)
    >>> round(th.mds(past), 2), round(th.mds(past, origin=0), 6)
    (0.9, 1.0)
    """
    _at_least_two(n)
    return TrajectoryKernel(
        _from_start(start**2 + offset**2, np.full(n - 1, start), np.ones((n - 1, n - 1)))
    )


def circular_orbit(
    n: int, turns: float = 1.0, distance: float = 0.0, endpoint: bool = False
) -> TrajectoryKernel:
    """A circular orbit of radius one, evenly sampled: θ_t = (cos αt, sin αt, distance).

    The angle α between neighbours is 2π·turns / n, or 2π·turns / (n − 1) with ``endpoint``, as in
    `numpy.linspace`: one turn then ends where it began. C[s, t] = (d² + cos α(s − t)) / (d² + 1) is
    constant along diagonals, d being the distance, and ω = (d² + m) / (d² + 1) with m = (sin(nα/2)
    / (n sin(α/2)))². Around O (d = 0) one turn has ω = 0, and 1/n² if its end repeats its start;
    from afar ω → 1. Seen from a point on it, ω_0 → 4/π² = .405 for a turn, whatever the distance.
    Consecutive updates make the angle α.

    Parameters
    ----------
    n : int
        Checkpoints, at least 2.
    turns : float
        Full circles; 0.25 is an arc of 90°.
    distance : float
        Of the centre from O, at a right angle to the orbit, in radii.
    endpoint : bool
        Whether the last checkpoint lies at the end of the arc, or one α before it.

    Returns
    -------
    TrajectoryKernel

    Source: the lower extreme of the MDS, section 2 of the paper; chapter "The kernel and its maps".

    >>> import trajhelpers as th
    >>> around = th.circular_orbit(60)
    >>> abs(round(th.mds(around), 6)), round(th.mds(around, origin=0), 2)
    (0.0, 0.42)
    >>> round(60 ** 2 * th.mds(th.circular_orbit(60, endpoint=True)), 6)
    1.0
    >>> round(th.mds(th.circular_orbit(60, distance=3)), 6)
    0.9
    """
    _at_least_two(n)
    angle = 2 * np.pi * turns / (n - 1 if endpoint else n)
    chord = 2 * np.sin(angle / 2)
    t = np.arange(1, n)
    against_start = -chord * np.sin(angle * (t - 0.5))
    return TrajectoryKernel(
        _from_start(1 + distance**2, against_start, chord**2 * np.cos(angle * (t[:, None] - t)))
    )


def random_walk(n: int, start: float = 1.0) -> TrajectoryKernel:
    """A random walk in high dimension: orthogonal steps of length one, from a θ_0 orthogonal to
    them.

    C[s, t] = (r² + min(s, t)) / √((r² + s)(r² + t)), where r is ``start``; far from O (r² ≫ n) ω →
    1. From its start, wherever that is, C_0[s, t] = √(min(s, t) / max(s, t)), and ω_0 → 2/3 (.6813
    for T = 38, .6763 for 60, .6732 for 90). Consecutive updates are at 90°; path over displacement
    is √T.

    Its principal components are cosines, ∝ cos(πk(t + ½) / n), with shares 3 / (2(n² − 1) sin²(πk /
    2n)) → 6/(π²k²) = .608, .152, .068 … of the variance: in the plane a smooth arc that means
    nothing. Look at ``plot_path(random_walk(n))`` beside any path.

    Parameters
    ----------
    n : int
        Checkpoints, at least 2.
    start : float
        ‖θ_0‖ over the root mean square length of a step. At 0 the walk starts from O and θ_0 has no
        direction; at 1 it was at O one step before θ_0.

    Returns
    -------
    TrajectoryKernel

    Raises
    ------
    ValueError
        For n < 2 or start < 0.

    Beyond the paper. The components: Antognini and Sohl-Dickstein 2018. Chapters "The kernel and
    its maps" and "Lengths and bends".

    >>> import trajhelpers as th
    >>> round(th.mds(th.random_walk(39), origin=0), 4)
    0.6813
    >>> round(th.mds(th.random_walk(39, start=10)), 3)
    0.947
    >>> coordinates, explained = th.principal_components(th.random_walk(39))
    >>> explained[:3].round(2)
    array([0.61, 0.15, 0.07])
    """
    _at_least_two(n)
    if start < 0:
        raise ValueError(f"start: expected a length, 0 or more, got {start}")
    return TrajectoryKernel(_from_start(start**2, np.zeros(n - 1), np.eye(n - 1)))


def random_walk_like(kernel: TrajectoryKernel) -> TrajectoryKernel:
    """The random walk that has a run's own lengths: its ‖θ_0‖ and all its ‖θ_t − θ_{t−1}‖, every
    direction orthogonal to the others.

    Where the run differs from this walk, directions are the reason and not the sizes of its
    updates. The Gram of its increments is the diagonal of the run's.

    Parameters
    ----------
    kernel : TrajectoryKernel

    Returns
    -------
    TrajectoryKernel
        With the run's n, steps and runs.

    Beyond the paper; chapter "Lengths and bends".

    >>> import trajhelpers as th
    >>> walk = th.random_walk_like(th.circular_orbit(8, distance=2))
    >>> th.angles(walk)["consecutive"].round(6)
    array([90., 90., 90., 90., 90., 90.])
    """
    of_a_path("random_walk_like", kernel)
    return TrajectoryKernel(np.diag(np.diag(kernel.total)), steps=kernel.steps, runs=kernel.runs)


def ar1(
    n: int,
    correlation: float | None = None,
    *,
    correlation_time: float | None = None,
    distance: float = 0.0,
    drift: float = 0.0,
) -> TrajectoryKernel:
    """Stationary AR(1) (Ornstein–Uhlenbeck) noise around a fixed point, in high dimension: K[s, t]
    = d² + ρ^|s − t|; or around one that moves at constant speed.

    ρ is the correlation of neighbouring checkpoints; a correlation time of τ checkpoints is ρ =
    exp(−1/τ). Consecutive updates have the cosine −(1 − ρ)/2: slow noise (ρ → 1) bends by 90°,
    white noise (ρ = 0) by 120°, and only an oscillation (ρ < 0) by more. An angle φ is that of ρ =
    1 + 2 cos φ. ω = (d² + m) / (d² + 1), where d is the distance and m = (n(1 − ρ²) − 2ρ(1 − ρⁿ)) /
    (n²(1 − ρ)²) → 0.

    Parameters
    ----------
    n : int
        Checkpoints, at least 2.
    correlation : float
        ρ, between −1 and 1.
    correlation_time : float
        τ > 0, in checkpoints, instead of ρ.
    distance : float
        Of the fixed point from O, in root mean square distances of the checkpoints from the fixed
        point.
    drift : float
        How far the point moves from one checkpoint to the next, in the same unit, at a right angle
        to all else. The angles and ω above are those without.

    Returns
    -------
    TrajectoryKernel

    Raises
    ------
    ValueError
        For n < 2, both or neither of correlation and correlation_time, or one out of range.

    Beyond the paper; chapter "Lengths and bends".

    >>> import trajhelpers as th
    >>> th.angles(th.ar1(5, correlation=0))["consecutive"].round(6)
    array([120., 120., 120.])
    >>> th.angles(th.ar1(5, correlation_time=3))["consecutive"].round(1)
    array([98.1, 98.1, 98.1])
    """
    _at_least_two(n)
    if (correlation is None) == (correlation_time is None):
        raise ValueError("correlation, correlation_time: expected one of them")
    if correlation_time is not None:
        if not correlation_time > 0:
            raise ValueError(
                f"correlation_time: expected more than 0 checkpoints, got {correlation_time}"
            )
        correlation = math.exp(-1 / correlation_time)
    if correlation is None or not -1 < correlation < 1:
        raise ValueError(f"correlation: expected a number between -1 and 1, got {correlation}")
    rho = float(correlation)
    t = np.arange(1, n)
    lag = np.abs(t[:, None] - t)
    updates = np.where(lag == 0, 2 * (1 - rho), -((1 - rho) ** 2) * rho ** np.maximum(lag - 1, 0))
    return TrajectoryKernel(
        _from_start(1 + distance**2, -(1 - rho) * rho ** (t - 1), updates + drift**2)
    )


def independent_initializations(n: int = 2, cosine: float = 0.0) -> TrajectoryKernel:
    """n independent initializations of one network, each of norm one: every two of them have the
    same cosine.

    It is the share of ‖θ‖² that is the same in all of them, such as BatchNorm's scales, which start
    at one; `initialization_cosine` counts it from the architecture.

    Parameters
    ----------
    n : int
        Initializations, at least 2.
    cosine : float
        Between 0 and 1.

    Returns
    -------
    TrajectoryKernel

    Source: Fig 2 of the paper, where two ResNet50 have .374; counting gives .369. Chapter "A first
    map".

    >>> import trajhelpers as th
    >>> th.independent_initializations(3, cosine=0.369).cosine().round(3)
    array([[1.   , 0.369, 0.369],
           [0.369, 1.   , 0.369],
           [0.369, 0.369, 1.   ]])
    """
    _at_least_two(n)
    if not 0 <= cosine <= 1:
        raise ValueError(f"cosine: expected a number between 0 and 1, got {cosine}")
    against_start = np.zeros(n - 1)
    against_start[0] = cosine - 1
    neighbours = np.eye(n - 1, k=1) + np.eye(n - 1, k=-1)
    return TrajectoryKernel(
        _from_start(1.0, against_start, (1 - cosine) * (2 * np.eye(n - 1) - neighbours))
    )


def initialization_cosine(tensors: Iterable[tuple[int | tuple[int, ...], float, float]]) -> float:
    """The cosine of two independent initializations, by counting: ‖E θ‖² / E‖θ‖² = Σ size·mean² / Σ
    size·(mean² + variance).

    Parameters
    ----------
    tensors : iterable of (shape, mean, variance)
        What the entries of each tensor are drawn from. A shape may be a number of entries; a
        constant has variance 0; an expected squared norm S of random entries that is known as a
        whole is ``(1, 0, S)``.

    Returns
    -------
    float
        Between 0 and 1. Two actual networks of p parameters differ from it by about 1/√p.

    Raises
    ------
    ValueError
        Where everything starts at zero.

    Source: Fig 2 of the paper (.374 for ResNet50, measured); chapter "A first map".

    torchvision's ResNet50: convolutions are normal with variance 2 / (channels out × kernel area),
    a BatchNorm follows each, with scales of one and shifts of zero, and the last layer is uniform
    on ±1/√2048.

    >>> import trajhelpers as th
    >>> def bottleneck(channels, width):
    ...     return [(width, channels, 1, 1), (width, width, 3, 3), (4 * width, width, 1, 1)]
    >>> convolutions = [(64, 3, 7, 7)]
    >>> for channels, width, blocks in (64, 64, 3), (256, 128, 4), (512, 256, 6), (1024, 512, 3):
    ...     shortcut = [(4 * width, channels, 1, 1)]
    ...     convolutions += bottleneck(channels, width) + shortcut
    ...     convolutions += (blocks - 1) * bottleneck(4 * width, width)
    >>> drawn = [((o, i, h, w), 0, 2 / (o * h * w)) for o, i, h, w in convolutions]
    >>> scales = [(out, 1, 0) for out, *_ in convolutions]
    >>> last = [((1000, 2048), 0, 1 / (3 * 2048)), (1000, 0, 1 / (3 * 2048))]
    >>> round(th.initialization_cosine(drawn + scales + last), 3)
    0.369
    """
    constant = random = 0.0
    for shape, mean, variance in tensors:
        size = math.prod(np.atleast_1d(shape).tolist())
        constant += size * mean**2
        random += size * variance
    if not constant + random > 0:
        raise ValueError("tensors: everything starts at zero, so there is no direction to compare")
    return constant / (constant + random)


def _at_least_two(n: int) -> None:
    if n < 2:
        raise ValueError(f"n: expected at least 2 checkpoints, got {n}")


def _from_start(
    squared_norm: float,
    against_start: Float64[np.ndarray, " n-1"],
    updates: Float64[np.ndarray, "n-1 n-1"],
) -> Float64[np.ndarray, "n n"]:
    """The Gram of increments, (n, n), from ‖θ_0‖², ⟨θ_0, δ_t⟩ (n − 1) and ⟨δ_s, δ_t⟩ (n − 1, n −
    1).
    """
    return np.block(
        [[np.atleast_2d(squared_norm), against_start[None]], [against_start[:, None], updates]]
    )
