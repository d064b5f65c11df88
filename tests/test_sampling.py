"""A preview: without bias, with its error, continued without reading twice, and never shown as
exact.
"""

import json
from itertools import permutations

import numpy as np
import pytest
import torch
from hub_runs import checkpoint
from standin_hub import StandInHub

import trajhelpers as th
from trajhelpers.__main__ import main
from trajhelpers.gram import cost
from trajhelpers.sources.remote import files as _files
from trajhelpers.streaming import sampling


def walk(n=6, seed=0, kind=np.float64, **shapes):
    """Tensors of several scales, of which some directions move more than others."""
    generator = np.random.default_rng(seed)
    shapes = shapes or {"embed": (60, 50), "head": (40, 50), "norm": (50,), "scale": ()}
    theta = {
        name: generator.standard_normal(shape) * np.exp(generator.standard_normal())
        for name, shape in shapes.items()
    }
    states = []
    for _ in range(n):
        states.append({name: np.asarray(one, kind) for name, one in theta.items()})
        theta = {
            name: one + 0.3 * np.exp(generator.standard_normal(one.shape)) - 0.1 * one
            for name, one in theta.items()
        }
    return states


def opened(**options):
    return th.open_trajectory(walk(**options))


def increments_of(states, name, begin=0, end=None):
    """The oracle: of the columns of one tensor, the Gram matrix of increments."""
    theta = np.stack([np.asarray(state[name], float).ravel()[begin:end] for state in states])
    delta = np.diff(theta, axis=0, prepend=0)
    return delta @ delta.T


# Without bias


@pytest.fixture
def every_order(monkeypatch):
    """Of four blocks, each of the 24 orders, by the seed."""
    orders = list(permutations(range(4)))
    monkeypatch.setattr(
        sampling,
        "order_of",
        lambda name, seed, count: np.array(orders[seed]) if count == 4 else np.arange(count),
    )
    return range(len(orders))


@pytest.mark.parametrize("share, most", [(0.5, 512), (0.75, 512), (0.75, 2)])
def test_products_and_their_variance_are_without_bias_over_all_draws(
    every_order, monkeypatch, share, most
):
    """Two and three of four blocks; three of them in cells of two and of one."""
    monkeypatch.setattr(sampling, "_MOST_CELLS", most)
    monkeypatch.setattr(sampling, "_LEAST_CELLS", most)
    trajectory = opened(w=(4, 64), b=(5,))
    exact = th.gram(trajectory).total
    several = [th.gram(trajectory, sample=share, seed=seed) for seed in every_order]
    found = np.stack([kernel.total for kernel in several])
    assert np.ptp(found[:, 0, 0]) > 0.01 * exact[0, 0]
    np.testing.assert_allclose(found.mean(0), exact, rtol=1e-12)
    claimed = [kernel.standard_error(lambda one: one.total) ** 2 for kernel in several]
    true = ((found - exact) ** 2).mean(0)
    np.testing.assert_allclose(np.mean(claimed, axis=0), true, rtol=1e-10)


def test_the_mean_over_seeds_is_exact_to_within_its_own_error():
    trajectory = opened()
    exact = th.gram(trajectory).increments
    found = np.stack([th.gram(trajectory, sample=0.1, seed=seed).increments for seed in range(40)])
    off = (found.mean(0) - exact)[:2]
    error = found.std(0)[:2] / np.sqrt(len(found))
    # 42 numbers that go together more or less: none beyond 4 of its errors.
    assert np.all(np.abs(off) < 4 * error)
    np.testing.assert_allclose(found[:, 2:] - exact[2:], 0, atol=1e-9)


def test_orders_are_permutations_without_preference():
    counts = np.zeros((5, 5))
    for seed in range(1000):
        order = sampling.order_of("w", seed, 5)
        assert sorted(order) == list(range(5))
        counts[np.arange(5), order] += 1
    # 25 numbers, each 200 but for sqrt(160).
    assert np.all(np.abs(counts - 200) < 4.5 * np.sqrt(160))
    assert sampling.order_of("w", 0, 9).tolist() != sampling.order_of("v", 0, 9).tolist()


def test_orders_stay_what_they_are():
    """Or samples could not be continued by another version."""
    assert sampling.order_of("w", 0, 8).tolist() == ORDER


