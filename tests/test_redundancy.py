"""What a redundant path is good for: arms train what they say and nothing else, forks go on to the
same bits, the return to the mean is what drift and noise give, every order of pausing costs the
same.
"""

import itertools

import numpy as np
import pandas as pd
import pytest
import torch

import trajhelpers as th
from trajhelpers.lab.redundancy import plan, run
from trajhelpers.lab.redundancy.averages import AVERAGES, average_of, average_place, average_weights
from trajhelpers.lab.redundancy.costs import relative_costs
from trajhelpers.lab.redundancy.decay_policies import decay_times, next_time, policy_accuracies
from trajhelpers.lab.redundancy.expected import expected_return
from trajhelpers.lab.redundancy.forks import Fork
from trajhelpers.lab.redundancy.load import LoadedRedundancy, load_redundancy
from trajhelpers.lab.redundancy.parts import ARMS, layers_of, parameters_of_arm
from trajhelpers.lab.redundancy.pausing import pausing_steps, settling_order
from trajhelpers.lab.redundancy.safe_start import predicted_starts, safe_starts, signals
from trajhelpers.lab.training.models import build_model

# Two steps an epoch.
TINY = plan.RECIPES["VGG, noisy"].replace(data="digits", batch_size=640, epochs=3, checkpoints=3)


def kernel_of(points):
    """Of the rows of a matrix, by what a Gram of increments is."""
    increments = np.diff(points, axis=0, prepend=0)
    return th.TrajectoryKernel(increments @ increments.T)


# The return to the mean


def test_it_is_the_cosine_that_it_says():
    points = np.random.default_rng(0).standard_normal((12, 7)).cumsum(0)
    for at, ahead, back in ((4, 3, 5), (6, 1, 2), (8, 3, 9)):
        forth = points[at + ahead] - points[at]
        way_back = points[at - back + 1 : at + 1].mean(0) - points[at]
        cosine = forth @ way_back / np.linalg.norm(forth) / np.linalg.norm(way_back)
        found = th.return_to_mean(kernel_of(points), at, ahead, back)
        np.testing.assert_allclose(found, cosine, atol=1e-12)


def test_a_path_that_stays_has_no_direction():
    points = np.array([[1.0, 0], [2, 0], [3, 0], [3, 0]])
    assert np.isnan(th.return_to_mean(kernel_of(points), 2, ahead=1, back=3))


@pytest.mark.parametrize(
    "at, ahead, back", [(3, 1, 5), (9, 3, 5), (-1, 1, 2), (5, 0, 5), (5, 1, 1)]
)
def test_checkpoints_that_are_not_there_are_refused(at, ahead, back):
    with pytest.raises(ValueError, match=r"^(at|ahead, back): expected"):
        th.return_to_mean(th.random_walk(12), at, ahead, back)


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.95, -0.3])
@pytest.mark.parametrize("drift", [0.0, 0.1, 2.0])
def test_closed_form_against_the_null_model(correlation, drift):
    kernel = th.ar1(20, correlation, drift=drift)
    for ahead, back in ((1, 5), (10, 5), (3, 2)):
        expected = expected_return(drift, correlation, ahead, back)
        np.testing.assert_allclose(th.return_to_mean(kernel, 8, ahead, back), expected, atol=1e-12)


def test_closed_form_against_planted_drift_and_noise():
    """Vectors, simulated; at t drift and noise fall, as where η decays. In 20,000 dimensions inner
    products are off by about 1/√20,000 = .007, relative to the lengths.
    """
    generator, p, rho, drift = np.random.default_rng(1), 20_000, 0.6, 0.2
    at, ahead, drift_after, noise_after = 6, 4, 0.02, 0.3
    noise = generator.standard_normal((at + 1, p)) / p**0.5
    for t in range(1, at + 1):
        noise[t] = rho * noise[t - 1] + (1 - rho**2) ** 0.5 * noise[t]
    direction = np.zeros(p)
    direction[0] = 1
    points = noise + drift * np.arange(at + 1)[:, None] * direction
    # what is left of the noise of before, and fresh noise, together of the size that is asked for
    forgotten = rho**ahead
    fresh = generator.standard_normal(p) / p**0.5
    end = forgotten * noise[at] + (noise_after**2 - forgotten**2) ** 0.5 * fresh
    end = end + (drift * at + drift_after * ahead) * direction
    between = np.linspace(0, 1, ahead)[1:-1, None] * (end - points[at]) + points[at]
    path = kernel_of(np.vstack([points, points[at] * 1.001, between, end]))
    expected = expected_return(drift, rho, ahead, 5, drift_after, noise_after)
    np.testing.assert_allclose(th.return_to_mean(path, at, ahead), expected, atol=0.03)


