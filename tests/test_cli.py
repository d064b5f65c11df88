"""The command line: what it takes, what it prints, and that bad input ends in exit code 2 and one
clear line.
"""

import json
import os
import subprocess
import sys

import numpy as np
import oracle
import pytest
import torch

import trajhelpers as th
from trajhelpers.__main__ import main


def write_run(folder, steps=range(1, 10), seed=0):
    folder.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(seed)
    states = []
    for step in steps:
        states.append(
            {
                "fc.weight": torch.randn(3, 4, generator=generator),
                "fc.bias": torch.randn(3, generator=generator),
            }
        )
        torch.save(states[-1], folder / f"epoch_{step}.pt")
    return states


def call(*arguments):
    """Exit code of a call in this process."""
    try:
        return main([str(argument) for argument in arguments]) or 0
    except SystemExit as exit:
        return exit.code or 0


def result(capsys, *arguments):
    capsys.readouterr()
    assert call("hallmarks", *arguments, "--json") == 0
    return json.loads(capsys.readouterr().out)


@pytest.fixture
def run(tmp_path):
    states = write_run(tmp_path / "run")
    out = tmp_path / "run.npz"
    assert call("gram", tmp_path / "run", "-o", out) == 0
    return tmp_path, out, states


def same(path, states):
    np.testing.assert_allclose(
        th.load_kernel(path).gram(), oracle.gram(oracle.flat(states)), rtol=0, atol=1e-11
    )


def test_gram(run):
    _, out, states = run
    same(out, states)
    kernel = th.load_kernel(out)
    assert list(kernel.steps) == list(range(1, 10)) and sorted(kernel.names) == [
        "fc.bias",
        "fc.weight",
    ]


@pytest.mark.parametrize(
    "options, change",
    [
        (["--every", "2"], lambda states: states[::2]),
        (["--every", "4"], lambda states: states[::4]),
        (["--include", "*.weight"], lambda states: [{"w": s["fc.weight"]} for s in states]),
        (["--exclude", "*.weight"], lambda states: [{"b": s["fc.bias"]} for s in states]),
        (["--device", "cpu", "--precision", "float64"], lambda states: states),
    ],
    ids=["every 2", "every 4", "include", "exclude", "device"],
)
def test_options_of_gram(run, options, change):
    folder, _, states = run
    out = folder / "other.npz"
    assert call("gram", folder / "run", "-o", out, *options) == 0
    same(out, change(states))


def test_patterns_may_be_repeated(run):
    folder, _, states = run
    assert (
        call(
            "gram",
            folder / "run",
            "-o",
            folder / "other.npz",
            "--include",
            "*.weight",
            "--include",
            "*.bias",
        )
        == 0
    )
    same(folder / "other.npz", states)


def test_single_precision(run):
    folder, _, states = run
    out = folder / "other.npz"
    assert call("gram", folder / "run", "-o", out, "--precision", "float32") == 0
    expected = oracle.gram(oracle.flat(states))
    error = np.max(np.abs(th.load_kernel(out).gram() - expected))
    assert error < 1e-5 * np.max(expected)


def test_several_sources(run):
    """Files as a shell's pattern gives them (epoch_10 before epoch_2), and folders: runs joined."""
    folder, out, states = run
    states += write_run(folder / "run", [10], seed=5)
    assert call("gram", *sorted((folder / "run").glob("*.pt")), "-o", out) == 0
    same(out, states)
    other = write_run(folder / "second", range(3), seed=9)
    assert call("gram", folder / "run", folder / "second", "-o", out) == 0
    same(out, states + other)
    assert set(th.load_kernel(out).runs) == {"run", "second"}


def test_skipping_a_broken_checkpoint(run, capfd):
    folder, out, states = run
    torch.save(
        {"fc.weight": torch.full((3, 4), float("nan")), "fc.bias": torch.zeros(3)},
        folder / "run" / "epoch_10.pt",
    )
    out.unlink()
    assert call("gram", folder / "run", "-o", out) == 2
    assert not out.exists()
    message = capfd.readouterr().err
    assert "fc.weight" in message and "10" in message
    assert call("gram", folder / "run", "-o", out, "--nonfinite", "skip-checkpoint") == 0
    assert "10" in capfd.readouterr().err
    same(out, states)


