"""Thousands of tensors: equal headers are parsed once, and experts are grouped."""

import json
import zipfile
from fnmatch import fnmatchcase

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

import trajhelpers as th
from trajhelpers.reading import parsed, safetensors_files, torch_zip
from trajhelpers.streaming.default_groups import MOST_ALONE, default_groups

LAYERS = 3
# By model: the number of experts of a layer, the names of an expert's tensors, and of the rest.
MODELS = {
    "Mixtral": (
        512,
        [f"model.layers.{{}}.block_sparse_moe.experts.{{}}.{w}.weight" for w in ("w1", "w2", "w3")],
        ["model.layers.{}.block_sparse_moe.gate.weight", "model.layers.{}.self_attn.q_proj.weight"],
    ),
    "OLMoE": (
        512,
        [f"model.layers.{{}}.mlp.experts.{{}}.{w}_proj.weight" for w in ("gate", "up", "down")],
        ["model.layers.{}.mlp.gate.weight", "model.layers.{}.self_attn.q_norm.weight"],
    ),
    "DeepSeek-V3": (
        256,
        [
            f"model.layers.{{}}.mlp.experts.{{}}.{w}_proj.{kind}"
            for w in ("gate", "up", "down")
            for kind in ("weight", "weight_scale_inv")
        ],
        [
            "model.layers.{}.mlp.gate.e_score_correction_bias",
            "model.layers.{}.mlp.shared_experts.up_proj.weight",
        ],
    ),
    "Megatron": (
        512,
        [
            "decoder.layers.{}.mlp.experts.linear_fc1.weight{}",
            "decoder.layers.{}.mlp.experts.linear_fc2.weight{}",
        ],
        ["decoder.layers.{}.mlp.router.weight", "decoder.layers.{}.mlp.router.expert_bias"],
    ),
    "fairseq": (
        512,
        [
            f"decoder.layers.{{}}.moe_layer.experts.{{}}.fc{i}.{kind}"
            for i in (1, 2)
            for kind in ("weight", "bias")
        ],
        ["decoder.layers.{}.moe_layer.gate.wg.weight"],
    ),
}


def names_of(model, layers=LAYERS):
    experts, own, rest = MODELS[model]
    names = ["model.embed_tokens.weight"]
    for layer in range(layers):
        names += [name.format(layer) for name in rest]
        names += [name.format(layer, expert) for expert in range(experts) for name in own]
    return [*names, "lm_head.weight"]


@pytest.mark.parametrize("model", MODELS)
def test_experts_of_a_layer_are_one_group(model):
    experts, own, rest = MODELS[model]
    names = names_of(model)
    groups = default_groups(names)
    together = {name.format(layer, "*") for layer in range(LAYERS) for name in own}
    alone = {name.format(layer) for layer in range(LAYERS) for name in rest}
    assert set(groups) == together | alone | {"model.embed_tokens.weight", "lm_head.weight"}
    assert all(len(groups[name]) == experts for name in together)
    assert sorted(member for members in groups.values() for member in members) == sorted(names)
    assert all(fnmatchcase(member, name) for name in together for member in groups[name])


def test_up_to_2000_tensors_are_a_group_each():
    names = names_of("OLMoE", layers=1)[:MOST_ALONE]
    names += [f"head.{i}.weight" for i in range(MOST_ALONE - len(names))]
    assert default_groups(names) == {name: [name] for name in names}
    assert len(default_groups([*names, "one.more"])) < 100 + MOST_ALONE - 1500


def test_numbers_give_way_from_the_last_on_and_never_the_first():
    deep = [
        f"stages.{i}.blocks.{j}.experts.{k}.w" for i in range(4) for j in range(600) for k in "01"
    ]
    assert list(default_groups(deep)) == [f"stages.{i}.blocks.*.experts.*.w" for i in range(4)]
    flat = [f"layers.{i}.weight" for i in range(MOST_ALONE + 1)]
    assert default_groups(flat) == {name: [name] for name in flat}


@pytest.fixture(scope="module")
def states_of_experts():
    rng = np.random.default_rng(0)
    start = {name: rng.standard_normal(3) for name in names_of("OLMoE", layers=2)}
    return [
        {name: value + step * rng.standard_normal(3) for name, value in start.items()}
        for step in range(4)
    ]


