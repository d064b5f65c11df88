"""The recipe of a member of the miniature suite: GPT-NeoX language models on a text that comes with
the book, trained as Pythia was.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

from ....reading.steps import pythia_steps
from .json_recipe import (
    JsonRecipe,
    as_floats,
    expect_number,
    expect_one_of,
    expect_whole,
    refuse,
)

HEAD = 16  # dimensions of an attention head, at every width


@dataclass(frozen=True, kw_only=True)
class LanguageRecipe(JsonRecipe):
    """Everything that determines a run of the miniature suite, but the machine.

    Parameters
    ----------
    width : int
        Of the residual stream, a multiple of 16; heads have 16 dimensions each.
    layers : int
    tokens : str
        ``"characters"``, of which the text has 63, or ``"bpe-2048"``, byte-pair encoding with 2,048
        tokens; ``"shuffled"``, its characters in random order; ``"sums"``, another text.
    learning_rate, weight_decay : float
        Peak η and λ of AdamW.
    steps, batch_size, context : int
        A step sees ``batch_size`` windows of ``context`` tokens; no window is seen twice before all
        were seen.
    seed : int
        Of the initialization and of the order of the windows.
    checkpoints_every : int
        Checkpoints lie on Pythia's schedule in miniature: 0, the powers of two below this, then
        every so many steps.

    Raises
    ------
    ValueError
        For a field that makes no sense, by its name.

    Notes
    -----
    As in EleutherAI/pythia, models/14M/pythia-14m.yml: AdamW with β₁ = .9, β₂ = .95 and decoupled
    decay of all matrices, not of norms and biases; gradients clipped at norm 1; 1 % of the steps
    warm-up, then a cosine to a tenth.

    A checkpoint is what a revision of Pythia on the hub holds: a folder ``step<N>/`` with
    ``model.safetensors`` (float16, under the names of the hub's files) and ``config.json``. The log
    has one row every ``checkpoints_every`` steps: ``step``; ``running_loss``, mean cross-entropy in
    nats a token of the batches since the last row; ``seconds`` since the start. The last row also
    has ``validation_loss``, over the first 1,024 windows of the held-out text, and
    ``validation_bits`` a character. Chapter "Pythia".

    >>> recipe = LanguageRecipe(width=64, learning_rate=0.01, weight_decay=0.1)
    >>> recipe.checkpoint_steps()[:9], len(recipe.checkpoint_steps())
    ([0, 1, 2, 4, 8, 16, 32, 40, 80], 39)
    >>> round(recipe.decay_exposure, 3)
    0.704
    """

    derived: ClassVar[tuple[str, ...]] = ("decay_exposure",)

    width: int
    layers: int = 2
    tokens: str = "characters"
    learning_rate: float
    weight_decay: float
    steps: int = 1280
    batch_size: int = 8
    context: int = 64
    seed: int = 0
    checkpoints_every: int = 40

    def __post_init__(self):
        as_floats(self, "learning_rate", "weight_decay")
        expect_one_of(self, "tokens", ("characters", "bpe-2048", "shuffled", "sums"))
        expect_number(self, "learning_rate", "above 0", lambda x: x > 0)
        expect_number(self, "weight_decay", "from 0 on", lambda x: x >= 0)
        for field, least in (
            ("width", HEAD),
            ("layers", 1),
            ("steps", 1),
            ("batch_size", 1),
            ("context", 1),
            ("seed", 0),
            ("checkpoints_every", 1),
        ):
            expect_whole(self, field, least)
        if self.width % HEAD:
            refuse(self, "width", f"a multiple of {HEAD}, the size of a head")
        if self.steps % self.checkpoints_every:
            refuse(
                self,
                "steps",
                f"a multiple of checkpoints_every, {self.checkpoints_every}, so that the last step"
                " is a checkpoint",
            )

    def rate(self, step: int) -> float:
        """η at a step, from 0 on."""
        warm = math.ceil(0.01 * self.steps)
        if step < warm:
            return self.learning_rate * (step + 1) / warm
        return self.learning_rate * (
            0.55 + 0.45 * math.cos(math.pi * (step - warm) / (self.steps - warm))
        )

    @property
    def decay_exposure(self) -> float:
        """Σηλ over training, by how much decay alone would lower log ‖θ‖."""
        return self.weight_decay * sum(map(self.rate, range(self.steps)))

    def checkpoint_steps(self) -> list[int]:
        """The steps at which a run is recorded."""
        return pythia_steps(self.steps, self.checkpoints_every)
