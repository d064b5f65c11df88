"""The law of ω: planted laws are found again, noise follows its closed form, and the stored runs
say what the chapter says, recomputed from their files.
"""

import math

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from scipy import optimize

import trajhelpers as th
from trajhelpers.lab.data import DATA_FOLDER
from trajhelpers.lab.studies import law as studied
from trajhelpers.lab.theory import law
from trajhelpers.lab.training.recipes import LanguageRecipe

BASE = LanguageRecipe(width=16, learning_rate=0.01, weight_decay=0.5, steps=400)
HIDDEN = "hidden matrices"


def kernel_of(gram):
    """A TrajectoryKernel with these inner products of checkpoints."""
    back = np.eye(len(gram)) - np.eye(len(gram), k=-1)
    return th.TrajectoryKernel(back @ gram @ back.T)


# ---- widening ----


def test_memory_is_the_product_of_what_each_step_leaves():
    left, expected = 1.0, [1.0]
    for step in range(BASE.steps):
        left *= 1 - BASE.rate(step) * BASE.weight_decay
        if step + 1 in BASE.checkpoint_steps():
            expected.append(left)
    np.testing.assert_allclose(law.memory(BASE), expected, rtol=1e-12)
    assert law.memory(BASE)[-1] == pytest.approx(math.exp(-BASE.decay_exposure), rel=1e-2)


@pytest.mark.parametrize("width, other", [(16, 64), (64, 16), (16, 16)])
def test_widening_adds_the_initialization_that_is_missing(width, other):
    """n φφᵀ + G with one G for both, a mixed term φxᵀ + xφᵀ within it."""
    generator = np.random.default_rng(0)
    n = 6
    left = np.linspace(1, 0.1, n)
    start, learned = generator.normal(size=40), generator.normal(size=(n, 40)).cumsum(0)
    learned[0] = 0
    mixed = np.outer(left, learned @ start) / 40
    shared = learned @ learned.T + mixed + mixed.T
    narrow, wide = (scale * np.outer(left, left) + shared for scale in (width, other))
    found = law.widened(kernel_of(narrow), other / width, left)
    np.testing.assert_allclose(found.cosine(), kernel_of(wide).cosine(), atol=1e-12)
    np.testing.assert_allclose(found.cosine(0), kernel_of(wide).cosine(0), atol=1e-12)


def test_widening_refuses_a_memory_of_other_checkpoints():
    with pytest.raises(ValueError, match="memory: expected 5 numbers, one a checkpoint"):
        law.widened(th.random_walk(5), 2, np.ones(4))


# ---- the exponent ----


def planted(a, noise, seed=0):
    generator = np.random.default_rng(seed)
    widths, rates = np.repeat([16.0, 64, 256], 4), np.tile([0.002, 0.004, 0.008, 0.016], 3)
    x = np.log2(rates * widths**a)
    return widths, rates, 0.5 - 0.05 * x + 0.004 * x**2 + noise * generator.normal(size=12)


@pytest.mark.parametrize("a", [0.0, 0.5, 0.73, 1.0])
def test_a_planted_exponent_is_found(a):
    found = law.exponent(*planted(a, 0))
    assert found.a == pytest.approx(a, abs=1e-3) and found.r_squared == pytest.approx(1)
    assert found.cells == 12


def test_the_best_exponent_is_where_polyfit_leaves_least():
    widths, rates, values = planted(0.7, 0.01)

    def left(a):
        x = np.log(rates) + a * np.log(widths)
        return np.polyfit(x, values, 2, full=True)[1][0]

    best = optimize.minimize_scalar(left, bounds=(0, 2), method="bounded").x
    found = law.exponent(widths, rates, values)
    assert found.a == pytest.approx(best, abs=1e-3) and found.low < best < found.high


def test_intervals_hold_the_planted_exponent_as_often_as_they_say():
    """Of 40 at 95 %, fewer than 34 would be a chance of 1 in 100 (binomial)."""
    held = [
        found.low <= 0.6 <= found.high
        for found in (law.exponent(*planted(0.6, 0.01, seed)) for seed in range(40))
    ]
    assert sum(held) >= 34


def test_an_exponent_needs_more_cells_than_it_has_parameters():
    with pytest.raises(ValueError, match="expected more than 4, the parameters of the fit, got 4"):
        law.exponent([1, 1, 2, 2], [1, 2, 1, 2], [1, 2, 3, 4])


