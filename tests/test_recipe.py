"""Recipes: what they refuse, that they survive JSON, that their id is theirs alone, and the rates
and steps they stand for.
"""

import dataclasses
import json
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import trajhelpers as th

# derandomized: the same examples on every machine and in every run
fast = settings(derandomize=True, deadline=None, max_examples=100, database=None)

BASE = {
    "model": "mlp",
    "data": "digits",
    "width": 8,
    "learning_rate": 0.1,
    "batch_size": 32,
    "epochs": 2,
    "checkpoints": 4,
}


def recipe(**changes):
    return th.training.Recipe(**{**BASE, **changes})


positive = st.floats(0, 1e3, exclude_min=True)
below_one = st.floats(0, 1, exclude_max=True).map(abs)  # -0.0 is another text than 0.0
fractions = st.lists(st.floats(0.001, 0.999), unique=True, max_size=4).map(
    lambda values: tuple(sorted(values))
)


@st.composite
def recipes(draw):
    fields = {
        "model": draw(
            st.sampled_from(["mlp", "vgg", "resnet", "vit", "vgg16_bn", "resnet50", "vit_b_16"])
        ),
        "data": draw(
            st.sampled_from(
                ["digits", "fashion-mnist", "cifar10", "imagenet", "fake-cifar10", "fake-imagenet"]
            )
        ),
        "learning_rate": draw(positive),
        "weight_decay": draw(below_one),
        "batch_size": draw(st.integers(1, 4096)),
        "schedule": draw(st.sampled_from(["step", "cosine", "constant"])),
        "decay_at": draw(fractions),
        "decay_factor": draw(st.floats(0.001, 1)),
        "warmup": draw(below_one),
        "sam_rho": draw(below_one),
        "label_noise": draw(below_one),
        "seed": draw(st.integers(0, 2**40)),
        "dtype": draw(st.sampled_from(["float32", "float64", "bfloat16"])),
        "checkpoints": draw(
            st.integers(1, 99)
            | st.sets(st.integers(0, 999), min_size=1, max_size=5).map(
                lambda steps: tuple(sorted(steps))
            )
        ),
        draw(st.sampled_from(["epochs", "steps"])): draw(st.integers(1, 10**6)),
    }
    if fields["model"] in ("mlp", "vgg", "resnet", "vit"):
        fields["width"] = 2 * draw(st.integers(1, 64))
    if draw(st.booleans()):
        fields["optimizer"] = "adamw"
    else:
        fields["momentum"] = draw(below_one)
        fields["nesterov"] = bool(fields["momentum"]) and draw(st.booleans())
    return th.training.Recipe(**fields)


@fast
@given(recipes(), st.randoms())
def test_json_brings_back_the_recipe_and_its_id(one, random):
    again = th.training.Recipe.from_json(one.to_json())
    assert again == one and again.id == one.id and hash(again) == hash(one)
    assert all(type(getattr(again, name)) is type(value) for name, value in vars(one).items())
    fields = list(json.loads(one.to_json()).items())
    random.shuffle(fields)
    assert th.training.Recipe.from_json(json.dumps(dict(fields))).id == one.id


def test_files(tmp_path):
    recipe().save(tmp_path / "recipe.json")
    assert th.training.Recipe.load(tmp_path / "recipe.json") == recipe()
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.json"]
    (tmp_path / "recipe.json").write_text('{"model": "mlp", "data": "digits", "moment": 0.9}')
    with pytest.raises(
        th.TrajectoryError, match=r"recipe\.json: moment: .*did you mean 'momentum'"
    ):
        th.training.Recipe.load(tmp_path / "recipe.json")


def test_defaults_may_be_missing_and_whole_numbers_may_stand_for_decimals():
    assert th.training.Recipe.from_json(
        '{"model": "mlp", "data": "digits", "width": 8, "learning_rate": 1, "batch_size": 32,'
        ' "epochs": 2, "checkpoints": 4, "momentum": 0}'
    ) == recipe(learning_rate=1.0)
    assert recipe(learning_rate=1).id == recipe(learning_rate=1.0).id


