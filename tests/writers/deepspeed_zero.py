"""DeepSpeed's checkpoints, ZeRO 1, 2 and 3 with two gloo ranks, and its universal format.

``DS_BUILD_OPS=0 python tests/writers/deepspeed_zero.py OUT``"""

import os
import subprocess
import sys
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from tiny import STEPS, Oracle, Plain, loss_of

CASES = {
    "zero1": {"stage": 1},
    "zero2": {"stage": 2},
    "zero3": {"stage": 3},
    "zero3_bf16": {"stage": 3, "bf16": True},
    "zero2_bf16": {"stage": 2, "bf16": True},
    "zero3_two_groups_frozen": {"stage": 3, "groups": True, "frozen": True},
    "zero2_two_groups_frozen": {"stage": 2, "groups": True, "frozen": True},
}


def parameters(model, groups):
    if not groups:
        return [value for value in model.parameters() if value.requires_grad]
    matrices = [v for v in model.parameters() if v.requires_grad and v.ndim > 1]
    others = [v for v in model.parameters() if v.requires_grad and v.ndim == 1]
    return [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]


def whole(model, stage):
    """Name and value, of the masters in float32 where there are some."""
    import deepspeed
    from deepspeed.utils import safe_get_full_fp32_param

    for name, value in model.named_parameters():
        if value.requires_grad:
            found = safe_get_full_fp32_param(value)
        else:
            with deepspeed.zero.GatheredParameters([value], enabled=stage == 3):
                found = value.detach().clone()
        yield name, found


def run_case(name, out):
    import deepspeed

    case = CASES[name]
    stage, bf16 = case["stage"], case.get("bf16", False)
    model = Plain()
    if case.get("frozen"):
        model.embed.weight.requires_grad_(False)
    optimizer = torch.optim.AdamW(parameters(model, case.get("groups")), lr=0.05)
    config = {
        "train_micro_batch_size_per_gpu": 8,
        "zero_optimization": {"stage": stage},
        "zero_allow_untested_optimizer": True,
    }
    if bf16:
        config["bf16"] = {"enabled": True}
    engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer, config=config)
    where, masters, module = out / name / "run", Oracle(), Oracle()
    for start, step in zip((0, *STEPS), STEPS):
        for done in range(start, step):
            engine.backward(loss_of(engine, done))
            engine.step()
        engine.save_checkpoint(where, tag=f"global_step{step}")
        masters.add(step, whole(engine.module, stage))
        if stage < 3:
            module.add(step, engine.module.named_parameters())
    if dist.get_rank() == 0:
        for script in where.glob("*.py"):  # which DeepSpeed puts there
            script.unlink()
        masters.save(out / name, ranks=[2, 2, 2], stage=stage)
        if stage < 3:
            import numpy as np

            np.savez(out / name / "module.npz", **module.arrays)
    dist.barrier()


def worker(rank, out, cases):
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29581", "DS_ACCELERATOR": "cpu"}
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    torch.set_num_threads(1)
    import deepspeed

    deepspeed.init_distributed("gloo")
    for name in cases:
        run_case(name, out)
    dist.destroy_process_group()


def universal(out):
    """Each step of the second stage, converted by deepspeed's own script."""
    import numpy as np

    where = out / "universal" / "run"
    for step in STEPS:
        program = [sys.executable, "-m", "deepspeed.checkpoint.ds_to_universal"]
        program += ["--input_folder", out / "zero2" / "run" / f"global_step{step}"]
        program += ["--output_folder", where / f"global_step{step}_universal"]
        program += ["--num_extract_workers", "1", "--num_merge_workers", "1"]
        subprocess.run([*program, "--inject_missing_state"], check=True)
    oracle = Oracle()
    oracle.arrays = dict(np.load(out / "zero2" / "expected.npz"))
    oracle.save(out / "universal", stage=2)


if __name__ == "__main__":
    out = Path(sys.argv[1]).absolute()
    mp.spawn(worker, (out, sys.argv[2:] or list(CASES)), nprocs=2)
    if not sys.argv[2:]:
        universal(out)
