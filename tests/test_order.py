"""Which files of a folder are its checkpoints, and in which order: names, sub-folders, shards,
runs.
"""

import json
import os

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_checkpoints import check, state, write

import trajhelpers as th
from trajhelpers.reading.prefixes import without_prefixes

PARTS = ["module", "_orig_mod", "_fsdp_wrapped_module", "a", "module_", "weight"]

ORDER = [
    # plain
    (["epoch_1.pt", "epoch_2.pt", "epoch_10.pt"], [1, 2, 10]),
    (["epoch1.pth", "epoch2.pth", "epoch10.pth"], [1, 2, 10]),
    (["0.pt", "5.pt", "50.pt"], [0, 5, 50]),
    (["ckpt-001.pt", "ckpt-010.pt", "ckpt-100.pt"], [1, 10, 100]),
    (["step_00000010.pt", "step_00000200.pt"], [10, 200]),
    (["model_0000999.pth", "model_0001999.pth"], [999, 1999]),  # detectron2
    (["weights.01.pt", "weights.02.pt", "weights.10.pt"], [1, 2, 10]),
    (["Epoch-3.pt", "Epoch-12.pt"], [3, 12]),
    # initialization
    (["epoch_init.pt", "epoch_1.pt", "epoch_2.pt"], [0, 1, 2]),
    (["init.pt", "epoch_1.pt", "epoch_2.pt"], [0, 1, 2]),
    (["epoch_init.pt", "epoch_0.pt", "epoch_1.pt"], [-1, 0, 1]),
    (["model_init.pth", "model_100.pth", "model_200.pth"], [0, 100, 200]),
    (["step_init.safetensors", "step_500.safetensors"], [0, 500]),
    # labels
    # Lightning
    (
        ["epoch=3-step=300.ckpt", "epoch=4-step=400.ckpt", "epoch=10-step=1000.ckpt"],
        [300, 400, 1000],
    ),
    (["epoch=0-step=100-v1.ckpt", "epoch=1-step=200-v1.ckpt"], [100, 200]),
    (
        [
            "epoch=01-val_loss=0.25.ckpt",
            "epoch=02-val_loss=0.20.ckpt",
            "epoch=11-val_loss=0.10.ckpt",
        ],
        [1, 2, 11],
    ),
    (["epoch=1-val_loss=3.ckpt", "epoch=2-val_loss=2.ckpt", "epoch=3-val_loss=1.ckpt"], [1, 2, 3]),
    (["step=10-loss=1.50.ckpt", "step=20-loss=0.75.ckpt"], [10, 20]),
    (["iter_1000_loss_3.pth", "iter_2000_loss_2.pth"], [1000, 2000]),
    (["iter_80000.pth", "iter_160000.pth"], [80000, 160000]),  # mmsegmentation
    (["epoch_1_iter_500.pt", "epoch_2_iter_1000.pt", "epoch_3_iter_1500.pt"], [500, 1000, 1500]),
    (["loss_0.31_epoch_1.pt", "loss_0.29_epoch_2.pt"], [1, 2]),
    (["checkpoint_epoch_9_acc_0.912.pt", "checkpoint_epoch_10_acc_0.911.pt"], [9, 10]),
    (["global_step100.pt", "global_step200.pt"], [100, 200]),
    (["step1000.safetensors", "step143000.safetensors"], [1000, 143000]),
    (["iter_9-step_100.pt", "iter_8-step_200.pt"], [100, 200]),
    (["epoch_2-iteration_40.pt", "epoch_10-iteration_80.pt"], [40, 80]),
    # a decimal is never a step
    (["3-val_loss=0.25.ckpt", "4-val_loss=0.20.ckpt"], [3, 4]),
    (["net_12_0.913.pth", "net_13_0.92.pth", "net_100_0.5.pth"], [12, 13, 100]),
    (["4_loss1.5e-3.pt", "5_loss9e-4.pt"], [4, 5]),
    # constants in the name are not the step
    (["resnet50_epoch_1.pt", "resnet50_epoch_2.pt"], [1, 2]),
    (["resnet50_1.pt", "resnet50_2.pt"], [1, 2]),
    (["1_vgg16.pt", "2_vgg16.pt", "10_vgg16.pt"], [1, 2, 10]),
    (["epoch_1_of_90.pt", "epoch_2_of_90.pt"], [1, 2]),
    (["epoch_1_seed_0.pt", "epoch_2_seed_0.pt"], [1, 2]),
    (["lr0.1_wd1e-4_epoch_1.pt", "lr0.1_wd1e-4_epoch_2.pt"], [1, 2]),
    (["vit_b_16_3.pth", "vit_b_16_4.pth"], [3, 4]),
    # several numbers
    (["epoch2_7.pt", "epoch2_8.pt", "epoch2_10.pt"], [7, 8, 10]),
    (["model_1_100.pt", "model_2_200.pt"], [100, 200]),
    (["2024-03-12_1.pt", "2024-03-12_2.pt"], [1, 2]),
]


