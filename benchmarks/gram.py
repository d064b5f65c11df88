"""How fast, how large and how exact the kernel's pass is, from one run: python benchmarks/gram.py
(or make bench).

Against the limits: reading the files, and products of matrices; against peers in memory; shared by
processes; how time grows with n and p, and memory with p; errors against whole numbers. The least
of interleaved repeats. ``--out`` writes all of it, and which machine it was, as JSON, of which the
chapter "How fast, how exact" is made."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

# Some machines pin OpenBLAS to an older kernel; both variables must go before NumPy is imported.
if os.environ.pop("OPENBLAS_CORETYPE", None):
    os.environ.pop("OPENBLAS_L2_SIZE", None)
    os.execv(sys.executable, [sys.executable, *sys.argv])

import torch
from accuracy import accuracy, print_accuracy
from limits import passes, print_passes, slope, slopes
from measuring import PARTS, least, machine, state_dicts, walk
from ranks import print_shared, shared_passes
from safetensors.torch import save_file

import trajhelpers as th


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
import sys, trajhelpers as th
from measuring import peak_megabytes
before = peak_megabytes()
th.gram(th.open_trajectory(sys.argv[1]), "cpu", sys.argv[2])
print(peak_megabytes() - before)
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
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    )


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
    parser.add_argument("--exact", type=int, default=2_000, help="p, for errors (default: 2,000)")
    parser.add_argument("--out", type=Path, help="where the figures go, as JSON")
    options = parser.parse_args()
    facts = machine()
    print(f"{facts['cpu']}, {facts['cores']} cores; {', '.join(facts['blas'])}")
    counts = [1, 2][: facts["cores"]]
    rates, rows = passes(counts, options.repeats, options.numbers)
    print_passes(rates, rows)
    shared = shared_passes(counts, options.repeats, options.numbers)
    print_shared(shared)
    errors = accuracy(options.exact)
    print_accuracy(errors)
    found = {
        "machine": facts,
        "square_rates": {f"{kind}, {count}": rate for (kind, count), rate in rates.items()},
        "passes": rows,
        "in_memory": against_peers(options.p, options.repeats),
        "growth": growth(options.repeats) | memory(),
        "shared": shared,
        "accuracy": errors,
    }
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