def test_the_default_is_told_and_its_total_is_that_of_all_tensors(states_of_experts, capfd):
    trajectory = th.open_trajectory(states_of_experts)
    kernel = th.gram(trajectory)
    tensors = th.gram(trajectory, groups={name: [(name, None, None)] for name in trajectory.names})
    assert len(tensors.names) == len(trajectory.names) == 3078 and len(kernel.names) == 12
    line = (
        "3,078 tensors in 12 groups by their names, as"
        " model.layers.0.mlp.experts.*.gate_proj.weight, of 512; groups= for others"
    )
    assert capfd.readouterr().err.count(line) == 1
    assert line in kernel.summary() and line not in tensors.summary()
    assert kernel.p == tensors.p == trajectory.p
    # two orders of adding up 3078 products of float64
    np.testing.assert_allclose(kernel.total, tensors.total, rtol=1e-13, atol=1e-10)
    layer = kernel.select("model.layers.1.*")
    assert len(layer.names) == 5 and layer.p == trajectory.p // 2 - 3
    np.testing.assert_allclose(
        layer.total, tensors.select("model.layers.1.*").total, rtol=1e-13, atol=1e-10
    )


def without_moving(states, *names):
    held = {name: states[0][name] for name in names}
    return [state | {name: value.copy() for name, value in held.items()} for state in states]


def test_experts_that_never_move_are_a_group_beside_those_that_do(states_of_experts, capfd):
    group = "model.layers.1.mlp.experts.*.up_proj.weight"
    frozen = [group.replace("*", str(number)) for number in (7, 11)]
    states = without_moving(states_of_experts, *frozen, "model.layers.1.mlp.gate.weight")
    kernel = th.gram(th.open_trajectory(states))
    assert len(kernel.names) == 13
    sizes = dict(zip(kernel.names, kernel.sizes))
    assert sizes[f"{group} (still)"] == 3 * 2 and sizes[group] == 3 * 510
    capfd.readouterr()
    moving = th.gram(th.open_trajectory(states, exclude="constant"))
    told = capfd.readouterr().err
    assert f"{group} (still)" in told and "no tensors within a group" not in told
    assert set(kernel.names) - set(moving.names) == {
        f"{group} (still)",
        "model.layers.1.mlp.gate.weight",
    }
    expected = th.gram(th.open_trajectory(states, exclude=[*frozen, "model.layers.1.mlp.gate.*"]))
    assert (moving.increments == expected.increments).all()


def test_what_moves_and_seems_still_is_none_of_these(states_of_experts):
    name = "model.layers.1.mlp.experts.7.up_proj.weight"
    long = [state | {name: np.zeros(3000)} for state in states_of_experts]
    long[-1][name] = np.append(np.zeros(2999), 1.0)
    assert not any("still" in group for group in th.gram(th.open_trajectory(long)).names)


def test_all_experts_of_a_layer_frozen_are_one_group(states_of_experts):
    group = "model.layers.1.mlp.experts.*.up_proj.weight"
    states = without_moving(
        states_of_experts, *(group.replace("*", str(number)) for number in range(512))
    )
    kernel = th.gram(th.open_trajectory(states, exclude="constant"))
    assert group not in kernel.names and len(kernel.names) == 11


def test_the_same_groups_from_files_and_from_memory(states_of_experts, tmp_path):
    for step, state in enumerate(states_of_experts):
        save_file(state, tmp_path / f"step{step}.safetensors")
    trajectory = th.open_trajectory(tmp_path)
    kernel = th.gram(trajectory, partial=tmp_path / "run.partial")
    in_memory = th.gram(th.open_trajectory(states_of_experts))
    assert sorted(kernel.names) == sorted(in_memory.names)
    again = th.gram(trajectory, partial=tmp_path / "run.partial")
    assert (again.increments == kernel.increments).all()
    with pytest.raises(th.TrajectoryError, match="other groups"):
        th.gram(
            trajectory,
            groups={"all": [(name, None, None) for name in trajectory.names]},
            partial=tmp_path / "run.partial",
        )


