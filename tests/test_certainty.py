"""How far from the truth a number may be: the kernel's own bounds against whole-number arithmetic,
on paths that are made to be hard; sizes at the ends of what float64 holds; fingerprints.

`python tests/test_certainty.py 10000` counts more paths, and prints what the notes say of them.
"""

import hashlib
import sys
import warnings
from collections import defaultdict
from fractions import Fraction

import numpy as np
import pytest
import torch
from exact import ExactPath
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

import trajhelpers as th
from trajhelpers.kernel.certainty import largest_error
from trajhelpers.links import outwards, path_links, shortest_links, ways
from trajhelpers.streaming.fingerprint import Fingerprints, sums_of_torch


def gram_of(theta, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", th.TrajectoryWarning)
        return th.gram(th.open_trajectory([{"w": row} for row in theta]), device="cpu", **options)


# Hard paths


def hard_path(rng):
    """A kind of hard path, and (n, p) points of one."""
    n, p = int(rng.integers(3, 9)), int(rng.choice([1, 2, 3, 10, 50]))
    steps = rng.standard_normal((n, p))
    kind = rng.choice(
        ["outlier", "walk", "shrinking", "far", "orbit", "restart", "line", "sizes", "cluster"]
    )
    if kind == "outlier":
        theta = steps
        theta[rng.integers(n)] *= 10 ** rng.uniform(0, 9)
    elif kind == "walk":
        theta = np.cumsum(steps, axis=0)
    elif kind == "shrinking":
        theta = np.cumsum(steps * 10 ** -(rng.uniform(0, 2) * np.arange(n))[:, None], axis=0)
    elif kind == "far":
        theta = np.cumsum(steps, axis=0) + 10 ** rng.uniform(0, 9) * rng.standard_normal(p)
    elif kind == "orbit":
        turn = rng.choice([rng.uniform(0.1, 3), 2 * np.pi + 10 ** -rng.uniform(1, 7)])
        phase = turn * np.arange(n)
        theta = np.stack([np.cos(phase), np.sin(phase)], 1) @ rng.standard_normal((2, p))
        theta = theta + rng.choice([0, 10]) * rng.standard_normal(p)
    elif kind == "restart":
        theta, begin = np.cumsum(steps, axis=0), int(rng.integers(1, n))
        near = 10 ** -rng.uniform(0, 10) * rng.standard_normal((n - begin, p))
        theta[begin:] = theta[: n - begin] + near
    elif kind == "line":
        lengths = rng.standard_normal(n) * 10 ** rng.uniform(0, 6, n)
        theta = np.outer(lengths, rng.standard_normal(p)) + 10 ** -rng.uniform(0, 10) * steps
    elif kind == "sizes":
        theta = steps * 10 ** rng.uniform(-8, 8, (n, 1))
    else:
        theta = rng.standard_normal(p) + 10 ** -rng.uniform(0, 12) * steps
        theta[:: int(rng.integers(2, 4))] *= 10 ** rng.uniform(0, 6)
    return str(kind), theta


def errors_and_bounds(theta):
    """Of all cosines of maps from all origins, their errors and bounds; and whether the map that
    each is of came with a warning; and the kernel.
    """
    exact, kernel, found = ExactPath(theta), gram_of(theta), []
    for origin in (None, *range(kernel.n)):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            cosine = kernel.cosine(origin)
        warned = any("rounding" in str(one.message) for one in caught)
        start, bound, kept = (
            -1 if origin is None else origin,
            kernel.error_bound(origin=origin),
            kernel.kept(origin),
        )
        for i, s in enumerate(kept):
            for j, t in enumerate(kept[:i]):
                truth = exact.cosine((start, s), (start, t))
                error = abs(float(truth - Fraction(float(cosine[i, j]))))
                found.append((error, bound[i, j], warned))
    return found, kernel


def count(paths, seed):
    rng, of_kind, above, unwarned = np.random.default_rng(seed), defaultdict(list), 0, 0.0
    for _ in range(paths):
        kind, theta = hard_path(rng)
        found, kernel = errors_and_bounds(theta)
        above += any(error > bound for error, bound, _ in found)
        unwarned = max([unwarned, *(error for error, _, warned in found if not warned)])
        largest = max((error for error, *_ in found), default=0)
        if largest > 0:
            bound = max(bound for _, bound, _ in found)
            other = not np.array_equal(kernel.links, path_links(kernel.n))
            of_kind[kind].append((largest, bound, other))
    return of_kind, above, unwarned


def ratio(cases):
    return float(np.median([bound / error for error, bound, _ in cases]))


def test_no_error_is_above_its_bound_and_none_above_1e_9_without_a_warning():
    of_kind, above, unwarned = count(150, seed=1)
    assert above == 0
    assert unwarned < 1e-9
    assert ratio([case for cases in of_kind.values() for case in cases]) < 100
    assert {kind for kind, cases in of_kind.items() if any(other for *_, other in cases)} >= {
        "outlier",
        "restart",
    }


@pytest.mark.slow
def test_the_same_of_1000_paths():
    _, above, unwarned = count(1000, seed=2)
    assert above == 0 and unwarned < 1e-9


def test_a_far_outlier():
    """The issue's: increments of 5e4 add up to differences of 10, and 1.4e-6 was lost."""
    theta = np.random.default_rng(0).standard_normal((6, 50))
    theta[2] *= 5e4
    found, kernel = errors_and_bounds(theta)
    assert max(error for error, *_ in found) < 1e-14
    assert not any(warned for *_, warned in found)
    delta = np.diff(theta, axis=0, prepend=0)
    assert np.allclose(kernel.total, delta @ delta.T, rtol=1e-9)


@pytest.mark.parametrize("measure", [th.mds, th.angles, th.norms])
def test_bounds_of_measures(measure):
    rng = np.random.default_rng(5)
    for _ in range(20):
        _, theta = hard_path(rng)
        kernel, exact = gram_of(theta), ExactPath(theta)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found, bound = measure(kernel), kernel.error_bound(measure)
        if measure is th.mds:
            kept = kernel.kept()
            if len(kept):
                cosines = [[exact.cosine((-1, s), (-1, t)) for s in kept] for t in kept]
                truth = sum(map(sum, cosines)) / len(kept) ** 2
                assert abs(float(truth - Fraction(found))) <= bound
        elif measure is th.norms:
            for t in range(kernel.n):
                truth = exact.length((-1, t))
                error = abs(float(truth - Fraction(float(found["parameters"][t]))))
                assert error <= bound["parameters"][t]
            for t in range(kernel.n - 1):
                truth = exact.length((t, t + 1))
                error = abs(float(truth - Fraction(float(found["updates"][t]))))
                assert error <= bound["updates"][t]
        else:
            for t in range(kernel.n - 2):
                truth = exact.cosine((t + 1, t + 2), (t, t + 1))
                degrees = found["consecutive"][t]
                if truth is not None and np.isfinite(degrees) and abs(truth) < 0.999:
                    error = abs(np.degrees(np.arccos(float(truth))) - degrees)
                    assert error <= bound["consecutive"][t]


def test_a_bound_is_asked_of_a_measure_that_has_one():
    with pytest.raises(ValueError, match="mds, angles, norms"):
        th.random_walk(5).error_bound(th.effective_rank)


def test_a_pass_from_afar_is_not_repeated_but_warned_of():
    """Of a kernel of increments, as one that was fetched is."""
    theta = np.random.default_rng(0).standard_normal((6, 50))
    theta[2] *= 5e4
    delta = np.diff(theta, axis=0, prepend=0)
    kernel = th.TrajectoryKernel(delta @ delta.T, sizes=[50])
    with pytest.warns(th.TrajectoryWarning, match=r"by up to \de-0\d; kernel.error_bound\(\) has"):
        kernel.cosine(origin=0)
    assert largest_error(kernel) > 1e-9


# Links


@given(st.integers(2, 12), st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_shortest_links_take_no_step_longer_than_the_way(n, seed):
    rng = np.random.default_rng(seed)
    points = rng.standard_normal((n + 1, 3)) * 10 ** rng.uniform(-5, 5, (n + 1, 1))
    squared = ((points[:, None] - points) ** 2).sum(2)
    links = shortest_links(squared)
    assert sorted(outwards(links)) == list(range(n)) and (links == -1).sum() == 1
    lengths = np.sqrt(squared[np.arange(n), links])
    way = ways(lengths, links)
    distance = np.sqrt(squared)
    assert (way[:n, :n] <= (n - 1) * distance[:n, :n] * (1 + 1e-12)).all()
    assert (way[n, :n] <= 2 * n * distance[n, :n] * (1 + 1e-12)).all()


@pytest.mark.parametrize("links", [[0, 0], [1, 0], [-1, 2, 1], [-1, 5]])
def test_links_that_are_no_tree(links):
    with pytest.raises((ValueError, IndexError)):
        th.TrajectoryKernel(np.eye(len(links)), links=links)


def test_a_kernel_along_other_links_is_one_of_the_same_path(tmp_path):
    """Saved, sliced, grouped: as of the increments' kernel, where that is certain too."""
    rng = np.random.default_rng(3)
    states = [{"a": rng.standard_normal(40), "b": rng.standard_normal(7)} for _ in range(7)]
    states[3] = {name: 1e6 * values for name, values in states[3].items()}
    kernel = th.gram(th.open_trajectory(states), device="cpu")
    assert not np.array_equal(kernel.links, path_links(7))
    kernel.save(tmp_path / "run.npz")
    theta = np.stack([np.concatenate(list(state.values())) for state in states])
    for one in (kernel, th.load_kernel(tmp_path / "run.npz"), kernel.group_by(".*")):
        for index in (slice(None), slice(1, None, 2), [0, 1, 4, 6]):
            part, exact = one[index], ExactPath(theta[index])
            for origin in (None, 0, part.n - 1):
                start, cosine = -1 if origin is None else origin, part.cosine(origin)
                kept = part.kept(origin).tolist()
                for i, s in enumerate(kept):
                    for j, t in enumerate(kept):
                        truth = exact.cosine((start, s), (start, t))
                        assert abs(float(truth) - cosine[i, j]) < 1e-13
    assert kernel.select("b").cosine(0).shape == (6, 6)


# Very long and very short


@pytest.mark.parametrize("power", [-1000, -540, -300, 0, 300, 500, 1000])
def test_any_size_in_float64(power, tmp_path):
    theta = np.cumsum(np.random.default_rng(0).standard_normal((5, 60)), axis=0)
    kernel, scaled = gram_of(theta), gram_of(np.ldexp(theta, power))
    for origin in (None, 0, 4):
        assert np.array_equal(scaled.cosine(origin), kernel.cosine(origin))
    assert th.mds(scaled) == th.mds(kernel)
    lengths = th.norms(kernel)["updates"]
    assert np.allclose(th.norms(scaled)["updates"], np.ldexp(lengths, power), rtol=1e-15, atol=0)
    scaled.save(tmp_path / "run.npz")
    assert th.mds(th.load_kernel(tmp_path / "run.npz"), 0) == th.mds(kernel, 0)
    assert th.mds(scaled[::2], 0) == th.mds(kernel[::2], 0)


@pytest.mark.parametrize("power", [-120, -74, 0, 60, 100])
@pytest.mark.parametrize("device", ["cpu", "torch"])
def test_any_size_in_float32(power, device, monkeypatch):
    if device == "torch":
        from trajhelpers.streaming.accelerator import products_on_accelerator

        def by_torch(*arguments):
            return products_on_accelerator(*arguments, device="cpu")

        monkeypatch.setattr(sys.modules["trajhelpers.gram"], "choose_device", lambda _: "torch")
        monkeypatch.setattr(
            "trajhelpers.streaming.accelerator.products_on_accelerator",
            lambda *arguments: by_torch(*arguments[:-1]),
        )
    rng = np.random.default_rng(0)
    theta = np.cumsum(rng.standard_normal((5, 60)), axis=0).astype(np.float32)
    expected = gram_of(theta).cosine(0)
    found = gram_of(np.ldexp(theta, power), precision="float32")
    assert abs(found.cosine(0) - expected).max() < 1e-6


def test_rows_of_very_different_size():
    """Far from O and hardly moving: float32 products of 1e-12 beside those of 1."""
    rng = np.random.default_rng(0)
    theta = np.zeros((5, 40))
    theta[:, 0] = 1
    theta[:, 1:] = 1e-25 * np.cumsum(rng.standard_normal((5, 39)), axis=0)
    found, truth = gram_of(theta, precision="float32"), ExactPath(theta)
    cosine = found.cosine(0)
    for s in range(1, 5):
        for t in range(1, 5):
            assert abs(cosine[s - 1, t - 1] - float(truth.cosine((0, s), (0, t)))) < 1e-6


def test_groups_whose_sum_would_overflow():
    walk = th.random_walk(6).increments
    kernel = th.TrajectoryKernel(np.concatenate([walk * 1.2e307] * 40), names=map(str, range(40)))
    assert th.mds(kernel, 0) == pytest.approx(th.mds(th.random_walk(6), 0), rel=1e-13)


# Fingerprints


def written(folder, states):
    for step, state in enumerate(states):
        save_file(state, folder / f"step_{step}.safetensors")
    return folder


def test_fingerprints_do_not_ask_how_numbers_are_stored(tmp_path):
    rng = torch.Generator().manual_seed(0)
    states = [
        {"a": torch.randn(70, 300, generator=rng).bfloat16(), "b": torch.randn(11, generator=rng)}
        for _ in range(3)
    ]
    whole = th.gram(th.open_trajectory(states), device="cpu").source["digests"]
    assert len(set(whole)) == 3 and all(len(digest) == 16 for digest in whole)
    other = [{name: tensor.float() for name, tensor in state.items()} for state in states]
    groups = {"one": [("b", 0, None), ("a", 5, None)], "two": [("a", 0, 5)]}
    for kernel in (
        th.gram(th.open_trajectory(written(tmp_path, states)), device="cpu"),
        th.gram(th.open_trajectory(other), device="cpu"),
        th.gram(th.open_trajectory(states), device="cpu", precision="float32"),
        th.gram(th.open_trajectory(states), device="cpu", groups=groups),
        th.gram(th.open_trajectory(states), device="cpu", partial=None),
    ):
        assert kernel.source["digests"] == whole
    part = th.gram(th.open_trajectory(states), device="cpu", groups={"some": [("a", 0, 9)]})
    assert "digests" not in part.source


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "change", ["a bit", "a sign", "two signs", "all signs", "two swapped", "zeros"]
)
def test_fingerprints_tell_other_numbers(change, dtype):
    rng = np.random.default_rng(0)
    theta = rng.standard_normal((2, 1000)).astype(dtype)
    before = gram_of(theta).source["digests"]
    row = theta[1]
    if change == "a bit":
        row[500] = np.nextafter(row[500], dtype(9))
    elif change == "a sign":
        row[7] *= -1
    elif change == "two signs":
        row[[7, 9]] *= -1
    elif change == "all signs":
        row *= -1
    elif change == "two swapped":
        row[[3, 4]] = row[[4, 3]]
    else:
        row[990:] = 0
    after = gram_of(theta).source["digests"]
    assert after[0] == before[0] and after[1] != before[1]


def mixed(number):
    """SplitMix64's, in whole numbers."""
    number = (number ^ number >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    number = (number ^ number >> 27) * 0x94D049BB133111EB % 2**64
    return (number ^ number >> 31) | 1


def weight(name, word):
    seed = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")
    window, place = divmod(word, 8192)
    step = 0x9E3779B97F4A7C15
    return mixed((seed + window * step) % 2**64) * mixed(place * step % 2**64)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_fingerprints_are_what_they_are_said_to_be(dtype):
    row = np.random.default_rng(0).standard_normal(20_003).astype(dtype)
    wide, names = dtype == np.float64, {"a": row[:17_001], "b": row[17_001:]}
    truth = 0
    for name, numbers in names.items():
        bits = numbers.view(np.uint64 if wide else np.uint32).tolist()
        if not wide:
            bits = [low + (high << 32) for low, high in zip(bits[::2], [*bits[1::2], 0])]
        truth += sum(weight(name, word) * (x + (x >> 33)) for word, x in enumerate(bits))
    cuts = [("b", 5, 3_002), ("a", 0, 6_999), ("a", 6_999, 17_001), ("b", 0, 5)]
    prints, on_device = Fingerprints(1, 20_003, wide), torch.zeros(1, dtype=torch.int64)
    for block in (cuts[:2], cuts[2:3], cuts[3:]):
        theta = np.concatenate([names[name][start:stop] for name, start, stop in block])[None]
        prints.add(theta, block)
        on_device += sums_of_torch(torch.from_numpy(theta), block, wide)
    assert prints.prints.tolist() == [truth % 2**64]
    assert on_device.numpy().view(np.uint64).tolist() == [truth % 2**64]


if __name__ == "__main__":
    paths = int(sys.argv[1])
    of_kind, above, unwarned = count(paths, seed=int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    for kind, cases in sorted(of_kind.items()):
        worst, bound = max(error for error, *_ in cases), max(bound for _, bound, _ in cases)
        others = sum(other for *_, other in cases)
        print(
            f"{kind:10} {len(cases):6} paths, largest error {worst:.1e}, largest bound {bound:.1e},"
            f" median bound/error {ratio(cases):.0f}, along other links {others}"
        )
    every = [case for cases in of_kind.values() for case in cases]
    print(
        f"{paths} paths: {above} above their bound, median bound/error {ratio(every):.0f}, largest"
        f" error without a warning {unwarned:.1e}"
    )
