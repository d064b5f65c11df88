"""The Pythia suite, the parts of GPT-NeoX, and when they settle: against transformers' own forward
pass and against NumPy on raw weights.
"""

import subprocess
import sys
import warnings
from fractions import Fraction
from types import SimpleNamespace

import matplotlib
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import cosine_between, kept, mds

import trajhelpers as th
from trajhelpers.kernel import with_error
from trajhelpers.lab.pythia.parts import (
    BLOCKS,
    PARTS,
    by_block,
    by_depth,
    by_layer,
    by_type,
    gpt_neox_groups,
    is_gpt_neox,
    layer_of,
    part_of,
)
from trajhelpers.lab.pythia.pictures import (
    plot_depth,
    plot_layer_maps,
    plot_parts,
)
from trajhelpers.lab.pythia.settle import cosine_to_end, layer_table, settling
from trajhelpers.lab.pythia.suite import SUITE, pythia_kernels, pythia_suite

matplotlib.use("agg")
plt = pytest.importorskip("matplotlib.pyplot")

HIDDEN, HEADS, LAYERS, VOCABULARY = 24, 4, 3, 40
FUSED = "gpt_neox.layers.1.attention.query_key_value"


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


# ---- the suite ----


@pytest.mark.parametrize(
    "name, parameters, tensors",
    [
        ("14m", 14_067_712, 76),
        ("31m", 30_494_720, 76),
        ("70m", 70_426_624, 76),
        ("160m", 162_322_944, 148),
        ("410m", 405_334_016, 292),
        ("1b", 1_011_781_632, 196),
        ("1.4b", 1_414_647_808, 292),
        ("2.8b", 2_775_208_960, 388),
        ("6.9b", 6_857_302_016, 388),
        ("12b", 11_846_072_320, 436),
    ],
)
def test_counts_of_the_suite_are_the_published_ones(name, parameters, tensors):
    row = pythia_suite().loc[name]
    assert (
        (row.parameters, row.tensors)
        == (parameters, tensors)
        == (SUITE[name].parameters, SUITE[name].tensors)
    )
    assert (row.bytes_39, row.bytes_154) == (2 * 39 * parameters, 2 * 154 * parameters)
    assert row.embedding_share == pytest.approx(2 * row.vocabulary * row.hidden / parameters)
    assert row.hidden % row.heads == 0


def test_the_papers_table():
    table = pythia_suite().dropna(subset="paper_mds")
    assert list(table.index) == ["14m", "70m", "160m", "410m", "1.4b", "2.8b", "6.9b", "12b"]
    assert table.paper_mds.tolist() == [0.650, 0.672, 0.678, 0.726, 0.759, 0.786, 0.818, 0.815]
    assert table.peak_rate.tolist() == [1e-3, 1e-3, 6e-4, 3e-4, 2e-4, 1.6e-4, 1.2e-4, 1.2e-4]
    assert [float(f"{exposure:.2g}") for exposure in table.decay_exposure] == [
        7.9,
        7.9,
        4.7,
        2.4,
        1.6,
        1.3,
        0.94,
        0.94,
    ]
    assert [round(100 * share) for share in table.embedding_share] == [92, 73, 48, 25, 15, 9, 6, 4]


def test_decay_exposure_is_the_sum_of_the_schedule():
    steps, warm = 143_000, 1430
    rates = [
        (
            (step + 1) / warm
            if step < warm
            else 0.1 + 0.45 * (1 + np.cos(np.pi * (step - warm) / (steps - warm)))
        )
        for step in range(steps)
    ]
    assert pythia_suite().decay_exposure["14m"] == pytest.approx(0.1 * 1e-3 * sum(rates))
    assert max(rates) == 1 and rates[-1] == pytest.approx(0.1)


def test_decay_exposure_as_run_is_the_sum_of_gpt_neoxs_own_rule():
    def rate(iteration, start, least, warm, end):
        bounded = min(iteration, end - warm)
        if iteration <= warm:
            return start * bounded / warm
        return max(start / 2 * (np.cos(np.pi * (bounded - warm) / end) + 1), least)

    exposure = 0.1 * sum(rate(iteration, 3e-4, 3e-5, 1430, 143_000) for iteration in range(143_000))
    table = pythia_suite()
    assert table.decay_exposure_as_run["410m"] == pytest.approx(exposure)
    ratios = table.decay_exposure_as_run / table.decay_exposure
    assert ratios.between(0.94, 0.945).all() and np.ptp(ratios) < 1e-12


