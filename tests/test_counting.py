"""What is counted as θ: of real modules that were trained for a few steps, by real names of real
stacks. The oracle drops by hand what should not count.
"""

import json
import math
import warnings

import numpy as np
import oracle
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils import prune

import trajhelpers as th
from trajhelpers.__main__ import main
from trajhelpers.reading.account import gathered
from trajhelpers.reading.buffers import what_buffer
from trajhelpers.reading.quantized import quantized
from trajhelpers.reading.tensors import StoredTensor

STEPS = 6


def train(model, inputs, freeze=()):
    """State dicts of a few steps of Adam; what begins with a name in ``freeze`` stays."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not name.startswith(tuple(freeze) or ("\0",)))
    optimizer = torch.optim.Adam(
        [parameter for parameter in model.parameters() if parameter.requires_grad], lr=0.05
    )
    generator = torch.Generator().manual_seed(1)
    states = [copied(model)]
    for _ in range(STEPS):
        optimizer.zero_grad()
        found = model(inputs())
        target = torch.randn(found.shape, generator=generator)
        (found - target).square().mean().backward()
        optimizer.step()
        states.append(copied(model))
    return states


def copied(model):
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def write_run(folder, states):
    for step, state in enumerate(states):
        save_file(
            {name: tensor.contiguous() for name, tensor in state.items()},
            folder / f"step_{step}.safetensors",
        )
    return folder


def check(source, states, names, **options):
    """θ is those names, and ω the oracle's on them."""
    trajectory = th.open_trajectory(source, **options)
    kernel = th.gram(trajectory, device="cpu")
    theta = oracle.flat([{name: state[name] for name in sorted(names)} for state in states])
    assert set(kernel.names) == set(names) and kernel.p == theta.shape[1]
    assert th.mds(kernel) == pytest.approx(oracle.mds(theta), abs=1e-12)
    return trajectory, kernel


def seeded(make):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make()


def random_inputs(*shape):
    generator = torch.Generator().manual_seed(2)
    return lambda: torch.randn(shape, generator=generator)


# What no name proves, and never moves


class PositionalEncoding(nn.Module):
    """Of torch's tutorial "Language Modeling with nn.Transformer", with its buffer."""

    def __init__(self, d_model, max_len=500):
        super().__init__()
        position = torch.arange(max_len).unsqueeze(1)
        div_term = torch.exp(torch.arange(0, d_model, 2) * (-math.log(10000.0) / d_model))
        pe = torch.zeros(max_len, 1, d_model)
        pe[:, 0, 0::2] = torch.sin(position * div_term)
        pe[:, 0, 1::2] = torch.cos(position * div_term)
        self.register_buffer("pe", pe)

    def forward(self, x):
        return x + self.pe[: x.size(0)]


class TutorialTransformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.pos_encoder = PositionalEncoding(8)
        layers = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0)
        self.transformer_encoder = nn.TransformerEncoder(layers, 1, enable_nested_tensor=False)
        self.embedding = nn.Embedding(20, 8)
        self.linear = nn.Linear(8, 20)

    def forward(self, tokens):
        return self.linear(self.transformer_encoder(self.pos_encoder(self.embedding(tokens))))


def tutorial_run():
    model = seeded(TutorialTransformer)
    generator = torch.Generator().manual_seed(3)
    states = train(model, lambda: torch.randint(0, 20, (5, 3), generator=generator))
    return states, {name for name, _ in model.named_parameters()}


class Masked(nn.Module):
    """An attention head with a mask as many notebooks write it."""

    def __init__(self):
        super().__init__()
        self.query, self.key = nn.Linear(6, 4, bias=False), nn.Linear(6, 4, bias=False)
        self.register_buffer("tril", torch.tril(torch.ones(64, 64)))

    def forward(self, x):
        scores = self.query(x) @ self.key(x).transpose(-2, -1)
        return scores * self.tril[: x.shape[1], : x.shape[1]]


class Distilled(nn.Module):
    def __init__(self):
        super().__init__()
        self.teacher = nn.Sequential(nn.Linear(5, 30), nn.Tanh(), nn.Linear(30, 3))
        self.student = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3))

    def forward(self, x):
        return self.student(x) - self.teacher(x)


