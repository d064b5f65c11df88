"""A warning names the line of whoever called the package, however deep it is found."""

import warnings

import numpy as np
import pytest

import trajhelpers as th


def walk(n=5):
    rows = np.cumsum(np.random.default_rng(0).standard_normal((n, 500)), axis=0)
    return [{"w": row} for row in rows]


def opened(states, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return th.open_trajectory(states, **options)


def equal():
    states = walk()
    states[3] = {"w": states[2]["w"].copy()}
    return opened(states)


def not_finite():
    states = walk()
    states[3]["w"][::7] = np.nan
    return opened(states, nonfinite="skip-checkpoint")


def still():
    return opened([{**state, "table": np.full(400, 9.0)} for state in walk()])


def of_zeros():
    return th.TrajectoryKernel(np.diag([0.0, 1, 1, 1]))


def mixed():
    states = walk()
    states[1] = {"w": states[1]["w"].astype(np.float32)}
    return states


CASES = {
    "equal": (equal, lambda found: th.gram(found)),
    "equal in a sample": (equal, lambda found: th.gram(found, sample=0.5)),
    "not finite": (not_finite, lambda found: th.gram(found)),
    "not finite in a sample": (not_finite, lambda found: th.gram(found, sample=0.5)),
    "still": (still, lambda found: th.gram(found)),
    "still in a sample": (still, lambda found: th.gram(found, sample=0.5)),
    "no direction, of a method": (of_zeros, lambda found: found.cosine()),
    "no direction, of a function": (of_zeros, lambda found: th.mds(found)),
    "no direction, of a picture": (of_zeros, lambda found: th.plot_map(found)),
    "mixed types": (mixed, lambda found: th.open_trajectory(found)),
}


@pytest.mark.parametrize("name", CASES)
def test_the_line_of_the_caller(name):
    made, call = CASES[name]
    found = made()
    with pytest.warns(th.TrajectoryWarning) as caught:
        call(found)
    for one in caught:
        assert (one.filename, one.lineno) == (__file__, call.__code__.co_firstlineno)
