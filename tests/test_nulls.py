"""The null models against coordinates, against simulation in high dimension, and against the closed
forms they state.
"""

import warnings

import numpy as np
import oracle
import pytest

import trajhelpers as th

N = 24
P = 200_000
# The cosine of two independent directions in p dimensions has a standard deviation of 1/sqrt(p); a
# cosine of a map is a combination of such, with weights whose squares sum to at most 2. Among N^2
# of them the largest is below 5 standard deviations.
SIMULATED = 5 * np.sqrt(2 / P)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def directions(rng, count):
    """(count, P) random vectors of expected squared length one."""
    return rng.standard_normal((count, P)) / np.sqrt(P)


def worst(kernel, theta, origin=None):
    return np.max(np.abs(kernel.cosine(origin) - oracle.cosine(theta, origin)))


def assert_same_trajectory(kernel, theta, tolerance):
    for origin in None, 0, N // 2, N - 1:
        assert worst(kernel, theta, origin) <= tolerance
    expected = oracle.angle_cosines(theta)
    for name, angles in th.angles(kernel).items():
        assert np.nanmax(np.abs(np.cos(np.radians(angles)) - expected[name])) <= tolerance, name
    for name, lengths in th.norms(kernel).items():
        np.testing.assert_allclose(
            lengths, oracle.norms(theta)[name], rtol=tolerance, atol=tolerance, err_msg=name
        )


@pytest.mark.parametrize("start, offset", [(1, 0), (0.5, 3), (-11.5, 2), (-11.5, 0)])
def test_a_line_is_its_coordinates(start, offset):
    t = np.arange(N)
    theta = np.stack([start + t, np.full(N, float(offset))], axis=1)
    kernel = th.straight_line(N, start=start, offset=offset)
    assert_same_trajectory(kernel, theta, 1e-9)
    assert th.mds(kernel, origin=0) == pytest.approx(1, abs=1e-12)
    assert th.effective_rank(th.spectra(kernel)["K0"]) == pytest.approx(1, abs=1e-12)
    assert th.path_ratio(kernel) == pytest.approx(1, abs=1e-12)


def test_a_line_through_O_is_a_ray_on_each_side():
    through = th.straight_line(10, start=-4.5).cosine()
    np.testing.assert_allclose(
        through, np.outer(np.sign(np.arange(10) - 4.5), np.sign(np.arange(10) - 4.5)), atol=1e-12
    )
    assert th.mds(th.straight_line(10)) == pytest.approx(1, abs=1e-12)
    assert th.mds(th.straight_line(10, offset=5)) < 0.95


@pytest.mark.filterwarnings("ignore:the path is so much longer")
@pytest.mark.parametrize(
    "turns, distance, endpoint",
    [(1, 0, False), (1, 2.5, False), (0.25, 0, True), (7.3, 1, False), (0.01, 0.5, True)],
)
def test_an_orbit_is_its_coordinates(turns, distance, endpoint):
    phase = np.linspace(0, 2 * np.pi * turns, N, endpoint=endpoint)
    theta = np.stack([np.cos(phase), np.sin(phase), np.full(N, float(distance))], axis=1)
    kernel = th.circular_orbit(N, turns=turns, distance=distance, endpoint=endpoint)
    assert_same_trajectory(kernel, theta, 1e-9)
    step = phase[1]
    arc = (np.sin(N * step / 2) / (N * np.sin(step / 2))) ** 2
    assert th.mds(kernel) == pytest.approx((distance**2 + arc) / (distance**2 + 1), abs=1e-12)


def test_the_circle_of_the_paper():
    assert th.mds(th.circular_orbit(60)) == pytest.approx(0, abs=1e-12)
    assert th.mds(th.circular_orbit(60, endpoint=True)) == pytest.approx(1 / 60**2, rel=1e-9)
    assert th.mds(th.circular_orbit(600), origin=0) == pytest.approx(4 / np.pi**2, abs=2e-3)
    assert th.mds(th.circular_orbit(60), origin=0) == pytest.approx(
        th.mds(th.circular_orbit(60, distance=9), origin=0), abs=1e-12
    )
    np.testing.assert_allclose(th.angles(th.circular_orbit(36))["consecutive"], 10, atol=1e-9)