ORDER = [6, 7, 5, 3, 2, 0, 4, 1]


# Which numbers


def test_small_tensors_are_whole_and_large_ones_in_equal_shares():
    kernel = th.gram(opened(), sample=0.1)
    assert kernel.sample.block == 64
    assert kernel.sample.blocks.tolist() == [47, 32, 1, 1]
    assert kernel.sample.drawn.tolist() == [5, 3, 1, 1]
    assert th.gram(opened(), sample=0.001).sample.drawn.tolist() == [2, 2, 1, 1]


def test_a_smaller_sample_is_the_beginning_of_a_larger_one():
    for smaller, larger in ((0.05, 0.1), (0.1, 0.5), (0.5, 0.9)):
        parts = [
            sampling.draw(opened(), {"embed": [("embed", 0, 3000)]}, share, 0, 64, {})
            for share in (smaller, larger)
        ]
        few, many = (
            {column for s in part.segments.values() for _, a, b in s for column in range(a, b)}
            for part in parts
        )
        assert few < many


def test_a_kernel_is_of_just_the_blocks_that_come_first():
    states = walk()
    kernel = th.gram(th.open_trajectory(states), sample=0.1, seed=3)
    edges = 3000 * np.arange(48) // 47
    drawn = sampling.order_of("embed", 3, 47)[:5]
    sums = sum(increments_of(states, "embed", edges[i], edges[i + 1]) for i in drawn)
    np.testing.assert_allclose(kernel.groups()["embed"].total, 47 / 5 * sums, rtol=1e-12)
    np.testing.assert_allclose(
        kernel.groups()["norm"].total, increments_of(states, "norm"), rtol=1e-12
    )


def test_bytes_are_a_limit():
    trajectory = opened()
    for limit in (100_000, 60_000, 30_000):
        kernel = th.gram(trajectory, sample=limit)
        read = kernel.sample.numbers.sum() * trajectory.n * 8
        assert 0.8 * limit < read <= limit * 1.01
    with pytest.raises(ValueError, match=r"two blocks.*14,\d\d\d bytes \(6 %"):
        th.gram(trajectory, sample=10_000)
    assert th.gram(trajectory, sample=10**9).sample is None


def test_all_is_exact():
    trajectory = opened()
    for share in (1, 1.0, None):
        kernel = th.gram(trajectory, sample=share)
        assert kernel.sample is None and kernel.source["digests"]


@pytest.mark.parametrize("wrong", [0, -1, 1.5, True, "1%", float("nan"), 2.0])
def test_what_is_no_sample(wrong):
    with pytest.raises(ValueError, match=r"sample: expected a fraction.*bytes"):
        th.gram(opened(), sample=wrong)


def test_ranges_of_groups_are_sampled_end_to_end():
    """As those of query, key and value are."""
    states = walk()
    halves = {
        "even": [("embed", 0, 500), ("embed", 1000, 1500)],
        "odd": [("embed", 500, 1000), ("head", 0, 2000)],
    }
    trajectory = th.open_trajectory(states)
    exact = th.gram(trajectory, groups=halves)
    found = np.stack(
        [th.gram(trajectory, groups=halves, sample=0.3, seed=s).increments for s in range(20)]
    )
    off, error = found.mean(0) - exact.increments, found.std(0) / np.sqrt(20)
    assert np.all(np.abs(off) < 5 * error)
    continued = th.gram(
        trajectory, groups=halves, begun=th.gram(trajectory, groups=halves, sample=0.2)
    )
    np.testing.assert_allclose(continued.increments, exact.increments, rtol=1e-12)


# Its error


