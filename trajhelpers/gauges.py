"""What a glance at a running training asks for, of the kernel of what there is so far."""

import math
from typing import NamedTuple

import numpy as np

from .hallmarks import mds, path_ratio
from .kernel import TrajectoryKernel, with_error


class Gauges(NamedTuple):
    """``angle``: between the last two updates, in degrees. ``drift``: the share of the path's
    length that is net displacement, ‖θ_T − θ_0‖ / Σ ‖θ_{t+1} − θ_t‖: 1 on a straight line,
    1/√(n − 1), ``walk``, on a random walk, 0 where a path comes back to its start. Of a sample,
    ``errors`` has the standard errors, by name, and ``sampled`` says how much it is of.
    """

    checkpoints: int
    step: int
    omega: float
    omega_0: float
    angle: float
    drift: float
    walk: float
    errors: dict[str, float]
    sampled: str

    def __str__(self) -> str:
        return (
            f"{self.where}: ω {self.said('omega')}, ω_0 {self.said('omega_0')}, {self.turn},"
            f" drift {self.said('drift')} (a random walk's {self.walk:.3f})"
        )

    @property
    def where(self) -> str:
        where = f"step {self.step}, {self.checkpoints} checkpoints"
        return f"{where}, {self.sampled}" if self.sampled else where

    @property
    def turn(self) -> str:
        """Of two checkpoints there is no angle."""
        return "no angle yet" if math.isnan(self.angle) else f"last angle {self.said('angle', 1)}°"

    def said(self, name: str, digits: int = 3) -> str:
        """One of them, with its error where it has one."""
        value = getattr(self, name)
        return with_error(value, self.errors[name]) if self.sampled else f"{value:.{digits}f}"


def gauges_of(kernel: TrajectoryKernel) -> Gauges:
    """
    >>> import trajhelpers as th
    >>> print(gauges_of(th.random_walk(26)))
    step 25, 26 checkpoints: ω 0.687, ω_0 0.688, last angle 90.0°, drift 0.200 (a random walk's \
0.200)
    """
    return Gauges(
        checkpoints=kernel.n,
        step=int(kernel.steps[-1]),
        walk=(kernel.n - 1) ** -0.5,
        errors=kernel.standard_error(_measured) if kernel.sample else {},
        sampled=kernel.sample.in_words(kernel.p) if kernel.sample else "",
        **_measured(kernel),
    )


def _measured(kernel: TrajectoryKernel) -> dict[str, float]:
    n, angle = kernel.n, float("nan")
    if n > 2:
        cosine = kernel.cosine_between(n - 3, n - 2, n - 2, n - 1)
        angle = float(np.degrees(np.arccos(cosine)))
    return {
        "omega": mds(kernel),
        "omega_0": mds(kernel, 0),
        "angle": angle,
        "drift": 1 / path_ratio(kernel),
    }