def test_a_position_table_is_seen_in_the_pass(tmp_path):
    states, parameters = tutorial_run()
    write_run(tmp_path, states)
    with pytest.warns(th.TrajectoryWarning, match=r"90 % of ‖θ‖² never moves: pos_encoder.pe"):
        kernel = th.gram(th.open_trajectory(tmp_path))
    assert kernel.source["constant"]["numbers"] == 500 * 8
    _, kernel = check(tmp_path, states, parameters, exclude="constant")
    assert "left out" in kernel.summary() and "pos_encoder.pe (4,000 numbers)" in kernel.summary()


@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_what_never_moves_is_left_out_afterwards_or_at_once(precision):
    states = train(seeded(Masked), random_inputs(2, 7, 6))
    with pytest.warns(th.TrajectoryWarning, match=r"tril \(4,096 numbers\).*exclude='constant'"):
        whole = th.gram(th.open_trajectory(states), precision=precision)
    assert whole.p == 4096 + 48
    less = th.gram(th.open_trajectory(states, exclude="constant"), precision=precision)
    assert less.names == ("query.weight", "key.weight") and less.p == 48
    np.testing.assert_array_equal(less.increments, whole.moving().increments)
    np.testing.assert_array_equal(less.increments, less.moving().increments)


def test_a_frozen_backbone_and_a_teacher():
    states = train(seeded(Distilled), random_inputs(8, 5), freeze=["teacher"])
    student = {name for name in states[0] if name.startswith("student")}
    with pytest.warns(th.TrajectoryWarning, match=r"never moves: teacher.0.weight \(150"):
        th.gram(th.open_trajectory(states))
    check(states, states, student, exclude="constant")
    # with patterns beside it
    weights = {name for name in student if name.endswith("weight")}
    check(states, states, weights, exclude=["constant", "*.bias"])


def test_the_command_line_leaves_out_what_never_moves(tmp_path, capsys):
    states, parameters = tutorial_run()
    write_run(tmp_path, states)
    output = tmp_path / "run.npz"
    assert main(["gram", str(tmp_path), "--exclude", "constant", "-o", str(output)]) == 0
    assert "left out, " in capsys.readouterr().err
    assert set(th.load_kernel(output).names) == parameters
    assert "pos_encoder.pe" in th.load_kernel(output).summary()


def test_a_pass_that_goes_on_leaves_the_same_out(tmp_path):
    states, parameters = tutorial_run()
    write_run(tmp_path, states)
    trajectory = th.open_trajectory(tmp_path, exclude="constant")
    first = th.gram(trajectory, partial=tmp_path / "partial")
    again = th.gram(trajectory, partial=tmp_path / "partial")
    assert set(first.names) == set(again.names) == parameters
    np.testing.assert_array_equal(first.increments, again.increments)


def test_groups_are_left_out_where_all_of_them_never_moves():
    states = train(seeded(Masked), random_inputs(2, 7, 6))
    trajectory = th.open_trajectory(states, exclude="constant")
    groups = {
        "mask, above": [("tril", 0, 64)],
        "mask and query": [("tril", 64, None), ("query.weight", 0, None)],
        "key": [("key.weight", 0, None)],
    }
    assert th.gram(trajectory, groups=groups).names == ("mask and query", "key")


def test_little_that_never_moves_is_told_and_zeros_are_not(capsys):
    """Biases that begin at zero and get no gradient do not change any cosine."""
    rng = np.random.default_rng(0)
    walk = np.cumsum(rng.standard_normal((4, 1000)), axis=0)
    still = {"dead.bias": np.zeros(50)}
    th.gram(th.open_trajectory([{"w": theta, **still} for theta in walk]))
    assert capsys.readouterr().err == ""
    still = {"scale": np.ones(2)}
    th.gram(th.open_trajectory([{"w": theta, **still} for theta in walk]))
    assert "0.21 % of ‖θ‖² never moves: scale (2 numbers)" in capsys.readouterr().err


