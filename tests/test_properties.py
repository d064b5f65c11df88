"""What must not change a kernel, on small drawn trajectories; and what computing a kernel must not
change in the process.
"""

import contextlib
import functools
import itertools
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import oracle
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import ThreadpoolController, threadpool_info, threadpool_limits

import trajhelpers as th
from trajhelpers.streaming.accelerator import products_on_accelerator
from trajhelpers.streaming.cpu import COLUMNS
from trajhelpers.streaming.settings import Place, Setting

# derandomized: the same examples on every machine and in every run
fast = settings(derandomize=True, deadline=None, max_examples=25, database=None)

seeds = st.integers(0, 2**32 - 1)
shapes = st.lists(st.sampled_from([(3,), (2, 3), (1, 4, 2), (5, 1), ()]), min_size=1, max_size=5)
dtypes = st.sampled_from([torch.float64, torch.float32, torch.float16, torch.bfloat16])


def draw_states(seed, shapes, n, dtype=torch.float64):
    """n state dicts of independent normal tensors: no structure that could hide an error."""
    generator = torch.Generator().manual_seed(seed)
    return [
        {
            f"layer{i}.weight": (
                torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)
            )
            for i, shape in enumerate(shapes)
        }
        for _ in range(n)
    ]


def kernel_of(states, **options):
    return th.gram(th.open_trajectory(states), device="cpu", **options)


def close(found, expected):
    scale = np.max(np.abs(expected))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12 * scale)


@fast
@given(seed=seeds, shapes=shapes, n=st.integers(2, 9), dtype=dtypes)
def test_any_layout_and_dtype_agrees_with_the_oracle(seed, shapes, n, dtype):
    states = draw_states(seed, shapes, n, dtype)
    theta = oracle.flat(states)
    kernel = kernel_of(states)
    assert kernel.p == theta.shape[1] and kernel.n == n
    close(kernel.gram(), oracle.gram(theta))
    for origin in range(n):
        close(kernel.gram(origin=origin), oracle.gram(theta, origin))


@fast
@given(seed=seeds, n=st.integers(2, 7), p=st.integers(2, 40))
def test_permuting_the_coordinates(seed, n, p):
    theta = np.random.default_rng(seed).standard_normal((n, p))
    order = np.random.default_rng(seed + 1).permutation(p)
    close(
        kernel_of([{"w": row} for row in theta[:, order]]).total,
        kernel_of([{"w": row} for row in theta]).total,
    )


@fast
@given(seed=seeds, n=st.integers(2, 7), p=st.integers(2, 40))
def test_rotating_the_coordinates(seed, n, p):
    rng = np.random.default_rng(seed)
    theta = rng.standard_normal((n, p))
    rotation, _ = np.linalg.qr(rng.standard_normal((p, p)))
    close(
        kernel_of([{"w": row} for row in theta @ rotation]).total,
        kernel_of([{"w": row} for row in theta]).total,
    )


@fast
@given(seed=seeds, shapes=shapes, n=st.integers(2, 6), data=st.data())
def test_order_of_the_tensors(seed, shapes, n, data):
    states = draw_states(seed, shapes, n)
    # even another order in each checkpoint
    orders = [data.draw(st.permutations(list(states[0]))) for _ in states]
    shuffled = [{name: state[name] for name in order} for state, order in zip(states, orders)]
    kernel, other = kernel_of(states), kernel_of(shuffled)
    assert set(kernel.names) == set(other.names)
    close(other.total, kernel.total)
    for name, part in kernel.groups().items():
        close(other.groups()[name].total, part.total)


@fast
@given(seed=seeds, n=st.integers(2, 6), cuts=st.lists(st.integers(1, 59), max_size=6, unique=True))
def test_cutting_a_tensor_into_groups(seed, n, cuts):
    """However the 60 numbers are grouped, each block is the Gram of its own numbers and the sum is
    the whole.
    """
    states = draw_states(seed, [(60,)], n)
    edges = [0, *sorted(cuts), 60]
    groups = {
        f"part{i}": [("layer0.weight", a, b)] for i, (a, b) in enumerate(zip(edges, edges[1:]))
    }
    kernel = kernel_of(states, groups=groups)
    theta = oracle.flat(states)
    close(kernel.total, kernel_of(states).total)
    assert list(kernel.names) == list(groups)
    for i, (_, part) in enumerate(kernel.groups().items()):
        assert part.p == edges[i + 1] - edges[i]
        close(part.gram(), oracle.gram(theta[:, edges[i] : edges[i + 1]]))