def test_the_jackknife_leaves_out_one_block_at_a_time():
    """The oracle puts each kernel together from its blocks."""
    states = walk()
    kernel = th.gram(th.open_trajectory(states), sample=0.15)
    blocks, whole = {}, np.zeros((6, 6))
    for name, size, count in (("embed", 3000, 47), ("head", 2000, 32)):
        edges = size * np.arange(count + 1) // count
        drawn = sampling.order_of(name, 0, count)[: round(0.15 * count)]
        blocks[name] = count, [increments_of(states, name, edges[i], edges[i + 1]) for i in drawn]
    for name in ("norm", "scale"):
        whole += increments_of(states, name)

    def measured(chosen):
        total = whole + sum(count * np.mean(several, axis=0) for count, several in chosen.values())
        return th.mds(th.TrajectoryKernel(total), 0)

    variance = 0
    for name, (count, several) in blocks.items():
        m = len(several)
        for left_out in range(m):
            rest = several[:left_out] + several[left_out + 1 :]
            off = measured(blocks | {name: (count, rest)}) - measured(blocks)
            variance += (1 - m / count) * (m - 1) / m * off**2
    assert measured(blocks) == pytest.approx(th.mds(kernel, 0), rel=1e-12)
    assert kernel.standard_error(th.mds, origin=0) == pytest.approx(np.sqrt(variance), rel=1e-8)


def test_errors_have_the_form_of_what_they_are_of():
    kernel = th.gram(opened(), sample=0.2)
    error = kernel.standard_error(th.mds)
    assert isinstance(error, float) and 0 < error < 0.1
    assert kernel.standard_error(lambda one: one.cosine()).shape == (6, 6)
    angles = kernel.standard_error(th.angles)
    assert {name: len(one) for name, one in angles.items()} == {
        name: len(one) for name, one in th.angles(kernel).items()
    }
    only = kernel.standard_error(lambda one: th.angles(one)["consecutive"])
    np.testing.assert_array_equal(only, angles["consecutive"])
    exact = th.gram(opened())
    assert exact.standard_error(th.mds) == 0
    assert not exact.standard_error(lambda one: one.cosine()).any()
    with pytest.raises(TypeError, match="measure.*number"):
        kernel.standard_error(repr)
    sizes = iter(range(3, 1000))
    with pytest.raises(ValueError, match="another shape"):
        kernel.standard_error(lambda one: np.zeros(next(sizes)))


def coverage(states, share, draws, measure):
    """Of draws, in how many the truth is within 1.96 standard errors."""
    trajectory = th.open_trajectory(states)
    truth = measure(th.gram(trajectory))
    within = []
    for seed in range(draws):
        kernel = th.gram(trajectory, sample=share, seed=seed)
        within.append(abs(measure(kernel) - truth) <= 1.96 * kernel.standard_error(measure))
    return np.mean(within, axis=0)


def omegas(kernel):
    return np.array([th.mds(kernel), th.mds(kernel, 0)])


def test_intervals_cover_as_often_as_they_say():
    """40 draws: of 95 %, 85 to 100."""
    assert np.all(coverage(walk(n=4), 0.3, 40, omegas) >= 0.85)


def replica(n=8, seed=0):
    """A run in small: matrices of several scales, of which some rows and some columns move more
    than others, embeddings of which common words' rows move most, norms near one, biases near zero.
    """
    generator = np.random.default_rng(seed)
    shapes = {f"layers.{layer}.{part}": (64, 96) for layer in range(4) for part in ("up", "down")}
    shapes |= {"embed.weight": (400, 64), "head.weight": (400, 64)}
    theta = {name: 0.05 * generator.standard_normal(shape) for name, shape in shapes.items()}
    spread = {
        name: 0.02
        * np.exp(0.5 * generator.standard_normal((shape[0], 1)))
        * np.exp(0.5 * generator.standard_normal(shape[1]))
        for name, shape in shapes.items()
    }
    for name in ("embed.weight", "head.weight"):
        spread[name] *= 3 / np.sqrt(1 + np.arange(400)[:, None])
    for layer in range(4):
        theta |= {f"layers.{layer}.norm": np.ones(96), f"layers.{layer}.bias": np.zeros(96)}
        spread |= {f"layers.{layer}.norm": 0.02, f"layers.{layer}.bias": 0.02}
    states, drift = [], {name: generator.standard_normal(one.shape) for name, one in theta.items()}
    for _ in range(n):
        states.append({name: one.copy() for name, one in theta.items()})
        for name, one in theta.items():
            one += spread[name] * (drift[name] + generator.standard_normal(one.shape)) / 2
    return states


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.08, 0.15])
def test_intervals_cover_between_90_and_97_percent(share):
    """100 draws, of which one entry's share has a standard deviation of 2 %; the mean over all of
    each kind, which go together in part, less.
    """

    def measures(kernel):
        angles = th.angles(kernel)
        several = [
            omegas(kernel),
            kernel.cosine()[np.triu_indices(kernel.n, 1)],
            np.concatenate([angles["consecutive"], angles["update_total"]]),
        ]
        return np.concatenate(several)

    within = coverage(replica(), share, 100, measures)
    kinds = within[:2], within[2:30], within[30:]
    means = [float(kind.mean()) for kind in kinds]
    assert all(0.89 <= mean <= 0.985 for mean in means), means
    assert np.mean(means) == pytest.approx(0.935, abs=0.035), means


