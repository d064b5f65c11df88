"""What the loop asks of a task, and what most of them answer."""

from collections.abc import Iterable, Iterator
from typing import ClassVar

import torch

from ....record.recorder import Recorder


class Task:
    """A recipe made real: examples, a model, its optimizer, a loss and a row of the log.

    Parameters
    ----------
    recipe
    engine : OneProcess or accelerate.Accelerator
    size : int
        How many examples there are to train with.
    examples : str
        What they are, for an error.

    Attributes
    ----------
    model : torch.nn.Module
        Set by each task, freshly initialized and on the engine's device.
    optimizer : torch.optim.Optimizer
        Of its parameters.
    steps : int
        Of the whole run.
    checkpoints : set of int
        The steps at which to record, besides 0.
    title : str
        What the progress bar says.
    """

    # what the progress bar shows of a row of the log
    watched: ClassVar[dict[str, str]] = {"loss": "running_loss"}
    # what helps against divergence, beside a smaller learning rate
    remedy = ""

    model: torch.nn.Module
    optimizer: torch.optim.Optimizer
    steps: int
    checkpoints: set[int]
    title: str

    def __init__(self, recipe, engine, size, examples):
        if recipe.batch_size > size:
            raise ValueError(
                f"batch_size: expected at most {size}, {examples}, got {recipe.batch_size}"
            )
        if recipe.batch_size % engine.num_processes:
            raise ValueError(
                f"batch_size: expected a multiple of {engine.num_processes}, the number of"
                f" processes, got {recipe.batch_size}"
            )
        self.recipe, self.engine, self.size = recipe, engine, size
        self.steps_an_epoch = size // recipe.batch_size

    def batches(self, indices: Iterable[tuple[int, list[int]]]) -> Iterator:
        """A batch for each pair (epoch, indices of examples), on the engine's device."""
        raise NotImplementedError

    def rate(self, step: int) -> float | None:
        """η of all parameters at a step, from 0 on; None where they keep the optimizer's own."""
        return None

    def loss(self, model, batch) -> tuple[torch.Tensor, int, int]:
        """The loss of a batch, how many of it are right (0 where none can be), and how many there
        are. ``model`` is the task's own, or what accelerate made of it.
        """
        raise NotImplementedError

    def take_step(self, closure):
        """One step; ``closure`` computes the loss and its gradient."""
        self.optimizer.step(closure)

    def recorder(self, folder, resume: bool):
        """Writes checkpoints as `Recorder` does: called with a step, then ``flush``, ``close``."""
        return Recorder(folder, self.model, steps=self.checkpoints, resume=resume)

    def ends_row(self, step: int) -> bool:
        """Whether the log has a row for this step."""
        return step in self.checkpoints

    def row(self, step: int, loss: float, accuracy: float, seconds: float) -> dict:
        """A row of the log, of means over the batches since the last row."""
        return {"step": step, "running_loss": loss, "seconds": seconds}

    def results(self) -> dict:
        """What the last row has besides, of the trained model."""
        raise NotImplementedError
