"""Folders as training libraries write them, against what one process held whole."""

import importlib.util
import math
import re
import shutil
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from written_runs import cases, expected, inner_products, read, unpack

import trajhelpers as th
from trajhelpers.errors import CheckpointError, TrajectoryWarning
from trajhelpers.reading.folder_formats.orbax import boxes
from trajhelpers.reading.formats import FOLDER_FORMATS, folder_format
from trajhelpers.sources.disk import LocalFolder

# What opens with no word more than its address, whatever the ranks that wrote it. The others have
# a question to ask, or are states within a file: test_trainers.py.
PLAIN = [
    (writer, case)
    for writer, case in cases()
    if writer in ("torch_dcp", "deepspeed_zero", "megatron_ranks", "replicas")
    or case in ("msgpack", "msgpack_train_state", "flax_legacy")
]
# What tensorstore reads, where it is installed.
STORES = [(writer, case) for writer, case in cases() if case.startswith(("orbax", "levanter"))]
STORES = [one for one in STORES if one[0] == "flax_orbax"]
# θ is what the network computed with, in bfloat16, beside masters in float32.
ROUNDED = {"zero2_bf16"}


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    """The folder of a case, which no test changes."""
    folders = {}

    def folder_of(writer, case):
        if (writer, case) not in folders:
            folders[writer, case] = unpack(writer, case, tmp_path_factory.mktemp(writer))
        return folders[writer, case]

    return folder_of


def assert_equal(found, wanted):
    assert list(found) == list(wanted)
    for step, values in wanted.items():
        assert sorted(found[step]) == sorted(values)
        for name, value in values.items():
            np.testing.assert_array_equal(found[step][name], value, err_msg=f"{step}: {name}")


@pytest.mark.parametrize(("writer", "case"), PLAIN)
def test_every_number_is_read_and_counted_once(unpacked, writer, case):
    folder = unpacked(writer, case)
    trajectory, wanted = th.open_trajectory(folder / "run"), expected(folder)
    if case in ROUNDED:
        return assert_rounded(trajectory, folder, wanted)
    assert_equal(read(trajectory), wanted)
    warned = pytest.warns(TrajectoryWarning, match="embed.weight")
    with warned if "frozen" in case else nullcontext():
        kernel = th.gram(trajectory, device="cpu")
    np.testing.assert_allclose(kernel.gram(), inner_products(wanted), rtol=1e-12)


@pytest.mark.parametrize(("writer", "case"), STORES)
def test_arrays_of_jax(unpacked, writer, case):
    folder = unpacked(writer, case)
    if importlib.util.find_spec("tensorstore") is None:
        with pytest.raises(ImportError, match=r"tensorstore.*pip install 'trajhelpers\[jax\]'"):
            th.open_trajectory(folder / "run")
        return
    trajectory, wanted = th.open_trajectory(folder / "run"), expected(folder)
    assert_equal(read(trajectory), wanted)
    kernel = th.gram(trajectory, device="cpu")
    np.testing.assert_allclose(kernel.gram(), inner_products(wanted), rtol=1e-12)


@pytest.mark.parametrize("shape", [(), (3,), (4, 3), (2, 1, 3), (3, 2, 2, 2)])
def test_any_range_of_an_array_is_some_boxes_of_it(shape):
    array = np.arange(math.prod(shape)).reshape(shape)
    for begin in range(array.size + 1):
        for end in range(begin, array.size + 1):
            parts = [np.ravel(array[index]) for index in boxes(shape, begin, end)]
            found = np.concatenate([*parts, np.empty(0, int)])
            assert found.tolist() == list(range(begin, end))


def assert_rounded(trajectory, folder, wanted):
    with np.load(folder / "module.npz") as module:
        for step, values in read(trajectory).items():
            for name, value in values.items():
                np.testing.assert_array_equal(value, module[f"{step}/{name}"])
                near = torch.tensor(wanted[step][name]).bfloat16().double().numpy()
                np.testing.assert_array_equal(value, near)
    masters = th.open_trajectory(folder / "run", state="fp32")
    assert_equal(read(masters), wanted)