def test_where_nothing_moves_nothing_is_left():
    states = [{"w": np.ones(3)}, {"w": np.ones(3)}]
    with pytest.warns(th.TrajectoryWarning, match="identical"):
        th.gram(th.open_trajectory(states))
    with (
        pytest.warns(th.TrajectoryWarning, match="identical"),
        pytest.raises(th.LayoutError, match="nothing moves"),
    ):
        th.gram(th.open_trajectory(states, exclude="constant"))


def test_a_tensor_named_constant_is_a_pattern_away():
    walk = np.cumsum(np.random.default_rng(0).standard_normal((3, 4)), axis=0)
    states = [{"w": theta, "constant": theta**2} for theta in walk]
    assert th.gram(th.open_trajectory(states, exclude="constant")).names == ("w", "constant")
    assert th.open_trajectory(states, exclude="constan[t]").names == ("w",)


# What a name proves


class Normalized(nn.Module):
    def __init__(self, wrap):
        super().__init__()
        self.conv, self.bn = nn.Conv1d(3, 4, 3), nn.BatchNorm1d(4)
        self.head = wrap(nn.Linear(4, 2))

    def forward(self, x):
        return self.head(self.bn(self.conv(x)).mean(-1))


@pytest.mark.parametrize(
    "wrap",
    [
        nn.utils.spectral_norm,
        nn.utils.parametrizations.spectral_norm,
        nn.utils.parametrizations.weight_norm,
    ],
)
def test_power_iteration_and_running_statistics_are_no_parameters(tmp_path, wrap):
    model = seeded(lambda: Normalized(wrap))
    states = train(model, random_inputs(8, 3, 5))
    write_run(tmp_path, states)
    for source in (tmp_path, states):
        check(source, states, {name for name, _ in model.named_parameters()})


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
def test_weight_norms_v_is_not_spectral_norms(tmp_path):
    model = seeded(lambda: Normalized(nn.utils.weight_norm))
    states = train(model, random_inputs(8, 3, 5))
    assert "head.weight_v" in states[0]
    check(write_run(tmp_path, states), states, {name for name, _ in model.named_parameters()})


def test_a_mask_of_pruning_is_no_parameter(tmp_path):
    def pruned(layer):
        return prune.random_unstructured(layer, "weight", 0.5)

    model = seeded(lambda: Normalized(pruned))
    states = train(model, random_inputs(8, 3, 5))
    assert "head.weight_mask" in states[0]
    check(write_run(tmp_path, states), states, {name for name, _ in model.named_parameters()})


def test_fake_quantization_has_weights_and_observers(tmp_path):
    from torch.ao.quantization import get_default_qat_qconfig, prepare_qat

    with warnings.catch_warnings():
        # torch's own, of its observers and of where quantization moves to
        warnings.simplefilter("ignore")
        model = seeded(lambda: Normalized(lambda layer: layer))
        model.qconfig = get_default_qat_qconfig("x86")
        prepare_qat(model.train(), inplace=True)
    states = train(model, random_inputs(8, 3, 5))
    assert "head.weight_fake_quant.scale" in states[0]
    check(write_run(tmp_path, states), states, {name for name, _ in model.named_parameters()})


def test_include_does_not_bring_running_statistics_back(tmp_path):
    model = seeded(lambda: Normalized(lambda layer: layer))
    states = train(model, random_inputs(8, 3, 5))
    write_run(tmp_path, states)
    learned = {"conv.weight", "conv.bias", "bn.weight", "bn.bias"}
    check(tmp_path, states, learned, include=["c*", "bn.*"])
    named = {*learned, "bn.running_mean"}
    check(tmp_path, states, named, include=["c*", "bn.*", "bn.running_mean"])


