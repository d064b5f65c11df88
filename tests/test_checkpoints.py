"""Every format, and which of its tensors are parameters."""

import json
import os

import numpy as np
import oracle
import pytest
import torch
from safetensors.torch import save_file

import trajhelpers as th
from trajhelpers.__main__ import main
from trajhelpers.sources import descriptors


def state(value, **more):
    """A state dict that tells its checkpoint: every entry is near `value`."""
    return {
        "a.weight": torch.full((2, 3), float(value)) + torch.arange(6.0).reshape(2, 3),
        "a.bias": torch.full((2,), float(value) ** 2),
        **more,
    }


def write(path, tensors, legacy=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".safetensors":
        save_file(tensors, path)
    else:
        torch.save(tensors, path, _use_new_zipfile_serialization=not legacy)


def kernel_of(source, **options):
    return th.gram(th.open_trajectory(source, **options), device="cpu")


def check(source, states, **options):
    """The kernel of what was opened is the oracle's on the states that were written."""
    kernel = kernel_of(source, **options)
    expected = oracle.gram(oracle.flat(states))
    np.testing.assert_allclose(
        kernel.gram(), expected, rtol=0, atol=1e-12 * np.max(np.abs(expected))
    )
    return kernel


# Formats and content


@pytest.mark.parametrize(
    "suffix, legacy",
    [
        ("pt", False),
        ("pth", False),
        ("ckpt", False),
        ("bin", False),
        ("pt", True),
        ("bin", True),
        ("safetensors", False),
    ],
)
def test_formats(tmp_path, suffix, legacy):
    for step in (1, 2, 3):
        write(tmp_path / f"epoch_{step}.{suffix}", state(step), legacy)
    check(tmp_path, [state(step) for step in (1, 2, 3)])


def test_formats_mixed_in_one_run(tmp_path):
    for step, (suffix, legacy) in enumerate(
        [("pt", False), ("bin", True), ("safetensors", False), ("ckpt", False)]
    ):
        write(tmp_path / f"epoch_{step}.{suffix}", state(step), legacy)
    check(tmp_path, [state(step) for step in range(4)])


@pytest.mark.parametrize(
    "key",
    [
        "state_dict",
        "model_state_dict",
        "model",
        "module",
        "net",
        "model_state",
        "params",
        "backbone",
    ],
)
@pytest.mark.parametrize("legacy", [False, True])
def test_nested_in_a_training_checkpoint(tmp_path, key, legacy):
    """Real optimizer states: Adam's moments have the parameters' shapes and must not be mistaken
    for them.
    """
    states = []
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2))
    optimizer = torch.optim.AdamW(model.parameters())
    for epoch in range(3):
        optimizer.zero_grad()
        model(torch.randn(5, 3)).square().sum().backward()
        optimizer.step()
        states.append(
            {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
        )
        write(
            tmp_path / f"epoch_{epoch}.ckpt",
            {
                "epoch": epoch,
                key: model.state_dict(),
                "optimizer_state_dict": optimizer.state_dict(),
                "loss": 0.5,
                "rng": torch.get_rng_state(),
                "best": torch.tensor(0.25),
                "history": [1.0, 2.0],
                "args": {"lr": 0.1},
            },
            legacy,
        )
    kernel = check(tmp_path, states)
    assert kernel.p == 3 * 4 + 4 + 4 * 2 + 2


@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.", "_orig_mod.module.", "module._orig_mod."]
)
def test_prefixes_fall_away(tmp_path, prefix):
    """Also when only some of the checkpoints were written under DistributedDataParallel or
    torch.compile.
    """
    write(tmp_path / "epoch_1.pt", state(1))
    write(tmp_path / "epoch_2.pt", {prefix + name: tensor for name, tensor in state(2).items()})
    trajectory = th.open_trajectory(tmp_path)
    assert set(trajectory.names) == {"a.weight", "a.bias"}
    check(tmp_path, [state(1), state(2)])


BUFFERS = {
    "bn.running_mean": torch.ones(2),
    "bn.running_var": torch.ones(2),
    "bn.num_batches_tracked": torch.tensor(7),
    "position_ids": torch.arange(4),
    "mask": torch.ones(3, dtype=torch.bool),
}
NEOX_BUFFERS = {
    "gpt_neox.layers.0.attention.bias": torch.ones(1, 1, 4, 4, dtype=torch.bool),
    "gpt_neox.layers.1.attention.bias": torch.ones(1, 1, 4, 4),  # as a float: by name
    "gpt_neox.layers.0.attention.masked_bias": torch.tensor(-1e9),
    "gpt_neox.layers.0.attention.rotary_emb.inv_freq": torch.ones(2),
}


