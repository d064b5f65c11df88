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
