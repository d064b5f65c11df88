"""What benchmarks share: the machine in words, times, threads, files that are in memory or not."""

import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import safetensors
import threadpoolctl
import torch

import trajhelpers as th

PARTS = 10


def machine() -> dict:
    """What figures depend on; neither its name nor a path on it."""
    blas = [one for one in threadpoolctl.threadpool_info() if one["user_api"] == "blas"]
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "blas": sorted(
            {f"{one['internal_api']} {one['version']} {one.get('architecture')}" for one in blas}
        ),
        "torch_cpu": torch.backends.cpu.get_cpu_capability(),
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "torch": torch.__version__,
            "safetensors": safetensors.__version__,
            "trajhelpers": th.__version__,
        },
    }


def _cpu():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    facts = dict(line.split(":", 1) for line in lines if ":" in line)
    facts = {name.strip(): value.strip() for name, value in facts.items()}
    flags = facts.get("flags", "").split()
    widest = next((one for one in ("avx512f", "avx2") if one in flags), "")
    return " ".join(filter(None, (facts.get("model name", platform.processor()), widest)))


def least(functions: dict[str, Callable], repeats: int, before: Callable | None = None) -> dict:
    """The least seconds of each function, run in turn, after one round to warm up, or after what
    is to be done before each.
    """
    times: dict[str, list[float]] = {name: [] for name in functions}
    for repeat in range(repeats + (before is None)):
        for name, function in functions.items():
            if before:
                before()
            begin = time.perf_counter()
            function()
            if repeat or before:
                times[name].append(time.perf_counter() - begin)
    return {name: min(values) for name, values in times.items()}


def peak_megabytes() -> float:
    """The most that this process has had in memory."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1e3


@contextmanager
def threads(count: int) -> Iterator[None]:
    """So many for torch, and for gram, which takes one a core that it may use."""
    cores, of_torch = os.sched_getaffinity(0), torch.get_num_threads()
    os.sched_setaffinity(0, sorted(cores)[:count])
    torch.set_num_threads(count)
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)
        torch.set_num_threads(of_torch)


def forget(folder: Path) -> None:
    """Out of the page cache with a folder's files, as far as the system does it."""
    for file in folder.iterdir():
        descriptor = os.open(file, os.O_RDONLY)
        try:
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def walk(n: int, p: int) -> torch.Tensor:
    return torch.cumsum(torch.randn(n, p, generator=torch.Generator().manual_seed(0)), 0)


def state_dicts(theta: torch.Tensor) -> list[dict[str, torch.Tensor]]:
    return [
        {f"layer.{i}": part.clone() for i, part in enumerate(row.chunk(PARTS))} for row in theta
    ]
