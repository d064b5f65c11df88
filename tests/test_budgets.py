"""What a file may ask for, and what a reader that trips over it says: one error that names the
file, whatever is in it; no memory, no time and no file but its own.
"""

import io
import json
import os
import random
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from test_kernel_files import mutated

import trajhelpers as th
from trajhelpers.reading.boundary import damage_named
from trajhelpers.reading.formats import read_checkpoint
from trajhelpers.reading.sizes import size_of
from trajhelpers.sources.disk import LocalFile, LocalFolder


def state(scale=1.0):
    generator = torch.Generator().manual_seed(0)
    return {
        "a.weight": torch.randn(6, 5, generator=generator) * scale,
        "b.bias": torch.randn(5, generator=generator) * scale,
        "c.weight": torch.randn(2, 3, 4, generator=generator).permute(2, 0, 1) * scale,
    }


def compute(source):
    return th.gram(th.open_trajectory(source), device="cpu").gram()


def refused(path, *facts):
    """The file is refused by name."""
    with pytest.raises(th.CheckpointError) as caught:
        read_checkpoint(LocalFile(path))
    for fact in (path.name, *facts):
        assert fact in str(caught.value)


def run_of(folder, make, write=torch.save, suffix="pt"):
    folder.mkdir(parents=True, exist_ok=True)
    for step in (1, 2):
        write(make(step), folder / f"step_{step}.{suffix}")
    return folder


# The boundary


