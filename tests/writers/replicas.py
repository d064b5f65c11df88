"""Formats whose libraries install on no plain machine: their saving code, replicated.

Each function names the repository, file and commit that it follows.
``python tests/writers/replicas.py OUT``"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from tiny import STEPS, Net, Oracle, Plain, train

WIDTH, HIDDEN, VOCABULARY, LAYERS = 8, 16, 12, 2


def trained(make=Plain):
    """(step, model, optimizer)"""
    model = make()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05)
    for start, step in zip((0, *STEPS), STEPS):
        train(model, optimizer, start, step)
        yield step, model, optimizer


def drifting(shapes, steps):
    """(step, values by name), of a network that is known by its shapes."""
    generator = torch.Generator().manual_seed(0)
    values = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    for step in steps:
        yield step, values
        for value in values.values():
            value += 0.1 * torch.randn(value.shape, generator=generator)


# ---- GPT-NeoX: EleutherAI/gpt-neox at ea7aefd, megatron/checkpointing.py and model/gpt2_model.py;
# a file a layer and tensor rank, by DeepSpeed's PipelineModule.save_state_dict ----

_NEOX_LAYER = {
    "input_layernorm.weight": ((WIDTH,), None),
    "input_layernorm.bias": ((WIDTH,), None),
    "attention.query_key_value.weight": ((3 * WIDTH, WIDTH), 0),
    "attention.query_key_value.bias": ((3 * WIDTH,), 0),
    "attention.dense.weight": ((WIDTH, WIDTH), 1),
    "attention.dense.bias": ((WIDTH,), None),
    "post_attention_layernorm.weight": ((WIDTH,), None),
    "post_attention_layernorm.bias": ((WIDTH,), None),
    "mlp.dense_h_to_4h.weight": ((HIDDEN, WIDTH), 0),
    "mlp.dense_h_to_4h.bias": ((HIDDEN,), 0),
    "mlp.dense_4h_to_h.weight": ((WIDTH, HIDDEN), 1),
    "mlp.dense_4h_to_h.bias": ((WIDTH,), None),
}
_NEOX = {
    0: {"word_embeddings.weight": ((VOCABULARY, WIDTH), 0)},
    **{2 + layer: _NEOX_LAYER for layer in range(LAYERS)},
    LAYERS + 3: {"norm.weight": ((WIDTH,), None), "norm.bias": ((WIDTH,), None)},
    LAYERS + 4: {"final_linear.weight": ((VOCABULARY, WIDTH), 0)},
}


def neox(out, ranks=(2, 2, 2)):
    oracle = Oracle()
    shapes = {
        f"sequential.{layer}.{name}": shape
        for layer, names in _NEOX.items()
        for name, (shape, _) in names.items()
    }
    for count, (step, values) in zip(ranks, drifting(shapes, STEPS)):
        folder = out / "run" / f"global_step{step}"
        folder.mkdir(parents=True)
        for rank in range(count):
            for layer, names in _NEOX.items():
                state = {}
                for name, (_, dimension) in names.items():
                    value = values[f"sequential.{layer}.{name}"]
                    if dimension is not None:
                        value = value.chunk(count, dimension)[rank]
                    state[name] = value.clone()
                # With gpt_j_residual, each rank adds its own before the sum over ranks.
                for name in ("attention.dense.bias", "mlp.dense_4h_to_h.bias"):
                    if name in state:
                        state[name] = state[name] / count
                torch.save(state, folder / f"layer_{layer:02d}-model_{rank:02d}-model_states.pt")
            torch.save(
                {
                    "module": None,
                    "args": {"model_parallel_size": count, "num_layers": LAYERS},
                    "iteration": step,
                    "mp_world_size": count,
                },
                folder / f"mp_rank_{rank:02d}_model_states.pt",
            )
            flat = torch.zeros(30)
            torch.save(
                {"optimizer_state_dict": {"single_partition_of_fp32_groups": [flat]}},
                folder / f"zero_pp_rank_0_mp_rank_{rank:02d}_optim_states.pt",
            )
        (folder / "configs").mkdir()
        (folder / "configs" / "model.yml").write_text('{"gpt_j_residual": true}\n')
        oracle.add(step, values.items())
    (out / "run" / "latest").write_text(f"global_step{STEPS[-1]}")
    oracle.save(out, ranks=list(ranks))


def neox_other_ranks(out):
    neox(out, (2, 1, 4))


# ---- Megatron-DeepSpeed without a pipeline: DeepSpeed's engine saves a file a tensor rank
# (deepspeed 0.19.8, runtime/engine.py, _save_checkpoint), the module as Megatron names it ----


def deepspeed_tensor_ranks(out):
    oracle = Oracle()
    shapes = {
        f"language_model.encoder.layers.0.{name}": shape for name, (shape, _) in _NEOX_LAYER.items()
    }
    for count, (step, values) in zip((2, 2, 1), drifting(shapes, STEPS)):
        folder = out / "run" / f"global_step{step}"
        folder.mkdir(parents=True)
        for rank in range(count):
            module = {}
            for name, value in values.items():
                dimension = _NEOX_LAYER[name.removeprefix("language_model.encoder.layers.0.")][1]
                share = value if dimension is None else value.chunk(count, dimension)[rank]
                module[name] = share.clone()
            content = {"module": module, "mp_world_size": count, "global_steps": step}
            torch.save(content, folder / f"mp_rank_{rank:02d}_model_states.pt")
        oracle.add(step, values.items())
    oracle.save(out, ranks=[2, 2, 1])


# ---- nanotron: huggingface/nanotron at 2411b02, serialize/weights.py, utils.py, metadata.py ----

_NANOTRON = {
    "model.token_position_embeddings.pp_block.token_embedding.weight": ((VOCABULARY, WIDTH), 0, 0),
    "model.decoder.0.pp_block.attn.qkv_proj.weight": ((3 * WIDTH, WIDTH), "qkv", 0),
    "model.decoder.0.pp_block.attn.o_proj.weight": ((WIDTH, WIDTH), 1, 0),
    "model.decoder.0.pp_block.input_layernorm.weight": ((WIDTH,), None, 0),
    "model.decoder.1.pp_block.mlp.gate_up_proj.weight": ((2 * HIDDEN, WIDTH), "gate_up", 1),
    "model.decoder.1.pp_block.mlp.down_proj.weight": ((WIDTH, HIDDEN), 1, 1),
    "model.final_layer_norm.pp_block.weight": ((WIDTH,), None, 1),
}


def _slices(slices):
    return "|".join(f"{s.start},{s.stop},{s.step}" for s in slices)


def _nanotron_shard(value, how, rank, count):
    """A rank's share, and its pairs of local and global slices as the library writes them."""
    parts = {"qkv": 3, "gate_up": 2}.get(how, 1)
    dimension = how if isinstance(how, int) else 0
    pairs, found, begin = [], [], 0
    for number, block in enumerate(value.chunk(parts, dimension)):
        share = block.chunk(count, dimension)[rank]
        length, whole = share.shape[dimension], block.shape[dimension]
        local = [slice(None)] * value.ndim
        there = [slice(None)] * value.ndim
        local[dimension] = slice(begin, begin + length)
        at = number * whole + rank * length
        there[dimension] = slice(at, at + length)
        pairs.append(f"{_slices(local)}#{_slices(there)}")
        found.append(share)
        begin += length
    return torch.cat(found, dimension), ";".join(pairs)


