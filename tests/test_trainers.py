"""What real training stacks write: what lies there, what a user types, and what they see, which is
numbers or a question.

A row's ``write`` puts a run into a folder and returns what is expected of it, by step and name;
runs of libraries that are not installed here come from ``tests/written/``. ``sees`` is None where
it just opens, else what a question or an error says."""

import copy
import re
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from written_runs import expected, inner_products, read, unpack

import trajhelpers as th
from trajhelpers.errors import TrajectoryError, TrajectoryWarning

STEPS = (0, 5, 10)


class Row(NamedTuple):
    name: str
    write: Callable[[Any], dict]
    types: dict
    # A pattern of what an error says, or None; of what is told, where it opens.
    sees: str | None = None
    told: str | None = None
    # Of a warning by the pass.
    warned: str | None = None


# ---- what is written ----


class Net(nn.Module):
    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.up, self.norm, self.down = nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Linear(5, 3)

    def forward(self, x):
        return self.down(torch.relu(self.norm(self.up(x))))


def trained(model, optimizer=None, frozen=()):
    """(step, model, optimizer), by real steps."""
    for name, value in model.named_parameters():
        value.requires_grad_(not name.startswith(tuple(frozen)) if frozen else True)
    learned = [value for value in model.parameters() if value.requires_grad]
    optimizer = optimizer or torch.optim.AdamW(learned, lr=0.05)
    generator = torch.Generator().manual_seed(3)
    for start, step in zip((0, *STEPS), STEPS):
        for _ in range(start, step):
            optimizer.zero_grad()
            loss = model(torch.randn(16, 6, generator=generator)).square().mean()
            loss.backward()
            optimizer.step()
        yield step, model, optimizer


def parameters(model):
    return {
        name: value.detach().double().numpy().copy() for name, value in model.named_parameters()
    }


def with_buffers(model):
    """What a state dict has, where nothing tells a buffer from a parameter."""
    return {name: value.double().numpy().copy() for name, value in model.state_dict().items()}


def saves(content, make=Net, name="step_{step}.pt", of=parameters, frozen=(), save=torch.save):
    """A run of files: ``content`` of (step, model, optimizer) is saved, ``of`` a model is θ."""

    def write(folder):
        wanted = {}
        for step, model, optimizer in trained(make(), frozen=frozen):
            path = folder / name.format(step=step)
            path.parent.mkdir(parents=True, exist_ok=True)
            save(content(step, model, optimizer), path)
            wanted[step] = of(model)
        return wanted

    return write


def library(writer, case, oracle=""):
    """What a library wrote; ``oracle`` is the folder of another state's values."""

    def write(folder):
        found = unpack(writer, case, folder.parent)
        (found / "run").rename(folder)
        return expected(found / oracle)

    return write


def state(step, model, optimizer):
    return model.state_dict()


class Averaged(Net):
    """A network and its average, as the usual loops keep them."""

    def __init__(self):
        super().__init__()
        self.__dict__["average"] = torch.optim.swa_utils.AveragedModel(
            self, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9)
        )


def with_average(step, model, optimizer):
    model.average.update_parameters(model)
    return {
        "model": {"net": model.state_dict(), "ema": model.average.module.state_dict()},
        "optimizer": optimizer.state_dict(),
    }


class Tutorial(nn.Module):
    """PyTorch's language model: a table of positions that never moves."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.up = nn.Linear(6, 8)
        self.pos_encoder = nn.Module()
        self.pos_encoder.register_buffer("pe", torch.rand(500, 1, 8))

    def forward(self, x):
        return self.up(x)


class Masked(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.up = nn.Linear(6, 8)
        self.register_buffer("tril", torch.tril(torch.ones(64, 64)))

    def forward(self, x):
        return self.up(x)


class Spectral(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.up = nn.utils.spectral_norm(nn.Linear(6, 8))

    def forward(self, x):
        return self.up(x)


class Distilled(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.student, self.teacher = nn.Linear(6, 3), nn.Linear(6, 3)

    def forward(self, x):
        return self.student(x) - self.teacher(x).detach()


def only(*prefixes):
    return lambda model: {
        name: value for name, value in parameters(model).items() if name.startswith(prefixes)
    }


class Pair(nn.Module):
    """Two networks in one loop."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(6, 4), nn.Linear(4, 2)

    def forward(self, x):
        return self.second(torch.relu(self.first(x)))


