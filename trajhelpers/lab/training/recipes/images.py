"""The recipe of a network that learns images."""

import math
from dataclasses import dataclass

from .json_recipe import (
    JsonRecipe,
    as_floats,
    expect_number,
    expect_one_of,
    expect_whole,
    is_number,
    refuse,
)

MODELS = ("mlp", "vgg", "resnet", "vit", "vgg16_bn", "resnet50", "vit_b_16")
DATA = ("digits", "fashion-mnist", "cifar10", "imagenet", "fake-cifar10", "fake-imagenet")


@dataclass(frozen=True, kw_only=True)
class Recipe(JsonRecipe):
    """Everything that determines a training run, but the machine.

    Parameters
    ----------
    model : str
        One of ``"mlp"``, ``"vgg"``, ``"resnet"``, ``"vit"`` (small, of the given ``width``) or
        torchvision's ``"vgg16_bn"``, ``"resnet50"``, ``"vit_b_16"``.
    data : str
        ``"digits"`` or ``"fashion-mnist"``, which come with the book; ``"cifar10"`` or
        ``"imagenet"`` from a folder of yours; ``"fake-cifar10"`` or ``"fake-imagenet"``, random
        images of their shapes, to try a recipe with.
    width : int, optional
        Of a small model; None for torchvision's.
    optimizer : str
        ``"sgd"`` (weight decay enters the gradient) or ``"adamw"`` (decay is decoupled; β₁ = .9, β₂
        = .999).
    learning_rate, momentum, nesterov, weight_decay
        η, μ and λ. AdamW takes neither momentum nor nesterov.
    batch_size : int
        Over all processes together. A last incomplete batch of an epoch is left out.
    epochs, steps : int
        How long: one of the two.
    schedule : str
        ``"step"`` (η × ``decay_factor`` at each of ``decay_at``), ``"cosine"`` (to zero) or
        ``"constant"``.
    decay_at : tuple of float
        Fractions of the run.
    warmup : float
        The fraction of the run in which η rises linearly from zero.
    sam_rho : float
        ρ of sharpness-aware minimization; 0 is without.
    label_noise : float
        The share of training labels that are drawn anew, uniformly over all classes. Which ones
        does not depend on the seed.
    seed : int
        Of the initialization and of the order of the images.
    dtype : str
        ``"float32"``, ``"float64"``, or ``"bfloat16"`` for mixed precision.
    checkpoints : int or tuple of int
        How many besides the initialization, at equal distances, the last at the end; or the steps
        at which to record.

    Raises
    ------
    ValueError
        For a field that makes no sense, by its name.

    Notes
    -----
    Its log has one row an epoch: ``epoch, step, learning_rate``; ``running_loss,
    running_accuracy`` over the epoch's training batches as they came (in training mode, under SAM
    at θ); ``test_accuracy_first_2000``; ``seconds`` since the start. The last row of a finished run
    also has ``train_loss``, ``train_accuracy``, ``test_loss`` and ``test_accuracy``, over all
    images and without augmentation; training labels are the noisy ones. Chapter "Switching off
    momentum and weight decay".

    >>> import trajhelpers as th
    >>> recipe = th.training.Recipe(
    ...     model="vgg", data="digits", width=16, learning_rate=0.1, momentum=0.9, batch_size=32,
    ...     epochs=60, checkpoints=60)
    >>> recipe == th.training.Recipe.from_json(recipe.to_json())
    True
    >>> recipe.replace(momentum=1.5)
    Traceback (most recent call last):
    ...
    ValueError: momentum: expected a number in [0, 1), got 1.5
    """

    model: str
    data: str
    width: int | None = None
    optimizer: str = "sgd"
    learning_rate: float
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0
    batch_size: int
    epochs: int | None = None
    steps: int | None = None
    schedule: str = "step"
    decay_at: tuple[float, ...] = (1 / 3, 2 / 3)
    decay_factor: float = 0.1
    warmup: float = 0.0
    sam_rho: float = 0.0
    label_noise: float = 0.0
    seed: int = 0
    dtype: str = "float32"
    checkpoints: int | tuple[int, ...] = 45

    def __post_init__(self):
        for field in ("decay_at", "checkpoints"):  # JSON has lists
            if isinstance(getattr(self, field), list):
                object.__setattr__(self, field, tuple(getattr(self, field)))
        as_floats(
            self,
            "learning_rate",
            "momentum",
            "weight_decay",
            "decay_factor",
            "warmup",
            "sam_rho",
            "label_noise",
        )
        expect_one_of(self, "model", MODELS)
        expect_one_of(self, "data", DATA)
        expect_one_of(self, "optimizer", ("sgd", "adamw"))
        expect_one_of(self, "schedule", ("step", "cosine", "constant"))
        expect_one_of(self, "dtype", ("float32", "float64", "bfloat16"))
        expect_number(self, "learning_rate", "above 0", lambda x: x > 0)
        expect_number(self, "momentum", "in [0, 1)", lambda x: 0 <= x < 1)
        expect_number(self, "weight_decay", "from 0 on", lambda x: x >= 0)
        expect_number(self, "decay_factor", "in (0, 1]", lambda x: 0 < x <= 1)
        expect_number(self, "warmup", "in [0, 1)", lambda x: 0 <= x < 1)
        expect_number(self, "sam_rho", "from 0 on", lambda x: x >= 0)
        expect_number(self, "label_noise", "in [0, 1]", lambda x: 0 <= x <= 1)
        expect_whole(self, "batch_size", 1)
        expect_whole(self, "seed", 0)
        if not isinstance(self.nesterov, bool):
            refuse(self, "nesterov", "true or false")
        small = "_" not in self.model and self.model != "resnet50"
        if small:
            expect_whole(self, "width", 2)
        elif self.width is not None:
            refuse(self, "width", f"none, since {self.model} has one width")
        if self.model == "vit" and self.width % 2:
            refuse(self, "width", "an even number for vit, which has two heads")
        if (self.epochs is None) == (self.steps is None):
            raise ValueError(
                f"epochs, steps: expected one of the two, got epochs={self.epochs!r},"
                f" steps={self.steps!r}"
            )
        expect_whole(self, "epochs" if self.steps is None else "steps", 1)
        if self.optimizer == "adamw" and (self.momentum or self.nesterov):
            raise ValueError(
                "momentum, nesterov: adamw has its own averages and takes neither; got"
                f" momentum={self.momentum}, nesterov={self.nesterov}"
            )
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov: means nothing without momentum; got momentum=0")
        if (
            not isinstance(self.decay_at, tuple)
            or not all(is_number(at) and 0 < at < 1 for at in self.decay_at)
            or list(self.decay_at) != sorted(set(self.decay_at))
        ):
            refuse(self, "decay_at", "fractions of the run between 0 and 1, in increasing order")
        if isinstance(self.checkpoints, tuple):
            if (
                not self.checkpoints
                or not all(type(step) is int and step >= 0 for step in self.checkpoints)
                or list(self.checkpoints) != sorted(set(self.checkpoints))
            ):
                refuse(self, "checkpoints", "a count, or steps from 0 on in increasing order")
        else:
            expect_whole(self, "checkpoints", 1)

    def rate(self, step: int, steps: int) -> float:
        """η at a step, from 0 on, of a run of so many."""
        warm = round(self.warmup * steps)
        if step < warm:
            return self.learning_rate * (step + 1) / warm
        if self.schedule == "cosine":
            return self.learning_rate * (1 + math.cos(math.pi * (step - warm) / (steps - warm))) / 2
        if self.schedule == "step":
            return self.learning_rate * self.decay_factor ** sum(
                step >= round(at * steps) for at in self.decay_at
            )
        return self.learning_rate

    def checkpoint_steps(self, steps: int) -> list[int]:
        """The steps at which a run of so many is recorded, besides 0."""
        if isinstance(self.checkpoints, tuple):
            if self.checkpoints[-1] > steps:
                refuse(self, "checkpoints", f"steps up to {steps}, the length of this run")
            return [step for step in self.checkpoints if step > 0]
        if self.checkpoints > steps:
            refuse(self, "checkpoints", f"at most {steps}, the steps of this run")
        return [round(i * steps / self.checkpoints) for i in range(1, self.checkpoints + 1)]
