"""Distributed checkpoints by torch itself, with gloo: two ranks, and one that goes on.

``python tests/writers/torch_dcp.py OUT``"""

import os
import shutil
import sys
from pathlib import Path

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
import torch.multiprocessing as mp
from tiny import STEPS, Net, Oracle, Plain, loss_of, train
from torch.distributed.checkpoint.state_dict import get_model_state_dict, get_state_dict
from torch.distributed.checkpoint.stateful import Stateful
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import Replicate
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module


class App(Stateful):
    """The tutorial's: one object with everything."""

    def __init__(self, model, optimizer):
        self.model, self.optimizer = model, optimizer

    def state_dict(self):
        model, optim = get_state_dict(self.model, self.optimizer)
        return {"model": model, "optim": optim}


def fsdp2(model, mesh):
    for layer in (model.up, model.down):
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    return model


def tensor_parallel(model, mesh):
    # Thirteen hidden units over two ranks: seven and six. Down is split along its columns.
    plan = {
        "up": ColwiseParallel(output_layouts=Replicate()),
        "down": RowwiseParallel(input_layouts=Replicate()),
    }
    return parallelize_module(model, mesh, plan)


def save_model_and_optim(model, optimizer, step, where):
    state, optim = get_state_dict(model, optimizer)
    dcp.save({"model": state, "optim": optim, "step": step}, checkpoint_id=where / f"step-{step}")


def save_model_alone(model, optimizer, step, where):
    dcp.save(get_model_state_dict(model), checkpoint_id=where / f"step-{step}")


def save_app(model, optimizer, step, where):
    dcp.save({"app": App(model, optimizer)}, checkpoint_id=where / f"checkpoint_{step}")


def save_titan(model, optimizer, step, where):
    """As torchtitan does: parameters flat on top, the rest beside them."""
    state, optim = get_state_dict(model, optimizer)
    everything = {**state, "optimizer": optim, "train_state": {"step": torch.tensor(step)}}
    dcp.save(everything, checkpoint_id=where / f"step-{step}")


def save_many_files(model, optimizer, step, where):
    writer = dcp.FileSystemWriter(where / f"step-{step}", single_file_per_rank=False)
    dcp.save({"model": get_model_state_dict(model)}, storage_writer=writer)


def save_huggingface(distributed, consolidated):
    def save(model, optimizer, step, where):
        writer = dcp.HuggingFaceStorageWriter(
            path=str(where / f"step-{step}"),
            save_distributed=distributed,
            enable_consolidation=consolidated,
        )
        state = get_model_state_dict(
            model,
            options=None
            if distributed
            else dcp.state_dict.StateDictOptions(full_state_dict=True, cpu_offload=True),
        )
        if distributed or dist.get_rank() == 0:
            dcp.save(state, storage_writer=writer, no_dist=not distributed)
        dist.barrier()

    return save


def save_per_rank(model, optimizer, step, where):
    """What people write who do not know DCP: a file a rank, with that rank's shards."""
    folder = where / f"step_{step}"
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(model.state_dict(), folder / f"rank_{dist.get_rank()}.pt")
    dist.barrier()


def fsdp1(model, mesh):
    """What FSDP was before: its shards are ShardedTensors, which know nothing of a mesh."""
    from torch.distributed.fsdp import FullyShardedDataParallel

    return FullyShardedDataParallel(model, device_id=torch.device("cpu"), use_orig_params=True)


def save_olmo_sharded(model, optimizer, step, where):
    """allenai/OLMo at 59a53e3, olmo/checkpoint.py, TorchLegacyShardedCheckpointer."""
    from torch.distributed.fsdp import FullyShardedDataParallel as FSDP
    from torch.distributed.fsdp import ShardedStateDictConfig, StateDictType

    folder = where / f"step{step}"
    folder.mkdir(parents=True, exist_ok=True)
    config = ShardedStateDictConfig(offload_to_cpu=False)
    with FSDP.state_dict_type(model, StateDictType.SHARDED_STATE_DICT, config):
        state = {"model": model.state_dict(), "optim": optimizer.state_dict(), "global_step": step}
        torch.save(state, folder / f"rank{dist.get_rank()}.pt")
    (folder / "config.yaml").write_text("{}")
    dist.barrier()