# Parts


def test_parts_of_a_kernel_are_of_their_part_of_the_sample():
    states = walk(n=7)
    kernel = th.gram(th.open_trajectory(states), sample=0.2)
    fewer = th.gram(th.open_trajectory(states[::2]), sample=0.2)
    np.testing.assert_allclose(kernel[::2].increments, fewer.increments, rtol=1e-11)
    assert kernel[::2].standard_error(th.mds) == pytest.approx(fewer.standard_error(th.mds))
    alone = kernel.select("embed")
    assert alone.sample.drawn.tolist() == [9]
    assert repr(kernel.groups()["embed"]) == repr(alone)
    assert kernel.groups()["embed"].standard_error(th.mds) == alone.standard_error(th.mds) > 0
    assert kernel.select(["norm", "scale"]).sample is None
    merged = kernel.group_by("e")
    assert merged.names == ("e", "other")
    assert merged.standard_error(th.mds) == pytest.approx(kernel.standard_error(th.mds))
    assert merged.groups()["e"].standard_error(th.norms)["updates"] == pytest.approx(
        np.hypot(
            *(
                kernel.select(name).standard_error(lambda one: np.diag(one.total)[1:])
                for name in ("embed", "head")
            )
        )
        / (2 * th.norms(merged.groups()["e"])["updates"]),
        rel=0.1,
    )
    assert th.gram(opened(n=7), sample=0.2).moving().sample is not None


def test_a_set_of_models():
    models = dict(zip("abcd", walk(n=5)[1:]))
    opened = th.open_models(models, base=walk()[0])
    exact, kernel = th.gram(opened), th.gram(opened, sample=0.2)
    assert "from 20 % of the parameters" in repr(kernel)
    assert abs(th.mds(kernel) - th.mds(exact)) < 4 * kernel.standard_error(th.mds)
    some = kernel[["d", "b"]]
    assert 0 < some.standard_error(th.mds) < 0.1
    continued = th.gram(opened, begun=kernel)
    np.testing.assert_allclose(continued.differences, exact.differences, rtol=1e-12, atol=1e-12)


# Continued


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_a_preview_is_continued(tmp_path, kind):
    trajectory = opened(kind=kind)
    exact = th.gram(trajectory)
    first = th.gram(trajectory, sample=0.05, seed=2)
    first.save(tmp_path / "first.npz")
    second = th.gram(trajectory, sample=0.4, begun=th.load_kernel(tmp_path / "first.npz"))
    at_once = th.gram(trajectory, sample=0.4, seed=2)
    np.testing.assert_allclose(second.increments, at_once.increments, rtol=1e-12)
    assert second.standard_error(th.mds) == pytest.approx(at_once.standard_error(th.mds))
    assert repr(second) == repr(at_once)
    last = th.gram(trajectory, begun=second)
    assert last.sample is None and repr(last) == repr(exact)
    assert last.source["digests"] == exact.source["digests"]
    lengths = np.sqrt(np.diag(exact.total))
    assert np.abs((last.total - exact.total) / np.outer(lengths, lengths)).max() < 1e-12


