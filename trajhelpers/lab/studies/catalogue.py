"""The studies: lists of recipes with one or two axes, each the paper's in small, or one that tells
apart what the paper's design mixes.

Everything here was fixed before any ω was seen. Within a study all runs have the same checkpoints,
at equal fractions of the training (30 besides the initialization, but for the edge of stability,
the widths and the miniatures of Pythia), so that ω can be compared. In the image studies weight
decay is set by one rule: η·λ·steps of the first stage is the paper's 1.5."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

from ..pythia.parts import by_block
from ..training.recipes import Recipe, WidthRecipe
from ..training.recipes.json_recipe import JsonRecipe
from .miniature import OMEGA_LAW, PYTHIA_MINI, SIX_LAYERS


@dataclass(frozen=True)
class Study:
    """A name, what it asks, its source in the paper, and its recipes without seeds, by arm."""

    name: str
    asks: str
    source: str
    arms: dict[str, tuple[JsonRecipe, ...]]
    sharpness: bool = False  # measured at every checkpoint, while the weights are there
    forces: bool = False  # of the loss and of decay, summed over the steps between checkpoints
    # of the kernels, by `TrajectoryKernel.group_by`; their total alone where it is empty
    groups: str | Callable = ""

    def recipes(self, seeds):
        """Pairs (arm, recipe), each recipe with seeds 0 … seeds − 1."""
        return [
            (arm, recipe.replace(seed=seed))
            for arm, recipes in self.arms.items()
            for recipe in recipes
            for seed in range(seeds)
        ]


def matched_decay(learning_rate, first_stage_steps, exposure=1.5):
    """The λ for which η·λ·steps of the first stage is the paper's: 0.1 × 1e-4 × 150,000 steps
    (ResNet50 on ImageNet, 30 epochs of 5,005 steps).

    >>> matched_decay(0.1, 640)
    0.0234375
    """
    return exposure / (learning_rate * first_stage_steps)


VGG = Recipe(
    model="vgg",
    width=16,
    data="fashion-mnist",
    learning_rate=0.1,
    momentum=0.9,
    weight_decay=matched_decay(0.1, 640),
    batch_size=64,
    epochs=30,
    label_noise=0.2,
    checkpoints=30,
)
RESNET = VGG.replace(model="resnet")
# The same steps up to the first decay of η.
FIRST_STAGE = RESNET.replace(epochs=10, schedule="constant", checkpoints=10)
ADAMW = VGG.replace(optimizer="adamw", momentum=0.0, learning_rate=3e-3)
VIT = ADAMW.replace(model="vit", width=32, learning_rate=1e-3, schedule="cosine", warmup=0.05)
DIGITS = VGG.replace(data="digits", batch_size=32, epochs=60, weight_decay=matched_decay(0.1, 800))
# Three checkpoints in a row, for the angle between two steps, at 25 places.
FULL_BATCH = Recipe(
    model="mlp",
    width=32,
    data="digits",
    learning_rate=0.2,
    batch_size=1280,
    steps=600,
    schedule="constant",
    checkpoints=tuple(step + k for step in range(20, 600, 24) for k in range(3)),
)
STOCHASTIC = DIGITS.replace(model="mlp", width=32, weight_decay=0.0, label_noise=0.0)
CLEAN = VGG.replace(label_noise=0.0)


# Half the power of two that has the lowest training loss after 150 steps at width 64, where all
# arms of an optimizer agree (seed 0).
WIDTHS, SGD_RATE, ADAM_RATE = (64, 128, 256, 512, 1024, 2048), 2**-4, 2**-8


def _widths(**fields):
    return tuple(WidthRecipe(width=width, **fields) for width in WIDTHS)


def _grid(base, **axes):
    """All combinations of the axes' values, the last axis fastest."""
    return tuple(
        base.replace(**dict(zip(axes, values))) for values in itertools.product(*axes.values())
    )


def _four_cells(base):
    return {"main": _grid(base, weight_decay=(base.weight_decay, 0.0), momentum=(0.9, 0.0))}


def _decays(base):
    """Zero, the paper's own λ, and an eighth to twice of the matched one."""
    return (0.0, 1e-4, *(base.weight_decay * share for share in (1 / 8, 1 / 4, 1 / 2, 1.0, 2.0)))


def _same_effective_rate(base):
    """η/(1 − μ) is .1, .2 or 1, at three momenta."""
    return tuple(
        base.replace(
            learning_rate=round(rate * (1 - momentum), 10), momentum=momentum, weight_decay=decay
        )
        for decay in (base.weight_decay, 0.0)
        for rate in (0.1, 0.2, 1.0)
        for momentum in (0.0, 0.5, 0.9)
    )


def _scaled_batches(base, scale_rate, **length):
    """Batches of 16 to 128, the base's own among them; the learning rate fixed, or in proportion to
    the batch.
    """
    others = {
        batch: base.replace(
            batch_size=batch,
            learning_rate=base.learning_rate * (batch / base.batch_size if scale_rate else 1),
            **length,
        )
        for batch in (16, 32, 128)
    }
    return tuple(sorted((*others.values(), base), key=lambda recipe: recipe.batch_size))


