"""Bad input: every kind gets an error that names what is wrong and where, and nothing that a file
carries is run.
"""

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
import oracle
import pytest
import torch
from safetensors.torch import save_file

import trajhelpers as th


def state(value, **more):
    generator = torch.Generator().manual_seed(int(value))
    return {
        "a.weight": torch.randn(40, 30, generator=generator),
        "b.bias": torch.randn(30, generator=generator),
        **more,
    }


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
    """Opening or computing fails with `error`, whose message has all the facts (regular
    expressions, any case).
    """
    with pytest.raises(error) as caught:
        compute(source, **options)
    # the folder's own name repeats the test's, which would answer for any fact
    message = (
        str(caught.value).replace(f"{source}{os.sep}", "")
        if isinstance(source, os.PathLike)
        else str(caught.value)
    )
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


@pytest.mark.parametrize(
    "content",
    [b"\x00" * 5000, bytes(range(256)) * 30, b"PK\x03\x04" + b"\xff" * 3000, b"\x80\x02}q\x00."],
    ids=range(4),
)
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
    path.write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:" + "4d" * 32 + "\nsize 166000000\n"
    )
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
        np.testing.assert_allclose(
            kernel.gram(), oracle.gram(oracle.flat([state(s) for s in (1, 2, 3)])), rtol=1e-12
        )


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_a_file_that_shrinks_while_it_is_read(tmp_path, suffix):
    """It is open already: a mapped file would kill the process."""
    path = run_of(tmp_path, suffix)[1]
    trajectory = th.open_trajectory(tmp_path)
    trajectory.read([("b.bias", 0, 1)])
    os.truncate(path, 100)
    with pytest.raises(th.CheckpointError, match=path.name):
        trajectory.read([("a.weight", 0, 1200)])


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_a_file_that_is_rewritten_after_opening(tmp_path, suffix):
    """Of the same length: its offsets may be others."""
    path = run_of(tmp_path, suffix)[1]
    trajectory = th.open_trajectory(tmp_path)
    path.write_bytes(write(tmp_path / f"new.{suffix}", state(9)).read_bytes())
    with pytest.raises(th.CheckpointError, match=path.name):
        th.gram(trajectory, device="cpu")


def test_a_file_that_is_replaced_before_a_part_is_taken(tmp_path):
    """A part of a trajectory is of the files that were opened, and not of those that lie there
    when it is taken.
    """
    path = run_of(tmp_path)[1]
    trajectory = th.open_trajectory(tmp_path)
    os.replace(write(tmp_path / "new.pt", state(9)), path)
    np.testing.assert_allclose(
        th.gram(trajectory[:2], device="cpu").gram(),
        oracle.gram(oracle.flat([state(s) for s in (1, 2)])),
        rtol=1e-12,
    )


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_a_file_that_goes_away(tmp_path, suffix):
    """Where it is open still, it is what it was."""
    path = run_of(tmp_path, suffix)[1]
    trajectory = th.open_trajectory(tmp_path)
    path.unlink()
    np.testing.assert_allclose(
        th.gram(trajectory, device="cpu").gram(),
        oracle.gram(oracle.flat([state(s) for s in (1, 2, 3)])),
        rtol=1e-12,
    )


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


@pytest.mark.parametrize(
    "header",
    [
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
    ],
    ids=[
        "overlap",
        "same bytes",
        "past the end",
        "far past the end",
        "negative",
        "backwards",
        "too short",
        "shape too large",
        "negative shape",
        "overflowing shape",
        "unknown dtype",
        "no offsets",
        "no entry",
        "a list",
        "no json",
        "unfinished json",
    ],
)
def test_forged_safetensors(tmp_path, header):
    for step in (1, 2):
        write(
            tmp_path / f"epoch_{step}.safetensors",
            {"a": torch.ones(4) * step, "b": torch.ones(4) * step},
        )
    forge(tmp_path / "epoch_3.safetensors", header)
    refused(tmp_path, th.CheckpointError, "epoch_3.safetensors")


