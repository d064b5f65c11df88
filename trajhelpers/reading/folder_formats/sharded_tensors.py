"""Where in its tensor a rank's part belongs: of torch's DTensor and of the ShardedTensor before it,
as they are pickled.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from ..pickles import Inert
from ..unpickling import Lying, Unreadable
from .torch_files import attributes


class Share(NamedTuple):
    """``tensor`` is what a rank has, from ``offsets`` on, one a dimension."""

    offsets: tuple[int, ...]
    tensor: Lying


class Sharded(NamedTuple):
    """A tensor of which each rank has ``parts``, none or several."""

    dtype: str
    shape: tuple[int, ...]
    parts: tuple[tuple[Share, ...], ...]


def is_sharded(value: Any) -> bool:
    return isinstance(value, Unreadable) and isinstance(value.inside, tuple) and bool(value.inside)


def sharded(values: Sequence[Any]) -> Sharded:
    """Of what the ranks have under one name. ValueError where they say not which part is theirs."""
    try:
        if isinstance(values[0].inside[0], list):
            return _sharded_tensor([value.inside for value in values])
        return _dtensor(values)
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error


def _sharded_tensor(ranks: Sequence[tuple]) -> Sharded:
    """Each shard says from where on."""
    whole = attributes(ranks[0][1])
    parts = tuple(
        tuple(
            Share(tuple(attributes(fields["metadata"])["shard_offsets"]), fields["tensor"])
            for fields in map(attributes, shards)
        )
        for shards, *_ in ranks
    )
    tensors = [share.tensor for part in parts for share in part]
    return Sharded(tensors[0].dtype, tuple(whole["size"]), parts)


def _dtensor(values: Sequence[Unreadable]) -> Sharded:
    """Placements say how the tensor was cut along each axis of a mesh, and the mesh which of the
    parts a rank has; how long the axes are shows from all ranks.
    """
    states = [attributes(value.inside[1]) for value in values]
    specs = [attributes(state["_spec"]) for state in states]
    places = [tuple(attributes(spec["mesh"])["_coordinate_on_dim"]) for spec in specs]
    sizes = [max(axis) + 1 for axis in zip(*places)]
    shape, found = values[0].shape, []
    for place, spec, state in zip(places, specs, states):
        offsets, lengths = _cut(shape, spec["placements"], place, sizes)
        tensor = state["_local_tensor"]
        if tensor.shape != lengths:
            raise ValueError(f"a part has shape {tensor.shape}, where {lengths} was expected")
        found.append((Share(offsets, tensor),))
    return Sharded(values[0].dtype, shape, tuple(found))


def _cut(
    shape: Sequence[int], placements: Sequence[Inert], place: Sequence[int], sizes: Sequence[int]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """From where on, and how much of it, a rank at this place of the mesh has, as torch.chunk cuts:
    all parts but the last ones are equal.
    """
    cuts = []
    for placement, index, count in zip(placements, place, sizes):
        kind = str(placement).rpartition(".")[2]
        if kind in ("Shard", "_StridedShard"):
            # A strided one is cut after the others, though its axis comes before theirs.
            cuts.append((kind == "_StridedShard", _dimension(placement) % len(shape), index, count))
        elif kind != "Replicate":
            raise ValueError(f"its placement is {placement}")
    offsets, lengths = [0] * len(shape), list(shape)
    for _, dimension, index, count in sorted(cuts, key=lambda cut: cut[0]):
        full = -(-lengths[dimension] // count)
        begin = min(index * full, lengths[dimension])
        offsets[dimension] += begin
        lengths[dimension] = min(full, lengths[dimension] - begin)
    return tuple(offsets), tuple(lengths)


def _dimension(placement: Inert) -> int:
    found = attributes(placement).get("dim")
    return placement.arguments[0] if found is None else found