def both(first, second, **more):
    return lambda step, model, optimizer: {
        first: model.first.state_dict(),
        second: model.second.state_dict(),
        **more,
    }


def of_first(model):
    return parameters(model.first)


def prefixed(first, second):
    return lambda model: {
        **{f"{first}.{name}": value for name, value in parameters(model.first).items()},
        **{f"{second}.{name}": value for name, value in parameters(model.second).items()},
    }


def quantized(step, model, optimizer):
    """As bitsandbytes saves 8 bits: codes, and a scale a row."""
    found = {}
    for name, value in model.state_dict().items():
        if value.ndim == 2:
            scale = value.abs().amax(1)
            found[name] = (value / scale[:, None] * 127).round().to(torch.int8)
            found[name.replace("weight", "SCB")] = scale
        else:
            found[name] = value
    return found


def flat_with_optimizer(step, model, optimizer):
    """Everything in one safetensors file, which knows no nesting."""
    found = {f"model.{name}": value for name, value in model.state_dict().items()}
    for name, value in model.named_parameters():
        kept = optimizer.state.get(value, {})
        for key in ("exp_avg", "exp_avg_sq"):
            found[f"optimizer.{name}.{key}"] = kept.get(key, torch.zeros_like(value))
    return found


def save_safetensors(content, path):
    from safetensors.torch import save_file

    save_file({name: value.contiguous() for name, value in content.items()}, path)


def other(ending, content):
    """Files that are no checkpoints."""

    def write(folder):
        folder.mkdir(exist_ok=True)
        for step in STEPS:
            (folder / f"step_{step}{ending}").write_bytes(content)
        return {}

    return write


def scripted(folder):
    folder.mkdir(exist_ok=True)
    for step in STEPS:
        program = torch.jit.trace(nn.Linear(6, 3), torch.zeros(1, 6))
        torch.jit.save(program, folder / f"step_{step}.pt")
    return {}


def joined_keys(prefix):
    return lambda model: {f"{prefix}{name}": value for name, value in parameters(model).items()}


def namespace(step, model, optimizer):
    import argparse

    return {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "args": argparse.Namespace(lr=0.05, where=torch.device("cpu")),
        "epoch": step,
    }


def with_numpy(step, model, optimizer):
    return {"model": model.state_dict(), "best": np.float64(0.5), "rng": np.random.RandomState(0)}


def whole_module(step, model, optimizer):
    return model


def ultralytics(step, model, optimizer):
    """ultralytics, engine/trainer.py, save_model: the average as a module in half precision."""
    return {"epoch": step, "model": None, "ema": copy.deepcopy(model).half(), "train_args": {}}


def halves(model):
    return {name: value.astype(np.float16) for name, value in parameters(model).items()}


def wrapped(*prefixes):
    """As torch.compile and DDP name parameters, and both, switched on in mid-run."""
    return lambda step, model, _: {
        f"{prefixes[step // 5]}{name}": value for name, value in model.state_dict().items()
    }


def fairseq(folder):
    """checkpoint2.pt is of the end of an epoch, checkpoint_1_100.pt of an update within one."""
    folder.mkdir()
    names = ("checkpoint1", "checkpoint2", "checkpoint_1_100", "checkpoint_2_200")
    networks = [Net(seed) for seed in range(len(names))]
    for name, network in zip(names, networks):
        torch.save({"model": network.state_dict(), "args": None}, folder / f"{name}.pt")
    return {100: parameters(networks[2]), 200: parameters(networks[3])}


# ---- the table ----

