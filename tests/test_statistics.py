"""Intervals and rank correlations, against slow and obvious computations."""

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import trajhelpers as th

T_975 = {1: 12.7062, 2: 4.30265, 4: 2.77645}  # Student's quantiles, from a table


def tau_by_hand(x, y):
    agree = 0
    pairs = list(itertools.combinations(range(len(x)), 2))
    for i, j in pairs:
        agree += np.sign(x[i] - x[j]) * np.sign(y[i] - y[j])
    return agree / len(pairs)


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_paired_interval_is_students(seeds):
    generator = np.random.default_rng(seeds)
    first, second = pd.Series(generator.normal(size=seeds)), pd.Series(generator.normal(size=seeds))
    found = th.studies.paired_difference(first, second)
    differences = [a - b for a, b in zip(first, second)]
    mean = sum(differences) / seeds
    variance = sum((d - mean) ** 2 for d in differences) / (seeds - 1)
    half = T_975[seeds - 1] * (variance / seeds) ** 0.5
    assert found.mean == pytest.approx(mean, rel=1e-12, abs=1e-15)
    assert (found.low, found.high) == pytest.approx((mean - half, mean + half), rel=1e-5)
    assert found.differences.tolist() == differences


@pytest.mark.parametrize(
    "first, second, expected",
    [
        ([1.0, 1.0, 1.0], [1.0, 1.0, 1.0], 0.0),
        ([2.0, 2.0], [1.0, 1.0], 1.0),
        ([0.8, 0.7, 0.6], [0.5, 0.4, 0.3], 0.3),  # equal but for rounding
    ],
)
def test_without_any_spread_the_interval_has_no_length(first, second, expected):
    found = th.studies.paired_difference(pd.Series(first), pd.Series(second))
    assert found[:3] == pytest.approx((expected,) * 3, rel=1e-15, abs=0)


def test_a_missing_value_leaves_no_interval():
    found = th.studies.paired_difference(pd.Series([1.0, 2.0, np.nan]), pd.Series([0.0, 0.5, 0.0]))
    assert np.isnan(found[:3]).all() and np.isnan(found.differences).tolist() == [
        False,
        False,
        True,
    ]


def test_pairs_go_by_seed_and_not_by_place():
    first = pd.Series([1.0, 2.0, 4.0], index=[0, 1, 2])
    shuffled = pd.Series([3.0, 0.5, 1.0], index=[2, 0, 1])
    assert sorted(th.studies.paired_difference(first, shuffled).differences) == [0.5, 1.0, 1.0]


@pytest.mark.parametrize(
    "other",
    [pd.Series([1.0, 2.0], index=[0, 3]), pd.Series([1.0]), pd.Series([1.0, 2.0], index=[0, 0])],
)
def test_unpaired_seeds_are_refused(other):
    with pytest.raises(ValueError, match="seeds: expected the same two or more"):
        th.studies.paired_difference(pd.Series([1.0, 2.0]), other)


def test_the_interval_covers_as_often_as_it_says():
    generator = np.random.default_rng(0)
    covered = 0
    for _ in range(2000):
        found = th.studies.paired_difference(
            pd.Series(generator.normal(0.3, 1, 3)), pd.Series(np.zeros(3))
        )
        covered += found.low < 0.3 < found.high
    assert abs(covered / 2000 - 0.95) < 4 * (0.95 * 0.05 / 2000) ** 0.5


@given(st.permutations(range(6)))
def test_kendall_counts_pairs(order):
    assert th.studies.kendall(range(6), order).tau == pytest.approx(
        tau_by_hand(list(range(6)), order)
    )


def test_p_is_the_share_of_orders_that_are_as_extreme():
    y = [2, 1, 4, 3, 5]
    observed = abs(tau_by_hand(list(range(5)), y))
    extreme = [
        abs(tau_by_hand(list(range(5)), order)) >= observed - 1e-12
        for order in itertools.permutations(range(5))
    ]
    assert th.studies.kendall(range(5), y).p == pytest.approx(np.mean(extreme))