@pytest.mark.parametrize("buffers", [BUFFERS, NEOX_BUFFERS], ids=["batch norm", "gpt-neox"])
@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_buffers_are_left_out_and_named(tmp_path, buffers, suffix):

    def kept(step):
        return {
            "gpt_neox.layers.0.attention.dense.bias": torch.full((2,), float(step)),
            "gpt_neox.layers.0.attention.query_key_value.bias": torch.full((3,), float(step)),
        }

    for step in (1, 2):
        write(tmp_path / f"epoch_{step}.{suffix}", state(step, **kept(step), **buffers))
    trajectory = th.open_trajectory(tmp_path)
    assert set(trajectory.names) == {"a.weight", "a.bias", *kept(1)}
    for name in buffers:
        assert any(name in line for line in trajectory.left_out), name
    check(tmp_path, [state(step, **kept(step)) for step in (1, 2)])


def test_include_and_exclude(tmp_path):
    for step in (1, 2):
        write(tmp_path / f"epoch_{step}.pt", state(step, **BUFFERS))

    def names(**options):
        return set(th.open_trajectory(tmp_path, **options).names)

    assert names(include="a.*") == {"a.weight", "a.bias"}
    assert names(include=["*.weight"]) == {"a.weight"}
    assert names(exclude="*.bias") == {"a.weight"}
    assert names(include="a.*", exclude=["*.weight"]) == {"a.bias"}
    assert names(include=["a.*", "bn.running_mean"]) == {"a.weight", "a.bias", "bn.running_mean"}
    trajectory = th.open_trajectory(tmp_path, exclude="*.bias")
    assert any("a.bias" in line for line in trajectory.left_out)
    with pytest.raises(th.LayoutError):
        th.open_trajectory(tmp_path, include="nothing.*")


def test_integer_tensors_of_a_quantized_network_do_not_count(tmp_path):
    for step in (1, 2):
        write(tmp_path / f"epoch_{step}.pt", state(step, codes=torch.ones(8, dtype=torch.int8)))
    assert th.open_trajectory(tmp_path).p == 8


def test_tied_tensors_count_once(tmp_path):
    for step in (1, 2):
        embedding = torch.full((4, 2), float(step))
        write(
            tmp_path / f"epoch_{step}.pt",
            {"embed.weight": embedding, "head.weight": embedding, "out.bias": torch.ones(1)},
        )
    trajectory = th.open_trajectory(tmp_path)
    assert trajectory.p == 9
    states = [torch.load(tmp_path / f"epoch_{step}.pt", weights_only=True) for step in (1, 2)]
    assert th.open_trajectory(states).p == 9


def test_views_of_one_storage_are_not_ties(tmp_path):
    """Flattened parameters (FSDP, flat optimizers): one storage, each tensor another part of it."""
    states = []
    for step in (1, 2):
        storage = torch.arange(10.0) + step
        states.append({"first": storage[:4].view(2, 2), "second": storage[4:]})
        write(tmp_path / f"epoch_{step}.pt", states[-1])
    assert check(tmp_path, states).p == 10
    assert check(states, states).p == 10


def test_equal_values_are_not_ties(tmp_path):
    states = [{"a": torch.ones(3) * step, "b": torch.ones(3) * step} for step in (1, 2)]
    assert check(states, states).p == 6


def strided(step):
    """Tensors whose memory is not in their order of elements: the flat order is the logical one."""
    base = torch.arange(24.0).reshape(2, 3, 4) * step + 1
    return {
        "channels_last": (
            torch.arange(48.0).reshape(2, 2, 3, 4).mul(step).to(memory_format=torch.channels_last)
        ),
        "transposed": base.permute(2, 0, 1),
        "every_other": base[:, :, ::2],
        "expanded": torch.tensor([float(step)]).expand(5),
        "offset": torch.arange(9.0)[4:] + step,
        "scalar": torch.tensor(float(step)),
        "empty": torch.empty(0, 3),
    }