@pytest.mark.parametrize(
    "error",
    [
        IndexError("x"),
        KeyError("x"),
        RecursionError(),
        RuntimeError("x"),
        struct.error("x"),
        OverflowError(),
        AssertionError(),
        MemoryError(),
        NotImplementedError(),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "x"),
        zipfile.BadZipFile("x"),
        OSError(36, "File name too long"),
        OSError("x"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_whatever_goes_wrong_has_the_name_of_the_file(error):
    """And stays there for whoever looks for the cause."""
    with pytest.raises(th.CheckpointError, match=r"x\.pt: damaged.*fetch or save") as caught:
        with damage_named("x.pt"):
            raise error
    assert caught.value.__cause__ is error


@pytest.mark.parametrize(
    "error",
    [
        th.LayoutError("x"),
        FileNotFoundError(2, "x"),
        PermissionError(13, "x"),
        ConnectionResetError(),
        TimeoutError(),
        OSError(24, "Too many open files", "x.pt"),
        OSError(5, "Input/output error", "x.pt"),
        ImportError("x"),
        KeyboardInterrupt(),
        GeneratorExit(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_is_not_of_the_file_stays_what_it_is(error):
    with pytest.raises(type(error)) as caught:
        with damage_named("x.pt"):
            raise error
    assert caught.value is error


@pytest.mark.parametrize("number, remedy", [(24, "ulimit"), (5, "check the disk")])
def test_what_the_system_says_of_no_file_gets_its_name(number, remedy):
    with pytest.raises(th.CheckpointError, match=rf"x\.pt: cannot be read .*{remedy}"):
        with damage_named("x.pt"):
            raise OSError(number, os.strerror(number))


def write_index(path):
    save_file({"a": torch.ones(4)}, path.parent / "model-00001-of-00002.safetensors")
    save_file({"b": torch.ones(3)}, path.parent / "model-00002-of-00002.safetensors")
    places = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    path.write_text(json.dumps({"metadata": {"total_size": 28}, "weight_map": places}))


WRITERS = {
    "step_1.pt": lambda path: torch.save({"model": state(), "epoch": 3}, path),
    "step_1.bin": lambda path: torch.save(state(), path, _use_new_zipfile_serialization=False),
    "step_1.safetensors": lambda path: save_file(
        {name: tensor.contiguous() for name, tensor in state().items()}, path
    ),
    "step_1.npz": lambda path: np.savez(
        path, a=np.ones((3, 4)), b=np.asfortranarray(np.ones((3, 4))), c=np.array(3.0)
    ),
    "model.safetensors.index.json": write_index,
}


@pytest.mark.parametrize("name", WRITERS)
def test_damaged_files_say_so(tmp_path, name):
    """Those in which only numbers were hit are read."""
    path, generator = tmp_path / name, random.Random(1)
    WRITERS[name](path)
    whole = path.read_bytes()
    for _ in range(200):
        path.write_bytes(mutated(whole, generator))
        try:
            found = read_checkpoint(LocalFile(path))
            for tensor in found.tensors.values():
                if tensor.place is not None:
                    with np.errstate(invalid="ignore"):  # a NaN of float16
                        tensor.read_into(0, tensor.size, np.empty(tensor.size))
        except (th.TrajectoryError, FileNotFoundError) as error:
            assert tmp_path.name in str(error)


# Indexes


def write_json(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.mark.parametrize(
    "shard",
    [
        "../outside.safetensors",
        "/etc/hostname",
        "x/../../outside.safetensors",
        "..\\outside.safetensors",
        "model.safetensors.index.json",
        "other.safetensors.index.json",
        "a\0.safetensors",
        "x" * 5000,
        7,
        None,
        ["model.safetensors"],
    ],
    ids=lambda shard: repr(shard)[:30],
)
def test_an_index_names_files_of_its_own_folder(tmp_path, shard):
    save_file({"w": torch.ones(4)}, tmp_path / "outside.safetensors")
    folder = tmp_path / "run"
    folder.mkdir()
    path = write_json(folder / "model.safetensors.index.json", {"weight_map": {"w": shard}})
    save_file({"w": torch.ones(4)}, folder / "model.safetensors")
    write_json(folder / "other.safetensors.index.json", {"weight_map": {"w": "model.safetensors"}})
    refused(path)
    assert size_of(LocalFile(path)) == path.stat().st_size


def test_indexes_that_name_each_other_twice_end(tmp_path):
    """23 of them asked for 2^23 readings."""
    for level in range(23):
        following = f"{level + 1}.safetensors.index.json"
        (tmp_path / f"{level}.safetensors.index.json").write_text(
            json.dumps({"weight_map": {"a": following, "b": f"./{following}"}})
        )
    refused(tmp_path / "0.safetensors.index.json", "1.safetensors.index.json")


@pytest.mark.parametrize(
    "content",
    ["[" * 10**6, '{"a":' * 10**5, "[" + "[]," * 8_000_001 + "1]", "[]", "7", '{"weight_map": []}'],
    ids=["deep", "deep in maps", "many", "a list", "a number", "a list within"],
)
def test_an_index_of_other_json(tmp_path, content):
    refused(write_json(tmp_path / "model.safetensors.index.json", content))


def test_a_header_of_many_values_is_not_made(tmp_path):
    """20 MB of a header that would be 500 MB of lists."""
    text = b'{"a":[' + b"[]," * 8_000_001 + b"[]]}"
    path = tmp_path / "x.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    tracemalloc.start()
    refused(path, "values")
    assert tracemalloc.get_traced_memory()[1] < 100_000_000
    tracemalloc.stop()


@pytest.mark.parametrize(
    "content",
    ['{"a":' * 500 + "1" + "}" * 500, "[]", b"\xff\xfe", "x" * (1 << 25)],
    ids=["deep", "a list", "no text", "long"],
)
def test_a_config_that_is_none(tmp_path, content):
    run_of(tmp_path, lambda step: {"w": torch.ones(3) * step})
    path = tmp_path / "config.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(th.CheckpointError, match=r"config\.json.*(move it away|save it again)"):
        th.open_trajectory(tmp_path)


# Names and numbers


def test_names_that_no_kernel_keeps(tmp_path):
    for name in ("w" * 10**6, "w\0", "a\0b"):
        torch.save({name: torch.ones(3)}, tmp_path / "x.pt")
        refused(tmp_path / "x.pt", "name")
        with pytest.raises(th.CheckpointError, match=r"checkpoint 0: .*name"):
            th.open_trajectory([{name: np.ones(3)}, {name: np.zeros(3)}])


def test_names_that_differ_by_normalization_alone_are_two(tmp_path):
    run_of(tmp_path, lambda step: {"é": torch.ones(3) * step, "e\u0301": torch.ones(2) * step})
    kernel = th.gram(th.open_trajectory(tmp_path), device="cpu")
    kernel.save(tmp_path / "run.npz")
    assert th.load_kernel(tmp_path / "run.npz").names == ("é", "e\u0301")


def test_steps_that_no_kernel_keeps(tmp_path):
    for step in (1, 2, 1 << 63):
        torch.save({"w": torch.ones(3)}, tmp_path / f"step_{step}.pt")
    with pytest.raises(th.StepError, match=r"step_9223372036854775808\.pt.*64 bits"):
        th.open_trajectory(tmp_path)


# Zip files


def archive_of(records, method=zipfile.ZIP_STORED):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, content in records:
            archive.writestr(name, content)
    return bytearray(stream.getvalue())


def records_of(path):
    with zipfile.ZipFile(path) as archive:
        return [(name, archive.read(name)) for name in archive.namelist()]


@pytest.fixture
def plain(tmp_path):
    """A torch file as zipfile writes it, its path and where the header of the weights begins."""
    path = tmp_path / "x.pt"
    torch.save({"w": torch.arange(10.0)}, path)
    content = archive_of(records_of(path))
    path.write_bytes(content)
    assert read_checkpoint(LocalFile(path)).tensors["w"].size == 10
    return path, content, content.index(b"PK\x03\x04", content.index(b"data/0") - 60)


@pytest.mark.parametrize(
    ("at", "changed"),
    [
        (6, b"\x01\x00"),
        (6, b"\x40\x00"),
        (8, b"\x08\x00"),
        (18, b"\x10\x00\x00\x00"),
        (22, b"\x50\x00\x00\x00"),
        (30, b"another"),
    ],
    ids=["encrypted", "strongly encrypted", "deflated", "packed size", "size", "name"],
)
def test_a_header_that_is_not_what_the_directory_says(plain, at, changed):
    path, content, header = plain
    content[header + at : header + at + len(changed)] = changed
    path.write_bytes(content)
    refused(path)


def test_an_ending_that_is_not_what_the_directory_says(plain):
    """How many records there are, and where the directory begins."""
    path, content, _ = plain
    ending = content.rindex(b"PK\x05\x06")
    for at in (10, 16):
        forged = bytearray(content)
        forged[ending + at] ^= 1
        path.write_bytes(forged)
        refused(path)


def test_bytes_between_records_that_are_of_none(plain):
    """Where another archive may lie."""
    path, *_ = plain
    records = records_of(path)
    moved = archive_of(records[:-1] + [("archive/x" * 9, b"-" * 99)] + records[-1:])
    directory = moved.index(b"PK\x01\x02")
    name = b"archive/x" * 9
    begin = moved.rindex(b"PK\x01\x02", 0, moved.index(name, directory))
    end = moved.index(b"PK\x01\x02", begin + 4)
    hidden = moved[:begin] + moved[end:]
    ending = hidden.rindex(b"PK\x05\x06")
    count, size = len(records), ending - directory
    struct.pack_into("<HHI", hidden, ending + 8, count, count, size)
    path.write_bytes(hidden)
    assert len(zipfile.ZipFile(path).namelist()) == count
    refused(path, "before record")


@pytest.mark.parametrize("change", [lambda x: x + b"\0" * 4, lambda x: x * 2, lambda x: x[:-4]])
def test_a_record_is_as_long_as_its_storage(plain, change):
    path, _, _ = plain
    path.write_bytes(
        archive_of([(n, change(x) if n.endswith("data/0") else x) for n, x in records_of(path)])
    )
    refused(path, "its storage")


# Tensors that are no dense arrays


ODD = {
    "sparse": lambda: torch.eye(3).to_sparse(),
    "sparse, by rows": lambda: torch.eye(3).to_sparse_csr(),
    "sparse, by blocks": lambda: torch.eye(4).to_sparse_bsr((2, 2)),
    "nested": lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
    "nested, jagged": lambda: torch.nested.nested_tensor(
        [torch.ones(2, 3), torch.ones(3, 3)], layout=torch.jagged
    ),
    "meta": lambda: torch.ones(3, device="meta"),
    "quantized": lambda: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ODD)
def test_tensors_that_are_not_dense_are_called_what_they_are(tmp_path, kind):
    word = kind.partition(",")[0]
    content = {"w": ODD[kind](), "b": torch.ones(2)}
    torch.save(content, tmp_path / "x.pt")
    refused(tmp_path / "x.pt", "'w'", word)
    with pytest.raises(th.CheckpointError, match=f"checkpoint 0: tensor 'w' is .*{word}"):
        th.open_trajectory([content, content])


def test_a_negated_view_in_memory_has_its_values():
    states = [{"w": torch._neg_view(torch.arange(3.0) * k), "v": torch.ones(1)} for k in (1, 2)]
    assert th.open_trajectory(states).read([("w", 0, 3)]).tolist() == [[0, -1, -2], [0, -2, -4]]


def test_a_negated_view_is_not_tied_to_what_it_negates():
    states = [{"w": (w := torch.ones(3) * k), "v": torch._neg_view(w)} for k in (1, 2)]
    assert th.open_trajectory(states).p == 6


def write_npz(content, path):
    np.savez(path, **content)


@pytest.mark.parametrize(
    ("array", "word"),
    [
        (np.array([{}]), "object"),
        (np.zeros(3, [("a", "f4"), ("b", "f8")]), "void"),
        (np.array("text"), "str"),
        (np.zeros(3, "M8[s]"), "datetime"),
        (np.zeros(3, "V4"), "void"),
    ],
    ids=["object", "structured", "text", "dates", "bytes"],
)
def test_arrays_that_are_no_numbers_are_left_out_by_name(tmp_path, array, word):
    run_of(tmp_path, lambda step: {"x": array, "w": np.ones(2) * step}, write_npz, "npz")
    trajectory = th.open_trajectory(tmp_path)
    assert trajectory.names == ("w",)
    assert any("x" in line and word in line for line in trajectory.left_out)


def test_arrays_of_any_order_and_no_dimension(tmp_path):
    columns = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    run_of(
        tmp_path,
        lambda step: {
            "mixed": columns * step if step == 1 else np.ascontiguousarray(columns) * step,
            "number": np.array(3.0 * step),
        },
        write_npz,
        "npz",
    )
    np.testing.assert_array_equal(compute(tmp_path), 64 * np.outer([1, 2], [1, 2]))


def test_arrays_of_another_machine_are_refused_by_name(tmp_path):
    np.savez(tmp_path / "x.npz", w=np.ones(3, ">f4"))
    refused(tmp_path / "x.npz", "'w.npy'", "big-endian")


# Folders


@pytest.mark.parametrize("marker", ["checkpoint_metadata.json", "metadata.json"])
def test_links_that_lead_back_have_an_end(tmp_path, marker):
    """Two of them had 2^40 ways."""
    for step in (1, 2):
        model = tmp_path / f"step-{step}" / "model"
        model.mkdir(parents=True)
        (tmp_path / f"step-{step}" / marker).write_text("{}")
        for name in "ab":
            os.symlink(".", model / name)
            os.symlink("../..", model / f"up-{name}")
    with pytest.raises(th.TrajectoryError, match=tmp_path.name):
        th.open_trajectory(tmp_path)
    assert size_of(LocalFolder(tmp_path)) == 4


def test_links_in_a_circle_and_to_nowhere(tmp_path):
    os.symlink("b.pt", tmp_path / "a.pt")
    os.symlink("a.pt", tmp_path / "b.pt")
    run_of(tmp_path, lambda step: {"w": torch.ones(3) * step})
    assert th.open_trajectory(tmp_path).steps == (1, 2)
    os.symlink("nowhere", tmp_path / "step_3.pt")
    with pytest.raises(th.CheckpointError, match=r"step_3\.pt: is a link to nowhere"):
        th.open_trajectory(tmp_path)


class Deep:
    """A folder in a folder in a folder …, deeper than Python's stack."""

    name, remote = "x", False

    def __init__(self, levels):
        self.levels = levels

    def folders(self):
        return [Deep(self.levels - 1)] if self.levels else []

    def files(self):
        return []

    def folder(self, path):
        raise NotImplementedError

    file = folder


def test_a_deep_folder_has_a_size():
    assert size_of(Deep(5000)) == 0