def test_a_group_of_several_ranges():
    """What splitting query, key and value needs: interleaved ranges of one tensor and a whole other
    one in one group.
    """
    states = draw_states(3, [(12,), (2, 3)], 5)
    kernel = kernel_of(
        states,
        groups={
            "even": [
                ("layer0.weight", 0, 3),
                ("layer0.weight", 6, 9),
                ("layer1.weight", None, None),
            ],
            "odd": [("layer0.weight", 3, 6), ("layer0.weight", 9, 12)],
        },
    )
    theta = oracle.flat(states)
    close(kernel.groups()["even"].gram(), oracle.gram(theta[:, [0, 1, 2, 6, 7, 8, *range(12, 18)]]))
    close(kernel.groups()["odd"].gram(), oracle.gram(theta[:, [3, 4, 5, 9, 10, 11]]))
    assert list(kernel.sizes) == [12, 6]


@pytest.mark.parametrize(
    "groups",
    [
        {"a": [("no such tensor", None, None)]},
        {"a": [("layer0.weight", 0, 13)]},
        {"a": [("layer0.weight", -1, 3)]},
        {"a": [("layer0.weight", 5, 2)]},
    ],
    ids=["name", "past the end", "negative", "backwards"],
)
def test_groups_outside_the_tensors_are_refused(groups):
    with pytest.raises((ValueError, KeyError, th.TrajectoryError)):
        kernel_of(draw_states(0, [(12,)], 3), groups=groups)


@fast
@given(seed=seeds, n=st.integers(3, 12), k=st.integers(1, 4))
def test_slicing_is_recomputing(seed, n, k):
    states = draw_states(seed, [(4, 3), (5,)], n)
    if len(states[::k]) < 2:
        return
    sliced, again = kernel_of(states)[::k], kernel_of(states[::k])
    close(sliced.increments, again.increments)
    assert list(sliced.steps) == list(range(n))[::k]
    assert list(sliced.names) == list(again.names) and sliced.p == again.p


@fast
@given(seed=seeds, n=st.integers(3, 12), data=st.data())
def test_picking_checkpoints_is_recomputing(seed, n, data):
    picked = sorted(data.draw(st.sets(st.integers(0, n - 1), min_size=2)))
    states = draw_states(seed, [(7,)], n)
    close(kernel_of(states)[picked].increments, kernel_of([states[i] for i in picked]).increments)


@fast
@given(seed=seeds, n=st.integers(2, 8), shapes=shapes)
def test_saving_and_loading_is_exact(seed, n, shapes, tmp_path_factory):
    path = tmp_path_factory.mktemp("kernels") / "run.npz"
    kernel = kernel_of(draw_states(seed, shapes, n))
    kernel.save(path)
    loaded = th.load_kernel(path)
    assert np.array_equal(loaded.increments, kernel.increments)
    assert list(loaded.steps) == list(kernel.steps) and list(loaded.names) == list(kernel.names)
    assert (
        list(loaded.sizes) == list(kernel.sizes)
        and list(loaded.runs) == list(kernel.runs)
        and loaded.p == kernel.p
    )
    with np.load(path, allow_pickle=False) as file:
        assert all(file[key].dtype != object for key in file.files)


@pytest.mark.parametrize("columns", [1, 2, 3, 7, 64, 1_000_000])
@pytest.mark.parametrize("precision, limit", [("float64", 1e-13), ("float32", 1e-5)])
def test_chunk_size(monkeypatch, columns, precision, limit):
    """The blocks' width is no option; it is set from outside here. Groups end where no block and no
    worker's share does.
    """
    monkeypatch.setitem(COLUMNS, precision, columns)
    states = draw_states(4, [(23,), (10, 31), (1,), (7, 5)], 6)
    groups = {
        "a": [("layer0.weight", 2, 9), ("layer3.weight", None, None)],
        "b": [("layer1.weight", 1, 300), ("layer0.weight", 20, 23)],
    }
    columns_of = {"a": [*range(2, 9), *range(334, 369)], "b": [*range(24, 323), *range(20, 23)]}
    theta = oracle.flat(states)
    scale = np.max(oracle.gram(theta))
    assert (
        np.max(np.abs(kernel_of(states, precision=precision).gram() - oracle.gram(theta)))
        <= limit * scale
    )
    for name, part in kernel_of(states, precision=precision, groups=groups).groups().items():
        assert (
            np.max(np.abs(part.gram() - oracle.gram(theta[:, columns_of[name]]))) <= limit * scale
        )


@pytest.mark.parametrize("precision, limit", [("float64", 1e-12), ("float32", 1e-6)])
def test_large_and_odd_sizes(precision, limit):
    rng = np.random.default_rng(0)
    for p in (1, 2, 4_095, 4_097, 65_537, 1_000_003):
        theta = rng.standard_normal((3, p)).astype(np.float32)
        states = [
            {"large": torch.from_numpy(row), "small": torch.from_numpy(row[:1].copy())}
            for row in theta
        ]
        with_small = np.concatenate([theta, theta[:, :1]], axis=1).astype(np.float64)
        expected = oracle.gram(with_small)
        found = kernel_of(states, precision=precision).gram()
        assert np.max(np.abs(found - expected)) <= limit * np.max(np.abs(expected)), p


