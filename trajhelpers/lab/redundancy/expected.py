"""What drift and noise give, in closed form."""

import numpy as np


def expected_return(drift, correlation, ahead, back=5, drift_after=None, noise_after=None):
    """The return to the mean of a path of drift and AR(1) noise, in high dimension: θ_t = tv + x_t,
    E⟨x_s, x_t⟩ = σ² ρ^|s − t|, v at a right angle to all noise.

    Parameters
    ----------
    drift : float or array
        r = ‖v‖ / σ: how far the point moves from one checkpoint to the next, in root mean square
        distances from it.
    correlation : float or array
        ρ.
    ahead, back : int
        a and b, as of `trajhelpers.return_to_mean`.
    drift_after, noise_after : float, optional
        Where η decays at t: ‖v‖ / σ and the noise's root mean square distance, in σ, from then on.
        The noise of before is taken to be forgotten at its own pace, ρ^a. By default as before.

    Returns
    -------
    array

    Notes
    -----
    With S = Σ_{i<b} ρ^i / b and V = Σ_{i,j<b} ρ^|i−j| / b², the way back is W = −(b−1)/2 v + m −
    x_t, where m is the mean noise; the displacement is D = av' + x_{t+a} − x_t. So

    ⟨D, W⟩ / σ² = (1 − ρ^a)(1 − S) − a (b−1)/2 r r',  ‖W‖² / σ² = (b−1)²/4 r² + 1 − 2S + V,
    ‖D‖² / σ² = a² r'² + 2(1 − ρ^a), of a decay a² r'² + 1 + s² − 2ρ^a,

    with s ≥ ρ^a the noise that is left. It is positive where r r' < 2(1 − ρ^a)(1 − S) /
    (a(b−1)). Chapter "What redundancy is good for".

    >>> float(expected_return(0, 0, ahead=3).round(3))             # white noise: √.4
    0.632
    >>> float(expected_return(0, 0, ahead=3, noise_after=0).round(3))      # that dies: √.8
    0.894
    >>> float(expected_return(100, 0, ahead=3).round(3))           # hardly any noise
    -1.0
    """
    drift_after = drift if drift_after is None else drift_after
    noise_after = 1 if noise_after is None else noise_after
    r, rho = np.asarray(drift, float)[..., None], np.asarray(correlation, float)[..., None]
    lags = np.arange(back)
    mean = (rho**lags).sum(-1) / back
    variance = ((back - lags) * rho**lags * np.where(lags == 0, 1, 2)).sum(-1) / back**2
    r, forgotten = r[..., 0], rho[..., 0] ** ahead
    inner = (1 - forgotten) * (1 - mean) - ahead * (back - 1) / 2 * r * drift_after
    way_back = (back - 1) ** 2 / 4 * r**2 + 1 - 2 * mean + variance
    forth = ahead**2 * np.square(drift_after) + 1 + np.square(noise_after) - 2 * forgotten
    return inner / np.sqrt(way_back * forth)
