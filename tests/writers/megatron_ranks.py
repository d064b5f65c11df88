"""Megatron: a GPT of megatron-core over tensor and pipeline ranks, in both of its formats.

The network, its sharding and the distributed format are megatron-core's own; the older format, a
file a rank, is written as megatron/training/checkpointing.py does (NVIDIA/Megatron-LM at d98e8a6,
get_checkpoint_name, save_checkpoint, generate_state_dict), which no package has.

``python tests/writers/megatron_ranks.py OUT``"""

import argparse
import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from tiny import Oracle

STEPS = (0, 5, 10, 15)
LAYERS = 4
SETTINGS = dict(hidden_size=8, num_attention_heads=4, num_query_groups=2, ffn_hidden_size=12)
# By case: (tensor, pipeline) ranks at each step, and what else the network has.
CASES = {
    "two_by_two": ([(2, 2)] * 4, dict(gated_linear_unit=True, add_bias_linear=False)),
    "other_ranks": ([(2, 2), (2, 1), (1, 2), (1, 1)], dict(gated_linear_unit=True)),
    "untied": ([(1, 2), (2, 1), (2, 1), (2, 1)], dict(untied=True)),
    "torch_dist": ([(2, 2), (2, 1), (1, 2), (1, 1)], dict(gated_linear_unit=True)),
}


def build(tensor, pipeline, settings):
    torch.Tensor.cuda = lambda self, *_, **__: self  # which the library calls for tied embeddings
    torch.cuda.current_device = lambda: "cpu"
    torch.cuda.synchronize = lambda *_: None
    from megatron.core import parallel_state
    from megatron.core.models.gpt import GPTModel
    from megatron.core.models.gpt.gpt_layer_specs import get_gpt_layer_local_spec
    from megatron.core.transformer import TransformerConfig

    settings = dict(settings)
    untied = settings.pop("untied", False)
    parallel_state.destroy_model_parallel()
    parallel_state.initialize_model_parallel(tensor, pipeline)
    config = TransformerConfig(
        num_layers=LAYERS,
        use_cpu_initialization=True,
        tensor_model_parallel_size=tensor,
        pipeline_model_parallel_size=pipeline,
        pipeline_dtype=torch.float32,
        **SETTINGS,
        **settings,
    )
    torch.manual_seed(0)
    return GPTModel(
        config,
        get_gpt_layer_local_spec(),
        vocab_size=16,
        max_sequence_length=8,
        pre_process=parallel_state.is_pipeline_first_stage(),
        post_process=parallel_state.is_pipeline_last_stage(),
        share_embeddings_and_output_weights=not untied,
        parallel_output=True,
    )


def whole(settings):
    """Name and shape of every parameter, by the library, of one rank that has all."""
    return {name: value.shape for name, value in build(1, 1, settings).named_parameters()}


def values(shapes, step):
    """What training would do to them."""
    return {
        name: torch.cumsum(
            torch.stack(
                [
                    torch.randn(shape, generator=torch.Generator().manual_seed(7 * k + i))
                    * (1 if k == 0 else 0.1)
                    for k in range(0, step + 1, 5)
                ]
            ),
            0,
        )[-1]
        for i, (name, shape) in enumerate(shapes.items())
    }


def fill(model, full, tensor, pipeline, gated):
    """A rank's share, as the library's own layers split theirs: by the attributes that it gives to
    parallel parameters. A gated unit's rows are halves of both its parts.
    """
    from megatron.core import parallel_state

    rank = parallel_state.get_tensor_model_parallel_rank()
    first = parallel_state.get_pipeline_model_parallel_rank() * LAYERS // pipeline
    with torch.no_grad():
        for name, value in model.named_parameters():
            parts = name.split(".")
            if parts[:2] == ["decoder", "layers"]:
                parts[2] = str(int(parts[2]) + first)
            name = ".".join(parts)
            if name not in full:  # the last stage's copy of the embedding
                assert name == "output_layer.weight", name
                name = "embedding.word_embeddings.weight"
            source = full[name]
            if getattr(value, "tensor_model_parallel", False) and tensor > 1:
                if gated and "linear_fc1" in name:
                    source = torch.cat([half.chunk(tensor)[rank] for half in source.chunk(2)])
                else:
                    source = source.chunk(tensor, value.partition_dim)[rank]
            assert source.shape == value.shape, (name, source.shape, value.shape)
            value.copy_(source)


