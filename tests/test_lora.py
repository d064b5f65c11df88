"""LoRA adapters by their products B A, which are never formed: against the dense products."""

import importlib.util
import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from standin_hub import StandInHub

import trajhelpers as th
from trajhelpers.gram import cost
from trajhelpers.streaming import low_rank

# What peft 0.21 writes into adapter_config.json, as far as it bears on weights.
CONFIG = {
    "peft_type": "LORA",
    "base_model_name_or_path": "OWNER/BASE",
    "r": 4,
    "lora_alpha": 16,
    "use_rslora": False,
    "use_dora": False,
    "fan_in_fan_out": False,
    "bias": "none",
    "init_lora_weights": True,
    "rank_pattern": {},
    "alpha_pattern": {},
    "modules_to_save": None,
    "target_parameters": None,
    "loftq_config": {},
}


def factors(rng, rank, rows, columns, dtype=torch.float32):
    """A and B of a layer."""
    a, b = rng.standard_normal((rank, columns)), rng.standard_normal((rows, rank))
    return torch.tensor(a).to(dtype), torch.tensor(b).to(dtype)


def write(folder, layers, others=(), **config):
    """As save_pretrained does."""
    folder.mkdir(parents=True)
    tensors = dict(others)
    for layer, (a, b) in layers.items():
        tensors[f"base_model.model.{layer}.lora_A.weight"] = a.contiguous()
        tensors[f"base_model.model.{layer}.lora_B.weight"] = b.contiguous()
    save_file(tensors, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps(CONFIG | config))
    return folder


def dense(layers, scale):
    """By layer, the product in long double."""
    return {
        layer: scale
        * (b.double().numpy().astype(np.longdouble) @ a.double().numpy().astype(np.longdouble))
        for layer, (a, b) in layers.items()
    }


def rows_of(products):
    """One row an adapter, zeros where it has no layer."""
    shapes = {layer: product.shape for one in products for layer, product in one.items()}
    return np.stack(
        [
            np.concatenate(
                [one.get(layer, np.zeros(shape)).ravel() for layer, shape in shapes.items()]
            )
            for one in products
        ]
    )


def assert_right(gram, rows, tolerance):
    """Against lengths: an inner product of two that are almost orthogonal has few digits left."""
    lengths = np.sqrt((rows**2).sum(1))
    assert (abs(gram - rows @ rows.T) / np.outer(lengths, lengths)).max() < tolerance


@pytest.fixture(params=[64 << 20, 3000])
def blocks(request, monkeypatch):
    monkeypatch.setattr(low_rank, "_BLOCK_BYTES", request.param)


@pytest.mark.parametrize("seed", range(12))
def test_against_dense_products(tmp_path, seed, blocks):
    """Ranks, scales, types and the layers that are there differ from adapter to adapter. Products
    may be some ten times shorter than their factors' lengths say, and rounding is that of these.
    """
    rng = np.random.default_rng(seed)
    shapes = {f"layers.{i}.proj": tuple(rng.integers(1, 60, 2).tolist()) for i in range(4)}
    folders, products = {}, []
    for index in range(5):
        rank, alpha, rslora = int(rng.integers(1, 9)), int(rng.integers(1, 40)), bool(index % 2)
        dtype = [torch.float32, torch.bfloat16, torch.float16, torch.float64][index % 4]
        present = [layer for layer in shapes if index == 0 or rng.random() < 0.7] or list(shapes)
        layers = {layer: factors(rng, rank, *shapes[layer], dtype) for layer in present}
        folders[f"model {index}"] = write(
            tmp_path / str(index), layers, r=rank, lora_alpha=alpha, use_rslora=rslora
        )
        products.append(dense(layers, alpha / (np.sqrt(rank) if rslora else rank)))
    kernel = th.gram(th.open_models(folders))
    assert_right(kernel.gram(), rows_of(products), 1e-13)
    assert kernel.names == tuple(f"{layer}.weight" for layer in shapes)
    assert kernel.sizes == tuple(rows * columns for rows, columns in shapes.values())
    seen = th.gram(th.open_models(dict(list(folders.items())[1:]), base=folders["model 0"]))
    rows = rows_of(products)
    assert_right(seen.gram(), rows[1:] - rows[0], 1e-12)
    # back at O, everything is a sum with the base's product
    longest = float((rows**2).sum(1).max())
    assert np.allclose(seen.gram("O"), (rows @ rows.T).astype(float), rtol=0, atol=1e-13 * longest)


