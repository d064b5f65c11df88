"""The paper's own training runs as recipes, a name each, for whoever has its data and its hardware.

The paper does not state all that a run needs. `PaperRecipe.ours` names each field that had to be
chosen here, and says why so. Of what the paper does not mention at all (Nesterov's momentum,
warmup, label noise), a recipe that does not list it does without. Augmentation, which is no field
of a recipe, is ours as well.

A name says what differs from the network's first run: ``resnet50-imagenet/no-momentum``,
``vgg16-cifar10/learning-rate-0.01/momentum-0.5``; ``neither`` is without momentum and weight decay.
No run has two names: the first one, and those with something switched off, belong to their
network's sweeps as well."""

import difflib
import itertools
from dataclasses import dataclass

from ..training.recipes import Recipe


@dataclass(frozen=True)
class PaperRecipe:
    """A recipe, where in the paper its run is, and which of its fields the paper does not state:
    ``ours[field]`` is where our choice comes from.
    """

    recipe: Recipe
    source: str
    ours: dict[str, str]


def paper_recipe(name):
    """The recipe of one of the paper's runs.

    Parameters
    ----------
    name : str
        One of ``PAPER``, which also has its source and our choices; ``trajhelpers train --list``
        lists them.

    Raises
    ------
    ValueError
        For an unknown name, with those that are close to it.

    Chapter "Switching off momentum and weight decay".

    >>> recipe = paper_recipe("resnet50-imagenet/no-momentum")
    >>> recipe.model, recipe.momentum, recipe.weight_decay, recipe.epochs
    ('resnet50', 0.0, 0.0001, 90)
    >>> run = PAPER["resnet50-imagenet/no-momentum"]
    >>> run.source, sorted(run.ours)
    ('Fig 3, 4, 10–14', ['dtype', 'seed'])
    >>> paper_recipe("resnet-imagenet")                            # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    ValueError: 'resnet-imagenet': no run of the paper's; close are resnet50-imagenet, ...
    """
    if name not in PAPER:
        close = difflib.get_close_matches(name, PAPER, 3, cutoff=0.4)
        raise ValueError(
            f"{name!r}: no run of the paper's; "
            + f"close are {', '.join(close)}; " * bool(close)
            + "`trajhelpers train --list` lists all"
        )
    return PAPER[name].recipe


PAPER = {}
_OURS = {
    "seed": "any would do; the paper states none",
    "dtype": "mixed precision, to train faster; the paper states no precision",
}
_LENGTH = ("batch_size", "epochs", "schedule", "decay_at", "decay_factor", "checkpoints")
_STUDY = "the values of the book's own study; the paper's are not stated"


def _sweep(first, base, source, ours, **axes):
    """Name every combination of the axes' values by what differs from the base; a run that has its
    name already keeps it and its source.
    """
    for values in itertools.product(*axes.values()):
        changes = dict(zip(axes, values))
        parts = [
            _part(field, value) for field, value in changes.items() if value != getattr(base, field)
        ]
        name = "/".join([first, *parts]).replace("no-momentum/no-weight-decay", "neither")
        PAPER.setdefault(name, PaperRecipe(base.replace(**changes), source, ours))


def _part(field, value):
    field = field.replace("_", "-")
    return field + f"-{value:g}".replace("e-0", "e-") if value else f"no-{field}"


_RESNET50 = Recipe(
    model="resnet50",
    data="imagenet",
    learning_rate=0.1,
    momentum=0.9,
    weight_decay=1e-4,
    batch_size=256,
    epochs=90,
    schedule="step",
    decay_at=(30 / 90, 60 / 90),
    decay_factor=0.1,
    checkpoints=90,
    dtype="bfloat16",
)
_ADAMW = _RESNET50.replace(optimizer="adamw", learning_rate=1e-3, momentum=0.0, weight_decay=0.1)
_VIT = _ADAMW.replace(model="vit_b_16", batch_size=1024, schedule="cosine", warmup=8 / 90)
_VGG16 = _RESNET50.replace(model="vgg16_bn", data="cifar10", batch_size=128)

