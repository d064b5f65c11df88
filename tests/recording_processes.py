"""Two processes that train one network and record it, each case in a folder of its own.

Called as ``recording_processes.py FOLDER PROCESSES CASE...``. Those of a case are forked before
torch computes anything, so that it is imported once. Each writes ``<case>/<rank>.txt``: what went
wrong, or nothing."""

import os
import socket
import subprocess
import sys
import time
import traceback
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed.fsdp
from torch import distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.distributed.tensor import parallel

import trajhelpers as th
from trajhelpers.record import processes


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3))


def train(model, record, first=1, last=3):
    """Steps of SGD on the same examples in each process."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for step in range(first, last + 1):
        torch.manual_seed(step)
        model(torch.randn(8, 5)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        record(step)


def sharded(model, **options):
    for layer in (model[0], model[2]):
        fully_shard(layer, **options)
    return fully_shard(model, **options)


def fsdp1(model, **options):
    return FullyShardedDataParallel(model, device_id=torch.device("cpu"), **options)


def ddp(folder):
    model = nn.parallel.DistributedDataParallel(network())
    with th.Recorder(folder, model) as record:
        train(model, record)


def ddp_first_alone(folder):
    model = nn.parallel.DistributedDataParallel(network())
    if distributed.get_rank() == 0:
        with th.Recorder(folder, model) as record:
            train(model, record)
    else:
        train(model, lambda step: None)


def ddp_other_folders(folder):
    """The second writes nothing, wherever."""
    rank = distributed.get_rank()
    model = nn.parallel.DistributedDataParallel(network())
    with th.Recorder(folder if rank == 0 else folder / "second", model) as record:
        train(model, record)
        record.flush()
    assert not (folder / "second").exists()


def ddp_resumed(folder):
    model = nn.parallel.DistributedDataParallel(network())
    with th.Recorder(folder, model) as record:
        train(model, record, last=2)
    distributed.barrier()
    with th.Recorder(folder, model, resume=True) as record:
        train(model, record, first=3)


def fsdp2(folder):
    model = sharded(network())
    with th.Recorder(folder, model) as record:
        train(model, record)


def fsdp2_frozen(folder):
    """Frozen layers are gathered by nobody."""
    model = network()
    model[2].requires_grad_(False)
    sharded(model)
    with th.Recorder(folder, model) as record:
        train(model, record)


def fsdp2_recorder_first(folder):
    model = network()
    with th.Recorder(folder, model) as record:
        sharded(model)
        train(model, record)


def fsdp2_evaluated(folder):
    """After an evaluation, layers may be whole until they are next needed, in bfloat16."""
    policy = torch.distributed.fsdp.MixedPrecisionPolicy(param_dtype=torch.bfloat16)
    model = sharded(network(), reshard_after_forward=False, mp_policy=policy)

    def evaluate_and_record(step):
        with torch.no_grad():
            model(torch.randn(2, 5))
        record(step)

    with th.Recorder(folder, model) as record:
        for step in (1, 2, 3):
            evaluate_and_record(step)
        assert all(parameter.dtype == torch.float32 for parameter in model.parameters())


def fsdp2_resumed(folder):
    model = sharded(network())
    with th.Recorder(folder, model) as record:
        train(model, record, last=2)
    distributed.barrier()
    with th.Recorder(folder, model, resume=True) as record:
        train(model, record, first=3)


def fsdp2_first_alone(folder):
    """Nobody answers: the first says what it waits for, until the group's own patience ends."""
    processes._PATIENCE = 1
    model = sharded(network())
    if distributed.get_rank() == 0:
        th.Recorder(folder, model)
    else:
        distributed.barrier()


def tensor_parallel(folder):
    model = network()
    parallel.parallelize_module(
        model,
        init_device_mesh("cpu", (2,)),
        {"0": parallel.ColwiseParallel(), "2": parallel.RowwiseParallel()},
    )
    with th.Recorder(folder, model) as record:
        train(model, record)


def fsdp1_parts(folder):
    model = fsdp1(network(), use_orig_params=True, auto_wrap_policy=linear)
    with th.Recorder(folder, model) as record:
        train(model, record)


def fsdp1_flat(folder):
    model = fsdp1(network(), use_orig_params=False)
    with th.Recorder(folder, model) as record:
        train(model, record)


