"""Which parameters of a model a recorder writes, and copies of them as they are now."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path

import torch

from ..errors import LayoutError, TrajectoryError
from ..telling import tell, warn
from .columns import SampledColumns
from .processes import (
    is_sharded,
    named_parameters,
    own_shard,
    refuse_flat_shards,
    told_of_waiting,
    whole,
    writes,
)

Shapes = dict[str, tuple[int, ...]]


class RecordedParameters:
    """Those that require a gradient now. Names are kept, not tensors: what a name stands for is
    looked up each time, since a layer may be replaced, or its parameters assigned or sharded.

    Parameters
    ----------
    folder : pathlib.Path
        What messages call the recording.
    model : torch.nn.Module
    shards : bool
        Whether each process keeps its own shards, or the first has all of them gathered.

    Attributes
    ----------
    shapes : dict of tuple
        Of whole parameters.
    sampled : SampledColumns or None
        Which of their columns are copied, where not all are.

    Raises
    ------
    TypeError, ValueError
        For what is no model, has nothing to train, or nothing to copy yet.
    """

    def __init__(self, folder: Path, model: torch.nn.Module, shards: bool):
        if not isinstance(model, torch.nn.Module):
            raise TypeError(f"model: expected a torch.nn.Module, got {type(model).__name__}")
        if shards:
            refuse_flat_shards(model)
        self._folder, self._model, self._shards = folder, model, shards
        self._first = writes()
        self._missed: set[str] = set()  # began to train later, and that was said
        self.shapes: Shapes = {}
        self.sampled: SampledColumns | None = None
        with self._now() as named:
            once = _once(named)
            trained = {name: tensor for name, tensor in once.items() if tensor.requires_grad}
            for name, tensor in trained.items():
                if trouble := _trouble(tensor):
                    raise ValueError(f"model: its parameter {name} {trouble}")
            self.shapes = {name: tuple(tensor.shape) for name, tensor in trained.items()}
            if not trained and (shards or self._first):
                raise ValueError(
                    f"model: this {type(model).__name__} has no trainable parameters to record"
                )
            if self._first and (frozen := [name for name in once if name not in trained]):
                numbers, of = (sum(map(torch.numel, d.values())) for d in (trained, once))
                tell(
                    f"{folder}: records {len(trained)} of {len(once)} tensors, {numbers:,} of"
                    f" {of:,} numbers; the others are frozen: {_listed(frozen)}"
                )

    def copies(self) -> dict[str, torch.Tensor]:
        """On the CPU: of the own shards, or of whole parameters, and then none but in the first
        process, while all must call this where parameters are sharded.

        Raises
        ------
        LayoutError
            Where the model has not what was recorded before.
        """
        with self._now() as named:
            self._check(named)
            found = {}
            for name in self.shapes:
                tensor = named[name].detach()
                if self._shards:
                    found[name] = own_shard(tensor)
                    continue
                tensor = whole(tensor)
                if self._first:
                    if self.sampled:
                        tensor = self.sampled.of(name, tensor)
                    found[name] = tensor.to("cpu", copy=True).contiguous()
            return found

    @contextmanager
    def _now(self) -> Iterator[Mapping[str, torch.Tensor]]:
        gathered = is_sharded(self._model) and not self._shards
        waiting = told_of_waiting(self._folder) if gathered else nullcontext()
        with waiting, named_parameters(self._model) as named:
            yield named

    def _check(self, named: Mapping[str, torch.Tensor]) -> None:
        gone = [name for name in self.shapes if name not in named]
        if gone:
            raise LayoutError(
                f"{self._folder}: the model has no parameter {_listed(gone)} now, which earlier"
                " checkpoints hold: a layer was taken out, or is computed from other parameters"
                " (weight_norm, LoRA); change the model before its recorder is made, or record it"
                " into another folder from here on"
            )
        for name, shape in self.shapes.items():
            if trouble := _trouble(named[name]):
                raise TrajectoryError(f"{self._folder}: {name} {trouble}")
            if tuple(named[name].shape) != shape:
                raise LayoutError(
                    f"{self._folder}: {name} has shape {tuple(named[name].shape)} now, and {shape}"
                    " in earlier checkpoints; record this model into another folder"
                )
        recorded = {id(named[name]) for name in self.shapes}
        missed = [
            name
            for name, tensor in _once(named).items()
            if tensor.requires_grad and id(tensor) not in recorded and name not in self._missed
        ]
        if missed and self._first:
            self._missed |= set(missed)
            warn(
                f"{self._folder}: trained and not recorded: {_listed(missed)}, frozen or not there"
                " when the recorder was made. Make it while all that will train requires a"
                " gradient, and freeze after that; or record into another folder from here on"
            )


def _once(named: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Each parameter under the first of its names."""
    firsts = {id(tensor): name for name, tensor in reversed(list(named.items()))}
    return {name: tensor for name, tensor in named.items() if firsts[id(tensor)] == name}


def _trouble(tensor: torch.Tensor) -> str:
    """Why it can't be copied."""
    if torch.nn.parameter.is_lazy(tensor):
        return "has no shape yet; send a batch through the model before its recorder is made"
    if tensor.is_meta:
        return (
            "is on the meta device and holds no numbers; record once the model has its weights"
            " (model.to_empty, an initialization, load_state_dict)"
        )
    if tuple(getattr(tensor, "ds_shape", tensor.shape)) != tuple(tensor.shape):
        return (
            "is sharded by DeepSpeed's ZeRO-3; on every process, make the recorder and call it"
            " within deepspeed.zero.GatheredParameters(list(model.parameters()))"
        )
    return ""


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
