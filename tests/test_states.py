"""Which of the tensors in a checkpoint are θ: replicas of what trainers write, in memory and in
files. What is expected is stated by hand in each case.
"""

import argparse
import copy

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import trajhelpers as th
from trajhelpers.reading.formats import read_checkpoint
from trajhelpers.reading.states import choose_state
from trajhelpers.sources.disk import LocalFile


def network(seed=0, width=3):
    torch.manual_seed(seed)
    return torch.nn.Sequential(
        torch.nn.Linear(2, width), torch.nn.BatchNorm1d(width), torch.nn.Linear(width, 2)
    )


def state(seed=0, width=3):
    return network(seed, width).state_dict()


def stepped(module, kind=torch.optim.Adam, **options):
    """An optimizer after a step."""
    optimizer = kind(module.parameters(), lr=0.1, **options)
    module(torch.randn(4, 2)).sum().backward()
    optimizer.step()
    return optimizer


def adam(seed=0):
    return stepped(network(seed)).state_dict()


def by_name(seed=0, kind=torch.optim.Adam, **options):
    """An optimizer's state by names of parameters, as FSDP and DCP have it."""
    module = network(seed)
    found = stepped(module, kind, **options).state_dict()
    names = [name for name, _ in module.named_parameters()]
    return {
        "state": {names[index]: slots for index, slots in found["state"].items()},
        "param_groups": [{"lr": 0.1, "params": names}],
    }


def ema_pytorch(seed=0, online=True):
    """The state dict of ema_pytorch's EMA, a module."""
    parts = {"initted": torch.tensor(True), "step": torch.tensor(3)}
    if online:
        parts |= {f"online_model.{name}": tensor for name, tensor in state(seed).items()}
    return parts | {f"ema_model.{name}": tensor * 0.9 for name, tensor in state(seed).items()}


def averaged():
    return torch.optim.swa_utils.AveragedModel(network()).state_dict()


def composer():
    return {
        "state": {
            "model": state(),
            "optimizers": {"DecoupledAdamW": by_name()},
            "schedulers": {"LinearLR": {"last_epoch": 3, "base": torch.ones(2)}},
            "algorithms": [("EMA", {"ema": state(3)})],
            "callbacks": {"SpeedMonitor": {"times": torch.ones(3)}},
            "train_metrics": {"Accuracy": {"correct": torch.ones(3)}},
            "timestamp": {"Timestamp": {"epoch": 1}},
        },
        "rng": [{"python": (3, (1, 2)), "torch": torch.get_rng_state()}],
    }


def lightning():
    return {
        "epoch": 1,
        "global_step": 10,
        "pytorch-lightning_version": "2.6",
        "state_dict": {f"model.{name}": tensor for name, tensor in state().items()},
        "loops": {"fit_loop": {"state_dict": {"seen": torch.ones(2)}}},
        "callbacks": {
            "ModelCheckpoint": {"best_model_score": torch.tensor(0.5), "k": torch.ones(3)}
        },
        "optimizer_states": [adam()],
        "lr_schedulers": [{"last_epoch": 1, "_last_lr": torch.ones(1)}],
        "hparams_name": "kwargs",
        "hyper_parameters": {"weights": torch.ones(4)},
    }


def timm():
    return {
        "epoch": 3,
        "arch": "vit",
        "state_dict": state(),
        "optimizer": adam(),
        "version": 2,
        "args": argparse.Namespace(lr=0.1, mean=torch.ones(3)),
        "amp_scaler": {"scale": torch.ones(1)},
        "state_dict_ema": state(4),
        "metric": 0.3,
    }


def fairseq():
    return {
        "args": None,
        "cfg": {"model": argparse.Namespace(arch="x"), "task": {"weights": torch.ones(2)}},
        "model": state(),
        "criterion": None,
        "optimizer_history": [{"num_updates": 3, "loss": torch.ones(2)}],
        "task_state": {},
        "extra_state": {"metrics": {"x": 1}, "previous_training_time": 3.0},
        "last_optimizer_state": {"loss_scale": 1.0, **adam()},
    }


def megatron():
    whole = {
        "embedding": {"word_embeddings": {"weight": torch.randn(4, 2)}},
        "encoder": {"layers.0.mlp.weight": torch.randn(2, 2), "final_norm.weight": torch.ones(2)},
    }
    return {
        "args": argparse.Namespace(rank=0),
        "iteration": 3,
        "model": {"language_model": whole},
        "optimizer": {"optimizer": adam(), "fp32_from_fp16_params": [[torch.ones(3)]]},
        "rng_state": [{"torch_rng_state": torch.get_rng_state()}],
    }