@pytest.mark.parametrize("names, steps", ORDER, ids=[" ".join(names) for names, _ in ORDER])
def test_steps_of_a_folder(tmp_path, names, steps):
    # written last first: the folder's own order is no help
    for name, step in zip(reversed(names), reversed(steps)):
        write(tmp_path / name, state(step))
    trajectory = th.open_trajectory(tmp_path)
    assert list(trajectory.steps) == steps
    assert [os.path.basename(source) for source in trajectory.sources] == names
    check(tmp_path, [state(step) for step in steps])
    # the same as a list, in a shell's order
    assert list(th.open_trajectory(sorted(tmp_path.iterdir())).steps) == steps


def test_files_without_a_step_are_left_out_and_listed(tmp_path):
    for step in (1, 2, 3):
        write(tmp_path / f"epoch_{step}.pt", state(step))
    aside = [
        "best.pt",
        "last.ckpt",
        "final.safetensors",
        "optimizer_1.pt",
        "epoch_7_optimizer.pt",
        "rng_state_0.pth",
        "scheduler_2.pt",
    ]
    for name in aside:
        write(tmp_path / name, state(9))
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "train.log").write_text("epoch 1")
    trajectory = th.open_trajectory(tmp_path)
    assert list(trajectory.steps) == [1, 2, 3]
    for name in aside:
        assert any(name in line for line in trajectory.left_out), name


def test_what_lightning_leaves_beside_its_checkpoints(tmp_path):
    """`last-v1.ckpt` is the second last.ckpt, not step 1."""
    for step in (100, 200):
        write(tmp_path / f"epoch={step // 100 - 1}-step={step}.ckpt", state(step))
    write(tmp_path / "last.ckpt", state(9))
    write(tmp_path / "last-v1.ckpt", state(9))
    assert list(th.open_trajectory(tmp_path).steps) == [100, 200]


def test_a_list_without_numbers_keeps_its_order(tmp_path):
    names = ["before.pt", "after.pt", "end.pt"]
    for value, name in enumerate(names):
        write(tmp_path / name, state(value))
    trajectory = th.open_trajectory([tmp_path / name for name in names])
    assert [os.path.basename(source) for source in trajectory.sources] == names
    assert list(trajectory.steps) == [0, 1, 2]


def test_a_list_keeps_its_order_and_all_its_members(tmp_path):
    names = ["base.pt", "seed_10.pt", "seed_2.pt", "seed_1.pt"]
    for value, name in enumerate(names):
        write(tmp_path / name, state(value))
    trajectory = th.open_trajectory([tmp_path / name for name in names])
    assert [os.path.basename(source) for source in trajectory.sources] == names
    assert list(trajectory.steps) == [0, 1, 2, 3] and "in its own order" in trajectory.notes[0]


def test_a_list_against_the_order_of_its_numbers_is_kept_with_a_warning(tmp_path):
    """As Path.glob may give it."""
    paths = [tmp_path / f"epoch_{step}.pt" for step in (10, 2, 1)]
    for path, step in zip(paths, (10, 2, 1)):
        write(path, state(step))
    with pytest.warns(th.TrajectoryWarning, match="epoch_2 comes after epoch_10"):
        trajectory = th.open_trajectory(paths)
    assert list(trajectory.steps) == [0, 1, 2]
    assert [os.path.basename(source) for source in trajectory.sources] == [
        path.name for path in paths
    ]