@pytest.mark.parametrize("a", [0.5, 0.75, 1.0, 1.2])
def test_the_local_exponent_of_a_straight_line(a):
    def omega(width, rate):
        return 0.6 - 0.05 * math.log2(rate * width**a)

    cells = [[omega(*cell)] * 3 for cell in ((16, 0.016), (64, 0.004), (64, 0.008))]
    assert studied.local_exponent(*cells) == pytest.approx((a, a, a))


def test_the_local_exponents_interval_is_that_of_many_draws():
    """The standard error to first order, against the spread of 4,000 draws of three seeds: within
    5 %, of which the draws' own error is 1 %.
    """
    generator = np.random.default_rng(0)
    means, deviation = (0.66, 0.65, 0.60), 0.002
    drawn = [
        studied.local_exponent(*(mean + deviation * generator.normal(size=3) for mean in means))[0]
        for _ in range(4000)
    ]
    exact = [mean + deviation * math.sqrt(1.5) * np.array([-1, 0, 1]) for mean in means]
    _, low, high = studied.local_exponent(*exact)  # scatter as drawn, on average
    error = (high - low) / 2 / 2.4469  # Student's t with 6 degrees of freedom
    expected = np.std(drawn) * math.sqrt(1.5)  # of the sample variance that was put in
    assert error == pytest.approx(expected, rel=0.05)


# ---- noise ----


def test_noise_depends_on_the_root_of_width_alone():
    """Four times the width at half the rate and twice the decay: the same random numbers give the
    same cosines, but for Adam's ε beside gradients of size one.
    """
    recipe = BASE.replace(width=64)
    wide = recipe.replace(width=256, learning_rate=0.005, weight_decay=1.0)
    maps = [law.adam_on_noise(each, entries=240).cosine() for each in (recipe, wide)]
    np.testing.assert_allclose(*maps, atol=1e-6)
    other = recipe.replace(width=256, learning_rate=0.0025, weight_decay=2.0)  # η · width instead
    assert np.abs(law.adam_on_noise(other, entries=240).cosine() - maps[0]).max() > 0.01


def test_noise_without_decay_is_a_walk_with_adams_memory():
    """θ_t − θ_0 sums steps η u with ⟨u_i u_j⟩ ∝ .9^|i − j|, so that u has the long-run variance of
    the gradient over that of Adam's v: 1 over its mean, and up to 1 + 3ε more, since v has the
    relative variance ε = 2(1 − β₂)/(1 + β₂) = .05 and is in the denominator. ω falls with it.
    """
    recipe = BASE.replace(weight_decay=0.0)
    rates = np.array([recipe.rate(step) for step in range(recipe.steps)])
    lags = np.abs(np.subtract.outer(np.arange(recipe.steps), np.arange(recipe.steps)))
    before = np.array(recipe.checkpoint_steps())[:, None] > np.arange(recipe.steps)
    step_products = np.outer(rates, rates) * 0.9**lags * (1 - 0.9) / (1 + 0.9)
    walk = before @ step_products @ before.T
    start = (7 * 2 / (5 * 16) + 5 * 4 / (4 * 16)) / 12  # of L = 2 layers

    def omega(variance):
        return th.mds(kernel_of(start + variance * walk))

    # cosines of 24,000 entries are off by .006, their mean by less
    found = th.mds(law.adam_on_noise(recipe, entries=24_000))
    assert omega(1 + 3 * 0.05) - 0.006 < found < omega(1) + 0.006
    assert omega(1) - omega(1 + 3 * 0.05) < 0.03


# ---- a suite on paper ----


def test_shares_are_those_of_a_network():
    pytest.importorskip("transformers")
    from trajhelpers.lab.pythia.parts import by_block
    from trajhelpers.lab.training.gpt_neox import build_language_model

    sizes = pd.DataFrame({"vocabulary": [100], "layers": [3], "hidden": [64]})
    squares = {}
    for name, value in build_language_model(
        BASE.replace(width=64, layers=3), 100
    ).named_parameters():
        block = by_block(name)
        squares[block] = squares.get(block, 0.0) + float(value.detach().double().square().sum())
    expected = pd.Series(squares) / sum(squares.values())
    found = studied.initial_shares(sizes).iloc[0]
    # the smallest block of random numbers has 12,800, whose sum of squares is off by 1.2 %
    np.testing.assert_allclose(found[expected.index], expected, rtol=0.03)