def test_the_sign_changes_where_the_formula_says():
    """r² = 2 (1 − ρ^a)(1 − S) / (a (b − 1)), here for ρ = 0, a = 1, b = 5: r² = .4."""
    assert expected_return(0.4**0.5 - 1e-6, 0, 1) > 0 > expected_return(0.4**0.5 + 1e-6, 0, 1)


def test_drift_is_a_straight_line_beside_the_noise():
    updates = th.norms(th.ar1(5, 0.5, drift=2.0))["updates"]
    np.testing.assert_allclose(updates, (2 * (1 - 0.5) + 4) ** 0.5)
    assert (th.ar1(5, 0.5).total == th.ar1(5, 0.5, drift=0.0).total).all()


# Parts


@pytest.fixture(scope="module")
def stem(tmp_path_factory):
    """After an epoch, so that there is momentum: the folder, and the state."""
    folder = tmp_path_factory.mktemp("stem")
    fork = Fork(TINY, folder)
    fork.train_until(2)
    return folder, fork.state()


@pytest.mark.parametrize("model", ["vgg", "resnet"])
def test_sizes_of_the_arms(model):
    network = build_model(model, 8, channels=1, pixels=14, classes=10)
    count = {
        arm: sum(int(chosen.sum()) for chosen in parameters_of_arm(network, arm).values())
        for arm in ARMS
    }
    norms = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert count["batchnorm"] == count["random"] == sum(2 * m.num_features for m in norms)
    assert count["head"] == 32 * 10 + 10
    assert count["all"] == sum(p.numel() for p in network.parameters())
    names = [name for layer in layers_of(network) for name in layer]
    assert names == [name for name, _ in network.named_parameters()]


def test_random_entries_are_of_the_whole_network_and_of_the_seed():
    network = build_model("vgg", 8, channels=1, pixels=14, classes=10)
    first, again, other = (parameters_of_arm(network, "random", seed) for seed in (0, 0, 1))
    assert all((first[name] == again[name]).all() for name in first)
    assert any((first[name] != other[name]).any() for name in first)
    # half of the entries are in the last convolution: 208 draws, so five deviations are .17
    share = int(first["14.weight"].sum()) / 208
    assert abs(share - network[14].weight.numel() / 17_890) < 0.17


def test_an_arm_that_there_is_not():
    with pytest.raises(ValueError, match="^arm: expected one of batchnorm, random, head, all"):
        parameters_of_arm(build_model("vgg", 8, 1, 14, 10), "bias")


@pytest.mark.parametrize("arm", ARMS)
def test_an_arm_trains_what_it_says_and_nothing_else(stem, arm):
    """With decay and with momentum, which both would move what is frozen."""
    folder, state = stem
    fork = Fork(TINY, folder, state)
    assert TINY.weight_decay > 0 and TINY.momentum > 0
    before, trained = fork.parameters(), parameters_of_arm(fork.model, arm, seed=3)
    fork.train_only(trained)
    fork.train_until(6)
    after = fork.parameters()
    for name, chosen in trained.items():
        same = before[name] == after[name]
        assert same[~chosen].all(), name
        # a shift or a bias that stays to the bit would be an accident
        assert not chosen.any() or same[chosen].float().mean() < 0.2, name


def test_a_fork_goes_on_to_the_same_bits(stem):
    folder, state = stem
    straight = Fork(TINY, folder)
    straight.train_until(5)
    forked = Fork(TINY, folder, state)
    forked.train_until(5)
    for one, other in zip(straight.model.state_dict().values(), forked.model.state_dict().values()):
        assert (one == other).all()
    # and the state that it came from is as it was: a second fork takes the same path
    again = Fork(TINY, folder, state)
    again.train_until(5)
    assert (again.model[0].weight == forked.model[0].weight).all()


def test_statistics_are_taken_anew_over_all_training_images(stem):
    folder, state = stem
    fork = Fork(TINY, folder, state)
    before = fork.parameters()
    fork.refresh_statistics()
    after = fork.parameters()
    assert all((before[name] == after[name]).all() for name in before)
    images = torch.cat([batch for batch, _ in fork.task.batches([(0, list(range(1280)))])])
    with torch.no_grad():
        seen = fork.model[0](images)
    np.testing.assert_allclose(
        fork.model[1].running_mean, seen.mean((0, 2, 3)), rtol=1e-4, atol=1e-6
    )


def test_training_less_costs_less():
    model = build_model("vgg", 8, channels=1, pixels=14, classes=10)
    costs = relative_costs(model, (torch.zeros(4, 1, 14, 14), torch.zeros(4, dtype=torch.int64)))
    assert costs["nothing"] < costs["head"] < costs["batchnorm"] < costs["random"] == 1
    # forward, back through all but the first convolution, and no gradients of weights
    assert costs["nothing"] == pytest.approx(1 / 3, abs=0.02)
    assert costs["batchnorm"] == pytest.approx(2 / 3, abs=0.02)