def test_hallmarks_for_readers(run, capsys):
    _, out, states = run
    capsys.readouterr()
    assert call("hallmarks", out) == 0
    text = capsys.readouterr().out
    theta = oracle.flat(states)
    assert f"{oracle.mds(theta):.3f}" in text and f"{oracle.mds(theta, 0):.3f}" in text
    assert "15" in text  # parameters


def test_hallmarks_of_another_origin(run, capsys):
    _, out, states = run
    theta = oracle.flat(states)
    for origin in (0, 4, 8):
        assert (
            abs(result(capsys, out, "--origin", origin)["relative_mds"] - oracle.mds(theta, origin))
            < 1e-13
        )


def test_plot(run):
    folder, out, _ = run
    pytest.importorskip("matplotlib")
    assert call("plot", out, "-o", folder / "run.png") == 0
    assert (folder / "run.png").read_bytes().startswith(b"\x89PNG")


def test_help(capsys):
    assert call("--help") == 0
    text = capsys.readouterr().out
    assert all(word in text for word in ("gram", "hallmarks", "plot"))
    for command, words in {
        "gram": ["--device", "--precision", "--include", "--exclude", "--every", "--nonfinite"]
        + ["--json", "--quiet"],
        "hallmarks": ["--json", "--origin"],
        "plot": ["-o"],
    }.items():
        assert call(command, "--help") == 0
        text = capsys.readouterr().out
        assert all(word in text for word in words), command


def bad_calls(folder):
    out = folder / "out.npz"
    run, kernel = folder / "run", folder / "run.npz"
    (folder / "empty").mkdir()
    (folder / "junk.npz").write_bytes(b"junk")
    write_run(folder / "single", [1])
    return {
        "no command": [],
        "unknown command": ["frobnicate"],
        "no output": ["gram", run],
        "no source": ["gram", "-o", out],
        "no such folder": ["gram", folder / "nowhere", "-o", out],
        "empty folder": ["gram", folder / "empty", "-o", out],
        "one checkpoint": ["gram", folder / "single", "-o", out],
        "every 0": ["gram", run, "-o", out, "--every", "0"],
        "every -2": ["gram", run, "-o", out, "--every", "-2"],
        "every leaves one": ["gram", run, "-o", out, "--every", "100"],
        "no such device": ["gram", run, "-o", out, "--device", "abacus"],
        "no such precision": ["gram", run, "-o", out, "--precision", "float16"],
        "nothing included": ["gram", run, "-o", out, "--include", "nothing.*"],
        "output in no folder": ["gram", run, "-o", folder / "no" / "such" / "out.npz"],
        "output is a folder": ["gram", run, "-o", folder / "empty"],
        "no kernel": ["hallmarks", folder / "nowhere.npz"],
        "a broken kernel": ["hallmarks", folder / "junk.npz", "--json"],
        "a checkpoint for a kernel": ["hallmarks", run / "epoch_1.pt"],
        "origin past the end": ["hallmarks", kernel, "--json", "--origin", "9"],
        "origin is no number": ["hallmarks", kernel, "--origin", "first"],
        "plot of nothing": ["plot", folder / "nowhere.npz", "-o", folder / "x.png"],
        "plot to an unknown format": ["plot", kernel, "-o", folder / "x.abc"],
    }


def test_bad_input(run, capfd):
    folder = run[0]
    for name, arguments in bad_calls(folder).items():
        capfd.readouterr()
        assert call(*arguments) == 2, name
        out, err = capfd.readouterr()
        assert "Traceback" not in err, name
        lines = [line for line in err.strip().splitlines() if line.strip()]
        assert lines and ("error" in lines[-1] or "usage" in lines[0]), name
        if "usage" not in lines[0]:
            assert len(lines) == 1, (name, err)
        assert not out.strip(), name
    assert not (folder / "out.npz").exists()