@pytest.mark.parametrize(
    "text, words",
    [
        ("{", ["JSON"]),
        ("[1, 2]", ["object", "[1, 2]"]),
        ("3", ["object"]),
        ("", ["JSON"]),
        (
            '{"data": "digits", "width": 8, "epochs": 2}',
            ["model, learning_rate, batch_size", "missing"],
        ),
        ('{"modle": "mlp"}', ["modle", "'model'"]),
        ('{"zzz": 1}', ["zzz", "learning_rate"]),
    ],
    ids=str,
)
def test_texts_that_are_no_recipe(text, words):
    with pytest.raises(ValueError) as caught:
        th.training.Recipe.from_json(text)
    assert all(word in str(caught.value) for word in words)


def test_replacing_what_is_no_field():
    with pytest.raises(ValueError, match="wight_decay.*did you mean 'weight_decay'"):
        recipe().replace(wight_decay=0.1)


NAN, INF = math.nan, math.inf
NONSENSE = [
    (field, {field: value})
    for field, values in {
        "model": ["mpl", None, 3, ["mlp"]],
        "data": ["mnist", None],
        "optimizer": ["SGD", None, True],
        "schedule": ["linear", 0],
        "dtype": ["float16", None],
        "learning_rate": [0, 0.0, -0.1, NAN, INF, "0.1", None, True, [0.1]],
        "momentum": [1, 1.5, -0.1, NAN, None, True, "0"],
        "weight_decay": [-1e-9, NAN, INF, None, False],
        "decay_factor": [0, 1.1, -1, NAN, True],
        "warmup": [1, -0.1, NAN, True],
        "sam_rho": [-0.05, NAN, INF, None, True],
        "label_noise": [-0.1, 1.01, NAN, None, True],
        "batch_size": [0, -32, 32.0, "32", None, True],
        "seed": [-1, 0.0, None, True],
        "epochs": [0, -1, 1.5, True, "2"],
        "nesterov": [1, None, "true"],
        "width": [None, 0, 1, -8, 8.0, True, "8"],
        "decay_at": [
            (0.5, 0.2),
            (0.5, 0.5),
            (0.0,),
            (1.0,),
            (1,),
            (-0.1,),
            (NAN,),
            (True,),
            ("0.5",),
            0.5,
            "0.5",
            None,
        ],
        "checkpoints": [0, -1, 2.0, None, True, (), (3, 2), (2, 2), (-1,), (1.0,), (True, 2), "3"],
    }.items()
    for value in values
] + [
    ("epochs, steps", {"steps": 10}),
    ("epochs, steps", {"epochs": None}),
    ("steps", {"epochs": None, "steps": 0}),
    ("steps", {"epochs": None, "steps": 1.5}),
    ("momentum", {"optimizer": "adamw", "momentum": 0.9}),
    ("nesterov", {"nesterov": True}),
    ("momentum", {"optimizer": "adamw", "nesterov": True}),
    ("width", {"model": "vit", "width": 9}),
    *(("width", {"model": model}) for model in ("vgg16_bn", "resnet50", "vit_b_16")),
]


@pytest.mark.parametrize("field, changes", NONSENSE, ids=str)
def test_nonsense_is_refused_by_its_name(field, changes):
    with pytest.raises(ValueError) as caught:
        recipe(**changes)
    assert str(caught.value).startswith(field), caught.value
    if set(changes) == {field} and field != "nesterov":  # and by the value that was given
        assert str(changes[field]) in str(caught.value)


OTHER = {
    "model": "vgg",
    "data": "fashion-mnist",
    "width": 16,
    "optimizer": "adamw",
    "learning_rate": 0.2,
    "momentum": 0.8,
    "nesterov": True,
    "weight_decay": 0.1,
    "batch_size": 64,
    "epochs": 3,
    "steps": None,
    "schedule": "cosine",
    "decay_at": (0.5,),
    "decay_factor": 0.5,
    "warmup": 0.1,
    "sam_rho": 0.1,
    "label_noise": 0.1,
    "seed": 1,
    "dtype": "float64",
    "checkpoints": (4,),
}


def test_the_id_is_made_of_every_field():
    """Each field alone changes it; the list must grow with the recipe."""
    assert set(OTHER) == {field.name for field in dataclasses.fields(th.training.Recipe)}
    base = recipe(momentum=0.9)
    changes = [{name: value} for name, value in OTHER.items() if name not in ("optimizer", "steps")]
    changes += [
        {"optimizer": "adamw", "momentum": 0.0},
        {"momentum": 0.0},
        {"epochs": None, "steps": 2},
    ]
    ids = [base.id] + [base.replace(**change).id for change in changes]
    assert len(set(ids)) == len(ids) == 22
    assert all(len(name) == 12 and set(name) <= set("0123456789abcdef") for name in ids)


