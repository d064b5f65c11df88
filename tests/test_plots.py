"""Figures and widgets: what they show is what the kernel says, on axes that say where and in which
unit.
"""

import threading

import matplotlib
import numpy as np
import pytest

import trajhelpers as th
from trajhelpers.plots.style import RC, styled

matplotlib.use("agg")
plt = pytest.importorskip("matplotlib.pyplot")


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


@pytest.fixture
def walk():
    return th.random_walk(61, start=5)


def ticks(axis):
    return dict(zip(axis.get_ticklocs(), [label.get_text() for label in axis.get_ticklabels()]))


@pytest.mark.parametrize("origin", [None, 0, 30, 60])
def test_a_map_shows_the_cosines(walk, origin):
    ax = th.plot_map(walk, origin)
    np.testing.assert_array_equal(ax.images[0].get_array(), walk.cosine(origin))
    assert ax.images[0].norm.vmin <= walk.cosine(origin).min() and ax.images[0].norm.vmax == 1
    assert ax.figure.axes[1].get_ylabel() == "cosine similarity"


@pytest.mark.parametrize("origin", [None, 0, 7])
@pytest.mark.parametrize(
    "steps",
    [range(0, 610, 10), th.pythia_steps(51_000), [0, 1, *range(5, 64)]],
    ids=["even", "pythia", "gap"],
)
def test_ticks_of_a_map_are_the_steps_of_their_rows(origin, steps):
    steps = list(steps)[:61]
    kernel = th.TrajectoryKernel(np.eye(len(steps)), steps=steps)
    ax = th.plot_map(kernel, origin, unit="batch")
    kept = kernel.steps[kernel.kept(origin)]
    found = ticks(ax.xaxis)
    assert len(found) >= 3 and ax.get_xlabel() == "batch"
    for place, text in found.items():
        assert int(text.replace("\u202f", "")) == kept[int(place)]


def test_joined_runs_are_named_and_set_apart():
    kernel = th.TrajectoryKernel(np.eye(7), steps=[0, 1, 2, 0, 1, 2, 3], runs=["a"] * 3 + ["b"] * 4)
    ax = th.plot_map(kernel)
    assert ticks(ax.xaxis) == {1: "a", 4.5: "b"}
    assert [
        line.get_xdata()[0] for line in ax.lines if line.get_xdata()[0] == line.get_xdata()[1]
    ] == [2.5]


def test_maps_side_by_side_share_a_scale(walk):
    axes = th.plot_maps({"walk": walk, "noise": th.ar1(61, correlation=0.5, distance=2)})
    assert len({ax.images[0].get_clim() for ax in axes}) == 1


def test_series_lie_at_their_steps(walk):
    kernel = th.TrajectoryKernel(walk.increments, steps=np.arange(61) * 10)
    angles = th.angles(kernel)
    ax = th.plot_angles(kernel, list(angles))
    lines = {line.get_label(): line for line in ax.lines}
    first = {
        "consecutive updates": 10,
        "update, position": 0,
        "update, whole way": 0,
        "progress, whole way": 10,
        "apex at initialization": 10,
        "apex at O": 0,
    }
    for label, values in zip(first, angles.values()):
        assert lines[label].get_xdata()[0] == first[label]
        np.testing.assert_array_equal(lines[label].get_ydata(), values)
    assert "degrees" in ax.get_ylabel()
    ax = th.plot_norms(kernel)
    assert [line.get_xdata()[0] for line in ax.lines] == [0, 0, 10]


def test_pythias_schedule_is_drawn_on_a_logarithmic_axis():
    kernel = th.TrajectoryKernel(np.eye(154), steps=th.pythia_steps(143_000))
    assert th.plot_norms(kernel).get_xscale() == "symlog"
    assert th.plot_norms(th.random_walk(20)).get_xscale() == "linear"


