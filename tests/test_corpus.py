"""Files that went wrong once, each the smallest of its kind (``tests/corpus/``, written by its
``make.py``): refused by name and by what is wrong with them, or read as the library reads them.
"""

import json
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
from written_runs import read

import trajhelpers as th
from trajhelpers.streaming.resuming import Partial

# Two copies of one file.
pytestmark = pytest.mark.filterwarnings("ignore:.*are identical:trajhelpers.TrajectoryWarning")

CORPUS = Path(__file__).parent / "corpus"
# What the error says, beside the file's name.
REFUSED = {
    "torch/negated.pt": "negated view",
    "torch/negated_by_conjugation.pt": "negated view",
    "torch/two_zips.pt": "before or behind its zip",
    "torch/before_a_zip.pt": "damaged or not a checkpoint",
    "torch/encrypted.pt": "encrypted|not what the directory says",
    "torch/on_another_disk.pt": "another part of the archive",
    "torch/of_unknown_compression.pt": "compressed|not what the directory says",
    "torch/record_too_short.pt": "has 4 bytes",
    "torch/record_too_long.pt": "has 16 bytes",
    "torch/expanded.pt": "expanded to 536,870,91",
    "torch/sparse.pt": "'w' is sparse",
    "torch/sparse_rows.pt": "'w' is sparse",
    "torch/nested.pt": "'w' is nested",
    "torch/meta.pt": "meta device",
    "torch/int8_with_scales.pt": "quantized",
    "torch/deep.pt": "nested more than",
    "torch/deep_key.pt": "a key of nested tuples",
    "torch/large_memo.pt": "no tensors",
    "torch/number_of_5000_digits.pt": "damaged",
    "safetensors/nul_in_name.safetensors": "a NUL in it",
    "safetensors/half_a_character_in_name.safetensors": "half a character in it",
    "safetensors/name_twice.safetensors": "twice",
    "safetensors/number_of_5000_digits.safetensors": "damaged",
    "safetensors/product_of_lengths_overflows.safetensors": "does not fill",
    "safetensors/negative_length.safetensors": "damaged",
    "safetensors/deep.safetensors": "nested too deep",
    "safetensors/lengths_are_true.safetensors": "damaged",
    "safetensors/offsets_are_text.safetensors": "damaged",
    "safetensors/metadata_is_a_list.safetensors": "damaged",
    "npz/open_bracket.npz": "header of array 'w.npy'",
    "npz/deep.npz": "header of array 'w.npy'",
    "npz/negative_length.npz": r"shape \(-2,\)",
    "npz/length_overflows.npz": "does not fill",
    "npz/objects.npz": "no parameters left",
    "msgpack/float8.msgpack": "stored as float8",
    "msgpack/no_parameters.msgpack": "no parameters left",
    "msgpack/shape_is_a_number.msgpack": "damaged",
    "msgpack/deep.msgpack": "too deep",
    "msgpack/four_thousand_million_keys.msgpack": "too early",
    "kernel/no_gram_matrix.npz": "products longer than their lengths",
    "kernel/not_finite.npz": "NaN or infinity",
    "kernel/wrong_shape.npz": r"shape \(1, 4\)",
    "kernel/deep_about.npz": "nested too deep",
    "kernel/about_is_a_list.npz": "damaged",
    "kernel/format_is_text.npz": "damaged",
    "kernel/steps_of_text.npz": "steps",
    "kernel/steps_beyond_64_bits.npz": "steps",
    "kernel/damaged_deflate.npz": "damaged",
    "kernel/encrypted.npz": "encrypted",
    "kernel/sizes_of_numbers_with_points.npz": "sizes",
    "partial/encrypted.partial": "encrypted",
    "partial/of_unknown_compression.partial": "packed in an unknown way",
    "partial/n_is_large.partial": "damaged",
    "partial/n_is_text.partial": "damaged",
    "partial/done_is_text.partial": "'1' are no columns",
    "partial/lost_is_a_number.partial": "leaves out checkpoints",
    "partial/open_bracket.partial": "damaged",
    "index/names_itself": "names 'model.safetensors.index.json' for a shard",
    "index/above": "leads out of the folder",
    "index/absolute": "leads out of the folder",
    "index/deep": "nested too deep",
    "index/is_a_list": "no index of shards",
    "index/shard_is_a_number": "names 3 for a shard",
    "index/shard_is_empty": "shards that are not there",
}
# What is read of the others.
READ = {
    "torch/compiled_and_not.pt": {"w": [1, 1], "_orig_mod.w": [0, 0]},
    "index/tensor_in_two_shards": {"v": [5], "w": [1, 2]},
}


def opened(path, tmp_path):
    """What comes of a copy of a file, or of a run of two of it."""
    if path.parent.name == "kernel":
        return th.load_kernel(shutil.copy(path, tmp_path))
    if path.parent.name == "partial":
        return Partial(shutil.copy(path, tmp_path), {"steps": [0, 1]}).read()
    for step in (1, 2):
        copy = shutil.copytree if path.is_dir() else shutil.copy
        copy(path, tmp_path / f"step_{step}{path.suffix}")
    trajectory = th.open_trajectory(tmp_path)
    th.gram(trajectory, device="cpu")
    return trajectory


def test_every_file_has_its_line():
    there = {f"{path.parent.name}/{path.name}" for path in CORPUS.glob("*/*")}
    assert there - {"__pycache__"} == REFUSED.keys() | READ.keys()


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_by_name(name, tmp_path):
    with pytest.raises(th.TrajectoryError, match=REFUSED[name]) as caught:
        opened(CORPUS / name, tmp_path)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("name", READ)
def test_it_is_read_as_the_library_reads_it(name, tmp_path):
    found = read(opened(CORPUS / name, tmp_path))
    for values in found.values():
        assert {key: value.tolist() for key, value in values.items()} == READ[name]


# A safetensors file begins with the length of its header: 0x13c is "<", 0x3c20 " <" as of a web
# page, 0xa188 a map of msgpack, 0x120108 an ONNX graph.
@pytest.mark.parametrize("length", [316, 15_392, 41_352, 1_179_912])
def test_a_header_may_have_any_length(length, tmp_path):
    for step in (1, 2):
        values = np.float32([step, 3])
        header = json.dumps({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}})
        assert len(header) <= length
        content = struct.pack("<Q", length) + header.ljust(length).encode() + values.tobytes()
        (tmp_path / f"step_{step}.safetensors").write_bytes(content)
    found = read(th.open_trajectory(tmp_path))
    assert [one["w"].tolist() for one in found.values()] == [[1, 3], [2, 3]]


def test_a_signalling_nan_is_a_nan(tmp_path):
    """Casting one makes NumPy warn of an invalid value."""
    values = np.array([0x7F800001, 0x3F800000], np.uint32).view(np.float32)
    for step in (1, 2):
        np.savez(tmp_path / f"step_{step}.npz", w=values)
    found = read(th.open_trajectory(tmp_path))
    assert all(np.isnan(one["w"][0]) and one["w"][1] == 1 for one in found.values())