# What a recipe means


def test_steps_of_the_learning_rate_by_hand():
    one = recipe(decay_at=(1 / 3, 2 / 3), learning_rate=0.1)
    np.testing.assert_allclose(
        [one.rate(step, 90) for step in range(90)],
        [0.1] * 30 + [0.01] * 30 + [0.001] * 30,
        rtol=1e-12,
    )
    one = one.replace(decay_at=(0.2, 0.5, 0.9), decay_factor=0.5)
    np.testing.assert_allclose(
        [one.rate(step, 10) for step in range(10)],
        [0.1] * 2 + [0.05] * 3 + [0.025] * 4 + [0.0125],
        rtol=1e-12,
    )
    assert {one.replace(decay_at=()).rate(step, 10) for step in range(10)} == {0.1}


def test_cosine_by_hand():
    one = recipe(schedule="cosine", learning_rate=0.8)
    root = 2**0.5 / 2  # η/2 · (1 + cos 45°) a quarter of the way, and so on
    np.testing.assert_allclose(
        [one.rate(step, 4) for step in range(4)],
        [0.8, 0.4 * (1 + root), 0.4, 0.4 * (1 - root)],
        rtol=1e-12,
    )


def test_warmup_by_hand():
    one = recipe(schedule="constant", warmup=0.4, learning_rate=1.0)
    np.testing.assert_allclose(
        [one.rate(step, 10) for step in range(10)], [0.25, 0.5, 0.75, *[1] * 7], rtol=1e-12
    )
    cosine = one.replace(schedule="cosine")
    # η at its first step
    np.testing.assert_allclose(
        [cosine.rate(step, 10) for step in range(4, 10)],
        [math.cos(math.pi * i / 12) ** 2 for i in range(6)],
        rtol=1e-12,
    )


@fast
@given(recipes(), st.integers(1, 400))
def test_rates_of_any_recipe(one, steps):
    """Against a loop, with cos² for the half of 1 + cos; never above η, and never rising but in the
    warm-up.
    """
    rates = [one.rate(step, steps) for step in range(steps)]
    warm = round(one.warmup * steps)
    assert (
        all(0 < rate <= one.learning_rate * (1 + 1e-12) for rate in rates)
        or one.learning_rate < 1e-300
    )
    assert all(later <= rate * (1 + 1e-12) for rate, later in zip(rates[warm:], rates[warm + 1 :]))
    expected = []
    for step in range(steps):
        if step < warm:
            rate = (step + 1) * (one.learning_rate / warm)
        elif one.schedule == "cosine":
            rate = one.learning_rate * math.cos(math.pi / 2 * (step - warm) / (steps - warm)) ** 2
        else:
            rate = one.learning_rate
            for at in one.decay_at if one.schedule == "step" else ():
                if step >= round(at * steps):
                    rate = rate * one.decay_factor
        expected.append(rate)
    np.testing.assert_allclose(rates, expected, rtol=1e-9, atol=1e-300)


def test_checkpoints_are_as_equal_as_whole_steps_can_be():
    for steps in range(1, 81):
        for count in range(1, steps + 1):
            found = recipe(checkpoints=count).checkpoint_steps(steps)
            assert len(found) == count and found[-1] == steps and found[0] > 0
            assert all(a < b for a, b in zip(found, found[1:]))
            assert all(
                abs(step - Fraction(i * steps, count)) <= Fraction(1, 2)
                for i, step in enumerate(found, 1)
            )


def test_steps_that_are_given():
    # the initialization is recorded anyway
    assert list(recipe(checkpoints=(0, 3, 7)).checkpoint_steps(7)) == [3, 7]
    assert list(recipe(checkpoints=(2,)).checkpoint_steps(7)) == [2]


@pytest.mark.parametrize("checkpoints", [8, (3, 8)])
def test_checkpoints_beyond_the_run(checkpoints):
    with pytest.raises(ValueError, match=r"^checkpoints: .*\b7\b"):
        recipe(checkpoints=checkpoints).checkpoint_steps(7)
