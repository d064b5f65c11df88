"""DeepSpeed's checkpoints of ZeRO's stages.

Stages 1 and 2 keep the whole network in ``mp_rank_00_model_states.pt``; that is θ, as it computed.
Its masters in float32, flat and in as many parts as there were ranks, are ``state="fp32"``. Stage 3
has these alone: of each parameter every rank has an equal share, the last ones padded.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ...errors import CheckpointError
from ..contents import Contents
from ..pieces import joined, part
from ..place import File, Folder
from ..states import choose_state
from ..tensors import StoredTensor
from .tensor_ranks import of_ranks
from .torch_files import TorchFile, by_rank, refuse_gaps

_MODEL = r"(?:zero_pp_rank_(\d+)_)?mp_rank_(\d+)_model_states\.pt"
_OPTIMIZER = r"(?:bf16_|fp16_)?zero_pp_rank_(\d+)_mp_rank_(\d+)_optim_states\.pt"
MASTERS = "fp32"
# Of parameters that the network has too.
_COPIES = ("frozen_param_fragments",)


def is_deepspeed(folder: Folder) -> bool:
    """Whether ranks of DeepSpeed wrote it, and not of a pipeline, whose layers have files."""
    names = [file.name for file in folder.files()]
    return any(re.fullmatch(_MODEL, name) for name in names) and not any(
        name.startswith("layer_") for name in names
    )


def read_deepspeed(folder: Folder, state: str | None) -> Contents:
    """θ of any stage: the whole network where it is there, the masters of all ranks where not."""
    models = by_rank(folder, _MODEL)
    tensor_ranks = sorted({tensor for _, tensor in models})
    refuse_gaps(folder, tensor_ranks, None, "tensor rank")
    if len(tensor_ranks) > 1:
        return _of_tensor_ranks(
            folder, [TorchFile(models[0, rank]) for rank in tensor_ranks], state
        )
    first = TorchFile(models[min(models)])
    optimizers = by_rank(folder, _OPTIMIZER)
    if _is_whole(first):
        if state == MASTERS:
            return _masters(folder, first, models, optimizers)
        content = {key: value for key, value in first.content.items() if key not in _COPIES}
        chosen = choose_state(content, first, state)
        tensors: Mapping[str, Any] = chosen.tensors
        left_out = chosen.left_out
        if optimizers:
            left_out += (
                f"{MASTERS}: masters in float32 of the same, in the optimizer's files; read with"
                f" state={MASTERS!r}",
            )
        located = {name: first.stored(name, tensor) for name, tensor in tensors.items()}
        return Contents(located, chosen.state, left_out)
    if state not in (None, MASTERS):
        raise CheckpointError(
            f"{folder}: has no state {state!r}; ZeRO's third stage keeps {MASTERS!r} alone"
        )
    return _masters(folder, first, models, optimizers)


def _of_tensor_ranks(folder: Folder, ranks: Sequence[TorchFile], state: str | None) -> Contents:
    """The network of Megatron-DeepSpeed without a pipeline, whose names say how it was split."""
    if not all(map(_is_whole, ranks)):
        raise CheckpointError(
            f"{folder}: was written by ZeRO's third stage over tensor ranks; convert it to a"
            " universal checkpoint (deepspeed.checkpoint.ds_to_universal) and open that"
        )
    chosen = [choose_state(rank.content, rank, state) for rank in ranks]
    tensors: dict[str, StoredTensor] = {}
    for name in chosen[0].tensors:
        shares = [rank.stored(name, one.tensors.get(name)) for rank, one in zip(ranks, chosen)]
        tensors[name] = of_ranks(name, shares, folder)
    return Contents(tensors, chosen[0].state, chosen[0].left_out)


def _is_whole(model: TorchFile) -> bool:
    """Whether it has the network, and not what the third stage leaves in its place."""
    module = model.content.get("module") if isinstance(model.content, dict) else None
    if not isinstance(module, dict):
        return False
    shapes = {name: shape for group in _groups(model) for name, shape in group.items()}
    return all(
        tuple(module[name].shape) == tuple(shape)
        for name, shape in shapes.items()
        if name in module
    )


def _groups(model: TorchFile) -> list[dict[str, tuple[int, ...]]]:
    """By group of the optimizer, the shapes of its parameters in order."""
    found = model.content.get("param_shapes") if isinstance(model.content, dict) else None
    return [dict(group) for group in found] if isinstance(found, list) else []


class _Rank(NamedTuple):
    model: TorchFile
    optimizer: TorchFile

    def flat(self, stage: int) -> list[StoredTensor]:
        """The rank's part of each group."""
        key = "fp32_flat_groups" if stage == 3 else "single_partition_of_fp32_groups"
        groups = self.optimizer.found("optimizer_state_dict", key)
        return [
            self.optimizer.stored(f"{key}[{number}]", tensor)
            for number, tensor in enumerate(groups)
        ]