def nanotron(out):
    oracle = Oracle()
    shapes = {name: shape for name, (shape, _, _) in _NANOTRON.items()}
    steps = (10, 20, 30)
    for count, (step, values) in zip((2, 2, 1), drifting(shapes, steps)):
        folder = out / "run" / str(step)
        for name, value in values.items():
            _, how, stage = _NANOTRON[name]
            *path, last = name.split(".")
            where = folder.joinpath("model", *path)
            where.mkdir(parents=True, exist_ok=True)
            if how is None:
                # A parameter that is not sharded has no metadata, and no rank in its name.
                save_file({"data": value}, where / f"model_{last}.safetensors", metadata={})
                continue
            for rank in range(count):
                share, pairs = _nanotron_shard(value, how, rank, count)
                metadata = {
                    "version": "1.5",
                    "local_global_slices_pairs": pairs,
                    "unsharded_shape": str(tuple(value.shape)),
                }
                file = f"model_{last}_pp-rank-{stage}-of-2_tp-rank-{rank}-of-{count}.safetensors"
                save_file({"data": share.contiguous()}, where / file, metadata=metadata)
        (folder / "optimizer").mkdir()
        torch.save({"state": {}}, folder / "optimizer" / "optimizer_pp-0-of-2_tp-0-of-2.pt")
        (folder / "lr_scheduler").mkdir()
        (folder / "random").mkdir()
        torch.save({"random_state": 0}, folder / "random" / "tp-0-of-2_dp-0-of-1_pp-0-of-2.pt")
        facts = {"version": "1.5", "tp": count, "dp": 1, "metas": {"last_train_step": step}}
        (folder / "checkpoint_metadata.json").write_text(json.dumps(facts))
        (folder / "model_config.json").write_text("{}")
        (folder / "config.yaml").write_text("{}\n")
        oracle.add(step, values.items())
    (out / "run" / "latest.txt").write_text("30")
    oracle.save(out)


