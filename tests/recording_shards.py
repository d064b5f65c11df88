"""Processes that train one network in shards, each of which records its own, as
``recording_processes.py`` has them."""

import os
from contextlib import ExitStack, contextmanager
from unittest.mock import patch

import torch
from recording_processes import fsdp1, main, network, sharded
from torch import distributed, nn
from torch.distributed import distributed_c10d
from torch.distributed.checkpoint import FileSystemWriter
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, parallel

import trajhelpers as th
from trajhelpers.record import shards  # noqa: F401  loaded once, before the processes part


class Odd(nn.Module):
    """Of 7 rows, of one, of none in a process; a number that all have whole; a frozen layer. The
    first is larger than all that is said of the others.
    """

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.up, self.narrow = nn.Linear(5000, 7), nn.Linear(7, 1)
        self.out, self.frozen = nn.Linear(1, 3), nn.Linear(3, 3)
        self.frozen.requires_grad_(False)
        self.scale = nn.Parameter(torch.tensor(0.5))

    def forward(self, x):
        return self.frozen(self.out(self.narrow(self.up(x).tanh()))) * self.scale


def odd(**options):
    model = Odd()
    for layer in (model.up, model.narrow, model.out, model.frozen):
        fully_shard(layer, **options)
    return model


def one_step(model, step):
    """On the same examples in each process. DTensors and others are no one list to SGD."""
    torch.manual_seed(step)
    inputs = 5000 if hasattr(model, "narrow") else 5
    model(torch.randn(8, inputs) / inputs).square().sum().backward()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    torch.optim.SGD(trained, lr=0.1, foreach=False).step()
    model.zero_grad()


def whole(model):
    """What is to be recorded, gathered by torch."""
    return {
        name.removeprefix("module."): getattr(p, "full_tensor", p.clone)().detach().clone()
        for name, p in model.named_parameters()
        if p.requires_grad
    }


@contextmanager
def nothing_gathered():
    """Neither here nor in the thread that writes: processes send each other words, and a kernel's
    sums, and nothing as large as the first layer.
    """
    forbidden, sent = AssertionError("gathers"), []

    def watched(send):
        def watching(*arguments, **options):
            tensors = [one for one in (*arguments, *options.values()) if torch.is_tensor(one)]
            sent.extend(tensor.nbytes for tensor in tensors)
            return send(*arguments, **options)

        return watching

    with ExitStack() as patches:
        for owner, name in (
            (DTensor, "full_tensor"),
            (DTensor, "redistribute"),
            (distributed_c10d, "all_gather_into_tensor"),
        ):
            patches.enter_context(patch.object(owner, name, side_effect=forbidden))
        for name in ("all_gather", "gather", "broadcast", "scatter", "all_reduce"):
            send = watched(getattr(distributed_c10d, name))
            patches.enter_context(patch.object(distributed_c10d, name, send))
        yield sent
    assert max(sent, default=0) < 50_000, sent


def trained(folder, model, last=3):
    """Recorded, and the truth beside it; what the kernel is while it trains, if there is a way."""
    states = [whole(model)]
    with nothing_gathered() as sent:
        record = th.Recorder(folder, model, shards=True)
    assert sent  # they did talk, and were heard
    for step in range(1, last + 1):
        one_step(model, step)
        with nothing_gathered():
            record(step)
        states.append(whole(model))
    with nothing_gathered():
        record.flush()
        trajectory = th.open_trajectory(folder)
        assert trajectory.steps == tuple(range(last + 1))
        kernel = th.gram(trajectory, group=distributed.group.WORLD)
        kernel.save(folder.parent / f"{distributed.get_rank()}.npz")
    record.close()
    if distributed.get_rank() == 0:
        torch.save(states, folder.parent / "states.pt")


def fsdp2(folder):
    trained(folder, odd())


def made_before_sharded(folder):
    model = network()
    with th.Recorder(folder, model, shards=True) as record:
        states = [whole(model)]
        sharded(model)
        one_step(model, 1)
        record(1)
        states.append(whole(model))
    if distributed.get_rank() == 0:
        torch.save(states, folder.parent / "states.pt")


def replicated(folder):
    """Nothing is sharded: what all have is written once."""
    trained(folder, nn.parallel.DistributedDataParallel(network()))


def columns(folder):
    """Shards along the second dimension, as tensor parallelism has them."""
    model = network()
    plan = {"0": parallel.ColwiseParallel(), "2": parallel.RowwiseParallel()}
    trained(folder, parallel.parallelize_module(model, init_device_mesh("cpu", (2,)), plan))


def hybrid(folder):
    """Two copies, each of them in two shards."""
    trained(folder, odd(mesh=init_device_mesh("cpu", (2, 2), mesh_dim_names=("copy", "shard"))))