def _masters(
    folder: Folder,
    first: TorchFile,
    models: Mapping[tuple[int, ...], File],
    optimizers: Mapping[tuple[int, ...], File],
) -> Contents:
    if not optimizers:
        raise CheckpointError(
            f"{folder}: the masters of its parameters lie in *_optim_states.pt, which are missing;"
            " fetch them"
        )
    ranks = sorted(rank for rank, _ in optimizers)
    opened = TorchFile(optimizers[min(optimizers)])
    counts = opened.found("optimizer_state_dict", "partition_count")
    stage = _stage(opened)
    refuse_gaps(folder, ranks, max(counts) if isinstance(counts, list) else counts, "rank")
    if stage == 3:
        refuse_gaps(folder, sorted(rank for rank, _ in models), len(ranks), "rank")
    every = [
        _Rank(
            TorchFile(models[rank, 0]) if stage == 3 and rank else first,
            TorchFile(optimizers[rank, 0]) if rank else opened,
        )
        for rank in ranks
    ]
    tensors = dict(_frozen(folder, every, stage))
    tensors |= _third_stage(folder, every) if stage == 3 else _first_stages(folder, every)
    module, buffers = first.found("module"), first.content.get("buffer_names") or []
    tensors |= {name: first.stored(name, module[name]) for name in buffers if name in module}
    for name, same in (first.content.get("shared_params") or {}).items():
        if same in tensors:
            tensors[name] = tensors[same]
    return Contents(tensors, MASTERS, ("optimizer: an optimizer's state, in the ranks' files",))


def _stage(opened: TorchFile) -> int:
    """A number, or an enumeration of DeepSpeed's."""
    found = opened.found("optimizer_state_dict", "zero_stage")
    number = getattr(found, "arguments", (found,))[0]
    if number not in (1, 2, 3):
        raise CheckpointError(f"{opened}: is of no stage of ZeRO that is known here ({number})")
    return number


def _first_stages(folder: Folder, ranks: Sequence[_Rank]) -> Iterator[tuple[str, StoredTensor]]:
    """Groups are flat and cut into equal parts; parameters lie one behind the other."""
    first = ranks[0]
    options = first.optimizer.found("optimizer_state_dict")
    paddings = options.get("param_alignment_paddings")
    flats = [rank.flat(1) for rank in ranks]
    for number, shapes in enumerate(_groups(first.model)):
        parts = [flat[number] for flat in flats]
        whole = _laid_end_to_end(parts, f"{folder}: group {number}")
        start = 0
        for index, (name, shape) in enumerate(shapes.items()):
            if start + math.prod(shape) > whole.size:
                raise _too_small(folder, name)
            yield name, part(whole, start, shape)
            start += math.prod(shape) + (paddings[number][index] if paddings else 0)


def _third_stage(folder: Folder, ranks: Sequence[_Rank]) -> Iterator[tuple[str, StoredTensor]]:
    """Each rank has an equal share of each parameter, rounded up, the groups of one rank end to
    end.
    """
    wholes = [_laid_end_to_end(rank.flat(3), f"{folder}: rank {k}") for k, rank in enumerate(ranks)]
    shapes = {name: shape for group in _groups(ranks[0].model) for name, shape in group.items()}
    start = 0
    for name, shape in shapes.items():
        share = -(-math.prod(shape) // len(ranks))
        if start + share > min(whole.size for whole in wholes):
            raise _too_small(folder, name)
        yield name, _from_shares([part(whole, start, (share,)) for whole in wholes], shape, name)
        start += share


def _frozen(
    folder: Folder, ranks: Sequence[_Rank], stage: int
) -> Iterator[tuple[str, StoredTensor]]:
    """Parameters that are not trained lie beside the network, whole or in shares."""
    shapes = ranks[0].model.content.get("frozen_param_shapes") or {}
    for name, shape in shapes.items():
        shares = [
            rank.model.stored(name, rank.model.found("frozen_param_fragments", name))
            for rank in (ranks if stage == 3 else ranks[:1])
        ]
        if stage == 3:
            yield name, _from_shares(shares, shape, f"{folder}: {name}")
        else:
            yield name, shares[0]


def _from_shares(shares: Sequence[StoredTensor], shape: Sequence[int], where) -> StoredTensor:
    """A tensor of equal flat shares, the last of which are padded."""
    size, pieces, begin = math.prod(shape), [], 0
    for share in shares:
        length = min(share.size, size - begin)
        if length > 0:
            pieces.append(part(share, 0, (length,)))
        begin += share.size
    return part(_laid_end_to_end(pieces, where), 0, shape)


def _laid_end_to_end(parts: Sequence[StoredTensor], where) -> StoredTensor:
    begins, begin = [], 0
    for one in parts:
        begins.append((begin,))
        begin += one.size
    return joined((begin,), list(zip(begins, parts)), where)


def _too_small(folder: Folder, name: str) -> CheckpointError:
    return CheckpointError(
        f"{folder}: the parts of its ranks end before parameter {name!r} does; they are of another"
        " checkpoint: fetch or save it again"
    )


# ---- the universal format ----


def is_universal(folder: Folder) -> bool:
    """``zero/NAME/fp32.pt``, by ds_to_universal."""
    return any(inner.name == "zero" for inner in folder.folders()) and any(
        inner.file("fp32.pt").is_file() for inner in folder.folder("zero").folders()
    )


def read_universal(folder: Folder, state: str | None) -> Contents:
    """A folder a parameter, with its master in float32 whole."""
    if state not in (None, MASTERS):
        raise CheckpointError(f"{folder}: has no state {state!r}; there is {MASTERS!r} alone")
    tensors = {}
    for inner in folder.folder("zero").folders():
        opened = TorchFile(inner.file("fp32.pt"))
        content = opened.content
        value = content.get("param") if isinstance(content, dict) else content
        tensors[inner.name] = opened.stored(inner.name, value)
    return Contents(tensors, MASTERS, ("optimizer: its moments, beside each parameter",))