@pytest.mark.parametrize("condition", [1e2, 1e6])
def test_a_change_of_basis_changes_nothing(tmp_path, condition):
    """A → R A, B → B R⁻¹. The new factors are rounded, which changes their product by about
    condition · 1e-16; inner products of the factors themselves would lose twice as many digits.
    """
    rng = np.random.default_rng(0)
    folders = {"old": {}, "new": {}}
    for index in range(3):
        a, b = factors(rng, 6, 40, 50, torch.float64)
        left, right = (torch.tensor(np.linalg.qr(rng.standard_normal((6, 6)))[0]) for _ in range(2))
        stretch = torch.tensor(np.geomspace(1, condition, 6))
        change, back = left * stretch @ right, right.T / stretch @ left.T
        for name, pair in (("old", (a, b)), ("new", (change @ a, b @ back))):
            folders[name][f"adapter {index}"] = write(
                tmp_path / name / str(index), {"q": pair}, r=6
            )
    old, new = (th.gram(th.open_models(folders[name])) for name in ("old", "new"))
    assert abs(old.cosine() - new.cosine()).max() < 50 * condition * np.finfo(float).eps
    joined = [th.gram(th.open_models(folders[n], lora="factors")).cosine() for n in ("old", "new")]
    assert abs(joined[0] - joined[1]).max() > 1e-3


def test_the_scale_is_the_layers_own(tmp_path):
    """peft asks which pattern matches the end of a layer's name, the first one that does."""
    rng = np.random.default_rng(0)
    ranks = {"model.layers.0.q": 2, "model.layers.1.q": 6, "model.layers.10.q": 2, "model.lm.v": 4}
    layers = {layer: factors(rng, rank, 8, 9) for layer, rank in ranks.items()}
    patterns = {
        "rank_pattern": {"layers.1.q": 6, "q": 2},
        "alpha_pattern": {r"model\.layers\.\d.q": 3, "v": 5},
    }
    alphas = dict(zip(layers, (3, 3, 16, 5)))
    models = th.open_models(
        {
            "a": write(tmp_path / "a", layers, **patterns),
            "b": write(tmp_path / "b", layers, **patterns),
        }
    )
    with pytest.warns(th.TrajectoryWarning, match="equal up to rounding"):
        kernel = th.gram(models)
    for layer, product in zip(layers, kernel.differences):
        expected = dense({layer: layers[layer]}, alphas[layer] / ranks[layer])[layer]
        assert product[0, 1] == pytest.approx(float((expected**2).sum()), rel=1e-13)


def test_names_of_other_writers(tmp_path):
    """A whole state dict names the adapter; kohya's files say α themselves; convolutions and
    embeddings.
    """
    rng = np.random.default_rng(0)
    (a, b), (conv_a, conv_b), (embed_a, embed_b) = (
        factors(rng, 4, *shape) for shape in ((6, 7), (5, 27), (8, 30))
    )
    write(
        tmp_path / "peft",
        {"q": (a, b), "conv": (conv_a.reshape(4, 3, 3, 3), conv_b.reshape(5, 4, 1, 1))},
        {
            "base_model.model.embed.lora_embedding_A": embed_a,
            "base_model.model.embed.lora_embedding_B": embed_b,
            "base_model.model.embed.base_layer.weight": torch.ones(30, 8),
        },
    )
    write(tmp_path / "named", {})
    save_file(
        {
            "base_model.model.q.lora_A.mine.weight": 2 * a,
            "base_model.model.q.lora_B.mine.weight": b,
        },
        tmp_path / "named" / "adapter_model.safetensors",
    )
    models = th.open_models({"peft": tmp_path / "peft", "named": tmp_path / "named"})
    assert set(models.names) == {"embed.weight", "conv.weight", "q.weight"}
    assert models.left_out == ("embed.weight: the adapted model's own",)
    kernel = th.gram(models)
    squares = {
        f"{layer}.weight": float((product**2).sum())
        for layer, product in dense(
            {"q": (a, b), "conv": (conv_a, conv_b), "embed": (embed_a, embed_b)}, 4.0
        ).items()
    }
    for name, product in zip(kernel.names, kernel.differences):
        assert product[0, 0] == pytest.approx(squares[name], rel=1e-13)
        assert product[0, 1] == pytest.approx(2 * squares[name] * (name == "q.weight"), rel=1e-13)