@pytest.mark.skipif(
    torch.cuda.is_available() or torch.backends.mps.is_available(), reason="has a GPU"
)
def test_where_an_error_came_from(run, capfd):
    """One line for a user; the way to the line of code for whoever reports a bug."""
    call = ["hallmarks", str(run[0] / "nowhere.npz")]
    assert main(call) == 2 and "Traceback" not in capfd.readouterr().err
    assert main([*call, "--debug"]) == 2
    said = capfd.readouterr().err
    assert said.startswith("Traceback") and "in load_kernel" in said
    assert said.splitlines()[-1].startswith("trajhelpers: error: ")


@pytest.mark.parametrize("device", ["cuda", "cuda:0", "mps"])
def test_a_device_that_is_not_there(run, capfd, device):
    assert call("gram", run[0] / "run", "-o", run[1], "--device", device) == 2
    assert device.split(":")[0] in capfd.readouterr().err


def test_an_existing_kernel_survives_a_failure(run):
    folder, out, states = run
    torch.save(
        {"fc.weight": torch.full((3, 4), float("nan")), "fc.bias": torch.zeros(3)},
        folder / "run" / "epoch_10.pt",
    )
    assert call("gram", folder / "run", "-o", out) == 2
    same(out, states)


# In a process of its own


def python(*arguments, **options):
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        **options,
    )