def test_a_closed_orbit_has_no_direction_from_its_start_to_its_end():
    with pytest.warns(th.TrajectoryWarning, match="step 23 equal the origin"):
        assert th.circular_orbit(N, endpoint=True).cosine(origin=0).shape == (N - 2, N - 2)


@pytest.mark.parametrize("start", [1, 7.5])
def test_a_walk_is_its_simulation(rng, start):
    theta = np.cumsum(np.concatenate([start * directions(rng, 1), directions(rng, N - 1)]), axis=0)
    kernel = th.random_walk(N, start=start)
    for origin in None, 0, 5:
        assert worst(kernel, theta, origin) <= SIMULATED
    expected = oracle.angle_cosines(theta)
    for name, angles in th.angles(kernel).items():
        assert np.max(np.abs(np.cos(np.radians(angles)) - expected[name])) <= SIMULATED, name


@pytest.mark.parametrize("T, omega", [(38, 0.6813), (60, 0.6763), (90, 0.6732)])
def test_a_walk_from_its_start(T, omega):
    kernel = th.random_walk(T + 1, start=3)
    assert round(th.mds(kernel, origin=0), 4) == omega
    t = np.arange(1, T + 1)
    np.testing.assert_allclose(
        kernel.cosine(origin=0),
        np.sqrt(np.minimum.outer(t, t) / np.maximum.outer(t, t)),
        atol=1e-12,
    )
    assert th.path_ratio(kernel) == pytest.approx(np.sqrt(T))


def test_a_walk_tends_to_two_thirds():
    assert th.mds(th.random_walk(1500), origin=0) == pytest.approx(2 / 3, abs=5e-4)


@pytest.mark.parametrize("r", [0.3, 2, 50])
def test_a_walk_from_afar(r):
    s = np.arange(40)
    omega = np.mean(
        (r**2 + np.minimum.outer(s, s)) / np.sqrt(np.multiply.outer(r**2 + s, r**2 + s))
    )
    assert th.mds(th.random_walk(40, start=r)) == pytest.approx(omega, abs=1e-12)


def test_a_walk_from_O_itself():
    with pytest.warns(th.TrajectoryWarning, match="step 0 are zero"):
        assert th.mds(th.random_walk(39, start=0)) == pytest.approx(
            th.mds(th.random_walk(39), origin=0), abs=1e-12
        )


@pytest.mark.parametrize("n", [5, 61, 400])
def test_components_of_a_walk_are_cosines(n):
    coordinates, explained = th.principal_components(th.random_walk(n), k=3)
    k = np.arange(1, n)
    np.testing.assert_allclose(
        explained, 3 / (2 * (n**2 - 1) * np.sin(np.pi * k / (2 * n)) ** 2), atol=1e-9
    )
    curves = np.cos(np.pi * np.outer(np.arange(n) + 0.5, [1, 2, 3]) / n)
    for curve, coordinate in zip(curves.T, coordinates.T):
        assert abs(curve @ coordinate) == pytest.approx(
            np.linalg.norm(curve) * np.linalg.norm(coordinate), rel=1e-9
        )
    if n == 400:
        np.testing.assert_allclose(explained[:2], [6 / np.pi**2, 6 / (4 * np.pi**2)], atol=1e-4)


def test_a_walk_like_a_run_keeps_lengths_and_nothing_else(rng):
    delta = rng.standard_normal((9, 40)) + 1
    run = th.TrajectoryKernel(delta @ delta.T, steps=np.arange(9) * 100)
    walk = th.random_walk_like(run)
    assert np.min(np.abs(th.angles(run)["consecutive"] - 90)) > 10
    np.testing.assert_allclose(th.angles(walk)["consecutive"], 90)
    np.testing.assert_allclose(th.norms(walk)["updates"], th.norms(run)["updates"])
    assert th.norms(walk)["parameters"][0] == pytest.approx(th.norms(run)["parameters"][0])
    assert walk.steps.tolist() == run.steps.tolist() and walk.runs == run.runs


