"""The two forces on the weights under SGD, from the gradients themselves: by how much the loss and
weight decay move them between two checkpoints.
"""

import numpy as np
import pandas as pd
import torch
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

from ...atomic import atomic_path
from .loop import train


def train_with_forces(recipe, folder, device="auto"):
    """Train by a recipe for SGD without Nesterov, from its start, and sum both forces over all
    steps between checkpoints.

    With momentum a gradient g moves the weights by −η g / (1 − μ) in the end, most of it within
    1/(1 − μ) steps. The loss's force is the sum of that over the gradients of the loss, decay's
    over λ θ. What they say together and the update differ only by what momentum carries over the
    two ends.

    Returns
    -------
    pandas.DataFrame
        A row a checkpoint but the first: ``step``, and in parameter units ``loss_outward``
        (along the weights of the checkpoint before, away from O), ``loss_across`` (at right angles
        to them), ``decay_outward``, ``decay_across``; also written to ``forces.csv`` in the folder.

    Chapter "Weight decay".
    """
    if recipe.optimizer != "sgd" or recipe.nesterov or recipe.sam_rho:
        raise ValueError(
            "recipe: the forces are those of SGD with momentum; got"
            f" optimizer {recipe.optimizer!r}, nesterov {recipe.nesterov},"
            f" sam_rho {recipe.sam_rho:g}"
        )
    sums = _Sums()
    hooks = (
        register_optimizer_step_pre_hook(sums.before_step),
        register_optimizer_step_post_hook(sums.after_step),
    )
    try:
        train(recipe, folder, device, overwrite=True, progress=False, on_checkpoint=sums.close)
    finally:
        for hook in hooks:
            hook.remove()
    table = pd.DataFrame(sums.rows)
    with atomic_path(folder / "forces.csv") as temporary:
        table.to_csv(temporary, index=False)
    return table


class _Sums:
    """Of both forces since the last checkpoint; the loss's gradient is there after a step alone,
    the weights at which it was taken before it.
    """

    def __init__(self):
        self.rows, self._start = [], None

    def before_step(self, optimizer, *_):
        self._weights = _flat(self._parameters(optimizer))
        if self._start is None:
            self._start, self._loss, self._decay = self._weights, 0.0, 0.0

    def after_step(self, optimizer, *_):
        (group,) = optimizer.param_groups
        rate = group["lr"] / (1 - group["momentum"])
        gradient = _flat(parameter.grad for parameter in self._parameters(optimizer))
        self._loss = self._loss - rate * gradient
        self._decay = self._decay - rate * group["weight_decay"] * self._weights

    def close(self, step, log):
        outward = self._start / np.linalg.norm(self._start)
        row = {"step": step}
        for name, force in (("loss", self._loss), ("decay", self._decay)):
            along = force @ outward
            row[f"{name}_outward"] = along
            row[f"{name}_across"] = np.linalg.norm(force - along * outward)
        self.rows.append(row)
        self._start = None

    @staticmethod
    def _parameters(optimizer):
        (group,) = optimizer.param_groups
        return group["params"]


def _flat(tensors):
    return torch.cat([tensor.detach().ravel() for tensor in tensors]).double().cpu().numpy()