BUFFERS = [
    ("bn1.running_mean", (8,), ()),
    ("layer1.0.bn2.running_var", (8,), ()),
    ("bn1.num_batches_tracked", (), ()),
    ("batch_normalization.moving_mean", (8,), ()),
    ("batch_normalization.moving_variance", (8,), ()),
    ("batch_stats.BatchNorm_0.mean", (8,), ()),
    ("conv.weight_u", (8,), ("conv.weight_orig",)),
    ("conv.weight_v", (72,), ("conv.weight_orig",)),
    ("weight_u", (8,), ("weight_orig",)),
    ("conv.parametrizations.weight.0._u", (8,), ("conv.parametrizations.weight.original",)),
    ("parametrizations.weight.1._v", (8,), ()),
    ("fc.weight_mask", (4, 4), ("fc.weight_orig",)),
    ("transformer.h.0.attn.bias", (1, 1, 64, 64), ()),
    ("transformer.h.0.attn.attention.bias", (1, 1, 64, 64), ()),
    ("gpt_neox.layers.0.attention.bias", (1, 1, 64, 64), ()),
    ("transformer.h.0.attn.masked_bias", (), ()),
    ("model.layers.0.self_attn.rotary_emb.inv_freq", (16,), ()),
    ("model.rotary_emb.original_inv_freq", (16,), ()),
    ("transformer.rotary_pos_emb.inv_freq", (16,), ()),
    ("model.layers.0.self_attn.rotary_emb.cos_cached", (1, 1, 64, 32), ()),
    ("model.layers.0.self_attn.rotary_emb.sin_cached", (1, 1, 64, 32), ()),
    ("freqs_cis", (64, 32), ()),
    ("fc.weight_fake_quant.scale", (1,), ()),
    ("fc.activation_post_process.min_val", (), ()),
    ("quant.activation_post_process_0.activation_post_process.eps", (1,), ()),
]
PARAMETERS = [
    ("conv.weight_v", (8, 3), ("conv.weight_g",)),
    ("conv.parametrizations.weight.original1", (8, 3), ()),
    ("fc.weight_orig", (4, 4), ("fc.weight_mask",)),
    ("gpt_neox.layers.0.attention.dense.bias", (64,), ()),
    ("attn.bias", (64,), ()),
    ("head.running", (4,), ()),
    ("vit.pos_embed", (1, 10, 4), ()),
    ("gate.e_score_correction_bias", (8,), ()),
    ("attn.relative_position_bias_table", (49, 4), ()),
    ("mask_token", (1, 1, 8), ()),
    ("fc.weight_mask", (4, 4), ()),
]


@pytest.mark.parametrize("name, shape, beside", [*BUFFERS, *PARAMETERS], ids=lambda it: str(it))
def test_the_table_of_buffers(name, shape, beside):
    found = what_buffer(name, StoredTensor("float32", shape), {name, *beside})
    assert (found is not None) == ((name, shape, beside) in BUFFERS), found


# Ties


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(4, 6, bias=False)
        self.body = nn.Linear(6, 6)
        self.lm_head = nn.Linear(4, 6, bias=False)
        self.lm_head.weight = self.embed.weight

    def forward(self, x):
        return self.body(self.embed(x)) @ self.lm_head.weight


def tied_files(tmp_path):
    model = seeded(Tied)
    states = train(model, random_inputs(8, 4))
    for step, state in enumerate(states):
        state["lm_head.weight"] = state["embed.weight"]
        torch.save(state, tmp_path / f"step_{step}.pt")
    return states


@pytest.mark.parametrize("excluded", ["lm_head.*", "embed.*"])
def test_ties_are_excluded_together(tmp_path, excluded, capsys):
    states = tied_files(tmp_path)
    for source in (tmp_path, states):
        trajectory, _ = check(source, states, {"body.weight", "body.bias"}, exclude=excluded)
        assert any("left out together" in note for note in trajectory.notes)
        assert "left out together" in capsys.readouterr().err


def test_ties_are_included_under_either_name(tmp_path):
    states = tied_files(tmp_path)
    trajectory, _ = check(tmp_path, states, {"lm_head.weight"}, include="lm_head.*")
    assert "embed.weight: tied to lm_head.weight, counted once" in trajectory.left_out
    assert "counted once: lm_head.weight = embed.weight" in trajectory.summary()


def test_tied_in_some_checkpoints_only_are_two_tensors(tmp_path):
    states = tied_files(tmp_path)
    states[-1]["lm_head.weight"] = states[-1]["lm_head.weight"].clone()
    torch.save(states[-1], tmp_path / f"step_{STEPS}.pt")
    check(tmp_path, states, set(states[0]))
    check(tmp_path, states, set(states[0]) - {"lm_head.weight"}, exclude="lm_head.*")


