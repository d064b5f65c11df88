"""Sets of models: seen from a base, from one of them, from O; labels and no order."""

import json

import matplotlib
import numpy as np
import pytest
import torch
from oracle import flat
from safetensors.torch import save, save_file
from standin_hub import StandInHub

import trajhelpers as th
from trajhelpers.streaming import accelerator
from trajhelpers.streaming.differences import Differences
from trajhelpers.streaming.segments import segments_of

matplotlib.use("agg")
LABELS = ["maths", "code", "chat", "law"]
SHAPES = {"embed.weight": (40, 30), "layers.0.weight": (70, 30), "layers.0.bias": (70,)}


def fine_tuned(dtype=torch.float32, distance=1e-6, seed=0):
    """A base, and models around it: every number a little moved, or, where the type is too coarse
    for that, a few of them by the least that it knows.
    """
    rng = np.random.default_rng(seed)
    base = {
        name: torch.tensor(rng.standard_normal(shape)).to(dtype) for name, shape in SHAPES.items()
    }
    models = {}
    for label in LABELS:
        models[label] = {}
        for name, value in base.items():
            moved = value.double() * (1 + distance * torch.tensor(rng.standard_normal(value.shape)))
            # bfloat16 keeps 8 bits
            flipped = torch.tensor(rng.random(value.shape) < 0.02)
            ulps = value.double() * (1 + 2.0**-7 * flipped)
            models[label][name] = (ulps if dtype == torch.bfloat16 else moved).to(dtype)
    return base, models


def exact(base, models, origin):
    """Rows seen from an origin as long doubles: differences of float64 that hold the stored values
    exactly; labels of the rows.
    """
    theta = flat([base, *models.values()]).astype(np.longdouble)
    labels = ["base", *models]
    start = 0 if origin == "O" else theta[labels.index(origin or "base")]
    kept = [index for index, label in enumerate(labels) if label != (origin or "base")]
    return (theta - start)[kept], [labels[index] for index in kept]


def cosine(rows):
    lengths = np.sqrt((rows**2).sum(1))
    return (rows @ rows.T / lengths[:, None] / lengths).astype(np.float64)