# Averages


def test_averages():
    for which in AVERAGES:
        assert average_weights(which).sum() == pytest.approx(1, abs=1e-12)
    assert (average_weights("swa")[16:] == 1 / 9).all() and not average_weights("swa")[:16].any()
    value = 0.0  # by the recursion, of 1 at checkpoint 20 alone
    for t in range(17, 25):
        value = plan.EMA_FACTOR * value + (1 - plan.EMA_FACTOR) * (t == 20)
    assert average_weights("ema")[20] == pytest.approx(value, abs=1e-15)
    checkpoints = [{"w": torch.tensor([float(t)])} for t in range(25)]
    assert average_of(checkpoints, "lawa")["w"].item() == 22


def test_place_of_an_average_is_that_of_the_vectors():
    points = np.random.default_rng(2).standard_normal((25, 9)).cumsum(0) + 3
    weights = average_weights("ema")
    average, last = weights @ points, points[-1]
    found = average_place(kernel_of(points), weights)
    cosine = average @ last / np.linalg.norm(average) / np.linalg.norm(last)
    np.testing.assert_allclose(
        found,
        (np.linalg.norm(average), np.linalg.norm(average - last), np.degrees(np.arccos(cosine))),
        rtol=1e-9,
    )


# Pausing


def test_every_order_costs_the_same():
    sizes = [80, 1168, 2336, 4672, 9280, 330]
    costs = [
        (pausing_steps(sizes, order, 192, 768) * sizes).sum()
        for order in itertools.permutations(range(6))
    ]
    # (192 + 768) / 2 steps of everything, each layer rounded by half a step at most
    np.testing.assert_allclose(costs, 480 * sum(sizes), atol=0.5 * sum(sizes))


def test_layers_are_paused_in_order():
    steps = pausing_steps([1, 2, 3], [1, 2, 0], 10, 70)
    assert list(np.argsort(steps)) == [1, 2, 0]
    with pytest.raises(ValueError, match="^order: expected each of 3 layers once"):
        pausing_steps([1, 2, 3], [0, 1], 10, 70)


def test_order_of_settling():
    """Of two layers, one that is there at once and one that turns halfway."""
    t = np.arange(9)
    early, late = np.outer(t, [1, 0]), np.column_stack([np.minimum(t, 4), np.maximum(t - 4, 0)])
    grams = []
    for points in (late, early):
        increments = np.diff(points, axis=0, prepend=0.0)
        grams.append(increments @ increments.T)
    kernel = th.TrajectoryKernel(np.array(grams), names=["a", "b"])
    assert settling_order(kernel, ["a", "b"]) == [1, 0]


# What is read off


def planted(safe, values):
    """A table in which BatchNorm's scalars lose nothing from the safe k on and much before, and
    signals of which the turn alone knows when.
    """
    rows, observed = [], {}
    for recipe, k in safe.items():
        rows.append((recipe, "decayed", plan.DECAY_AT, 0.8))
        rows += [(recipe, "batchnorm", at, 0.8 if at >= k else 0.7) for at in plan.STARTS]
        epochs = np.arange(1, plan.EPOCHS + 1)
        observed[recipe] = pd.DataFrame(
            {name: np.full(12, 0.5) for name in ("slowest layer", "loss", "fall of the loss")}
            | {"return to the mean": np.full(12, np.nan), "turn": values[recipe](epochs)},
            index=epochs,
        )
        observed[recipe].loc[1, "return to the mean"] = 0.0
    return pd.DataFrame(rows, columns=["recipe", "arm", "at", "test_accuracy"]), observed


def test_a_quantity_that_knows_when_predicts_it():
    safe = {"a": 2, "b": 3, "c": 5, "d": 8, "e": 3}
    # passes 0 at the safe k
    values = {recipe: (lambda t, k=k: (t >= k) - 0.5 + 0 * t) for recipe, k in safe.items()}
    table, observed = planted(safe, values)
    found = safe_starts(table)
    assert found.to_dict() == safe
    predicted = predicted_starts(observed, found)
    assert (predicted["turn"] == predicted["safe k"]).all()
    assert (predicted["fixed k"] == 3).all()


def test_what_is_left_out_is_not_seen():
    safe = {"a": 2, "b": 3, "c": 5, "d": 8}
    values = {recipe: (lambda t, k=k: t / k) for recipe, k in safe.items()}
    table, observed = planted(safe, values)
    before = predicted_starts(observed, safe_starts(table)).loc["d"]
    table.loc[(table.recipe == "d") & (table.arm == "batchnorm"), "test_accuracy"] = 0.8
    after = predicted_starts(observed, safe_starts(table)).loc["d"]
    assert before["safe k"] == 8 and after["safe k"] == 1
    assert (before.drop("safe k") == after.drop("safe k")).all()