def test_intervals_of_pairs_are_those_of_many_suites():
    """Draw cells and two new networks from one law 500 times: the standard error of the predicted
    difference is the spread of its misses, of which 500 draws are off by 3 %.
    """
    generator = np.random.default_rng(0)
    cells = pd.DataFrame(
        [
            (width, rate, exposure)
            for width in (16, 64, 256)
            for rate in (0.002, 0.016)
            for exposure in (1.0, 4.0)
        ],
        columns=["width", "learning_rate", "exposure"],
    )
    points = pd.DataFrame(
        {"width": [512, 4096], "learning_rate": [1e-3, 1.2e-4], "exposure": [7.9, 0.9]}
    )

    def law_at(table):
        return -0.04 * np.log2(table.width * table.learning_rate) - 0.1 * np.log2(table.exposure)

    misses, errors = [], []
    for _ in range(500):
        cells[HIDDEN] = law_at(cells) + 0.02 * generator.normal(size=len(cells))
        found = studied.predict_pairs(cells, points).iloc[0]
        truth = law_at(points) + 0.02 * generator.normal(size=2)
        misses.append(found.difference - (truth[1] - truth[0]))
        errors.append((found.high - found.low) / 2 / 2.2622)  # Student's t with 9 degrees
    assert abs(np.mean(misses)) < 4 * np.std(misses) / math.sqrt(500)
    assert math.sqrt(np.mean(np.square(errors))) == pytest.approx(np.std(misses), rel=0.1)


def test_shares_weigh_the_blocks():
    """Two blocks with one law each, of which the second does not depend on anything: by hand."""
    cells = pd.DataFrame(
        {"width": [1, 2, 4, 8], "learning_rate": [1.0, 1, 1, 2], "exposure": [1.0, 2, 1, 4]}
    )
    cells[HIDDEN], cells["embeddings"] = np.log2(cells.width * cells.learning_rate), 5.0
    points = pd.DataFrame({"width": [1, 4], "learning_rate": [1.0, 1], "exposure": [1.0, 1]})
    shares = pd.DataFrame({HIDDEN: [0.25, 0.5], "embeddings": [0.75, 0.5]})
    found = studied.predict_pairs(cells, points, shares).difference.iloc[0]
    assert found == pytest.approx((0.5 * 2 + 0.5 * 5) - (0.25 * 0 + 0.75 * 5))


# ---- the stored runs ----


def stored_gram(run):
    """Inner products of checkpoints of the hidden matrices, from the file, and how many numbers
    they are of.
    """
    with np.load(DATA_FOLDER / "studies" / "pythia-mini" / f"{run}.npz") as file:
        which = file["names"].tolist().index(HIDDEN)
        upper, n = file["increments"][which], len(file["steps"])
        size = int(file["sizes"][which])
    products = np.zeros((n, n))
    products[np.triu_indices(n)] = upper
    products += np.triu(products, 1).T
    return products.cumsum(0).cumsum(1), size


def cosines(gram):
    return gram / np.sqrt(np.outer(gram.diagonal(), gram.diagonal()))


def stored_runs(width, rate, weight_decay):
    table = pd.read_csv(DATA_FOLDER / "studies" / "pythia-mini" / "runs.csv", dtype={"run": str})
    table = table[(table.layers == 2) & (table.tokens == "characters")]
    table = table[(table.width == width) & np.isclose(table.learning_rate, rate)]
    return sorted(set(table.run[np.isclose(table.weight_decay, weight_decay, rtol=1e-6)]))


def test_three_widths_with_one_number_have_one_omega():
    """The numbers of the chapter's first page: η · width = .256, Σηλ = 3.95."""
    means = []
    for width in (16, 32, 64):
        rate = 0.256 / width
        unit = LanguageRecipe(width=16, learning_rate=rate, weight_decay=1.0).decay_exposure
        runs = stored_runs(width, rate, 3.95 / unit)
        assert len(runs) == 3
        means.append(np.mean([cosines(stored_gram(run)[0]).mean() for run in runs]))
    np.testing.assert_allclose(means, 0.660, atol=5e-4)