ROWS = [
    # Works.
    Row("state_dict", saves(state), {}),
    *(
        Row(key, saves(lambda step, model, _, key=key: {key: model.state_dict(), "step": step}), {})
        for key in ("state_dict", "model", "net", "model_state_dict")
    ),
    Row(
        "legacy format",
        saves(
            state,
            save=lambda content, path: torch.save(
                content, path, _use_new_zipfile_serialization=False
            ),
        ),
        {},
    ),
    Row("torch.compile, mid-run", saves(wrapped("", "_orig_mod.", "_orig_mod.")), {}),
    Row("DDP and compile", saves(wrapped("module.", "module._orig_mod.", "_orig_mod.")), {}),
    Row(
        "half precision",
        saves(lambda step, model, _: copy.deepcopy(model).half().state_dict(), of=halves),
        {},
    ),
    Row("Lightning, from its root", library("trainers", "lightning"), {}, told="version_0"),
    Row("accelerate, one of two networks", library("trainers", "accelerate"), {"file": "model.*"}),
    Row("DeepSpeed ZeRO-1", library("deepspeed_zero", "zero1"), {}, told="fp32"),
    Row("DeepSpeed ZeRO-2", library("deepspeed_zero", "zero2"), {}, told="fp32"),
    # Wrong, exit 0.
    Row("Composer", library("trainers", "composer"), {}, told="state.optimizers"),
    Row("DCP, one object with all", library("torch_dcp", "app"), {}, told="app.optim"),
    Row(
        "state_dict with optimizer within",
        saves(
            lambda step, model, optimizer: {
                "state_dict": {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
            }
        ),
        {},
        told="optimizer",
    ),
    Row("a network and its average", saves(with_average, Averaged), {}, told="ema"),
    Row("the average", library("trainers", "ema_pytorch", "ema"), {"state": "ema.ema_model"}),
    Row("ema_pytorch", library("trainers", "ema_pytorch"), {}, told="ema"),
    Row("a table of positions", saves(state, Tutorial), {"exclude": "constant"}),
    Row(
        "a table of positions, unasked",
        saves(state, Tutorial, of=with_buffers),
        {},
        warned="pos_encoder.pe.*exclude=",
    ),
    Row("a mask", saves(state, Masked), {"exclude": "constant"}),
    Row("a mask, unasked", saves(state, Masked, of=with_buffers), {}, warned="tril.*exclude="),
    Row("spectral_norm", saves(state, Spectral), {}),
    Row(
        "a frozen backbone",
        saves(state, frozen=("up.",), of=only("down.", "norm.")),
        {"exclude": "constant"},
    ),
    Row(
        "a teacher",
        saves(state, Distilled, frozen=("teacher.",), of=only("student.")),
        {"exclude": "constant"},
    ),
    Row(
        "include takes no running statistics",
        saves(state, of=only("down.", "norm.")),
        {"include": ["down.*", "norm.*"]},
    ),
    Row(
        "accelerate, two networks",
        library("trainers", "accelerate"),
        {},
        sees=r"model\.safetensors and model_1\.safetensors; say which with file='model",
    ),
    Row(
        "accelerate, both of two networks",
        library("trainers", "accelerate", "both"),
        {"file": ["model.safetensors", "model_1.safetensors"]},
    ),
    Row(
        "sentence-transformers",
        library("components", "sentence_transformers"),
        {},
        sees=r"model\.safetensors and 2_Dense/model\.safetensors; say which with file=",
    ),
    Row(
        "sentence-transformers, its dense layer",
        library("components", "sentence_transformers", "dense"),
        {"file": "2_Dense/*"},
    ),
    Row(
        "net and disc",
        saves(both("net", "disc"), Pair, of=of_first),
        {},
        sees=r"net.*disc.*state=",
    ),
    Row("net of net and disc", saves(both("net", "disc"), Pair, of=of_first), {"state": "net"}),
    Row(
        "model and head",
        saves(both("model", "head"), Pair, of=of_first),
        {},
        sees=r"model.*head.*state=",
    ),
    Row(
        "G, D and noise",
        saves(both("G", "D", fixed_noise=torch.ones(8, 4)), Pair),
        {},
        sees=r"G.*D.*state=",
    ),
    Row(
        "G and D together",
        saves(both("G", "D", fixed_noise=torch.ones(8, 4)), Pair, of=prefixed("G", "D")),
        {"state": "*"},
    ),
    Row("8 bit", saves(quantized), {}, sees="quantized|int8"),
    Row("fairseq", fairseq, {}, told="left out: checkpoint*[0-9] (2)"),
    Row("files of ranks", library("torch_dcp", "dtensors_by_rank"), {}),
    Row(
        "an optimizer in a flat safetensors",
        saves(flat_with_optimizer, name="step_{step}.safetensors", save=save_safetensors),
        {},
        told="optimizer",
    ),
    # Refused where a user has a right to be read.
    Row("argparse.Namespace", saves(namespace), {}, told="optimizer"),
    Row("numpy scalars", saves(with_numpy), {}),
    Row("a whole module", saves(whole_module), {}),
    Row("ultralytics", saves(ultralytics, of=halves), {}),
    Row("fastai with its optimizer", library("trainers", "fastai"), {}, told="opt"),
    Row("timm", library("trainers", "timm"), {}, told="state_dict_ema"),
    Row("timm's average", library("trainers", "timm", "ema"), {"state": "state_dict_ema"}),
    Row(
        "diffusers",
        library("components", "diffusers"),
        {},
        sees=r"unet/diffusion.* and unet_ema/diffusion.*; say which with file=",
    ),
    Row("diffusers, its UNet", library("components", "diffusers"), {"file": "unet/*"}),
    Row("OLMo", library("replicas", "olmo"), {}),
    Row("GPT-NeoX", library("replicas", "neox"), {}),
    Row("DeepSpeed ZeRO-3", library("deepspeed_zero", "zero3"), {}),
    Row("DeepSpeed universal", library("deepspeed_zero", "universal"), {}),
    Row("nanochat", library("replicas", "nanochat"), {}),
    Row("Megatron", library("megatron_ranks", "two_by_two"), {}),
    Row("Megatron, other ranks mid-run", library("megatron_ranks", "other_ranks"), {}),
    Row("Megatron torch_dist", library("megatron_ranks", "torch_dist"), {}),
    Row("hydra", library("replicas", "hydra"), {}, told="12-00-00"),
    Row("accelerate's project", library("trainers", "accelerate"), {"file": "model.s*"}),
    Row("torchtitan", library("torch_dcp", "titan"), {}, told="optimizer"),
    Row("OLMo-core", library("torch_dcp", "olmo_core"), {}, told="optim"),
    Row("OLMo, sharded", library("torch_dcp", "olmo_sharded"), {}),
    Row("verl", library("torch_dcp", "verl"), {}),
    Row("nanotron", library("replicas", "nanotron"), {}),
    Row("Levanter's hf/", library("replicas", "levanter_hf"), {}, told="hf"),
    Row("torchtune", library("replicas", "torchtune"), {}),
    Row("torchtune's shard alone", library("replicas", "torchtune_without_index"), {}),
    Row("flax msgpack", library("flax_orbax", "msgpack"), {}),
    Row("flax train state", library("flax_orbax", "msgpack_train_state"), {}, told="opt_state"),
    Row("flax without an ending", library("flax_orbax", "flax_legacy"), {}, told="opt_state"),
    Row(
        ".npz",
        saves(
            lambda step, model, _: {k: v.numpy() for k, v in model.state_dict().items()},
            name="step_{step}.npz",
            save=lambda content, path: np.savez(path, **content),
        ),
        {},
    ),
    # Refused unclearly.
    Row(".h5", other(".h5", b"\x89HDF\r\n\x1a\n" + bytes(64)), {}, sees="HDF5|\\.h5"),
    Row(".onnx", other(".onnx", b"\x08\x07\x12\x07pytorch" + bytes(64)), {}, sees="ONNX|\\.onnx"),
    Row("TorchScript", scripted, {}, sees="TorchScript"),
]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_user_sees(row, tmp_path):
    run = tmp_path / "run"
    wanted = row.write(run)
    if row.sees:
        with pytest.raises(TrajectoryError, match=row.sees):
            th.open_trajectory(run, **row.types)
        return
    trajectory = open_it(run, **row.types)
    if row.told:
        assert any(row.told in note for note in trajectory.notes), trajectory.notes
    assert_counted(trajectory, wanted, row)


def open_it(run, **types):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TrajectoryWarning)
        return th.open_trajectory(run, **types)


