"""A recipe fully determines a training run, and reads and writes as JSON."""

import dataclasses
import difflib
import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path

from ...atomic import atomic_path
from ...errors import TrajectoryError

MODELS = ("mlp", "vgg", "resnet", "vit", "vgg16_bn", "resnet50", "vit_b_16")
DATA = ("digits", "fashion-mnist", "cifar10", "imagenet", "fake-cifar10", "fake-imagenet")


class JsonRecipe:
    """What recipes share: they read and write as JSON, have a name, refuse a field by its own."""

    def replace(self, **changes):
        """The same recipe with some fields changed."""
        self._refuse_unknown(changes)
        return dataclasses.replace(self, **changes)

    def to_json(self):
        """One JSON object, a field a line, that `from_json` reads."""
        return json.dumps(dataclasses.asdict(self), indent=1)

    @classmethod
    def from_json(cls, text):
        """Read what `to_json` wrote, or what you wrote by hand; fields with defaults may be
        missing.
        """
        try:
            fields = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"not a recipe: invalid JSON ({error})") from error
        if not isinstance(fields, dict):
            raise ValueError(
                f"not a recipe: expected a JSON object with its fields, got {text.strip()[:40]!r}"
            )
        cls._refuse_unknown(fields)
        missing = [
            f.name
            for f in dataclasses.fields(cls)
            if f.default is dataclasses.MISSING and f.name not in fields
        ]
        if missing:
            raise ValueError(f"{', '.join(missing)}: missing from the recipe")
        return cls(**fields)

    def save(self, path):
        """Write the recipe to a file, in one atomic move."""
        with atomic_path(path) as temporary:
            temporary.write_text(self.to_json() + "\n")

    @classmethod
    def load(cls, path):
        """Read a file that `save` wrote."""
        try:
            return cls.from_json(Path(path).read_text())
        except (ValueError, UnicodeDecodeError) as error:
            raise TrajectoryError(f"{path}: {error}") from error

    @property
    def id(self):
        """Twelve hexadecimal digits that name the recipe, a hash of its fields, the seed among
        them.
        """
        return hashlib.sha256(
            json.dumps(dataclasses.asdict(self), sort_keys=True).encode()
        ).hexdigest()[:12]

    def _choice(self, field, allowed):
        value = getattr(self, field)
        if value not in allowed:
            close = difflib.get_close_matches(str(value), allowed, 1)
            self._refuse(
                field,
                "one of " + ", ".join(allowed),
                f"; did you mean {close[0]!r}?" if close else "",
            )

    def _number(self, field, expected, allowed):
        value = getattr(self, field)
        if not _is_number(value) or not allowed(value):
            self._refuse(field, f"a number {expected}")

    def _whole(self, field, least):
        value = getattr(self, field)
        if type(value) is not int or value < least:
            self._refuse(field, f"a whole number from {least} on")

    def _refuse(self, field, expected, hint=""):
        raise ValueError(f"{field}: expected {expected}, got {getattr(self, field)!r}{hint}")

    @classmethod
    def _refuse_unknown(cls, fields):
        known = [field.name for field in dataclasses.fields(cls)]
        for name in fields:
            if name not in known:
                close = difflib.get_close_matches(name, known, 1)
                raise ValueError(
                    f"{name}: no such field of a recipe"
                    + (
                        f"; did you mean {close[0]!r}?"
                        if close
                        else f"; there are {', '.join(known)}"
                    )
                )


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

    Chapter "Switching off momentum and weight decay".

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
        for field in (
            "learning_rate",
            "momentum",
            "weight_decay",
            "decay_factor",
            "warmup",
            "sam_rho",
            "label_noise",
        ):
            if type(getattr(self, field)) is int:  # 0 and 0.0 are one recipe
                object.__setattr__(self, field, float(getattr(self, field)))
        self._choice("model", MODELS)
        self._choice("data", DATA)
        self._choice("optimizer", ("sgd", "adamw"))
        self._choice("schedule", ("step", "cosine", "constant"))
        self._choice("dtype", ("float32", "float64", "bfloat16"))
        self._number("learning_rate", "above 0", lambda x: x > 0)
        self._number("momentum", "in [0, 1)", lambda x: 0 <= x < 1)
        self._number("weight_decay", "from 0 on", lambda x: x >= 0)
        self._number("decay_factor", "in (0, 1]", lambda x: 0 < x <= 1)
        self._number("warmup", "in [0, 1)", lambda x: 0 <= x < 1)
        self._number("sam_rho", "from 0 on", lambda x: x >= 0)
        self._number("label_noise", "in [0, 1]", lambda x: 0 <= x <= 1)
        self._whole("batch_size", 1)
        self._whole("seed", 0)
        if not isinstance(self.nesterov, bool):
            self._refuse("nesterov", "true or false")
        small = "_" not in self.model and self.model != "resnet50"
        if small:
            self._whole("width", 2)
        elif self.width is not None:
            self._refuse("width", f"none, since {self.model} has one width")
        if self.model == "vit" and self.width % 2:
            self._refuse("width", "an even number for vit, which has two heads")
        if (self.epochs is None) == (self.steps is None):
            raise ValueError(
                f"epochs, steps: expected one of the two, got epochs={self.epochs!r},"
                f" steps={self.steps!r}"
            )
        self._whole("epochs" if self.steps is None else "steps", 1)
        if self.optimizer == "adamw" and (self.momentum or self.nesterov):
            raise ValueError(
                "momentum, nesterov: adamw has its own averages and takes neither; got"
                f" momentum={self.momentum}, nesterov={self.nesterov}"
            )
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov: means nothing without momentum; got momentum=0")
        if (
            not isinstance(self.decay_at, tuple)
            or not all(_is_number(at) and 0 < at < 1 for at in self.decay_at)
            or list(self.decay_at) != sorted(set(self.decay_at))
        ):
            self._refuse("decay_at", "fractions of the run between 0 and 1, in increasing order")
        if isinstance(self.checkpoints, tuple):
            if (
                not self.checkpoints
                or not all(type(step) is int and step >= 0 for step in self.checkpoints)
                or list(self.checkpoints) != sorted(set(self.checkpoints))
            ):
                self._refuse("checkpoints", "a count, or steps from 0 on in increasing order")
        else:
            self._whole("checkpoints", 1)

    def rate(self, step, steps):
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

    def checkpoint_steps(self, steps):
        """The steps at which a run of so many is recorded, besides 0."""
        if isinstance(self.checkpoints, tuple):
            if self.checkpoints[-1] > steps:
                self._refuse("checkpoints", f"steps up to {steps}, the length of this run")
            return [step for step in self.checkpoints if step > 0]
        if self.checkpoints > steps:
            self._refuse("checkpoints", f"at most {steps}, the steps of this run")
        return [round(i * steps / self.checkpoints) for i in range(1, self.checkpoints + 1)]


def _is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