def save_by_rank(model, where, step, tensor, pipeline, settings):
    from megatron.core import parallel_state

    rank = parallel_state.get_tensor_model_parallel_rank()
    folder = where / f"iter_{step:07d}" / f"mp_rank_{rank:02d}"
    if pipeline > 1:
        stage = parallel_state.get_pipeline_model_parallel_rank()
        folder = folder.with_name(f"{folder.name}_{stage:03d}")
    folder.mkdir(parents=True)
    args = argparse.Namespace(
        num_layers=LAYERS,
        tensor_model_parallel_size=tensor,
        pipeline_model_parallel_size=pipeline,
        swiglu=bool(settings.get("gated_linear_unit")),
        untie_embeddings_and_output_weights=bool(settings.get("untied")),
        padded_vocab_size=16,
        params_dtype=torch.float32,
        **SETTINGS,
    )
    state = {
        "args": args,
        "checkpoint_version": 3.0,
        "iteration": step,
        "model": model.state_dict_for_save_checkpoint(),
        "optimizer": {"optimizer": {"state": {0: {"exp_avg": torch.ones(5)}}, "param_groups": []}},
        "opt_param_scheduler": {"num_steps": step},
        "rng_state": [{"torch_rng_state": torch.get_rng_state()[:16]}],
    }
    torch.save(state, folder / "model_optim_rng.pt")
    dist.barrier()
    (where / "latest_checkpointed_iteration.txt").write_text(str(step))


def save_distributed(model, where, step, tensor, pipeline, settings):
    from megatron.core import dist_checkpointing

    folder = where / f"iter_{step:07d}"
    folder.mkdir(parents=True, exist_ok=True)
    dist.barrier()
    state = {"model": model.sharded_state_dict(), "iteration": step, "checkpoint_version": 3.0}
    dist_checkpointing.save(state, str(folder))


def worker(rank, world, name, number, out, port):
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=world)
    ranks, settings = CASES[name]
    (tensor, pipeline), step = ranks[number], STEPS[number]
    save = save_distributed if name == "torch_dist" else save_by_rank
    shapes = torch.load(out / name / "shapes.pt", weights_only=False)
    model = build(tensor, pipeline, settings)
    fill(model, values(shapes, step), tensor, pipeline, settings.get("gated_linear_unit"))
    save(model, out / name / "run", step, tensor, pipeline, settings)
    dist.destroy_process_group()


def named(full, case):
    """The distributed format calls norms by the layers that they come before."""
    if case != "torch_dist":
        return full
    return {
        name.replace("input_layernorm.", "self_attention.linear_qkv.layer_norm_").replace(
            "pre_mlp_layernorm.", "mlp.linear_fc1.layer_norm_"
        ): value
        for name, value in full.items()
    }


def shapes_of(rank, name, out, port):
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    dist.init_process_group("gloo", rank=0, world_size=1)
    shapes, oracle = whole(CASES[name][1]), Oracle()
    for step in STEPS:
        oracle.add(step, named(values(shapes, step), name).items())
    oracle.save(out / name, ranks=CASES[name][0])
    torch.save(shapes, out / name / "shapes.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    out, port = Path(sys.argv[1]).absolute(), 29601
    for name in sys.argv[2:] or CASES:
        mp.spawn(shapes_of, (name, out, port), nprocs=1)
        for number, (tensor, pipeline) in enumerate(CASES[name][0]):
            port += 1
            world = tensor * pipeline
            mp.spawn(worker, (world, name, number, out, port), nprocs=world)
        (out / name / "shapes.pt").unlink()
