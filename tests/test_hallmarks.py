"""Every hallmark against the oracle and against closed forms."""

import json
import warnings

import numpy as np
import oracle
import pytest
from trajectories import ACCURACY_TABLE

import trajhelpers as th
from trajhelpers.__main__ import main

P = 4_000
DEGREES = 3e-6  # a cosine of 1 that is wrong by two ulps is an angle of 1.2e-6 degrees


def kernel_of(theta):
    """A kernel by way of the whole pipeline."""
    return th.gram(
        th.open_trajectory([{"w": row} for row in np.asarray(theta, dtype=np.float64)]),
        device="cpu",
    )


@pytest.fixture(
    scope="module", params=["random walk", "noisy line", "from afar", "fp16", "shrinking, fp32"]
)
def pair(request):
    states = ACCURACY_TABLE[request.param](P, n=17)
    return th.gram(th.open_trajectory(states), device="cpu"), oracle.flat(states)


@pytest.mark.parametrize("origin", [None, 0, 5, 16])
def test_mds(pair, origin):
    kernel, theta = pair
    assert abs(th.mds(kernel, origin=origin) - oracle.mds(theta, origin)) < 1e-12


@pytest.mark.parametrize("stride", [1, 2, 5, 8])
def test_angles(pair, stride):
    kernel, theta = pair
    found, expected = th.angles(kernel, stride=stride), oracle.angle_cosines(theta, stride)
    assert list(found) == list(expected)
    for series, cosines in expected.items():
        assert found[series].shape == cosines.shape, series
        np.testing.assert_allclose(
            np.cos(np.radians(found[series])), cosines, rtol=0, atol=1e-12, err_msg=series
        )


@pytest.mark.parametrize("stride", [1, 3])
def test_norms(pair, stride):
    kernel, theta = pair
    found, expected = th.norms(kernel, stride=stride), oracle.norms(theta, stride)
    assert list(found) == list(expected)
    for series, values in expected.items():
        assert found[series].shape == values.shape, series
        np.testing.assert_allclose(found[series], values, rtol=1e-12, err_msg=series)


@pytest.mark.parametrize("origin", [0, 7, 16])
def test_spectra(pair, origin):
    kernel, theta = pair
    found, expected = th.spectra(kernel, origin=origin), oracle.spectra(theta, origin)
    assert list(found) == list(expected)
    for name, values in expected.items():
        assert found[name].shape == values.shape and np.all(np.diff(found[name]) <= 0), name
        np.testing.assert_allclose(
            found[name], values, rtol=0, atol=1e-12 * values[0], err_msg=name
        )
        assert abs(th.effective_rank(found[name]) - oracle.effective_rank(values)) < 1e-10, name


def test_path_ratio(pair):
    kernel, theta = pair
    assert abs(th.path_ratio(kernel) / oracle.path_ratio(theta) - 1) < 1e-12


@pytest.mark.parametrize("k", [1, 2, 3])
def test_principal_components(pair, k):
    kernel, theta = pair
    coordinates, shares = th.principal_components(kernel, k=k)
    expected, expected_shares = oracle.principal_components(theta, k)
    assert coordinates.shape == (17, k)
    np.testing.assert_allclose(shares, expected_shares[: len(shares)], rtol=0, atol=1e-12)
    signs = np.sign(np.sum(coordinates * expected, axis=0))  # an axis has no sign of its own
    # as singular vectors: good to 1e-16 over the gap between neighbouring shares, with room
    gap = np.min(np.abs(np.diff(expected_shares[: k + 1])))
    np.testing.assert_allclose(
        coordinates * signs, expected, rtol=0, atol=1e-13 / gap * np.abs(expected).max()
    )


# Closed forms


