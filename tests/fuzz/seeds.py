"""Small sound files, as the libraries write them: what the fuzzer begins with."""

import io
import json
import tempfile
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from changes import Tree
from written_runs import unpack

import trajhelpers as th
from trajhelpers.streaming.resuming import Partial, State
from trajhelpers.streaming.sums import Scaled, Sums

CONDITIONS = {"steps": [0, 1, 2], "precision": "float64", "files": [[1, 2], [3, 4], [5, 6]]}


def states() -> list[dict]:
    """Of all that torch.save meets: views, shared storages, orders, types, nesting, modules."""
    torch.manual_seed(0)
    base = torch.randn(40)
    network = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3))
    optimizer = torch.optim.Adam(network.parameters())
    network(torch.ones(2, 4)).sum().backward()
    optimizer.step()
    return [
        {
            "a.weight": torch.randn(3, 4),
            "a.bias": torch.randn(3),
            "b.weight": torch.randn(2, 3).double(),
        },
        {
            "cut.weight": base[4:16].view(3, 4),
            "gaps.weight": base[::2].view(4, 5),
            "columns.weight": torch.randn(3, 4).t(),
            "channels.weight": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
            "expanded.weight": torch.randn(3, 1).expand(3, 4),
            "scalar": torch.tensor(2.0),
            "empty": torch.empty(0, 3),
            "half": torch.randn(3).half(),
            "rounded": torch.randn(3).bfloat16(),
            "count": torch.tensor([1, 2]),
        },
        {
            "model": network.state_dict(),
            "optimizer": optimizer.state_dict(),
            "epoch": 3,
            "loss": [0.5, 0.25],
            "args": {"lr": 1e-3, "name": "run"},
        },
        {"w": torch.nn.Parameter(torch.randn(5)), "array": np.arange(4.0), "best": np.float64(0.5)},
    ]


def _torch_file(state, zipped: bool) -> bytes:
    written = io.BytesIO()
    torch.save(state, written, _use_new_zipfile_serialization=zipped)
    return written.getvalue()


def torch_zips() -> list[Tree]:
    return [{"step_1.pt": _torch_file(state, True)} for state in states()]


def torch_legacies() -> list[Tree]:
    return [{"step_1.pt": _torch_file(state, False)} for state in states()]


def _flat(state) -> dict[str, torch.Tensor]:
    return {name: tensor.contiguous().clone() for name, tensor in state.items()}


def safetensors_files() -> list[Tree]:
    one, other, *_ = map(_flat, states()[:2])
    return [
        {"step_1.safetensors": safetensors.torch.save(one, {"format": "pt"})},
        {"step_1.safetensors": safetensors.torch.save(other)},
        {"step_1.safetensors": safetensors.torch.save({f"model.{k}": v for k, v in one.items()})},
    ]


def indices() -> list[Tree]:
    first, second = map(_flat, states()[:2])
    where = [dict.fromkeys(first, 1), dict.fromkeys(second, 2)]
    trees = []
    for stem, ending, write in (
        ("model", "safetensors", lambda state: safetensors.torch.save(state, {"format": "pt"})),
        ("pytorch_model", "bin", lambda state: _torch_file(state, True)),
    ):
        shards = {number: f"{stem}-0000{number}-of-00002.{ending}" for number in (1, 2)}
        index = {
            "metadata": {"total_size": 1234},
            "weight_map": {name: shards[number] for one in where for name, number in one.items()},
        }
        trees.append(
            {
                f"{stem}.{ending}.index.json": json.dumps(index).encode(),
                shards[1]: write(first),
                shards[2]: write(second),
            }
        )
    return trees


def npz_files() -> list[Tree]:
    random, trees = np.random.default_rng(0), []
    for state in (
        {"a.weight": random.normal(size=(3, 4)), "b": random.normal(size=3).astype("float32")},
        {
            "rows": random.normal(size=(3, 4)),
            "columns": np.asfortranarray(random.normal(size=(3, 4, 2))),
            "half": random.normal(size=5).astype("float16"),
            "scalar": np.float64(3.0),
            "empty": np.empty((0, 3)),
            "count": np.arange(4),
            "text": np.array("run"),
        },
    ):
        written = io.BytesIO()
        np.savez(written, **state)
        trees.append({"step_1.npz": written.getvalue()})
    return trees


