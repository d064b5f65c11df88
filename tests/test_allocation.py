"""A preview that is continued: more of what differs more, almost without bias, its errors as they
say, nothing read twice, the same bits after an interruption.
"""

import numpy as np
import pytest
import torch
from hub_runs import checkpoint
from standin_hub import StandInHub
from test_sampling import increments_of, omegas, replica, write

import trajhelpers as th
from trajhelpers.__main__ import main
from trajhelpers.sources.remote import files as _files
from trajhelpers.streaming import sampling

FIRST, SHARE = 0.1, 0.3


def walk(n=5, seed=0, kind=np.float64):
    """Two tensors of one size, of which one's columns move by very different lengths, and a small
    one.
    """
    generator = np.random.default_rng(seed)
    even, uneven = (np.exp(by * np.repeat(generator.standard_normal(100), 64)) for by in (0.3, 0.6))
    steps = {"even": even, "uneven": 1.5 * uneven, "norm": np.ones(50)}
    theta = {name: generator.standard_normal(len(one)) for name, one in steps.items()}
    states = []
    for _ in range(n):
        states.append({name: np.asarray(one, kind) for name, one in theta.items()})
        for name, one in steps.items():
            theta[name] = theta[name] + 0.3 * one * (1 + generator.standard_normal(len(one)))
    return states


def continued(trajectory, seed=0, share=SHARE, first=FIRST, **options):
    preview = th.gram(trajectory, "cpu", sample=first, seed=seed)
    return th.gram(trajectory, "cpu", sample=share, begun=preview, **options)


def products_of(states, name):
    """The oracle: of each block of 64 columns, the Gram matrix of increments."""
    size = states[0][name].size
    return np.stack([increments_of(states, name, i, i + 64) for i in range(0, size, 64)])


# How much of which


def test_shares_go_by_how_different_blocks_are():
    """Neyman's: as m ∝ M S, S from the blocks of the preview, and as many as in equal shares."""
    states = walk()
    trajectory = th.open_trajectory(states)
    first, kernel = th.gram(trajectory, sample=FIRST), continued(trajectory)
    assert kernel.sample.blocks.tolist() == [100, 100, 1]
    assert first.sample.drawn.tolist() == [10, 10, 1]
    lengths = np.sqrt(np.diag(first.total))
    rows, columns = np.triu_indices(5)
    deviation = {}
    for name in ("even", "uneven"):
        drawn = products_of(states, name)[sampling.order_of(name, 0, 100)[:10]]
        scaled = (drawn / np.outer(lengths, lengths))[:, rows, columns]
        deviation[name] = np.sqrt(scaled.var(0, ddof=1).sum())
    even, uneven, norm = kernel.sample.drawn
    assert norm == 1 and even + uneven == 60
    ratio = deviation["uneven"] / deviation["even"]
    assert 2 < ratio < 5
    assert uneven == pytest.approx(60 * ratio / (1 + ratio), abs=1)


def test_it_is_of_the_blocks_that_come_first():
    states = walk()
    kernel = continued(th.open_trajectory(states), seed=4)
    for name, m in zip(kernel.names, kernel.sample.drawn):
        products = products_of(states, name)
        chosen = products[sampling.order_of(name, 4, len(products))[:m]]
        expected = len(products) / m * chosen.sum(0)
        np.testing.assert_allclose(kernel.groups()[name].total, expected, rtol=1e-11)


def test_bytes_are_a_limit():
    trajectory = th.open_trajectory(walk())
    for limit in (80_000, 150_000, 300_000):
        kernel = continued(trajectory, share=limit)
        read = kernel.sample.numbers.sum() * trajectory.n * 8
        assert limit - 64 * 8 * 5 < read <= limit
    with pytest.raises(ValueError, match=r"read before; give more"):
        continued(trajectory, share=40_000)


def test_what_did_not_move_in_the_preview_is_read_on():
    """Whose variance was zero: at a quarter of the mean share at least."""
    states = [{**state, "still": np.full(6400, 2.0)} for state in walk()]
    with pytest.warns(th.TrajectoryWarning, match="never moves, as far as a sample shows: still"):
        kernel = continued(th.open_trajectory(states), share=0.5, first=0.02)
    drawn = dict(zip(kernel.names, kernel.sample.drawn.tolist()))
    assert 8 <= drawn["still"] <= 20
    trajectory = th.open_trajectory(states, exclude="constant")
    without = continued(trajectory, share=0.5, first=0.02)
    assert "still" not in without.names
    nothing = [{"still": state["still"], "more": 2 * state["still"]} for state in states]
    with pytest.warns(th.TrajectoryWarning):
        kernel = continued(th.open_trajectory(nothing))
    assert kernel.sample.drawn.sum() == 60


# The estimate


