"""The runs that people have published: names of their branches and folders, as their cards and
listings have them, with the format that each has; and what opens each row.

`python tests/suites_table.py` prints what a user types and sees, row by row."""

from types import MappingProxyType
from typing import NamedTuple

B = 10**9


class Row(NamedTuple):
    """`branches` are in the order in which a run has them; `aside` are others. `files` says what a
    branch holds: "safetensors", "bin", "shards". `typed` are the arguments of open_trajectory; the
    checkpoints that it opens are the `expected` branches, at `positions` (stage, step, tokens), and
    it `says` so. Where it `asks`, it opens nothing.
    """

    suite: str
    repository: str
    branches: list
    typed: dict = MappingProxyType({})
    aside: tuple = ("main",)
    files: str = "safetensors"
    expected: list | None = None
    positions: list | None = None
    says: str = ""
    asks: str = ""


def numbered(form, steps):
    return [form.format(step) for step in steps]


PYTHIA_STEPS = [0] + [2**i for i in range(10)] + list(range(1000, 143001, 1000))
OLMO_2 = [
    *numbered("stage1-step{}-tokens5B", [1000]),
    "stage1-step928646-tokens3896B",
    "stage2-ingredient1-step1000-tokens5B",
    "stage2-ingredient1-step11931-tokens51B",
]
OLMO_3 = [
    *numbered("stage1-step{}", [*range(0, 1413814, 1000), *range(1413808, 1413815)][:1421]),
    *numbered("stage2-step{}", range(1000, 52001, 1000)),
    *numbered("stage3-step{}", range(1000, 13001, 1000)),
]
SMOLLM3 = [
    "stage1-step-40000",
    "stage1-step-3440000",
    "stage2-step-3480000",
    "stage3-step-4720000",
    "lc-4k-to-32k-step-4000",
    "lc-4k-to-32k-step-20000",
    "lc-32k-to-64k-step-4000",
    "lc-32k-to-64k-step-20000",
]
DATADECIDE = [
    *numbered("step{}-seed-default", [0, 1250, 69369]),
    *numbered("step{}-seed-small-aux-2", [0, 1250, 69369]),
    *numbered("step{}-seed-small-aux-3", [0, 1250, 69369]),
]
MARIN = ["kestrel", "ocelot", "jellyfish", "phoenix", "starling", "deeper-starling"]
AMBER = numbered("ckpt_{:03}", [0, 100, 200, 358])

