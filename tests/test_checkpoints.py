"""Every format, every layout of a folder, every rule of order and content."""

import json
import os

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import oracle
import trajhelpers as th
from trajhelpers.__main__ import main


def state(value, **more):
    """A state dict that tells its checkpoint: every entry is near `value`."""
    return {"a.weight": torch.full((2, 3), float(value)) + torch.arange(6.0).reshape(2, 3), "a.bias": torch.full((2,), float(value) ** 2), **more}


def write(path, tensors, legacy=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".safetensors":
        save_file(tensors, path)
    else:
        torch.save(tensors, path, _use_new_zipfile_serialization=not legacy)


def kernel_of(source, **options):
    return th.gram(th.open_trajectory(source, **options), device="cpu")


def check(source, states, **options):
    """The kernel of what was opened is the oracle's on the states that were written."""
    kernel = kernel_of(source, **options)
    expected = oracle.gram(oracle.flat(states))
    np.testing.assert_allclose(kernel.gram(), expected, rtol=0, atol=1e-12 * np.max(np.abs(expected)))
    return kernel


# Order

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
    (["epoch=3-step=300.ckpt", "epoch=4-step=400.ckpt", "epoch=10-step=1000.ckpt"], [300, 400, 1000]),  # Lightning
    (["epoch=0-step=100-v1.ckpt", "epoch=1-step=200-v1.ckpt"], [100, 200]),
    (["epoch=01-val_loss=0.25.ckpt", "epoch=02-val_loss=0.20.ckpt", "epoch=11-val_loss=0.10.ckpt"], [1, 2, 11]),
    (["epoch=1-val_loss=3.ckpt", "epoch=2-val_loss=2.ckpt", "epoch=3-val_loss=1.ckpt"], [1, 2, 3]),
    (["step=10-loss=1.50.ckpt", "step=20-loss=0.75.ckpt"], [10, 20]),
    (["iter_1000_loss_3.pth", "iter_2000_loss_2.pth"], [1000, 2000]),
    (["iter_80000.pth", "iter_160000.pth"], [80000, 160000]),  # mmsegmentation
    (["epoch_1_iter_500.pt", "epoch_2_iter_1000.pt", "epoch_3_iter_1500.pt"], [500, 1000, 1500]),
    (["loss_0.31_epoch_1.pt", "loss_0.29_epoch_2.pt"], [1, 2]),
    (["checkpoint_epoch_9_acc_0.912.pt", "checkpoint_epoch_10_acc_0.911.pt"], [9, 10]),
    (["global_step100.pt", "global_step200.pt"], [100, 200]),
    (["step1000.safetensors", "step143000.safetensors"], [1000, 143000]),
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
    for name, step in zip(reversed(names), reversed(steps)):  # written last first: the folder's own order is no help
        write(tmp_path / name, state(step))
    trajectory = th.open_trajectory(tmp_path)
    assert list(trajectory.steps) == steps
    assert [os.path.basename(source) for source in trajectory.sources] == names
    check(tmp_path, [state(step) for step in steps])
    # the same as a list, in a shell's order or any other
    assert list(th.open_trajectory(sorted(tmp_path.iterdir())).steps) == steps
    assert list(th.open_trajectory([str(tmp_path / name) for name in reversed(names)]).steps) == steps


def test_files_without_a_step_are_left_out_and_listed(tmp_path):
    for step in (1, 2, 3):
        write(tmp_path / f"epoch_{step}.pt", state(step))
    for name in ("best.pt", "last.ckpt", "model_best.pth.tar", "final.safetensors"):
        write(tmp_path / name, state(9))
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "train.log").write_text("epoch 1")
    trajectory = th.open_trajectory(tmp_path)
    assert list(trajectory.steps) == [1, 2, 3]
    for name in ("best.pt", "last.ckpt", "final.safetensors"):
        assert any(name in line for line in trajectory.left_out), name


