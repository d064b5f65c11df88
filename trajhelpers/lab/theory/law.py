"""The law of ω: what two widths of one network have in common, and what noise would do.

Of hidden matrices, whose entries start at a size ∝ 1/√n, under AdamW. Chapter "The law of ω"."""

from typing import NamedTuple

import numpy as np
from scipy import stats

from ...kernel import TrajectoryKernel

# Entries of a layer by where they start, of 12 n²: query, key, value and the first of the MLP; and
# those that write to the residual stream.
_LIKE_INPUTS, _TO_RESIDUAL = 7, 5
_EXPONENTS = np.linspace(-1, 3, 4001)


def memory(recipe):
    """What decay alone leaves of the initialization at each checkpoint, φ_t = Π(1 − η_sλ) over the
    steps before it: an array that starts at 1 and ends near e^(−Σηλ).

    >>> from trajhelpers.lab.training.recipes import LanguageRecipe
    >>> left = memory(LanguageRecipe(width=16, learning_rate=0.016, weight_decay=0.35))
    >>> left.size, round(float(left[-1]), 3), round(float(np.exp(-3.943)), 3)
    (39, 0.019, 0.019)
    """
    kept = [1 - recipe.rate(step) * recipe.weight_decay for step in range(recipe.steps)]
    return np.concatenate([[1.0], np.cumprod(kept)])[recipe.checkpoint_steps()]


def widened(kernel, factor, memory):
    """The kernel of a network ``factor`` times as wide at the same η · width and Σηλ: what has been
    learned stays, the initialization weighs ``factor`` times as much.

    With W_t = φ_t W_0 + U_t / n, where U depends on η · n and on Σηλ alone, n² times the mean
    product of entries is n φ_s φ_t + ⟨…⟩, and in ⟨…⟩ there is no n. So a wider network's kernel is
    this one's, but for a term of the initialization; nothing is fitted.

    Parameters
    ----------
    kernel : TrajectoryKernel
        Of the hidden matrices, with the initialization as its first checkpoint.
    factor : float
        The other width over this one; below 1 for a narrower network.
    memory : array, shape (n,)
        As :func:`memory` gives it for the recipe.

    Returns
    -------
    TrajectoryKernel
        In a unit of length of its own, on which no cosine depends.

    >>> import trajhelpers as th
    >>> line = th.random_walk(5, start=1.0)
    >>> wide = widened(line, 9, np.ones(5))       # the same steps, three times as far from O
    >>> wide.gram().round(6)[0, :2], wide.gram().round(6)[1, 1]
    (array([9., 9.]), np.float64(10.0))
    """
    memory = np.asarray(memory, float)
    if memory.shape != (kernel.n,):
        raise ValueError(
            f"memory: expected {kernel.n} numbers, one a checkpoint, got shape {memory.shape}"
        )
    steps = np.diff(memory, prepend=0.0)
    total = kernel.total
    return TrajectoryKernel(
        total + (factor - 1) * total[0, 0] * np.outer(steps, steps), steps=kernel.steps
    )