# By trainer: (what is saved, the keys under which θ lies, what is left out)
ONE = {
    "torch's tutorial": (
        lambda: {
            "epoch": 1,
            "model_state_dict": state(),
            "optimizer_state_dict": adam(),
            "loss": 0.1,
        },
        "model_state_dict",
        ["optimizer_state_dict"],
    ),
    "Composer": (
        composer,
        "state.model",
        [
            "state.optimizers",
            "state.schedulers",
            "state.algorithms",
            "state.callbacks",
            "state.train_metrics",
            "rng",
        ],
    ),
    "DCP converted": (
        lambda: {"app": {"model": state(), "optim": by_name()}},
        "app.model",
        ["app.optim"],
    ),
    "a state_dict of two": (
        lambda: {"state_dict": {"model": state(), "optimizer": adam()}},
        "state_dict.model",
        ["state_dict.optimizer"],
    ),
    "a net and its average": (
        lambda: {"model": {"net": state(), "ema": state(2)}},
        "model.net",
        ["model.ema"],
    ),
    "ema_pytorch beside": (
        lambda: {"step": 1, "model": state(), "opt": adam(), "ema": ema_pytorch(), "scaler": None},
        "model",
        ["opt", "ema", "ema.ema_model"],
    ),
    "ema_pytorch without the network": (
        lambda: {"step": 1, "model": state(), "opt": adam(), "ema": ema_pytorch(online=False)},
        "model",
        ["opt", "ema"],
    ),
    "torchvision": (
        lambda: {
            "model": state(),
            "optimizer": stepped(network(), torch.optim.SGD, momentum=0.9).state_dict(),
            "lr_scheduler": {"x": torch.ones(1)},
            "args": argparse.Namespace(),
            "model_ema": averaged(),
        },
        "model",
        ["optimizer", "lr_scheduler", "model_ema"],
    ),
    "timm": (
        timm,
        "state_dict",
        ["optimizer", "args", "amp_scaler", "state_dict_ema"],
    ),
    "Lightning": (
        lightning,
        "state_dict",
        ["loops", "callbacks", "optimizer_states", "lr_schedulers", "hyper_parameters"],
    ),
    "fastai": (
        lambda: {
            "model": state(),
            "opt": {
                "hypers": [{"lr": 0.1}],
                "state": [{"grad_avg": torch.ones(2, 3), "sqr_avg": torch.ones(2, 3)}],
            },
        },
        "model",
        ["opt"],
    ),
    "ultralytics, while it trains": (
        lambda: {
            "epoch": 1,
            "best_fitness": np.float64(0.3),
            "model": network(),
            "ema": network(2),
            "updates": 3,
            "optimizer": adam(),
            "train_args": {"lr0": 0.1},
            "train_results": {"loss": [0.1]},
        },
        "model",
        ["ema", "optimizer"],
    ),
    "ultralytics, its last": (
        lambda: {"epoch": 1, "model": None, "ema": network(), "updates": 3, "optimizer": adam()},
        "ema",
        ["optimizer"],
    ),
    "fairseq": (fairseq, "model", ["cfg", "optimizer_history", "last_optimizer_state"]),
    "nanoGPT": (
        lambda: {
            "model": state(),
            "optimizer": adam(),
            "model_args": {"n_layer": 1},
            "iter_num": 3,
            "best_val_loss": torch.tensor(0.3),
            "config": {"x": 1},
        },
        "model",
        ["the tensors on top", "optimizer"],
    ),
    "a DeepSpeed rank": (
        lambda: {
            "module": state(),
            "buffer_names": ["1.running_mean"],
            "optimizer": None,
            "param_shapes": [{"0.weight": torch.Size([3, 2])}],
            "lr_scheduler": {"x": 1},
            "random_ltd": None,
        },
        "module",
        [],
    ),
    "DINO": (
        lambda: {
            "student": {f"module.{name}": tensor for name, tensor in state().items()},
            "teacher": state(3),
            "optimizer": adam(),
            "dino_loss": {"center": torch.ones(1, 4)},
        },
        "student",
        ["teacher", "optimizer", "dino_loss"],
    ),
    "DQN": (
        lambda: {"q": state(), "q_target": state(2), "optimizer": adam(), "buffer": None},
        "q",
        ["q_target", "optimizer"],
    ),
    "copies by other words": (
        lambda: {"model": state(), "moving": state(2), "slow_weights": state(3)},
        "model",
        ["moving", "slow_weights"],
    ),
    "ESRGAN": (lambda: {"params": state(), "params_ema": state(2)}, "params", ["params_ema"]),
    "flax": (
        lambda: {
            "params": {"Dense_0": {"kernel": torch.ones(2, 3)}, "norm": {"scale": torch.ones(3)}},
            "batch_stats": {"norm": {"mean": torch.ones(3)}},
            "opt_state": {"0": {"mu": {"Dense_0": {"kernel": torch.ones(2, 3)}}}},
            "step": 3,
        },
        "params",
        ["batch_stats", "opt_state"],
    ),
    "an optimizer that no key gives away": (
        lambda: {"model": state(), "first": by_name(), "second": by_name()["state"]},
        "model",
        ["first", "second"],
    ),
    "a flat state with an optimizer in it": (
        lambda: {**state(), "optimizer": adam()},
        "",
        ["optimizer"],
    ),
    "a flat state with its average in it": (
        lambda: {**state(), "ema": state(2)},
        "",
        ["ema"],
    ),
    "a whole optimizer beside a whole network": (
        lambda: {"network": network(), "optimizer": stepped(network())},
        "network",
        ["optimizer"],
    ),
    "Megatron": (megatron, "model", ["optimizer", "rng_state"]),
    "numbers beside": (
        lambda: {"net": state(), "fixed_noise": torch.randn(4, 2), "points": [torch.ones(2)]},
        "net",
        ["the tensors on top", "points"],
    ),
}