def test_importing_the_names_loads_neither_torch_nor_transformers():
    program = (
        "import sys; from trajhelpers.lab.pythia import parts, settle, suite; print([name for"
        " name in ('torch', 'transformers', 'matplotlib') if name in sys.modules])"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        ).stdout
        == "[]\n"
    )


# ---- a tiny GPT-NeoX ----


def build(seed=0):
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    config = transformers.GPTNeoXConfig(
        vocab_size=VOCABULARY,
        hidden_size=HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=4 * HIDDEN,
        max_position_embeddings=16,
        use_parallel_residual=True,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=None,
        attn_implementation="eager",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = transformers.GPTNeoXForCausalLM(config).double().eval()
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    return model


def states_of(model, names=lambda name: name):
    """Two checkpoints: the model, and another point."""
    state = {
        names(name): parameter.detach().clone() for name, parameter in model.named_parameters()
    }
    return [state, {name: tensor + 1 for name, tensor in state.items()}]


@pytest.fixture(scope="module")
def trajectory():
    return th.open_trajectory(states_of(build(), lambda name: name.replace("lm_head", "embed_out")))


def captured(model, monkeypatch):
    """What layer 1's attention gets, and its q, k, v before the rotation, each (batch, heads,
    positions, head_dim).
    """
    torch = pytest.importorskip("torch")
    from transformers.models.gpt_neox import modeling_gpt_neox as module

    seen, rotate, attend = {}, module.apply_rotary_pos_emb, module.eager_attention_forward
    queue = []

    def rotate_and_tell(q, k, *more, **options):
        queue.append((q, k))
        return rotate(q, k, *more, **options)

    def attend_and_tell(attention, query, key, value, *more, **options):
        if attention.layer_idx == 1:
            seen["query"], seen["key"], seen["value"] = *queue[-1], value
        return attend(attention, query, key, value, *more, **options)

    monkeypatch.setattr(module, "apply_rotary_pos_emb", rotate_and_tell)
    monkeypatch.setattr(module, "eager_attention_forward", attend_and_tell)
    attention = model.gpt_neox.layers[1].attention
    attention.register_forward_pre_hook(
        lambda _, args, options: seen.update(x=args[0] if args else options["hidden_states"]),
        with_kwargs=True,
    )
    with torch.no_grad():
        model(
            input_ids=torch.randint(VOCABULARY, (2, 7), generator=torch.Generator().manual_seed(1)),
            use_cache=False,
        )
    return {name: tensor.numpy() for name, tensor in seen.items()}


def by_heads(product):
    batch, positions, _ = product.shape
    return product.reshape(batch, positions, HEADS, HIDDEN // HEADS).transpose(0, 2, 1, 3)


def test_query_key_and_value_are_those_of_transformers_forward_pass(trajectory, monkeypatch):
    seen = captured(build(), monkeypatch)
    groups = gpt_neox_groups(trajectory, heads=HEADS)
    thirds = {
        part: (
            trajectory.read([(f"{FUSED}.weight", third * HIDDEN**2, (third + 1) * HIDDEN**2)])[
                0
            ].reshape(HIDDEN, HIDDEN)
        )
        for third, part in enumerate(("query", "key", "value"))
    }
    for part, third in thirds.items():
        weight = trajectory.read(groups[f"gpt_neox.layers.1.attention.{part}.weight"])[0].reshape(
            HIDDEN, HIDDEN
        )
        bias = trajectory.read(groups[f"gpt_neox.layers.1.attention.{part}.bias"])[0]
        assert seen[part].shape == (2, HEADS, 7, HIDDEN // HEADS)
        np.testing.assert_allclose(
            by_heads(seen["x"] @ weight.T + bias), seen[part], rtol=1e-12, atol=1e-12
        )
        wrong = by_heads(seen["x"] @ third.T + bias)
        assert np.abs(wrong - seen[part]).max() > 0.1, (
            "thirds of the rows would do as well: the test is worth nothing"
        )


def test_the_split_holds_every_parameter_once_and_leaves_the_total_as_it_was(trajectory):
    groups = gpt_neox_groups(trajectory, heads=HEADS)
    elements = sorted(
        (name, i)
        for ranges in groups.values()
        for name, start, stop in ranges
        for i in range(*slice(start, stop).indices(trajectory.sizes[name]))
    )
    assert elements == sorted(
        (name, i) for name, size in trajectory.sizes.items() for i in range(size)
    )
    assert len(groups) == len(trajectory.names) + 4 * LAYERS
    apart, whole = (
        th.gram(trajectory, groups=groups, device="cpu"),
        th.gram(trajectory, device="cpu"),
    )
    np.testing.assert_allclose(apart.total, whole.total, rtol=1e-12)
    together = apart.group_by(
        lambda name: (
            "fused"
            if any(
                f"layers.1.attention.{part}.weight" in name for part in ("query", "key", "value")
            )
            else "rest"
        )
    )
    np.testing.assert_allclose(
        together.select("fused").total, whole.select(f"{FUSED}.weight").total, rtol=1e-12
    )


def stand_in(shape, kind="weight", **config):
    """A trajectory of one fused tensor, as far as the groups look at it."""
    name = f"layers.0.attention.query_key_value.{kind}"
    return SimpleNamespace(names=(name,), shapes={name: shape}, config=config)


@settings(max_examples=60, deadline=None)
@given(
    heads=st.integers(1, 6),
    head_dim=st.integers(1, 5),
    columns=st.integers(1, 4),
    kind=st.sampled_from(["weight", "bias"]),
)
def test_the_split_is_neoxs_view(heads, head_dim, columns, kind):
    columns = columns if kind == "weight" else 1
    flat = np.arange(heads * 3 * head_dim * columns)
    groups = gpt_neox_groups(
        stand_in((3 * heads * head_dim, columns)[: 1 + (kind == "weight")], kind), heads
    )
    for at, part in enumerate(("query", "key", "value")):
        ranges = groups[f"layers.0.attention.{part}.{kind}"]
        found = np.concatenate([flat[start:stop] for _, start, stop in ranges])
        np.testing.assert_array_equal(
            found, flat.reshape(heads, 3, head_dim, columns)[:, at].ravel()
        )
        assert all(before[2] < after[1] for before, after in zip(ranges, ranges[1:])), (
            "ranges that touch are one"
        )


def test_heads_come_from_the_configuration():
    expected = gpt_neox_groups(stand_in((24, 8)), heads=4)
    assert (
        gpt_neox_groups(stand_in((24, 8), model_type="gpt_neox", num_attention_heads=4)) == expected
    )
    assert gpt_neox_groups(stand_in((24, 8), num_attention_heads=4), heads=4) == expected


def test_a_folder_as_transformers_writes_it_says_its_heads(tmp_path, trajectory):
    model = build()
    for step in (0, 1):
        model.save_pretrained(tmp_path / f"step{step}")
        for parameter in model.parameters():
            parameter.data += 1
    stored = th.open_trajectory(tmp_path)
    assert {name.replace("lm_head", "embed_out") for name in gpt_neox_groups(stored)} == set(
        gpt_neox_groups(trajectory, heads=HEADS)
    )
    assert (
        gpt_neox_groups(stored)[f"{FUSED.replace('query_key_value', 'key')}.weight"]
        == gpt_neox_groups(trajectory, HEADS)[f"{FUSED.replace('query_key_value', 'key')}.weight"]
    )


@pytest.mark.parametrize(
    "trajectory_, heads, message",
    [
        (stand_in((24, 8)), None, "heads: the checkpoints bring no config.json"),
        (
            stand_in((24, 8)),
            3,
            (
                "heads: 3 heads do not divide the 24 rows of"
                " 'layers.0.attention.query_key_value.weight'"
            ),
        ),
        (
            stand_in((24, 8), num_attention_heads=2),
            4,
            "heads: 4 given, but the checkpoints' config.json says 2",
        ),
        (stand_in((24, 8)), 0, "heads: expected a whole number from 1 on, got 0"),
        (stand_in((24, 8)), 2.0, "heads: expected a whole number from 1 on, got 2.0"),
        (
            stand_in((24, 8), num_attention_heads="4"),
            None,
            "heads: expected a whole number from 1 on, got '4'",
        ),
        (stand_in((24, 8), model_type="bloom"), 4, "not a GPT-NeoX network: bloom"),
        (
            SimpleNamespace(names=("h.0.self_attention.query_key_value.weight",), shapes={}),
            4,
            "not a GPT-NeoX network: no tensor",
        ),
    ],
)
def test_what_cannot_be_split_is_refused(trajectory_, heads, message):
    with pytest.raises(ValueError) as caught:
        gpt_neox_groups(trajectory_, heads)
    assert str(caught.value).startswith(message)


def test_gpt_neox_is_known_by_its_names(trajectory):
    assert is_gpt_neox(trajectory)
    assert not is_gpt_neox(
        th.open_trajectory([{"conv.weight": np.zeros(4)}, {"conv.weight": np.ones(4)}])
    )


# ---- names ----

MEANT = {
    "embed_in.weight": ("input embedding", "embeddings"),
    "embed_out.weight": ("output embedding", "embeddings"),
    "final_layer_norm.weight": ("final norm weight", "norms and biases"),
    "final_layer_norm.bias": ("final norm bias", "norms and biases"),
    "attention.query.weight": ("query weight", "hidden matrices"),
    "attention.query.bias": ("query bias", "norms and biases"),
    "attention.key.weight": ("key weight", "hidden matrices"),
    "attention.key.bias": ("key bias", "norms and biases"),
    "attention.value.weight": ("value weight", "hidden matrices"),
    "attention.value.bias": ("value bias", "norms and biases"),
    "attention.query_key_value.weight": ("query-key-value weight", "hidden matrices"),
    "attention.query_key_value.bias": ("query-key-value bias", "norms and biases"),
    "attention.dense.weight": ("attention out weight", "hidden matrices"),
    "attention.dense.bias": ("attention out bias", "norms and biases"),
    "mlp.dense_h_to_4h.weight": ("mlp in weight", "hidden matrices"),
    "mlp.dense_h_to_4h.bias": ("mlp in bias", "norms and biases"),
    "mlp.dense_4h_to_h.weight": ("mlp out weight", "hidden matrices"),
    "mlp.dense_4h_to_h.bias": ("mlp out bias", "norms and biases"),
    "input_layernorm.weight": ("attention norm weight", "norms and biases"),
    "input_layernorm.bias": ("attention norm bias", "norms and biases"),
    "post_attention_layernorm.weight": ("mlp norm weight", "norms and biases"),
    "post_attention_layernorm.bias": ("mlp norm bias", "norms and biases"),
}


def meaning(name):
    """The end of a tensor's name that says what it is, and the number in it."""
    words = name.replace("lm_head", "embed_out").split(".")
    layer = int(words[words.index("layers") + 1]) if "layers" in words else None
    return (
        MEANT[".".join(words[words.index("layers") + 2 :] if layer is not None else words[-2:])],
        layer,
    )


@pytest.mark.parametrize(
    "names",
    [
        str,
        lambda name: name.replace("lm_head", "embed_out"),
        lambda name: name.removeprefix("gpt_neox."),
    ],
    ids=["transformers 5", "hub", "base model"],
)
def test_every_tensor_of_a_model_has_its_part_layer_and_block(names):
    trajectory = th.open_trajectory(states_of(build(), names))
    for heads in (None, HEADS):
        for name in trajectory.names if heads is None else gpt_neox_groups(trajectory, heads):
            (part, block), layer = meaning(name)
            assert (part_of(name), layer_of(name), by_block(name), by_type(name)) == (
                part,
                layer,
                block,
                part,
            )
            assert by_layer(name) == (
                f"layer {layer}"
                if layer is not None
                else {"final norm weight": "final norm", "final norm bias": "final norm"}.get(
                    part, part
                )
            )
            assert part in PARTS and block in BLOCKS


def test_hidden_matrices_are_the_matrices_of_the_layers(trajectory):
    for name, shape in trajectory.shapes.items():
        assert (by_block(name) == "hidden matrices") == (len(shape) == 2 and ".layers." in name)


@pytest.mark.parametrize(
    "name",
    [
        "conv1.weight",
        "model.layers.2.self_attn.q_proj.weight",
        "layers.2.attention.scale",
        "embed_in.bias",
        "deep.embed_in.weight",
        "",
    ],
)
def test_names_that_mean_nothing_have_no_part(name):
    assert part_of(name) is None and by_block(name) is None
    assert layer_of(name) == (2 if "layers.2" in name else None)


def test_parts_mean_themselves_so_that_grouped_kernels_do_too():
    assert [part_of(part) for part in PARTS] == list(PARTS) and len(set(PARTS)) == len(PARTS)
    assert layer_of("layer 11") == 11


@given(layers=st.integers(1, 40))
def test_thirds_of_depth(layers):
    thirds = ("first third", "middle third", "last third")
    found = [
        by_depth(layers)(f"layers.{layer}.mlp.dense_h_to_4h.weight") for layer in range(layers)
    ]
    assert found == [thirds[int(3 * (layer + Fraction(1, 2)) / layers)] for layer in range(layers)]
    assert found == sorted(found, key=thirds.index) and found == [
        thirds[2 - thirds.index(third)] for third in found[::-1]
    ]
    if layers % 3 == 0:
        assert {found.count(third) for third in thirds} == {layers // 3}


def test_depth_knows_what_lies_outside():
    assert (
        by_depth(2)("embed_out.weight") == "output embedding" and by_depth(2)("conv.weight") is None
    )
    with pytest.raises(ValueError, match="beyond the 2 layers"):
        by_depth(2)("layers.2.mlp.dense_h_to_4h.weight")


# ---- when groups settle ----


def run(seed=0, n=14, layers=3):
    """Raw float64 weights of a run that slows down, by tensor, (n, size): biases start at zero, one
    of them never moves and one goes astray for a while, one norm does not move at first and one
    never, and one embedding leaps at the end."""
    rng = np.random.default_rng(seed)
    sizes = {"embed_in.weight": 60, "embed_out.weight": 60}
    for layer in range(layers):
        sizes |= {
            f"layers.{layer}.attention.{part}.{kind}": size
            for part in ("query", "key", "value")
            for kind, size in (("weight", 50), ("bias", 7))
        }
        sizes |= {
            f"layers.{layer}.input_layernorm.weight": 7,
            f"layers.{layer}.mlp.dense_h_to_4h.bias": 9,
        }
    weights = {}
    for name, size in sizes.items():
        start = (
            np.zeros(size)
            if name.endswith("bias")
            else np.ones(size)
            if "norm" in name
            else rng.standard_normal(size)
        )
        moves = (
            rng.uniform(0.2, 1.5)
            * rng.standard_normal((n - 1, size))
            * np.geomspace(1, rng.uniform(0.005, 0.5), n - 1)[:, None]
        )
        weights[name] = np.concatenate([start[None], start + np.cumsum(moves, axis=0)])
    weights["layers.0.input_layernorm.weight"][1:4] = weights["layers.0.input_layernorm.weight"][0]
    weights["layers.1.input_layernorm.weight"][:] = 1
    weights["layers.2.mlp.dense_h_to_4h.bias"][:] = 0
    weights["embed_out.weight"][-1] += 5 * rng.standard_normal(60)
    weights["layers.0.attention.key.bias"][n // 2] = rng.standard_normal(7)
    return weights


STEPS = [0, 1, 2, 4, 8, 16, 32, 64, 100, 200, 300, 400, 500, 600]


def kernel_of(weights):
    """The package's kernel of raw weights, at the steps above."""
    n = len(next(iter(weights.values())))
    states = [{name: theta[t] for name, theta in weights.items()} for t in range(n)]
    with warnings.catch_warnings():
        # as is meant
        warnings.filterwarnings("ignore", ".* never moves: ", th.TrajectoryWarning)
        kernel = th.gram(th.open_trajectory(states), device="cpu")
    return th.TrajectoryKernel(kernel.increments, STEPS[:n], kernel.names, kernel.sizes)


def settles(theta, threshold, relative):
    """(index of the last checkpoint below, of the first one settled), None for none; slow, by the
    definition.
    """
    seen = theta - theta[0] if relative else theta
    settled = None
    for t in reversed(range(len(theta))):
        cosine = cosine_between(seen[t], seen[-1])
        if not cosine >= threshold:
            return t, settled
        settled = t
    return None, settled


@pytest.mark.parametrize("seed", range(8))
def test_groups_settle_when_their_raw_weights_do(seed):
    weights, thresholds = run(seed), (0.3, 0.7, 0.9, 0.95, 0.99)
    table = settling(kernel_of(weights), thresholds)
    assert len(table) == len(weights) * 2 * len(thresholds)
    for row in table.itertuples():
        below, settled = settles(weights[row.group], row.threshold, row.origin == "initialization")
        if settled is None:
            assert row.step is pd.NA and row.after is pd.NA and row.share is pd.NA
            continue
        assert row.step == STEPS[settled] and row.share == STEPS[settled] / 600
        assert row.after is pd.NA if below is None else row.after == STEPS[below]
        assert (row.layer is pd.NA) == row.group.startswith("embed") and row.part == part_of(
            row.group
        )


def test_these_runs_meet_all_that_the_definition_tells_apart():
    weights = run(0)
    table = settling(kernel_of(weights), (0.3, 0.9))
    never, always, only_at_the_end = (
        table.step.isna(),
        table.after.isna() & table.step.notna(),
        table.step == 600,
    )
    assert all(cases.any() for cases in (never, always, only_at_the_end, table.after > 0))
    astray = weights["layers.0.attention.key.bias"]
    above = [cosine_between(row, astray[-1]) >= 0.3 for row in astray]
    assert above.index(True) < settles(astray, 0.3, False)[1], (
        "nowhere does a cosine fall below the threshold again"
    )


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), scale=st.floats(1e-3, 1e3))
def test_settling_needs_no_units_and_is_monotone_in_the_threshold(seed, scale):
    weights = run(seed, layers=3)
    turn = np.linalg.qr(np.random.default_rng(seed).standard_normal((50, 50)))[0]
    changed = {
        name: scale * (theta @ turn if theta.shape[1] == 50 else theta)
        for name, theta in weights.items()
    }
    table = settling(kernel_of(weights))
    pd.testing.assert_frame_equal(table, settling(kernel_of(changed)))
    for _, of_one in table.groupby(["group", "origin"]):
        assert of_one.step.dropna().is_monotonic_increasing


@pytest.mark.parametrize("origin", [None, 0, 5])
def test_cosine_to_the_end(origin):
    weights = run(1)
    kernel = kernel_of(weights).groups()
    for name, theta in weights.items():
        seen = theta if origin is None else theta - theta[origin]
        np.testing.assert_allclose(
            cosine_to_end(kernel[name], origin),
            [cosine_between(row, seen[-1]) for row in seen],
            atol=1e-12,
        )


@pytest.mark.parametrize("thresholds", [(), 1, (0.9, 1.5), (float("nan"),), -1])
def test_thresholds_are_cosines(thresholds):
    with pytest.raises(ValueError, match="thresholds"):
        settling(kernel_of(run()), thresholds)


def test_joined_runs_do_not_settle():
    kernel = th.TrajectoryKernel(np.eye(4), steps=[0, 1, 0, 1], runs=["a", "a", "b", "b"])
    with pytest.raises(
        ValueError, match=r"joined runs \(a, b\).*kernel\[\[run == 'a' for run in kernel.runs\]\]"
    ):
        settling(kernel)
    assert len(settling(kernel[[run == "a" for run in kernel.runs]], 0.5)) == 2


@pytest.mark.parametrize("seed", range(4))
def test_the_table_of_layers_against_raw_weights(seed):
    weights = run(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = layer_table(kernel_of(weights), threshold=0.9)
    assert table.group.tolist() == list(weights)
    for row in table.itertuples():
        theta = weights[row.group]
        assert row.parameters == theta.shape[1]
        assert (row.checkpoints, row.checkpoints_0) == (len(kept(theta)), len(kept(theta, 0)))
        expected = [
            mds(theta) if row.checkpoints else np.nan,
            mds(theta, 0) if row.checkpoints_0 else np.nan,
            np.degrees(np.arccos(np.minimum(1, cosine_between(theta[0], theta[-1])))),
            (
                np.linalg.norm(theta[-1] - theta[0]) / np.linalg.norm(theta[0])
                if theta[0].any()
                else np.nan
            ),
        ]
        found = [row.omega, row.omega_0, row.angle, row.moved]
        # a cosine that is one bit off 1 is 1e-6 degrees
        np.testing.assert_allclose(
            found, expected, rtol=1e-9, atol=1e-5 if row.angle < 0.01 else 1e-9
        )
        for found, relative in ((row.settled, False), (row.settled_0, True)):
            settled = settles(theta, 0.9, relative)[1]
            assert found is pd.NA if settled is None else found == STEPS[settled]
    bias = table[table.part == "query bias"]
    assert (
        bias.moved.isna().all()
        and bias.angle.isna().all()
        and bias.omega.notna().all()
        and (bias.checkpoints == 13).all()
    )


def test_grouped_kernels_have_tables_too():
    table = layer_table(kernel_of(run()).group_by(by_type))
    assert table.part.tolist() == table.group.tolist() and table.layer.isna().all()
    assert layer_table(kernel_of(run()).group_by(by_layer)).layer.dropna().tolist() == [0, 1, 2]
    assert set(layer_table(kernel_of(run()).group_by(by_block)).group) == set(BLOCKS)


# ---- pictures ----


def test_depth_shows_the_cosines_of_each_layer():
    weights = run()
    for part, origin in (("query weight", None), ("query weight", 0), ("key bias", None)):
        ax = plot_depth(kernel_of(weights), part, origin, unit="batch")
        shown = np.ma.filled(ax.images[0].get_array(), np.nan)
        names = [f"layers.{layer}.attention.{part.replace(' ', '.')}" for layer in range(3)]
        seen = [weights[name] - (0 if origin is None else weights[name][0]) for name in names]
        expected = np.array([[cosine_between(row, theta[-1]) for row in theta] for theta in seen])
        np.testing.assert_allclose(
            shown, expected if origin is None else expected[:, 1:], atol=1e-12
        )
        assert ax.images[0].norm.vmin <= np.nanmin(expected) and ax.images[0].norm.vmax == 1
        assert (ax.get_xlabel(), ax.get_ylabel()) == ("batch", "layer") and part in ax.get_title()
        assert [label.get_text() for label in ax.get_yticklabels()] == ["0", "1", "2"]
        assert len(ax.figure.axes) == 2 and ax.figure.axes[1].get_ylabel() == "cosine to the end"
        for place, label in zip(ax.get_xticks(), ax.get_xticklabels()):
            assert int(label.get_text()) == STEPS[int(place) + (origin is not None)]


def test_deep_networks_have_few_labels():
    names = [f"layers.{layer}.mlp.dense_h_to_4h.weight" for layer in range(36)]
    ax = plot_depth(
        th.TrajectoryKernel(np.stack([th.random_walk(6).total] * 36), names=names[::-1]),
        "mlp in weight",
    )
    assert [label.get_text() for label in ax.get_yticklabels()] == [
        str(layer) for layer in range(0, 36, 3)
    ]


@pytest.mark.parametrize("origin", [None, 0])
def test_maps_of_a_part_and_of_a_layer(origin):
    weights, kernel, omega = run(), kernel_of(run()), {None: "ω", 0: "ω₀"}[origin]
    axes = plot_layer_maps(kernel, part="key bias", origin=origin)
    for layer, ax in enumerate(axes):
        theta = weights[f"layers.{layer}.attention.key.bias"]
        assert ax.images[0].get_array().shape == (13, 13)
        assert ax.get_title() == f"layer {layer}\n{omega} = {mds(theta, origin):.3f}" + (
            " of 13" if origin is None else ""
        )
    axes = plot_layer_maps(kernel.select("*attention*"), layer=1, origin=origin)
    assert [ax.get_title().split("\n")[0] for ax in axes] == [
        "query weight",
        "key weight",
        "value weight",
        "query bias",
        "key bias",
        "value bias",
    ]
    assert len({ax.images[0].get_clim() for ax in axes}) == 1


@pytest.mark.parametrize("origin", [None, 0])
def test_small_maps_of_parts_by_layers(origin):
    weights, parts = (
        run(),
        {
            "value weight": "attention.value.weight",
            "key bias": "attention.key.bias",
            "mlp in bias": "mlp.dense_h_to_4h.bias",
        },
    )
    axes = plot_parts(kernel_of(weights), list(parts), origin)
    for row, (part, name) in zip(axes, parts.items(), strict=True):
        assert row[0].get_ylabel().replace("\n", " ") == part
        for layer, ax in enumerate(row):
            theta = weights[f"layers.{layer}.{name}"]
            *heading, omega = ax.get_title().split("\n")
            assert heading == ([f"layer {layer}"] if part == "value weight" else [])
            if (part, layer) == ("mlp in bias", 2):  # it never moves from zero
                assert not ax.images and omega == ""
                continue
            assert float(omega) == pytest.approx(mds(theta, origin), abs=0.0051)
            before, last = theta[-2:] - (0 if origin is None else theta[0])
            shown = ax.images[0].get_array()
            assert shown[-1, -2] == pytest.approx(cosine_between(before, last), abs=1e-9)
    scales = {ax.images[0].get_clim() for ax in axes.flat if ax.images}
    lowest = min(ax.images[0].get_array().min() for ax in axes.flat if ax.images)
    assert len(scales) == 1 and lowest - 0.05 <= scales.pop()[0] <= lowest


def test_pictures_of_a_sample_say_so():
    states = [
        {f"layers.{layer}.attention.query.weight": row for layer, row in enumerate(rows)}
        for rows in np.random.default_rng(0).standard_normal((5, 2, 4000)).cumsum(0)
    ]
    kernel = th.gram(th.open_trajectory(states), sample=0.2)
    assert "from 21 % of the parameters" in plot_depth(kernel, "query weight").get_xlabel()
    below = plot_parts(kernel, ["query weight"])[-1, 0].get_xlabel()
    assert "from 21 % of the parameters" in below
    group = kernel.select("layers.0.*")
    for origin, omega in ((None, "ω"), (0, "ω₀")):
        error = group.standard_error(th.mds, origin=origin)
        said = f"{omega} = {with_error(th.mds(group, origin), error)}"
        ax = plot_layer_maps(kernel, part="query weight", origin=origin)[0]
        assert "±" in said and ax.get_title() == f"layer 0\n{said}"
        assert ax.get_xlabel() == f"step\nfrom 21 % of the parameters,\n{said}"


@pytest.mark.parametrize(
    "call, message",
    [
        (
            lambda kernel: plot_depth(kernel, "value"),
            "part: no layer has a 'value'; there are query weight, key weight, value weight",
        ),
        (
            lambda kernel: plot_depth(kernel, "input embedding"),
            "part: no layer has a 'input embedding'",
        ),
        (
            lambda kernel: plot_depth(kernel, "key weight", origin=3),
            "origin: expected None for O or 0 for the first checkpoint, got 3",
        ),
        (
            lambda kernel: plot_depth(kernel.group_by(by_type), "key weight"),
            "part: no layer has a 'key weight'; there are none",
        ),
        (
            lambda kernel: plot_parts(kernel, ["key weight", "value"]),
            "part: no layer has a 'value'",
        ),
        (lambda kernel: plot_layer_maps(kernel), "part, layer: give one of the two"),
        (
            lambda kernel: plot_layer_maps(kernel, "key weight", 0),
            "part, layer: give one of the two",
        ),
        (
            lambda kernel: plot_layer_maps(kernel, layer=9),
            "layer: no group of layer 9; there are layers 0 to 2",
        ),
        (
            lambda kernel: plot_layer_maps(kernel, layer=2),
            "mlp in bias: no checkpoint has a direction seen from O",
        ),
    ],
)
def test_pictures_that_cannot_be_drawn_say_why(call, message):
    with pytest.raises(ValueError) as caught:
        call(kernel_of(run()))
    assert str(caught.value).startswith(message)


def test_kernels_of_the_suite_are_found_in_the_order_of_size(tmp_path):
    kernel = th.random_walk(4)
    for name in ("410m", "14m", "other"):
        kernel.save(tmp_path / f"{name}.npz")
    assert list(pythia_kernels(tmp_path)) == ["14m", "410m"]
    assert pythia_kernels(tmp_path / "nowhere") == {}