@pytest.mark.parametrize("between", [".lora_", "_lora."])
@pytest.mark.parametrize("alpha, scale", [(2.0, 0.5), (None, 1.0)])
def test_kohya_and_diffusers(tmp_path, alpha, scale, between):
    rng = np.random.default_rng(0)
    files, products = {}, []
    for name in "ab":
        layers = {f"lora_unet_down_{i}": factors(rng, 4, 10, 12, torch.float16) for i in range(2)}
        tensors = {}
        for layer, (a, b) in layers.items():
            tensors |= {f"{layer}{between}down.weight": a, f"{layer}{between}up.weight": b}
            if alpha:
                tensors[f"{layer}.alpha"] = torch.tensor(alpha).half()
        files[name] = tmp_path / f"{name}.safetensors"
        save_file(tensors, files[name])
        products.append(dense(layers, scale))
    assert_right(th.gram(th.open_models(files)).gram(), rows_of(products), 1e-13)


def test_factors_if_asked(tmp_path, capsys):
    rng = np.random.default_rng(0)
    layers = {name: {"q": factors(rng, 4, 6, 7)} for name in "ab"}
    folders = {name: write(tmp_path / name, layers[name]) for name in "ab"}
    kernel = th.gram(th.open_models(folders, lora="factors"))
    rows = np.stack([np.concatenate([f.double().ravel() for f in layers[n]["q"]]) for n in "ab"])
    assert np.allclose(kernel.gram(), rows @ rows.T, rtol=1e-13)
    assert kernel.names == tuple(f"base_model.model.q.lora_{side}.weight" for side in "AB")
    assert "lora='product'" in capsys.readouterr().err


# Differences of products


def run_of(tmp_path, start, steps, size=1e-6):
    """checkpoint-N of a run whose factors move by little."""
    rng = np.random.default_rng(1)
    products, folder = [], tmp_path / "run"
    a, b = factors(rng, 4, 30, 40, torch.float64)
    for step in steps:
        write(folder / f"checkpoint-{step}", {"q": (a, b)})
        products.append(dense({"q": (a, b)}, 4.0))
        a, b = (x + size * torch.tensor(rng.standard_normal(x.shape)) for x in (a, b))
    return folder, rows_of(products)


def test_increments_of_products_are_exact(tmp_path, capsys):
    """B A − B' A' is 1e-6 of either; a difference of products would keep ten digits."""
    folder, rows = run_of(tmp_path, 0, (10, 20, 30, 40))
    trajectory = th.open_trajectory(folder, lora="product")
    assert trajectory.steps == (10, 20, 30, 40) and trajectory.p == 1200
    kernel = th.gram(trajectory)
    delta = np.concatenate([rows[:1], np.diff(rows, axis=0)])
    assert type(kernel) is th.TrajectoryKernel
    assert_right(kernel.total, delta, 1e-13)
    angles = np.degrees(
        np.arccos(
            np.array(
                [d @ e / np.sqrt((d @ d) * (e @ e)) for d, e in zip(delta[1:], delta[2:])], float
            )
        )
    )
    assert np.allclose(th.angles(kernel)["consecutive"], angles, rtol=1e-12)
    assert "product B A" in capsys.readouterr().err
    assert np.allclose(th.gram(trajectory[::2]).total, kernel[::2].total, rtol=1e-12)