def theta(content, keys):
    """The tensors under the keys, flat, by torch alone."""
    for key in keys.split(".") if keys else ():
        content = content[key]
    if isinstance(content, torch.nn.Module):
        content = content.state_dict()

    def flat(value, prefix=""):
        for name, inner in value.items():
            if isinstance(inner, torch.Tensor):
                yield f"{prefix}{name}", inner
            elif isinstance(inner, dict) and keys:
                yield from flat(inner, f"{prefix}{name}.")

    return dict(flat(content))


@pytest.mark.parametrize("where", ["memory", "zip", "legacy"])
@pytest.mark.parametrize("trainer", ONE)
def test_what_trainers_write(tmp_path, trainer, where):
    make, keys, left_out = ONE[trainer]
    content = make()
    if where == "memory":
        if any(isinstance(value, torch.optim.Optimizer) for value in content.values()):
            pytest.skip("an optimizer is no mapping")
        found = choose_state(content, "checkpoint 0")
        left_out = [name for name in left_out if name != "args"]  # a Namespace is no mapping
    else:
        path = tmp_path / "step_1.pt"
        torch.save(content, path, _use_new_zipfile_serialization=where == "zip")
        found = read_checkpoint(LocalFile(path))
    expected = theta(content, keys)
    assert {name: tuple(tensor.shape) for name, tensor in found.tensors.items()} == {
        name: tuple(tensor.shape) for name, tensor in expected.items()
    }
    assert found.state == keys
    assert {line.partition(":")[0] for line in found.left_out} == set(left_out), found.left_out


@pytest.mark.parametrize("trainer", ["Composer", "ema_pytorch beside", "timm", "DQN", "fairseq"])
def test_their_numbers(tmp_path, trainer):
    """From files, to the kernel: of θ and of nothing else, and it is told."""
    make, keys, left_out = ONE[trainer]
    rows = []
    for step in range(3):
        content = make()
        torch.manual_seed(step)
        for tensor in theta(content, keys).values():
            if tensor.is_floating_point():
                tensor.copy_(torch.randn(tensor.shape))
        torch.save(content, tmp_path / f"step_{step}.pt")
        parameters = dict(network().named_parameters())
        rows.append(
            torch.cat([theta(content, keys)[name].reshape(-1) for name in parameters]).double()
        )
    trajectory = th.open_trajectory(tmp_path)
    flat = torch.stack(rows).detach().numpy()
    np.testing.assert_allclose(th.gram(trajectory, device="cpu").gram(), flat @ flat.T, rtol=1e-12)
    assert trajectory.p == flat.shape[1]
    for name in left_out:
        assert any(line.startswith(f"{name}: ") for line in trajectory.left_out)
    assert any(repr(keys) in note for note in trajectory.notes)