STUDIES = {
    study.name: study
    for study in (
        Study(
            "momentum-decay-vgg",
            "What do maps look like with momentum off, weight decay off, both off?",
            "Fig 2–4, 10–14",
            _four_cells(VGG),
        ),
        Study(
            "momentum-decay-resnet",
            "The same with a ResNet, as in the paper.",
            "Fig 2–4, 10–14",
            _four_cells(RESNET),
        ),
        Study(
            "weight-decay-sgd",
            "How does the map change with λ under SGD?",
            "Fig 15–19",
            {"main": _grid(RESNET, weight_decay=_decays(RESNET)[:2] + _decays(RESNET)[3:])},
        ),
        Study(
            "weight-decay-forces",
            "How hard do the loss and weight decay pull in the first stage of that sweep?",
            "Fig 7",
            {"main": _grid(FIRST_STAGE, weight_decay=_decays(RESNET)[:2] + _decays(RESNET)[3:])},
            forces=True,
        ),
        Study(
            "weight-decay-adamw",
            "And under AdamW: is there an upturn at the extreme?",
            "Fig 5, 20–24",
            {"main": _grid(ADAMW, weight_decay=(0.0, 0.01, 0.1, 0.3, 1.0, 2.0, 5.0))},
        ),
        Study(
            "weight-decay-vit",
            "And for a ViT?",
            "Fig 25–29",
            {"main": _grid(VIT, weight_decay=(0.0, 0.1, 0.5, 1.0, 2.0))},
        ),
        Study(
            "sam",
            "Does ω rise with SAM's ρ?",
            "Fig 30–34",
            {"main": _grid(VGG, sam_rho=(0.0, 0.05, 0.1, 0.2, 0.5))},
        ),
        Study(
            "momentum-resnet",
            "Does more momentum lower ω?",
            "Fig 35–39",
            {"main": _grid(RESNET, momentum=(0.0, 0.5, 0.9, 0.95))},
        ),
        Study(
            "momentum-vgg",
            "Does it at other learning rates, and without weight decay?",
            "Fig 40–59",
            {
                "main": _grid(
                    VGG,
                    learning_rate=(0.1, 0.01),
                    weight_decay=(VGG.weight_decay, 0.0),
                    momentum=(0.0, 0.5, 0.9, 0.95),
                )
            },
        ),
        Study(
            "learning-rate",
            "Does a larger learning rate lower ω?",
            "section 4.3",
            {
                "main": _grid(
                    VGG, weight_decay=(VGG.weight_decay, 0.0), learning_rate=(0.01, 0.03, 0.1, 0.3)
                )
            },
        ),
        Study(
            "batch-size",
            "Is it the batch, the learning rate that is scaled with it, or the number of epochs?",
            "Fig 6, 60–64",
            {
                "η ∝ B, equal steps": _scaled_batches(CLEAN, True, steps=1920, epochs=None),
                "fixed η, equal steps": _scaled_batches(CLEAN, False, steps=1920, epochs=None),
                "η ∝ B, equal epochs": _scaled_batches(CLEAN, True),
            },
        ),
        Study(
            "effective-rate",
            "What is left of momentum's effect at equal η/(1 − μ)?",
            "beyond the paper",
            {"fashion-mnist": _same_effective_rate(VGG), "digits": _same_effective_rate(DIGITS)},
        ),
        Study(
            "decay-scale",
            "From which λ on does weight decay act, and where does the order of the middle cells"
            " swap?",
            "beyond the paper",
            {"main": _grid(VGG, momentum=(0.9, 0.0), weight_decay=_decays(VGG))},
        ),
        Study(
            "edge-of-stability",
            "Does the sharpness stop at 2(1 + μ)/η, and does the angle turn obtuse there?",
            "section 4.1, Lemma 1",
            {
                "full batch": tuple(
                    FULL_BATCH.replace(learning_rate=rate, momentum=momentum)
                    for rate, momentum in ((0.2, 0.0), (0.4, 0.0), (0.2, 0.9), (0.3, 0.9))
                ),
                "stochastic": _grid(STOCHASTIC, momentum=(0.0, 0.9)),
            },
            sharpness=True,
        ),
        Study(
            "width",
            "How does 1 − cos(W_T, W_0) fall with width, and does it follow from how features"
            " move?",
            "App. B",
            {
                **{
                    f"standard SGD, {rule}": _widths(rule=rule, learning_rate=SGD_RATE)
                    for rule in ("constant", "1/sqrt(n)", "1/n")
                },
                "NTK SGD": _widths(parametrization="ntk", learning_rate=SGD_RATE),
                "μP SGD": _widths(parametrization="mup", learning_rate=SGD_RATE),
                "μP Adam": _widths(
                    parametrization="mup", optimizer="adam", learning_rate=ADAM_RATE
                ),
                **{
                    f"standard Adam, {rule}": _widths(
                        optimizer="adam", rule=rule, learning_rate=ADAM_RATE
                    )
                    for rule in ("constant", "1/n")
                },
            },
            groups=r"^(input|hidden|output)",
        ),
        Study(
            "pythia-mini",
            "Does ω rise with scale, or with what falls as models grow: η, Σηλ, the embeddings'"
            " share?",
            "Fig 8, 65–68",
            PYTHIA_MINI,
            groups=by_block,
        ),
        Study(
            "pythia-mini-layers",
            "Which layers and matrices turn, and which settle last?",
            "Fig 9, 69, 70",
            {"6 layers": SIX_LAYERS},
            groups="(.*)",
        ),
        Study(
            "omega-law",
            "Is ω of the hidden matrices a function of η · width and Σηλ, and does noise follow"
            " another law?",
            "beyond the paper",
            OMEGA_LAW,
            groups=by_block,
        ),
        Study(
            "clean-labels",
            "Are the four cells an effect of label noise?",
            "beyond the paper",
            _four_cells(CLEAN),
        ),
    )
}