def test_a_trajectory_of_adapters_counts_factors_unless_asked(tmp_path, capsys):
    folder, _ = run_of(tmp_path, 0, (1, 2))
    trajectory = th.open_trajectory(folder)
    assert trajectory.p == 4 * (30 + 40)
    assert (
        "lora='product'" in trajectory.notes[0] and trajectory.notes[0] in capsys.readouterr().err
    )


def test_an_adapter_that_never_moved(tmp_path):
    """B is zero when training begins."""
    rng = np.random.default_rng(0)
    layers = {"q": factors(rng, 4, 6, 7)}
    fresh = {"q": (layers["q"][0], torch.zeros(6, 4))}
    folders = {"fresh": write(tmp_path / "fresh", fresh), "a": write(tmp_path / "a", layers)}
    kernel = th.gram(th.open_models(folders))
    with pytest.warns(th.TrajectoryWarning, match="models 'fresh' are zero"):
        assert kernel.cosine().shape == (1, 1)


def test_products_are_not_read(tmp_path):
    folder, _ = run_of(tmp_path, 0, (1, 2))
    trajectory = th.open_trajectory(folder, lora="product")
    with pytest.raises(TypeError, match="never formed"):
        trajectory.read([("q.weight", 0, 3)])
    for option in (
        {"precision": "float32"},
        {"groups": {"q": [("q.weight", 0, 3)]}},
        {"partial": tmp_path / "partial"},
        {"device": "cuda"},
        {"sample": 0.1},
    ):
        with pytest.raises(ValueError, match=f"{next(iter(option))}: products of LoRA adapters"):
            th.gram(trajectory, **option)


