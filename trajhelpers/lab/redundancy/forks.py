"""A run that can be left at any step, and gone on with in another way."""

import copy

import torch
from torch.optim.swa_utils import update_bn

from ..training.engine import OneProcess
from ..training.folder import RunFolder
from ..training.loop import Run
from ..training.tasks import task_of
from .parts import Frozen


class Fork:
    """A run of an image recipe, from its initialization or from where another one was left.

    Parameters
    ----------
    recipe : Recipe
    folder : path
        Gets ``log.csv``, where rows are logged.
    state : dict, optional
        What `state` of another run of the same network gave: it goes on from there, with its
        momentum, by this recipe.
    """

    def __init__(self, recipe, folder, state=None):
        engine = OneProcess("cpu")
        self._run = Run(task_of(recipe, engine), engine, RunFolder(folder, recipe), False)
        self.task = self._run.task
        self.model, self._frozen = self.task.model, None
        if state is not None:
            self._run.step = state["step"]
            self.model.load_state_dict(state["model"])
            self.task.optimizer.load_state_dict(copy.deepcopy(state["optimizer"]))

    @property
    def step(self):
        return self._run.step

    @property
    def log(self):
        return self._run.log

    def state(self):
        """All that is needed to go on from here."""
        return {
            "step": self.step,
            "model": {name: value.clone() for name, value in self.model.state_dict().items()},
            "optimizer": copy.deepcopy(self.task.optimizer.state_dict()),
        }

    def parameters(self):
        """θ, as `trajhelpers.open_trajectory` takes it in a list."""
        return {name: value.detach().clone() for name, value in self.model.named_parameters()}

    def train_only(self, trained):
        """From the next step on, these entries alone (`parameters_of_arm`)."""
        self._frozen = Frozen(self.model, trained)

    def train_until(self, step, every=None, log=False):
        """Train up to a step. Gives θ at each multiple of ``every`` on the way; with ``log`` a row
        of the log is added at the end of each epoch.
        """
        kept = []
        for batch in self._run.batches() if step > self.step else ():
            self._run.take_step(batch)
            if self._frozen is not None:
                self._frozen.put_back()
            if log and self.task.ends_row(self.step):
                self._run.add_row()
            if every and self.step % every == 0:
                kept.append(self.parameters())
            if self.step == step:
                break
        return kept

    def use(self, parameters):
        """Take these for θ, and BatchNorm's statistics for it anew."""
        with torch.no_grad():
            for name, value in self.model.named_parameters():
                value.copy_(parameters[name])
        self.refresh_statistics()

    def refresh_statistics(self):
        """BatchNorm's statistics: the means over one pass through the training images."""
        size, batch = self.task.size, self.task.recipe.batch_size
        indices = [(0, list(range(at, at + batch))) for at in range(0, size, batch)]
        update_bn(self.task.batches(indices), self.model)

    def results(self):
        """Loss and accuracy over all test images."""
        loss, accuracy = self.task.evaluate("test", self.task.data.size["test"])
        return {"step": self.step, "test_loss": loss, "test_accuracy": accuracy}
