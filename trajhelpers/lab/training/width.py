"""The width argument of Appendix B: train one network at many widths, and see how far its matrices
turn.

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

import time
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import nn
from tqdm.auto import tqdm

from ...atomic import atomic_path
from ...record import Recorder
from ...streaming.devices import choose_device
from .images import load_data
from .loop import _claim_folder, _diverged, _look_at_folder, _OneProcess
from .recipe import JsonRecipe

BASE_WIDTH = 64
_PIXELS, _CLASSES = 64, 10
_RULES = {"constant": lambda r: 1.0, "1/sqrt(n)": lambda r: r**-0.5, "1/n": lambda r: 1 / r}
_CHECKED = 64  # images of the coordinate check
# Gradients fall as 1/n and Adam is to see none of it: torch's 1e-8 is no small number beside them
# at width 2,048.
_ADAM_EPS = 1e-12


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

    Chapter "The width argument".

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
        if type(self.learning_rate) is int:  # 1 and 1.0 are one recipe
            object.__setattr__(self, "learning_rate", float(self.learning_rate))
        self._choice("parametrization", ("standard", "ntk", "mup"))
        self._choice("optimizer", ("sgd", "adam"))
        self._choice("rule", tuple(_RULES))
        self._number("learning_rate", "above 0", lambda x: x > 0)
        for field, least in (
            ("width", 2),
            ("steps", 1),
            ("batch_size", 1),
            ("depth", 1),
            ("seed", 0),
            ("checkpoints", 1),
        ):
            self._whole(field, least)
        if self.parametrization != "standard" and self.rule != "constant":
            self._refuse("rule", f"constant for {self.parametrization}, which has its own rates")
        if self.parametrization == "ntk" and self.optimizer != "sgd":
            self._refuse("optimizer", "sgd for ntk")
        if self.checkpoints > self.steps:
            self._refuse("checkpoints", f"at most {self.steps}, the steps of this run")


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
            "input": Scale(2 / _PIXELS, 1.0, rate),
            "hidden": Scale(2 / BASE_WIDTH, r**-0.5, rate),
            "output": Scale(1 / BASE_WIDTH, r**-0.5, rate),
        }
    if recipe.parametrization == "standard":
        rate *= _RULES[recipe.rule](r)
        return {
            "input": Scale(2 / _PIXELS, 1.0, rate),
            "hidden": Scale(2 / n, 1.0, rate),
            "output": Scale(1 / n, 1.0, rate),
        }
    of_sgd = recipe.optimizer == "sgd"
    return {
        "input": Scale(2 / _PIXELS, 1.0, rate * (r if of_sgd else 1)),
        "hidden": Scale(2 / n, 1.0, rate * (1 if of_sgd else 1 / r)),
        "output": Scale(BASE_WIDTH / n**2, 1.0, rate / r),
    }


class WidthNetwork(nn.Module):
    """The network of a `WidthRecipe`, freshly initialized: parameters ``input.weight``,
    ``hidden.0.weight`` …, ``output.weight``.

    Takes images of any shape (batch, …) with 64 pixels and gives (batch, 10).

    >>> network = WidthNetwork(WidthRecipe(width=16, learning_rate=0.1))
    >>> network(torch.zeros(2, 1, 8, 8)).shape
    torch.Size([2, 10])
    >>> [name.removesuffix(".weight") for name, _ in network.named_parameters()]
    ['input', 'hidden.0', 'hidden.1', 'hidden.2', 'output']
    """

    def __init__(self, recipe):
        super().__init__()

        def matrix(inputs, outputs):
            return nn.utils.skip_init(nn.Linear, inputs, outputs, bias=False)

        n = recipe.width
        self.input = matrix(_PIXELS, n)
        self.hidden = nn.ModuleList(matrix(n, n) for _ in range(recipe.depth))
        self.output = matrix(n, _CLASSES)
        self.scales = scales(recipe)
        generator = torch.Generator().manual_seed(recipe.seed)
        # the same draws in every parametrization
        for layer, scale in self._layers():
            with torch.no_grad():
                layer.weight.copy_(
                    torch.randn(layer.weight.shape, generator=generator) * scale.variance**0.5
                )

    def _layers(self):
        return [
            (self.input, self.scales["input"]),
            *((layer, self.scales["hidden"]) for layer in self.hidden),
            (self.output, self.scales["output"]),
        ]

    def preactivations(self, images):
        """What each matrix gives, before ReLU: (batch, n) of the input and the hidden ones, then
        the network's (batch, 10).
        """
        found, x = [], images.flatten(1)
        for layer, scale in self._layers():
            found.append(layer(x) * scale.multiplier)
            x = torch.relu(found[-1])
        return found

    def forward(self, images):
        return self.preactivations(images)[-1]

    def optimizer(self, name):
        """SGD or Adam, with each matrix's own learning rate."""
        groups = [{"params": [layer.weight], "lr": scale.rate} for layer, scale in self._layers()]
        return torch.optim.SGD(groups) if name == "sgd" else torch.optim.Adam(groups, eps=_ADAM_EPS)


