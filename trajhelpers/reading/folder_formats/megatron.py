"""Megatron's checkpoints of a file a rank: ``iter_0028608/mp_rank_01_003/model_optim_rng.pt``.

Names say how a tensor is split over tensor ranks (:mod:`.tensor_ranks`), pipeline ranks count their
layers from 0, and expert ranks their experts. The newer ``torch_dist`` is torch's distributed
format.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ...errors import CheckpointError
from ..contents import Contents
from ..place import File, Folder
from ..tensors import StoredTensor
from .tensor_ranks import of_ranks
from .torch_files import TorchFile, attributes, refuse_gaps

_RANK = re.compile(r"mp_rank_(\d+)(?:_(\d+))?(?:_(\d+))?")
_FILES = ("model_optim_rng.pt", "model_rng.pt", "model.pt")
# Of a virtual pipeline, each rank has several chunks: model0, model1 …
_CHUNK = re.compile(r"model(\d*)")
_LAYER = re.compile(r"(?P<above>(?:^|.*?\.)layers\.)(?P<layer>\d+)(?=\.)")
_EXPERT = re.compile(r"(?<=experts\.)(?P<before>local_experts\.)(?P<expert>\d+)(?=\.)")
_GROUPED_EXPERT = re.compile(r"(?P<before>experts\.linear_fc[12]\.(?:weight|bias))(?P<expert>\d+)$")


def is_megatron(folder: Folder) -> bool:
    return any(
        _RANK.fullmatch(inner.name) and _file_in(inner) is not None for inner in folder.folders()
    )


def _file_in(folder: Folder) -> File | None:
    return next((file for file in folder.files() if file.name in _FILES), None)


def read_megatron(folder: Folder, state: str | None) -> Contents:
    """The network of all ranks."""
    if state not in (None, "model"):
        raise CheckpointError(f"{folder}: has no state {state!r}; ranks of Megatron keep 'model'")
    ranks = _Ranks(folder, _opened(folder))
    tensors: dict[str, StoredTensor] = {}
    left_out = ["optimizer: an optimizer's state, in the ranks' files"]
    for name, shares in ranks.shares():
        if ranks.is_copy(name):
            left_out.append(f"{name}: the last stage's copy of the embedding, counted once")
        else:
            tensors[name] = of_ranks(name, shares, folder, ranks.is_gated)
    return Contents(tensors, "model", tuple(left_out))


# By tensor, pipeline and expert rank.
_Opened = Mapping[tuple[int, int, int], TorchFile]


def _opened(folder: Folder) -> _Opened:
    """The middle number is of the pipeline, or of experts where there is no pipeline."""
    found: dict[tuple[int, ...], TorchFile] = {}
    for inner in folder.folders():
        match, file = _RANK.fullmatch(inner.name), _file_in(inner)
        if match and file:
            found[tuple(int(number or 0) for number in match.groups())] = TorchFile(file)
    first = attributes(next(iter(found.values())).content)
    args = attributes(first.get("args"))
    if args.get("pipeline_model_parallel_size", 2) == 1:
        return {(tensor, 0, middle or last): file for (tensor, middle, last), file in found.items()}
    return {(tensor, middle, last): file for (tensor, middle, last), file in found.items()}


@dataclass(frozen=True)
class _Ranks:
    folder: Folder
    opened: _Opened

    def __post_init__(self) -> None:
        """All are there, as many as the first says that there were."""
        sizes = ("tensor", "pipeline", "expert")
        for axis, what in enumerate(sizes):
            numbers = sorted({rank[axis] for rank in self.opened})
            expected = self._args.get(f"{what}_model_parallel_size")
            if axis < 2:
                refuse_gaps(self.folder, numbers, expected, f"{what} rank")
        every = [sorted({rank[axis] for rank in self.opened}) for axis in range(3)]
        for rank in ((t, p, e) for t in every[0] for p in every[1] for e in every[2]):
            if rank not in self.opened:
                raise CheckpointError(
                    f"{self.folder}: the file of tensor rank {rank[0]}, pipeline rank {rank[1]},"
                    f" expert rank {rank[2]} is missing; fetch it, or move the folder away"
                )

    @cached_property
    def _args(self) -> Mapping[str, Any]:
        """Those of the training's command line, as the first rank has them."""
        return attributes(self.opened[min(self.opened)].found("args"))

    @property
    def is_gated(self) -> bool:
        return bool(self._args.get("swiglu") or self._args.get("gated_linear_unit"))

    def is_copy(self, name: str) -> bool:
        """Whether the last of several stages has it so that it need not ask the first."""
        if "word_embeddings_for_head" in name:
            return True
        untied = self._args.get("untie_embeddings_and_output_weights", True)
        stages = max(stage for _, stage, _ in self.opened)
        return stages > 0 and not untied and name == "output_layer.weight"

    def shares(self) -> Iterator[tuple[str, list[StoredTensor]]]:
        """Name by name, what the tensor ranks have of it."""
        experts = sorted({expert for _, _, expert in self.opened})
        count: dict[str, int] = {}
        for chunk, stage in self._stages():
            above: dict[str, int] = {}
            for expert in experts:
                ranks = [
                    file
                    for rank, file in sorted(self.opened.items())
                    if rank[1:] == (stage, expert)
                ]
                networks = [dict(_flat(rank.found(chunk))) for rank in ranks]
                for name in networks[0]:
                    if expert and not _is_of_expert(name):
                        continue
                    final = self._renumbered(name, count, expert, len(experts), networks[0])
                    shares = [
                        rank.stored(name, network.get(name))
                        for rank, network in zip(ranks, networks)
                    ]
                    yield final, shares
                for layers, number in _layers_in(networks[0]).items():
                    above[layers] = number
            for layers, number in above.items():
                count[layers] = count.get(layers, 0) + number

    def _stages(self) -> list[tuple[str, int]]:
        """In the order of the network: the first chunk of every rank, then the second."""
        chunks = sorted(
            (
                key
                for key in attributes(self.opened[min(self.opened)].content)
                if isinstance(key, str) and _CHUNK.fullmatch(key)
            ),
            key=lambda key: int(key.removeprefix("model") or 0),
        )
        if not chunks:
            raise CheckpointError(f"{self.folder}: its files hold no 'model'; save it again")
        stages = sorted({stage for _, stage, _ in self.opened})
        return [(chunk, stage) for chunk in chunks for stage in stages]

    def _renumbered(
        self, name: str, count: Mapping[str, int], expert: int, experts: int, network: Mapping
    ) -> str:
        """With the number of the layer in the whole network, and of the expert."""
        match = _LAYER.match(name)
        if match:
            layer = int(match["layer"]) + count.get(match["above"], 0)
            name = f"{match['above']}{layer}{name[match.end() :]}"
        if experts == 1:
            return name
        total = self._args.get("num_experts") or 0
        for pattern in (_EXPERT, _GROUPED_EXPERT):
            found = pattern.search(name)
            if found and total:
                number = int(found["expert"]) + expert * (total // experts)
                return f"{name[: found.start()]}{found['before']}{number}{name[found.end() :]}"
        if expert:
            raise CheckpointError(
                f"{self.folder}: how {name!r} is split over expert ranks is not known here; convert"
                " the checkpoint to torch_dist (--ckpt-convert-format) and open that"
            )
        return name


def _is_of_expert(name: str) -> bool:
    return ".experts." in name


def _layers_in(network: Mapping[str, Any]) -> dict[str, int]:
    """By what stands before their numbers, how many layers a stage has."""
    highest: dict[str, int] = {}
    for name in network:
        match = _LAYER.match(name)
        if match:
            highest[match["above"]] = max(highest.get(match["above"], 0), int(match["layer"]) + 1)
    return highest


def _flat(nested: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Older versions nest a dict a module; of all that is no tensor nothing is kept."""
    for key, value in attributes(nested).items():
        if hasattr(value, "dtype"):
            if not str(key).endswith("_extra_state"):
                yield f"{prefix}{key}", value
        elif isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
