"""The accuracy table: largest absolute error of a cosine against the dense oracle, for every origin
on every hard trajectory.

Where the tolerances come from, with eps = 1.1e-16 and entries of U wrong by about sqrt(p) * eps
relative to ||d_s|| ||d_t||:

* A cosine of C_tau divides sums of up to n^2 = 3,600 entries of U by two lengths. As long as the
  path is a few times the distances, nothing cancels: some 1e-14. Asked: 1e-12.
* On the orbit the nearest pairs are 1e-3 radii apart while the sums run over entries of size 1 to
  4: n * few eps / 1e-6, that is 1e-9 or so for the worst pair, of which a kernel of increments
  warns; asked: 1e-7. `gram` sees that and takes other differences. With products in float32 (6e-8)
  the same quotient is of order one.
* In float32 each entry of U is wrong by less than 6e-8 relative to its two lengths. Asked: 1e-6.
"""

import functools
import warnings

import numpy as np
import oracle
import pytest
from threadpoolctl import threadpool_limits
from trajectories import ACCURACY_TABLE, N, orbit, random_walk, shrinking_float32

import trajhelpers as th
from trajhelpers.streaming.accelerator import products_on_accelerator
from trajhelpers.streaming.differences import Differences
from trajhelpers.streaming.segments import segments_of

P = 100_000
EASY = [name for name in ACCURACY_TABLE if name != "orbit"]


@functools.lru_cache(maxsize=1)  # one trajectory at a time: its oracle's maps serve both precisions
def truth(name):
    states = ACCURACY_TABLE[name](P)
    theta = oracle.flat(states)
    # two threads of BLAS that wait for each other on a busy machine take a hundred times as long
    with threadpool_limits(1):
        maps = {origin: oracle.cosine(theta, origin) for origin in [None, *range(N)]}
    return states, theta, maps, oracle.angle_cosines(theta)


def worst_map_error(kernel, maps):
    """Largest error over C and all C_tau, with the origin where it happens."""
    errors = {
        origin: np.max(np.abs(kernel.cosine(origin=origin) - expected))
        for origin, expected in maps.items()
    }
    assert all(np.isfinite(error) for error in errors.values()), "NaN in a map"
    return max((error, str(origin)) for origin, error in errors.items())


def worst_angle_error(kernel, expected, series):
    found = np.cos(np.radians(th.angles(kernel)[series]))
    assert found.shape == expected[series].shape
    return np.max(np.abs(found - expected[series]))


class Silent:
    """Stands for the progress bar."""

    def add(self, block):
        pass

    def show(self):
        pass


def by_torch(states, precision):
    """The code for accelerators, run on the CPU."""
    trajectory = th.open_trajectory(states)
    segments = dict(enumerate(segments_of(trajectory, None).values()))
    sums = products_on_accelerator(
        trajectory, segments, Differences(trajectory.links), precision, Silent(), "cpu"
    )
    return th.TrajectoryKernel(
        sums.in_one_unit(len(segments))[0],
        names=trajectory.names,
        precision=precision,
    )