def train_width(recipe, folder, device="cpu", resume=False, overwrite=False, progress=True):
    """Train the network of a width recipe on digits and record its trajectory.

    Parameters
    ----------
    recipe : WidthRecipe
    folder : path
        Gets ``recipe.json``, ``log.csv`` and one ``step_<N>.safetensors`` a checkpoint, the
        initialization among them.
    device : str
        As in :func:`trajhelpers.training.train`. The numbers that are drawn do not depend on it.
    resume : bool
        Return a finished run as it is; one that is not finished starts again, since it is short.
    overwrite : bool
        Delete the run that the folder holds.
    progress : bool
        Show a progress bar.

    Returns
    -------
    pandas.DataFrame
        One row a checkpoint: ``step``; ``running_loss``, mean cross-entropy of the batches since
        the last; ``seconds`` since the start; and the coordinate check, root mean squares over
        entries and the first 64 training images: ``input_change``, ``feature_change_1`` …
        ``feature_change_<depth>``, how far the preactivations after the input matrix and after each
        hidden one have moved since initialization, and ``output_change``. The last row also has
        ``train_loss``, ``train_accuracy``, ``test_loss`` and ``test_accuracy`` over all images.

    Raises
    ------
    ExistingRunError
        Where the folder holds a run, and it is not to be resumed or overwritten, or is another
        recipe's.
    NonFiniteError
        At the first loss that is NaN or infinite. The checkpoints and the log up to there are kept.

    Notes
    -----
    On a CPU, one recipe, machine and number of threads give the same bits each time. Chapter "The
    width argument"."""
    folder, engine = Path(folder), _OneProcess(choose_device(device))
    finished = _look_at_folder(folder, recipe, resume, overwrite, engine)
    if finished is not None:
        return finished

    data = load_data("digits")
    splits = {split: _all(data, split, engine.device) for split in ("train", "test")}
    images, labels = splits["train"]
    if recipe.batch_size > len(labels):
        raise ValueError(
            f"batch_size: expected at most {len(labels)}, the training images of digits, got"
            f" {recipe.batch_size}"
        )
    network = WidthNetwork(recipe).to(engine.device)
    optimizer = network.optimizer(recipe.optimizer)
    start = _coordinates(network, images)
    _claim_folder(folder, recipe, True, engine)  # what cannot start has changed nothing
    at = {round(i * recipe.steps / recipe.checkpoints) for i in range(1, recipe.checkpoints + 1)}
    log, losses, started = [], [], time.perf_counter()
    with (
        Recorder(folder, network, steps=at, overwrite=True) as record,
        tqdm(
            _batches(recipe, len(labels)),
            total=recipe.steps,
            desc=f"width {recipe.width}, {recipe.parametrization}",
            unit="step",
            disable=not progress,
            leave=False,
        ) as bar,
    ):
        for step, batch in enumerate(bar, 1):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(network(images[batch]), labels[batch])
            losses.append(loss.item())
            if not np.isfinite(losses[-1]):
                raise _diverged(folder, losses[-1], step, recipe.steps, recipe)
            loss.backward()
            optimizer.step()
            record(step)
            if step in at:
                log.append(
                    {
                        "step": step,
                        "running_loss": np.mean(losses),
                        "seconds": time.perf_counter() - started,
                        **_changes(_coordinates(network, images), start),
                    }
                )
                losses.clear()
                if step == recipe.steps:
                    # a finished log stands for a finished run
                    record.flush()
                    log[-1] |= {
                        f"{split}_{what}": value
                        for split in splits
                        for what, value in _evaluate(network, *splits[split]).items()
                    }
                with atomic_path(folder / "log.csv") as temporary:
                    pd.DataFrame(log).to_csv(temporary, index=False)
    return pd.DataFrame(log)


def _all(data, split, device):
    images, labels = next(data.batches(split, [(0, list(range(data.size[split])))]))
    return images.flatten(1).contiguous().to(device), labels.to(device)


def _batches(recipe, size):
    an_epoch = size // recipe.batch_size
    for step in range(recipe.steps):
        epoch, place = divmod(step, an_epoch)
        if place == 0:
            order = torch.randperm(
                size, generator=torch.Generator().manual_seed(recipe.seed * 1_000_003 + epoch)
            )
        yield order[place * recipe.batch_size : (place + 1) * recipe.batch_size]


@torch.no_grad()
def _coordinates(network, images):
    return network.preactivations(images[:_CHECKED])


def _changes(now, start):
    names = [
        "input_change",
        *(f"feature_change_{i}" for i in range(1, len(now) - 1)),
        "output_change",
    ]
    return {
        name: (after - before).square().mean().sqrt().item()
        for name, after, before in zip(names, now, start)
    }


@torch.no_grad()
def _evaluate(network, images, labels):
    outputs = network(images)
    return {
        "loss": nn.functional.cross_entropy(outputs, labels).item(),
        "accuracy": (outputs.argmax(1) == labels).double().mean().item(),
    }


# ---- the study ----
