"""Names of strangers' tensors, files and runs are shown as they are, and never obeyed: by no
terminal, no page, no picture and no table.
"""

import json
import warnings
from xml.etree import ElementTree

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_svg import FigureCanvasSVG
from safetensors.numpy import save_file
from test_cli import call

import trajhelpers as th
from trajhelpers.lab.studies import load
from trajhelpers.lab.training import live
from trajhelpers.printable import printable, printable_lines
from trajhelpers.telling import tell

# Clear the screen, ring, go back, hide what follows, begin a line as an error, turn the direction.
EVIL = "\x1b[2J\x07\r\x08\x9b31m\u202e\u2066\u2028\nerror: \x7f"
SHOWN = r"\x1b[2J\x07\r\x08\x9b31m\u202e\u2066\u2028\nerror: \x7f"
HTML = "<script>alert(1)</script><img src=x onerror=alert(1)>"
# Formulas, broken ones too; a label that matplotlib hides; what other languages take for orders.
DRAWN = ["$^$", "$a$", "a$b", r"\$x\$", "_hidden", "__", "100 %", r"\frac{1}", "a_b^c", "{x}", HTML]


def clean(text):
    """Whether each line of it is what a reader sees."""
    return all(line.isprintable() for line in text.split("\n"))


def test_what_is_printable():
    assert printable(EVIL) == SHOWN
    for shown in ("größe", "重み", "ω_τ", "a b", "a\u202fb", "e\u0301", r"\x1b", "🙂"):
        assert printable(shown) == shown
    assert printable("\udcff\u061c\u200e\ufeff\0") == r"\udcff\u061c\u200e\ufeff\x00"
    assert printable_lines("a\nb\x1b") == "a\nb\\x1b"


@pytest.fixture
def run(tmp_path):
    """A folder, a file, and tensors of evil names: of one that counts, that never moves, that is
    left out.
    """
    folder = tmp_path / f"run{EVIL}"
    folder.mkdir()
    for step in range(4):
        rng = np.random.default_rng(step)
        save_file(
            {
                f"fc{EVIL}.weight": rng.standard_normal((3, 4)),
                f"still{EVIL}": np.ones(12),
                f"count{EVIL}": np.array([step]),
            },
            folder / f"{EVIL}step_{step}.safetensors",
        )
    return folder


