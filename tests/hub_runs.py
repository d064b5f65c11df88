"""Checkpoints as the hub has them: in either format, whole or in shards, as today's torch writes
them and as that of 2023 did.
"""

import io
import json
import zipfile

import numpy as np
import torch
from safetensors.torch import load_file, save_file

STEM = {"safetensors": "model", "bin": "pytorch_model"}


def whole_numbers(seed, layers=3, hidden=24, vocabulary=50):
    """A GPT-NeoX-like state dict in float16 whose values are whole and small: all sums of products
    are exact, in any order.
    """
    generator = torch.Generator().manual_seed(seed)

    def some(*shape):
        return torch.randint(-30, 31, shape, generator=generator).to(torch.float16)

    state = {"gpt_neox.embed_in.weight": some(vocabulary, hidden)}
    for layer in range(layers):
        at = f"gpt_neox.layers.{layer}."
        state |= {
            at + "attention.bias": torch.ones(1, 1, 64, 64, dtype=torch.uint8),
            at + "attention.masked_bias": torch.tensor(-1e4).half(),
            at + "attention.rotary_emb.inv_freq": torch.ones(3).half(),
        }
        for name, shape in {
            "input_layernorm": (hidden,),
            "attention.query_key_value": (3 * hidden, hidden),
            "attention.dense": (hidden, hidden),
            "mlp.dense_h_to_4h": (4 * hidden, hidden),
            "mlp.dense_4h_to_h": (hidden, 4 * hidden),
        }.items():
            state |= {f"{at}{name}.weight": some(*shape), f"{at}{name}.bias": some(shape[0])}
    return state | {"embed_out.weight": some(vocabulary, hidden)}


def parameters(state):
    return {
        name: tensor
        for name, tensor in state.items()
        if not name.endswith(("attention.bias", "masked_bias", "inv_freq"))
    }


def save(tensors, path, old=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".safetensors":
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    elif old:
        save_as_torch_1_did(tensors, path)
    else:
        torch.save(tensors, path)
    return path


def save_as_torch_1_did(tensors, path):
    """Without the records by which today's torch.load knows where storages begin."""
    with zipfile.ZipFile(io.BytesIO(saved(tensors))) as archive:
        records = {name.split("/", 1)[1]: archive.read(name) for name in archive.namelist()}
    writer = torch._C.PyTorchFileWriter(str(path))
    for name, content in records.items():
        if name == "data.pkl" or name.startswith("data/"):
            writer.write_record(name, content, len(content))
    writer.write_end_of_file()


def saved(tensors, **options):
    file = io.BytesIO()
    torch.save(tensors, file, **options)
    return file.getvalue()


def checkpoint(state, folder, kind="safetensors", shards=1, old=False, config=None):
    """The files of one revision, by path; with more than one shard, tensor i goes to shard i mod
    shards.
    """
    files, place = {}, {}
    for shard in range(shards):
        name = (
            f"{STEM[kind]}.{kind}"
            if shards == 1
            else f"{STEM[kind]}-{shard + 1:05d}-of-{shards:05d}.{kind}"
        )
        part = dict(list(state.items())[shard::shards])
        files[name] = save(part, folder / name, old)
        place |= dict.fromkeys(part, name)
    if shards > 1:
        files[f"{STEM[kind]}.{kind}.index.json"] = json.dumps(
            {"metadata": {}, "weight_map": place}
        ).encode()
    return files | ({"config.json": json.dumps(config).encode()} if config else {})


def loaded_whole(files):
    """A revision's tensors by whole loads of all its files."""
    state = {}
    for name, path in files.items():
        if name.endswith(".safetensors"):
            state |= load_file(path)
        elif name.endswith(".bin"):
            state |= torch.load(path, weights_only=True)
    return state


def products(states, names=None):
    """The oracle: by tensor, K = Θ Θᵀ in whole numbers."""
    found = {}
    for name in names or parameters(states[0]):
        theta = np.stack([state[name].double().numpy().reshape(-1) for state in states]).astype(
            np.int64
        )
        assert (
            theta == np.stack([state[name].double().numpy().reshape(-1) for state in states])
        ).all()
        found[name] = theta @ theta.T
    return found


def check_exactly(kernel, states):
    """All tensors' kernels are those of the oracle, without any error."""
    expected = products(states)
    assert sorted(kernel.names) == sorted(expected)
    for name, part in kernel.groups().items():
        np.testing.assert_array_equal(part.gram(), expected[name], err_msg=name)