def test_the_path_says_how_much_it_explains(walk):
    ax = th.plot_path(walk)
    coordinates, explained = th.principal_components(walk)
    np.testing.assert_array_equal(ax.collections[0].get_offsets(), coordinates)
    assert f"{explained[0]:.0%}" in ax.get_xlabel() and f"{explained[1]:.0%}" in ax.get_ylabel()


def test_the_settings_of_the_reader_stay(walk):
    before = dict(matplotlib.rcParams)
    th.plot_sheet(walk)
    assert dict(matplotlib.rcParams) == before


def test_drawing_from_two_threads_leaves_the_settings_as_they_were(walk, monkeypatch):
    """The second begins while the first draws, and ends after it."""
    before = dict(matplotlib.rcParams)
    inside, go_on, seen = threading.Event(), threading.Event(), []

    @styled
    def first():
        inside.set()
        # As long as the second takes to draw beside it, where nothing keeps it from that.
        go_on.wait(0.5)
        seen.append(matplotlib.rcParams["font.size"])

    @styled
    def second():
        go_on.set()
        threads[0].join(0.5)
        seen.append(matplotlib.rcParams["font.size"])
        th.plot_map(walk)  # one that is styled itself

    threads = [threading.Thread(target=draw) for draw in (first, second)]
    with matplotlib.rc_context({"font.size": 3}):
        threads[0].start()
        assert inside.wait(60)
        threads[1].start()
        for thread in threads:
            thread.join(60)
        assert matplotlib.rcParams["font.size"] == 3
    assert seen == [RC["font.size"]] * 2
    assert dict(matplotlib.rcParams) == before


def test_tokens_on_the_axes():
    steps, tokens = [1000, 2000, 3000, 4000], [4 * 10**9, 8 * 10**9, 13 * 10**9, 17 * 10**9]
    kernel = th.TrajectoryKernel(np.eye(4), steps=steps, tokens=tokens)
    ax = th.plot_norms(kernel, unit="tokens")
    assert ax.get_xlabel() == "tokens"
    np.testing.assert_array_equal(ax.lines[0].get_xdata(), tokens)
    assert ax.xaxis.get_major_formatter()(8e9, 0) == "8B"
    assert th.plot_norms(kernel).get_xlabel() == "step"
    ax = th.plot_map(kernel, unit="tokens")
    assert ax.get_xlabel() == "tokens"
    assert ax.get_xticklabels()[-1].get_text() in ("13B", "17B")
    with pytest.raises(ValueError, match="say nothing of tokens"):
        th.plot_map(th.random_walk(4), unit="tokens")


def test_names_that_count_tokens_alone_have_no_steps_on_the_axes():
    tokens = [220 * 10**9, 440 * 10**9, 660 * 10**9]
    kernel = th.TrajectoryKernel(np.eye(3), steps=tokens, tokens=tokens)
    assert th.plot_map(kernel).get_xlabel() == th.plot_norms(kernel).get_xlabel() == "tokens"
    np.testing.assert_array_equal(kernel[::2].tokens, tokens[::2])


def test_tokens_go_through_a_kernel_file(tmp_path):
    for tokens in (None, [5, 7, 9], [5, float("nan"), 9]):
        th.TrajectoryKernel(np.eye(3), tokens=tokens).save(tmp_path / "run.npz")
        found = th.load_kernel(tmp_path / "run.npz").tokens
        assert (found is None) == (tokens is None)
        if tokens:
            np.testing.assert_array_equal(found, tokens)


def test_tokens_go_on_through_the_stages_of_a_map():
    walk = th.random_walk(6)
    steps, runs = [1, 2, 3, 1, 2, 3], ["stage1"] * 3 + ["stage2"] * 3
    tokens = np.arange(1, 7) * 10**9
    staged = th.TrajectoryKernel(walk.increments, steps, runs=runs, tokens=tokens)
    ax = th.plot_map(staged, unit="tokens")
    assert ax.get_xlabel() == "tokens" and len(ax.lines) == 2
    assert "1B" in [label.get_text() for label in ax.get_xticklabels()]
    assert th.plot_map(staged).get_xlabel() == "run"
