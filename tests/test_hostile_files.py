"""Bad input: every kind gets an error that names what is wrong and where, and nothing that a file carries is run."""

import io
import json
import os
import pickle
import re
import subprocess
import sys
import textwrap
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import oracle
import trajhelpers as th


def state(value, **more):
    generator = torch.Generator().manual_seed(int(value))
    return {"a.weight": torch.randn(40, 30, generator=generator), "b.bias": torch.randn(30, generator=generator), **more}


def write(path, tensors, legacy=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".safetensors":
        save_file(tensors, path)
    else:
        torch.save(tensors, path, _use_new_zipfile_serialization=not legacy)
    return path


def run_of(folder, suffix="pt", legacy=False, steps=(1, 2, 3)):
    return [write(folder / f"epoch_{step}.{suffix}", state(step), legacy) for step in steps]


def compute(source, **options):
    return th.gram(th.open_trajectory(source, **options), device="cpu")


def refused(source, error, *facts, **options):
    """Opening or computing fails with `error`, whose message has all the facts (regular expressions, any case)."""
    with pytest.raises(error) as caught:
        compute(source, **options)
    message = str(caught.value)
    for fact in facts:
        assert re.search(fact, message, re.IGNORECASE), f"{fact!r} is not in: {message}"
    return message


KINDS = [("pt", False), ("pt", True), ("safetensors", False)]
KIND_IDS = ["zip", "legacy", "safetensors"]


# Damage

@pytest.mark.parametrize("keep", [0, 1, 7, 60, 0.3, 0.9, -1, -100])
@pytest.mark.parametrize("suffix, legacy", KINDS, ids=KIND_IDS)
def test_truncated(tmp_path, suffix, legacy, keep):
    """Cut to so many bytes, to a share, or by so many bytes; the others are whole."""
    path = run_of(tmp_path, suffix, legacy)[1]
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep * len(whole))] if isinstance(keep, float) else whole[:keep])
    refused(tmp_path, th.CheckpointError, path.name)


@pytest.mark.parametrize("content", [b"\x00" * 5000, bytes(range(256)) * 30, b"PK\x03\x04" + b"\xff" * 3000, b"\x80\x02}q\x00."], ids=range(4))
@pytest.mark.parametrize("suffix", ["pt", "bin", "safetensors"])
def test_garbage(tmp_path, suffix, content):
    path = run_of(tmp_path, suffix)[2]
    path.write_bytes(content)
    # the last of them is an empty dict to the unpickler: a file without parameters
    refused(tmp_path, (th.CheckpointError, th.LayoutError), path.name)


@pytest.mark.parametrize("suffix", ["pt", "ckpt", "safetensors"])
def test_a_page_instead_of_a_file(tmp_path, suffix):
    path = run_of(tmp_path, suffix)[0]
    path.write_text("<!DOCTYPE html>\n<html><body>Sign in to download</body></html>\n")
    refused(tmp_path, th.CheckpointError, path.name, "html|web page")


@pytest.mark.parametrize("suffix", ["pt", "bin", "safetensors"])
def test_a_pointer_of_git_lfs(tmp_path, suffix):
    path = run_of(tmp_path, suffix)[0]
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:" + "4d" * 32 + "\nsize 166000000\n")
    refused(tmp_path, th.CheckpointError, path.name, "git.lfs")