def test_a_list_without_numbers_keeps_its_order(tmp_path):
    names = ["before.pt", "after.pt", "end.pt"]
    for value, name in enumerate(names):
        write(tmp_path / name, state(value))
    trajectory = th.open_trajectory([tmp_path / name for name in names])
    assert [os.path.basename(source) for source in trajectory.sources] == names
    assert list(trajectory.steps) == [0, 1, 2]


def test_a_list_is_ordered_by_its_numbers(tmp_path):
    paths = [tmp_path / f"epoch_{step}.pt" for step in (10, 2, 1)]
    for path, step in zip(paths, (10, 2, 1)):
        write(path, state(step))
    check(paths, [state(1), state(2), state(10)])


# Layouts of folders

SIDE_FILES = ["optimizer.pt", "scheduler.pt", "rng_state.pth", "rng_state_0.pth", "training_args.bin", "scaler.pt"]


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin", "adapter_model.safetensors"])
def test_one_folder_a_checkpoint(tmp_path, name):
    """As the Trainer of transformers writes them, side files included."""
    steps = [500, 1000, 1500]
    for step in steps:
        folder = tmp_path / f"checkpoint-{step}"
        write(folder / name, state(step))
        for side in SIDE_FILES:
            torch.save({"state": {0: {"exp_avg": torch.ones(2, 3)}}, "param_groups": []}, folder / side)
        (folder / "trainer_state.json").write_text("{}")
    (tmp_path / "runs").mkdir()  # logs
    kernel = check(tmp_path, [state(step) for step in steps])
    assert list(kernel.steps) == steps


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


def write_sharded(folder, tensors, suffix, cut):
    """The first `cut` tensors in one shard, the others in a second, with the index that names them."""
    stem = "model" if suffix == "safetensors" else "pytorch_model"
    items = list(tensors.items())
    places = {}
    for i, part in enumerate((items[:cut], items[cut:]), 1):
        shard = f"{stem}-{i:05d}-of-00002.{suffix}"
        write(folder / shard, dict(part))
        places.update({name: shard for name, _ in part})
    index = {"metadata": {"total_size": 32}, "weight_map": places}
    (folder / f"{stem}.{suffix}.index.json").write_text(json.dumps(index))


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


# Formats and content

@pytest.mark.parametrize("suffix, legacy", [
    ("pt", False), ("pth", False), ("ckpt", False), ("bin", False), ("pt", True), ("bin", True), ("safetensors", False)])
def test_formats(tmp_path, suffix, legacy):
    for step in (1, 2, 3):
        write(tmp_path / f"epoch_{step}.{suffix}", state(step), legacy)
    check(tmp_path, [state(step) for step in (1, 2, 3)])


def test_formats_mixed_in_one_run(tmp_path):
    for step, (suffix, legacy) in enumerate([("pt", False), ("bin", True), ("safetensors", False), ("ckpt", False)]):
        write(tmp_path / f"epoch_{step}.{suffix}", state(step), legacy)
    check(tmp_path, [state(step) for step in range(4)])


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model", "module", "net", "model_state", "params"])
@pytest.mark.parametrize("legacy", [False, True])
def test_nested_in_a_training_checkpoint(tmp_path, key, legacy):
    """Real optimizer states: Adam's moments have the parameters' shapes and must not be mistaken for them."""
    states = []
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2))
    optimizer = torch.optim.AdamW(model.parameters())
    for epoch in range(3):
        optimizer.zero_grad()
        model(torch.randn(5, 3)).square().sum().backward()
        optimizer.step()
        states.append({name: tensor.detach().clone() for name, tensor in model.state_dict().items()})
        write(tmp_path / f"epoch_{epoch}.ckpt", {
            "epoch": epoch, key: model.state_dict(), "optimizer_state_dict": optimizer.state_dict(), "loss": 0.5,
            "rng": torch.get_rng_state(), "best": torch.tensor(0.25), "history": [1.0, 2.0], "args": {"lr": 0.1}}, legacy)
    kernel = check(tmp_path, states)
    assert kernel.p == 3 * 4 + 4 + 4 * 2 + 2


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "_orig_mod.module.", "module._orig_mod."])
def test_prefixes_fall_away(tmp_path, prefix):
    """Also when only some of the checkpoints were written under DistributedDataParallel or torch.compile."""
    write(tmp_path / "epoch_1.pt", state(1))
    write(tmp_path / "epoch_2.pt", {prefix + name: tensor for name, tensor in state(2).items()})
    trajectory = th.open_trajectory(tmp_path)
    assert set(trajectory.names) == {"a.weight", "a.bias"}
    check(tmp_path, [state(1), state(2)])