def test_threads_do_not_matter():
    states = draw_states(5, [(300, 301), (17,)], 11, torch.float32)
    expected = kernel_of(states).total
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            with threadpool_limits(threads):
                close(kernel_of(states).total, expected)
    finally:
        torch.set_num_threads(before)


# Ctrl-C


def test_no_pass_looks_for_the_libraries_of_the_process(monkeypatch):
    """The system calls back for each of them, and a Ctrl-C that falls into a callback from C is
    printed as ignored, and lost.
    """
    monkeypatch.setattr(
        ThreadpoolController, "__init__", lambda self: pytest.fail("looked for in a pass")
    )
    kernel_of(draw_states(7, [(300,)], 4))


# The process's settings


def fp32_precisions():
    """Of CUDA and of the CPU; before torch 2.9 both had one setting, of other names."""
    if not hasattr(torch.backends.mkldnn, "matmul"):
        found = torch.get_float32_matmul_precision()
        assert torch.backends.cuda.matmul.allow_tf32 == (found != "highest")
        return [{"highest": "ieee"}.get(found, found)]
    backends = torch.backends.cuda.matmul, torch.backends.mkldnn.matmul
    return [backend.fp32_precision for backend in backends]


def settings_of_the_process():
    # one entry a library: the order in which they were loaded may change, their thread counts may
    # not
    blas = {info["filepath"]: info["num_threads"] for info in threadpool_info()}
    return {
        "torch threads": torch.get_num_threads(),
        "blas threads": blas,
        "matmul precision": torch.get_float32_matmul_precision(),
        "cuda tf32": torch.backends.cuda.matmul.allow_tf32,
        "cudnn tf32": torch.backends.cudnn.allow_tf32,
        "fp32 precision": fp32_precisions(),
        "fp16 reduction": torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction,
        "bf16 reduction": torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction,
        "default dtype": torch.get_default_dtype(),
        "grad": torch.is_grad_enabled(),
        "numpy errors": np.geterr(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
    }


@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_settings_are_left_as_they_were(precision):
    states = draw_states(6, [(200, 200)], 20, torch.float32)
    before = torch.get_float32_matmul_precision(), torch.get_num_threads()
    try:
        for matmul, threads in (("highest", 1), ("high", 2), ("medium", 3)):
            torch.set_float32_matmul_precision(matmul)
            torch.set_num_threads(threads)
            with threadpool_limits(limits=threads, user_api="blas"):
                kernel_of(states[:2], precision=precision)  # whatever it loads is loaded now
                earlier = settings_of_the_process()
                kernel_of(states, precision=precision)
                assert settings_of_the_process() == earlier
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.set_num_threads(before[1])


def test_settings_are_left_as_they_were_after_an_error():
    states = draw_states(6, [(200, 200)], 20, torch.float32)
    states[13]["layer0.weight"][5, 5] = float("nan")
    kernel_of(draw_states(6, [(2,)], 3))
    with threadpool_limits(2, user_api="blas"):  # one is what a pass itself sets
        earlier = settings_of_the_process()
        with pytest.raises(th.NonFiniteError):
            kernel_of(states)
        assert settings_of_the_process() == earlier


def overlapping(first_in, last_out):
    """Run two functions of ``(entered, leave)`` in two threads: the second enters while the first
    is inside, and leaves after it.
    """
    entered, leave = (
        [threading.Event(), threading.Event()],
        [threading.Event(), threading.Event()],
    )
    with ThreadPoolExecutor(2) as pool:
        runs = []
        for index, run in enumerate((first_in, last_out)):
            runs.append(pool.submit(run, entered[index], leave[index]))
            assert entered[index].wait(60)
        for index, run in enumerate(runs):
            leave[index].set()
            run.result(60)


class Paused(th.Trajectory):
    """A trajectory whose first block is not read before it may be."""

    def __init__(self, trajectory, entered, leave):
        super().__init__(
            trajectory.checkpoints, trajectory.layout, trajectory.origin, trajectory.nonfinite
        )
        self._entered, self._leave = entered, leave

    def read_into(self, *arguments):
        self._entered.set()
        assert self._leave.wait(60)
        super().read_into(*arguments)


def test_overlapping_passes_leave_the_settings_as_they_were():
    states = draw_states(6, [(20, 20)], 5)
    expected = kernel_of(states).increments

    def one_pass(entered, leave):
        found = th.gram(Paused(th.open_trajectory(states), entered, leave), device="cpu")
        np.testing.assert_array_equal(found.increments, expected)

    with threadpool_limits(limits=2, user_api="blas"):
        earlier = settings_of_the_process()
        overlapping(one_pass, one_pass)
        assert settings_of_the_process() == earlier


def test_overlapping_passes_on_an_accelerator_are_exact_to_the_end(monkeypatch):
    """The first one out must not allow the other's products TF32 again."""
    module = sys.modules["trajhelpers.streaming.passing"]
    by_torch = functools.partial(products_on_accelerator, device="cpu")
    monkeypatch.setattr(module, "products_on_cpu", by_torch)
    states = draw_states(6, [(20, 20)], 5, torch.float32)
    before, seen = torch.get_float32_matmul_precision(), []

    def one_pass(entered, leave):
        paused = Paused(th.open_trajectory(states), entered, leave)
        th.gram(paused, device="cpu", precision="float32")

    def last_pass(entered, leave):
        def looked():
            assert leave.wait(60)
            seen.extend(fp32_precisions())
            return True

        one_pass(entered, SimpleNamespace(wait=lambda seconds: looked()))

    try:
        torch.set_float32_matmul_precision("high")
        earlier = settings_of_the_process()
        overlapping(one_pass, last_pass)
        assert settings_of_the_process() == earlier
    finally:
        torch.set_float32_matmul_precision(before)
    assert set(seen) == {"ieee"}


def test_a_setting_that_somebody_changes_meanwhile_stays_theirs():
    values = {"a": 4, "b": 4}
    places = [
        Place(
            functools.partial(values.get, name),
            lambda value, name=name: values.update({name: value}),
        )
        for name in values
    ]
    setting = Setting(lambda: places, 1)
    with setting.held(), setting.held():
        assert values == {"a": 1, "b": 1}
        values["a"] = 3
    assert values == {"a": 3, "b": 4}


@pytest.mark.parametrize("after", range(6))
def test_a_setting_comes_back_wherever_a_pass_is_interrupted(after):
    """Ctrl-C before or after any reading or writing of a place, with another pass under way or
    not.
    """
    values, count = {"a": 4, "b": 4}, itertools.count()

    def interrupted():
        if next(count) == after:
            raise KeyboardInterrupt

    def place(name):
        def read():
            interrupted()
            return values[name]

        def write(value):
            values[name] = value
            interrupted()

        return Place(read, write)

    setting = Setting(lambda: [place("a"), place("b")], 1)
    with contextlib.suppress(KeyboardInterrupt):
        with setting.held():
            pass
    with setting.held():
        assert values == {"a": 1, "b": 1}
    assert values == {"a": 4, "b": 4}


def autocast():
    return torch.autocast("cpu", dtype=torch.bfloat16)


class Float16ByDefault:
    def __enter__(self):
        torch.set_default_dtype(torch.float16)

    def __exit__(self, *error):
        torch.set_default_dtype(torch.float32)


class MediumPrecision:
    def __enter__(self):
        torch.set_float32_matmul_precision("medium")

    def __exit__(self, *error):
        torch.set_float32_matmul_precision("highest")


@pytest.mark.parametrize("precision, limit", [("float64", 1e-13), ("float32", 1e-6)])
@pytest.mark.parametrize(
    "context", [autocast, torch.inference_mode, torch.no_grad, MediumPrecision, Float16ByDefault]
)
def test_settings_of_the_caller_do_not_reach_the_products(context, precision, limit):
    """bfloat16 products would be off by 1e-3."""
    states = draw_states(7, [(100, 90)], 6, torch.float32)
    expected = oracle.gram(oracle.flat(states))
    with context():
        kernel = kernel_of(states, precision=precision)
    assert np.max(np.abs(kernel.gram() - expected)) <= limit * np.max(expected)


def test_parameters_that_require_grad():
    states = [{"w": torch.nn.Parameter(torch.randn(5, 3))} for _ in range(3)]
    kernel = kernel_of(states)
    close(kernel.gram(), oracle.gram(oracle.flat(states)))
    assert all(state["w"].grad is None and state["w"].requires_grad for state in states)


def test_the_callers_tensors_are_not_written_to():
    states = draw_states(8, [(40, 30)], 6, torch.float32)
    copies = [{name: tensor.clone() for name, tensor in state.items()} for state in states]
    for precision in ("float64", "float32"):
        kernel_of(states, precision=precision)
    assert all(torch.equal(a[name], b[name]) for a, b in zip(states, copies) for name in a)


def test_import_is_lazy():
    """A kernel on disk is read without torch, matplotlib or pandas."""
    code = (
        "import sys, trajhelpers as th; th.TrajectoryKernel; th.load_kernel; th.hallmarks; "
        "print([m for m in ('torch', 'matplotlib', 'pandas', 'ipywidgets') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