def test_none_is_safe():
    table, _ = planted({"a": 99}, {"a": lambda t: t})
    assert safe_starts(table)["a"] == plan.EPOCHS


def test_policies():
    """Drift up to checkpoint 12, then noise: the return to the mean changes its sign there. The
    loss is flat from the fourth epoch on.
    """
    line = np.zeros((25, 400))
    line[:, 0] = np.minimum(np.arange(25), 12)
    line[13:] += np.random.default_rng(0).standard_normal((12, 400))
    log = pd.DataFrame({"epoch": range(1, 13), "running_loss": [3, 2, 1] + [1] * 9})
    times = decay_times(kernel_of(line), log)
    # seen at checkpoint 14 at the earliest, at the end of epoch 7
    assert times["return to the mean"] == 8 and times["plateau"] == 4
    assert (times["a third"], times["two thirds"]) == (4, 8)
    assert next_time([10.5]) == plan.EPOCHS

    rows = [("a", 0, "decayed", at, at / 100) for at in plan.DECAYS] + [("a", 0, "none", 12, 0.5)]
    study = LoadedRedundancy(
        pd.DataFrame(rows, columns=["recipe", "seed", "arm", "at", "test_accuracy"]),
        log.assign(recipe="a", seed=0),
        {("a", 0, "stem"): th.straight_line(25)},
    )
    found = policy_accuracies(study).loc["a", 0]
    assert found["return to the mean"] == found["never"] == 0.5  # a line never returns
    assert found[["plateau", "random", "best of five"]].to_list() == pytest.approx(
        [0.04, 0.06, 0.1]
    )


def test_signals():
    log = pd.DataFrame({"epoch": range(1, 13), "running_loss": 2.0 ** -np.arange(12)})
    seen = signals(th.straight_line(25), log)
    assert list(seen.index) == list(range(1, 13))
    np.testing.assert_allclose(seen["turn"], 1)
    np.testing.assert_allclose(seen["return to the mean"][3:], -1)
    assert seen["return to the mean"][:2].isna().all()
    np.testing.assert_allclose(seen["fall of the loss"][1:], 0.5)


# The study


@pytest.fixture
def small_plan(monkeypatch):
    for name, value in (
        ("EPOCHS", 3),
        ("DECAY_AT", 2),
        ("STEPS_AN_EPOCH", 2),
        ("STARTS", (1, 2)),
        ("DECAYS", (1, 2)),
        ("PAUSED_FROM", 1),
        ("SHORTER_DECAY", 1),
        ("LAST", 2),
        ("WHOLE", {"VGG": TINY}),
        ("CELLS", {"VGG, no momentum": TINY.replace(momentum=0.0)}),
        (
            "RECIPES",
            {
                "VGG": TINY,
                "VGG, no momentum": TINY.replace(momentum=0.0),
            },
        ),
        ("PAUSED", ("VGG",)),
    ):
        monkeypatch.setattr(plan, name, value)
    monkeypatch.setattr(run, "EVERY", 1)


def test_a_study_that_is_stopped_goes_on(small_plan, tmp_path, monkeypatch):
    results, trained = Fork.results, []

    def stopping(fork):
        trained.append(fork.step)
        if len(trained) == 12:
            raise KeyboardInterrupt
        return results(fork)

    monkeypatch.setattr(Fork, "results", stopping)
    with pytest.raises(KeyboardInterrupt):
        run.run_redundancy(tmp_path, seeds=(0,), progress=False)
    run.run_redundancy(tmp_path, seeds=(0,), progress=False)
    jobs = list(run.jobs(0))
    # the one that was stopped twice, and the scout's
    assert len(trained) == len(jobs) + 2
    study = load_redundancy(tmp_path)
    key = ["recipe", "seed", "arm", "at"]
    assert list(study.table[key].itertuples(index=False, name=None)) == jobs
    assert set(study.table.step[study.table.arm == "batchnorm"]) == {6}
    assert study.kernels["VGG", 0, "stem"].n == study.kernels["VGG", 100, "decayed"].n == 7
    assert study.table.parameter_steps.dropna().to_numpy() == pytest.approx(4 * 17_890, rel=0.5 / 4)
    # the decayed run leaves the stem at the decay
    stem, decayed = (study.kernels["VGG", 0, kind].total for kind in ("stem", "decayed"))
    np.testing.assert_array_equal(stem[:5, :5], decayed[:5, :5])
    assert (stem != decayed).any()
    # statistics taken anew are the only difference, and they make one
    ends = study.table[study.table["at"] == 2].pivot(
        index="recipe", columns="arm", values="test_loss"
    )
    assert (ends["decayed"] != ends["decayed anew"]).all()


def test_no_study_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="no study of redundancy there"):
        load_redundancy(tmp_path)