def test_strata_are_never_compared():
    """Within both strata y falls with x; pooled it would rise."""
    low, high = ([1, 2, 3], [3, 2, 1]), ([11, 12, 13], [13, 12, 11])
    assert th.studies.stratified_kendall([low, high], draws=200).tau == -1
    assert th.studies.kendall([1, 2, 3, 11, 12, 13], [3, 2, 1, 13, 12, 11]).tau > 0


def test_stratified_p_against_all_orders():
    strata = [([1, 2, 3], [1, 3, 2]), ([1, 2, 3, 4], [2, 1, 3, 4])]

    def tau(ys):
        signs = [
            np.sign(x[i] - x[j]) * np.sign(y[i] - y[j])
            for (x, _), y in zip(strata, ys)
            for i, j in itertools.combinations(range(len(x)), 2)
        ]
        return sum(signs) / len(signs)

    every = [
        abs(tau(ys))
        for ys in itertools.product(
            itertools.permutations([1, 3, 2]), itertools.permutations([2, 1, 3, 4])
        )
    ]
    observed = abs(tau([y for _, y in strata]))
    exact = np.mean(np.array(every) >= observed - 1e-12)
    found = th.studies.stratified_kendall(strata, draws=4000)
    assert found.tau == pytest.approx(tau([y for _, y in strata]))
    assert found.p == pytest.approx(exact, abs=4 * (exact * (1 - exact) / 4000) ** 0.5)
    assert found.recipes == 7
    assert found.low <= found.tau <= found.high


def test_one_seed_gives_one_answer():
    strata = [([1, 2, 3, 4], [1, 3, 2, 4])]
    assert th.studies.stratified_kendall(
        strata, draws=300, seed=1
    ) == th.studies.stratified_kendall(strata, draws=300, seed=1)


def test_regression_is_least_squares():
    """Against the textbook's formulas for two factors, sum by sum, and a simulation of what its
    intervals cover.
    """
    generator = np.random.default_rng(0)
    x, z = generator.normal(size=8), generator.normal(size=8)
    y = 1 + 0.5 * x - 2 * z + generator.normal(size=8)
    found = th.studies.regression(pd.Series(y), pd.DataFrame({"x": x, "z": z}))
    dx, dz, dy = x - sum(x) / 8, z - sum(z) / 8, y - sum(y) / 8
    xx, zz, xz, xy, zy = sum(dx * dx), sum(dz * dz), sum(dx * dz), sum(dx * dy), sum(dz * dy)
    of_x, of_z = (xy * zz - zy * xz) / (xx * zz - xz**2), (zy * xx - xy * xz) / (xx * zz - xz**2)
    assert found.coefficients.coefficient.tolist() == pytest.approx([of_x, of_z], rel=1e-10)
    left = sum((dy - of_x * dx - of_z * dz) ** 2)
    assert (
        found.degrees == 5
        and found.residual == pytest.approx((left / 5) ** 0.5, rel=1e-10)
        and found.r_squared == pytest.approx(1 - left / sum(dy**2), rel=1e-10)
    )
    # Student's quantile for 5 degrees, from a table
    half = 2.57058 * (left / 5 * zz / (xx * zz - xz**2)) ** 0.5
    assert found.coefficients.loc["x", ["low", "high"]].tolist() == pytest.approx(
        [of_x - half, of_x + half], rel=1e-5
    )


def test_regression_intervals_cover_as_often_as_they_say():
    generator = np.random.default_rng(1)
    factors = pd.DataFrame(generator.normal(size=(10, 2)), columns=["x", "z"])
    covered = 0
    for _ in range(1000):
        interval = th.studies.regression(
            factors.x + generator.normal(size=10), factors
        ).coefficients.loc["x"]
        covered += interval.low < 1 < interval.high
    assert abs(covered / 1000 - 0.95) < 4 * (0.95 * 0.05 / 1000) ** 0.5


def test_regression_refuses_what_it_cannot_tell_apart():
    factors = pd.DataFrame({"x": [1.0, 2, 3, 4], "twice": [2.0, 4, 6, 8]})
    with pytest.raises(ValueError, match="do not determine the coefficients of x, twice"):
        th.studies.regression(pd.Series([1.0, 2, 3, 5]), factors)
    with pytest.raises(ValueError, match="one index for both"):
        th.studies.regression(pd.Series([1.0, 2, 3, 5], index=[1, 2, 3, 4]), factors[["x"]])
