"""The pass against what bounds it: reading the files, and products of matrices."""

import mmap
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import threadpoolctl
import torch
from measuring import forget, least, state_dicts, threads, walk
from safetensors.torch import save_file

import trajhelpers as th

SIZES = (39, 91, 154)
SQUARE = 1024


def square_rates(counts, repeats=8):
    """Multiplications a second of products of square matrices, one a thread, all at once."""
    found = {}
    for precision in ("float32", "float64"):
        matrix = np.random.default_rng(0).standard_normal((SQUARE, SQUARE)).astype(precision)
        for count in counts:
            with ThreadPoolExecutor(count) as pool, threadpoolctl.threadpool_limits(1):
                results = [np.empty_like(matrix) for _ in range(count)]

                def at_once(pool=pool, matrix=matrix, results=results):
                    list(pool.map(lambda out: np.matmul(matrix, matrix, out=out), results))

                seconds = least({"square": at_once}, repeats)["square"]
            found[precision, count] = count * SQUARE**3 / seconds
    return found


def passes(counts, repeats, numbers):
    """A row for each n, type of file, number of threads and precision, from the cache and not."""
    rates, rows = square_rates(counts), []
    for n in SIZES:
        p = numbers // n
        theta = walk(n, p)
        exact = theta.double()
        for dtype in ("float16", "bfloat16", "float32"):
            with tempfile.TemporaryDirectory() as folder:
                states = state_dicts(theta.clamp(-6e4, 6e4).to(getattr(torch, dtype)))
                for step, state in enumerate(states):
                    save_file(state, f"{folder}/step_{step:03}.safetensors")
                del states
                for count in counts:
                    with threads(count):
                        rows += _passes(Path(folder), theta, exact, dtype, count, rates, repeats)
    return rates, rows


def _passes(folder, theta, exact, dtype, count, rates, repeats):
    n, p = theta.shape
    trajectory = th.open_trajectory(folder)
    functions = {
        "read": lambda: read(folder, count),
        "float32": lambda: th.gram(trajectory, "cpu", "float32"),
        "float64": lambda: th.gram(trajectory, "cpu", "float64"),
    }
    products = {
        "product float32": lambda: theta @ theta.T,
        "product float64": lambda: exact @ exact.T,
    }
    warm = least(functions | products, repeats)
    cold = least(functions, 1, before=lambda: forget(folder))
    for cache, times in (("warm", warm), ("cold", cold)):
        for precision in ("float32", "float64"):
            # Of torch, in float32 always: what float64 costs beyond it shows.
            limit = max(times["read"], warm["product float32"])
            yield {
                "n": n,
                "p": p,
                "files": dtype,
                "precision": precision,
                "threads": count,
                "ranks": 1,
                "cache": cache,
                "seconds": times[precision],
                "read_seconds": times["read"],
                "product_seconds": warm[f"product {precision}"],
                "of_limit": times[precision] / limit,
                "of_own_product": times[precision] / warm[f"product {precision}"],
                "of_square_rate": n * n * p / times[precision] / rates[precision, count],
            }


def read(folder: Path, count: int) -> None:
    """All bytes of all files once, by so many threads, each into pages of its own, which begin
    where a page does: copies to some other places take several times as long on some processors.
    """
    files = sorted(folder.iterdir())

    def some(first):
        with mmap.mmap(-1, max(file.stat().st_size for file in files)) as buffer:
            for file in files[first::count]:
                with open(file, "rb", buffering=0) as opened:
                    opened.readinto(buffer)

    with ThreadPoolExecutor(count) as pool:
        list(pool.map(some, range(count)))


def slopes(repeats):
    """On log-log axes, of time against n and against p, in memory."""
    by_n = {n: _seconds(n, 500_000, repeats) for n in (32, 64, 128, 256)}
    by_p = {p: _seconds(39, p, repeats) for p in (500_000, 1_000_000, 2_000_000, 4_000_000)}
    return {
        "seconds_by_n": by_n,
        "seconds_by_p": by_p,
        "time_against_n": slope(by_n),
        "time_against_p": slope(by_p),
    }


def _seconds(n, p, repeats):
    trajectory = th.open_trajectory(state_dicts(walk(n, p)))
    return least({"float64": lambda: th.gram(trajectory, "cpu")}, repeats)["float64"]


def slope(values: dict[int, float]) -> float:
    return float(np.polyfit(np.log(list(values)), np.log(list(values.values())), 1)[0])


def print_passes(rates, rows):
    print("\nsquare products, 10⁹ multiplications a second")
    for (precision, count), rate in rates.items():
        print(f"  {precision}, {count} thread{'s' * (count > 1)} {rate / 1e9:8.1f}")
    print(
        "\nfrom files, time relative to the slower of reading them and torch's float32 T @ T.T,"
        "\nand useful multiplications (n² p) a second relative to square products\n"
    )
    print("  n    files     threads  cache   float32  float64    float32  float64")
    keys = ("n", "files", "threads", "cache")
    for first, second in zip(rows[::2], rows[1::2]):
        n, files, count, cache = (first[key] for key in keys)
        print(
            f"  {n:<4} {files:9} {count:<8} {cache:6} {first['of_limit']:8.2f}"
            f" {second['of_limit']:8.2f}    {first['of_square_rate']:6.0%} "
            f" {second['of_square_rate']:6.0%}"
        )