def adam_on_noise(recipe, entries=12 * 2**10, seed=0):
    """The kernel of hidden matrices that AdamW moves by gradients of pure noise.

    Each entry's gradient is drawn anew at every step, and independently; initialization, schedule,
    β, decay and checkpoints are the recipe's. Nothing else of a network is needed: Adam does not
    see the gradient's size.

    Parameters
    ----------
    recipe : LanguageRecipe
    entries : int
        Drawn for all: of so many, cosines are off by 1/√entries.
    seed : int

    Returns
    -------
    TrajectoryKernel

    Notes
    -----
    ω is a function of η√n and ηλ. For √n θ follows the same recursion with √n η in the place of η
    and λ/√n in that of λ, from an initialization that does not depend on n: see chapter "The law of
    ω".

    >>> from trajhelpers.lab.training.recipes import LanguageRecipe
    >>> import trajhelpers as th
    >>> recipe = LanguageRecipe(width=64, learning_rate=0.01, weight_decay=0.0, steps=200)
    >>> wide = recipe.replace(width=256, learning_rate=0.005)
    >>> abs(th.mds(adam_on_noise(recipe)) - th.mds(adam_on_noise(wide))) < 1e-4
    True
    """
    # who reads a table waits for no torch
    import torch

    generator = torch.Generator().manual_seed(seed)

    def draw():
        return torch.randn(entries, generator=generator, dtype=torch.float64)

    residual = torch.arange(entries) % (_LIKE_INPUTS + _TO_RESIDUAL) >= _LIKE_INPUTS
    deviation = torch.where(
        residual, 2 / (recipe.layers * recipe.width**0.5), (2 / (5 * recipe.width)) ** 0.5
    )
    theta = torch.nn.Parameter(deviation * draw())
    optimizer = torch.optim.AdamW(
        [theta], betas=(0.9, 0.95), eps=1e-8, weight_decay=recipe.weight_decay
    )
    kept, wanted = [theta.detach().clone()], set(recipe.checkpoint_steps())
    for step in range(recipe.steps):
        optimizer.param_groups[0]["lr"] = recipe.rate(step)
        theta.grad = draw()
        optimizer.step()
        if step + 1 in wanted:
            kept.append(theta.detach().clone())
    rows = torch.stack(kept)
    increments = torch.cat([rows[:1], rows.diff(dim=0)]).numpy()
    return TrajectoryKernel(increments @ increments.T, steps=recipe.checkpoint_steps())


class Exponent(NamedTuple):
    """a in η · widthᵃ with its 95 % interval, R² of the curve, and how many cells it is over."""

    a: float
    low: float
    high: float
    r_squared: float
    cells: int

    def __str__(self):
        return f"{self.a:.2f} [{self.low:.2f}, {self.high:.2f}]"


def exponent(widths, rates, values, degree=2):
    """The a for which values are best a function of η · widthᵃ, a polynomial in its logarithm.

    Parameters
    ----------
    widths, rates, values : array-like, shape (cells,)
        One value a cell: average seeds first.
    degree : int
        Of the polynomial.

    Returns
    -------
    Exponent
        The interval holds the a that an F test against the best one leaves at 95 %. It ends at −1
        or 3 where it is open: with one width or one rate there is no telling.

    Raises
    ------
    ValueError
        Where there are no more cells than parameters.

    >>> widths, rates = np.repeat([16, 64, 256], 4), np.tile([1, 2, 4, 8], 3)
    >>> noise = 0.01 * np.random.default_rng(0).normal(size=12)
    >>> print(exponent(widths, rates, np.log2(rates * widths**0.5) + noise))
    0.50 [0.49, 0.50]
    """
    widths, rates, values = (np.asarray(each, float) for each in (widths, rates, values))
    degrees = len(values) - degree - 2
    if degrees < 1:
        raise ValueError(
            f"values: expected more than {degree + 2}, the parameters of the fit, got {len(values)}"
        )

    x = np.log2(rates) + _EXPONENTS[:, None] * np.log2(widths)
    curves = (x - x.mean(axis=1, keepdims=True))[..., None] ** np.arange(degree + 1)
    basis = np.linalg.qr(curves).Q  # of the polynomials, for every a at once
    along = np.einsum("aij,i->aj", basis, values)
    misfits = ((values - np.einsum("aij,aj->ai", basis, along)) ** 2).sum(axis=1)
    best = misfits.argmin()
    kept = _EXPONENTS[misfits <= misfits[best] * (1 + stats.f.ppf(0.95, 1, degrees) / degrees)]
    spread = ((values - values.mean()) ** 2).sum()
    return Exponent(
        float(_EXPONENTS[best]),
        float(kept.min()),
        float(kept.max()),
        float(1 - misfits[best] / spread),
        len(values),
    )