def test_right_angles_and_turns():
    """A walk round a square: every angle is known."""
    theta = [[1, 1], [1, 2], [2, 2], [2, 1]]
    found = th.angles(kernel_of(theta))
    np.testing.assert_allclose(found["consecutive"], [90, 90], atol=1e-10)
    np.testing.assert_allclose(
        found["update_position"], [45, np.degrees(np.arctan2(2, 1)), 135], atol=1e-10
    )
    np.testing.assert_allclose(found["update_total"], [90, 0, 90], atol=DEGREES)
    np.testing.assert_allclose(found["progress_total"], [90, 45, 0], atol=DEGREES)
    np.testing.assert_allclose(found["apex_initialization"], [0, 45, 90], atol=DEGREES)
    np.testing.assert_allclose(
        found["apex_origin"],
        [0, np.degrees(np.arctan2(1, 3)), 0, np.degrees(np.arctan2(1, 3))],
        atol=DEGREES,
    )


def test_a_line_from_the_origin_and_one_past_it():
    ray = kernel_of(np.outer([1, 2, 4, 8], [3.0, 4.0]))
    assert th.mds(ray) == pytest.approx(1, abs=1e-15) and th.mds(ray, origin=0) == pytest.approx(
        1, abs=1e-15
    )
    past = kernel_of([[-2, 1], [0, 1], [1, 1]])
    assert th.mds(past, origin=0) == pytest.approx(1, abs=1e-15) and th.mds(past) < 0.6


def test_going_back_is_180_degrees():
    """cos = -1 exactly: rounding past it must not give NaN."""
    rng = np.random.default_rng(0)
    for _ in range(50):
        a = rng.standard_normal(7)
        found = th.angles(kernel_of([a, 2 * a, 0.5 * a, 3 * a]))
        np.testing.assert_allclose(found["consecutive"], [180, 180], atol=DEGREES)
        np.testing.assert_allclose(found["apex_origin"], 0, atol=DEGREES)


@pytest.mark.parametrize("n", [5, 12, 60])
def test_a_circle_around_the_origin(n):
    """0 when evenly sampled, 1/n^2 when its end repeats its start (a unit vector is left over)."""
    phase = 2 * np.pi * np.arange(n) / n
    assert abs(th.mds(kernel_of(np.c_[np.cos(phase), np.sin(phase)]))) < 1e-15
    phase = np.linspace(0, 2 * np.pi, n) + 1e-12  # not bitwise the same point
    assert th.mds(kernel_of(np.c_[np.cos(phase), np.sin(phase)])) == pytest.approx(
        1 / n**2, abs=1e-14
    )


def test_effective_rank():
    assert th.effective_rank([2.0, 2.0, 2.0]) == pytest.approx(3)
    assert th.effective_rank([5.0, 0.0, 0.0, 0.0]) == pytest.approx(1)
    assert th.effective_rank([3.0, 1.0]) == pytest.approx(1.6)


def test_orthogonal_rows():
    """The identity as trajectory: all spectra and omega in closed form."""
    n = 6
    kernel = kernel_of(np.eye(n))
    np.testing.assert_allclose(th.spectra(kernel)["K"], 1, atol=1e-14)
    assert th.mds(kernel) == pytest.approx(1 / n)
    # rows e_t - e_0: ones off the diagonal, twos on it
    np.testing.assert_allclose(th.spectra(kernel)["K0"], [n, 1, 1, 1, 1], atol=1e-13)
    assert th.mds(kernel, origin=0) == pytest.approx((1 + 0.5 * (n - 2)) / (n - 1))
    assert th.path_ratio(kernel) == pytest.approx(n - 1)


def test_a_constant_scale_changes_no_angle():
    theta = oracle.flat(ACCURACY_TABLE["random walk"](P, n=9))
    for scale in (1e-90, 1e90):  # squares of 1e180 are still float64, their products are not
        small, plain = kernel_of(scale * theta), kernel_of(theta)
        assert th.mds(small) == pytest.approx(th.mds(plain), abs=1e-13)
        for series, values in th.angles(plain).items():
            np.testing.assert_allclose(
                np.cos(np.radians(th.angles(small)[series])), np.cos(np.radians(values)), atol=1e-12
            )