@pytest.mark.parametrize("suffix, legacy", KINDS, ids=KIND_IDS)
def test_a_file_that_shrinks_between_opening_and_reading(tmp_path, suffix, legacy):
    path = run_of(tmp_path, suffix, legacy)[1]
    trajectory = th.open_trajectory(tmp_path)
    os.truncate(path, path.stat().st_size // 2)
    try:
        kernel = th.gram(trajectory, device="cpu")
    except th.CheckpointError as error:
        assert path.name in str(error)
    else:  # a legacy file may have been read whole when it was opened
        assert legacy
        np.testing.assert_allclose(kernel.gram(), oracle.gram(oracle.flat([state(s) for s in (1, 2, 3)])), rtol=1e-12)


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_a_file_that_goes_away(tmp_path, suffix):
    path = run_of(tmp_path, suffix)[1]
    trajectory = th.open_trajectory(tmp_path)
    path.unlink()
    with pytest.raises((th.CheckpointError, FileNotFoundError), match=path.name):
        th.gram(trajectory, device="cpu")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path):
    path = run_of(tmp_path)[1]
    path.chmod(0)
    refused(tmp_path, (th.CheckpointError, PermissionError), path.name)


# Forged safetensors

def forge(path, header, data=b"\x00" * 64, length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + data)


def entry(start, stop, shape=(4,), dtype="F32"):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [start, stop]}


@pytest.mark.parametrize("header", [
    {"a": entry(0, 16), "b": entry(8, 24)},
    {"a": entry(0, 16), "b": entry(0, 16)},
    {"a": entry(0, 16), "b": entry(64, 80)},
    {"a": entry(0, 16), "b": entry(10**18, 10**18 + 16)},
    {"a": entry(0, 16), "b": entry(-16, 0)},
    {"a": entry(0, 16), "b": entry(32, 16)},
    {"a": entry(0, 16), "b": entry(16, 28)},
    {"a": entry(0, 16), "b": entry(16, 32, shape=(5,))},
    {"a": entry(0, 16), "b": entry(16, 32, shape=(-2, -2))},
    {"a": entry(0, 16), "b": entry(16, 32, shape=(2**62, 8))},
    {"a": entry(0, 16), "b": entry(16, 32, dtype="F33")},
    {"a": entry(0, 16), "b": {"dtype": "F32"}},
    {"a": entry(0, 16), "b": 3},
    [1, 2],
    b"{not json",
    b'{"a": ' * 50,
], ids=["overlap", "same bytes", "past the end", "far past the end", "negative", "backwards", "too short", "shape too large", "negative shape",
        "overflowing shape", "unknown dtype", "no offsets", "no entry", "a list", "no json", "unfinished json"])
def test_forged_safetensors(tmp_path, header):
    for step in (1, 2):
        write(tmp_path / f"epoch_{step}.safetensors", {"a": torch.ones(4) * step, "b": torch.ones(4) * step})
    forge(tmp_path / "epoch_3.safetensors", header)
    refused(tmp_path, th.CheckpointError, "epoch_3.safetensors")


@pytest.mark.parametrize("length", [0, 10**6, 2**63, 2**64 - 1])
def test_forged_length_of_the_header(tmp_path, length):
    write(tmp_path / "epoch_1.safetensors", {"a": torch.ones(4)})
    forge(tmp_path / "epoch_2.safetensors", {"a": entry(0, 16)}, length=length)
    refused(tmp_path, th.CheckpointError, "epoch_2.safetensors")


@pytest.mark.parametrize("place", ["../outside.safetensors", "/etc/hostname", "no-such-shard.safetensors"])
def test_an_index_that_points_elsewhere(tmp_path, place):
    write(tmp_path / "outside.safetensors", {"b": torch.ones(4)})
    for step in (1, 2):
        folder = tmp_path / "run" / f"step{step}"
        write(folder / "model-00001-of-00002.safetensors", {"a": torch.ones(4) * step})
        index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": place}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    refused(tmp_path / "run", (th.CheckpointError, FileNotFoundError), "model.safetensors.index.json|" + re.escape(place))


def test_an_index_whose_shard_lacks_the_tensor(tmp_path):
    for step in (1, 2):
        write(tmp_path / f"step{step}" / "model-00001-of-00001.safetensors", {"a": torch.ones(4) * step})
        index = {"weight_map": {"a": "model-00001-of-00001.safetensors", "missing.weight": "model-00001-of-00001.safetensors"}}
        (tmp_path / f"step{step}" / "model.safetensors.index.json").write_text(json.dumps(index))
    refused(tmp_path, th.TrajectoryError, "missing.weight")