@pytest.mark.parametrize("rho, distance", [(0.0, 0), (0.8, 0), (0.5, 2), (-0.6, 1)])
def test_ar1_is_its_simulation(rng, rho, distance):
    noise = directions(rng, N)
    for t in range(1, N):
        noise[t] = rho * noise[t - 1] + np.sqrt(1 - rho**2) * noise[t]
    theta = distance * directions(rng, 1) + noise
    kernel = th.ar1(N, rho, distance=distance)
    for origin in None, 0, 5:
        assert worst(kernel, theta, origin) <= SIMULATED
    assert (
        np.max(
            np.abs(
                np.cos(np.radians(th.angles(kernel)["consecutive"]))
                - oracle.angle_cosines(theta)["consecutive"]
            )
        )
        <= SIMULATED
    )


@pytest.mark.parametrize("rho", [-0.9, 0.0, 0.3, 0.99])
@pytest.mark.parametrize("distance", [0, 1.5])
def test_ar1_by_its_formulas(rho, distance):
    kernel = th.ar1(N, rho, distance=distance)
    lag = np.abs(np.subtract.outer(np.arange(N), np.arange(N)))
    np.testing.assert_allclose(kernel.gram(), distance**2 + rho**lag, atol=1e-12)
    np.testing.assert_allclose(
        th.angles(kernel)["consecutive"], np.degrees(np.arccos(-(1 - rho) / 2)), atol=1e-9
    )
    m = (N * (1 - rho**2) - 2 * rho * (1 - rho**N)) / (N**2 * (1 - rho) ** 2)
    assert th.mds(kernel) == pytest.approx((distance**2 + m) / (distance**2 + 1), abs=1e-12)


def test_ar1_bends_by_90_to_120_degrees_unless_it_oscillates():
    bend = lambda **ar1: th.angles(th.ar1(4, **ar1))["consecutive"][0]  # noqa: E731
    assert bend(correlation_time=1e9) == pytest.approx(90, abs=1e-6)
    assert bend(correlation_time=1e-9) == pytest.approx(120, abs=1e-6)
    assert 90 < bend(correlation_time=2) < bend(correlation_time=1) < 120 < bend(correlation=-0.1)
    assert bend(correlation_time=2) == pytest.approx(bend(correlation=np.exp(-1 / 2)))
    assert bend(correlation=1 + 2 * np.cos(np.radians(104))) == pytest.approx(104)


def test_a_drift_adds_a_line_to_the_noise(rng):
    noise = directions(rng, N)
    for t in range(1, N):
        noise[t] = 0.6 * noise[t - 1] + 0.8 * noise[t]
    theta = 2 * directions(rng, 1) + noise + 0.3 * np.arange(N)[:, None] * directions(rng, 1)
    kernel = th.ar1(N, 0.6, distance=2, drift=0.3)
    for origin in None, 0, 5:
        assert worst(kernel, theta, origin) <= SIMULATED
    bend = -(0.4**2) + 0.3**2
    np.testing.assert_allclose(
        np.cos(np.radians(th.angles(kernel)["consecutive"])), bend / (2 * 0.4 + 0.3**2), atol=1e-9
    )


# Enough where no more is asked than that each term of a recursion is there.
FEWER = 20_000
SIMULATED_IN_FEWER = 5 * np.sqrt(2 / FEWER)


def direction(rng):
    return rng.standard_normal(FEWER) / np.sqrt(FEWER)


def simulated_descent(rng, rates, drift, start, distance):
    across, along, far = start * direction(rng), direction(rng), distance * direction(rng)
    theta, y = [far + across], 0.0
    for rate in rates:
        across = across - rate * (across - direction(rng))
        y += rate * drift
        theta.append(far + y * along + across)
    return np.array(theta)


SCHEDULES = {
    "constant": [0.3] * (N - 1),
    "decay": [0.6] * 12 + [0.06] * 11,
    "restarts": [0.8 * (1 - t % 8 / 8) for t in range(N - 1)],
    "warm-up": [0.05 * (t + 1) for t in range(N - 1)],
    "oscillating": [1.9] * (N - 1),
}


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("drift, start, distance", [(0, 1, 0), (0.4, 0, 1.5)])
def test_noisy_descent_is_its_simulation(rng, schedule, drift, start, distance):
    rates = SCHEDULES[schedule]
    theta = simulated_descent(rng, rates, drift, start, distance)
    kernel = th.noisy_descent(rates, drift=drift, start=start, distance=distance)
    for origin in None, 0, 5:
        assert worst(kernel, theta, origin) <= SIMULATED_IN_FEWER
    updates = np.diff(theta, axis=0)
    expected = [oracle.cosine_between(a, b) for a, b in zip(updates, updates[1:])]
    found = np.cos(np.radians(th.angles(kernel)["consecutive"]))
    assert np.max(np.abs(found - expected)) <= SIMULATED_IN_FEWER