def test_stages_of_a_folder(tmp_path):
    for name, value in {"stage2-step10": 3, "stage1-step20": 2, "stage1-step3": 1}.items():
        write(tmp_path / f"{name}.pt", state(value))
    trajectory = th.open_trajectory(tmp_path)
    assert list(trajectory.runs) == ["stage1", "stage1", "stage2"]
    assert list(trajectory.steps) == [3, 20, 10] and "then stage2" in trajectory.notes[0]
    check(tmp_path, [state(1), state(2), state(3)])


def test_what_is_another_kind_of_name_is_left_out_and_told(tmp_path):
    for name in ("step_1", "step_2", "step_3", "extension_step_1", "extension_step_2"):
        write(tmp_path / f"{name}.pt", state(len(name)))
    trajectory = th.open_trajectory(tmp_path)
    assert list(trajectory.steps) == [1, 2, 3] and len(trajectory.left_out) == 2
    assert "extension_step_* (2)" in trajectory.notes[0]


def test_two_runs_in_a_folder_are_asked_about(tmp_path):
    for name in ("ema", "model"):
        for step in (1, 2):
            write(tmp_path / f"{name}_step_{step}.pt", state(step))
    with pytest.raises(th.StepError, match=r"side by side; list the files of one \(.*/ema_step_\*"):
        th.open_trajectory(tmp_path)


def test_tokens_of_a_folder(tmp_path):
    for tokens in ("0.5T", "1T", "1.5T"):
        write(tmp_path / tokens / "model.safetensors", state(len(tokens)))
    trajectory = th.open_trajectory(tmp_path)
    assert trajectory.tokens == trajectory.steps == (5 * 10**11, 10**12, 15 * 10**11)


# Layouts of folders


def write_sharded(folder, tensors, suffix, cut):
    """The first `cut` tensors in one shard, the others in a second, with the index of both."""
    stem = "model" if suffix == "safetensors" else "pytorch_model"
    items = list(tensors.items())
    places = {}
    for i, part in enumerate((items[:cut], items[cut:]), 1):
        shard = f"{stem}-{i:05d}-of-00002.{suffix}"
        write(folder / shard, dict(part))
        places.update({name: shard for name, _ in part})
    index = {"metadata": {"total_size": 32}, "weight_map": places}
    (folder / f"{stem}.{suffix}.index.json").write_text(json.dumps(index))


SIDE_FILES = [
    "optimizer.pt",
    "scheduler.pt",
    "rng_state.pth",
    "rng_state_0.pth",
    "training_args.bin",
    "scaler.pt",
]


@pytest.mark.parametrize(
    "name", ["model.safetensors", "pytorch_model.bin", "adapter_model.safetensors"]
)
def test_one_folder_a_checkpoint(tmp_path, name):
    """As the Trainer of transformers writes them, side files included."""
    steps = [500, 1000, 1500]
    for step in steps:
        folder = tmp_path / f"checkpoint-{step}"
        write(folder / name, state(step))
        for side in SIDE_FILES:
            torch.save(
                {"state": {0: {"exp_avg": torch.ones(2, 3)}}, "param_groups": []}, folder / side
            )
        (folder / "trainer_state.json").write_text("{}")
    (tmp_path / "runs").mkdir()  # logs
    kernel = check(tmp_path, [state(step) for step in steps])
    assert list(kernel.steps) == steps


def test_the_final_model_beside_its_checkpoints(tmp_path):
    """The Trainer saves the end once more in the folder above."""
    for step in (500, 1000, 1500):
        write(tmp_path / f"checkpoint-{step}" / "model.safetensors", state(step))
    write_sharded(tmp_path, state(1500), "safetensors", cut=1)
    torch.save({}, tmp_path / "training_args.bin")
    trajectory = th.open_trajectory(tmp_path)
    assert list(trajectory.steps) == [500, 1000, 1500]
    assert any("training_args.bin" in line for line in trajectory.left_out)


@pytest.mark.parametrize("pattern", ["checkpoint-*", "checkpoint-*/model.safetensors"])
def test_a_pattern_of_sub_folders(tmp_path, pattern):
    """Sub-folders with one checkpoint each are checkpoints, not runs, and give their number to the
    file within.
    """
    for step in (500, 1000, 1500):
        write(tmp_path / f"checkpoint-{step}" / "model.safetensors", state(step))
    trajectory = th.open_trajectory(sorted(tmp_path.glob(pattern)))  # 1000 before 500
    assert list(trajectory.steps) == [500, 1000, 1500] and set(trajectory.runs) == {""}