def test_as_a_module(run):
    folder, out, _ = run
    done = python("-m", "trajhelpers", "gram", folder / "run", "-o", out)
    assert done.returncode == 0, done.stderr
    done = python("-m", "trajhelpers", "hallmarks", out, "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["n"] == 9
    done = python("-m", "trajhelpers", "hallmarks", folder / "nowhere.npz")
    assert done.returncode == 2 and "nowhere.npz" in done.stderr and "Traceback" not in done.stderr


def test_hallmarks_need_no_torch(run):
    code = (
        "import sys; from trajhelpers.__main__ import main; main(['hallmarks', sys.argv[1],"
        " '--json']); print([m for m in ('torch', 'matplotlib', 'pandas', 'ipywidgets') if m in"
        " sys.modules], file=sys.stderr)"
    )
    done = python("-c", code, run[1])
    assert done.returncode == 0 and json.loads(done.stdout)["n"] == 9
    assert done.stderr.strip() == "[]"


def test_a_reader_that_has_read_enough(run):
    """`trajhelpers ... | head -1` ends without a word; here nobody reads at all."""
    folder, kernel, _ = run
    for arguments in (
        ["--help"],
        ["--version"],
        ["gram", "--help"],
        ["gram", folder / "run", "-o", folder / "new.npz"],
        ["gram", "--json", folder / "run", "-o", folder / "new.npz"],
        ["ls", folder / "run"],
        ["audit", folder / "run"],
        ["verify", kernel, folder / "run"],
        ["hallmarks", kernel],
        ["hallmarks", "--json", kernel],
        ["hallmarks", folder / "run"],
        ["plot", kernel, "-o", folder / "run.png"],
        ["train", "--list"],
        ["study", "--list"],
    ):
        read, write = os.pipe()
        os.close(read)
        done = subprocess.run(
            [sys.executable, "-m", "trajhelpers", *map(str, arguments)],
            stdout=write,
            stderr=subprocess.PIPE,
            text=True,
        )
        os.close(write)
        # argparse swallows the error itself, where Python does not buffer.
        assert done.returncode == 1 or arguments[-1] in ("--help", "--version"), arguments
        assert done.stderr == "", arguments
    same(folder / "new.npz", run[2])


def test_hallmarks_and_pictures_of_checkpoints(run, capsys):
    """As of their kernel, which need not be kept."""
    folder, kernel, _ = run
    for options in ([], ["--every", 2], ["--include", "*.weight"]):
        assert call("gram", folder / "run", "-o", folder / "kept.npz", *options) == 0
        assert result(capsys, folder / "run", *options) == result(capsys, folder / "kept.npz")
    files = sorted((folder / "run").glob("*.pt"))
    assert result(capsys, *files) == result(capsys, kernel)
    assert call("plot", folder / "run", "-o", folder / "of-run.png") == 0
    assert call("plot", kernel, "-o", folder / "of-kernel.png") == 0
    assert (folder / "of-run.png").read_bytes() == (folder / "of-kernel.png").read_bytes()


def test_options_for_checkpoints_are_not_passed_over(run, capsys):
    for options in (["--every", 2], ["--exclude", "*.bias"], ["--precision", "float32"]):
        assert call("hallmarks", run[1], *options) == 2
        said = capsys.readouterr().err
        assert "run.npz: is a kernel" in said and options[0] in said


def test_what_a_script_wants_to_know_of_a_kernel(run, capsys):
    folder, out, _ = run
    capsys.readouterr()
    assert call("gram", folder / "run", "-o", out, "--exclude", "*.bias", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["path"] == str(out)
    assert told["n"] == 9 and told["p"] == 12 and told["steps"] == list(range(1, 10))
    assert told["groups"] == {"fc.weight": 12} and len(told["runs"]) == 9
    assert told["precision"] == "float64" and told["dtypes"] == ["float32"]
    assert any("fc.bias" in line for line in told["left_out"]) and told["notes"] == []
    assert told["cost"]["seconds"] > 0 and told["cost"]["bytes"] == told["cost"]["requests"] == 0
    assert len(told["checkpoints"]) == 9


def test_quiet(run, capfd):
    """Nothing but results, and what is wrong."""
    folder, out, _ = run
    call_it = ["gram", folder / "run", "-o", out, "--exclude", "*.bias"]
    capfd.readouterr()
    assert call(*call_it) == 0 and "fc.bias" in capfd.readouterr().err
    assert call(*call_it, "--quiet") == 0
    printed, told = capfd.readouterr()
    assert told == "" and printed.startswith(f"{out}: ")
    for command in (
        ["ls", folder / "run"],
        ["audit", folder / "run"],
        ["verify", out, folder / "run", "--exclude", "*.bias"],
        ["hallmarks", folder / "run", "--exclude", "*.bias"],
        ["plot", out, "-o", folder / "run.png"],
        ["train", "--list"],
        ["study", "--list"],
    ):
        assert call(*command, "--quiet") == 0 and capfd.readouterr().err == "", command
    assert call("hallmarks", folder / "nowhere", "--quiet") == 2
    assert "nowhere" in capfd.readouterr().err


def test_a_command_that_is_none(run, capfd):
    folder = run[0]
    for given, answer in {
        "hallmark": "did you mean hallmarks?",
        "frobnicate": "there are gram, watch, ls, audit, verify, hallmarks, plot, explore, train,",
        str(folder / "run"): f"For example: trajhelpers hallmarks {folder / 'run'}",
        "hf://OWNER/NAME": "For example: trajhelpers hallmarks hf://OWNER/NAME",
    }.items():
        assert call(given) == 2
        assert answer in capfd.readouterr().err


def test_the_version(capsys):
    assert call("--version") == 0
    assert capsys.readouterr().out == f"{th.__version__}\n"


def test_no_hours_for_a_file_that_cannot_be_written(run, capfd, monkeypatch):
    folder = run[0]
    monkeypatch.setattr("trajhelpers.cli.computing.gram", lambda *_, **__: pytest.fail("computed"))
    for command, name, why in (
        ("gram", "run.txt", "its ending has to be .npz"),
        ("gram", "none/run.npz", "there is no folder"),
        ("plot", "run.foo", "its ending has to be "),
        ("plot", "none/run.png", "there is no folder"),
    ):
        capfd.readouterr()
        assert call(command, folder / "run", "-o", folder / name) == 2
        assert why in capfd.readouterr().err
        assert not (folder / name).exists()


def test_nothing_is_told_twice(tmp_path, capfd):
    states = write_run(tmp_path / "run", range(3))
    states[2] = states[0]
    for step, state in enumerate(states):
        average = {name: 2 * tensor for name, tensor in state.items()}
        torch.save({"model": state, "ema": average}, tmp_path / "run" / f"epoch_{step}.pt")
    assert call("plot", tmp_path / "run", "-o", tmp_path / "run.png") == 0
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == len(set(lines))
    assert sum("ema: an average" in line for line in lines) == 1
    assert any("equal the origin" in line for line in lines)


def test_the_audit_of_a_folder_proposes_what_works_there(run, capsys):
    folder = run[0] / "run"
    (folder / "epoch_3.pt").write_bytes((folder / "epoch_3.pt").read_bytes()[:100])
    capsys.readouterr()
    assert call("audit", folder) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "to go on: leave steps out (skip=, --skip)"