_AS_FIG_2 = _OURS | dict.fromkeys(_LENGTH, "as in Fig 2")
_ADAMW_OURS = _AS_FIG_2 | {
    "decay_at": (
        "as in Fig 2; a decay at epoch 30 fits the darker square that Fig 5 has from there at λ = 1"
    ),
    "learning_rate": "the default of torch.optim.AdamW",
}
_VIT_OURS = (
    _OURS
    | dict.fromkeys(
        ("batch_size", "epochs", "schedule", "learning_rate"),
        "as Beyer et al. 2022 (arXiv:2205.01580), who also clip gradients and augment more",
    )
    | {
        "model": "the smallest of torchvision's; the paper does not state the size",
        "weight_decay": "the values that the paper states for ResNet50",
        "warmup": "8 epochs of 90, about the 10,000 steps of Beyer et al. 2022",
        "checkpoints": "one an epoch, as in Fig 2",
    }
)
_VGG_OURS = _AS_FIG_2 | {
    "model": "torchvision's with BatchNorm; the paper does not state which VGG16",
    "batch_size": "a common one; the paper does not state it",
    "momentum": _STUDY,
}

_sweep("resnet50-imagenet", _RESNET50, "Fig 2, 4, 10–14", _OURS)
_sweep(
    "resnet50-imagenet",
    _RESNET50,
    "Fig 3, 4, 10–14",
    _OURS,
    momentum=(0.9, 0.0),
    weight_decay=(1e-4, 0.0),
)
_sweep(
    "resnet50-imagenet",
    _RESNET50,
    "Fig 15–19",
    _AS_FIG_2
    | {
        "learning_rate": "as in Fig 2",
        "momentum": "as in Fig 2",
        "weight_decay": "powers of ten around Fig 2's; the paper's values are not stated",
    },
    weight_decay=(1e-3, 1e-5),
)
_sweep(
    "resnet50-imagenet/adamw",
    _ADAMW,
    "Fig 5, 20–24",
    _ADAMW_OURS,
    weight_decay=(1.0, 0.1, 0.01, 0.001, 0.0),
)
_sweep("vit-imagenet", _VIT, "Fig 25–29", _VIT_OURS, weight_decay=(0.1, 1.0, 0.01, 0.001, 0.0))
_sweep(
    "resnet50-imagenet",
    _RESNET50,
    "Fig 30–34",
    _AS_FIG_2
    | dict.fromkeys(("optimizer", "learning_rate", "momentum", "weight_decay"), "as in Fig 2")
    | {"sam_rho": _STUDY},
    sam_rho=(0.05, 0.1, 0.2, 0.5),
)
_sweep(
    "resnet50-imagenet",
    _RESNET50,
    "Fig 35–39",
    _AS_FIG_2 | {"momentum": _STUDY},
    momentum=(0.5, 0.95),
)
for _figures, _rate, _decay in (
    ("Fig 40–44", 0.1, 1e-4),
    ("Fig 45–49", 0.1, 0.0),
    ("Fig 50–54", 0.01, 1e-4),
    ("Fig 55–59", 0.01, 0.0),
):
    _sweep(
        "vgg16-cifar10",
        _VGG16,
        _figures,
        _VGG_OURS,
        learning_rate=(_rate,),
        momentum=(0.9, 0.0, 0.5, 0.95),
        weight_decay=(_decay,),
    )
_sweep(
    "vgg16-cifar10",
    _VGG16,
    "section 4.3",
    _VGG_OURS
    | {
        "data": "as in Fig 40–59; the paper names neither network nor data",
        "optimizer": "as in Fig 40–59",
        "weight_decay": "as in Fig 40–44",
        "learning_rate": _STUDY,
    },
    learning_rate=(0.03, 0.3),
)
# 128 is the first of the network; decays and checkpoints are at fractions of the run, so at its
# steps
for _batch in (64, 256, 512):
    _recipe = _VGG16.replace(
        batch_size=_batch, learning_rate=0.1 * _batch / 128, epochs=None, steps=90 * (50_000 // 128)
    )
    PAPER[f"vgg16-cifar10/batch-size-{_batch}"] = PaperRecipe(
        _recipe,
        "Fig 6, 60–64",
        {key: why for key, why in _VGG_OURS.items() if key != "epochs"}
        | {
            "batch_size": "powers of two; the paper's values are not stated",
            "learning_rate": "0.1 at a batch of 128, and in proportion, as the paper states",
            "steps": "90 epochs at a batch of 128",
            "weight_decay": "as in Fig 40–44",
            "optimizer": "as in Fig 40–44",
            "momentum": "as in Fig 2",
        },
    )