def both_ways(folder):
    """Tensor parallelism within, FSDP across."""
    mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("data", "tensor"))
    plan = {"0": parallel.ColwiseParallel(), "2": parallel.RowwiseParallel()}
    model = parallel.parallelize_module(network(), mesh["tensor"], plan)
    trained(folder, sharded(model, mesh=mesh["data"]))


def more_than_rows(folder):
    """Four processes, and layers of one and of three rows: some have nothing of them."""
    trained(folder, odd())


def goes_on(folder):
    """From step 1: what came after it goes."""
    model = odd()
    states = [whole(model)]
    with th.Recorder(folder, model, shards=True) as record:
        for step in (1, 2, 3, 4):
            one_step(model, step)
            record(step)
            states[1:] = states[1:] or [whole(model)]
    with th.Recorder(folder, model, shards=True, resume=True) as record:
        for step in (2, 3):
            one_step(model, step)
            record(step)
            states.append(whole(model))
    if distributed.get_rank() == 0:
        torch.save(states, folder.parent / "states.pt")


def replaced(folder):
    with th.Recorder(folder, sharded(network())) as record:  # gathered, in files
        record(1)
    distributed.barrier()
    refused(th.ExistingRunError, "was recorded without shards=True", folder, odd(), resume=True)
    refused(th.ExistingRunError, "holds a run already", folder, odd())
    if distributed.get_rank() == 0:
        (folder / ".step_1.shards.unfinished").mkdir()  # of one that was killed
    distributed.barrier()
    model = odd()
    with th.Recorder(folder, model, shards=True, overwrite=True) as record:
        states = [whole(model)]
        one_step(model, 1)
        record(1)
        states.append(whole(model))
    refused(th.LayoutError, "has shape", folder, sharded(network()), resume=True)
    if distributed.get_rank() == 0:
        torch.save(states, folder.parent / "states.pt")


def odd_names(folder):
    """What a reader leaves out was recorded, and a run goes on with it."""
    model = nn.ModuleDict({"net": nn.Linear(3, 3), "ema": nn.Linear(3, 3)})
    for resume in (False, True):
        with th.Recorder(folder, model, shards=True, resume=resume) as record:
            record(1)


def refused(kind, text, folder, model, **options):
    try:
        th.Recorder(folder, model, shards=True, **options)
    except kind as error:
        assert text in str(error), error
    else:
        raise AssertionError(f"records where it should say: {text}")


def raised(kind, text, what, *arguments):
    try:
        what(*arguments)
    except kind as error:
        assert text in str(error), error
    else:
        raise AssertionError(f"goes on where it should say: {text}")


def other_steps(folder):
    model, rank = odd(), distributed.get_rank()
    record = th.Recorder(folder, model, shards=True)
    record(1 + rank)
    raised(th.TrajectoryError, "different steps, 1 (process 0), 2 (process 1)", record.flush)
    raised(th.TrajectoryError, "different steps", record, 3)
    assert [path.name for path in folder.glob("step*")] == ["step_0.shards"]


def off_by_one(folder):
    model = odd()
    record = th.Recorder(folder, model, shards=True)
    record(0)
    one_step(model, 0)
    raised(th.StepError, "the model has changed since", record, 0)
    record.close()


def other_folders(folder):
    rank = distributed.get_rank()
    refused(th.TrajectoryError, "a folder that all share", folder / str(rank), odd())
    refused(th.TrajectoryError, "a folder that all share", folder / str(rank), odd())


def flat(folder):
    refused(ValueError, "FSDP1", folder, fsdp1(network(), use_orig_params=True))


def full_disk(folder):
    """Of the second process alone: both say so, and nothing half is seen."""
    record = th.Recorder(folder, odd(), shards=True)
    record.flush()
    with ExitStack() as patches:
        if distributed.get_rank() == 1:
            full = OSError(28, "No space left on device")
            patches.enter_context(patch.object(FileSystemWriter, "write_data", side_effect=full))
        record(1)
        raised(th.TrajectoryError, "process 1: [Errno 28] No space left", record.flush)
    raised(th.TrajectoryError, "could not be written", record, 2)
    assert [path.name for path in folder.glob("step*")] == ["step_0.shards"]


def one_dies(folder):
    """The other is told, and does not wait."""
    record = th.Recorder(folder, odd(), shards=True)
    record.flush()
    if distributed.get_rank() == 1:
        (folder.parent / "1.txt").write_text("")
        os._exit(0)
    record(1)
    raised(th.TrajectoryError, "could not be written", record.flush)
    assert [path.name for path in folder.glob("step*")] == ["step_0.shards"]


if __name__ == "__main__":
    main(globals())
