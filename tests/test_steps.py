"""From names to order: by the names that suites and training stacks give to their checkpoints."""

import fnmatch
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trajhelpers.errors import StepError
from trajhelpers.reading.names import pattern_of
from trajhelpers.reading.steps import as_listed, choose_run, doubles, order_all

# What is asked for, in the words of the test: one pattern, or several in a row.
REMEDY = "choose {} or join {}".format
M, B, T = 10**6, 10**9, 10**12


def run(names):
    return choose_run(names, "here", REMEDY)


def ordered(names):
    return order_all(names, "here", REMEDY)


def steps(order):
    return [position.step for position in order.positions]


def stages(order):
    return [position.stage for position in order.positions]


def tokens(order):
    return [position.tokens for position in order.positions]


def taken(names, order):
    return [names[index] for index in order.indices]


# Names of one run in their right order, with steps and tokens. Sources: the listings in the model
# cards of each suite, the savers of each library.
RUNS = {
    "TinyLlama": (
        ["step-50k-token-105B", "step-240k-token-503B", "step-480k-token-1007B"],
        [50_000, 240_000, 480_000],
        [105 * B, 503 * B, 1007 * B],
    ),
    "OLMo-1B": (
        ["step1000-tokens4B", "step20000-tokens83B", "step738020-tokens3095B"],
        [1000, 20_000, 738_020],
        [4 * B, 83 * B, 3095 * B],
    ),
    "RedPajama": (["240b_tokens", "400b_tokens", "1t_tokens"], [240 * B, 400 * B, T], None),
    "Baichuan 2": (
        ["train_00220B", "train_00440B", "train_02420B"],
        [220 * B, 440 * B, 2420 * B],
        None,
    ),
    "BabyLM": (
        ["chck_1M", "chck_10M", "chck_100M", "chck_1000M"],
        [M, 10 * M, 100 * M, 1000 * M],
        None,
    ),
    "FineWeb": (["step-001000-2BT", "step-002000-4BT"], [1000, 2000], [2 * B, 4 * B]),
    "Skywork": (["0.5T", "1T", "1.5T"], [T // 2, T, 3 * T // 2], None),
    "neo_7b": (["16.78B", "104.86B", "1.5T"], [16_780 * M, 104_860 * M, 1500 * B], None),
    "quantities": (["tokens_500M", "tokens_1B", "tokens_2B"], [500 * M, B, 2 * B], None),
    "powers of ten": (["step_2e2", "step_1e3", "step_1e4"], [200, 1000, 10_000], [None] * 3),
    "k and M": (["step_100k", "step_10M"], [100_000, 10 * M], [None] * 2),
    "Amber": (["ckpt_000", "ckpt_100", "ckpt_358"], [0, 100, 358], [None] * 3),
    "Lucie": (["step0005000", "step0050000", "step0753851"], [5000, 50_000, 753_851], [None] * 3),
    "bloom": (["global_step1000", "global_step10000"], [1000, 10_000], [None] * 2),
    "mistral": (["checkpoint-100", "checkpoint-400000"], [100, 400_000], [None] * 2),
    "Composer": (["ep0-ba100", "ep0-ba200", "ep1-ba1000"], [100, 200, 1000], [None] * 3),
    "Megatron": (["iter_0000100", "iter_0028608"], [100, 28_608], [None] * 2),
    "Lightning": (
        ["epoch=3-step=300", "epoch=4-step=400-val_loss=0.25"],
        [300, 400],
        [None] * 2,
    ),
    "MultiBERTs": (
        [
            "multiberts-seed_0-step_0k",
            "multiberts-seed_0-step_100k",
            "multiberts-seed_0-step_2000k",
        ],
        [0, 100_000, 2_000_000],
        [None] * 3,
    ),
}


@pytest.mark.parametrize("suite", RUNS)
def test_one_run(suite):
    names, expected, seen = RUNS[suite]
    shuffled = names[::-1] + ["main"]
    order = run(shuffled)
    assert taken(shuffled, order) == names and not order.guess
    assert steps(order) == expected and tokens(order) == (expected if seen is None else seen)
    assert [(aside.names, aside.why) for aside in order.left_out] == [
        ("main", "no step in its name")
    ]
    assert steps(ordered(names[::-1])) == steps(as_listed(names)) == expected


@pytest.mark.parametrize("suite", RUNS)
@settings(deadline=None)
@given(st.randoms(use_true_random=False))
def test_the_order_in_which_names_are_listed_is_nothing(suite, dice):
    """A folder's, or the hub's."""
    names = RUNS[suite][0] + ["main", "best", "config"]
    mixed = dice.sample(names, len(names))
    order, other = run(names), run(mixed)
    assert taken(mixed, other) == taken(names, order) and other.positions == order.positions


STAGES = [
    (
        [
            "stage1-step0",
            "stage1-step1413814",
            "stage2-step1000",
            "stage2-step47684",
            "stage3-step10",
        ],
        ["stage1"] * 2 + ["stage2"] * 2 + ["stage3"],
    ),
    (
        [
            "stage1-step1000-tokens5B",
            "stage1-step928646-tokens3896B",
            "stage2-ingredient1-step1000-tokens5B",
            "stage2-ingredient1-step11931-tokens50B",
        ],
        ["stage1"] * 2 + ["stage2-ingredient1"] * 2,
    ),
    (
        [
            "step-0304000_tokens-0600B-phase1",
            "step-0334000_tokens-0700B-phase1",
            "step-0434000_tokens-0900B-phase2",
        ],
        ["phase1"] * 2 + ["phase2"],
    ),
]


@pytest.mark.parametrize("names, expected", STAGES, ids=["Olmo-3", "OLMo-2", "Gaperon"])
def test_numbered_stages_come_one_after_another(names, expected):
    for seed in range(5):
        mixed = random.Random(seed).sample(names, len(names))
        for order in (run(mixed), ordered(mixed)):
            assert taken(mixed, order) == names and stages(order) == expected and not order.guess
            assert f"then {expected[2]}" in order.told and expected[-1] in order.told
    assert stages(as_listed(names)) == expected and as_listed(names).indices == tuple(
        range(len(names))
    )


def test_the_last_of_one_stage_and_the_first_of_the_next():
    """Olmo-3's list, which was put in the order of the numbers alone."""
    order = as_listed(["stage1-step1413814", "stage2-step1000"])
    assert order.positions == ((1413814, "stage1", None), (1000, "stage2", None))
    assert order.indices == (0, 1) and not order.told and not order.guess


def test_an_extension_comes_after_what_it_extends():
    """Lucie: by their numbers alone it came first."""
    names = ["extension_step0000250", "extension_step0001220", "step0050000", "step0753851"]
    order = ordered(names)
    assert taken(names, order) == [*names[2:], *names[:2]]
    assert (
        stages(order) == ["step", "step", "extension", "extension"]
        and "by its name alone" in order.guess
    )
    order = run(names)
    assert taken(names, order) == names[2:] and "left out: extension_step* (2)" in order.told
    assert as_listed(names[2:] + names[:2]).indices == (0, 1, 2, 3)


def test_two_later_stages_have_no_order_of_their_own():
    """SmolLM3."""
    names = [
        "stage1-step-40000",
        "stage1-step-80000",
        "stage3-step-4720000",
        "lc-4k-to-32k-step-4000",
        "lc-4k-to-32k-step-8000",
        "lc-32k-to-64k-step-4000",
        "lc-32k-to-64k-step-8000",
    ]
    with pytest.raises(StepError) as caught:
        ordered(names)
    assert str(caught.value) == (
        "here: stage* (3), lc-4k-to-32k-step-* (2), lc-32k-to-64k-step-* (2) differ in more than"
        " their numbers; choose ['stage*', 'lc-4k-to-32k-step-*', 'lc-32k-to-64k-step-*'] or join"
        " ['stage*', 'lc-4k-to-32k-step-*', 'lc-32k-to-64k-step-*']"
    ).replace("lc-4k-to-32k-step-*", pattern_of(names, [3, 4])).replace(
        "lc-32k-to-64k-step-*", pattern_of(names, [5, 6])
    )
    order = run([*names, "it-SFT", "main"])
    assert stages(order) == ["stage1", "stage1", "stage3"] and order.left_out[-2].names == "it-SFT"
    assert stages(as_listed(names))[-4:] == ["lc-4k-to-32k"] * 2 + ["lc-32k-to-64k"] * 2


@pytest.mark.parametrize(
    "names, patterns, joined",
    [
        (
            [
                f"step{step}-seed-{seed}"
                for seed in ("default", "small-aux-2")
                for step in (0, 1250)
            ],
            ["step*-seed-default", "step*-seed-small-aux-2"],
            [],
        ),
        (
            ["stage1-step1-tokens5B", "stage1-step2-tokens9B"]
            + [f"stage2-ingredient{i}-step{step}-tokens{step}B" for i in (1, 2) for step in (1, 2)],
            ["stage1-step*", "stage2-ingredient1-step*", "stage2-ingredient2-step*"],
            ["stage1-step*", "stage2-ingredient1-step*"],
        ),
        (
            [f"{name}_step_{step}" for name in ("ema", "model") for step in (1, 2)],
            ["ema_step_*", "model_step_*"],
            [],
        ),
    ],
    ids=["DataDecide", "OLMo-2", "copies"],
)
def test_runs_side_by_side_are_asked_about(names, patterns, joined):
    """In the patterns that would work, each of which does."""
    with pytest.raises(StepError, match="here: .* are several runs side by side") as caught:
        run([*names, "main"])
    assert str(caught.value).endswith(REMEDY(patterns, joined))
    for pattern in patterns:
        assert ordered(fnmatch.filter(names, pattern)).positions


def test_a_list_keeps_its_order_and_all_its_members():
    for names in (
        ["base", "seed_10", "seed_2", "seed_1"],
        ["kestrel", "ocelot", "jellyfish", "phoenix", "starling", "deeper-starling"],
        ["ckpt_000", "ckpt_100", "main"],
    ):
        order = as_listed(names)
        assert order.indices == tuple(range(len(names))) == tuple(steps(order))
        assert not order.guess and "in its own order" in order.told


def test_a_list_against_the_order_of_its_steps_is_kept_and_warned_of():
    """Path.glob gives any order."""
    order = as_listed(["step300", "step100", "step200"])
    assert order.indices == (0, 1, 2) and steps(order) == [0, 1, 2]
    assert "step100 comes after step300" in order.guess


def test_a_list_in_the_order_of_the_alphabet_is_a_shell_pattern():
    names = sorted(f"epoch_{epoch}" for epoch in range(1, 12))
    order = as_listed(names)
    assert steps(order) == list(range(1, 12)) and taken(names, order)[1] == "epoch_2"
    assert "alphabet" in order.told and not order.guess


def test_epochs_and_updates_are_not_mixed():
    """fairseq."""
    names = [
        "checkpoint1",
        "checkpoint2",
        "checkpoint_1_100",
        "checkpoint_2_200",
        "checkpoint_best",
    ]
    order = run(names)
    assert taken(names, order) == ["checkpoint_1_100", "checkpoint_2_200"]
    assert order.left_out[0].indices == (0, 1) and "left out: checkpoint" in order.told


def test_names_of_their_own_each_are_ordered_by_a_guess():
    for find in (run, ordered):
        order = find(["sad-dog-2", "happy-cat-1", "calm-owl-10"])
        assert steps(order) == [1, 2, 10] and "numbers alone" in order.guess


def test_other_branches_are_left_out_and_named():
    """OLMoE has a branch fp32, OLMo-2 some without a stage."""
    names = ["fp32", "main", "step5000-tokens20B", "step10000-tokens41B"]
    order = run(names)
    assert taken(names, order) == names[2:]
    assert {aside.names for aside in order.left_out} == {"fp32", "main"}
    names = ["step100-tokens1B", "stage1-step1000-tokens5B", "stage1-step2000-tokens9B"]
    assert run(names).indices == (1, 2)


def test_two_of_one_step_are_found():
    order = ordered(["step1", "step01", "step2"])
    assert doubles(order) == (1, 0) or doubles(order) == (0, 1)
    assert doubles(ordered(["stage1-step1", "stage2-step1"])) is None


NUMBERS = st.lists(st.integers(0, 10**7), min_size=2, max_size=12, unique=True)
FORMS = ["step{}", "step_{}", "checkpoint-{}", "epoch={}-val_loss=0.25", "ckpt_{:09}", "iter_{:07}"]


@settings(deadline=None)
@given(NUMBERS, st.sampled_from(FORMS), st.sampled_from(["", "stage{}-", "phase-{}_"]))
def test_what_is_written_is_read(numbers, form, stage):
    positions = sorted((place % 3 if stage else 0, number) for place, number in enumerate(numbers))
    names = [stage.format(at) + form.format(number) for at, number in positions]
    mixed = sorted(names, key=lambda name: name[::-1])
    for order in (run(mixed), ordered(mixed)):
        assert taken(mixed, order) == names
        assert steps(order) == [number for _, number in positions]
    assert steps(as_listed(names)) == [number for _, number in positions]


@settings(deadline=None)
@given(NUMBERS, st.sampled_from(FORMS))
def test_a_pattern_fits_its_names_and_no_others(numbers, form):
    mine = [form.format(number) for number in numbers]
    others = ["main", "fp32", "stage2-step7", "best", "step7-seed-a"]
    assert sorted(
        fnmatch.filter(mine + others, pattern_of(mine + others, range(len(mine))))
    ) == sorted(mine)


@pytest.mark.parametrize(
    "names",
    [
        ["2024-05-01_12-30", "2024-05-01_14-10", "2024-05-02_09-15"],
        ["m_20240501-235900", "m_20240502-000100", "m_20240502-120000"],
        ["ckpt_2024-05-01", "ckpt_2024-05-09", "ckpt_2024-06-02"],
    ],
)
def test_days_and_their_times_are_one_number(names):
    order = choose_run(names, "", lambda patterns, joined: "")
    assert [names[index] for index in order.indices] == names
    assert not order.guess
    listed = as_listed(names)
    assert listed.indices == (0, 1, 2)


def test_a_time_is_no_part_of_a_step_behind_one_day():
    names = ["run_20240501_1000", "run_20240501_2000", "run_20240501_300"]
    order = choose_run(names, "", lambda patterns, joined: "")
    assert [position.step for position in order.positions] == [300, 1000, 2000]


@pytest.mark.parametrize(
    "names",
    [
        ["epoch_0_step_900", "epoch_1_step_450"],  # Steps begin anew.
        ["model_1_45", "model_2_67", "model_3_66"],  # The last is a score.
        ["bs32_step100", "bs32_step200", "bs64_step150", "bs64_step250"],  # Two runs.
    ],
)
def test_an_order_says_so_where_another_number_goes_back(names):
    assert "goes back" in choose_run(names, "", lambda patterns, joined: "").guess


@pytest.mark.parametrize(
    "names",
    [
        ["epoch_0_step_450", "epoch_1_step_900"],
        ["step100_45", "step200_44"],
        ["resnet50_1", "resnet50_2"],
        ["iter_100-val_loss=3", "iter_200-val_loss=2"],
    ],
)
def test_an_order_is_no_guess_where_none_goes_back(names):
    assert not choose_run(names, "", lambda patterns, joined: "").guess


@pytest.mark.parametrize(
    ("names", "label"),
    [
        (["lr1e-3_ep10", "lr1e-4_ep20", "lr1e-3_ep30"], "lr"),
        (["ep10_bs32", "ep20_bs64", "ep30_bs32", "ep40_bs64"], "bs"),
        (["wd=0.1-step=10", "wd=0.01-step=20", "wd=0.1-step=30", "init"], "wd"),
        # A schedule, one setting for all, metrics.
        (["lr1e-3_ep10", "lr1e-3_ep20", "lr1e-4_ep30"], ""),
        (["lr1e-3_ep10", "lr0.001_ep20", "lr1e-3_ep30"], ""),
        (["ep10-loss0.25", "ep20-loss0.20", "ep30-loss0.25"], ""),
        (["ep10_psnr31.5", "ep20_psnr32.5", "ep30_psnr31.5"], ""),
    ],
)
def test_a_setting_that_goes_to_and_fro_is_of_a_sweep(names, label):
    for order in (run(names), ordered(names)):
        assert len(order.indices) == len(names)
        assert (f"{label} goes to and fro" in order.guess) if label else not order.guess