@pytest.mark.parametrize("length", [0, 10**6, 2**63, 2**64 - 1])
def test_forged_length_of_the_header(tmp_path, length):
    write(tmp_path / "epoch_1.safetensors", {"a": torch.ones(4)})
    forge(tmp_path / "epoch_2.safetensors", {"a": entry(0, 16)}, length=length)
    refused(tmp_path, th.CheckpointError, "epoch_2.safetensors")


@pytest.mark.parametrize(
    "place", ["../outside.safetensors", "/etc/hostname", "no-such-shard.safetensors"]
)
def test_an_index_that_points_elsewhere(tmp_path, place):
    write(tmp_path / "outside.safetensors", {"b": torch.ones(4)})
    for step in (1, 2):
        folder = tmp_path / "run" / f"step{step}"
        write(folder / "model-00001-of-00002.safetensors", {"a": torch.ones(4) * step})
        index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": place}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    refused(
        tmp_path / "run",
        (th.CheckpointError, FileNotFoundError),
        "model.safetensors.index.json|" + re.escape(place),
    )


def test_an_index_whose_shard_lacks_the_tensor(tmp_path):
    for step in (1, 2):
        write(
            tmp_path / f"step{step}" / "model-00001-of-00001.safetensors",
            {"a": torch.ones(4) * step},
        )
        index = {
            "weight_map": {
                "a": "model-00001-of-00001.safetensors",
                "missing.weight": "model-00001-of-00001.safetensors",
            }
        }
        (tmp_path / f"step{step}" / "model.safetensors.index.json").write_text(json.dumps(index))
    refused(tmp_path, th.TrajectoryError, "missing.weight")


