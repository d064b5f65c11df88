"""One process and several that share the pass, as torchrun starts them, over files in the page
cache."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from limits import SIZES
from measuring import least, peak_megabytes, state_dicts, walk
from safetensors.torch import save_file

import trajhelpers as th

LARGER = (1, 4, 8)


def shared_passes(counts, repeats, numbers):
    """A row for each n and p, number of processes and of cores. ``megabytes``: the most that the
    passes so far have added to what one of the processes had in memory; ``difference``: of a
    cosine, from that of one process on one core.
    """
    sizes = [(SIZES[0], times * numbers // SIZES[0]) for times in LARGER]
    sizes += [(n, numbers // n) for n in SIZES[1:]]
    # As many cores as processes, and all cores for one.
    ways = sorted({(1, counts[0]), (1, counts[-1]), (counts[-1], counts[-1])})
    with tempfile.TemporaryDirectory() as place:
        for n, p in sizes:
            folder = Path(place, f"{n} {p}")
            folder.mkdir()
            for step, state in enumerate(state_dicts(walk(n, p))):
                save_file(state, folder / f"step_{step:03}.safetensors")
        found = {way: _launch(Path(place), *way, repeats) for way in ways}
        rows = []
        for n, p in sizes:
            for ranks, cores in ways:
                kernel, first = (
                    th.load_kernel(Path(place, f"{n} {p} {one[0]} {one[1]}.npz"))
                    for one in ((ranks, cores), ways[0])
                )
                difference = float(abs(kernel.cosine() - first.cosine()).max())
                rows.append(
                    {"n": n, "p": p, "ranks": ranks, "cores": cores}
                    | found[ranks, cores][f"{n} {p}"]
                    | {"difference": difference}
                )
    return rows


def _launch(place, ranks, cores, repeats):
    arguments = [str(place), str(cores), str(repeats)]
    allowed = sorted(os.sched_getaffinity(0))[:cores]
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={ranks}", __file__]
        + arguments,
        env=os.environ | {"OMP_NUM_THREADS": "1"},  # else torchrun says that it sets it
        preexec_fn=lambda: os.sched_setaffinity(0, allowed),
        capture_output=True,
        text=True,
    )
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout)


def one_rank(place, cores, repeats):
    """What torchrun starts: the pass over each folder, small ones first: a peak can only grow."""
    from torch import distributed

    distributed.init_process_group("gloo")
    group, before, found = distributed.group.WORLD, peak_megabytes(), {}
    folders = [path for path in Path(place).iterdir() if path.is_dir()]
    for folder in sorted(folders, key=lambda path: [int(word) for word in path.name.split()]):
        trajectory, kernels = th.open_trajectory(folder), []

        def shared(trajectory=trajectory, kernels=kernels):
            distributed.barrier()
            kernels[:] = [th.gram(trajectory, "cpu", group=group)]

        seconds = least({"gram": shared}, repeats)["gram"]
        added = [0.0] * group.size()
        distributed.all_gather_object(added, peak_megabytes() - before)
        found[folder.name] = {"seconds": seconds, "megabytes": max(added)}
        if group.rank() == 0:
            kernels[0].save(Path(place, f"{folder.name} {group.size()} {cores}.npz"))
    if group.rank() == 0:
        print(json.dumps(found))
    distributed.destroy_process_group()


def print_shared(rows):
    print("\nprocesses that share a pass, as torchrun starts them (float32 files, float64, warm)")
    print("  n     p             processes  cores    seconds   memory (MB)   cosines differ by")
    for row in rows:
        print(
            f"  {row['n']:<5} {row['p']:<13,} {row['ranks']:<10} {row['cores']:<5}"
            f" {row['seconds']:10.3f} {row['megabytes']:13.0f} {row['difference']:19.1e}"
        )


if __name__ == "__main__":
    one_rank(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
