"""Of each parameter the same few columns in all checkpoints, for runs that cannot keep it whole."""

import math
from collections.abc import Mapping

import torch

from ..reading.partly import Drawn, described
from ..streaming.default_groups import default_groups
from ..streaming.sampling import block_length_here, draw
from ..streaming.segments import united
from .schedule import whole_number


class SampledColumns:
    """Those that ``th.gram(trajectory, sample=fraction, seed=seed)`` would read of checkpoints on
    this machine.

    Attributes
    ----------
    drawn : Drawn
    description : str
        For the metadata of each file.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], fraction: float, seed: int):
        if not isinstance(fraction, float) or not 0 < fraction < 1:
            raise ValueError(
                "sample: expected a fraction of the parameters in (0, 1), as 0.01, got"
                f" {fraction!r}"
            )
        # In the order in which a safetensors file has them, and whole checkpoints are drawn from.
        names = sorted(shapes)
        sizes = {name: math.prod(shapes[name]) for name in names if math.prod(shapes[name])}
        segments = {
            group: [(name, 0, sizes[name]) for name in members]
            for group, members in default_groups(sizes).items()
        }
        block = block_length_here(sum(sizes.values()))
        self.drawn = Drawn(fraction, whole_number("seed", seed), block)
        found = draw(None, segments, *self.drawn, {}).segments if sizes else {}
        ranges = united(found.values())
        self._ranges = {name: ranges.get(name, []) for name in names}
        self.description = described(self.drawn, shapes, self._ranges)

    def of(self, name: str, tensor: torch.Tensor) -> torch.Tensor:
        """As one row, on the tensor's device."""
        flat = tensor.reshape(-1)
        return torch.cat([flat[:0], *(flat[start:stop] for start, stop in self._ranges[name])])