def save_verl(model, optimizer, step, where):
    """The files of verl's actor (volcengine/verl at b178a3c, fsdp_checkpoint_manager.py)."""
    folder, rank = where / f"global_step_{step}" / "actor", dist.get_rank()
    (folder / "huggingface").mkdir(parents=True, exist_ok=True)
    state, optim = get_state_dict(model, optimizer)
    torch.save(state, folder / f"model_world_size_2_rank_{rank}.pt")
    torch.save(optim, folder / f"optim_world_size_2_rank_{rank}.pt")
    torch.save({"lr_scheduler": None}, folder / f"extra_state_world_size_2_rank_{rank}.pt")
    (folder / "fsdp_config.json").write_text('{"FSDP_version": 2, "world_size": 2}')
    (folder / "huggingface" / "config.json").write_text("{}")
    dist.barrier()
    (where / "latest_checkpointed_iteration.txt").write_text(str(step))


def save_olmo_core(model, optimizer, step, where):
    """The folders of OLMo-core's checkpointer (ai2-olmo-core 3.0.0, train/checkpoint.py)."""
    state, optim = get_state_dict(model, optimizer)
    folder = where / f"step{step}"
    dcp.save({"model": state, "optim": optim}, checkpoint_id=folder / "model_and_optim")
    (folder / "train").mkdir(exist_ok=True)
    torch.save({"global_step": step}, folder / "train" / f"rank{dist.get_rank()}.pt")
    (folder / ".metadata.json").write_text('{"version": "2.0"}')
    (folder / "config.json").write_text("{}")
    dist.barrier()


CASES = {
    "fsdp2": (Net, fsdp2, save_model_and_optim),
    "model_alone": (Net, fsdp2, save_model_alone),
    "app": (Net, fsdp2, save_app),
    "titan": (Net, fsdp2, save_titan),
    "tensor_parallel": (Net, tensor_parallel, save_model_and_optim),
    "many_files": (Net, fsdp2, save_many_files),
    "huggingface_sharded": (Plain, fsdp2, save_huggingface(True, False)),
    "huggingface_consolidated": (Plain, fsdp2, save_huggingface(True, True)),
    "huggingface_rank_0": (Plain, fsdp2, save_huggingface(False, False)),
    "dtensors_by_rank": (Plain, fsdp2, save_per_rank),
    "verl": (Plain, fsdp2, save_verl),
    "olmo_sharded": (Plain, fsdp1, save_olmo_sharded),
    "olmo_core": (Net, fsdp2, save_olmo_core),
}


def whole(model):
    from torch.distributed.fsdp import FullyShardedDataParallel as FSDP

    if not isinstance(model, FSDP):
        return model.named_parameters()
    with FSDP.summon_full_params(model):
        return [(name, value.detach().clone()) for name, value in model.named_parameters()]


def run_case(name, out, mesh):
    make, shard, save = CASES[name]
    where, oracle = out / name / "run", Oracle()
    model = shard(make(), mesh)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05)
    for start, step in zip((0, *STEPS), STEPS):
        train(model, optimizer, start, step)
        save(model, optimizer, step, where)
        oracle.add(step, whole(model))
    if dist.get_rank() == 0:
        oracle.save(out / name, ranks=[dist.get_world_size()] * 3)


def one_more_step(name, out, source):
    """One rank goes on where two stopped."""
    where = out / name / "run"
    shutil.copytree(out / source / "run", where)
    mesh, oracle = init_device_mesh("cpu", (1,)), Oracle()
    import numpy as np

    oracle.arrays = dict(np.load(out / source / "expected.npz"))
    model = fsdp2(Net(), mesh)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05)
    loss_of(model, 0).backward()
    optimizer.step()
    state, optim = get_state_dict(model, optimizer)
    dcp.load({"model": state, "optim": optim}, checkpoint_id=where / f"step-{STEPS[-1]}")
    train(model, optimizer, STEPS[-1], STEPS[-1] + 5)
    save_model_and_optim(model, optimizer, STEPS[-1] + 5, where)
    oracle.add(STEPS[-1] + 5, model.named_parameters())
    oracle.save(out / name, ranks=[2, 2, 2, 1])


def worker(rank, world, out, cases):
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(29571 + world)}
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=world)
    if world == 2:
        mesh = init_device_mesh("cpu", (2,))
        for name in cases:
            run_case(name, out, mesh)
    else:
        one_more_step("other_number_of_ranks", out, "fsdp2")
    dist.destroy_process_group()


if __name__ == "__main__":
    out = Path(sys.argv[1]).absolute()
    mp.spawn(worker, (2, out, sys.argv[2:] or list(CASES)), nprocs=2)
    if not sys.argv[2:]:
        mp.spawn(worker, (1, out, []), nprocs=1)