def test_pythia_folders(tmp_path):
    steps = [0, 1, 2, 512, 1000, 143000]
    for step in steps:
        write(tmp_path / f"step{step}" / "pytorch_model.bin", state(step))
    assert list(check(tmp_path, [state(step) for step in steps]).steps) == steps


def test_both_formats_in_one_sub_folder_is_read_from_safetensors(tmp_path):
    for step in (1, 2):
        write(tmp_path / f"checkpoint-{step}" / "model.safetensors", state(step))
        write(tmp_path / f"checkpoint-{step}" / "pytorch_model.bin", state(100 + step))
    check(tmp_path, [state(1), state(2)])


def test_both_formats_side_by_side_is_read_from_safetensors(tmp_path):
    for step in (1, 2):
        write(tmp_path / f"epoch_{step}.safetensors", state(step))
        write(tmp_path / f"epoch_{step}.pt", state(100 + step))
    check(tmp_path, [state(1), state(2)])


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_sharded(tmp_path, suffix):
    """The cut between the shards differs from checkpoint to checkpoint, as it does in Pythia."""
    states = [state(step, tail=torch.tensor([float(step), 1.0])) for step in (100, 200, 300)]
    for step, tensors in zip((100, 200, 300), states):
        write_sharded(tmp_path / f"step{step}", tensors, suffix, cut=1 + step % 200 // 100)
    assert list(check(tmp_path, states).steps) == [100, 200, 300]


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_sharded_beside_whole(tmp_path, suffix):
    whole = "model.safetensors" if suffix == "safetensors" else "pytorch_model.bin"
    write_sharded(tmp_path / "step1", state(1), suffix, cut=1)
    write(tmp_path / "step2" / whole, state(2))
    check(tmp_path, [state(1), state(2)])


def test_runs_joined_end_to_end(tmp_path):
    for run, base in (("warm", 0), ("cold", 50)):
        for step in (1, 2, 10):
            write(tmp_path / run / f"epoch_{step}.pt", state(base + step))
    trajectory = th.open_trajectory([tmp_path / "warm", tmp_path / "cold"])
    assert list(trajectory.steps) == [1, 2, 10, 1, 2, 10]
    assert list(trajectory.runs) == ["warm"] * 3 + ["cold"] * 3
    check([tmp_path / "warm", tmp_path / "cold"], [state(v) for v in (1, 2, 10, 51, 52, 60)])


def test_runs_of_one_name_are_told_apart(tmp_path):
    for seed in ("a", "b"):
        for step in (1, 2):
            write(tmp_path / seed / "checkpoints" / f"epoch_{step}.pt", state(step))
    runs = th.open_trajectory([tmp_path / "a" / "checkpoints", tmp_path / "b" / "checkpoints"]).runs
    assert len(set(runs)) == 2 and runs[0] == runs[1] != runs[2] == runs[3]


def test_one_run_twice_is_not_dropped_silently(tmp_path):
    for step in (1, 2):
        write(tmp_path / "run" / f"epoch_{step}.pt", state(step))
    try:
        assert th.open_trajectory([tmp_path / "run", tmp_path / "run"]).n == 4
    except th.TrajectoryError as error:
        assert "run" in str(error)


def test_names_that_only_some_have_a_prefix_before(tmp_path):
    """`module.` before some names, or two names that a wrapper's prefix alone tells apart: nothing
    is dropped, and all keep their names.
    """
    for names in (("w", "module.w"), ("w", "_orig_mod.w"), ("a.w", "a._fsdp_wrapped_module.w")):
        states = [
            {name: torch.full((2,), step + 10.0 * i) for i, name in enumerate(names)}
            for step in (1, 2)
        ]
        for step, tensors in zip((1, 2), states):
            write(tmp_path / f"epoch_{step}.pt", tensors)
        trajectory = th.open_trajectory(tmp_path)
        assert trajectory.names == names
        said = [note for note in trajectory.notes if names[1] in note]
        assert len(said) == ("module" not in names[1].split("."))
        check(tmp_path, states)


@given(st.sets(st.lists(st.sampled_from(PARTS), min_size=1, max_size=4).map(".".join), min_size=1))
def test_no_set_of_names_loses_a_tensor(names):
    found = without_prefixes(sorted(names))
    assert len(set(found)) == len(names) and without_prefixes(found) == found