def test_only_of_the_same_checkpoints(tmp_path):
    states = walk()
    preview = th.gram(th.open_trajectory(states), sample=0.1)
    for other, what in (
        (th.open_trajectory(states[:-1]), "steps"),
        (th.open_trajectory(states, exclude="head"), "groups"),
    ):
        with pytest.raises(th.TrajectoryError, match=f"preview of other {what}.*begin anew"):
            th.gram(other, begun=preview)
    trajectory = th.open_trajectory(states)
    with pytest.raises(th.TrajectoryError, match="preview of other precision"):
        th.gram(trajectory, begun=preview, precision="float32")
    with pytest.raises(th.TrajectoryError, match="preview of other groups"):
        th.gram(trajectory, begun=preview.select("embed"))
    with pytest.raises(ValueError, match="all parameters"):
        th.gram(trajectory, begun=th.gram(trajectory))
    with pytest.raises(ValueError, match=r"sample: 1\d % .* read before"):
        th.gram(trajectory, sample=0.1, begun=preview)
    with pytest.raises(ValueError, match="seed"):
        th.gram(trajectory, begun=preview, seed=5)
    with pytest.raises(TypeError, match="begun"):
        th.gram(trajectory, begun="first.npz")


def write(states, folder, steps=None):
    for step, state in zip(steps or range(len(states)), states):
        folder.mkdir(exist_ok=True)
        torch.save(
            {name: torch.from_numpy(np.array(one)) for name, one in state.items()},
            folder / f"step{step}.pt",
        )


def test_files_that_were_written_to_since_are_others(tmp_path):
    write(walk(), tmp_path / "run")
    preview = th.gram(th.open_trajectory(tmp_path / "run"), sample=0.1)
    assert th.gram(th.open_trajectory(tmp_path / "run"), begun=preview).sample is None
    write(walk(seed=1), tmp_path / "run", steps=[3])
    with pytest.raises(th.TrajectoryError, match="preview of other files"):
        th.gram(th.open_trajectory(tmp_path / "run"), begun=preview)


def test_what_is_not_finite():
    states = walk()
    states[2]["embed"][0, 0] = np.nan
    trajectory = th.open_trajectory(states, nonfinite="skip-checkpoint")
    of_first = [s for s in range(50) if 0 in sampling.order_of("embed", s, 47)[:5]]
    with pytest.warns(th.TrajectoryWarning, match="left out"):
        kernel = th.gram(trajectory, sample=0.1, seed=of_first[0])
    assert kernel.n == 5 and kernel.sample is not None
    unseen = next(s for s in range(50) if s not in of_first)
    preview = th.gram(trajectory, sample=0.1, seed=unseen)
    assert preview.n == 6
    with (
        pytest.warns(th.TrajectoryWarning, match="left out"),
        pytest.raises(th.TrajectoryError, match=r"not finite.*begin anew"),
    ):
        th.gram(trajectory, begun=preview)


def test_what_never_moves_does_so_as_far_as_was_seen():
    states = [{**state, "table": np.full(300, 20.0)} for state in walk()]
    with pytest.warns(th.TrajectoryWarning, match="never moves, as far as a sample shows: table"):
        th.gram(th.open_trajectory(states), sample=0.3)
    trajectory = th.open_trajectory(states, exclude="constant")
    preview = th.gram(trajectory, sample=0.3)
    assert "table" not in preview.names
    exact = th.gram(trajectory)
    last = th.gram(trajectory, begun=preview)
    assert last.names == exact.names
    np.testing.assert_allclose(last.increments, exact.increments, rtol=1e-12, atol=1e-12)


def test_equal_checkpoints_are_equal_as_far_as_was_seen():
    states = walk()
    states[3] = {name: one.copy() for name, one in states[2].items()}
    with pytest.warns(th.TrajectoryWarning, match="2 and 3 are identical in what was sampled"):
        th.gram(th.open_trajectory(states), sample=0.3)


# From the hub

REPO, SOURCE = "somebody/model", "hf://somebody/model"


@pytest.fixture
def hub(monkeypatch, tmp_path):
    monkeypatch.setattr(_files, "_FIRST_WAIT", 0.001)
    with StandInHub() as hub:
        hub.connect(monkeypatch, tmp_path / "home")
        for step, state in enumerate(walk(n=3, kind=np.float32, w=(1000, 700), v=(300, 700))):
            tensors = {name: torch.from_numpy(one) for name, one in state.items()}
            hub.add(REPO, f"step{step}", checkpoint(tensors, tmp_path / f"step{step}"))
        yield hub