def test_every_format_of_folders_is_among_them(unpacked):
    kinds = set()
    for writer, case in PLAIN + STORES:
        for inner in (unpacked(writer, case) / "run").rglob("*"):
            found = folder_format(LocalFolder(inner)) if inner.is_dir() else None
            kinds |= {found.kind} if found else set()
    assert kinds == {format.kind for format in FOLDER_FORMATS}


@pytest.mark.parametrize("case", ["fsdp2", "tensor_parallel", "titan"])
def test_an_optimizer_is_never_asked_where_it_lies(unpacked, case, tmp_path):
    """Chunks of other states may be missing: nobody reads them."""
    run = tmp_path / "run"
    shutil.copytree(unpacked("torch_dcp", case) / "run", run)
    told = th.open_trajectory(run).notes
    assert len(told) == 1 and "an optimizer's state (exp_avg" in told[0]


# Of each format, a file that a copy may lack, and what the error has to name.
MISSING = [
    ("torch_dcp", "fsdp2", "step-5/__1_0.distcp", r"__1_0\.distcp: is missing, and \.metadata"),
    ("torch_dcp", "fsdp2", "step-5/.metadata", r"step-5: has \.distcp files and no \.metadata"),
    ("torch_dcp", "verl", "global_step_5/actor/model_world_size_2_rank_1.pt", r"rank 1 is missing"),
    ("torch_dcp", "olmo_sharded", "step5/rank0.pt", r"one rank.s part of a sharded tensor"),
    (
        "torch_dcp",
        "huggingface_sharded",
        "step-5/shard-00001-model-00001-of-00001.safetensors",
        r"rank 0 is missing",
    ),
    (
        "deepspeed_zero",
        "zero3",
        "global_step5/zero_pp_rank_1_mp_rank_00_optim_states.pt",
        r"rank 1 is missing, of 2",
    ),
    (
        "deepspeed_zero",
        "zero3",
        "global_step5/zero_pp_rank_1_mp_rank_00_model_states.pt",
        r"rank 1 is missing, of 2",
    ),
    (
        "megatron_ranks",
        "two_by_two",
        "iter_0000005/mp_rank_01_000/model_optim_rng.pt",
        r"tensor rank 1, pipeline rank 0, expert rank 0 is missing",
    ),
    (
        "replicas",
        "neox",
        "global_step5/layer_02-model_01-model_states.pt",
        r"layer 02's tensor rank 1 is missing, of 2",
    ),
    (
        "replicas",
        "nanotron",
        "20/model/model/decoder/1/pp_block/mlp/down_proj/"
        "model_weight_pp-rank-1-of-2_tp-rank-1-of-2.safetensors",
        r"down_proj\.weight' has 1 files, the first of them .*, of 2",
    ),
]


@pytest.mark.parametrize(("writer", "case", "file", "message"), MISSING)
def test_a_missing_file_is_named(unpacked, tmp_path, writer, case, file, message):
    run = tmp_path / "run"
    shutil.copytree(unpacked(writer, case) / "run", run)
    (run / file).unlink()
    with pytest.raises(CheckpointError, match=message):
        th.open_trajectory(run)


@pytest.mark.parametrize("file", ["__0_0.distcp", "__1_0.distcp"])
def test_a_chunk_that_was_cut_off_is_named(unpacked, tmp_path, file):
    run = tmp_path / "run"
    shutil.copytree(unpacked("torch_dcp", "model_alone") / "run", run)
    content = (run / "step-5" / file).read_bytes()
    (run / "step-5" / file).write_bytes(content[:-600])
    with pytest.raises(CheckpointError, match=rf"{re.escape(file)}: has .* bytes, and \.metadata"):
        th.open_trajectory(run)


def test_a_file_of_another_save_is_seen(unpacked, tmp_path):
    """Of one more rank, or of a rank that has another part."""
    run = tmp_path / "run"
    shutil.copytree(unpacked("torch_dcp", "dtensors_by_rank") / "run", run)
    shutil.copy(run / "step_5" / "rank_0.pt", run / "step_5" / "rank_1.pt")
    with pytest.raises(CheckpointError, match="step_5.*are missing, or of another checkpoint|part"):
        th.open_trajectory(run)