# Forged zip files

def rewrite(path, change, compression=zipfile.ZIP_STORED):
    """The same archive with its records changed: `change(name, content)` gives the new content, or None to leave the record out."""
    with zipfile.ZipFile(path) as old:
        records = [(info.filename, old.read(info)) for info in old.infolist()]
    with zipfile.ZipFile(path, "w", compression) as new:
        for name, content in records:
            content = change(name, content)
            if content is not None:
                new.writestr(name, content)


def test_a_record_that_is_too_short(tmp_path):
    """4,800 bytes of weights of which only 1,000 are there; the archive itself is sound."""
    path = run_of(tmp_path)[1]
    rewrite(path, lambda name, content: content[:1000] if len(content) == 4800 else content)
    refused(tmp_path, th.CheckpointError, path.name)


def test_a_record_that_is_missing(tmp_path):
    path = run_of(tmp_path)[1]
    rewrite(path, lambda name, content: None if len(content) == 4800 else content)
    refused(tmp_path, th.CheckpointError, path.name)


def test_deflated_records(tmp_path):
    """Some tools pack archives anew. The bytes on disk are no weights then: read rightly or refuse, never read them as they lie."""
    paths = run_of(tmp_path)
    for path in paths:
        rewrite(path, lambda name, content: content, zipfile.ZIP_DEFLATED)
    try:
        kernel = compute(tmp_path)
    except th.CheckpointError as error:
        assert "epoch_1.pt" in str(error)
    else:
        np.testing.assert_allclose(kernel.gram(), oracle.gram(oracle.flat([state(s) for s in (1, 2, 3)])), rtol=1e-12)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_one_deflated_record_hidden_among_stored_ones(tmp_path, compression):
    """Stored records moved about by another zip writer, without torch's alignment: still the same numbers."""
    paths = run_of(tmp_path)
    with zipfile.ZipFile(paths[1]) as old:
        records = [(info.filename, old.read(info)) for info in old.infolist()]
    with zipfile.ZipFile(paths[1], "w") as new:
        for name, content in records:
            new.writestr(name, content, compress_type=compression if len(content) == 4800 else zipfile.ZIP_STORED)
    try:
        kernel = compute(tmp_path)
    except th.CheckpointError as error:
        assert paths[1].name in str(error)
    else:
        np.testing.assert_allclose(kernel.gram(), oracle.gram(oracle.flat([state(s) for s in (1, 2, 3)])), rtol=1e-12)


def test_two_records_over_the_same_bytes(tmp_path):
    """The central directory is made to send one record to the other's bytes."""
    path = write(tmp_path / "epoch_1.pt", {"a": torch.zeros(100), "b": torch.ones(100)})
    write(tmp_path / "epoch_2.pt", {"a": torch.ones(100) * 2, "b": torch.ones(100)})
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        place = {info.filename.split("/", 1)[1]: info.header_offset for info in archive.infolist()}
        start = archive.start_dir
    name = b"/data/1"
    at = content.index(name, start)  # the record's name in the directory: its offset is the field just before
    begin = content.rindex(b"PK\x01\x02", 0, at)
    content[begin + 42: begin + 46] = place["data/0"].to_bytes(4, "little")
    path.write_bytes(content)
    refused(tmp_path, th.CheckpointError, "epoch_1.pt")


def test_a_view_past_the_end_of_its_storage(tmp_path):
    """A pickle that claims 50 numbers where the record has 10."""
    for step in (1, 2):
        write(tmp_path / f"epoch_{step}.pt", {"w": torch.arange(50.0) * step})
    rewrite(tmp_path / "epoch_2.pt", lambda name, content: content[:40] if name.endswith("data/0") else content)
    refused(tmp_path, th.CheckpointError, "epoch_2.pt")


# Pickles that want to run code

