"""The recipe of a network of matrices alone, at any width: the argument of Appendix B is held
against it.

The network has an input matrix (64 pixels → n), ``depth`` square hidden matrices (n → n) and an
output matrix (n → 10), ReLU between them and nothing else: no biases, since the theory speaks of
matrices, and no norm layers, since a matrix before one is free of scale and turns by another law;
the input matrix alone already holds what the argument leaves out (in the standard form and in μP a
quarter of ‖θ‖² at every width).

A weight is multiplier × parameter, and θ is made of the parameters. With r = n / 64, all at width
64 being the same network:

=========  =======  ==========  ==========  ========  =========
                    variance    multiplier  rate/η    rate/η
form       matrix   at the start            of SGD    of Adam
=========  =======  ==========  ==========  ========  =========
standard   input    2/64        1           rule(r)   rule(r)
           hidden   2/n         1           rule(r)   rule(r)
           output   1/n         1           rule(r)   rule(r)
ntk        input    2/64        1           1
           hidden   2/64        1/√r        1
           output   1/64        1/√r        1
mup        input    2/64        1           r         1
           hidden   2/n         1           1         1/r
           output   64/n²       1           1/r       1/r
=========  =======  ==========  ==========  ========  =========

Standard with a rule: He et al. 2015 (the output without ReLU's 2), η × 1, 1/√r or 1/r. NTK: Jacot
et al. 2018, its multipliers counted from width 64; it is standard SGD at η/r, except that the input
matrix keeps η. μP: Yang & Hu 2021, in the form of Yang et al. 2022, Table 3."""

from dataclasses import dataclass
from typing import NamedTuple

from .json_recipe import (
    JsonRecipe,
    as_floats,
    expect_number,
    expect_one_of,
    expect_whole,
    refuse,
)

BASE_WIDTH = 64
PIXELS, CLASSES = 64, 10
_RULES = {"constant": lambda r: 1.0, "1/sqrt(n)": lambda r: r**-0.5, "1/n": lambda r: 1 / r}


@dataclass(frozen=True, kw_only=True)
class WidthRecipe(JsonRecipe):
    """Everything that determines a run of the width study, but the machine.

    Parameters
    ----------
    width : int
        n, units of every hidden layer, from 2 on.
    parametrization : str
        ``"standard"``, ``"ntk"`` (SGD alone: Adam undoes its multipliers) or ``"mup"``.
    optimizer : str
        ``"sgd"``, without momentum, or ``"adam"`` (β₁ = .9, β₂ = .999, ε = 1e-12); neither with
        weight decay.
    rule : str
        How the learning rate of the standard parametrization falls with width: ``"constant"``,
        ``"1/sqrt(n)"`` or ``"1/n"``. The other two have their own rates for each matrix, and take
        ``"constant"``.
    learning_rate : float
        η at width 64, where all parametrizations and rules agree; the table at the head of this
        module says what it is elsewhere.
    steps, batch_size : int
        Batches go through the 1,280 training images of digits in a new order each epoch; a last
        incomplete batch is left out.
    depth : int
        Square hidden matrices.
    seed : int
        Of the initialization and of the order of the images.
    checkpoints : int
        How many besides the initialization, at equal distances, the last at the end.

    Raises
    ------
    ValueError
        For a field that makes no sense, by its name.

    Notes
    -----
    Its log has one row a checkpoint: ``step``; ``running_loss``, mean cross-entropy of the batches
    since the last; ``seconds`` since the start; and the coordinate check, root mean squares over
    entries and the first 64 training images: ``input_change``, ``feature_change_1`` …
    ``feature_change_<depth>``, how far the preactivations after the input matrix and after each
    hidden one have moved since initialization, and ``output_change``. The last row also has
    ``train_loss``, ``train_accuracy``, ``test_loss`` and ``test_accuracy`` over all images. Chapter
    "The width argument".

    >>> recipe = WidthRecipe(width=256, parametrization="mup", learning_rate=0.1)
    >>> recipe == WidthRecipe.from_json(recipe.to_json())
    True
    >>> recipe.replace(rule="1/n")
    Traceback (most recent call last):
    ...
    ValueError: rule: expected constant for mup, which has its own rates, got '1/n'
    """

    width: int
    parametrization: str = "standard"
    optimizer: str = "sgd"
    rule: str = "constant"
    learning_rate: float
    steps: int = 150
    batch_size: int = 64
    depth: int = 3
    seed: int = 0
    checkpoints: int = 8

    def __post_init__(self):
        as_floats(self, "learning_rate")
        expect_one_of(self, "parametrization", ("standard", "ntk", "mup"))
        expect_one_of(self, "optimizer", ("sgd", "adam"))
        expect_one_of(self, "rule", tuple(_RULES))
        expect_number(self, "learning_rate", "above 0", lambda x: x > 0)
        for field, least in (
            ("width", 2),
            ("steps", 1),
            ("batch_size", 1),
            ("depth", 1),
            ("seed", 0),
            ("checkpoints", 1),
        ):
            expect_whole(self, field, least)
        if self.parametrization != "standard" and self.rule != "constant":
            refuse(self, "rule", f"constant for {self.parametrization}, which has its own rates")
        if self.parametrization == "ntk" and self.optimizer != "sgd":
            refuse(self, "optimizer", "sgd for ntk")
        if self.checkpoints > self.steps:
            refuse(self, "checkpoints", f"at most {self.steps}, the steps of this run")

    def checkpoint_steps(self) -> list[int]:
        """The steps at which a run is recorded, besides 0."""
        return [round(i * self.steps / self.checkpoints) for i in range(1, self.checkpoints + 1)]


class Scale(NamedTuple):
    """Of a matrix: the variance of its parameters at the start, what makes weights of them, and
    their learning rate.
    """

    variance: float
    multiplier: float
    rate: float


def scales(recipe):
    """The row of the table at the head of this module, in numbers.

    Returns
    -------
    dict
        From ``"input"``, ``"hidden"`` and ``"output"`` to a `Scale`.

    Source: Appendix B of the paper; Yang & Hu 2021; Yang et al. 2022, Table 3.

    >>> scales(WidthRecipe(width=256, parametrization="ntk", learning_rate=0.1))["hidden"]
    Scale(variance=0.03125, multiplier=0.5, rate=0.1)
    """
    n, r, rate = recipe.width, recipe.width / BASE_WIDTH, recipe.learning_rate
    if recipe.parametrization == "ntk":
        return {
            "input": Scale(2 / PIXELS, 1.0, rate),
            "hidden": Scale(2 / BASE_WIDTH, r**-0.5, rate),
            "output": Scale(1 / BASE_WIDTH, r**-0.5, rate),
        }
    if recipe.parametrization == "standard":
        rate *= _RULES[recipe.rule](r)
        return {
            "input": Scale(2 / PIXELS, 1.0, rate),
            "hidden": Scale(2 / n, 1.0, rate),
            "output": Scale(1 / n, 1.0, rate),
        }
    of_sgd = recipe.optimizer == "sgd"
    return {
        "input": Scale(2 / PIXELS, 1.0, rate * (r if of_sgd else 1)),
        "hidden": Scale(2 / n, 1.0, rate * (1 if of_sgd else 1 / r)),
        "output": Scale(BASE_WIDTH / n**2, 1.0, rate / r),
    }