ROWS = [
    Row(
        "Pythia",
        "EleutherAI/pythia-14m",
        numbered("step{}", PYTHIA_STEPS),
        {"every": 4},
        files="bin",
        expected=numbered("step{}", PYTHIA_STEPS[::4]),
        says="154 checkpoints: steps 0 … 143000; left out: main",
    ),
    Row(
        "PolyPythias",
        "EleutherAI/pythia-14m-seed1",
        numbered("step{}", PYTHIA_STEPS),
        {"revisions": "step*000", "every": 20},
        expected=numbered("step{}", range(1000, 143001, 20000)),
    ),
    Row(
        "Lucie 7B",
        "OpenLLM-France/Lucie-7B",
        [
            "step0005000",
            "step0050000",
            "step0753851",
            "extension_step0000250",
            "extension_step0001220",
        ],
        files="shards",
        positions=[
            ("step", 5000, None),
            ("step", 50000, None),
            ("step", 753851, None),
            ("extension", 250, None),
            ("extension", 1220, None),
        ],
        says="step (3, steps 5000 … 753851), then extension (2, steps 250 … 1220); left out: main",
    ),
    Row(
        "OLMo 1B",
        "allenai/OLMo-1B-hf",
        ["step1000-tokens4B", "step20000-tokens83B", "step738020-tokens3095B"],
        positions=[
            ("", 1000, 4 * B),
            ("", 20000, 83 * B),
            ("", 738020, 3095 * B),
        ],
        says="3 checkpoints: steps 1000 … 738020; left out: main",
    ),
    Row(
        "OLMoE",
        "allenai/OLMoE-1B-7B-0924",
        ["step5000-tokens20B", "step10000-tokens41B"],
        aside=("main", "fp32"),
        says="2 checkpoints: steps 5000 … 10000; left out: fp32, main",
    ),
    Row(
        "OLMo 2 7B",
        "allenai/OLMo-2-1124-7B",
        OLMO_2,
        aside=(
            "main",
            "stage2-ingredient2-step1000-tokens5B",
            "stage2-ingredient2-step11931-tokens51B",
        ),
        files="shards",
        asks=(
            "stage1-step* (2), stage2-ingredient1-step* (2), stage2-ingredient2-step* (2) are"
            " several runs side by side; choose one with revisions='stage1-step*' or"
            " 'stage2-ingredient1-step*', or join them in the order in which they were trained:"
            " revisions=['stage1-step*', 'stage2-ingredient1-step*']"
        ),
    ),
    Row(
        "OLMo 2 7B",
        "allenai/OLMo-2-1124-7B",
        OLMO_2,
        {"revisions": ["stage1-*", "stage2-ingredient1-*"]},
        aside=("main", "stage2-ingredient2-step1000-tokens5B", "step150-tokens1B"),
        files="shards",
        positions=[
            ("stage1", 1000, 5 * B),
            ("stage1", 928646, 3896 * B),
            ("stage2-ingredient1", 1000, 5 * B),
            ("stage2-ingredient1", 11931, 51 * B),
        ],
    ),
    Row(
        "Olmo 3 7B",
        "allenai/Olmo-3-1025-7B",
        OLMO_3,
        {"every": 60},
        expected=OLMO_3[::60],
        says=(
            "1,486 checkpoints: stage1 (1,421, steps 0 … 1413814), then stage2 (52, steps 1000 …"
            " 52000), stage3 (13, steps 1000 … 13000); left out: main"
        ),
    ),
    Row(
        "Olmo 3 7B",
        "allenai/Olmo-3-1025-7B",
        OLMO_3,
        {"revisions": ["stage1-step1413814", "stage2-step1000"]},
        expected=["stage1-step1413814", "stage2-step1000"],
        positions=[("stage1", 1413814, None), ("stage2", 1000, None)],
    ),
    Row(
        "OLMo 2 Instruct",
        "allenai/OLMo-2-1124-7B-Instruct",
        numbered("step_{}", range(60, 361, 60)),
    ),
    Row(
        "Amber",
        "LLM360/Amber",
        [*AMBER, "main"],
        aside=(),
        files="bin",
        positions=[("", step, None) for step in (0, 100, 200, 358, 359)],
        says="5 checkpoints: steps 0 … 359",
    ),
    Row(
        "Amber",
        "LLM360/Amber",
        [*AMBER, "main"],
        {"revisions": [0, 100]},
        aside=(),
        files="bin",
        expected=["ckpt_000", "ckpt_100"],
        positions=[("", 0, None), ("", 100, None)],
    ),
    Row(
        "Amber",
        "LLM360/Amber",
        [*AMBER, "main"],
        {"revisions": [0, 101]},
        aside=(),
        files="bin",
        asks="no revision of step 101; it has ckpt_000, ckpt_100, ckpt_200, ckpt_358, main",
    ),
    Row("K2", "LLM360/K2", numbered("ckpt_{:03}", [0, 180, 360]), says="left out: main"),
    Row(
        "SmolLM2",
        "HuggingFaceTB/SmolLM2-135M-intermediate-checkpoints",
        numbered("step-{}", [125000, 250000]),
    ),
    Row(
        "SmolLM3",
        "HuggingFaceTB/SmolLM3-3B-checkpoints",
        SMOLLM3,
        aside=("main", "it-SFT", "it-mid-training"),
        says=(
            "stage1 (2, steps 40000 … 3440000), then stage2 (1, step 3480000), stage3 (1, step"
            " 4720000), lc-4k-to-32k (2, steps 4000 … 20000), lc-32k-to-64k (2, steps 4000 …"
            " 20000); left out: it-SFT, it-mid-training, main"
        ),
    ),
    Row(
        "SmolLM3",
        "someone/SmolLM3-3B-copy",
        SMOLLM3,
        {"revisions": "*step*"},
        aside=("main", "it-SFT"),
        asks=(
            "differ in more than their numbers; choose one with revisions='stage*' or"
            " 'lc-4k-to-32k-step-*', or join them in the order in which they were trained:"
            " revisions=['stage*', 'lc-4k-to-32k-step-*', 'lc-32k-to-64k-step-*']"
        ),
    ),
    Row(
        "Apertus",
        "swiss-ai/Apertus-8B-2509",
        ["step50000-tokens210B", "step1000000-tokens4200B"],
        positions=[("", 50000, 210 * B), ("", 1000000, 4200 * B)],
    ),
    Row(
        "DataDecide",
        "allenai/DataDecide-dolma1_7-90M",
        DATADECIDE,
        asks=(
            "step*-seed-default (3), step*-seed-small-aux-2 (3), step*-seed-small-aux-3 (3) are"
            " several runs side by side; choose one with revisions='step*-seed-default' or"
            " 'step*-seed-small-aux-2'"
        ),
    ),
    Row(
        "DataDecide",
        "allenai/DataDecide-dolma1_7-90M",
        DATADECIDE,
        {"revisions": "step*-seed-default"},
        expected=DATADECIDE[:3],
        positions=[("", 0, None), ("", 1250, None), ("", 69369, None)],
    ),
    Row(
        "bloom",
        "bigscience/bloom-560m-intermediate",
        numbered("global_step{}", [1000, 10000, 600000]),
        files="bin",
    ),
    Row(
        "Baichuan 2",
        "baichuan-inc/Baichuan2-7B-Intermediate-Checkpoints",
        numbered("train_{:05}B", [220, 440, 2420]),
        files="bin",
        positions=[("", tokens * B, tokens * B) for tokens in (220, 440, 2420)],
        says="3 checkpoints: 220B … 2.42T tokens; left out: main",
    ),
    Row(
        "RedPajama 7B",
        "togethercomputer/RedPajama-INCITE-7B-Base",
        ["240b_tokens", "400b_tokens", "1t_tokens"],
        files="bin",
        says="3 checkpoints: 240B … 1T tokens; left out: main",
    ),
    Row(
        "mistral",
        "stanford-crfm/alias-gpt2-small-x21",
        numbered("checkpoint-{}", [100, 20000, 400000]),
        files="bin",
    ),
    Row(
        "TinyLlama",
        "TinyLlama/tinyLlama-intermediate-checkpoints",
        ["step-50k-token-105B", "step-240k-token-503B", "step-480k-token-1007B"],
        files="bin",
        positions=[("", 50_000, 105 * B), ("", 240_000, 503 * B), ("", 480_000, 1007 * B)],
    ),
    Row(
        "BabyLM",
        "BabyLM-community/babylm-baseline-100m-gpt2",
        ["chck_1M", "chck_10M", "chck_100M"],
        says="1M … 100M tokens",
    ),
    Row(
        "FineWeb ablations",
        "HuggingFaceFW/ablation-model-fineweb-v1",
        ["step-001000-2BT", "step-002000-4BT"],
    ),
    Row(
        "Gaperon",
        "almanach/Gaperon-1125-8B",
        [
            "step-0334000_tokens-0700B-phase1",
            "step-0404000_tokens-0850B-phase1",
            "step-0477000_tokens-1000B-phase2",
        ],
        positions=[
            ("phase1", 334000, 700 * B),
            ("phase1", 404000, 850 * B),
            ("phase2", 477000, 1000 * B),
        ],
    ),
    Row(
        "Marin 8B",
        "marin-community/marin-8b-base",
        MARIN,
        files="shards",
        positions=[("", index, None) for index in range(6)],
        says="6 checkpoints: steps 0 … 5; left out: main (the order is that of https://github.com",
    ),
    Row(
        "phases without numbers",
        "someone/marin-8b-copy",
        MARIN,
        {"revisions": MARIN},
        positions=[("", index, None) for index in range(6)],
    ),
]
# A repository a checkpoint.
MULTIBERTS = numbered("google/multiberts-seed_0-step_{}k", [0, 20, 100, 2000])
# Folders and files in one branch.
IN_MAIN = {
    "Trainer": (
        "someone/finetuned",
        {f"checkpoint-{step}/model.safetensors": step for step in (500, 1000, 1500)}
        | {"model.safetensors": 1500},
        "",
        [500, 1000, 1500],
    ),
    "TinyLlama lit": (
        "someone/lit-tinyllama",
        {f"iter-{step:06}-ckpt.pth": step for step in (5000, 10000, 15000)},
        "",
        [5000, 10000, 15000],
    ),
    "neo_7b, for transformers": (
        "m-a-p/neo_7b",
        {
            f"hf_ckpt/{tokens}/model.safetensors": index
            for index, tokens in enumerate(["16.78B", "1.5T"])
        },
        "/hf_ckpt",
        [16_780_000_000, 1_500_000_000_000],
    ),
}
RANKS = {
    "neo_7b, Megatron": (
        "m-a-p/neo_7b",
        [
            f"iter_{step:07}/mp_rank_{rank:02}/model_optim_rng.pt"
            for step in (14304, 28608)
            for rank in (0, 1)
        ],
        [14304, 28608],
    ),
    "neox-ckpt-pythia": (
        "EleutherAI/neox-ckpt-pythia-14m-v1",
        [
            f"global_step{step}/layer_{layer:02}-model_00-model_states.pt"
            for step in (1000, 143000)
            for layer in (0, 2)
        ],
        [1000, 143000],
    ),
}