# ---- headers ----


def counted(monkeypatch, module, name):
    """Calls of a function, from now on, as a list that grows."""
    calls, function = [], getattr(module, name)

    def noted(*arguments):
        calls.append(arguments)
        return function(*arguments)

    monkeypatch.setattr(module, name, noted)
    return calls


def sharded(folder, state):
    folder.mkdir()
    names = list(state)
    shards = {
        "model-00001-of-00002.safetensors": names[::2],
        "model-00002-of-00002.safetensors": names[1::2],
    }
    for shard, inside in shards.items():
        save_file({name: state[name] for name in inside}, folder / shard)
    where = {name: shard for shard, inside in shards.items() for name in inside}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))


STATES = [
    {"a.w": np.full(3, float(step)), "b.w": np.full((2, 2), -step - 1.0)} for step in range(5)
]


@pytest.mark.parametrize("layout", ["files", "shards"])
def test_equal_headers_are_parsed_once_and_checked_each(tmp_path, monkeypatch, layout):
    for step, state in enumerate(STATES):
        if layout == "files":
            save_file(state, tmp_path / f"step{step}.safetensors")
        else:
            sharded(tmp_path / f"step{step}", state)
    headers = counted(monkeypatch, safetensors_files, "_parsed")
    choices = counted(monkeypatch, parsed, "choose_state")
    trajectory = th.open_trajectory(tmp_path)
    once = 1 if layout == "files" else 2
    assert len(headers) == len(choices) == once
    for name in ("a.w", "b.w"):
        expected = np.stack([state[name].reshape(-1) for state in STATES])
        assert (trajectory.read([(name, 0, expected.shape[1])]) == expected).all()
    # The length is each file's own.
    last = max(tmp_path.rglob("*.safetensors"))
    with open(last, "ab") as file:
        file.write(b"\0")
    with pytest.raises(th.CheckpointError, match=f"{last.name}.*end at byte"):
        th.open_trajectory(tmp_path)


def test_headers_are_forgotten_when_the_run_is_open(tmp_path, monkeypatch):
    for step, state in enumerate(STATES):
        save_file(state, tmp_path / f"step{step}.safetensors")
    headers = counted(monkeypatch, safetensors_files, "_parsed")
    trajectory = th.open_trajectory(tmp_path)
    assert len(headers) == 1 and trajectory.n == 5
    th.open_trajectory(tmp_path)
    assert len(headers) == 2


def test_other_headers_among_equal_ones(tmp_path, monkeypatch):
    for step, state in enumerate(STATES):
        metadata = {"step": str(step)} if step == 3 else None
        save_file(state, tmp_path / f"step{step}.safetensors", metadata)
    headers = counted(monkeypatch, safetensors_files, "_parsed")
    trajectory = th.open_trajectory(tmp_path)
    assert len(headers) == 2
    assert trajectory.read([("a.w", 0, 1)])[:, 0].tolist() == [0, 1, 2, 3, 4]


def test_equal_pickles_are_read_once(tmp_path, monkeypatch):
    for step, state in enumerate(STATES):
        torch.save(
            {"model": {name: torch.from_numpy(value) for name, value in state.items()}},
            tmp_path / f"step{step}.pt",
        )
    pickles = counted(monkeypatch, torch_zip, "read_pickle")
    trajectory = th.open_trajectory(tmp_path)
    assert len(pickles) == 1 and trajectory.origin.state == "model"
    for name in ("a.w", "b.w"):
        expected = np.stack([state[name].reshape(-1) for state in STATES])
        assert (trajectory.read([(name, 0, expected.shape[1])]) == expected).all()


def test_equal_pickles_beside_other_records(tmp_path):
    """A pickle says how long its storages are; each file is asked whether they are."""
    for step in range(3):
        torch.save({"w": torch.full((3,), float(step))}, tmp_path / f"step{step}.pt")
    path = tmp_path / "step2.pt"
    with zipfile.ZipFile(path) as archive:
        records = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in records.items():
            archive.writestr(name, content[:8] if name.endswith("data/0") else content)
    with pytest.raises(th.CheckpointError, match=r"step2\.pt.*record"):
        th.open_trajectory(tmp_path)