@pytest.mark.parametrize("precision, tolerance", [("float64", 1e-13), ("float32", 2e-6)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_task_vectors_of_models_close_to_their_base(dtype, precision, tolerance):
    base, models = fine_tuned(dtype)
    kernel = th.gram(th.open_models(models, base), precision=precision)
    rows, labels = exact(base, models, None)
    assert kernel.labels == ("base", *LABELS) and kernel.kept() == tuple(labels) == tuple(LABELS)
    assert abs(kernel.cosine() - cosine(rows)).max() < tolerance
    lengths = np.sqrt((rows**2).sum(1)).astype(float)
    assert np.allclose(kernel.distance(None, LABELS), lengths, rtol=tolerance, atol=0)


@pytest.mark.parametrize("origin", [None, "base", "O", "code"])
def test_seen_from_anywhere(origin):
    base, models = fine_tuned(torch.float64, distance=0.3)
    kernel = th.gram(th.open_models(models, base))
    rows, labels = exact(base, models, origin)
    assert kernel.kept(origin) == tuple(labels)
    assert np.allclose(kernel.gram(origin), (rows @ rows.T).astype(float), rtol=1e-12)
    assert abs(kernel.cosine(origin) - cosine(rows)).max() < 1e-13
    unit = rows / np.sqrt((rows**2).sum(1))[:, None]
    assert th.mds(kernel, origin) == pytest.approx(float((unit.mean(0) ** 2).sum()), rel=1e-12)


def test_without_a_base_models_are_seen_from_o():
    base, models = fine_tuned(torch.float64, distance=0.3)
    kernel = th.gram(th.open_models(models))
    theta = flat(list(models.values()))
    assert kernel.labels == tuple(LABELS) and not kernel.based
    assert np.allclose(kernel.gram(), theta @ theta.T, rtol=1e-12)
    assert np.array_equal(kernel.gram("O"), kernel.gram())
    assert np.allclose(
        kernel.gram("code"),
        exact(*[base, models], "code")[0][1:] @ (exact(base, models, "code")[0][1:].T),
        rtol=1e-10,
    )
    with pytest.raises(ValueError, match="these have no base"):
        kernel.cosine("base")


def test_vectors_between_any_two():
    base, models = fine_tuned(torch.float64, distance=0.3)
    kernel = th.gram(th.open_models(models, base))
    theta = dict(zip(["base", *LABELS], flat([base, *models.values()])))
    a, b = theta["code"] - theta["maths"], theta["law"] - theta["base"]
    expected = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    assert kernel.cosine_between("maths", "code", None, "law") == pytest.approx(expected, rel=1e-12)
    assert kernel.cosine_between("maths", "code", "base", ["law"]).shape == (1,)
    assert kernel.distance("O", "law") == pytest.approx(np.linalg.norm(theta["law"]), rel=1e-13)
    assert kernel.distance("maths", "code") == pytest.approx(np.linalg.norm(a), rel=1e-12)


@pytest.mark.parametrize("based", [True, False])
@pytest.mark.parametrize("block_bytes", [64 << 20, 20_000])
def test_the_accelerators_loop_takes_the_same_differences(based, block_bytes, monkeypatch):
    monkeypatch.setattr(accelerator, "_BLOCK_BYTES", block_bytes)
    base, models = fine_tuned()
    opened = th.open_models(models, base if based else None)

    class Silent:
        def add(self, block):
            pass

        show = add

    Silent.show = lambda self: None
    segments = list(segments_of(opened, None).values())
    differences = Differences(opened.links)
    found, _ = accelerator.sums_on_device(opened, segments, differences, "float64", Silent(), "cpu")
    found = found.numpy()
    expected = th.gram(opened, device="cpu").differences
    scale = np.sqrt(np.einsum("gss->gs", expected))
    assert (abs(found - expected) / scale[:, :, None] / scale[:, None]).max() < 1e-14


def test_a_part_in_another_order_is_what_it_would_have_been():
    base, models = fine_tuned()
    kernel = th.gram(th.open_models(models, base))
    some = {label: models[label] for label in ("law", "maths")}
    part, alone = kernel[["law", "maths"]], th.gram(th.open_models(some, base))
    assert part.labels == alone.labels == ("base", "law", "maths")
    assert np.allclose(part.differences, alone.differences, rtol=1e-12)
    assert np.array_equal(kernel[["base", "law", "maths"]].total, part.total)
    for wrong in ("law", slice(2), 1):
        with pytest.raises(TypeError, match="list of labels"):
            kernel[wrong]
    for wrong, words in ((["lore"], "no model is called 'lore'"), (["base"], "no model is left")):
        with pytest.raises(ValueError, match=words):
            kernel[wrong]
    with pytest.raises(ValueError, match="share a label"):
        kernel[["law", "law"]]


def test_groups():
    base, models = fine_tuned()
    kernel = th.gram(th.open_models(models, base))
    layers = kernel.select("layers.*")
    assert layers.names == ("layers.0.weight", "layers.0.bias") and layers.labels == kernel.labels
    rows, _ = exact(
        *[{n: v for n, v in s.items() if "layers" in n} for s in (base,)],
        {label: {n: v for n, v in s.items() if "layers" in n} for label, s in models.items()},
        None,
    )
    assert abs(layers.cosine() - cosine(rows)).max() < 1e-13
    grouped = kernel.group_by(r"layers\.\d+")
    assert grouped.names == ("other", "layers.0") and grouped.p == kernel.p == 1200 + 2170
    assert np.allclose(grouped.total, kernel.total, rtol=1e-14)
    assert set(kernel.groups()) == set(kernel.names)
    with pytest.raises(ValueError, match="read-only"):
        kernel.differences[0, 0, 0] = 1


# Files


def test_a_kernel_file_keeps_its_kind(tmp_path):
    base, models = fine_tuned()
    kernel = th.gram(th.open_models(models, base), precision="float32")
    kernel.save(tmp_path / "set.npz")
    found = th.load_kernel(tmp_path / "set.npz")
    assert type(found) is th.ModelSetKernel
    for part in ("labels", "names", "sizes", "source", "precision"):
        assert getattr(found, part) == getattr(kernel, part)
    assert np.array_equal(found.differences, kernel.differences)
    walk = th.random_walk(5)
    walk.save(tmp_path / "path.npz")
    assert type(th.load_kernel(tmp_path / "path.npz")) is th.TrajectoryKernel


def test_versions_that_know_no_sets_say_that_the_file_is_newer(tmp_path):
    """They look for these arrays, and then for a format above their own."""
    th.ModelSetKernel(np.eye(2), ["a", "b"]).save(tmp_path / "set.npz")
    with np.load(tmp_path / "set.npz") as file:
        arrays = {"increments", "squared_path", "steps", "runs", "names", "sizes", "about"}
        assert set(file) == arrays
        about = json.loads(str(file["about"]))
    assert about["format"] == 2 and about["kind"] == "models" and about["version"]
    th.random_walk(5).save(tmp_path / "path.npz")
    with np.load(tmp_path / "path.npz") as file:
        assert json.loads(str(file["about"]))["format"] == 1


@pytest.mark.parametrize("change", [{"kind": "forests"}, {"format": 5}])
def test_kinds_and_formats_that_are_newer_than_this(tmp_path, change):
    th.ModelSetKernel(np.eye(2), ["a", "b"]).save(tmp_path / "set.npz")
    with np.load(tmp_path / "set.npz") as file:
        arrays = dict(file)
    arrays["about"] = np.array(json.dumps(json.loads(str(arrays["about"])) | change))
    np.savez(tmp_path / "set.npz", **arrays)
    with pytest.raises(th.TrajectoryError, match="newer format"):
        th.load_kernel(tmp_path / "set.npz")


# What needs an order


@pytest.mark.parametrize(
    "ask",
    [
        th.angles,
        th.norms,
        th.spectra,
        th.path_ratio,
        th.principal_components,
        th.hallmarks,
        th.random_walk_like,
        th.plot_angles,
        th.plot_norms,
        th.plot_path,
        th.plot_spectra,
        th.plot_sheet,
        th.explore,
    ],
)
def test_what_needs_an_order_says_so(ask):
    with pytest.raises(ValueError, match="a set of models has no order"):
        ask(th.ModelSetKernel(np.eye(4), ["a", "b", "c", "d"]))


# What a model may be


class Small(torch.nn.Module):
    def __init__(self, state):
        super().__init__()
        self.layer = torch.nn.Linear(3, 2)
        self.load_state_dict(state)


def small(seed):
    generator = torch.Generator().manual_seed(seed)
    return {
        "layer.weight": torch.randn(2, 3, generator=generator),
        "layer.bias": torch.randn(2, generator=generator),
    }


def test_files_folders_state_dicts_and_modules_side_by_side(tmp_path):
    states = [small(seed) for seed in range(5)]
    for folder in ("folder", "step_10"):
        (tmp_path / folder).mkdir()
    save_file(states[0], tmp_path / "folder" / "model.safetensors")
    torch.save({"model": states[1], "epoch": 3}, tmp_path / "file_7.pt")
    torch.save(states[2], tmp_path / "step_10" / "pytorch_model.bin")
    models = th.open_models(
        {
            "a folder": tmp_path / "folder",
            "a file": str(tmp_path / "file_7.pt"),
            "another": tmp_path / "step_10",
            "a module": Small(states[3]),
        },
        base=states[4],
    )
    assert repr(models).splitlines()[0] == (
        "ModelSet(4 models seen from their base, 8 parameters in 2 tensors, float32)"
    )
    # what is said of each is of states, and not of an order
    assert all("'a file'" in note and "'model'" in note for note in models.notes)
    assert models.sources[0] == models.sources[-1] == "memory"
    kernel = th.gram(models)
    rows = flat(states[:4]) - flat(states[4:])
    assert np.allclose(kernel.gram(), rows @ rows.T, rtol=1e-12)
    assert kernel.source["models"] == list(models.sources)


def test_a_pass_goes_on_with_the_same_models_only(tmp_path):
    for seed, name in enumerate("abc"):
        save_file(small(seed), tmp_path / f"{name}.safetensors")
    files = {name: tmp_path / f"{name}.safetensors" for name in "abc"}
    partial = tmp_path / "partial"
    kernel = th.gram(th.open_models(files), partial=partial)
    assert np.array_equal(th.gram(th.open_models(files), partial=partial).total, kernel.total)
    with pytest.raises(th.TrajectoryError, match="begun with other models"):
        th.gram(
            th.open_models({"x": files["a"], "b": files["b"], "c": files["c"]}), partial=partial
        )


@pytest.fixture
def hub(monkeypatch, tmp_path):
    with StandInHub() as hub:
        hub.connect(monkeypatch, tmp_path / "home", "hf_aToken")
        yield hub


def put(hub, repo, tensors, revision="main", **others):
    hub.add(repo, revision, {"model.safetensors": save(tensors)} | others)


@pytest.mark.parametrize("memory", [2_000_000_000, 3_000])
def test_models_on_the_hub_beside_others(hub, tmp_path, memory):
    """Two repositories, a revision of a third, a base on this machine; in pieces of any size."""
    base, models = fine_tuned()
    put(hub, "OWNER/maths", models["maths"])
    put(hub, "OWNER/code", models["code"])
    put(hub, "OTHER/chat", models["chat"], "step1000-tokens4B")
    models["early"] = {name: value + 1 for name, value in models["chat"].items()}
    put(hub, "OTHER/chat", models["early"], "step200-tokens1B")
    save_file(base, tmp_path / "base.safetensors")
    sources = {
        "law": models["law"],
        "maths": "hf://OWNER/maths",
        "code": "hf://OWNER/code",
        # by the alphabet before step 200, and not to be put after it
        "chat": "hf://OTHER/chat@step1000-tokens4B",
        "early": "hf://OTHER/chat@step200-tokens1B",
    }
    opened = th.open_models(sources, tmp_path / "base.safetensors")
    assert opened.sources[2] == "hf://OWNER/maths@main/model.safetensors"
    assert opened.remote is not None
    kernel = th.gram(opened, memory=memory)
    rows, _ = exact(base, {label: models[label] for label in sources}, None)
    assert kernel.kept() == tuple(sources)
    assert abs(kernel.cosine() - cosine(rows)).max() < 1e-13


@pytest.mark.parametrize(
    "models, base, words",
    [
        ({"a": {"w": np.ones(2)}}, None, "two at least"),
        ({}, {"w": np.ones(2)}, "two at least"),
        ({"base": {"w": np.ones(2)}, "a": {"w": np.ones(2)}}, None, "'base' is no label"),
        ({"O": {"w": np.ones(2)}, "a": {"w": np.ones(2)}}, None, "'O' is no label"),
        ({1: {"w": np.ones(2)}, "a": {"w": np.ones(2)}}, None, "1 is no label"),
    ],
)
def test_what_is_no_set(models, base, words):
    with pytest.raises(ValueError, match=words):
        th.open_models(models, base)


def test_a_list_is_no_set():
    with pytest.raises(TypeError, match="a dict from labels"):
        th.open_models([{"w": np.ones(2)}, {"w": np.zeros(2)}])


def test_a_run_is_no_model(tmp_path):
    for step in (1, 2):
        save_file(small(step), tmp_path / f"step_{step}.safetensors")
    with pytest.raises(ValueError, match="'run': 2 checkpoints in .*; a model is one"):
        th.open_models({"run": tmp_path, "a": small(0)})


def test_models_of_different_shapes_are_named():
    with pytest.raises(th.LayoutError, match=r"'b': parameter 'w' has shape \(3,\)"):
        th.open_models({"a": {"w": np.ones(2)}, "b": {"w": np.ones(3)}})


def test_a_model_that_is_not_finite_is_named():
    broken = np.ones(5)
    broken[3] = np.nan
    models = th.open_models({"a": {"w": np.ones(5)}, "b": {"w": broken}}, {"w": np.zeros(5)})
    with pytest.raises(
        th.NonFiniteError, match=r"model 'b' \(memory\): nan in 'w', element 3; leave"
    ):
        th.gram(models)


def test_copies_are_told():
    rng = np.random.default_rng(0)
    base, a = rng.standard_normal((2, 50))
    with pytest.warns(th.TrajectoryWarning, match="models 'a' and 'copy' are identical"):
        kernel = th.gram(th.open_models({"a": {"w": a}, "copy": {"w": a.copy()}}, {"w": base}))
    assert np.allclose(kernel.cosine(), 1)
    with pytest.warns(th.TrajectoryWarning, match="models 'copy' equal the origin \\('a'\\)"):
        assert kernel.cosine("a").shape == (1, 1)
    with pytest.warns(th.TrajectoryWarning, match="models 'base' and 'same'"):
        kernel = th.gram(th.open_models({"a": {"w": a}, "same": {"w": base.copy()}}, {"w": base}))
    with pytest.warns(th.TrajectoryWarning, match="models 'same' equal the origin"):
        assert kernel.cosine().shape == (1, 1)


def test_what_never_differs_from_the_base_can_be_left_out():
    base, models = fine_tuned()
    models = {
        label: state | {"layers.0.bias": base["layers.0.bias"]} for label, state in models.items()
    }
    kernel = th.gram(th.open_models(models, base, exclude="constant"))
    assert kernel.names == ("embed.weight", "layers.0.weight")
    whole = th.gram(th.open_models(models, base))
    assert whole.moving().names == kernel.names
    assert np.array_equal(whole.cosine(), kernel.cosine())
    with pytest.raises(ValueError, match="without a base nothing says"):
        th.open_models(models, exclude="constant")
    with pytest.raises(ValueError, match="without a base nothing says"):
        th.ModelSetKernel(np.eye(2), ["a", "b"]).moving()


def test_what_counts_is_said():
    models = th.open_models(
        {label: small(seed) | {"n": torch.tensor([1])} for seed, label in enumerate("ab")}
    )
    assert repr(models).splitlines() == [
        "ModelSet(2 models, 8 parameters in 2 tensors, float32)",
        "  left out: 1 tensor: see .summary()",
    ]
    told = ["θ: 8 numbers in 2 tensors, float32", "left out: n: int64, not a parameter"]
    assert models.summary().splitlines()[1:] == told
    assert th.gram(models).summary().splitlines()[1:] == told


def test_models_that_are_close_to_each_other_and_far_from_the_base_are_measured_from_each_other(
    capsys,
):
    rng = np.random.default_rng(0)
    base, far = rng.standard_normal((2, 400))
    states = {label: {"w": far + 1e-6 * rng.standard_normal(400)} for label in "abc"}
    kernel = th.gram(th.open_models(states, {"w": base}))
    assert "closer to each other than to what they were opened with" in capsys.readouterr().err
    assert (kernel.cosine() > 0.999).all()
    a, b, c = (states[label]["w"] for label in "abc")
    expected = (b - a) @ (c - a) / np.linalg.norm(b - a) / np.linalg.norm(c - a)
    assert abs(kernel.cosine("a")[1, 2] - expected) < 1e-12  # the base's row is the first


# Pictures


def named(ax):
    return [[label.get_text() for label in axis.get_ticklabels()] for axis in (ax.yaxis, ax.xaxis)]


def test_a_map_has_names_and_can_be_clustered():
    rng = np.random.default_rng(0)
    families = rng.standard_normal((2, 300))
    labels = ["sun", "moon", "star", "ray", "rock", "beam"]
    models = {
        label: {"w": families[index % 2] + 0.3 * rng.standard_normal(300)}
        for index, label in enumerate(labels)
    }
    kernel = th.gram(th.open_models(models, {"w": np.zeros(300)}))
    assert named(th.plot_map(kernel)) == [labels, labels]
    assert named(th.plot_map(kernel, "sun"))[0] == ["base", *labels[1:]]
    ax = th.plot_map(kernel, order="clustered")
    rows, columns = named(ax)
    assert rows == columns and sorted(rows) == sorted(labels)
    assert {frozenset(rows[:3]), frozenset(rows[3:])} == {
        frozenset(labels[::2]),
        frozenset(labels[1::2]),
    }
    drawn = np.asarray(ax.images[0].get_array())
    assert np.array_equal(drawn, kernel[rows].cosine())
    with pytest.raises(ValueError, match="order: expected"):
        th.plot_map(kernel, order="alphabetical")
    with pytest.raises(ValueError, match="a trajectory has its own"):
        th.plot_map(th.random_walk(5), order="clustered")