def test_no_byte_is_fetched_twice(hub, tmp_path):
    trajectory = th.open_trajectory(SOURCE)
    size = 3 * 4 * 910_000
    hub.requests.clear()
    exact = th.gram(trajectory, device="cpu")
    assert hub.bytes_sent == size
    hub.requests.clear()
    preview = th.gram(trajectory, device="cpu", sample=0.2)
    # 64 KiB a block, 43 and 13 of them, of which nine and three are read.
    assert preview.sample.block == 16384
    assert hub.bytes_sent == pytest.approx(0.2 * size, rel=0.1)
    preview.save(tmp_path / "preview.npz")
    preview = th.load_kernel(tmp_path / "preview.npz")
    more = {"sample": 0.5, "begun": preview}
    asked = cost(trajectory, **more)
    hub.requests.clear()
    second = th.gram(trajectory, device="cpu", **more)
    assert asked == (len(hub.requests_of("file")), hub.bytes_sent)
    last = th.gram(trajectory, device="cpu", begun=second)
    whole = hub.bytes_sent + preview.sample.numbers.sum() * 3 * 4
    assert whole == size
    np.testing.assert_allclose(last.increments, exact.increments, rtol=1e-12)
    assert last.source["digests"] == exact.source["digests"]


def test_another_commit_is_another_run(hub, tmp_path):
    preview = th.gram(th.open_trajectory(SOURCE), device="cpu", sample=0.2)
    other = walk(n=1, seed=9, kind=np.float32, w=(1000, 700), v=(300, 700))[0]
    tensors = {name: torch.from_numpy(one) for name, one in other.items()}
    hub.add(REPO, "step1", checkpoint(tensors, tmp_path / "other"))
    with pytest.raises(th.TrajectoryError, match="preview of other files"):
        th.gram(th.open_trajectory(SOURCE), begun=preview)


def test_an_interrupted_preview_goes_on(hub, tmp_path):
    trajectory, partial = th.open_trajectory(SOURCE), tmp_path / "x.partial"
    expected = th.gram(trajectory, device="cpu", sample=0.5)
    first = th.gram(trajectory, device="cpu", sample=0.5, partial=partial, memory=500_000)
    hub.requests.clear()
    again = th.gram(trajectory, device="cpu", sample=0.5, partial=partial, memory=500_000)
    assert hub.bytes_sent == 0
    np.testing.assert_array_equal(first.increments, again.increments)
    np.testing.assert_allclose(first.increments, expected.increments, rtol=1e-12)
    with pytest.raises(th.TrajectoryError, match="begun with other groups"):
        th.gram(trajectory, device="cpu", sample=0.6, partial=partial, memory=500_000)


# In files


def forged(path, **changed):
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files} | changed
    np.savez_compressed(path, **arrays)


def test_files_keep_the_sample(tmp_path):
    kernel = th.gram(opened(), sample=0.2)
    for part in (kernel, kernel[::2], kernel.group_by("e"), kernel.select("embed")):
        part.save(tmp_path / "k.npz")
        loaded = th.load_kernel(tmp_path / "k.npz")
        assert repr(loaded) == repr(part)
        assert loaded.summary() == part.summary()
        assert loaded.standard_error(th.mds) == part.standard_error(th.mds)
    with np.load(tmp_path / "k.npz") as file:
        assert json.loads(str(file["about"]))["format"] == 4


def test_forged_samples_are_refused(tmp_path):
    path = tmp_path / "k.npz"
    kernel = th.gram(opened(), sample=0.2)
    kernel.save(path)
    with np.load(path) as file:
        strata, cells, sums = (file[f"sample_{name}"] for name in ("strata", "cells", "products"))
    for changed in (
        {"sample_strata": strata[:, ::-1]},
        {"sample_strata": strata + [9, 0, 0, 0]},
        {"sample_strata": strata + [0, 0, 1, 0]},
        {"sample_strata": strata[:, :3]},
        {"sample_strata": strata.astype(float)},
        {"sample_cells": cells[:-1]},
        {"sample_cells": -cells},
        {"sample_cells": cells, "sample_products": sums * np.nan},
        {"sample_cells": cells, "sample_products": -sums},
    ):
        kernel.save(path)
        forged(path, **changed)
        with pytest.raises(th.TrajectoryError, match=r"k\.npz"):
            th.load_kernel(path)


# Shown


