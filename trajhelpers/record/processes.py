"""Of several processes that train one network: who writes, and whole parameters from their
shards.
"""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import distributed

from ..reading.prefixes import without_prefixes
from ..telling import tell

_PATIENCE = 30  # seconds until it is said what this process waits for


def group_size() -> int:
    """How many processes train together, as far as torch knows by now; 0 where none has said so."""
    together = distributed.is_available() and distributed.is_initialized()
    return distributed.get_world_size() if together else 0


def writes() -> bool:
    """Whether it is this process that records."""
    return not group_size() or distributed.get_rank() == 0


@contextmanager
def named_parameters(model: torch.nn.Module) -> Iterator[Mapping[str, torch.Tensor]]:
    """Its parameters as they are now, by names without prefixes, a tied one under each of its
    names.

    Where FSDP1 keeps flat shards, the first process gets them whole and the others none. Shards of
    FSDP2 and of tensor parallelism are DTensors, see `whole`.
    """
    if not group_size():
        yield _named(model)
        return
    from torch.distributed.fsdp import FSDPModule, ShardingStrategy
    from torch.distributed.fsdp import FullyShardedDataParallel as FSDP1

    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()  # after an evaluation some are whole, and in the precision of forward
    flat = FSDP1.fsdp_modules(model)
    _refuse_parts(model, (FSDP1, FSDPModule))
    if not flat:
        yield _named(model)
        return
    offload = all(
        module.sharding_strategy != ShardingStrategy.NO_SHARD
        and module.compute_device != torch.device("cpu")
        for module in flat
    )
    with (
        torch.no_grad(),
        FSDP1.summon_full_params(model, writeback=False, rank0_only=True, offload_to_cpu=offload),
    ):
        yield _named(model) if writes() else {}


def whole(tensor: Any) -> torch.Tensor:
    """A parameter from the shards of all processes, which must all call this."""
    if not hasattr(tensor, "full_tensor"):
        return tensor
    if tensor.device.type != tensor.device_mesh.device_type:  # shards that wait on the CPU
        tensor = tensor.to(tensor.device_mesh.device_type)
    return tensor.full_tensor()


def own_shard(tensor: torch.Tensor) -> torch.Tensor:
    """A copy on the CPU; of a DTensor, of this process's shard alone, as a DTensor still."""
    return tensor.to("cpu", copy=True, memory_format=torch.contiguous_format)


def refuse_flat_shards(model: torch.nn.Module) -> None:
    """ValueError where shards do not say which part of which parameter they are."""
    if not group_size():
        raise ValueError(
            "shards: is for processes that train one network together; call"
            " torch.distributed.init_process_group before the recorder is made, or leave it out"
        )
    from torch.distributed.fsdp import FullyShardedDataParallel as FSDP1

    if FSDP1.fsdp_modules(model):
        raise ValueError(
            "shards: FullyShardedDataParallel (FSDP1) keeps flat pieces, which only as a whole are"
            " parameters; shard with fully_shard (FSDP2), or leave shards= out"
        )


def is_sharded(model: torch.nn.Module) -> bool:
    """Whether its parameters lie in several processes."""
    if not group_size():
        return False
    from torch.distributed.fsdp import FullyShardedDataParallel as FSDP1

    return bool(FSDP1.fsdp_modules(model)) or any(
        hasattr(parameter, "full_tensor") for parameter in model.parameters()
    )


@contextmanager
def told_of_waiting(where) -> Iterator[None]:
    """Say what this process waits for, where the others do not come."""
    line = (
        f"{where}: process {distributed.get_rank()} has waited {_PATIENCE} s for the others' shards"
        " of the parameters; every process has to make the recorder and to call it"
    )
    timer = threading.Timer(_PATIENCE, tell, [line])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _named(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    named = dict(model.named_parameters(remove_duplicate=False))
    return dict(zip(without_prefixes(named), named.values()))


def _refuse_parts(model: torch.nn.Module, kinds: tuple[type, ...]) -> None:
    """The model within a FullyShardedDataParallel has shards for parameters, and can't gather
    them. Only a mark for torch's compiler tells.
    """
    wholes = [module for module in model.modules() if isinstance(module, kinds)]
    within = {part for module in wholes for part in module.modules()}
    for module in model.modules():
        alone = getattr(module, "_is_fsdp_managed_module", False) and module not in within
        own = module.parameters(recurse=False)
        if alone and not all(hasattr(parameter, "full_tensor") for parameter in own):
            raise ValueError(
                f"model: this {type(model).__name__} is what FullyShardedDataParallel has wrapped,"
                " and its parameters are shards; give the wrapped model (of a trainer of"
                " Lightning: trainer.model)"
            )
