"""The files of a pipeline's layers by DeepSpeed: GPT-NeoX and Megatron-DeepSpeed.

``layer_02-model_01-model_states.pt`` has layer 2's share of tensor rank 1, whatever the number of
pipeline stages was. Names get DeepSpeed's own prefix, ``sequential.2.``
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ...errors import CheckpointError
from ..contents import Contents
from ..place import Folder
from ..tensors import StoredTensor
from .tensor_ranks import added, is_after_sum, is_same, of_ranks
from .torch_files import TorchFile, by_rank, refuse_gaps

_LAYER = r"layer_(\d+)-model_(\d+)-model_states\.pt"
_RESIDUAL = re.compile(r"gpt[-_]j[-_]residual[\"']?\s*:\s*(true|false)", re.IGNORECASE)
# Layer norms and biases are small; what is larger, and the same in all ranks, is not added up.
_LONGEST_CONFIG = 1 << 20
_MOST_ADDED = 1 << 20


def is_layers(folder: Folder) -> bool:
    return any(re.fullmatch(_LAYER, file.name) for file in folder.files())


def read_layers(folder: Folder, state: str | None) -> Contents:
    """All layers, each joined from its tensor ranks.

    What all ranks have is averaged, as the converters of GPT-NeoX and of BLOOM do, for the copies
    drift. With ``gpt_j_residual`` a bias is added in each rank before their sum: the network's is
    the sum of theirs.
    """
    if state is not None:
        raise CheckpointError(f"{folder}: has files of layers, and no state {state!r} among them")
    files = by_rank(folder, _LAYER)
    layers = sorted({layer for layer, _ in files})
    count = max(rank for _, rank in files) + 1
    is_summed = _adds_before_the_sum(folder)
    tensors: dict[str, StoredTensor] = {}
    for layer in layers:
        ranks = sorted(rank for one, rank in files if one == layer)
        refuse_gaps(folder, ranks, count, f"layer {layer:02d}'s tensor rank")
        opened = [TorchFile(files[layer, rank]) for rank in ranks]
        for name, shares in _by_name(opened).items():
            tensors[f"sequential.{layer}.{name}"] = _joined(name, shares, folder, is_summed)
    return Contents(tensors, "", ("mp_rank_*, zero_pp_rank_*: the loop's and optimizer's state",))


def _by_name(ranks: Sequence[TorchFile]) -> dict[str, list[StoredTensor]]:
    contents: list[Mapping[str, Any]] = []
    for rank in ranks:
        if not isinstance(rank.content, Mapping):
            raise CheckpointError(f"{rank}: holds no tensors by name; fetch or save it again")
        contents.append(rank.content)
    return {
        name: [rank.stored(name, rank.found(name)) for rank in ranks]
        for name, tensor in contents[0].items()
        if hasattr(tensor, "dtype")
    }


def _joined(name: str, shares: list[StoredTensor], folder: Folder, is_summed: bool) -> StoredTensor:
    if len(shares) > 1 and is_same(name) and shares[0].size <= _MOST_ADDED:
        is_mean = not (is_summed and is_after_sum(name) and "self_attention" not in name)
        return added(shares, is_mean)
    return of_ranks(name, shares, folder)


def _adds_before_the_sum(folder: Folder) -> bool:
    """By the configurations that GPT-NeoX saves beside; without them as for Pythia, which has
    ``gpt_j_residual``.
    """
    for file in folder.folder("configs").files():
        found = _RESIDUAL.search(file.read_text()) if file.size <= _LONGEST_CONFIG else None
        if found:
            return found[1].lower() == "true"
    return True