def test_widening_by_hand():
    """Without decay: n² ⟨W_s W_t⟩ of width 64 is that of width 16 and 48 c more."""
    narrow, wide = stored_runs(16, 0.016, 0.0), stored_runs(64, 0.004, 0.0)
    predicted = []
    for run in narrow:
        gram, size = stored_gram(run)
        gram = gram / size * 16**2
        predicted.append(cosines(gram + 48 * gram[0, 0] / 16))
    measured = np.mean([cosines(stored_gram(run)[0]) for run in wide], axis=0)
    pairs = studied.widening(studied.law_runs(["pythia-mini"]))
    row = pairs[(pairs.exposure == 0) & (pairs.number == 0.256)].iloc[0]
    assert (row.width, row["to"]) == (16, 64)
    assert row.predicted == pytest.approx(np.mean(predicted), abs=1e-9)
    assert row.measured == pytest.approx(measured.mean(), abs=1e-9)
    assert row.map_error == pytest.approx(
        np.sqrt(np.mean((np.mean(predicted, axis=0) - measured) ** 2)), abs=1e-9
    )
    assert abs(row.error) < 0.002 and row.measured - row.own > 0.08


def test_without_decay_the_exponent_is_not_one():
    cells = studied.law_cells(studied.law_runs(["pythia-mini"]))
    found = {
        exposure: law.exponent(part.width, part.learning_rate, part[HIDDEN])
        for exposure, part in cells[(cells.layers == 2) & (cells.tokens == "characters")].groupby(
            "exposure"
        )
        if exposure in (0, 3.95)
    }
    assert found[0].high < 0.55 and found[3.95].low > 0.6
    assert found[0].low < 0.5 and found[3.95].low < 1 < found[3.95].high


def test_what_the_second_study_says():
    """The verdicts of its chapter: widening holds, and the two-number claim does not."""
    runs = studied.law_runs()
    pairs = studied.widening(runs)
    small = pairs[pairs.number < 0.6]
    assert len(small) == 22 and small.error.abs().max() < 0.017
    assert (small.map_error < small.map_own).all()
    cells = studied.law_cells(runs)
    cells = cells[(cells.tokens == "characters") & (cells.layers == 2) & (cells.batch_size == 8)]
    cells = cells[cells.exposure > 0].reset_index(drop=True)
    factors = np.log2(cells[["number", "exposure", "width"]])
    assert len(cells) == 39
    assert th.studies.regression(cells[HIDDEN], factors).coefficients.low["width"] > 0


def test_the_second_study_is_the_plans():
    """Exposures of `pythia-mini`; three cells that share η · width, then η · √width."""
    arms = th.studies.STUDIES["omega-law"].arms
    every = [recipe for recipes in arms.values() for recipe in recipes]
    assert {round(recipe.decay_exposure, 4) for recipe in every} == {0, 0.9875, 3.95, 7.9}
    for name in ("shuffled", "sums"):
        first, number, root = arms[name][:3]
        assert first.learning_rate * first.width == number.learning_rate * number.width
        assert first.learning_rate * first.width**0.5 == root.learning_rate * root.width**0.5
        assert {recipe.tokens for recipe in arms[name]} == {name}
    known = {recipe for _, recipe in th.studies.STUDIES["pythia-mini"].recipes(1)}
    assert not known & set(every)


def test_two_blocks_of_one_figure_share_a_legend_and_numbers_between_doublings_have_no_tick():
    cells = pd.DataFrame(
        {
            "width": [16, 32, 48],
            "learning_rate": 0.004,
            "number": [0.064, 0.128, 0.192],
            "exposure": 1.0,
            HIDDEN: [0.9, 0.8, 0.7],
            "embeddings": [0.9, 0.8, 0.7],
        }
    )
    figure, grid = plt.subplots(2, 2)
    for block, axes in zip((HIDDEN, "embeddings"), grid):
        studied.plot_collapse(cells, block, axes)
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.texts] == [
        "Σηλ 1",
        "width 16",
        "width 32",
        "width 48",
    ]
    for after in grid[:, 1]:
        assert after.get_xticks() == pytest.approx([0.064, 0.128], rel=1e-12)
    plt.close(figure)
