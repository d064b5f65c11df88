"""Figures of several settings, the sliders over stored runs, and live training."""

import io
import time

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from PIL import Image

import trajhelpers as th


@pytest.fixture(autouse=True)
def no_figures_left():
    yield
    plt.close("all")


def test_lines_are_means_and_bands_are_ranges():
    kernels = [th.random_walk(12, start=start) for start in (1, 2, 4)]
    ax = th.studies.plot_measure({"walks": kernels}, "apex_origin", null=False)
    angles = np.stack([th.angles(kernel)["apex_origin"] for kernel in kernels])
    x, y = ax.lines[0].get_data()
    assert np.allclose(y, angles.mean(0)) and list(x) == list(range(12))
    band = ax.collections[0].get_paths()[0].vertices
    assert band[:, 1].max() == pytest.approx(angles.max()) and band[:, 1].min() == pytest.approx(
        angles.min()
    )


@pytest.mark.parametrize("measure, levels", [("consecutive", [90, 120]), ("update_position", [90])])
def test_null_levels_of_update_angles(measure, levels):
    ax = th.studies.plot_measure({"walk": [th.random_walk(12)]}, measure)
    assert [line.get_ydata()[0] for line in ax.lines[1:]] == levels


@pytest.mark.parametrize("measure, first", [("update_total", 0), ("progress_total", 1)])
def test_angles_to_the_whole_way(measure, first):
    """With the walk of the run's lengths, whose own angles to its whole way are not 90°."""
    kernel = th.ar1(12, correlation=0.5)
    ax = th.studies.plot_measure({"ar1": [kernel]}, measure)
    ours, walk = ax.lines
    assert ours.get_ydata() == pytest.approx(th.angles(kernel)[measure])
    assert ours.get_xdata()[0] == first
    assert walk.get_ydata() == pytest.approx(th.angles(th.random_walk_like(kernel))[measure])


def test_null_line_is_the_walk_with_the_runs_lengths():
    kernel = th.circular_orbit(12, distance=2)
    ax = th.studies.plot_measure({"orbit": [kernel]}, "from_initialization")
    assert np.allclose(
        ax.lines[1].get_ydata(), th.norms(th.random_walk_like(kernel))["from_initialization"]
    )


def test_spectra_are_shares():
    ax = th.studies.plot_measure({"walk": [th.random_walk(12)]}, "C", null=False)
    assert np.nansum(ax.lines[0].get_ydata()) == pytest.approx(1)


def test_points_are_all_there_and_lines_go_through_means():
    table = pd.DataFrame({"rho": [0.0, 0.0, 0.5, 0.5], "mds": [0.8, 0.9, 0.7, 0.8]})
    ax = th.studies.plot_points(table, "rho", "mds", labels={"mds": "ω"})
    assert ax.get_xlabel() == "rho (not to scale)"
    line, points = ax.lines
    assert line.get_ydata() == pytest.approx([0.85, 0.75]) and list(points.get_ydata()) == list(
        table.mds
    )
    assert [label.get_text() for label in ax.get_xticklabels()] == [
        "0",
        "0.5",
    ] and ax.get_ylabel() == "ω"


def test_groups_hold_the_runs_they_name():
    study = th.studies.load_study("batch-size")
    groups = th.studies.group_kernels(study, "batch_size", arm="fixed η, equal steps")
    assert list(groups) == [16, 32, 64, 128]
    for batch, kernels in groups.items():
        part = study.table[
            (study.table.arm == "fixed η, equal steps") & (study.table.batch_size == batch)
        ].sort_values("seed")
        assert [th.mds(kernel) for kernel in kernels] == pytest.approx(list(part.mds))
    with pytest.raises(ValueError, match="no run of this study has"):
        th.studies.group_kernels(study, "batch_size", momentum=0.123)


# ---- live training: the callbacks, without a browser ----

RECIPE = th.training.Recipe(
    model="mlp",
    width=8,
    data="digits",
    learning_rate=0.1,
    momentum=0.9,
    weight_decay=0.01,
    batch_size=64,
    epochs=3,
    checkpoints=6,
)


@pytest.fixture
def live(tmp_path):
    sliders, buttons, said, picture = th.training.live_training(RECIPE, tmp_path / "live").children
    return sliders.children, buttons.children, said, picture, tmp_path / "live"


def until_ended(start):
    deadline = time.monotonic() + 60
    while start.disabled:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_training_runs_with_the_chosen_settings_and_draws(live):
    (rate, momentum, decay), (start, stop, bar), said, picture, folder = live
    assert (rate.value, momentum.value, decay.value) == (0.1, 0.9, 0.01)
    blank = picture.value
    rate.value, momentum.value, decay.value = 0.03, 0.5, 0.0
    start.click()
    assert start.disabled and not stop.disabled
    until_ended(start)
    assert th.training.Recipe.from_json((folder / "recipe.json").read_text()) == RECIPE.replace(
        learning_rate=0.03, momentum=0.5, weight_decay=0.0
    )
    assert (
        bar.value == 6
        and Image.open(io.BytesIO(picture.value)).format == "PNG"
        and picture.value != blank
    )
    assert (
        f"ω = {th.mds(th.gram(th.open_trajectory(folder))):.3f}" in said.value
        and "test accuracy" in said.value
    )


def test_where_no_notebook_runs_a_line_says_what_a_notebook_shows(tmp_path):
    shown = th.training.live_training(RECIPE, tmp_path)._repr_mimebundle_()
    assert {*shown} == {"text/plain", "text/html", "application/vnd.jupyter.widget-view+json"}
    assert "Here a notebook shows" in shown["text/plain"] and "<button" not in shown["text/html"]


def test_stop_is_heard(live):
    _, (start, stop, bar), _, _, folder = live
    start.click()
    stop.click()
    until_ended(start)
    assert bar.value < 6 and len(th.open_trajectory(folder).steps) == bar.value + 1


def test_an_error_is_shown(live):
    _, (start, _, _), said, _, folder = live
    folder.parent.mkdir(exist_ok=True)
    folder.write_text("in the way")
    start.click()
    until_ended(start)
    assert "live" in said.value and said.value.startswith("<b>")