# Checkpoints equal to the origin have no direction


def test_a_copy_of_initialization():
    """All of Pythia's full schedule: theta_1 = theta_0."""
    rng = np.random.default_rng(1)
    theta = rng.standard_normal((6, 30))
    theta[1] = theta[0]
    with pytest.warns(th.TrajectoryWarning):
        kernel = kernel_of(theta)
    with pytest.warns(th.TrajectoryWarning, match="1"):
        assert list(kernel.kept(0)) == [2, 3, 4, 5] or len(kernel.cosine(origin=0)) == 4
        np.testing.assert_allclose(kernel.cosine(origin=0), oracle.cosine(theta, 0), atol=1e-13)
    with pytest.warns(th.TrajectoryWarning):
        assert th.mds(kernel, origin=0) == pytest.approx(oracle.mds(theta, 0), abs=1e-13)
    with pytest.warns(th.TrajectoryWarning):
        assert [len(values) for values in th.spectra(kernel).values()] == [6, 6, 4, 4]
    with pytest.warns(th.TrajectoryWarning) as caught:
        found = th.angles(kernel)
    assert any("checkpoint 1" in str(w.message) and "leave" in str(w.message) for w in caught), (
        "which one to leave out"
    )
    for series, cosines in oracle.angle_cosines(theta).items():
        assert list(np.isnan(found[series])) == list(np.isnan(cosines)), series
        np.testing.assert_allclose(np.cos(np.radians(found[series])), cosines, atol=1e-12)
    assert np.isnan(found["apex_initialization"]).all()


def test_the_end_back_at_the_start():
    """theta_T = theta_0 exactly: no total way, so two whole series are undefined; the others are
    not.
    """
    theta = np.array([[1.0, 0], [0, 1], [-1, 0], [0, -1], [1, 0]])
    with pytest.warns(th.TrajectoryWarning):
        kernel = kernel_of(theta)
        found = th.angles(kernel)
    assert np.isnan(found["update_total"]).all() and np.isnan(found["progress_total"]).all()
    np.testing.assert_allclose(found["consecutive"], 90, atol=1e-12)
    with pytest.warns(th.TrajectoryWarning, match="4"):
        assert kernel.cosine(origin=0).shape == (3, 3)
    assert not np.isfinite(th.path_ratio(kernel))


def test_a_return_is_found_although_increments_cancel():
    """theta_3 = theta_0, reached by increments whose products sum to some 1e-16, of either sign,
    and not to zero.
    """
    for seed in range(20):
        theta = np.random.default_rng(seed).standard_normal((5, 100))
        theta[3] = theta[0]
        with pytest.warns(th.TrajectoryWarning):
            kernel = kernel_of(theta)
            maps = {origin: kernel.cosine(origin=origin) for origin in (0, 3)}
        for origin, found in maps.items():
            assert found.shape == (3, 3), seed
            np.testing.assert_allclose(found, oracle.cosine(theta, origin), atol=1e-12)


def test_zero_weights_at_initialization():
    """theta_0 = 0 is equal to O."""
    theta = np.array([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 1]])
    kernel = kernel_of(theta)
    with pytest.warns(th.TrajectoryWarning, match="0"):
        np.testing.assert_allclose(kernel.cosine(), oracle.cosine(theta), atol=1e-14)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", th.TrajectoryWarning)  # may warn
        found = th.angles(kernel)
    assert np.isnan(found["apex_origin"]).all() and np.isnan(found["update_position"][0])
    np.testing.assert_allclose(found["consecutive"], 90, atol=1e-12)


@pytest.mark.parametrize("bad", [-1.5, 4, 99, "last"])
def test_origins_outside_the_trajectory(bad):
    kernel = kernel_of(np.eye(4))
    with pytest.raises((IndexError, TypeError, ValueError)):
        th.mds(kernel, origin=bad)


@pytest.mark.parametrize("bad", [0, -1])
def test_strides_that_make_no_sense(bad):
    with pytest.raises(ValueError):
        th.angles(kernel_of(np.eye(5)), stride=bad)