@pytest.mark.parametrize("rate", [0.1, 0.7, 1.0, 1.6])
def test_noisy_descent_at_a_constant_rate_is_ar1(rate):
    squared = rate / (2 - rate)
    noise = th.ar1(N, 1 - rate, distance=2 / np.sqrt(squared), drift=0.3 * rate / np.sqrt(squared))
    descent = th.noisy_descent([rate] * (N - 1), distance=2, drift=0.3)
    np.testing.assert_allclose(descent.gram(), squared * noise.gram(), atol=1e-12)
    bend = (0.3**2 * (2 - rate) - rate) / (0.3**2 * (2 - rate) + 2)
    np.testing.assert_allclose(
        np.cos(np.radians(th.angles(descent)["consecutive"])), bend, atol=1e-9
    )


def test_the_pair_across_a_decay_bends_as_the_one_before():
    """Both parts of an update are η times what does not know of η: it cancels from the cosine."""
    bends = th.angles(th.noisy_descent(SCHEDULES["decay"], drift=0.2))["consecutive"]
    np.testing.assert_allclose(bends[11], bends[10], atol=1e-9)
    assert bends[12] < 90 < bends[11]


@pytest.mark.parametrize("memory", [0.0, 0.5, 0.9])
def test_an_average_is_that_of_the_checkpoints(rng, memory):
    theta = rng.standard_normal((N, 50)).cumsum(0) + 3
    delta = np.diff(theta, axis=0, prepend=0)
    halves = [delta[:, :20] @ delta[:, :20].T, delta[:, 20:] @ delta[:, 20:].T]
    run = th.TrajectoryKernel(halves, names=["a", "b"], sizes=[20, 30], steps=10 * np.arange(N))
    mean, means = theta[0], [theta[0]]
    for row in theta[1:]:
        mean = memory * mean + (1 - memory) * row
        means.append(mean)
    kernel = th.averaged(run, memory)
    assert_same_trajectory(kernel, np.array(means), 1e-9)
    assert_same_trajectory(kernel.select("b"), np.array(means)[:, 20:], 1e-9)
    assert kernel.steps.tolist() == run.steps.tolist() and kernel.sizes == run.sizes


def test_the_average_of_a_walk_bends_by_its_formula():
    t, memory = np.arange(1, N - 1), 0.8
    bend = memory * np.sqrt((1 - memory ** (2 * t)) / (1 - memory ** (2 * t + 2)))
    found = th.angles(th.averaged(th.random_walk(N), memory))["consecutive"]
    np.testing.assert_allclose(np.cos(np.radians(found)), bend, atol=1e-9)


@pytest.mark.parametrize("at", [1, 9, N - 2])
@pytest.mark.parametrize(
    "kernel, start, keeps, adds",
    [(th.random_walk(N, start=3), 3, 1, 1), (th.ar1(N, 0.8), 1, 0.8, 0.6)],
    ids=["walk", "noise"],
)
def test_a_resumed_run_is_its_simulation(rng, kernel, start, keeps, adds, at):
    theta = [start * direction(rng)]
    for t in range(1, 2 * N - 1 - at):
        before = theta[at if t == N else t - 1]
        theta.append(keeps * before + adds * direction(rng))
    both = th.resumed(kernel, at)
    assert both.n == len(theta)
    for origin in None, 0, at, N:
        assert worst(both, np.array(theta), origin) <= SIMULATED_IN_FEWER
    assert both.steps.tolist() == [*range(N), *range(at + 1, N)]
    assert set(both.runs[:N]) == {"seed 0"} and set(both.runs[N:]) == {"seed 1"}


def test_a_resumed_run_has_the_law_of_the_run():
    noise = th.ar1(N, 0.7, distance=2)
    both = th.resumed(noise, at=9)
    second = both[[*range(10), *range(N, both.n)]]
    np.testing.assert_allclose(second.gram(), noise.gram(), atol=1e-12)


