"""How long models of thousands of tensors take to open, and what a pass costs for each of them:
python benchmarks/opening.py (or make bench).

Tensors of 16 numbers, named as experts are, so that nothing but their number counts. Opening is set
against Python's json on the same headers, once a file, which is the least that a reader pays that
looks at every header anew; the pass against one pread for each tensor of each checkpoint. Seconds
are those of this process on its processor, so that other work on the machine matters less."""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

import trajhelpers as th

EXPERTS, SHARDS = 128, 16
PARTS = ("gate_proj", "up_proj", "down_proj")


def names(count):
    """Of so many tensors of layers that hold experts and nothing else."""
    return [
        f"model.layers.{i // (EXPERTS * 3)}.mlp.experts.{i // 3 % EXPERTS}.{PARTS[i % 3]}.weight"
        for i in range(count)
    ]


def state(count, step):
    values = torch.randn(count, 4, 4, generator=torch.Generator().manual_seed(step))
    return dict(zip(names(count), values))


def write_files(folder, step, tensors):
    save_file(tensors, folder / f"step{step}.safetensors")


def write_shards(folder, step, tensors):
    inner = folder / f"step{step}"
    inner.mkdir()
    every, index = list(tensors), {}
    for shard in range(SHARDS):
        file = f"model-{shard + 1:05}-of-{SHARDS:05}.safetensors"
        inside = every[shard::SHARDS]
        save_file({name: tensors[name].clone() for name in inside}, inner / file)
        index |= dict.fromkeys(inside, file)
    (inner / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))


def write_torch(folder, step, tensors):
    torch.save({name: one.clone() for name, one in tensors.items()}, folder / f"step{step}.pt")


WRITERS = {"safetensors": write_files, "safetensors, shards": write_shards, "torch": write_torch}


def seconds(function, repeats):
    """The shortest, and what it gave last."""
    best, found = np.inf, None
    for _ in range(repeats):
        begin = time.process_time()
        found = function()
        best = min(best, time.process_time() - begin)
    return best, found


def parsed(folder):
    for file in folder.rglob("*.safetensors"):
        with open(file, "rb") as opened:
            json.loads(opened.read(int.from_bytes(opened.read(8), "little")))


def read_singly(folder, count):
    """One pread for each tensor of each file."""
    buffer = memoryview(bytearray(64))
    for file in folder.iterdir():
        descriptor = os.open(file, os.O_RDONLY)
        for i in range(count):
            os.preadv(descriptor, [buffer], 64 * i)
        os.close(descriptor)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tensors", type=int, nargs="*", default=[2_000, 20_000, 44_000])
    parser.add_argument("--checkpoints", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    n = options.checkpoints
    print(f"{n} checkpoints, {os.cpu_count()} cores, the shortest of {options.repeats}")
    for count in options.tensors:
        print(f"\n{count:,} tensors")
        for kind, write in WRITERS.items():
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name)
                for step in range(n):
                    write(folder, step, state(count, step))
                opening, trajectory = seconds(lambda: th.open_trajectory(folder), options.repeats)  # noqa: B023
                each = 1e6 * opening / count / n
                line = f"  open, {kind:20} {opening:6.2f} s, {each:5.2f} µs a tensor and checkpoint"
                if kind != "torch":
                    limit, _ = seconds(lambda: parsed(folder), options.repeats)  # noqa: B023
                    line += f", {opening / limit:5.2f} × json"
                print(line)
                if kind == "safetensors":
                    limit, _ = seconds(lambda: read_singly(folder, count), options.repeats)  # noqa: B023
                    taken, kernel = seconds(lambda: th.gram(trajectory, "cpu"), 1)  # noqa: B023
                    print(
                        f"  gram, in {len(kernel.names):,} groups  {taken:12.2f} s,"
                        f" {1e6 * taken / count / n:5.2f} µs a tensor and checkpoint,"
                        f" {taken / limit:5.2f} × preads"
                    )


if __name__ == "__main__":
    sys.exit(main())