# Quantized weights


def a_layer(*names):
    """As headers of safetensors list them: (name, dtype, shape)."""
    return {name: StoredTensor(dtype, shape) for name, dtype, shape in names}


# Of headers of published files: unsloth/Llama-3.2-1B-bnb-4bit, a LLM.int8() of bitsandbytes,
# TheBloke's GPTQ and AWQ, neuralmagic's w4a16 and FP8, deepseek-ai/DeepSeek-V3,
# mlx-community's 4bit, openai/gpt-oss-20b, HQQ, quanto, torchao.
PUBLISHED = {
    "bitsandbytes, 4 bits": (
        ("q_proj.weight", "U8", (2097152, 1)),
        ("q_proj.weight.absmax", "U8", (65536,)),
        ("q_proj.weight.nested_absmax", "float32", (256,)),
        ("q_proj.weight.nested_quant_map", "float32", (256,)),
        ("q_proj.weight.quant_map", "float32", (16,)),
        ("q_proj.weight.quant_state.bitsandbytes__nf4", "U8", (82,)),
    ),
    "bitsandbytes, 8 bits": (
        ("q_proj.weight", "I8", (2048, 2048)),
        ("q_proj.SCB", "float32", (2048,)),
        ("q_proj.weight_format", "U8", ()),
    ),
    "GPTQ or AWQ": (
        ("q_proj.qweight", "I32", (512, 4096)),
        ("q_proj.qzeros", "I32", (32, 512)),
        ("q_proj.scales", "float16", (32, 4096)),
        ("q_proj.g_idx", "I32", (4096,)),
    ),
    "compressed-tensors": (
        ("q_proj.weight_packed", "I32", (4096, 512)),
        ("q_proj.weight_scale", "bfloat16", (4096, 32)),
        ("q_proj.weight_shape", "I64", (2,)),
    ),
    "8 bits with scales": (
        ("q_proj.weight", "F8_E4M3", (4096, 4096)),
        ("q_proj.weight_scale_inv", "float32", (32, 32)),
    ),
    "MLX": (
        ("q_proj.weight", "U32", (2048, 256)),
        ("q_proj.scales", "float16", (2048, 32)),
        ("q_proj.biases", "float16", (2048, 32)),
    ),
    "MXFP4": (
        ("experts.gate_up_proj_blocks", "U8", (32, 5760, 90, 16)),
        ("experts.gate_up_proj_scales", "U8", (32, 5760, 90)),
    ),
    "HQQ": (
        ("q_proj.W_q", "U8", (2048, 2048)),
        ("q_proj.scale", "float16", (65536, 1)),
        ("q_proj.zero", "float16", (65536, 1)),
    ),
    "torchao or quanto": (
        ("q_proj.weight._data", "I8", (2048, 2048)),
        ("q_proj.weight._scale", "bfloat16", (2048, 1)),
    ),
    "stored as I8": (("q_proj.weight", "I8", (2048, 2048)),),
    "torch.ao": (("q_proj.scale", "float32", ()), ("q_proj.zero_point", "int64", ())),
}
NOT_QUANTIZED = {
    "position numbers": (("embeddings.position_ids", "I64", (1, 512)),),
    "position numbers of 32 bits": (("embeddings.position_ids", "I32", (1, 512)),),
    "swin v2": (
        ("attn.relative_position_index", "I64", (49, 49)),
        ("attn.logit_scale", "float32", (3, 1, 1)),
        ("attn.qkv.weight", "float32", (9, 3)),
    ),
    "GPT-2's mask": (("attn.bias", "U8", (1, 1, 8, 8)), ("attn.c_attn.weight", "float32", (4, 4))),
    "codes of one dimension": (("codes", "int8", (8,)),),
    "a counter": (("bn.num_batches_tracked", "I64", ()), ("bn.weight", "float32", (4,))),
    "a norm with a scale": (("norm.scale", "float32", (4,)), ("norm.weight", "float32", (4, 4))),
}


