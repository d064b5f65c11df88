"""Figures and widgets: what they show is what the kernel says, on axes that say where and in which
unit.
"""

import matplotlib
import numpy as np
import pytest

import trajhelpers as th

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


def test_the_slider_has_one_picture_an_origin(walk):
    kernel = walk[::10]
    slider, stack = th.origin_slider(kernel, unit="epoch").children
    assert slider.options == ("O", *map(str, kernel.steps))
    pictures = [child.value for child in stack.children]
    assert len(set(pictures)) == len(slider.options) and all(
        picture[8:12] == b"WEBP" for picture in pictures
    )


def test_pages_stay_small():
    _, stack = th.origin_slider(th.random_walk(61)).children
    assert sum(len(child.value) for child in stack.children) < 500_000