def run(name, precision):
    states, _, maps, angles = truth(name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # no warning where the result is good
        kernel = th.gram(th.open_trajectory(states), device="cpu", precision=precision)
    return kernel, maps, angles


@pytest.mark.parametrize("name", ACCURACY_TABLE)
def test_float64(name):
    limit = 1e-12
    kernel, maps, angles = run(name, "float64")
    assert (kernel.n, kernel.p) == (N, P)
    error, origin = worst_map_error(kernel, maps)
    assert error <= limit, f"C seen from {origin}"
    for series in angles:
        assert worst_angle_error(kernel, angles, series) <= limit, series
    if name != "orbit":  # the same trajectory while its oracle is at hand
        kernel, maps, angles = run(name, "float32")
        error, origin = worst_map_error(kernel, maps)
        assert error <= 1e-6, f"float32, C seen from {origin}"
        for series in angles:
            assert worst_angle_error(kernel, angles, series) <= 1e-6, f"float32, {series}"


def test_float32_warns_on_the_orbit_and_is_wrong_there():
    states, _, maps, _ = truth("orbit")
    errors = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        kernel = th.gram(th.open_trajectory(states), device="cpu", precision="float32")
        for origin in (0, N - 1):
            found = kernel.cosine(origin=origin)
            assert found.shape == maps[origin].shape
            errors.append(np.max(np.abs(found - maps[origin])))
        warned = [str(w.message) for w in caught if issubclass(w.category, th.TrajectoryWarning)]
    assert any("float64" in text for text in warned), "the remedy"
    assert not any("equal" in text for text in warned), "no two of the checkpoints are equal"
    # Off by hundredths and more, or NaN where rounding has left a negative square.
    assert not max(errors) <= 0.01


def test_short_updates_are_not_lost_in_long_ones():
    """What the kernel is for: K in float64 and differences afterwards has no digit left of the last
    updates.
    """
    theta = oracle.flat(shrinking_float32(P))
    K = theta @ theta.T
    lengths_from_K = K[-1, -1] - 2 * K[-1, -2] + K[-2, -2]
    exact = np.sum((theta[-1] - theta[-2]) ** 2)
    assert abs(lengths_from_K - exact) > 10 * exact


@pytest.mark.filterwarnings("ignore:the path is so much longer")
@pytest.mark.parametrize("name", ACCURACY_TABLE)
def test_the_torch_backend(name):
    states = ACCURACY_TABLE[name](20_000)
    theta = oracle.flat(states)
    maps = {origin: oracle.cosine(theta, origin) for origin in (None, 0, 1, 30, N - 1)}
    assert worst_map_error(by_torch(states, "float64"), maps)[0] <= (
        1e-7 if name == "orbit" else 1e-12
    )
    if name != "orbit":
        assert worst_map_error(by_torch(states, "float32"), maps)[0] <= 1e-6


@pytest.mark.parametrize("every", [2, 4, 7])
@pytest.mark.parametrize("name", ["random walk", "shrinking, fp32", "orbit"])
def test_slices_are_as_good_as_coarser_checkpoints(name, every):
    """kernel[::k] against the oracle on every k-th checkpoint alone."""
    states = ACCURACY_TABLE[name](20_000)[::every]
    kernel = th.gram(th.open_trajectory(ACCURACY_TABLE[name](20_000)), device="cpu")[::every]
    theta, limit = oracle.flat(states), 1e-12
    maps = {origin: oracle.cosine(theta, origin) for origin in [None, *range(len(theta))]}
    assert worst_map_error(kernel, maps)[0] <= limit
    expected = oracle.angle_cosines(theta)
    for series in expected:
        assert worst_angle_error(kernel, expected, series) <= limit, series


def test_lengths_keep_their_relative_accuracy():
    """Norms of updates over ten orders of magnitude, each to 1e-12 of itself."""
    states = ACCURACY_TABLE["shrinking, fp64"](P)
    expected = oracle.norms(oracle.flat(states))
    found = th.norms(th.gram(th.open_trajectory(states), device="cpu"))
    for series, values in expected.items():
        np.testing.assert_allclose(found[series], values, rtol=1e-12, err_msg=series)


def test_the_oracle_itself():
    """Against long doubles (64 bits of mantissa) at a size where they are affordable."""
    for make in (shrinking_float32, orbit, random_walk):
        theta = oracle.flat(make(5_000, n=12))
        for origin in (None, 0, 11):
            rows = theta.astype(np.longdouble)
            if origin is not None:
                rows = np.delete(rows - rows[origin], origin, axis=0)
            products = np.array([[np.sum(a * b) for b in rows] for a in rows])
            lengths = np.sqrt(np.diag(products))
            exact = products / np.outer(lengths, lengths)
            assert np.max(np.abs(oracle.cosine(theta, origin) - exact)) < 1e-14