def test_two_branches_of_a_line_are_one():
    both = th.resumed(th.straight_line(N, offset=2), at=9)
    apart = both.distance(np.arange(10, N), np.arange(N, both.n))
    np.testing.assert_allclose(apart, 0, atol=1e-6)


def test_what_is_made_of_a_sample_would_hide_that_it_is_one(rng):
    states = [{"w": row} for row in rng.standard_normal((5, 2000))]
    preview = th.gram(th.open_trajectory(states), sample=0.5)
    for made_of in lambda: th.averaged(preview, 0.5), lambda: th.resumed(preview, 2):
        with pytest.raises(ValueError, match="needs all of a kernel"):
            made_of()


def test_independent_initializations_are_their_simulation(rng):
    constant, scale = 3000, 0.15
    theta = np.concatenate([np.ones((4, constant)), scale * rng.standard_normal((4, P))], axis=1)
    cosine = th.initialization_cosine([(constant, 1, 0), ((P // 100, 100), 0, scale**2)])
    assert cosine == pytest.approx(constant / (constant + P * scale**2))
    kernel = th.independent_initializations(4, cosine=cosine)
    assert worst(kernel, theta) <= SIMULATED
    np.testing.assert_allclose(th.norms(kernel)["parameters"], 1)


def test_two_resnets_by_the_paper_and_by_counting():
    cosine = th.initialization_cosine([(26_560, 1, 0), (1, 0, 45_062), (1, 0, 333)])
    assert round(cosine, 3) == 0.369
    assert th.independent_initializations(cosine=cosine).cosine()[0, 1] == pytest.approx(cosine)


def test_a_mean_that_is_not_zero_counts_as_constant(rng):
    theta = 0.3 + 0.2 * rng.standard_normal((2, P))
    assert th.initialization_cosine([((P,), 0.3, 0.04)]) == pytest.approx(
        oracle.cosine(theta)[0, 1], abs=SIMULATED
    )


@pytest.mark.parametrize(
    "wrong, message",
    [
        (lambda: th.random_walk(1), "n: expected at least 2"),
        (lambda: th.random_walk(5, start=-1), "start"),
        (lambda: th.ar1(5), "correlation, correlation_time: expected one"),
        (lambda: th.ar1(5, 0.5, correlation_time=3), "correlation, correlation_time: expected one"),
        (lambda: th.ar1(5, 1.0), "between -1 and 1, got 1.0"),
        (lambda: th.ar1(5, correlation_time=0), "correlation_time"),
        (lambda: th.noisy_descent([]), "rates: expected"),
        (lambda: th.noisy_descent([0.5, 2.0]), "rates: expected"),
        (lambda: th.noisy_descent([0.5, 0.0]), "rates: expected"),
        (lambda: th.noisy_descent([0.5], start=-1), "start: expected"),
        (lambda: th.averaged(th.random_walk(5), memory=1), "memory: expected"),
        (lambda: th.resumed(th.random_walk(5), at=0), "from 1 to 3, got 0"),
        (lambda: th.resumed(th.random_walk(5), at=4), "from 1 to 3, got 4"),
        (lambda: th.resumed(th.resumed(th.random_walk(5), 2), 2), "kernel of one run"),
        (lambda: th.independent_initializations(2, cosine=1.2), "between 0 and 1, got 1.2"),
        (lambda: th.initialization_cosine([((3, 3), 0, 0)]), "starts at zero"),
    ],
)
def test_wrong_arguments_are_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        wrong()


@pytest.mark.parametrize(
    "null",
    [
        lambda: th.straight_line(N, offset=1),
        lambda: th.circular_orbit(N),
        lambda: th.random_walk(N),
        lambda: th.ar1(N, 0.5),
        lambda: th.ar1(N, 0.5, drift=0.1),
        lambda: th.noisy_descent([0.5] * (N - 1), drift=0.1),
        lambda: th.averaged(th.random_walk(N), 0.9),
        lambda: th.independent_initializations(N, 0.4),
    ],
)
def test_a_null_model_warns_of_nothing_and_is_a_kernel(null):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kernel = null()
        th.hallmarks(kernel)
    eigenvalues = np.linalg.eigvalsh(kernel.total)
    assert kernel.total.shape == (N, N) and eigenvalues.min() >= -1e-12 * eigenvalues.max()