@pytest.mark.parametrize("legacy", [False, True])
def test_views_and_memory_formats(tmp_path, legacy):
    for step in (1, 2, 3):
        write(tmp_path / f"epoch_{step}.pt", strided(step), legacy)
    kernel = check(tmp_path, [strided(step) for step in (1, 2, 3)])
    assert kernel.p == 48 + 24 + 12 + 5 + 5 + 1
    check([strided(step) for step in (1, 2, 3)], [strided(step) for step in (1, 2, 3)])
    # in the logical order of elements, so that contiguous and strided checkpoints of one run agree
    (tmp_path / "epoch_2.pt").unlink()
    write(
        tmp_path / "epoch_2.safetensors",
        {name: tensor.contiguous() for name, tensor in strided(2).items()},
    )
    check(tmp_path, [strided(step) for step in (1, 2, 3)])


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_a_precision_for_each_tensor(tmp_path, suffix):
    """Mixed within a checkpoint, the same in all: nothing to warn of (warnings are errors here)."""
    generator = torch.Generator().manual_seed(0)
    kinds = {
        "bf16": torch.bfloat16,
        "fp16": torch.float16,
        "fp32": torch.float32,
        "fp64": torch.float64,
    }
    states = [
        {
            name: torch.randn(5, generator=generator, dtype=torch.float64).to(kind)
            for name, kind in kinds.items()
        }
        for _ in range(3)
    ]
    for step, tensors in enumerate(states):
        write(tmp_path / f"epoch_{step}.{suffix}", tensors)
    trajectory = th.open_trajectory(tmp_path)
    assert trajectory.dtypes == {
        "bf16": "bfloat16",
        "fp16": "float16",
        "fp32": "float32",
        "fp64": "float64",
    }
    check(tmp_path, states)


def test_a_precision_that_changes_warns_once_and_is_exact(tmp_path):
    kinds = [torch.float32, torch.bfloat16, torch.float16, torch.float64]
    states = [
        {name: (tensor / 3).to(kind) for name, tensor in state(step).items()}
        for step, kind in enumerate(kinds)
    ]
    for step, tensors in enumerate(states):
        write(tmp_path / f"epoch_{step}.pt", tensors)
    with pytest.warns(th.TrajectoryWarning) as caught:
        check(tmp_path, states)
    assert len(caught) == 1 and "a.weight" in str(caught[0].message)


def test_large_float16_values_do_not_overflow(tmp_path):
    states = [
        {"w": torch.full((3,), value, dtype=torch.float16)}
        for value in (65504.0, -65504.0, 60000.0)
    ]
    for step, tensors in enumerate(states):
        write(tmp_path / f"epoch_{step}.safetensors", tensors)
    check(tmp_path, states)


def test_two_networks_in_one_file_are_not_guessed_between(tmp_path):
    """With a loss beside them, which is a tensor but no parameter."""
    for epoch in (1, 2):
        write(
            tmp_path / f"epoch_{epoch}.pt",
            {"generator": state(epoch), "discriminator": state(9), "loss": torch.tensor(0.5)},
        )
    with pytest.raises(th.TrajectoryError) as caught:
        th.open_trajectory(tmp_path)
    assert "generator" in str(caught.value) and "discriminator" in str(caught.value)


def test_more_files_than_are_kept_open(tmp_path, monkeypatch):
    monkeypatch.setattr(descriptors.DESCRIPTORS, "_most", 2)
    for step in range(6):
        write(tmp_path / f"epoch_{step}.pt", state(step))
    before = len(os.listdir("/dev/fd"))
    trajectory = th.open_trajectory(tmp_path)
    check(tmp_path, [state(step) for step in range(6)])
    for part in (trajectory, trajectory[::2]):
        part.read([("a.weight", 0, 6), ("a.bias", 0, 2)])
    assert len(os.listdir("/dev/fd")) <= before + 2


# State dicts and modules in memory


