"""Descent with noisy gradients at any schedule of learning rates, in closed form."""

import numpy as np
from numpy.typing import ArrayLike

from ..kernel import TrajectoryKernel


def noisy_descent(
    rates: ArrayLike, *, drift: float = 0.0, start: float | None = None, distance: float = 0.0
) -> TrajectoryKernel:
    """Gradient descent with noise in a valley, in high dimension: around its floor across, and down
    a steady slope along it.

    Across the valley, of curvature one, x_{t+1} = (1 − η_t) x_t + η_t ξ_t, where each ξ_t has
    length one and is at a right angle to all before; along it, y_{t+1} = y_t + η_t v, v being
    ``drift``. So the schedule says what the path is: a constant rate gives AR(1) noise beside a
    drift; one that drops, a decay of the learning rate; one that goes up and down, warm restarts;
    one that rises, a warm-up.

    At a constant rate η the noise has ρ = 1 − η and the squared length η / (2 − η), and
    consecutive updates the cosine (v²(2 − η) − η) / (v²(2 − η) + 2): beyond 90° where v² < η / (2 −
    η), the more the larger η is.

    Parameters
    ----------
    rates : array, shape (n − 1,)
        η_t of the update from checkpoint t to t + 1, in units of one over the curvature: above 0
        and below 2, from where on descent diverges.
    drift : float
        v, the steady gradient, in lengths of the gradient's noise.
    start : float, optional
        ‖x_0‖, how far from the valley's floor it starts. By default as far as the noise of the
        first rate, going on for ever, would be.
    distance : float
        Of the valley from O, at a right angle to all that moves.

    Returns
    -------
    TrajectoryKernel
        With n checkpoints. The unit of length is the noise of a gradient over the curvature.

    Raises
    ------
    ValueError
        For no rate, or one out of range; for a negative start.

    Beyond the paper. The noise: Mandt, Hoffman and Blei 2017; the valley: Wen et al. 2024. Chapter
    "How to read a map".

    >>> import trajhelpers as th
    >>> steady = th.noisy_descent([0.4] * 20)
    >>> th.angles(steady)["consecutive"][:2].round(1)      # as th.ar1(21, correlation=0.6)
    array([101.5, 101.5])
    >>> decayed = th.noisy_descent([0.4] * 10 + [0.04] * 10, drift=0.2)
    >>> th.angles(decayed)["consecutive"][[8, 9, 10, 18]].round(1)   # before, across, after, later
    array([99.4, 99.4, 79.2, 83.4])
    """
    eta = np.asarray(rates, dtype=np.float64)
    if eta.ndim != 1 or not len(eta) or not np.all((eta > 0) & (eta < 2)):
        raise ValueError(
            f"rates: expected numbers above 0 and below 2, one an update, got {rates!r}"
        )
    if start is None:
        start = float(np.sqrt(eta[0] / (2 - eta[0])))
    if start < 0:
        raise ValueError(f"start: expected a length, 0 or more, got {start}")
    # Each increment in an orthonormal basis: where it starts across, each ξ, along, and the rest.
    n = len(eta) + 1
    delta, across = np.zeros((n, n + 2)), np.zeros(n)
    across[0] = start
    delta[0, :n], delta[0, -1] = across, distance
    for t, rate in enumerate(eta):
        delta[t + 1, :n] = -rate * across
        delta[t + 1, t + 1] += rate
        delta[t + 1, -2] = rate * drift
        across += delta[t + 1, :n]
    return TrajectoryKernel(delta @ delta.T)