@pytest.mark.parametrize("scheme", PUBLISHED)
def test_quantized_layers_are_recognized(scheme):
    found = quantized(a_layer(*PUBLISHED[scheme]))
    (one,) = found.values()
    assert one.scheme == scheme
    scales = {name for name, dtype, _ in PUBLISHED[scheme] if dtype.startswith(("float", "bf"))}
    assert scales <= {*one.companions}


@pytest.mark.parametrize("what", NOT_QUANTIZED)
def test_other_integers_are_no_quantization(what):
    assert quantized(a_layer(*NOT_QUANTIZED[what])) == {}


def quantized_run(tmp_path, code):
    states = []
    for step in (1.0, 2.0, 3.0):
        states.append(
            {
                "model.norm.weight": torch.arange(4.0) * step**2 + 1,
                "model.q_proj.weight": torch.full((8, 8), int(step)).to(code),
                "model.q_proj.weight_scale": torch.full((8, 1), step),
            }
        )
    write_run(tmp_path, states)
    return states


@pytest.mark.parametrize("code", [torch.int8, torch.uint8, torch.float8_e4m3fn])
def test_codes_and_scales_are_refused_and_left_out_together(tmp_path, code):
    states = quantized_run(tmp_path, code)
    for source in (tmp_path, states):
        with pytest.raises(th.LayoutError, match=r"q_proj.weight'.*quantized.*dequantize.*exclude"):
            th.open_trajectory(source)
        for options in ({"exclude": "*.q_proj.weight"}, {"exclude": "model.q_proj.*"}):
            trajectory, _ = check(source, states, {"model.norm.weight"}, **options)
        assert th.open_trajectory(source, include="*norm*").p == 4
        assert any("q_proj.weight_scale" in line for line in trajectory.left_out)


# One place that says all


def test_the_summary_says_all(tmp_path):
    states, _ = tutorial_run()
    for step, state in enumerate(states):
        wrapped = {f"_orig_mod.{name}": tensor for name, tensor in state.items()}
        wrapped["_orig_mod.steps"] = torch.tensor([7])
        wrapped["_orig_mod.linear.weight"] = wrapped["_orig_mod.linear.weight"].half()
        torch.save({"model": wrapped, "epoch": step}, tmp_path / f"step_{step}.pt")
    trajectory = th.open_trajectory(tmp_path, exclude="*.bias")
    said = trajectory.summary()
    assert repr(said) == said
    for part in (
        f"{trajectory.p:,} numbers in {len(trajectory.names)} tensors",
        "float16 (3.",
        "embeddings, by their names: 3.3 %: embedding.weight",
        "taken off the names: _orig_mod",
        "left out: steps: int64, not a parameter",
        "linear.bias: excluded",
    ):
        assert part in said, part
    assert "left out: 7 tensors" in repr(trajectory) and repr(trajectory).count("\n") == 1
    with pytest.warns(th.TrajectoryWarning, match="never moves"):
        kernel = th.gram(trajectory)
    kernel.save(tmp_path / "run.npz")
    read = th.load_kernel(tmp_path / "run.npz")
    assert read.source == kernel.source
    for line in said.splitlines()[1:]:
        assert line in read.summary()
    assert "% of ‖θ‖² never moves: pos_encoder.pe" in read.summary()


def test_kernels_stored_before_have_a_summary_too():
    kernel = th.TrajectoryKernel(np.eye(3), source={"checkpoints": ["a"], "left_out": ["n: I64"]})
    assert kernel.summary().splitlines()[1:] == ["left out: n: I64"]
    assert th.random_walk(5).summary() == repr(th.random_walk(5))


def test_many_tensors_make_few_lines():
    resnet = {
        f"layer{i}.{j}.bn{k}.running_{what}": "a running statistic"
        for i in range(1, 5)
        for j in range(6)
        for k in (1, 2, 3)
        for what in ("mean", "var")
    }
    assert gathered(resnet) == [
        "72 tensors layer*.*.bn*.running_mean: a running statistic",
        "72 tensors layer*.*.bn*.running_var: a running statistic",
    ]
    words = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa"]
    assert gathered({f"{word}.bias": "excluded" for word in words}) == [
        "10 tensors *.bias: excluded"
    ]
    copies = {f"compiled.h.{layer}.w": f"tied to net.h.{layer}.w" for layer in range(12)}
    assert gathered(copies) == ["12 tensors compiled.h.*.w: tied to net.h.*.w"]
    assert gathered(dict.fromkeys(words, "excluded")) == [
        "10 tensors alpha, beta, gamma and 7 more: excluded"
    ]