def assert_counted(trajectory, wanted, row):
    """p and ω, and every number, against what was held whole. What never moves is seen in the pass,
    so that the kernel alone is without it."""
    found = read(trajectory)
    assert list(found) == list(wanted)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", TrajectoryWarning)
        kernel = th.gram(trajectory, device="cpu")
    lines = [str(one.message) for one in caught]
    assert not row.warned or any(re.search(row.warned, line) for line in lines), lines
    assert kernel.p == sum(value.size for value in next(iter(wanted.values())).values())
    dense = inner_products(wanted)
    np.testing.assert_allclose(kernel.gram(), dense, rtol=1e-12)
    norms = np.sqrt(np.diag(dense))
    assert th.mds(kernel) == pytest.approx((dense / np.outer(norms, norms)).mean(), rel=1e-9)
    if row.types.get("exclude") != "constant":
        for step, values in wanted.items():
            assert sorted(found[step]) == sorted(values)
            for name, value in values.items():
                np.testing.assert_array_equal(found[step][name], value)


# ---- weights beside weights ----


def test_what_lies_beside_the_weights_is_said(tmp_path, capsys):
    for step in (100, 200):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        save_file({"w": torch.ones(2) * step}, folder / "model.safetensors")
        torch.save({"w": torch.ones(2) * step}, folder / "pytorch_model.bin")
        save_file({"v": torch.ones(2) * step}, folder / "value_head.safetensors")
        torch.save({"lr": 0.1}, folder / "training_args.bin")
    trajectory = th.open_trajectory(tmp_path)
    assert trajectory.p == 2
    (note,) = trajectory.notes
    assert note in capsys.readouterr().err
    assert "value_head.safetensors lies beside model.safetensors in 2" in note
    both = th.open_trajectory(tmp_path, file=["model.safetensors", "value_head.safetensors"])
    assert both.p == 4 and not both.notes
    models = th.open_models({str(step): tmp_path / f"checkpoint-{step}" for step in (100, 200)})
    assert "value_head.safetensors" in models.left_out[0]


