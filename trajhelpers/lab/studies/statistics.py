"""How sure a difference is, and whether two numbers go together: the few statistics of the studies.

Seeds vary the initialization and the order of images, never the data subset or its label noise:
every interval is conditional on those. No correction is made for the number of comparisons."""

import warnings
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

_LEVEL = 0.95


class PairedDifference(NamedTuple):
    """Mean of the differences, its 95 % interval, and the differences themselves."""

    mean: float
    low: float
    high: float
    differences: np.ndarray

    def __str__(self):
        return f"{self.mean:+.3f} [{self.low:+.3f}, {self.high:+.3f}]"


class Regression(NamedTuple):
    """Coefficients with 95 % intervals (a row a factor, columns ``coefficient``, ``low``,
    ``high``), R², and the residuals' standard deviation and degrees of freedom.
    """

    coefficients: pd.DataFrame
    r_squared: float
    residual: float
    degrees: int


class Association(NamedTuple):
    """Kendall's τ, its two-sided permutation p, a 95 % interval (where there is one), and how many
    recipes it is over.
    """

    tau: float
    p: float
    low: float
    high: float
    recipes: int


def paired_difference(first, second):
    """first − second, paired by seed, with Student's 95 % interval.

    Parameters
    ----------
    first, second : pandas.Series
        One value a seed, indexed by seed.

    Returns
    -------
    PairedDifference
        With n seeds the interval has n − 1 degrees of freedom: 4.30 standard errors to each side
        for three seeds. A value that is missing makes all three numbers NaN.

    Raises
    ------
    ValueError
        Where the seeds differ, or there are fewer than two.

    Chapter "Switching off momentum and weight decay".

    >>> import pandas as pd
    >>> print(paired_difference(pd.Series([.80, .81, .79]), pd.Series([.93, .93, .93])))
    -0.130 [-0.155, -0.105]
    """
    if not first.index.is_unique or sorted(first.index) != sorted(second.index) or len(first) < 2:
        raise ValueError(
            f"seeds: expected the same two or more on both sides, got {list(first.index)} and"
            f" {list(second.index)}"
        )
    differences = (first - second).to_numpy(dtype=float)
    with warnings.catch_warnings():
        # differences without any spread are an answer here, an interval of no length
        warnings.filterwarnings("ignore", "Precision loss occurred", RuntimeWarning)
        low, high = stats.ttest_1samp(differences, 0).confidence_interval(_LEVEL)
    return PairedDifference(differences.mean(), float(low), float(high), differences)


def kendall(x, y):
    """Kendall's τ-b over recipes, with the exact permutation p where there are no ties.

    Parameters
    ----------
    x, y : array-like, shape (recipes,)
        One mean over seeds a recipe: seeds are no independent evidence on what recipes do.

    Returns
    -------
    Association
        ``low`` and ``high`` are NaN: with a handful of recipes the p says what can be said.

    >>> found = kendall([1, 2, 3, 4], [1, 3, 2, 4])
    >>> round(found.tau, 3), round(found.p, 3)
    (0.667, 0.333)
    """
    x, y = np.asarray(x, float), np.asarray(y, float)
    ties = len(set(x)) < len(x) or len(set(y)) < len(y)
    tau, p = stats.kendalltau(x, y, method="asymptotic" if ties else "exact")
    return Association(float(tau), float(p), np.nan, np.nan, len(x))


def stratified_kendall(strata, draws=10_000, seed=0):
    """Does y go with x *within* strata? Pairs of recipes are compared in the same stratum only.

    Parameters
    ----------
    strata : sequence of (x, y)
        Arrays over the recipes of one study each.
    draws : int
        Permutations of y within every stratum, and bootstrap samples of recipes within every
        stratum.
    seed : int

    Returns
    -------
    Association
        τ = (concordant − discordant) / all pairs within strata. ``p``: the share of permutations
        whose τ is as far from 0, the run itself counted. ``low, high``: percentiles of the
        bootstrap over recipes; a recipe drawn twice makes no pair with itself.

    Chapter "Does ω predict generalization?".

    >>> strata = [([1, 2, 3], [10, 20, 30]), ([1, 2, 3], [1, 2, 3])]    # pooled, they do not agree
    >>> stratified_kendall(strata, draws=1000).tau
    1.0
    """
    strata = [(np.asarray(x, float), np.asarray(y, float)) for x, y in strata]
    generator = np.random.default_rng(seed)

    def tau(samples):
        signs = [
            np.sign(np.subtract.outer(x, x)) * np.sign(np.subtract.outer(y, y))
            for x, y, _ in samples
        ]
        pairs = [np.not_equal.outer(which, which) for _, _, which in samples]
        return sum(s.sum() for s in signs) / max(sum(p.sum() for p in pairs), 1)

    observed = tau([(x, y, np.arange(len(x))) for x, y in strata])
    permuted = [
        tau([(x, generator.permutation(y), np.arange(len(x))) for x, y in strata])
        for _ in range(draws)
    ]
    drawn = [
        tau(
            [
                (x[which], y[which], which)
                for x, y in strata
                for which in [generator.integers(0, len(x), len(x))]
            ]
        )
        for _ in range(draws)
    ]
    p = (1 + np.sum(np.abs(permuted) >= abs(observed) - 1e-12)) / (1 + draws)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Association(
        float(observed), float(p), float(low), float(high), sum(len(x) for x, _ in strata)
    )


def regression(response, factors):
    """Least squares of a response on several factors and a constant, with Student's 95 % intervals
    from the residuals.

    Parameters
    ----------
    response : pandas.Series
        One value a cell: average seeds first, or the intervals take repeats of a cell for new
        evidence about the law.
    factors : pandas.DataFrame
        One column a factor, of the same index.

    Returns
    -------
    Regression
        The coefficients are those of the factors, each with the others held fixed; the constant is
        left out.

    Raises
    ------
    ValueError
        Where the indices differ, there are too few cells, or a factor is a combination of the
        others.

    Notes
    -----
    Where the law is not linear the residuals hold what the line misses, and the intervals widen by
    it. Chapter "Pythia".

    >>> import pandas as pd
    >>> factors = pd.DataFrame({"x": [0, 1, 0, 1, 2.0], "z": [0, 0, 1, 1, 1.0]})
    >>> found = regression(3 * factors.x - factors.z + 5, factors)
    >>> found.coefficients.coefficient.round(12).to_dict(), found.degrees
    ({'x': 3.0, 'z': -1.0}, 2)
    """
    if not response.index.equals(factors.index):
        raise ValueError("response, factors: expected one index for both")
    design = np.column_stack([np.ones(len(factors)), factors.to_numpy(float)])
    degrees = len(design) - design.shape[1]
    if degrees < 1 or np.linalg.matrix_rank(design) < design.shape[1]:
        raise ValueError(
            f"factors: {len(design)} cells do not determine the coefficients of"
            f" {', '.join(factors)} and a constant; more cells are needed, or fewer factors"
        )
    solution, *_ = np.linalg.lstsq(design, response.to_numpy(float))
    residuals = response.to_numpy(float) - design @ solution
    variance = residuals @ residuals / degrees
    half = stats.t.ppf((1 + _LEVEL) / 2, degrees) * np.sqrt(
        variance * np.diag(np.linalg.inv(design.T @ design))
    )
    table = pd.DataFrame(
        {"coefficient": solution, "low": solution - half, "high": solution + half}
    )[1:].set_axis(factors.columns)
    return Regression(
        table,
        1 - residuals @ residuals / ((response - response.mean()) ** 2).sum(),
        variance**0.5,
        degrees,
    )
