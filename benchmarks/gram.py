"""How fast and how large the kernel's pass is, as ratios from one run: python benchmarks/gram.py
(or make bench).

Against the limits: reading the files, and products of matrices; against peers in memory; how time
grows with n and p, and memory with p; accuracy. The least of interleaved repeats. ``--out`` writes
all of it, and which machine it was, as JSON."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

# Some machines pin OpenBLAS to an older kernel; both variables must go before NumPy is imported.
if os.environ.pop("OPENBLAS_CORETYPE", None):
    os.environ.pop("OPENBLAS_L2_SIZE", None)
    os.execv(sys.executable, [sys.executable, *sys.argv])

import numpy as np
import torch
from limits import passes, print_passes, slope, slopes
from measuring import PARTS, least, machine, state_dicts, walk
from safetensors.torch import save_file

import trajhelpers as th

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import oracle
import trajectories


def double_loop(states):
    flat = [torch.cat([tensor.flatten() for tensor in state.values()]) for state in states]
    return [[torch.dot(a, b).item() for a in flat] for b in flat]


def in_memory(n, p, repeats, peers):
    theta = walk(n, p)
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
    return least(functions, repeats)


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
    rows = []
    for name, build in trajectories.ACCURACY_TABLE.items():
        states, errors = build(p), {}
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for precision in ("float64", "float32"):
                errors[precision] = [float(error) for error in worst_error(states, precision)]
        warned = any("rounding" in str(warning.message) for warning in caught)
        rows.append({"trajectory": name, "warned": warned, **errors})
        said = "   ".join(f"{kind} {a:.1e} {b:.1e}" for kind, (a, b) in errors.items())
        print(f"  {name:28} {said}{'  warned of' * warned}")
    return rows


def against_peers(p, repeats):
    print(f"\nin memory, p = {p:,}, relative to torch float32 T @ T.T")
    found = {}
    for n in (39, 91, 154):
        times = found[n] = in_memory(n, p, repeats, peers=n == 39)
        print(f"  n = {n} ({times['torch']:.3f} s)")
        for name, seconds in times.items():
            if name != "torch":
                print(f"    {name:20} {seconds / times['torch']:6.2f}")
    return found


def growth(repeats):
    found = slopes(repeats)
    print("\nslopes on log-log axes")
    for name in ("time_against_n", "time_against_p"):
        print(f"  {name.replace('_', ' '):22} {found[name]:.2f}")
    return found


def memory():
    print("\npeak memory above the interpreter with torch, 16 checkpoints (MB)")
    peaks = {}
    for megabytes in (32, 64, 128):
        with tempfile.TemporaryDirectory() as folder:
            peaks[megabytes] = peak_memory(16, megabytes, "float64", folder)
        print(f"  of {megabytes} MB: {peaks[megabytes]:.0f}")
    print(f"  memory against p, slope {slope(peaks):.2f}")
    return {"peak_megabytes_by_checkpoint": peaks, "memory_against_p": slope(peaks)}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--p", type=int, default=500_000, help="parameters (default: 500,000)")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--numbers", type=int, default=20_000_000, help="n × p, from files")
    parser.add_argument("--out", type=Path, help="where the figures go, as JSON")
    options = parser.parse_args()
    facts = machine()
    print(f"{facts['cpu']}, {facts['cores']} cores; {', '.join(facts['blas'])}")
    rates, rows = passes([1, 2][: facts["cores"]], options.repeats, options.numbers)
    print_passes(rates, rows)
    found = {
        "machine": facts,
        "square_rates": {f"{kind}, {count}": rate for (kind, count), rate in rates.items()},
        "passes": rows,
        "in_memory": against_peers(options.p, options.repeats),
        "growth": growth(options.repeats) | memory(),
        "accuracy": accuracy(options.p),
    }
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