def test_it_pays_and_covers_and_is_almost_without_bias():
    """30 draws. The mean is off by no more than 4 of its own standard deviations; what covers 95 %
    does so in 24 of the draws at least.
    """
    trajectory = th.open_trajectory(walk())
    truth = omegas(th.gram(trajectory, "cpu"))
    equal, continued_ = (
        [how(trajectory, seed=seed) for seed in range(30)]
        for how in (lambda one, seed: th.gram(one, "cpu", sample=SHARE, seed=seed), continued)
    )
    off = np.array([omegas(kernel) for kernel in continued_]) - truth
    of_equal = np.array([omegas(kernel) for kernel in equal]) - truth
    assert np.all((off**2).mean(0) < 0.8 * (of_equal**2).mean(0))
    assert np.all(np.abs(off.mean(0)) < 4 * off.std(0) / np.sqrt(30))
    said = np.array([kernel.standard_error(omegas) for kernel in continued_])
    assert np.all((np.abs(off) <= 1.96 * said).mean(0) >= 0.8)


@pytest.mark.slow
def test_over_many_draws():
    """60 draws of some 190 blocks: coverage of 95 % as that of equal shares; the bias of all
    numbers, products of increments among them, less than a quarter of their standard errors, where
    60 draws leave a noise of an eighth of them.
    """
    trajectory = th.open_trajectory(replica())
    exact = th.gram(trajectory, "cpu")
    rows, columns = np.triu_indices(exact.n)
    units = np.sqrt(np.diag(exact.total)[rows] * np.diag(exact.total)[columns])

    def measures(kernel):
        angles = th.angles(kernel)
        several = [
            omegas(kernel),
            kernel.cosine()[np.triu_indices(kernel.n, 1)],
            np.concatenate([angles["consecutive"], angles["update_total"]]),
            kernel.total[rows, columns] / units,
        ]
        return np.concatenate(several)

    kernels = [continued(trajectory, seed, 0.12, 0.04) for seed in range(60)]
    off = np.array([measures(kernel) for kernel in kernels]) - measures(exact)
    said = np.array([kernel.standard_error(measures) for kernel in kernels])
    within = (np.abs(off) <= 1.96 * said).mean(0)
    means = [float(kind.mean()) for kind in np.split(within, [2, 30, 43])]
    assert all(0.88 <= mean <= 0.985 for mean in means), means
    bias = off.mean(0) / off.std(0)
    assert np.sqrt((bias**2).mean()) < 0.25, bias


# As other passes

REPO, SOURCE = "somebody/model", "hf://somebody/model"


@pytest.fixture
def hub(monkeypatch, tmp_path):
    monkeypatch.setattr(_files, "_FIRST_WAIT", 0.001)
    with StandInHub() as hub:
        hub.connect(monkeypatch, tmp_path / "home")
        generator = np.random.default_rng(0)
        for step in range(3):
            tensors = {
                name: torch.from_numpy(
                    (size * generator.standard_normal(700_000)).astype(np.float32)
                )
                for name, size in (("even", 1), ("uneven", np.linspace(0, 3, 700_000)))
            }
            hub.add(REPO, f"step{step}", checkpoint(tensors, tmp_path / f"step{step}"))
        yield hub


def test_an_interrupted_one_goes_on_to_the_same_bits(hub, tmp_path):
    trajectory, partial = th.open_trajectory(SOURCE), tmp_path / "x.partial"
    th.gram(trajectory, "cpu", sample=0.1).save(tmp_path / "preview.npz")
    options = {"device": "cpu", "sample": 0.5, "memory": 1_000_000}

    def more(**more):
        return th.gram(
            trajectory, begun=th.load_kernel(tmp_path / "preview.npz"), **options, **more
        )

    expected = more()
    drawn = dict(zip(expected.names, expected.sample.drawn))
    assert drawn["uneven"] > 2 * drawn["even"]
    left = [30]

    def faults(request):
        left[0] -= request.kind == "file"
        return "503" if left[0] < 0 else None

    hub.faults = faults
    with pytest.raises(th.CheckpointError):
        more(partial=partial)
    assert partial.exists()
    hub.faults = lambda request: None
    hub.requests.clear()
    again = more(partial=partial)
    np.testing.assert_array_equal(again.increments, expected.increments)
    np.testing.assert_array_equal(again.sample.products, expected.sample.products)
    read = hub.bytes_sent
    assert 0 < read < (expected.sample.numbers.sum() - 140_000) * 3 * 4
    hub.requests.clear()
    more(partial=partial)
    assert hub.bytes_sent == 0


def test_of_a_file_as_of_a_kernel_and_from_the_command_line(tmp_path, capsys):
    write(walk(), tmp_path / "run")
    preview, more = tmp_path / "preview.npz", tmp_path / "more.npz"
    expected = continued(th.open_trajectory(tmp_path / "run"))
    run = ["gram", str(tmp_path / "run"), "--device", "cpu"]
    assert not main([*run, "-o", str(preview), "--sample", "10%"])
    assert not main([*run, "-o", str(more), "--sample", "30%", "--begun", str(preview)])
    found = th.load_kernel(more)
    np.testing.assert_array_equal(found.increments, expected.increments)
    assert found.sample.drawn.tolist() == expected.sample.drawn.tolist()
    assert "more of what differs more" in capsys.readouterr().err
    last = th.gram(th.open_trajectory(tmp_path / "run"), "cpu", begun=found)
    exact = th.gram(th.open_trajectory(tmp_path / "run"), "cpu")
    assert last.sample is None
    np.testing.assert_allclose(last.total, exact.total, rtol=1e-11)