def test_adapters_on_the_hub(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    layers = {name: {"q": factors(rng, 4, 6, 7)} for name in "ab"}
    with StandInHub() as hub:
        hub.connect(monkeypatch, tmp_path / "home", "hf_aToken")
        for name in "ab":
            folder = write(tmp_path / name, layers[name])
            hub.add(f"OWNER/{name}", "main", {path.name: path for path in folder.iterdir()})
        models = th.open_models({name: f"hf://OWNER/{name}" for name in "ab"})
        assert cost(models) == (4, 2 * 4 * (6 + 7) * 4)
        kernel = th.gram(models)
    assert_right(kernel.gram(), rows_of([dense(layers[name], 4.0) for name in "ab"]), 1e-13)


# What is no product


def refused(tmp_path, *words, error=th.TrajectoryError, others=(), layers=None, **config):
    rng = np.random.default_rng(0)
    good = {"q": factors(rng, 4, 6, 7)}
    folders = {"good": write(tmp_path / "good", good)}
    folders["bad"] = write(tmp_path / "bad", layers or good, others, **config)
    with pytest.raises(error, match=".*".join(words)):
        th.open_models(folders)
    return folders


@pytest.mark.parametrize(
    "config, words",
    [
        ({"use_dora": True}, "is DoRA"),
        ({"peft_type": "ADALORA"}, "of kind ADALORA"),
        ({"init_lora_weights": "pissa_niter_4"}, "pissa_niter_4.*moves the base"),
        ({"init_lora_weights": "olora"}, "olora"),
        ({"lora_bias": True}, "has lora_bias"),
        ({"target_parameters": ["experts"]}, "has target_parameters"),
        ({"r": 8}, "has rank 4, where .*adapter_config.json says 8"),
        ({"lora_alpha": None}, "adapter_config.json: damaged"),
        ({"alpha_pattern": {"(": 1}}, "adapter_config.json: damaged"),
        ({"fan_in_fan_out": True}, "the other way round"),
    ],
)
def test_configurations_that_are_refused(tmp_path, config, words):
    refused(tmp_path, "bad", words, **config)


@pytest.mark.parametrize(
    "name, words",
    [
        ("base_model.model.q.lora_magnitude_vector", "is DoRA"),
        ("q.dora_scale", "is DoRA"),
        ("q.hada_w1_a", "is not plain LoRA"),
        ("base_model.model.head.weight", "holds 'head.weight'.*exclude='head.weight'"),
        ("base_model.model.q.base_layer.bias", "holds 'q.bias'"),
        ("base_model.model.q.lora_A.other.weight", "several adapters"),
        ("base_model.model.v.lora_A.weight", "lacks the factor lora_B of 'base_model.model.v'"),
    ],
)
def test_tensors_that_are_refused(tmp_path, name, words):
    refused(tmp_path, "bad", words, others={name: torch.ones(4, 7)})


def test_what_was_trained_beside_can_be_left_out(tmp_path):
    others = {"base_model.model.head.weight": torch.ones(3)}
    folders = refused(tmp_path, "head", others=others)
    models = th.open_models(folders, exclude="head.*")
    assert models.names == ("q.weight",) and models.left_out == ("head.weight: excluded",)


def test_shapes_that_do_not_fit(tmp_path):
    rng = np.random.default_rng(0)
    refused(
        tmp_path, r"shape \(6, 8\), which has shape \(6, 7\)", layers={"q": factors(rng, 4, 6, 8)}
    )


def test_factors_that_do_not_fit(tmp_path):
    refused(tmp_path, "do not fit", layers={"q": (torch.ones(4, 7), torch.ones(6, 3))})


def test_a_configuration_is_needed(tmp_path):
    folders = {
        name: write(tmp_path / name, {"q": factors(np.random.default_rng(0), 4, 6, 7)})
        for name in "ab"
    }
    (folders["b"] / "adapter_config.json").unlink()
    with pytest.raises(th.CheckpointError, match="'b'.*without an adapter_config.json"):
        th.open_models(folders)


def test_adapters_and_whole_models_do_not_mix(tmp_path):
    folder = write(tmp_path / "a", {"q": factors(np.random.default_rng(0), 4, 6, 7)})
    with pytest.raises(
        th.LayoutError, match="'a'.*is a LoRA adapter.*'base' is none.*need no base"
    ):
        th.open_models({"a": folder}, base={"q.weight": np.ones((6, 7))})


def test_adapters_of_several_models_are_told(tmp_path):
    rng = np.random.default_rng(0)
    folders = {
        name: write(tmp_path / name, {"q": factors(rng, 4, 6, 7)}, base_model_name_or_path=name)
        for name in "ab"
    }
    with pytest.warns(th.TrajectoryWarning, match="several models, a, b"):
        th.open_models(folders)


def test_an_adapter_that_is_not_finite_is_named(tmp_path):
    rng = np.random.default_rng(0)
    a, b = factors(rng, 4, 6, 7)
    folders = {"a": write(tmp_path / "a", {"q": (a, b)})}
    a = a.clone()
    a[0, 0] = torch.nan
    folders["b"] = write(tmp_path / "b", {"q": (a, b)})
    with pytest.raises(th.NonFiniteError, match="model 'b'.*'q.weight' is not finite"):
        th.gram(th.open_models(folders))


# The library itself, where it is installed


@pytest.mark.skipif(importlib.util.find_spec("peft") is None, reason="peft is not installed")
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"use_rslora": True},
        {"rank_pattern": {"q": 6}, "alpha_pattern": {"v": 3}},
        {"target_modules": ["q", "v", "embed", "conv"]},
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_adapters_that_peft_wrote(tmp_path, options):
    from peft import LoraConfig, get_peft_model

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.conv = torch.nn.Embedding(50, 12), torch.nn.Conv2d(3, 8, 3)
            self.q, self.v = torch.nn.Linear(12, 20), torch.nn.Linear(20, 12)

    folders, products = {}, []
    for seed in range(3):
        torch.manual_seed(seed)
        config = {"r": 4, "lora_alpha": 16, "target_modules": ["q", "v"]} | options
        model = get_peft_model(Net(), LoraConfig(**config))
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                torch.nn.init.normal_(parameter)
        folders[str(seed)] = tmp_path / str(seed)
        model.save_pretrained(folders[str(seed)])
        adapted = {
            n: m for n, m in model.double().named_modules() if hasattr(m, "get_delta_weight")
        }
        products.append(
            {n: m.get_delta_weight("default").detach().numpy() for n, m in adapted.items()}
        )
    assert_right(th.gram(th.open_models(folders)).gram(), rows_of(products), 1e-13)