# Where nothing is chosen

SEVERAL = {
    "a net and its critic": (
        lambda: {"net": state(), "disc": state(1, 4), "optimizer": adam()},
        ["net", "disc"],
    ),
    "a model and its head": (lambda: {"model": state(), "head": state(1, 5)}, ["model", "head"]),
    "a model and a head of its shapes": (
        lambda: {
            "model": torch.nn.Linear(2, 2).state_dict(),
            "head": torch.nn.Linear(2, 2).state_dict(),
        },
        ["model", "head"],
    ),
    "a model and a projector of its shapes": (
        lambda: {"model": state(), "projector": state(1)},
        ["model", "projector"],
    ),
    "a GAN": (
        lambda: {"G": state(), "D": state(1, 4), "fixed_noise": torch.randn(4, 2)},
        ["G", "D"],
    ),
    "a GAN in a state_dict": (
        lambda: {"state_dict": {"G": state(), "D": state(1, 4)}},
        ["state_dict.G", "state_dict.D"],
    ),
    "a GAN with its optimizers": (
        lambda: {"netG": state(), "netD": state(1), "optG": adam(), "optD": adam(), "epoch": 1},
        ["netG", "netD"],
    ),
    "small networks without dots": (
        lambda: {
            "G": torch.nn.Linear(2, 3).state_dict(),
            "D": torch.nn.Linear(3, 1).state_dict(),
        },
        ["G", "D"],
    ),
    "an actor and its critic": (
        lambda: {"actor": state(), "critic": state(1, 4), "critic_target": state(2, 4)},
        ["actor", "critic"],
    ),
    "modules": (lambda: {"encoder": network(), "decoder": network(1, 4)}, ["encoder", "decoder"]),
    "a list of networks": (lambda: {"models": [state(), state(1)]}, ["models.0", "models.1"]),
    "two averages alone": (
        lambda: {"ema_slow": state(), "ema_fast": state(1)},
        ["ema_slow", "ema_fast"],
    ),
}


@pytest.mark.parametrize("case", SEVERAL)
def test_where_several_could_be_meant_it_asks(tmp_path, case):
    make, names = SEVERAL[case]
    content = make()
    for step in (1, 2):
        torch.save(content, tmp_path / f"step_{step}.pt")
    with pytest.raises(th.CheckpointError) as caught:
        th.open_trajectory(tmp_path)
    message = str(caught.value)
    assert "step_1.pt" in message and f"--state {names[0]}" in message and 'state="*"' in message
    for name in names:
        size = (
            sum(tensor.numel() for tensor in theta(content, name).values())
            if (not name.startswith("models"))
            else None
        )
        assert f"'{name}'" in message and (size is None or f"{size} numbers" in message)
        if size is not None:
            found = th.open_trajectory(tmp_path, state=name)
            assert set(found.shapes) <= set(theta(content, name))
    # all together, each by its keys
    found = read_checkpoint(LocalFile(tmp_path / "step_1.pt"), "*")
    for name in names:
        assert any(tensor.startswith(f"{name}.") for tensor in found.tensors)


def test_all_states_are_those_without_copies():
    content = {"actor": state(), "critic": state(1, 4), "critic_target": state(2, 4)}
    found = choose_state(content, "x.pt", "*")
    assert found.state == "actor and critic"
    assert found.left_out == ("critic_target: a copy of critic, or its teacher, 39 numbers",)
    assert choose_state(content, "x.pt", "*_target").state == "critic_target"


def test_what_state_means(tmp_path):
    content = {
        "app": {"model": {"net": state(), "ema": state(2)}, "optim": by_name()},
        "best": {"ema": state(3)},
    }

    def chosen(asked):
        return choose_state(content, "x.pt", asked)

    assert chosen("app.model.ema").state == chosen("model.ema").state == "app.model.ema"
    assert chosen("net").state == chosen("app").state == chosen("model").state == "app.model.net"
    assert chosen("app.optim").state == "app.optim"
    assert chosen("best").state == "best.ema"
    with pytest.raises(th.CheckpointError, match="x.pt.*app.model.ema.*best.ema"):
        chosen("ema")
    with pytest.raises(th.CheckpointError, match="x.pt.*no state 'head'.*app.model.net"):
        chosen("head")
    found = chosen("*")
    assert found.state == "app.model.net" and "0.weight" in found.tensors
    assert set(chosen("*.ema").state.split(" and ")) == {"app.model.ema", "best.ema"}
    # a part of the names of a flat state
    flat = {f"encoder.{name}": tensor for name, tensor in state().items()} | state(1)
    assert set(choose_state(flat, "x.pt", "encoder").tensors) == set(state())
    # the one average, whatever its name
    assert choose_state(timm(), "x.pt", "ema").state == "state_dict_ema"
    assert (
        choose_state({"ema": ema_pytorch(), "model": state()}, "x", "ema").state == "ema.ema_model"
    )


