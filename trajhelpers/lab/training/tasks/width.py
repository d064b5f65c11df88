"""A network of matrices on digits, and how far its features move: a `WidthRecipe`."""

import torch

from ..images import load_data
from ..width_network import WidthNetwork
from .images import classification_loss
from .task import Task

_CHECKED = 64  # images of the coordinate check


class WidthTask(Task):
    """Classification of digits, each matrix at its own constant rate."""

    def __init__(self, recipe, engine, data_folder):
        data = load_data("digits", data_folder)
        super().__init__(recipe, engine, data.size["train"], "the training images of digits")
        self._splits = {split: _all(data, split, engine.device) for split in ("train", "test")}
        self.steps, self.checkpoints = recipe.steps, set(recipe.checkpoint_steps())
        self.title = f"width {recipe.width}, {recipe.parametrization}"
        self.model = WidthNetwork(recipe).to(engine.device)
        self.optimizer = self.model.optimizer(recipe.optimizer)
        self._start = self._coordinates()

    def batches(self, indices):
        images, labels = self._splits["train"]
        return ((images[batch], labels[batch]) for _, batch in indices)

    def loss(self, model, batch):
        return classification_loss(model, batch)

    def row(self, step, loss, accuracy, seconds):
        return {**super().row(step, loss, accuracy, seconds), **self._changes()}

    @torch.no_grad()
    def results(self):
        found = {}
        for split, (images, labels) in self._splits.items():
            outputs = self.model(images)
            loss = torch.nn.functional.cross_entropy(outputs, labels)
            found[f"{split}_loss"] = loss.item()
            found[f"{split}_accuracy"] = (outputs.argmax(1) == labels).double().mean().item()
        return found

    @torch.no_grad()
    def _coordinates(self):
        images, _ = self._splits["train"]
        return self.model.preactivations(images[:_CHECKED])

    def _changes(self):
        features = [f"feature_change_{i}" for i in range(1, self.recipe.depth + 1)]
        names = ["input_change", *features, "output_change"]
        return {
            name: (now - start).square().mean().sqrt().item()
            for name, now, start in zip(names, self._coordinates(), self._start)
        }


def _all(data, split, device):
    images, labels = next(data.batches(split, [(0, list(range(data.size[split])))]))
    return images.flatten(1).contiguous().to(device), labels.to(device)