class Payload:
    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return open, (self.marker, "w")  # leaves a file behind when it runs


class Trainer:
    """Somebody's class, saved with the weights."""


def hostile(folder, kind):
    """Three checkpoints, the second of which carries a payload in one of the ways a file can."""
    paths = run_of(folder, legacy=kind == "legacy")
    marker = folder.parent / "the payload has run"
    if kind == "bare pickle":
        paths[1].write_bytes(pickle.dumps({"a.weight": Payload(marker)}))
    else:
        torch.save(state(2, extra=Payload(marker)), paths[1], _use_new_zipfile_serialization=kind == "zip")
    return paths[1], marker


@pytest.mark.parametrize("kind", ["zip", "legacy", "bare pickle"])
def test_code_in_a_pickle_is_not_run(tmp_path, kind):
    path, marker = hostile(tmp_path / "run", kind)
    refused(tmp_path / "run", th.CheckpointError, path.name, "open|code|weights_only")
    assert not marker.exists()


@pytest.mark.parametrize("kind", ["zip", "legacy"])
def test_the_payload_does_run_when_let(tmp_path, kind):
    """So that the tests around this one are not empty."""
    path, marker = hostile(tmp_path / "run", kind)
    torch.load(path, weights_only=False)["extra"].close()
    assert marker.exists()


@pytest.mark.parametrize("kind", ["zip", "legacy", "bare pickle"])
def test_nor_where_the_environment_asks_for_it(tmp_path, kind):
    """TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1 turns torch's default off."""
    path, marker = hostile(tmp_path / "run", kind)
    code = textwrap.dedent("""
        import sys, trajhelpers as th
        try:
            th.gram(th.open_trajectory(sys.argv[1]), device="cpu")
        except th.CheckpointError as error:
            print("refused", error)
    """)
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "run"], capture_output=True, text=True, check=True,
                          env={**os.environ, "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"})
    assert done.stdout.startswith("refused") and path.name in done.stdout
    assert not marker.exists()


@pytest.mark.parametrize("legacy", [False, True])
def test_other_classes_than_torch_takes(tmp_path, legacy):
    """The class is named, and how to allow it; once allowed, the file opens."""
    for step in (1, 2):
        write(tmp_path / f"epoch_{step}.pt", state(step, trainer=Trainer()), legacy)
    refused(tmp_path, th.CheckpointError, r"epoch_1\.pt", "Trainer", r"add_safe_globals")
    with torch.serialization.safe_globals([Trainer]):
        assert compute(tmp_path).p == 40 * 30 + 30


# NaN and inf

@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_not_finite(tmp_path, suffix, bad):
    paths = run_of(tmp_path, suffix, steps=(10, 20, 30, 40))
    broken = state(30)
    broken["b.bias"][7] = bad
    write(paths[2], broken)
    refused(tmp_path, th.NonFiniteError, r"b\.bias", r"\b30\b")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("steps", [(10,), (20,), (40,), (10, 30), (20, 30)])
def test_skipping_what_is_not_finite(tmp_path, steps, dtype):
    """The kernel is the one of the other checkpoints alone, and the steps are reported."""
    states = {}
    for step in (10, 20, 30, 40):
        tensors = {name: tensor.to(dtype) for name, tensor in state(step).items()}
        if step in steps:
            tensors["b.bias" if step < 30 else "a.weight"].view(-1)[-1] = float("nan") if step % 20 else float("inf")
        else:
            states[step] = tensors
        write(tmp_path / f"epoch_{step}.safetensors", tensors)
    with pytest.warns(th.TrajectoryWarning) as caught:
        kernel = compute(tmp_path, nonfinite="skip-checkpoint")
    assert list(kernel.steps) == list(states)
    expected = oracle.gram(oracle.flat(list(states.values())))
    np.testing.assert_allclose(kernel.gram(), expected, rtol=0, atol=1e-12 * expected.max())
    text = " ".join(str(w.message) for w in caught)
    assert all(re.search(rf"\b{step}\b", text) for step in steps)