BUFFERS = {
    "bn.running_mean": torch.ones(2), "bn.running_var": torch.ones(2), "bn.num_batches_tracked": torch.tensor(7),
    "position_ids": torch.arange(4), "mask": torch.ones(3, dtype=torch.bool)}
NEOX_BUFFERS = {
    "gpt_neox.layers.0.attention.bias": torch.ones(1, 1, 4, 4, dtype=torch.bool),
    "gpt_neox.layers.1.attention.bias": torch.ones(1, 1, 4, 4),  # as a float: by name
    "gpt_neox.layers.0.attention.masked_bias": torch.tensor(-1e9),
    "gpt_neox.layers.0.attention.rotary_emb.inv_freq": torch.ones(2)}


@pytest.mark.parametrize("buffers", [BUFFERS, NEOX_BUFFERS], ids=["batch norm", "gpt-neox"])
@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_buffers_are_left_out_and_named(tmp_path, buffers, suffix):
    kept = {"gpt_neox.layers.0.attention.dense.bias": torch.ones(2), "gpt_neox.layers.0.attention.query_key_value.bias": torch.ones(3)}
    for step in (1, 2):
        write(tmp_path / f"epoch_{step}.{suffix}", state(step, **kept, **buffers))
    trajectory = th.open_trajectory(tmp_path)
    assert set(trajectory.names) == {"a.weight", "a.bias", *kept}
    for name in buffers:
        assert any(name in line for line in trajectory.left_out), name
    check(tmp_path, [state(1, **kept), state(2, **kept)])


def test_include_and_exclude(tmp_path):
    for step in (1, 2):
        write(tmp_path / f"epoch_{step}.pt", state(step, **BUFFERS))

    def names(**options):
        return set(th.open_trajectory(tmp_path, **options).names)

    assert names(include="a.*") == {"a.weight", "a.bias"}
    assert names(include=["*.weight"]) == {"a.weight"}
    assert names(exclude="*.bias") == {"a.weight"}
    assert names(include="a.*", exclude=["*.weight"]) == {"a.bias"}
    assert names(include=["a.*", "bn.running_mean"]) == {"a.weight", "a.bias", "bn.running_mean"}
    trajectory = th.open_trajectory(tmp_path, exclude="*.bias")
    assert any("a.bias" in line for line in trajectory.left_out)
    with pytest.raises(th.LayoutError):
        th.open_trajectory(tmp_path, include="nothing.*")


def test_integer_tensors_of_a_quantized_network_do_not_count(tmp_path):
    for step in (1, 2):
        write(tmp_path / f"epoch_{step}.pt", state(step, codes=torch.ones(8, dtype=torch.int8)))
    assert th.open_trajectory(tmp_path).p == 8


def test_tied_tensors_count_once(tmp_path):
    for step in (1, 2):
        embedding = torch.full((4, 2), float(step))
        write(tmp_path / f"epoch_{step}.pt", {"embed.weight": embedding, "head.weight": embedding, "out.bias": torch.ones(1)})
    trajectory = th.open_trajectory(tmp_path)
    assert trajectory.p == 9
    states = [torch.load(tmp_path / f"epoch_{step}.pt", weights_only=True) for step in (1, 2)]
    assert th.open_trajectory(states).p == 9