# Flat names


def flat_files(tmp_path, extra):
    paths = []
    for step in (1, 2):
        tensors = {f"model.{name}": tensor for name, tensor in state(step).items()}
        paths.append(tmp_path / f"step_{step}.safetensors")
        save_file({name: tensor.clone() for name, tensor in (tensors | extra).items()}, paths[-1])
    return th.open_trajectory(tmp_path)


@pytest.mark.parametrize(
    "pattern",
    [
        "optimizer.state.model.{}.exp_avg",
        "optim.{}.exp_avg_sq",
        "model.{}.exp_avg",
        "exp_avg.{}",
        "{}.momentum_buffer",
        "optimizer_state.{}",
        "{}_exp_avg",
        "optimizer/{}/mu",
    ],
)
def test_optimizers_in_flat_names(tmp_path, pattern):
    extra = {pattern.format(name): tensor.float() for name, tensor in state(5).items()}
    trajectory = flat_files(tmp_path, extra)
    assert trajectory.p == sum(tensor.numel() for tensor in network().parameters())
    assert any("optimizer" in line for line in trajectory.left_out), trajectory.left_out


@pytest.mark.parametrize("pattern", ["ema.{}", "model_ema.{}", "ema_model.module.{}", "swa/{}"])
def test_averages_in_flat_names(tmp_path, pattern):
    extra = {pattern.format(name): tensor.float() for name, tensor in state(5).items()}
    if pattern.startswith("model_ema"):
        extra["model_ema.decay"] = torch.tensor(0.9)
    trajectory = flat_files(tmp_path, extra)
    assert trajectory.p == sum(tensor.numel() for tensor in network().parameters())
    assert any("average" in line for line in trajectory.left_out), trajectory.left_out


def test_stable_diffusion_writes_its_average_without_dots(tmp_path):
    extra = {f"model_ema.{name.replace('.', '')}": t.float() for name, t in state(5).items()}
    trajectory = flat_files(tmp_path, extra)
    assert trajectory.p == sum(tensor.numel() for tensor in network().parameters())


@pytest.mark.parametrize(
    "name",
    ["layers.0.ema_gate.weight", "ema.alpha", "encoder.optical.weight", "adapter.opt.weight"],
)
def test_layers_whose_names_sound_like_something_else(tmp_path, name):
    """An average has the shapes of something; a layer has its own."""
    trajectory = flat_files(tmp_path, {name: torch.ones(7)})
    assert any(found.endswith(name) for found in trajectory.names)
    assert not any(name in line for line in trajectory.left_out)


# Files of single ranks


class ShardedTensor:
    """Of torch's name: only that is written down."""

    def __init__(self):
        self._local_shards = [torch.ones(3)]


def test_parts_of_sharded_tensors_are_refused(tmp_path):
    """As FSDP writes them: objects of classes that are not looked at."""
    torch.save({"model": {"a.weight": ShardedTensor()}}, tmp_path / "step_1.pt")
    with pytest.raises(th.CheckpointError, match="step_1.*'a.weight'.*ShardedTensor.*gather"):
        read_checkpoint(LocalFile(tmp_path / "step_1.pt"))
    torch.save({"model": {"_flat_param": torch.ones(8)}}, tmp_path / "step_1.pt")
    with pytest.raises(th.CheckpointError, match="step_1.*'_flat_param'.*FULL_STATE_DICT"):
        read_checkpoint(LocalFile(tmp_path / "step_1.pt"))