def test_skipping_leaves_at_least_two(tmp_path):
    for step in (1, 2, 3):
        tensors = state(step)
        if step > 1:
            tensors["a.weight"][0, 0] = float("nan")
        write(tmp_path / f"epoch_{step}.pt", tensors)
    with pytest.warns(th.TrajectoryWarning), pytest.raises(th.TrajectoryError):
        compute(tmp_path, nonfinite="skip-checkpoint")


def test_nan_in_what_is_left_out_does_not_matter(tmp_path):
    for step in (1, 2):
        write(tmp_path / f"epoch_{step}.pt", state(step, **{"bn.running_mean": torch.tensor([float("nan")])}))
    assert compute(tmp_path).n == 2


def test_nonfinite_takes_two_values(tmp_path):
    run_of(tmp_path)
    with pytest.raises(ValueError):
        th.open_trajectory(tmp_path, nonfinite="ignore")


# Checkpoints that do not fit together

def test_a_shape_that_differs(tmp_path):
    paths = run_of(tmp_path)
    write(paths[2], {**state(3), "a.weight": torch.ones(40, 31)})
    refused(tmp_path, th.LayoutError, r"epoch_3\.pt", r"a\.weight", r"40,? ?[x×]?,? ?30", r"40,? ?[x×]?,? ?31")


def test_a_transposed_tensor_differs_although_its_size_does_not(tmp_path):
    paths = run_of(tmp_path, "safetensors")
    write(paths[1], {**state(2), "a.weight": torch.ones(30, 40)})
    refused(tmp_path, th.LayoutError, r"epoch_2\.safetensors", r"a\.weight")


def test_a_name_that_is_missing_or_new(tmp_path):
    paths = run_of(tmp_path)
    write(paths[1], {"a.weight": state(2)["a.weight"]})
    refused(tmp_path, th.LayoutError, r"epoch_2\.pt", r"b\.bias")
    write(paths[1], state(2, **{"c.weight": torch.ones(2)}))
    refused(tmp_path, th.LayoutError, r"epoch_2\.pt", r"c\.weight")


def test_a_shape_that_differs_in_memory():
    states = [state(1), state(2), {**state(3), "b.bias": torch.ones(29)}]
    refused(states, th.LayoutError, r"b\.bias", "30", "29", r"\b2\b")


def test_a_name_that_differs_between_runs(tmp_path):
    run_of(tmp_path / "one")
    write(tmp_path / "two" / "epoch_1.pt", {"other.weight": torch.ones(3)})
    write(tmp_path / "two" / "epoch_2.pt", {"other.weight": torch.ones(3) * 2})
    refused([tmp_path / "one", tmp_path / "two"], th.LayoutError, "two", r"other\.weight|a\.weight")


def test_nothing_but_buffers(tmp_path):
    for step in (1, 2):
        write(tmp_path / f"epoch_{step}.pt", {"bn.num_batches_tracked": torch.tensor(step), "bn.running_mean": torch.ones(3)})
    refused(tmp_path, th.LayoutError)


@pytest.mark.parametrize("content", [torch.ones(3), [torch.ones(3)], {"lr": 0.1}, {}, {"epoch": 3, "optimizer": {"state": {}}}])
def test_a_file_without_a_state_dict(tmp_path, content):
    for step in (1, 2):
        torch.save(content, tmp_path / f"epoch_{step}.pt")
    refused(tmp_path, (th.LayoutError, th.CheckpointError), r"epoch_1\.pt")


# Too few, too many

def test_an_empty_folder(tmp_path):
    refused(tmp_path, th.StepError, re.escape(tmp_path.name))
    (tmp_path / "notes.txt").write_text("nothing here")
    refused(tmp_path, th.StepError, re.escape(tmp_path.name))