def _written(writer: str, case: str) -> list[Tree]:
    """The first and last checkpoint of a run that a real library wrote."""
    with tempfile.TemporaryDirectory() as folder:
        run = unpack(writer, case, Path(folder)) / "run"
        checkpoints = sorted(run.iterdir())
        return [_tree(checkpoints[0]), _tree(checkpoints[-1])]


def _tree(path: Path) -> Tree:
    files = [path] if path.is_file() else sorted(one for one in path.rglob("*") if one.is_file())
    above = path.parent if path.is_file() else path
    return {str(file.relative_to(above)): file.read_bytes() for file in files}


def msgpack_files() -> list[Tree]:
    return [
        {"step_1.msgpack": content}
        for case in ("msgpack", "msgpack_train_state", "flax_legacy")
        for tree in _written("flax_orbax", case)
        for content in tree.values()
    ]


def distributed_folders() -> list[Tree]:
    return [*_written("torch_dcp", "model_alone"), *_written("torch_dcp", "many_files")]


def _runs():
    random = np.random.default_rng(0)
    for count in (3, 5):
        yield [
            {"a.weight": random.normal(size=(3, 4)), "b.weight": random.normal(size=5)}
            for _ in range(count)
        ]


def folders() -> list[Tree]:
    """Of all other formats of folders, and of what trainers write: one checkpoint each."""
    return [
        _written(writer, case)[0]
        for writer, case in (
            ("deepspeed_zero", "universal"),
            ("deepspeed_zero", "zero2_two_groups_frozen"),
            ("deepspeed_zero", "zero3"),
            ("megatron_ranks", "untied"),
            ("replicas", "neox"),
            ("replicas", "nanotron"),
            ("replicas", "torchtune"),
            ("replicas", "olmo"),
            ("torch_dcp", "dtensors_by_rank"),
            ("torch_dcp", "olmo_sharded"),
            ("torch_dcp", "huggingface_sharded"),
            ("torch_dcp", "verl"),
            ("trainers", "timm"),
            ("trainers", "ema_pytorch"),
            ("flax_orbax", "orbax_standard"),
            ("flax_orbax", "orbax_zarr"),
            ("flax_orbax", "levanter"),
        )
    ]


def kernels() -> list[Tree]:
    trees = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.npz"
        for states in _runs():
            th.gram(th.open_trajectory(states), device="cpu").save(path)
            trees.append({"run.npz": path.read_bytes()})
        models = th.open_models({f"net {i}": state for i, state in enumerate(states)})
        th.gram(models, device="cpu").save(path)
        return [*trees, {"run.npz": path.read_bytes()}]


def partials() -> list[Tree]:
    random, trees = np.random.default_rng(0), []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.partial"
        for lost in ([], [1]):
            n = 3 - len(lost)
            theta = random.normal(size=(2, n, 7))
            products = map(Scaled, theta @ theta.transpose(0, 2, 1), (0, 2))
            sums = Sums(dict(enumerate(products)), np.arange(n, dtype=np.uint64))
            Partial(path, CONDITIONS).write(State([(0, 4)], lost, sums))
            trees.append({"run.partial": path.read_bytes()})
    return trees


def names() -> list[Tree]:
    runs = (
        "step_1 step_2 step_10 step_100",
        "epoch=0-step=10 epoch=1-step=20 epoch=2-step=30 last",
        "global_step1000 global_step2000 global_step16000",
        "stage1-step1000-tokens4B stage1-step2000-tokens8B stage2-step500-tokens10B",
        "tokens_500M tokens_1B tokens_1.5B",
        "ckpt-0.25 ckpt-0.5 ckpt-480k init final",
        "2024-01-31_12-30 2024-02-01_08-00 2024-02-02",
        "run1-step5 run1-step10 run1-step15",
        "ba100 ep1-ba50 model_lr0.1_ep3 model_lr0.1_ep4",
    )
    return [{"names": "\n".join(run.split()).encode()} for run in runs]