def test_a_kernel_of_very_many_tensors_says_it_in_few_lines(tmp_path):
    rng = np.random.default_rng(0)
    names = ["".join(rng.choice(list("abcdefgh"), 12)) for _ in range(20_000)]
    first = {
        name: np.full(1, 7) if i % 2 else rng.standard_normal(1) for i, name in enumerate(names)
    }
    trajectory = th.open_trajectory([first, {name: 2 * value for name, value in first.items()}])
    assert "left out: 10,000 tensors" in repr(trajectory)
    assert len(json.dumps(trajectory.provenance)) < 10_000


def test_what_never_moves_within_a_group_is_said_to_stay(capsys):
    still = np.ones(3)
    states = [{"w": np.full(2, float(step)), "still": still.copy()} for step in (1, 2)]
    trajectory = th.open_trajectory(states, exclude="constant")
    groups = {"both": [("w", 0, None), ("still", 0, None)]}
    assert th.gram(trajectory, groups=groups).sizes == (5,)
    assert "what never moves in both is counted" in capsys.readouterr().err
    apart = {"w": [("w", 0, None)], "still": [("still", 0, None)]}
    assert th.gram(trajectory, groups=apart).names == ("w",)
    assert "is counted" not in capsys.readouterr().err


def test_a_pattern_that_matches_nothing_is_said():
    states = [{"module.fc.weight": np.full(2, step), "module.b": np.ones(1)} for step in (1.0, 2.0)]
    trajectory = th.open_trajectory(states, exclude=["module.fc.*", "b"])
    assert trajectory.names == ("fc.weight",)
    assert trajectory.notes == ("exclude='module.fc.*' matches no name; there are fc.weight, b",)


def parts(*names, of=("0.weight", "0.bias", "2.weight")):
    return [
        {f"{name}.{rest}": torch.ones(2, 2) * step for name in names for rest in of}
        for step in range(2)
    ]


def test_a_network_and_what_may_be_its_copy_are_told():
    trajectory = th.open_trajectory(parts("net", "net_slow"))
    (note,) = trajectory.notes
    assert trajectory.p == 24 and "both count" in note and "exclude='net_slow.*'" in note
    assert th.open_trajectory(parts("net", "net_slow"), exclude="net_slow.*").notes == ()


@pytest.mark.parametrize(
    "one, other", [("generator", "discriminator"), ("net_G", "net_D"), ("actor", "critic")]
)
def test_opponents_in_flat_names_are_told(tmp_path, one, other):
    sizes = {one: 2, other: 3, "loss": 1}
    for step in range(2):
        tensors = {
            f"{name}.{layer}.weight": torch.ones(size, 2) * step
            for name, size in sizes.items()
            for layer in (0, 1)
        }
        torch.save({"state_dict": tensors}, tmp_path / f"step_{step}.pt")
    trajectory = th.open_trajectory(tmp_path)
    told = [note for note in trajectory.notes if f"{one} and {other} both count" in note]
    assert trajectory.p == 24 and len(told) == 1 and f"exclude='{other}.*'" in told[0]
    alone = th.open_trajectory(tmp_path, exclude=f"{other}.*")
    assert not any("both count" in note for note in alone.notes)


@pytest.mark.parametrize(
    "quiet",
    [
        parts("0", "1"),
        parts("block1", "block2"),
        parts("query", "key", of=("weight", "bias")),
        parts("a", "b", "c"),
        [a | {"encoder.1.weight": torch.ones(3)} for a in parts("encoder", "decoder")],
    ],
)
def test_layers_that_are_alike_are_no_copies(quiet):
    assert th.open_trajectory(quiet).notes == ()