@pytest.mark.parametrize(
    "pattern", ["step_{step}_rank{rank}.pt", "model_world_size_2_rank_{rank}_step_{step}.pt"]
)
def test_files_of_single_ranks_are_refused(tmp_path, pattern):
    """Of plain tensors, whose halves nobody can tell from wholes: by name, where others lie."""
    paths = []
    for step in (1, 2):
        for rank in (0, 1):
            paths.append(tmp_path / pattern.format(step=step, rank=rank))
            torch.save({"a.weight": torch.ones(3) * (step + rank)}, paths[-1])
    for source in (paths[::2], paths[1::2]):
        with pytest.raises(th.CheckpointError, match="rank.*is one rank's file of several.*gather"):
            th.open_trajectory(source)
    with pytest.raises(th.CheckpointError, match="rank.*gather"):
        th.open_trajectory(tmp_path)
    for path in paths[1::2]:
        path.unlink()
    assert th.open_trajectory(paths[::2]).p == 3


def test_parts_of_dtensors_are_refused(tmp_path):
    import torch.distributed as dist
    from torch.distributed.tensor import Shard, distribute_tensor, init_device_mesh

    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        mesh = init_device_mesh("cpu", (1,))
        tensor = distribute_tensor(torch.ones(4, 2), mesh, [Shard(0)])
        torch.save({"model": {"a.weight": tensor}}, tmp_path / "step_1.pt")
    finally:
        dist.destroy_process_group()
    with pytest.raises(th.CheckpointError, match="step_1.*'a.weight'.*DTensor.*gather"):
        read_checkpoint(LocalFile(tmp_path / "step_1.pt"))


def test_nothing_that_could_be_a_network(tmp_path):
    for content, words in (
        ({"optimizer": adam()}, "'optimizer' .an optimizer's state"),
        ({"epoch": 3}, "'epoch'"),
        ([1, 2], "list"),
        (argparse.Namespace(a=1), "argparse.Namespace"),
        (3, "int"),
    ):
        torch.save(content, tmp_path / "step_1.pt")
        with pytest.raises(th.CheckpointError, match=rf"step_1\.pt: .*{words}"):
            read_checkpoint(LocalFile(tmp_path / "step_1.pt"))


def test_a_copy_of_the_same_shapes_is_not_dropped_where_both_are_called_models():
    content = {"model": state(), "net": state(1)}
    with pytest.raises(th.CheckpointError, match="several states"):
        choose_state(content, "x.pt")
    assert choose_state(copy.deepcopy(content), "x.pt", "net").state == "net"


# ---- copies in flat names ----


@pytest.mark.parametrize(
    "original, copied",
    [
        ("student", "teacher"),
        ("q_net", "q_net_target"),
        ("backbone", "backbone_momentum"),
        ("encoder_q", "encoder_k"),
        ("online_network", "target_network"),
        ("model.student", "model.teacher"),
    ],
)
def test_a_copy_in_flat_names_is_left_out_and_said(original, copied):
    tensors = {f"{original}.{name}": tensor for name, tensor in state(0).items()}
    tensors |= {f"{copied}.{name}": tensor for name, tensor in state(1).items()}
    found = choose_state(tensors, "here")
    assert len(found.tensors) == len(state()) and "a copy of" in found.left_out[0]
    assert choose_state(tensors, "here", state=copied).tensors.keys() == state().keys()


def test_a_layer_may_be_called_as_a_copy_is():
    names = ["proj.weight", "target_proj.weight", "target.0.weight", "momentum.0.weight"]
    tensors = {name: torch.ones(2, 2) for name in names}
    assert choose_state(tensors, "here").tensors.keys() == set(names)


def test_a_networks_average_in_its_place():
    # Lightning's WeightAveraging
    saved = {
        "state_dict": state(0),
        "current_model_state": state(1),
        "averaging_state": {"n_averaged": torch.tensor(3)},
    }
    found = choose_state(saved, "here")
    assert found.state == "current_model_state" and "an average" in found.left_out[0]


def test_a_change_of_state_within_a_run_is_warned_of(tmp_path):
    torch.save({"model": state(0)}, tmp_path / "step1.pt")
    torch.save({"ema": state(1)}, tmp_path / "step2.pt")
    with pytest.warns(th.TrajectoryWarning, match="θ is 'model' in .*, and 'ema' in "):
        th.open_trajectory(tmp_path)


def test_queues_and_what_codebooks_are_averaged_from_are_buffers():
    saved = {**state(), "queue": torch.ones(3, 4), "queue_ptr": torch.ones(1, dtype=torch.int64)}
    saved |= {"vq.cluster_size": torch.ones(3), "vq.embed_avg": torch.ones(3, 2)}
    trajectory = th.open_trajectory([saved, {name: 2 * x for name, x in saved.items()}])
    assert not {"queue", "vq.cluster_size", "vq.embed_avg"} & set(trajectory.names)