def test_weights_in_a_folder_beside_the_weights_are_said(tmp_path):
    for step in (100, 200):
        folder = tmp_path / f"checkpoint-{step}"
        (folder / "adapter").mkdir(parents=True)
        save_file({"w": torch.ones(2) * step}, folder / "model.safetensors")
        save_file({"v": torch.ones(2) * step}, folder / "adapter/adapter_model.safetensors")
        # What is no checkpoint that can be read, or a trainer's.
        for name in ("onnx/model.onnx", "optim/model.safetensors"):
            (folder / name).parent.mkdir()
            (folder / name).write_bytes(b"x")
    trajectory = th.open_trajectory(tmp_path)
    (note,) = trajectory.notes
    assert "adapter/adapter_model.safetensors lies beside model.safetensors in 2" in note
    file = ["model.safetensors", "adapter/adapter_model.safetensors"]
    both = th.open_trajectory(tmp_path, file=file)
    assert (trajectory.p, both.p) == (2, 4) and not both.notes


def test_no_format_is_preferred_between_two_networks(tmp_path):
    for step in (100, 200):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        save_file({"w": torch.ones(2) * step}, folder / "discriminator.safetensors")
        torch.save({"w": torch.ones(2) * step}, folder / "generator.pt")
    with pytest.raises(th.StepError, match=r"discriminator\.safetensors, generator\.pt\); say"):
        th.open_trajectory(tmp_path)
    assert th.open_trajectory(tmp_path, file="generator.pt").p == 2


def test_a_checkpoint_that_lost_its_weights_is_said_to_be_left_out(tmp_path):
    for step in (100, 200, 300):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        if step != 200:
            save_file({"w": torch.ones(2) * step}, folder / "model.safetensors")
    (tmp_path / "runs_1").mkdir()
    (tmp_path / "logs").mkdir()
    trajectory = th.open_trajectory(tmp_path)
    assert trajectory.steps == (100, 300)
    (note,) = trajectory.notes
    assert "checkpoint-200: is named as the checkpoints are, and holds no weights" in note