def fsdp1_unsharded(folder):
    strategy = torch.distributed.fsdp.ShardingStrategy.NO_SHARD
    model = fsdp1(network(), use_orig_params=True, sharding_strategy=strategy)
    with th.Recorder(folder, model) as record:
        train(model, record)


def fsdp1_inner(folder):
    """The wrapped model alone is what Lightning's callbacks are given."""
    model = network()
    fsdp1(model, use_orig_params=True)
    try:
        th.Recorder(folder, model)
    except ValueError as error:
        assert "give the wrapped model" in str(error)
    else:
        raise AssertionError("records shards")
    assert not folder.exists() or not list(folder.glob("step*"))


def fsdp1_recorder_first(folder):
    model = network()
    with th.Recorder(folder, model) as record:
        wrapped = fsdp1(model, use_orig_params=True)
        try:
            train(wrapped, record)
        except ValueError as error:
            assert "give the wrapped model" in str(error)
        else:
            raise AssertionError("records shards")


def accelerated(folder):
    """As on the page of the reference, in whose words it is."""
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True)
    assert accelerator.num_processes == 2
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model, optimizer = accelerator.prepare(model, optimizer)
    with th.Recorder(folder, model) as record:
        for step in (1, 2, 3):
            torch.manual_seed(step)
            accelerator.backward(model(torch.randn(8, 5)).square().sum())
            optimizer.step()
            optimizer.zero_grad()
            record(step)


def transformers(folder):
    from test_callbacks import Net, with_transformers

    os.chdir(folder.parent)
    model = Net()
    with_transformers(model, 4)
    save_end(model)


def lightning(folder):
    """A process that is started by others, as its own are, is told by LOCAL_RANK."""
    from test_callbacks import Net, with_lightning

    os.chdir(folder.parent)
    model, _ = with_lightning(Net(), 4, strategy="ddp", devices=2)
    save_end(model)


def save_end(model):
    if distributed.get_rank() == 0:
        torch.save({name: p.detach() for name, p in model.named_parameters()}, "last.pt")


def no_group(folder):
    """The second is told what to do."""
    first = int(os.environ["RANK"]) == 0
    if first:
        model = network()
        with th.Recorder(folder, model) as record:
            (folder.parent / "made").touch()
            wait_for(folder.parent / "tried")
            train(model, record)
    else:
        wait_for(folder.parent / "made")
        try:
            th.Recorder(folder, network(), overwrite=True)
        except th.ExistingRunError as error:
            assert "init_process_group" in str(error)
        else:
            raise AssertionError("records too")
        (folder.parent / "tried").touch()


def wait_for(file):
    while not file.exists():
        time.sleep(0.01)


def linear(module, recurse, **_):
    return recurse or isinstance(module, nn.Linear)


def one_of_several(case, rank, processes, folder, port):
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(processes),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    torch.set_num_threads(1)
    wrong = ""
    try:
        if case.__name__ not in ("no_group", "accelerated", "transformers", "lightning"):
            patience = 3 if case.__name__ == "fsdp2_first_alone" else 60
            distributed.init_process_group("gloo", timeout=timedelta(seconds=patience))
        case(folder / "run")
    except BaseException:
        wrong = traceback.format_exc()
    (folder / f"{rank}.txt").write_text(wrong)
    with suppress(Exception):
        distributed.destroy_process_group()


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def run_cases(folder, cases, file=__file__, processes=2):
    """Start this file, or one like it; traffic stays on this machine."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    environment |= {"PYTHONPATH": str(Path(th.__file__).parents[1])}
    command = [sys.executable, file, folder, str(processes), *cases]
    subprocess.run(command, env=environment, check=True, capture_output=True)


def main(known):
    torch.set_num_threads(1)
    torch.optim.SGD(network().parameters(), lr=0.1).step()  # loads what takes seconds
    processes = int(sys.argv[2])
    for case in sys.argv[3:]:
        folder, port = Path(sys.argv[1]) / case, free_port()
        folder.mkdir()
        for rank in range(processes):
            if os.fork() == 0:
                log = os.open(folder / f"{rank}.log", os.O_WRONLY | os.O_CREAT)
                os.dup2(log, 1)
                os.dup2(log, 2)
                one_of_several(known[case], rank, processes, folder, port)
                os._exit(0)
        for _ in range(processes):
            os.wait()


if __name__ == "__main__":
    main(globals())
