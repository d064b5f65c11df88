"""Whatever states a library writes, we read what its own loader reads: dtypes, shapes, orders,
views, storages that several share, all drawn.
"""

import tempfile
import warnings
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
import torch.distributed.checkpoint as dcp
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import trajhelpers as th
from trajhelpers.reading.tensors import rows_first

DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
shapes = st.lists(st.integers(0, 4), max_size=4).map(tuple)
names = st.from_regex(r"[a-df-z]{1,3}(\.[a-z0-9_]{1,4}){0,3}\.(weight|bias)", fullmatch=True)
# Of each tensor, how it lies in its storage.
LIES = {
    "dense": lambda tensor: tensor,
    "columns": lambda tensor: tensor.mT.contiguous().mT if tensor.dim() > 1 else tensor,
    "reversed axes": lambda tensor: tensor.permute(tuple(reversed(range(tensor.dim())))),
    "channels last": lambda tensor: (
        tensor.to(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor
    ),
    "every other": lambda tensor: tensor[..., ::2] if tensor.dim() else tensor,
    "a part": lambda tensor: tensor[1:] if tensor.dim() else tensor,
    "expanded": lambda tensor: tensor.unsqueeze(0).expand(3, *tensor.shape),
    "a parameter": torch.nn.Parameter,
}
tensors = st.tuples(names, st.sampled_from(DTYPES), shapes, st.sampled_from(sorted(LIES)))
drawn = st.lists(tensors, min_size=1, max_size=5, unique_by=lambda one: one[0])
files = settings(max_examples=40, deadline=None, phases=[Phase.generate])


def states_of(plan, shared):
    """Three states of what was drawn; where ``shared``, of one storage each and a tensor twice."""
    for step in range(3):
        generator = torch.Generator().manual_seed(step)
        state = {"head.weight": torch.randn(2, 3, generator=generator)}
        base = torch.randn(400, generator=generator)
        for name, dtype, shape, lies in plan:
            count = int(np.prod(shape))
            whole = base[3 : 3 + count] if shared else torch.randn(count, generator=generator)
            state[name] = LIES[lies](whole.to(dtype).reshape(shape))
        if shared:
            state["tied.weight"] = state["head.weight"]
        state["count"] = torch.tensor([step])
        yield state


def dense(state):
    """What formats without strides and shared storages can hold."""
    return {name: tensor.detach().contiguous().clone() for name, tensor in state.items()}


def zipped(state, path):
    torch.save(state, path.with_suffix(".pt"))
    return torch.load(path.with_suffix(".pt"), weights_only=True)


def legacy(state, path):
    torch.save(state, path.with_suffix(".pt"), _use_new_zipfile_serialization=False)
    return torch.load(path.with_suffix(".pt"), weights_only=True)


def nested(state, path):
    torch.save({"model": state, "epoch": 3, "optimizer": {"state": {}}}, path.with_suffix(".ckpt"))
    return torch.load(path.with_suffix(".ckpt"), weights_only=True)["model"]


def as_safetensors(state, path):
    safetensors.torch.save_file(dense(state), path.with_suffix(".safetensors"))
    return safetensors.torch.load_file(path.with_suffix(".safetensors"))


def as_npz(state, path):
    state = {name: tensor for name, tensor in state.items() if tensor.dtype != torch.bfloat16}
    # NumPy keeps the order of columns, and no other.
    arrays = {name: tensor.detach().numpy() for name, tensor in state.items()}
    np.savez(path.with_suffix(".npz"), **arrays)
    with np.load(path.with_suffix(".npz")) as found:
        return {name: torch.from_numpy(found[name].copy()) for name in found.files}


def distributed(state, path):
    state = dense(state)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, about no process group
        dcp.save(state, checkpoint_id=path, no_dist=True)
        found = {name: torch.zeros_like(tensor) for name, tensor in state.items()}
        dcp.load(found, checkpoint_id=path, no_dist=True)
    return found


@pytest.mark.parametrize(
    "write", [zipped, legacy, nested, as_safetensors, as_npz, distributed], ids=lambda f: f.__name__
)
@files
@given(plan=drawn, shared=st.booleans())
def test_we_read_what_the_library_reads(write, plan, shared):
    with tempfile.TemporaryDirectory() as folder:
        check(write, Path(folder), plan, shared)


def check(write, folder, plan, shared):
    expected = [
        write(state, folder / f"step_{step}") for step, state in enumerate(states_of(plan, shared))
    ]
    trajectory = th.open_trajectory(folder)
    tied = {name for group in trajectory.origin.counting.ties for name in group[1:]}
    for step, theirs in enumerate(expected):
        theirs = {
            name: tensor.detach().double().numpy()
            for name, tensor in theirs.items()
            if tensor.is_floating_point() and tensor.numel()
        }
        ours = {name: stored[step] for name, stored in trajectory.layout.tensors.items()}
        assert ours.keys() | tied == theirs.keys()
        for name, stored in ours.items():
            values = np.empty(stored.size)
            rows_first(stored).read_into(0, stored.size, values)
            np.testing.assert_array_equal(values.reshape(stored.shape), theirs[name])