def test_two_checkpoints_are_enough():
    kernel = kernel_of([[1.0, 0], [0, 1]])
    found = th.angles(kernel)
    assert [len(v) for v in found.values()] == [0, 1, 1, 1, 1, 2]
    assert th.mds(kernel) == pytest.approx(0.5) and th.mds(kernel, origin=0) == pytest.approx(1)


# The command line's object


def lengths(found):
    flat = {key: found[key] for key in ("n", "p")}
    flat.update({f"angles.{k}": len(v) for k, v in found["angles"].items()})
    flat.update({f"norms.{k}": len(v) for k, v in found["norms"].items()})
    flat.update({f"spectra.{k}": len(v) for k, v in found["spectra"].items()})
    return flat


@pytest.mark.parametrize("origin", [None, 0, 3, 8])
def test_json(tmp_path, capsys, origin):
    n, p = 9, 40
    theta = np.random.default_rng(3).standard_normal((n, p))
    kernel_of(theta).save(tmp_path / "run.npz")
    options = [] if origin is None else ["--origin", str(origin)]
    assert main(["hallmarks", str(tmp_path / "run.npz"), "--json", *options]) in (None, 0)
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {"n", "p", "steps", "mds", "relative_mds", "angles", "norms", "spectra"}
    assert lengths(found) == {
        "n": n,
        "p": p,
        "angles.consecutive": n - 2,
        "angles.update_position": n - 1,
        "angles.update_total": n - 1,
        "angles.progress_total": n - 1,
        "angles.apex_initialization": n - 1,
        "angles.apex_origin": n,
        "norms.parameters": n,
        "norms.updates": n - 1,
        "norms.from_initialization": n - 1,
        "spectra.K": n,
        "spectra.C": n,
        "spectra.K0": n - 1,
        "spectra.C0": n - 1,
    }
    tau = origin or 0
    assert found["steps"] == list(range(n))
    assert abs(found["mds"] - oracle.mds(theta)) < 1e-13
    assert abs(found["relative_mds"] - oracle.mds(theta, tau)) < 1e-13
    # angles and norms do not depend on --origin
    for series, cosines in oracle.angle_cosines(theta).items():
        np.testing.assert_allclose(
            np.cos(np.radians(found["angles"][series])), cosines, atol=1e-13, err_msg=series
        )
    for series, values in oracle.norms(theta).items():
        np.testing.assert_allclose(found["norms"][series], values, rtol=1e-13, err_msg=series)
    for name, values in oracle.spectra(theta, tau).items():
        np.testing.assert_allclose(
            found["spectra"][name], values, atol=1e-13 * values[0], err_msg=name
        )
    # full double precision: the text gives back the very numbers
    assert found["mds"] == th.mds(th.load_kernel(tmp_path / "run.npz"))
    # and the same object from Python
    assert set(th.hallmarks(kernel_of(theta))) == set(found)


def test_json_of_a_copied_initialization(tmp_path, capsys):
    """Undefined values are null, never NaN, which is no JSON; the warning goes where it does not
    spoil the object.
    """
    theta = np.random.default_rng(4).standard_normal((5, 20))
    theta[1] = theta[0]
    with pytest.warns(th.TrajectoryWarning):
        kernel_of(theta).save(tmp_path / "run.npz")
    assert main(["hallmarks", str(tmp_path / "run.npz"), "--json"]) in (None, 0)
    out, err = capsys.readouterr()
    found = json.loads(out, parse_constant=lambda word: pytest.fail(f"{word} in JSON"))
    assert found["angles"]["apex_initialization"] == [None] * 4
    assert (
        found["angles"]["consecutive"][0] is None and found["angles"]["progress_total"][0] is None
    )
    assert len(found["spectra"]["K0"]) == len(found["spectra"]["C0"]) == 3
    assert found["relative_mds"] == pytest.approx(oracle.mds(theta, 0), abs=1e-13)
    assert "1" in err
