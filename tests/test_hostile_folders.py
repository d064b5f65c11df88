"""Folders of ranks from anywhere: nothing in them is run, nothing outside them is read, and what is
damaged says so.
"""

import os
import pickle
import random
import shutil

import pytest
import torch
from written_runs import unpack

import trajhelpers as th
from trajhelpers.errors import CheckpointError, TrajectoryError
from trajhelpers.reading.formats import read_checkpoint
from trajhelpers.sources.disk import LocalFile, LocalFolder


class Payload:
    """Makes a folder when it is unpickled by Python."""

    def __init__(self, where):
        self.where = str(where)

    def __reduce__(self):
        return os.mkdir, (self.where,)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return {
        case: unpack(writer, case, tmp_path_factory.mktemp(case)) / "run"
        for writer, case in [
            ("torch_dcp", "model_alone"),
            ("deepspeed_zero", "zero3"),
            ("megatron_ranks", "two_by_two"),
            ("replicas", "nanotron"),
            ("flax_orbax", "msgpack_train_state"),
        ]
    }


def copied(written, case, tmp_path):
    return shutil.copytree(written[case], tmp_path / "run")


def test_metadata_is_data(written, tmp_path):
    run = copied(written, "model_alone", tmp_path)
    metadata = pickle.loads((run / "step-5" / ".metadata").read_bytes())
    metadata.planner_data = Payload(tmp_path / "ran")
    (run / "step-5" / ".metadata").write_bytes(pickle.dumps(metadata))
    th.open_trajectory(run)
    assert not (tmp_path / "ran").exists()


def test_metadata_that_is_nothing_but_a_call(written, tmp_path):
    run = copied(written, "model_alone", tmp_path)
    (run / "step-5" / ".metadata").write_bytes(pickle.dumps(Payload(tmp_path / "ran")))
    with pytest.raises(CheckpointError, match=r"\.metadata: is no metadata"):
        th.open_trajectory(run)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("case", "file"),
    [
        ("zero3", "global_step5/zero_pp_rank_0_mp_rank_00_model_states.pt"),
        ("megatron_ranks", "iter_0000005/mp_rank_00_000/model_optim_rng.pt"),
    ],
)
def test_a_rank_with_a_payload_beside_the_weights_is_read(written, tmp_path, case, file):
    run = copied(written, {"megatron_ranks": "two_by_two"}.get(case, case), tmp_path)
    content = torch.load(run / file, weights_only=False)
    content["more"] = Payload(tmp_path / "ran")
    torch.save(content, run / file)
    th.open_trajectory(run)
    assert not (tmp_path / "ran").exists()


def changed(run, change):
    """With other metadata of torch's own, which it would write like this."""
    file = run / "step-5" / ".metadata"
    metadata = pickle.loads(file.read_bytes())
    change(metadata)
    file.write_bytes(pickle.dumps(metadata))


def first(metadata):
    index = next(iter(metadata.storage_data))
    return index, metadata.storage_data[index]


def leads_out(metadata):
    first(metadata)[1].relative_path = "../../../../etc/passwd"


def lies_about_its_end(metadata):
    first(metadata)[1].length = 1 << 60


def lies_about_its_place(metadata):
    first(metadata)[1].offset += 3


def is_listed_twice(metadata):
    chunks = metadata.state_dict_metadata["up.weight"].chunks
    chunks[1].offsets = torch.Size([3, 0])


def is_larger(metadata):
    metadata.state_dict_metadata["up.weight"].size = torch.Size([1 << 40, 6])


def is_transformed(metadata):
    first(metadata)[1].transform_descriptors = ["zstd"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (leads_out, "leads out of the folder"),
        (lies_about_its_end, "promises a chunk at"),
        (lies_about_its_place, "no tensor of torch.save at byte"),
        (is_listed_twice, "does not say where the chunk of 'up.weight'"),
        (is_larger, "its pieces have 78 of 6,597,069,766,656 elements"),
        (is_transformed, "was transformed while it was written"),
    ],
)
def test_metadata_that_lies(written, tmp_path, change, message):
    run = copied(written, "model_alone", tmp_path)
    changed(run, change)
    with pytest.raises(CheckpointError, match=message):
        th.open_trajectory(run)


def damaged(content, dice):
    """A few bytes changed, a part cut out, or the end cut off."""
    content = bytearray(content)
    kind = dice.randrange(3)
    at = dice.randrange(len(content))
    if kind == 0:
        for _ in range(dice.randint(1, 8)):
            content[dice.randrange(len(content))] = dice.randrange(256)
    elif kind == 1:
        del content[at : at + dice.randint(1, 40)]
    else:
        del content[at:]
    return bytes(content)


@pytest.mark.filterwarnings("ignore::trajhelpers.errors.TrajectoryWarning")
@pytest.mark.parametrize(
    ("case", "checkpoint", "file"),
    [
        ("model_alone", "step-5", ".metadata"),
        ("model_alone", "step-5", "__0_0.distcp"),
        ("zero3", "global_step5", "zero_pp_rank_0_mp_rank_00_model_states.pt"),
        ("zero3", "global_step5", "zero_pp_rank_1_mp_rank_00_optim_states.pt"),
        ("msgpack_train_state", "checkpoint_5.msgpack", ""),
        (
            "nanotron",
            "20",
            "model/model/decoder/1/pp_block/mlp/down_proj/"
            "model_weight_pp-rank-1-of-2_tp-rank-1-of-2.safetensors",
        ),
    ],
)
def test_damage_is_an_error_of_ours_or_none(written, tmp_path, case, checkpoint, file):
    """Whatever happens to a file, no error of Python's comes out, and no read beyond its end."""
    run = copied(written, case, tmp_path)
    path = run / checkpoint / file if file else run / checkpoint
    whole = path.read_bytes()
    dice = random.Random(f"{case}{file}")
    for _ in range(150):
        path.write_bytes(damaged(whole, dice))
        place = LocalFolder(run / checkpoint) if file else LocalFile(run / checkpoint)
        try:
            contents = read_checkpoint(place)
        except TrajectoryError:
            continue
        for tensor in contents.tensors.values():
            for where, begin, end in tensor.ranges(0, tensor.size) if tensor.place else ():
                assert 0 <= begin <= end <= where.size