@pytest.mark.parametrize(
    "command",
    [
        ["ls"],
        ["audit"],
        ["gram", "-o", "run.npz"],
        ["gram", "-o", f"{EVIL}.npz"],
        ["gram", "-o", f"{EVIL}.txt"],
        ["gram", "-o", f"{EVIL}/run.npz"],
        ["gram", "-o", "run.npz", "--exclude", "constant"],
        ["gram", "-o", "run.npz", "--include", "nothing"],
        ["gram", "-o", "run.npz", "--debug", "--include", "nothing"],
        ["hallmarks"],
        ["plot", "-o", f"{EVIL}.png"],
        [EVIL],
        ["ls", f"--{EVIL}"],
        ["ls", f"nowhere{EVIL}"],
    ],
)
def test_commands(run, tmp_path, capfd, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    call(command[0], run, *command[1:])
    out, err = capfd.readouterr()
    assert out + err and clean(out) and clean(err)


@pytest.mark.parametrize("command", [["ls"], ["audit"], ["gram", "-o", "run.npz"]])
@pytest.mark.parametrize("broken", ["cut short", "other names", "NaN"])
def test_what_is_said_of_broken_files(run, tmp_path, capfd, monkeypatch, command, broken):
    monkeypatch.chdir(tmp_path)
    last = run / f"{EVIL}step_9.safetensors"
    if broken == "cut short":
        last.write_bytes(b"\xff")
    else:
        still = f"other{EVIL}" if broken == "other names" else f"still{EVIL}"
        save_file({f"fc{EVIL}.weight": np.full((3, 4), np.nan), still: np.ones(12)}, last)
    call(command[0], run, *command[1:])
    out, err = capfd.readouterr()
    assert out + err and clean(out) and clean(err)


def test_several_runs(run, tmp_path, capfd):
    other = tmp_path / f"other{EVIL}"
    other.mkdir()
    for step, file in enumerate(sorted(run.iterdir())):
        (other / f"step_{step}.safetensors").write_bytes(file.read_bytes())
    for command in (["ls"], ["gram", "-o", tmp_path / "both.npz"]):
        assert call(*command, run, other) == 0, capfd.readouterr().err
        out, err = capfd.readouterr()
        assert SHOWN in out and clean(out + err)
    kernel = th.load_kernel(tmp_path / "both.npz")
    assert f"run{EVIL}" in kernel.runs and f"fc{EVIL}.weight" in kernel.names
    assert clean(repr(kernel)) and SHOWN in repr(kernel)


def test_verifying(run, tmp_path, capfd):
    kernel = tmp_path / f"{EVIL}.npz"
    assert call("gram", run, "-o", kernel, "--quiet") == 0
    for code, every in ((0, "1"), (2, "2")):
        capfd.readouterr()
        assert call("verify", kernel, run, "--every", every) == code
        out, err = capfd.readouterr()
        assert clean(out + err) and SHOWN in out + err
    save_file(
        {f"fc{EVIL}.weight": np.ones((3, 4)), f"still{EVIL}": np.ones(12)}, min(run.iterdir())
    )
    assert call("verify", kernel, run) == 1
    out, err = capfd.readouterr()
    assert clean(out + err) and "1 of 4 checkpoints differ" in out


def test_what_programs_read_is_exact(run, tmp_path, capfd):
    out = tmp_path / f"{EVIL}.npz"
    assert call("gram", run, "-o", out, "--json", "--quiet") == 0
    found = json.loads(capfd.readouterr().out)
    assert found["path"] == str(out) and f"fc{EVIL}.weight" in found["groups"]
    assert call("ls", run, "--json", "--quiet") == 0
    assert json.loads(capfd.readouterr().out)["source"] == str(run)
    assert f"fc{EVIL}.weight" in th.load_kernel(out).names


def test_at_a_prompt(run, capfd):
    trajectory = th.open_trajectory(run)
    with pytest.warns(th.TrajectoryWarning, match="never moves"):
        kernel = th.gram(trajectory)
    for shown in (repr(trajectory), trajectory.summary(), kernel.summary(), th.audit(run)):
        assert clean(str(shown)) and clean(repr(shown))
    assert SHOWN in trajectory.summary() and SHOWN in kernel.summary() and SHOWN in str(shown)
    tell(f"a line of {EVIL}")
    err = capfd.readouterr().err
    assert clean(err) and f"a line of {SHOWN}" in err
    for broken in (
        lambda: kernel.select("nothing"),
        lambda: th.gram(trajectory, groups={"all": [(EVIL, 0, 1)]}),
        lambda: th.open_trajectory([{EVIL: np.ones(2)}, {"w": np.ones(2)}]),
        lambda: th.load_kernel(run / "nothing.npz"),
    ):
        with pytest.raises((ValueError, th.TrajectoryError, OSError)) as got:
            broken()
        assert isinstance(got.value, FileNotFoundError) or clean(str(got.value))


def test_errors_and_warnings_hold_the_name_and_show_it():
    error = th.CheckpointError(f"{EVIL}: damaged")
    assert str(error) == f"{SHOWN}: damaged" and error.args == (f"{EVIL}: damaged",)
    assert str(th.ExistingRunError(EVIL)) == SHOWN
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.warn(EVIL, th.TrajectoryWarning, stacklevel=1)
    shown = warnings.formatwarning(caught[0].message, caught[0].category, "x.py", 1, "")
    assert SHOWN in shown and clean(shown)


# ---- pages ----


def test_an_error_in_the_live_widget(tmp_path, monkeypatch):
    def train(*_, **__):
        raise th.TrajectoryError(f"{HTML}{EVIL}")

    class AtOnce:
        def __init__(self, target, daemon):
            self.start = target

    monkeypatch.setattr(live, "train", train)
    monkeypatch.setattr(live.threading, "Thread", AtOnce)
    recipe = th.training.Recipe(
        model="mlp", data="digits", width=8, epochs=1, learning_rate=0.1, batch_size=100
    )
    _, (start, *_), said, _ = (
        getattr(part, "children", part)
        for part in live.live_training(recipe, tmp_path / "run").children
    )
    start.click()
    assert "alert(1)" in said.value and clean(said.value)
    assert "<script" not in said.value and "<img" not in said.value


def texts_of(figure, tmp_path):
    """What a reader sees, and that the picture holds no more."""
    path = tmp_path / "picture.svg"
    with plt.rc_context({"svg.fonttype": "none"}):
        FigureCanvasSVG(figure).print_svg(path)
    plt.close(figure)
    found = list(ElementTree.parse(path).iter())
    assert not [one for one in found if one.tag.endswith(("script", "image/onerror", "img"))]
    return [" ".join("".join(one.itertext()).split()) for one in found if one.tag.endswith("text")]


def walks(names):
    return {name: th.random_walk(6, start=1 + place) for place, name in enumerate(names)}


@pytest.mark.filterwarnings("ignore:constrained_layout")
def test_titles_legends_and_ticks_are_names_and_no_formulas(tmp_path):
    both = [*DRAWN, EVIL.replace("\n", "")]
    shown = {" ".join(printable(name).split()) for name in both}
    groups = {name: [walk] for name, walk in walks(both).items()}
    axes = th.studies.plot_hallmarks(groups, ["apex_origin", "C"])
    assert shown <= set(texts_of(axes[0].figure, tmp_path))
    figure = th.plot_maps(walks(DRAWN))[0].figure
    assert set(DRAWN) <= set(texts_of(figure, tmp_path))
    models = th.ModelSetKernel(np.eye(len(both)), both)
    assert shown <= set(texts_of(th.plot_map(models).figure, tmp_path))
    steps, runs = [1, 2] * len(both), [name for name in both for _ in range(2)]
    joined = th.TrajectoryKernel(np.eye(len(steps)), steps, runs=runs)
    assert shown <= set(texts_of(th.plot_map(joined).figure, tmp_path))
    first = th.TrajectoryKernel(np.eye(4), [1, 2, 1, 2], runs=["$^$"] * 2 + ["b"] * 2)
    assert any("seen from $^$" in text for text in texts_of(th.plots.plot_sheet(first), tmp_path))
    assert "$^$" in texts_of(th.plot_angles(th.random_walk(5), unit="$^$").figure, tmp_path)
    assert "$^$" in texts_of(th.plot_path(th.random_walk(5), unit="$^$").figure, tmp_path)


def test_a_table_of_runs(tmp_path):
    table = pd.DataFrame({"arm": DRAWN, "$x^$": DRAWN, "_y": np.arange(len(DRAWN))})
    figure = th.studies.plot_points(table, "$x^$", "_y", by="arm").figure
    assert {*DRAWN, "$x^$ (not to scale)", "_y"} <= set(texts_of(figure, tmp_path))


# ---- tables ----


@pytest.mark.parametrize(
    "name", ["../secret", "/absolute", "sub/../../secret", "link", "..", "a/b", f"..{EVIL}/x"]
)
def test_a_run_of_a_table_stays_in_its_folder(tmp_path, name):
    study = "momentum-decay-vgg"
    place = tmp_path / "studies" / study
    (place / "sub").mkdir(parents=True)
    th.random_walk(4).save(tmp_path / "studies" / "secret.npz")
    (place / "link.npz").symlink_to("../secret.npz")
    if name == "/absolute":
        name = str(tmp_path / "studies" / "secret")
    pd.DataFrame({"run": [name], "diverged": [""], "arm": ["a"]}).to_csv(
        place / "runs.csv", index=False
    )
    pd.DataFrame({"run": [name], "step": [1]}).to_csv(place / "log.csv", index=False)
    with pytest.raises((th.TrajectoryError, FileNotFoundError), match="runs.csv|no such file") as e:
        th.studies.load_study(study, tmp_path)
    assert clean(str(e.value)) and (name == ".." or "leads out" in str(e.value))
    load._read.cache_clear()