def test_a_sample_says_so():
    kernel = th.gram(opened(), sample=0.2)
    assert repr(kernel) == (
        "TrajectoryKernel(6 checkpoints, steps 0 … 5, 5,051 parameters in 4 groups; a sample, from"
        " 20 % of the parameters)"
    )
    assert "from 20 % of the parameters: 17 of 81 blocks of 64 numbers, seed 0" in kernel.summary()
    shown = th.hallmarks(kernel)
    assert shown["sample"]["fraction"] == pytest.approx(0.2, abs=0.02)
    assert shown["standard_errors"]["mds"] == kernel.standard_error(th.mds)
    assert shown["standard_errors"].keys() == {
        "mds",
        "relative_mds",
        "angles",
        "norms",
        "spectra",
    }
    exact = th.gram(opened())
    assert "sample" not in repr(exact) + exact.summary()
    assert not {"sample", "standard_errors"} & th.hallmarks(exact).keys()


def texts(figure):
    from matplotlib.text import Text

    return [one.get_text() for one in figure.findobj(Text)]


def test_pictures_say_so():
    import matplotlib.pyplot as plt

    kernel, exact = th.gram(opened(), sample=0.2), th.gram(opened())
    omega, error = th.mds(kernel), kernel.standard_error(th.mds)
    assert 0.001 < error < 0.01
    for draw in (
        th.plot_map,
        th.plot_angles,
        th.plot_norms,
        th.plot_spectra,
        th.plot_path,
        lambda one: th.plot_maps({"a run": one})[0],
    ):
        for one in (kernel, exact):
            said = [text for text in texts(draw(one).figure) if "from 20 % of the para" in text]
            assert bool(said) == (one is kernel)
            if said and draw is th.plot_map:
                assert f"ω = {omega:.3f} ± {error:.3f}" in said[0]
            plt.close("all")
    sheet = texts(th.plot_sheet(kernel))
    assert f"Trajectory Map, ω = {omega:.3f} ± {error:.3f}" in sheet
    assert len([text for text in sheet if "from 20 % of the parameters" in text]) == 6
    plt.close("all")


def call(capsys, *arguments):
    code = main([str(argument) for argument in arguments])
    found = capsys.readouterr()
    assert not code, found.err
    return found.out


def test_from_the_command_line(tmp_path, capsys):
    write(walk(), tmp_path / "run")
    preview, more, all_ = (tmp_path / f"{name}.npz" for name in ("preview", "more", "all"))
    said = call(capsys, "gram", tmp_path / "run", "-o", preview, "--sample", "20%")
    assert "from 20 % of the parameters" in said and " ± " in said
    kernel = th.load_kernel(preview)
    found = json.loads(
        call(
            capsys,
            "gram",
            tmp_path / "run",
            *("-o", more, "--sample", "100kB", "--begun", preview, "--json"),
        )
    )
    assert found["sample"]["drawn"] > kernel.sample.drawn.sum()
    assert found["sample"]["standard_error_of_mds"] > 0
    assert "stamps" not in json.dumps(found)
    said = call(capsys, "hallmarks", preview)
    families = ("ω", "angles", "norms", "spectra")
    numbers = [line for line in said.splitlines() if line.startswith(families)]
    assert len(numbers) == 15 and all(" ± " in line for line in numbers)
    in_full = json.loads(call(capsys, "hallmarks", preview, "--json"))
    assert in_full["standard_errors"]["mds"] == kernel.standard_error(th.mds)
    at_once = json.loads(call(capsys, "hallmarks", tmp_path / "run", "--sample", "20%", "--json"))
    assert at_once["mds"] == pytest.approx(in_full["mds"], rel=1e-12)
    call(capsys, "plot", preview, "-o", tmp_path / "run.png")
    call(capsys, "gram", tmp_path / "run", "-o", all_, "--begun", more)
    assert th.load_kernel(all_).sample is None
    assert main(["verify", str(preview), str(tmp_path / "run")]) == 2
    assert "a sample" in capsys.readouterr().err
    for wrong in ("150%", "0", "some"):
        with pytest.raises(SystemExit):
            main(["gram", str(tmp_path / "run"), "-o", str(all_), "--sample", wrong])


def test_a_part_of_a_file_is_compared_with_nothing():
    with pytest.raises(ValueError, match="verify"):
        th.gram(opened(), sample=0.1, verify=True)