# ---- OLMo: allenai/OLMo at 59a53e3, olmo/checkpoint.py, FullCheckpointer ----


def olmo(out):
    oracle = Oracle()
    for step, model, optimizer in trained():
        folder = out / "run" / f"step{step}-unsharded"
        folder.mkdir(parents=True)
        torch.save(model.state_dict(), folder / "model.pt")
        torch.save(optimizer.state_dict(), folder / "optim.pt")
        rng = {"python": 1, "numpy": np.random.RandomState(0).get_state(), "torch": torch.ones(8)}
        torch.save({"global_step": step, "rng": rng}, folder / "train.pt")
        (folder / "config.yaml").write_text("{}\n")
        oracle.add(step, model.named_parameters())
    (out / "run" / "latest").symlink_to(f"step{STEPS[-1]}-unsharded")
    oracle.save(out)


# ---- torchtune 0.6.1, training/checkpointing/_checkpointer.py: an index beside its shard; and
# as of 0.3, without one (_utils.py, SHARD_FNAME = "ft-model-…") ----


def torchtune(out, with_index=True):
    oracle = Oracle()
    for epoch, (_, model, _) in enumerate(trained()):
        folder = out / "run" / f"epoch_{epoch}"
        folder.mkdir(parents=True)
        file = f"{'' if with_index else 'ft-'}model-00001-of-00001.safetensors"
        save_file(model.state_dict(), folder / file, metadata={"format": "pt"})
        index = {"metadata": {}, "weight_map": dict.fromkeys(model.state_dict(), file)}
        if with_index:
            (folder / "model.safetensors.index.json").write_text(json.dumps(index))
        (folder / "config.json").write_text("{}")
        oracle.add(epoch, model.named_parameters())
    (out / "run" / "recipe_state").mkdir()
    torch.save({"epochs_run": 3}, out / "run" / "recipe_state" / "recipe_state.pt")
    oracle.save(out)


def torchtune_without_index(out):
    torchtune(out, with_index=False)


# ---- Levanter: stanford-crfm/levanter at 9263f81, compat/hf_checkpoints.py (hf/step-N) ----


def levanter_hf(out):
    oracle = Oracle()
    for step, model, _ in trained():
        folder = out / "run" / "hf" / f"step-{step}"
        folder.mkdir(parents=True)
        save_file(model.state_dict(), folder / "model.safetensors")
        (folder / "config.json").write_text("{}")
        oracle.add(step, model.named_parameters())
    oracle.save(out)


# ---- nanochat: karpathy/nanochat, nanochat/checkpoint_manager.py, save_checkpoint ----


def nanochat(out):
    oracle = Oracle()
    for step, model, optimizer in trained():
        folder = out / "run"
        folder.mkdir(parents=True, exist_ok=True)
        torch.save(model.state_dict(), folder / f"model_{step:06d}.pt")
        torch.save(optimizer.state_dict(), folder / f"optim_{step:06d}_rank0.pt")
        (folder / f"meta_{step:06d}.json").write_text(json.dumps({"step": step}))
        oracle.add(step, model.named_parameters())
    oracle.save(out)


# ---- hydra: outputs/DATE/TIME/ of a script that saves into its working folder ----


def hydra(out):
    oracle = Oracle()
    for step, model, _ in trained(Net):
        folder = out / "run" / "2026-11-28" / "12-00-00" / "checkpoints"
        folder.mkdir(parents=True, exist_ok=True)
        torch.save(model.state_dict(), folder / f"step_{step}.pt")
        oracle.add(step, model.named_parameters())
    oracle.save(out)


CASES = dict(
    neox=neox,
    neox_other_ranks=neox_other_ranks,
    deepspeed_tensor_ranks=deepspeed_tensor_ranks,
    nanotron=nanotron,
    olmo=olmo,
    torchtune=torchtune,
    torchtune_without_index=torchtune_without_index,
    levanter_hf=levanter_hf,
    nanochat=nanochat,
    hydra=hydra,
)

if __name__ == "__main__":
    for name in sys.argv[2:] or CASES:
        CASES[name](Path(sys.argv[1]).absolute() / name)
