"""A network that learns images: a `Recipe`."""

from typing import ClassVar

import torch

from ..engine import over_all_processes
from ..images import load_data
from ..models import build_model, memory_format
from ..sam import SAM
from .task import Task

_EVALUATED_EACH_EPOCH = 2000
_EVALUATION_BATCH = 500


class ImageTask(Task):
    """Classification of images, with SGD or AdamW, and SAM around them."""

    watched: ClassVar = {"loss": "running_loss", "test": "test_accuracy_first_2000"}
    remedy = " or a warmup"

    def __init__(self, recipe, engine, data_folder):
        self.data = load_data(recipe.data, data_folder, recipe.label_noise)
        size = self.data.size["train"]
        super().__init__(recipe, engine, size, f"the training images of {recipe.data}")
        self.steps = recipe.steps or recipe.epochs * self.steps_an_epoch
        self.checkpoints = set(recipe.checkpoint_steps(self.steps))
        self.title = f"{recipe.model} on {recipe.data}"
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            model = build_model(
                recipe.model,
                recipe.width,
                self.data.channels,
                self.data.pixels,
                self.data.classes,
            )
        self._placed = {
            "device": engine.device,
            "dtype": torch.float64 if recipe.dtype == "float64" else torch.float32,
            "memory_format": memory_format(model),
        }
        self.model = model.to(**self._placed)
        self.optimizer = _optimizer(recipe, self.model.parameters())
        self._stepper = SAM(self.optimizer, recipe.sam_rho) if recipe.sam_rho else self.optimizer

    def batches(self, indices):
        stored = self.recipe.data in ("digits", "fashion-mnist")
        batches = self.data.batches("train", indices, **({} if stored else {"augment": True}))
        return (
            (images.to(**self._placed), labels.to(self.engine.device)) for images, labels in batches
        )

    def rate(self, step):
        return self.recipe.rate(step, self.steps)

    def loss(self, model, batch):
        return classification_loss(model, batch)

    def take_step(self, closure):
        self._stepper.step(closure)

    def ends_row(self, step):
        """At the end of an epoch; of epochs of a single step, those that are recorded."""
        if self.steps_an_epoch == 1 and step not in self.checkpoints:
            return step == self.steps
        return step % self.steps_an_epoch == 0 or step == self.steps

    def row(self, step, loss, accuracy, seconds):
        return {
            "epoch": step / self.steps_an_epoch,
            "step": step,
            "learning_rate": self.rate(step - 1),
            "running_loss": loss,
            "running_accuracy": accuracy,
            "test_accuracy_first_2000": self.evaluate("test", _EVALUATED_EACH_EPOCH)[1],
            "seconds": seconds,
        }

    def results(self):
        found = {}
        for split in ("train", "test"):
            found[f"{split}_loss"], found[f"{split}_accuracy"] = self.evaluate(
                split, self.data.size[split]
            )
        return found

    def evaluate(self, split, count):
        """Mean loss and accuracy over the first ``count`` images, each process taking its share."""
        processes = self.engine.num_processes
        mine = range(self.engine.process_index, min(count, self.data.size[split]), processes)
        starts = range(0, len(mine), _EVALUATION_BATCH)
        batches = self.data.batches(
            split, ((0, list(mine[start : start + _EVALUATION_BATCH])) for start in starts)
        )
        sums = torch.zeros(3, dtype=torch.float64)
        if processes > 1:
            # BatchNorm's averages are of each process's shares; the next step goes on from the
            # first one's
            for buffer in self.model.buffers():
                torch.distributed.broadcast(buffer, 0)
        self.model.eval()
        with torch.no_grad():
            for images, labels in batches:
                outputs = self.model(images.to(**self._placed))
                labels = labels.to(self.engine.device)
                loss = torch.nn.functional.cross_entropy(outputs, labels, reduction="sum")
                sums += torch.tensor(
                    [loss.item(), (outputs.argmax(1) == labels).sum().item(), len(labels)],
                    dtype=torch.float64,
                )
        self.model.train()
        loss, correct, seen = over_all_processes(self.engine, sums)
        return loss / seen, correct / seen


def classification_loss(model, batch):
    """Of images and labels, as `Task.loss` gives it."""
    images, labels = batch
    outputs = model(images)
    loss = torch.nn.functional.cross_entropy(outputs, labels)
    return loss, (outputs.argmax(1) == labels).sum().item(), len(labels)


def _optimizer(recipe, parameters):
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(
            parameters, lr=recipe.learning_rate, weight_decay=recipe.weight_decay
        )
    return torch.optim.SGD(
        parameters,
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov,
        weight_decay=recipe.weight_decay,
    )