class Net(torch.nn.Module):
    def __init__(self, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.embed = torch.nn.Embedding(6, 3)
        self.norm = torch.nn.BatchNorm1d(3)
        torch.nn.init.normal_(self.norm.weight)
        torch.nn.init.normal_(self.norm.bias)
        self.head = torch.nn.Linear(3, 6, bias=False)
        self.head.weight = self.embed.weight  # tied
        self.register_buffer("scale", torch.ones(7))  # a float buffer that no name gives away


def test_modules():
    """A module knows its parameters: buffers are left out whatever their names, ties count once."""
    nets = [Net(seed) for seed in range(3)]
    expected = [{name: p.detach().clone() for name, p in net.named_parameters()} for net in nets]
    trajectory = th.open_trajectory(nets)
    assert trajectory.p == 6 * 3 + 3 + 3
    assert any("scale" in line for line in trajectory.left_out)
    assert check(nets, expected).names is not None


def test_numpy_state_dicts_and_their_steps():
    states = [{"w": np.arange(4.0).reshape(2, 2)[::-1] * value} for value in (1, 2, 3)]
    trajectory = th.open_trajectory(states)
    assert list(trajectory.steps) == [0, 1, 2] and len(trajectory) == trajectory.n == 3
    check(states, states)


def test_one_network_collected_again_and_again():
    """The classic slip: model.state_dict() gives no copies; all entries hold the last values."""
    model = torch.nn.Linear(2, 3)
    for states in ([model.state_dict() for _ in range(3)], [model, model]):
        with pytest.raises(th.TrajectoryError, match="clone|copy"):
            th.open_trajectory(states)


def test_sparse_tensors_are_refused_by_name():
    with pytest.raises(th.TrajectoryError, match="adjacency"):
        th.open_trajectory([state(step, adjacency=torch.eye(3).to_sparse()) for step in (1, 2)])


def test_read_gives_segments_of_all_checkpoints(tmp_path):
    states = [state(step) for step in (1, 2, 3)]
    for step, tensors in zip((1, 2, 3), states):
        write(tmp_path / f"epoch_{step}.pt", tensors)
    trajectory = th.open_trajectory(tmp_path)
    found = np.asarray(trajectory.read([("a.weight", 1, 4), ("a.bias", 0, 2), ("a.weight", 5, 6)]))
    expected = [
        np.r_[s["a.weight"].reshape(-1)[1:4], s["a.bias"], s["a.weight"].reshape(-1)[5:]]
        for s in states
    ]
    assert found.shape == (3, 6) and found.dtype == np.float64
    np.testing.assert_array_equal(found, expected)
    assert trajectory.shapes == {"a.weight": (2, 3), "a.bias": (2,)}


# The whole way, through the command line


@pytest.mark.parametrize("first", ["epoch_init.pt", None])
def test_a_folder_of_epochs_through_the_command_line(tmp_path, first, capsys):
    """250 epochs of tiny files and their initialization, or the epochs alone: no flag, and the
    oracle's numbers.
    """
    rng = np.random.default_rng(0)
    theta = np.cumsum(
        rng.standard_normal((251, 42)) * np.linspace(1, 0.01, 251)[:, None], axis=0
    ).astype(np.float32)
    names = ["epoch_init.pt"] + [f"epoch_{epoch}.pt" for epoch in range(1, 251)]
    states = [
        {
            "fc.weight": torch.from_numpy(row[:36].reshape(6, 6)),
            "fc.bias": torch.from_numpy(row[36:]),
        }
        for row in theta
    ]
    pairs = list(zip(names, states))[0 if first else 1 :]
    folder, out = tmp_path / "run", tmp_path / "run.npz"
    for name, tensors in reversed(pairs):
        write(folder / name, tensors)
    assert main(["gram", str(folder), "-o", str(out)]) in (None, 0)
    capsys.readouterr()
    assert main(["hallmarks", str(out), "--json"]) in (None, 0)
    found = json.loads(capsys.readouterr().out)
    expected = oracle.flat([tensors for _, tensors in pairs])
    assert found["n"] == len(pairs) and found["p"] == 42
    assert found["steps"] == list(range(0 if first else 1, 251))
    assert abs(found["mds"] - oracle.mds(expected)) < 1e-12
    assert abs(found["relative_mds"] - oracle.mds(expected, 0)) < 1e-12
    for series, cosines in oracle.angle_cosines(expected).items():
        np.testing.assert_allclose(
            np.cos(np.radians(found["angles"][series])), cosines, rtol=0, atol=1e-12, err_msg=series
        )
    for series, values in oracle.norms(expected).items():
        np.testing.assert_allclose(found["norms"][series], values, rtol=1e-12, err_msg=series)
    for name, values in oracle.spectra(expected).items():
        np.testing.assert_allclose(
            found["spectra"][name], values, rtol=0, atol=1e-12 * values[0], err_msg=name
        )


def test_a_part_of_a_permuted_tensor_is_refused(tmp_path):
    """Elements 0:9 of a channels_last file are not those of the flattened tensor: whole is fine, a
    part would be silently wrong.
    """
    states = [
        {"w": torch.randn(4, 3, 3, 3).to(memory_format=torch.channels_last)} for _ in range(3)
    ]
    for step, state in enumerate(states):
        torch.save(state, tmp_path / f"step_{step}.pt")
    trajectory = th.open_trajectory(tmp_path)
    whole = th.gram(trajectory, device="cpu", groups={"all": [("w", None, None)]})
    np.testing.assert_allclose(whole.gram(), oracle.gram(oracle.flat(states)), rtol=1e-12)
    with pytest.raises(ValueError, match="channels_last"):
        th.gram(trajectory, device="cpu", groups={"part": [("w", 0, 9)]})


@pytest.mark.filterwarnings("ignore:Validating sparse")
def test_sparse_tensors_in_a_file_are_refused_by_name(tmp_path):
    for step in (1, 2):
        torch.save(
            {"w": torch.ones(3), "embedding": torch.eye(3).to_sparse()},
            tmp_path / f"step_{step}.pt",
        )
    with pytest.raises(th.CheckpointError, match="(?s)step_1.*'embedding'.*sparse"):
        th.open_trajectory(tmp_path)


def test_one_step_to_skip_needs_no_list(tmp_path):
    for step in range(3):
        np.savez(tmp_path / f"step_{step}.npz", w=np.full(2, float(step)))
    assert th.open_trajectory(tmp_path, skip=1).steps == (0, 2)
    assert th.open_trajectory(tmp_path, skip="step_1").steps == (0, 2)
    with pytest.raises(TypeError, match="every: expected a whole number, got 1.5"):
        th.open_trajectory(tmp_path, every=1.5)
    with pytest.raises(th.StepError, match="every=9 leaves no more"):
        th.open_trajectory(tmp_path, every=9)


def test_a_slip_in_exclude_is_told():
    states = [{"w": np.full(2, float(step)), "b": np.ones(1)} for step in range(2)]
    trajectory = th.open_trajectory(states, exclude=["b", "w.*"])
    assert trajectory.notes == ("exclude='w.*' matches no name; there are w, b",)


def test_names_without_steps_are_answered_with_what_to_do(tmp_path):
    for name in ("best", "last"):
        np.savez(tmp_path / f"{name}.npz", w=np.ones(2))
    with pytest.raises(th.StepError, match=r"list them in their order, or, .* open_models"):
        th.open_trajectory(tmp_path)


@pytest.mark.parametrize(
    "given, meant",
    [("someone/model-7b", "hf://someone/model-7b"), ("s3:/bucket/run", "addresses begin with")],
)
def test_an_address_that_is_written_as_a_path(given, meant):
    with pytest.raises(FileNotFoundError, match=f"no such file or folder; .*{meant}"):
        th.open_trajectory(given)


def test_stages_are_named_where_steps_begin_anew(tmp_path):
    for name in ("stage1-step1", "stage1-step9", "stage2-step2"):
        np.savez(tmp_path / f"{name}.npz", w=np.random.rand(3))
    trajectory = th.open_trajectory(tmp_path)
    assert "steps stage1 1 … stage2 2," in repr(trajectory)
    assert "steps stage1 1 … stage2 2," in repr(th.gram(trajectory))


def test_the_kernel_of_a_path_is_refused_by_name():
    with pytest.raises(TypeError, match="expected what open_trajectory or open_models returns"):
        th.gram("runs/mine")
    with pytest.raises(TypeError, match="expected what gram returns, got str"):
        th.plot_map("runs/mine")


def test_masked_arrays_are_refused():
    states = [{"w": np.ma.masked_less(np.arange(4.0) + step, 2)} for step in range(3)]
    with pytest.raises(TypeError, match="checkpoint 0: 'w' is a masked array.*filled"):
        th.open_trajectory(states)


def test_groups_that_are_no_dict():
    trajectory = th.open_trajectory([{"w": np.arange(4.0) + step} for step in range(3)])
    with pytest.raises(TypeError, match="groups: expected a dict.*got a list"):
        th.gram(trajectory, groups=[])


def test_arrays_in_memory_in_the_other_order_of_bytes():
    """Their values are read, and not their bytes as if they were this machine's."""
    theta = np.arange(12.0).reshape(3, 4)
    swapped = theta.astype(theta.dtype.newbyteorder("S"))
    kernel = th.gram(th.open_trajectory([{"w": row} for row in swapped]), device="cpu")
    np.testing.assert_array_equal(kernel.gram(), oracle.gram(theta))