def shards(folder, weight_map, *contents):
    """Shards of these contents, of which an index names those that are in `weight_map`."""
    names = [f"model-{i:05d}-of-{len(contents):05d}.safetensors" for i in range(1, 9)]
    for name, tensors in zip(names, contents):
        write(folder / name, tensors)
    index = {"weight_map": {tensor: names[i] for tensor, i in weight_map.items()}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def test_an_index_that_names_part_of_the_shards(tmp_path):
    for step in (1, 2):
        tensor = torch.ones(4) * step
        shards(
            tmp_path / f"step{step}", {"a": 0, "c": 2}, {"a": tensor}, {"b": tensor}, {"c": tensor}
        )
    refused(tmp_path, th.CheckpointError, "index.json.*model-00002-of-00003")


def test_a_tensor_is_that_of_the_shard_that_the_index_names(tmp_path):
    """The other shard, of another save, has one of that name, and one that the index lacks."""
    for step in (1, 2):
        mine, another = torch.ones(4) * step, torch.full((4,), 9.0 + step)
        second = {"a": another, "b": mine, "c": another.clone()}
        shards(tmp_path / f"step{step}", {"a": 0, "b": 1}, {"a": mine}, second)
    trajectory = th.open_trajectory(tmp_path)
    assert trajectory.p == 8
    np.testing.assert_array_equal(th.gram(trajectory, device="cpu").gram(), [[8, 16], [16, 32]])
    assert [line.partition(":")[0] for line in trajectory.left_out] == ["a", "c"]


# Forged zip files


def rewrite(path, change, compression=zipfile.ZIP_STORED):
    """The same archive with its records changed: `change(name, content)` gives the new content, or
    None to leave the record out.
    """
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
    """Some tools pack archives anew. The bytes on disk are no weights then: read rightly or refuse,
    never read them as they lie.
    """
    paths = run_of(tmp_path)
    for path in paths:
        rewrite(path, lambda name, content: content, zipfile.ZIP_DEFLATED)
    try:
        kernel = compute(tmp_path)
    except th.CheckpointError as error:
        assert "epoch_1.pt" in str(error)
    else:
        np.testing.assert_allclose(
            kernel.gram(), oracle.gram(oracle.flat([state(s) for s in (1, 2, 3)])), rtol=1e-12
        )


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_one_deflated_record_hidden_among_stored_ones(tmp_path, compression):
    """Stored records moved about by another zip writer, without torch's alignment: still the same
    numbers.
    """
    paths = run_of(tmp_path)
    with zipfile.ZipFile(paths[1]) as old:
        records = [(info.filename, old.read(info)) for info in old.infolist()]
    with zipfile.ZipFile(paths[1], "w") as new:
        for name, content in records:
            new.writestr(
                name,
                content,
                compress_type=compression if len(content) == 4800 else zipfile.ZIP_STORED,
            )
    try:
        kernel = compute(tmp_path)
    except th.CheckpointError as error:
        assert paths[1].name in str(error)
    else:
        np.testing.assert_allclose(
            kernel.gram(), oracle.gram(oracle.flat([state(s) for s in (1, 2, 3)])), rtol=1e-12
        )


def test_two_records_over_the_same_bytes(tmp_path):
    """The central directory is made to send one record to the other's bytes."""
    path = write(tmp_path / "epoch_1.pt", {"a": torch.zeros(100), "b": torch.ones(100)})
    write(tmp_path / "epoch_2.pt", {"a": torch.ones(100) * 2, "b": torch.ones(100)})
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        place = {info.filename.split("/", 1)[1]: info.header_offset for info in archive.infolist()}
        start = archive.start_dir
    name = b"/data/1"
    # the record's name in the directory: its offset is the field just before
    at = content.index(name, start)
    begin = content.rindex(b"PK\x01\x02", 0, at)
    content[begin + 42 : begin + 46] = place["data/0"].to_bytes(4, "little")
    path.write_bytes(content)
    refused(tmp_path, th.CheckpointError, "epoch_1.pt")


def test_a_record_that_reaches_into_the_next(tmp_path):
    """The same directory with a length that covers both."""
    path = write(tmp_path / "epoch_1.pt", {"a": torch.zeros(100), "b": torch.ones(100)})
    write(tmp_path / "epoch_2.pt", {"a": torch.ones(100) * 2, "b": torch.ones(100)})
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        start = archive.start_dir
    begin = content.rindex(b"PK\x01\x02", 0, content.index(b"/data/0", start))
    content[begin + 20 : begin + 28] = (600).to_bytes(4, "little") * 2
    path.write_bytes(content)
    refused(tmp_path, th.CheckpointError, "epoch_1.pt")


def test_a_view_past_the_end_of_its_storage(tmp_path):
    """A pickle that claims 50 numbers where the record has 10."""
    for step in (1, 2):
        write(tmp_path / f"epoch_{step}.pt", {"w": torch.arange(50.0) * step})
    rewrite(
        tmp_path / "epoch_2.pt",
        lambda name, content: content[:40] if name.endswith("data/0") else content,
    )
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
        torch.save(
            state(2, extra=Payload(marker)), paths[1], _use_new_zipfile_serialization=kind == "zip"
        )
    return paths[1], marker


def check_read(folder):
    """The numbers of the three checkpoints, whatever lies beside them."""
    np.testing.assert_allclose(
        compute(folder).gram(), oracle.gram(oracle.flat([state(s) for s in (1, 2, 3)])), rtol=1e-12
    )


@pytest.mark.parametrize("kind", ["zip", "legacy"])
def test_code_in_a_pickle_is_not_run(tmp_path, kind):
    """It is not in the way either."""
    _, marker = hostile(tmp_path / "run", kind)
    check_read(tmp_path / "run")
    assert not marker.exists()


def test_code_in_a_bare_pickle_is_not_run(tmp_path):
    path, marker = hostile(tmp_path / "run", "bare pickle")
    refused(tmp_path / "run", th.CheckpointError, path.name, "no state dict", "a.weight")
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
            print("read", th.gram(th.open_trajectory(sys.argv[1]), device="cpu").p)
        except th.CheckpointError as error:
            print("refused", error)
    """)
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "run"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"},
    )
    if kind == "bare pickle":
        assert done.stdout.startswith("refused") and path.name in done.stdout
    else:
        assert done.stdout == "read 1230\n"
    assert not marker.exists()


@pytest.mark.parametrize("legacy", [False, True])
def test_other_classes_than_torch_takes(tmp_path, legacy):
    """Somebody's class beside the weights is not made, and not in the way."""
    for step in (1, 2, 3):
        write(tmp_path / f"epoch_{step}.pt", state(step, trainer=Trainer()), legacy)
    check_read(tmp_path)


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