def test_a_folder_of_files_without_steps(tmp_path):
    for name in ("best.pt", "last.pt"):
        write(tmp_path / name, state(1))
    refused(tmp_path, th.StepError, "best.pt|last.pt")


def test_one_checkpoint_only(tmp_path):
    run_of(tmp_path, steps=(5,))
    refused(tmp_path, th.StepError, "one|1|two")
    refused([state(1)], th.StepError, "one|1|two")
    refused([], th.StepError)


def test_two_files_with_one_step(tmp_path):
    run_of(tmp_path)
    write(tmp_path / "epoch_02.pt", state(9))
    refused(tmp_path, th.StepError, r"epoch_2\.pt", r"epoch_02\.pt", r"\b2\b")


def test_a_path_that_does_not_exist(tmp_path):
    refused(tmp_path / "nowhere", FileNotFoundError, "nowhere")
    paths = run_of(tmp_path)
    refused([*paths, tmp_path / "epoch_9.pt"], FileNotFoundError, "epoch_9.pt")


@pytest.mark.parametrize("source", [None, 3, {"a": 1}, [1, 2]])
def test_what_is_no_source(source):
    with pytest.raises((TypeError, ValueError, th.TrajectoryError)):
        compute(source)


def test_distributed_checkpoints_name_the_converter(tmp_path):
    for step in (1, 2):
        folder = tmp_path / f"step_{step}"
        folder.mkdir()
        (folder / "__0_0.distcp").write_bytes(b"\x00" * 100)
        (folder / ".metadata").write_bytes(b"\x80\x02}q\x00.")
    refused(tmp_path, th.CheckpointError, "step_1", "dcp_to_torch")
    refused(tmp_path / "step_1", th.CheckpointError, "dcp_to_torch")


# Checkpoints that repeat

@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_identical_neighbours_warn_and_name_the_steps(tmp_path, suffix):
    run_of(tmp_path, suffix, steps=(10, 20, 30))
    write(tmp_path / f"epoch_25.{suffix}", state(20))
    with pytest.warns(th.TrajectoryWarning) as caught:
        kernel = compute(tmp_path)
    text = " ".join(str(w.message) for w in caught)
    assert re.search(r"\b20\b", text) and re.search(r"\b25\b", text) and not re.search(r"\b30\b", text)
    assert list(kernel.steps) == [10, 20, 25, 30]


def test_identical_checkpoints_far_apart_warn_too(tmp_path):
    """As in Pythia 2.8b, where many branches serve the final weights."""
    run_of(tmp_path, steps=(10, 20, 30, 40))
    write(tmp_path / "epoch_40.pt", state(10))
    with pytest.warns(th.TrajectoryWarning) as caught:
        compute(tmp_path)
    text = " ".join(str(w.message) for w in caught)
    assert re.search(r"\b10\b", text) and re.search(r"\b40\b", text) and not re.search(r"\b30\b", text)


# Kernels on disk

def test_a_broken_kernel_file(tmp_path):
    path = tmp_path / "run.npz"
    for content in (b"", b"junk", b"PK\x03\x04junk"):
        path.write_bytes(content)
        with pytest.raises((th.TrajectoryError, ValueError)) as caught:
            th.load_kernel(path)
        assert "run.npz" in str(caught.value)
    with pytest.raises(FileNotFoundError):
        th.load_kernel(tmp_path / "nowhere.npz")
    np.savez(path, something=np.ones(3))
    with pytest.raises((th.TrajectoryError, ValueError)) as caught:
        th.load_kernel(path)
    assert "run.npz" in str(caught.value)


def test_a_kernel_file_that_holds_a_pickle(tmp_path):
    marker = tmp_path / "the payload has run"
    np.savez(tmp_path / "run.npz", increments=np.array([Payload(marker)], dtype=object))
    marker.unlink(missing_ok=True)
    with pytest.raises((th.TrajectoryError, ValueError)):
        th.load_kernel(tmp_path / "run.npz")
    assert not marker.exists()