def test_views_of_one_storage_are_not_ties(tmp_path):
    """Flattened parameters (FSDP, flat optimizers): one storage, every tensor another part of it."""
    states = []
    for step in (1, 2):
        storage = torch.arange(10.0) + step
        states.append({"first": storage[:4].view(2, 2), "second": storage[4:]})
        write(tmp_path / f"epoch_{step}.pt", states[-1])
    assert check(tmp_path, states).p == 10
    assert check(states, states).p == 10


def test_equal_values_are_not_ties(tmp_path):
    states = [{"a": torch.ones(3) * step, "b": torch.ones(3) * step} for step in (1, 2)]
    assert check(states, states).p == 6


def strided(step):
    """Tensors whose memory is not in their order of elements: the flat order is the logical one."""
    base = torch.arange(24.0).reshape(2, 3, 4) * step + 1
    return {
        "channels_last": torch.arange(48.0).reshape(2, 2, 3, 4).mul(step).to(memory_format=torch.channels_last),
        "transposed": base.permute(2, 0, 1), "every_other": base[:, :, ::2], "expanded": torch.tensor([float(step)]).expand(5),
        "offset": torch.arange(9.0)[4:] + step, "scalar": torch.tensor(float(step)), "empty": torch.empty(0, 3)}


@pytest.mark.parametrize("legacy", [False, True])
def test_views_and_memory_formats(tmp_path, legacy):
    for step in (1, 2, 3):
        write(tmp_path / f"epoch_{step}.pt", strided(step), legacy)
    kernel = check(tmp_path, [strided(step) for step in (1, 2, 3)])
    assert kernel.p == 48 + 24 + 12 + 5 + 5 + 1
    check([strided(step) for step in (1, 2, 3)], [strided(step) for step in (1, 2, 3)])
    # in the logical order of elements, so that contiguous and strided checkpoints of one run agree
    (tmp_path / "epoch_2.pt").unlink()
    write(tmp_path / "epoch_2.safetensors", {name: tensor.contiguous() for name, tensor in strided(2).items()})
    check(tmp_path, [strided(step) for step in (1, 2, 3)])


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_a_precision_for_each_tensor(tmp_path, suffix):
    """Mixed within a checkpoint, the same in all: nothing to warn of (warnings are errors here)."""
    generator = torch.Generator().manual_seed(0)
    kinds = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32, "fp64": torch.float64}
    states = [{name: torch.randn(5, generator=generator, dtype=torch.float64).to(kind) for name, kind in kinds.items()} for _ in range(3)]
    for step, tensors in enumerate(states):
        write(tmp_path / f"epoch_{step}.{suffix}", tensors)
    trajectory = th.open_trajectory(tmp_path)
    assert trajectory.dtypes == {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32", "fp64": "float64"}
    check(tmp_path, states)


def test_a_precision_that_changes_warns_once_and_is_exact(tmp_path):
    kinds = [torch.float32, torch.bfloat16, torch.float16, torch.float64]
    states = [{name: (tensor / 3).to(kind) for name, tensor in state(step).items()} for step, kind in enumerate(kinds)]
    for step, tensors in enumerate(states):
        write(tmp_path / f"epoch_{step}.pt", tensors)
    with pytest.warns(th.TrajectoryWarning) as caught:
        check(tmp_path, states)
    assert len(caught) == 1 and "a.weight" in str(caught[0].message)


def test_large_float16_values_do_not_overflow(tmp_path):
    states = [{"w": torch.full((3,), value, dtype=torch.float16)} for value in (65504.0, -65504.0, 60000.0)]
    for step, tensors in enumerate(states):
        write(tmp_path / f"epoch_{step}.safetensors", tensors)
    check(tmp_path, states)


# State dicts and modules in memory

class Net(torch.nn.Module):
    def __init__(self, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.embed = torch.nn.Embedding(6, 3)
        self.norm = torch.nn.BatchNorm1d(3)
        self.head = torch.nn.Linear(3, 6, bias=False)
        self.head.weight = self.embed.weight  # tied
        self.register_buffer("scale", torch.ones(7))  # a float buffer that no name gives away


def test_modules():
    """A module knows its parameters: buffers are left out whatever their names, ties count once."""
    nets = [Net(seed) for seed in range(3)]
    expected = [{name: p.detach().clone() for name, p in net.named_parameters()} for net in nets]
    trajectory = th.open_trajectory(nets)
    assert trajectory.p == 6 * 3 + 3 + 3
    assert any("scale" in line for line in trajectory.left_out)
    assert check(nets, expected).names is not None


def test_numpy_state_dicts_and_their_steps():
    states = [{"w": np.arange(4.0).reshape(2, 2)[::-1] * value} for value in (1, 2, 3)]
    trajectory = th.open_trajectory(states)
    assert list(trajectory.steps) == [0, 1, 2] and len(trajectory) == trajectory.n == 3
    check(states, states)


def test_read_gives_segments_of_all_checkpoints(tmp_path):
    states = [state(step) for step in (1, 2, 3)]
    for step, tensors in zip((1, 2, 3), states):
        write(tmp_path / f"epoch_{step}.pt", tensors)
    trajectory = th.open_trajectory(tmp_path)
    found = np.asarray(trajectory.read([("a.weight", 1, 4), ("a.bias", 0, 2), ("a.weight", 5, 6)]))
    expected = [np.r_[s["a.weight"].reshape(-1)[1:4], s["a.bias"], s["a.weight"].reshape(-1)[5:]] for s in states]
    assert found.shape == (3, 6) and found.dtype == np.float64
    np.testing.assert_array_equal(found, expected)
    assert trajectory.shapes == {"a.weight": (2, 3), "a.bias": (2,)}


# The whole way, through the command line

@pytest.mark.parametrize("first", ["epoch_init.pt", None])
def test_a_folder_of_epochs_through_the_command_line(tmp_path, first, capsys):
    """250 epochs of tiny files and their initialization, or the epochs alone: no flag, and the oracle's numbers."""
    rng = np.random.default_rng(0)
    theta = np.cumsum(rng.standard_normal((251, 42)) * np.linspace(1, 0.01, 251)[:, None], axis=0).astype(np.float32)
    names = ["epoch_init.pt"] + [f"epoch_{epoch}.pt" for epoch in range(1, 251)]
    states = [{"fc.weight": torch.from_numpy(row[:36].reshape(6, 6)), "fc.bias": torch.from_numpy(row[36:])} for row in theta]
    pairs = list(zip(names, states))[0 if first else 1:]
    folder, out = tmp_path / "run", tmp_path / "run.npz"
    for name, tensors in reversed(pairs):
        write(folder / name, tensors)
    assert main(["gram", str(folder), "-o", str(out)]) in (None, 0)
    capsys.readouterr()
    assert main(["hallmarks", str(out), "--json"]) in (None, 0)
    found = json.loads(capsys.readouterr().out)
    expected = oracle.flat([tensors for _, tensors in pairs])
    assert found["n"] == len(pairs) and found["p"] == 42
    assert found["steps"] == list(range(0 if first else 1, 251))
    assert abs(found["mds"] - oracle.mds(expected)) < 1e-12
    assert abs(found["relative_mds"] - oracle.mds(expected, 0)) < 1e-12
    for series, cosines in oracle.angle_cosines(expected).items():
        np.testing.assert_allclose(np.cos(np.radians(found["angles"][series])), cosines, rtol=0, atol=1e-12, err_msg=series)
    for series, values in oracle.norms(expected).items():
        np.testing.assert_allclose(found["norms"][series], values, rtol=1e-12, err_msg=series)
    for name, values in oracle.spectra(expected).items():
        np.testing.assert_allclose(found["spectra"][name], values, rtol=0, atol=1e-12 * values[0], err_msg=name)
