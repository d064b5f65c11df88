"""How fast and how large the kernel's pass is, as ratios from one run: python benchmarks/gram.py
(or make bench).

In memory against torch's float32 T @ T.T on the same values; from files against the larger of that
and of reading them all; peak memory in processes of their own. Medians of interleaved repeats."""

import argparse
import os
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

# Some machines pin OpenBLAS to an older kernel; both variables must go before NumPy is imported.
if os.environ.pop("OPENBLAS_CORETYPE", None):
    os.environ.pop("OPENBLAS_L2_SIZE", None)
    os.execv(sys.executable, [sys.executable, *sys.argv])

import numpy as np
import torch
from safetensors.torch import save_file

import trajhelpers as th

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import oracle
import trajectories

PARTS = 10


def medians(functions, repeats):
    """Median seconds of each function, run in turn, after one round to warm up."""
    times = {name: [] for name in functions}
    for repeat in range(repeats + 1):
        for name, function in functions.items():
            begin = time.perf_counter()
            function()
            if repeat:
                times[name].append(time.perf_counter() - begin)
    return {name: float(np.median(values)) for name, values in times.items()}


def state_dicts(theta):
    return [
        {f"layer.{i}": part.clone() for i, part in enumerate(row.chunk(PARTS))} for row in theta
    ]


def double_loop(states):
    flat = [torch.cat([tensor.flatten() for tensor in state.values()]) for state in states]
    return [[torch.dot(a, b).item() for a in flat] for b in flat]


def in_memory(n, p, repeats, peers):
    theta = torch.cumsum(torch.randn(n, p, generator=torch.Generator().manual_seed(0)), 0)
    trajectory = th.open_trajectory(state_dicts(theta))
    functions = {
        "torch": lambda: theta @ theta.T,
        "float32": lambda: th.gram(trajectory, "cpu", "float32"),
        "float64": lambda: th.gram(trajectory, "cpu", "float64"),
    }
    if peers:
        states = state_dicts(theta)
        functions["numpy, all loaded"] = lambda: (lambda a: a @ a.T)(theta.numpy())
        functions["double loop"] = lambda: double_loop(states)
        try:
            from sklearn.metrics.pairwise import cosine_similarity

            functions["scikit-learn"] = lambda: cosine_similarity(theta.numpy())
        except ImportError:
            pass
    return medians(functions, repeats)


def from_files(n, p, repeats):
    theta = torch.cumsum(torch.randn(n, p, generator=torch.Generator().manual_seed(0)), 0)
    with tempfile.TemporaryDirectory() as folder:
        for step, state in enumerate(state_dicts(theta)):
            save_file(state, f"{folder}/step_{step}.safetensors")
        files, buffer = sorted(Path(folder).iterdir()), bytearray(p * 4 + 65536)

        def read():
            for file in files:
                with open(file, "rb", buffering=0) as opened:
                    opened.readinto(buffer)

        trajectory = th.open_trajectory(folder)
        return medians(
            {
                "read": read,
                "torch": lambda: theta @ theta.T,
                "float32": lambda: th.gram(trajectory, "cpu", "float32"),
                "float64": lambda: th.gram(trajectory, "cpu", "float64"),
            },
            repeats,
        )


_MEMORY = """
import sys, torch, trajhelpers as th
def peak():
    lines = open("/proc/self/status")
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1e3
before = peak()
th.gram(th.open_trajectory(sys.argv[1]), "cpu", sys.argv[2])
print(peak() - before)
"""


def peak_memory(n, megabytes, precision, folder):
    block = torch.randn(megabytes * 250_000 // PARTS)
    for step in range(n):
        save_file(
            {f"layer.{i}": block + step for i in range(PARTS)}, f"{folder}/step_{step}.safetensors"
        )
    return float(
        subprocess.run(
            [sys.executable, "-c", _MEMORY, folder, precision],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    )


def worst_error(states, precision, origins=8):
    """Largest error of a cosine of C, of C_τ for some τ, and between consecutive updates, against
    direct differences in float64.
    """
    kernel = th.gram(th.open_trajectory(states), "cpu", precision)
    theta, worst = oracle.flat(states), 0.0
    for origin in [None, *np.linspace(0, kernel.n - 1, origins).round().astype(int).tolist()]:
        worst = max(worst, abs(kernel.cosine(origin) - oracle.cosine(theta, origin)).max())
    t = np.arange(1, kernel.n - 1)
    return (
        worst,
        abs(
            kernel.cosine_between(t, t + 1, t - 1, t) - oracle.angle_cosines(theta)["consecutive"]
        ).max(),
    )


def accuracy(p):
    print(
        f"\nlargest error of a cosine, p = {p:,}, n = 60: C and C_τ for eight τ, consecutive"
        " updates"
    )
    for name, build in trajectories.ACCURACY_TABLE.items():
        states = build(p)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            values = [
                error
                for precision in ("float64", "float32")
                for error in worst_error(states, precision)
            ]
        warned = "  warned of" * any("rounding" in str(warning.message) for warning in caught)
        print(
            f"  {name:28} float64 {values[0]:.1e} {values[1]:.1e}   float32 {values[2]:.1e}"
            f" {values[3]:.1e}{warned}"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--p", type=int, default=2_000_000, help="parameters (default: 2,000,000)")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--no-memory", action="store_true", help="skip the part that writes 16 GB of files"
    )
    options = parser.parse_args()
    print(f"p = {options.p:,}, {os.cpu_count()} cores, medians of {options.repeats}\n")
    print("in memory, relative to torch float32 T @ T.T        float32  float64")
    for n in (39, 91, 154):
        times = in_memory(n, options.p, options.repeats, peers=n == 39)
        print(
            f"  n = {n:<4} ({times['torch']:.3f} s)                             "
            f" {times['float32'] / times['torch']:6.2f}   {times['float64'] / times['torch']:6.2f}"
        )
        for name in ("numpy, all loaded", "scikit-learn", "double loop"):
            if name in times:
                print(f"            {name:20} {times[name] / times['torch']:.2f}")
    print("\nfrom files, relative to the larger of reading and torch's product")
    for n in (39, 64, 154):
        times = from_files(n, options.p, options.repeats)
        limit = max(times["read"], times["torch"])
        print(
            f"  n = {n:<4} ({limit:.3f} s)                             "
            f" {times['float32'] / limit:6.2f}   {times['float64'] / limit:6.2f}"
        )
    accuracy(options.p)
    if not options.no_memory:
        print("\npeak memory above the interpreter with torch, 64 checkpoints (MB)")
        for megabytes in (64, 256):
            with tempfile.TemporaryDirectory() as folder:
                print(f"  of {megabytes} MB: {peak_memory(64, megabytes, 'float64', folder):.0f}")


if __name__ == "__main__":
    main()
