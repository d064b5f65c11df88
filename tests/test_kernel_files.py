"""Kernels on disk: what is saved comes back, and what no pass wrote is refused by name."""

import json
import random
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.lib import format as npy

import trajhelpers as th
from trajhelpers.streaming.resuming import Partial, State
from trajhelpers.streaming.sums import Scaled, Sums


def walk(n=5, p=9, groups=1, seed=0):
    generator = np.random.default_rng(seed)
    return np.stack([x @ x.T for x in generator.standard_normal((groups, n, p))])


def saved(path, **more):
    products = walk(groups=2)
    kernel = th.TrajectoryKernel(products, [1, 2, 4, 8, 16], ["a", "b"], [9, 9], **more)
    kernel.save(path)
    return kernel


def forge(path, **changed):
    """The file with some of its arrays changed; of None, left out."""
    with np.load(path) as file:
        arrays = {**{name: file[name] for name in file.files}, **changed}
    np.savez_compressed(path, **{name: x for name, x in arrays.items() if x is not None})


def about(path, **changed):
    with np.load(path) as file:
        return np.array(json.dumps(json.loads(str(file["about"])) | changed))


def refused(path, *facts):
    with pytest.raises(th.TrajectoryError) as caught:
        th.load_kernel(path)
    for fact in (path.name, *facts):
        assert fact in str(caught.value)


# Damage


def mutated(content, generator):
    """Some bytes flipped, cut out, put in or moved."""
    content = bytearray(content)
    for _ in range(generator.choice([1, 1, 2, 4])):
        at, length = generator.randrange(len(content)), generator.choice([1, 4, 30])
        how = generator.randrange(5)
        if how == 0:
            content[at] ^= 1 << generator.randrange(8)
        elif how == 1:
            del content[at : at + length]
        elif how == 2:
            content[at:at] = generator.randbytes(length)
        elif how == 3:
            content[at : at + 4] = generator.choice([b"\xff" * 4, b"\0" * 4])
        else:
            content[at:at] = content[: generator.randrange(1, 100)]
    return bytes(content)


def test_damaged_kernels_say_so(tmp_path):
    path, generator = tmp_path / "run.npz", random.Random(0)
    kernel = saved(path)
    whole = path.read_bytes()
    for _ in range(600):
        path.write_bytes(mutated(whole, generator))
        try:
            loaded = th.load_kernel(path)
        except th.TrajectoryError as error:
            assert "run.npz" in str(error)
        else:
            np.testing.assert_array_equal(loaded.increments, kernel.increments)


def sums(products, exponent=0):
    """What a pass has added up so far."""
    found = Sums.none(products.shape[-1])
    for index, values in enumerate(products):
        found.add_product(index, Scaled(values, exponent))
    return found


def test_damaged_states_of_a_pass_say_so(tmp_path):
    path, generator = tmp_path / "run.partial", random.Random(0)
    state = State([(0, 2), (5, 9)], [1], sums(walk(4, groups=2)))
    store = Partial(path, {"numbers of groups and checkpoints": [2, 5]})
    store.write(state)
    whole = path.read_bytes()
    for _ in range(300):
        path.write_bytes(mutated(whole, generator))
        try:
            found = store.read()
        except th.TrajectoryError as error:
            assert "run.partial" in str(error)
        else:
            for index, one in state.sums.products.items():
                np.testing.assert_array_equal(found.sums.products[index].values, one.values)


@pytest.mark.parametrize(
    "state",
    [
        State([(-1, 2)], [], sums(walk(5))),
        State("2", [], sums(walk(5))),
        State([(0, 2), (1, 3)], [], sums(walk(5))),
        State([(0, 2)], [7], sums(walk(4))),
        State([(0, 2)], [], sums(walk(4))),
        State([(0, 2)], [], sums(walk(5, groups=2))),
        State([(0, 2)], [], sums(walk(5) * np.nan)),
        State([(0, 2)], [], sums(walk(5), exponent="1")),
    ],
    ids=["negative", "text", "twice", "none such", "too few", "too many groups", "NaN", "unit"],
)
def test_forged_states_of_a_pass(tmp_path, state):
    store = Partial(tmp_path / "run.partial", {"numbers of groups and checkpoints": [1, 5]})
    store.write(state)
    with pytest.raises(th.TrajectoryError, match=r"run\.partial.*delete it"):
        store.read()


# Greed


def test_little_that_would_become_much(tmp_path):
    """72 MB of zeros in 70 kB, which the matrices would double."""
    path = tmp_path / "run.npz"
    n = 4000
    saved(path)
    forge(
        path,
        increments=np.zeros((1, n * (n + 1) // 2)),
        squared_path=np.zeros((1, n)),
        steps=np.arange(n),
        runs=np.array([""] * n),
        names=np.array(["all"]),
        sizes=np.array([0]),
    )
    assert path.stat().st_size < 100_000
    tracemalloc.start()
    refused(path, "bytes in")
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_what_is_all_zeros_is_saved_so_that_it_loads(tmp_path):
    kernel = th.TrajectoryKernel(np.zeros((1, 2500, 2500)))
    kernel.save(tmp_path / "run.npz")
    assert th.load_kernel(tmp_path / "run.npz").n == 2500


def test_a_header_that_promises_more_than_there_is(tmp_path):
    """2^59 numbers, which NumPy would set memory aside for."""
    path = tmp_path / "run.npz"
    saved(path)
    with zipfile.ZipFile(path) as old:
        records = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(path, "w") as new:
        for name, content in records.items():
            if name == "increments.npy":
                with zipfile.ZipFile(path.with_suffix(".zip"), "w") as other:
                    with other.open(name, "w") as stream:
                        header = {"descr": "<f8", "fortran_order": False, "shape": (2, 1 << 58)}
                        npy.write_array_header_1_0(stream, header)
                        stream.write(b"\0" * 80)
                with zipfile.ZipFile(path.with_suffix(".zip")) as other:
                    content = other.read(name)
            new.writestr(name, content)
    refused(path, "increments", "does not fill")


# Forgery


def no_gram(kind):
    upper = walk(groups=2)[:, *np.triu_indices(5)]
    if kind == "NaN":
        upper[1, 3] = np.nan
    elif kind == "infinite":
        upper[0, 0] = np.inf
    elif kind == "negative":
        upper[1, -1] *= -1
    elif kind == "too long":
        upper[1, 1] = 10 * np.sqrt(upper[1, 0] * upper[1, 5])
    else:
        # of five unit vectors, each at 120° from each other: three can be, not five
        upper[0] = np.where(np.equal(*np.triu_indices(5)), 1, -0.5)
    return upper


@pytest.mark.parametrize("kind", ["NaN", "infinite", "negative", "too long", "indefinite"])
def test_matrices_that_are_no_gram_matrices(tmp_path, kind):
    path = tmp_path / "run.npz"
    saved(path)
    forge(path, increments=no_gram(kind))
    refused(path, "increments", "trajhelpers gram")


@pytest.mark.parametrize(
    "changed",
    [
        {"squared_path": np.full((2, 5), np.nan)},
        {"squared_path": np.full((2, 5), -1.0)},
        {"squared_path": np.ones((2, 4))},
        {"squared_path": np.ones((2, 5), dtype="U3")},
        {"steps": np.arange(5.0)},
        {"steps": np.arange(5, dtype=np.uint64) + (1 << 63)},
        {"steps": np.arange(5).reshape(5, 1)},
        {"steps": np.array(5)},
        {"steps": None},
        {"names": np.array(["a", "a"])},
        {"names": np.array([1, 2])},
        {"names": np.array("ab")},
        {"sizes": np.array([-1, 9])},
        {"sizes": np.array([np.nan, 9])},
        {"sizes": np.array([0.5, 9])},
        {"sizes": np.array([9])},
        {"runs": np.array(["", ""])},
        {"tokens": np.array([-1, 2, 3, 4, 5])},
        {"tokens": np.array(["a"] * 5)},
        {"increments": np.array([{}] * 5)},
        {"increments": np.zeros((2, 15), "f4,f4")},
        {"increments": np.zeros((2, 15), "complex128")},
        {"about": np.array("{}")},
        {"about": np.array("[" * 10**5)},
        {"about": np.array(7)},
    ],
    ids=lambda changed: ", ".join(f"{k} {np.asarray(v).dtype}" for k, v in changed.items()),
)
def test_arrays_that_no_kernel_has(tmp_path, changed):
    path = tmp_path / "run.npz"
    saved(path)
    forge(path, **changed)
    refused(path)


@pytest.mark.parametrize(
    "changed",
    [{"source": []}, {"precision": "float8"}, {"kind": "x"}, {"kind": []}, {"format": "1"}],
    ids=lambda changed: next(iter(changed)),
)
def test_facts_that_no_kernel_has(tmp_path, changed):
    path = tmp_path / "run.npz"
    saved(path)
    forge(path, about=about(path, **changed))
    refused(path)


def test_a_source_that_is_nested_too_deep_to_be_written_again(tmp_path):
    path, deep = tmp_path / "run.npz", {}
    for _ in range(200):
        deep = {"a": deep}
    saved(path)
    forge(path, about=about(path, source=deep))
    refused(path, "deep")


def test_two_arrays_of_one_name(tmp_path):
    path = tmp_path / "run.npz"
    saved(path)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("sizes.npy", archive.read("sizes.npy"))
    refused(path, "two arrays")


# What comes back


def kernels_that_rounding_touched():
    orbit = np.tile([[1.0, 0.0], [-1.0, 0.0]], (20, 1)) + 1e-9 * walk(40, 1)[0, :, :2]
    steep = np.diag(np.logspace(-8, 8, 12)) @ np.random.default_rng(0).standard_normal((12, 3))
    rounded = steep.astype(np.float32) @ steep.astype(np.float32).T
    yield th.TrajectoryKernel(orbit @ orbit.T)[::2]
    yield th.TrajectoryKernel(steep @ steep.T)
    yield th.TrajectoryKernel((rounded + rounded.T).astype(float) / 2, precision="float32")
    yield th.TrajectoryKernel(np.stack([np.zeros((4, 4)), np.eye(4)]), names=["frozen", "b"])
    yield th.TrajectoryKernel(walk() * 1e-320)
    yield th.TrajectoryKernel(walk() * 1e300)
    yield th.ModelSetKernel(walk()[0], ["base", "a", "b", "c", "d"])


@pytest.mark.parametrize("kernel", [*kernels_that_rounding_touched()], ids=range(7))
def test_rounding_is_no_forgery(tmp_path, kernel):
    kernel.save(tmp_path / "run.npz")
    loaded = th.load_kernel(tmp_path / "run.npz")
    np.testing.assert_array_equal(loaded.total, kernel.total)


def test_other_orders_of_bytes_and_of_rows(tmp_path):
    path = tmp_path / "run.npz"
    kernel = saved(path)
    with np.load(path) as file:
        increments, steps = file["increments"], file["steps"]
    forge(path, increments=np.asfortranarray(increments).astype(">f8"), steps=steps.astype(">i8"))
    loaded = th.load_kernel(path)
    np.testing.assert_array_equal(loaded.increments, kernel.increments)
    assert loaded.steps.dtype.isnative and loaded.steps.tolist() == kernel.steps.tolist()


texts = st.text(max_size=12) | st.sampled_from(["w\0", "\0", "w ", " ", "\ud800", "é", "e\u0301"])
numbers = st.integers(-(2**70), 2**70) | st.integers(-5, 5)


@settings(max_examples=200, deadline=None)
@given(
    names=st.lists(texts, min_size=1, max_size=3, unique=True),
    steps=st.lists(numbers, min_size=2, max_size=3),
    runs=st.lists(texts, min_size=3, max_size=3),
)
def test_what_is_saved_comes_back(tmp_path_factory, names, steps, runs):
    """Or is refused when it is saved, with the word."""
    path = tmp_path_factory.getbasetemp() / "any.npz"
    path.unlink(missing_ok=True)
    n = len(steps)
    kernel = th.TrajectoryKernel(walk(n, groups=len(names)), steps, names, runs=runs[:n])
    kept = all(-(2**63) <= step < 2**63 for step in steps)
    kept &= not any(text.endswith("\0") for text in (*names, *runs[:n]))
    if not kept:
        with pytest.raises(ValueError, match=r"any\.npz: (names|runs|steps)"):
            kernel.save(path)
        assert not path.exists()
        return
    kernel.save(path)
    loaded = th.load_kernel(path)
    assert (loaded.names, loaded.runs) == (tuple(names), tuple(runs[:n]))
    assert loaded.steps.tolist() == steps
    np.testing.assert_array_equal(loaded.increments, kernel.increments)


def test_a_long_name_of_a_group_is_refused_when_it_is_saved(tmp_path):
    kernel = th.TrajectoryKernel(walk(), names=["w" * 10**6])
    with pytest.raises(ValueError, match=r"run\.npz: names"):
        kernel.save(tmp_path / "run.npz")


def test_what_is_no_kernel_is_not_called_damaged(tmp_path):
    other, folder = tmp_path / "other.npz", tmp_path / "checkpoints"
    np.savez(other, a=np.eye(3))
    with pytest.raises(th.TrajectoryError, match=r"other.npz: no kernel of trajhelpers, which has"):
        th.load_kernel(other)
    folder.mkdir()
    with pytest.raises(FileNotFoundError, match="folder and no kernel; `trajhelpers gram .* makes"):
        th.load_kernel(folder)


def test_a_name_is_no_kernel():
    with pytest.raises(
        TypeError, match=r"expected a kernel or a dict of them, got str; th\.load_k"
    ):
        th.explore("run.npz")
    with pytest.raises(TypeError, match="angles: expected a kernel, as th.gram gives it, got int"):
        th.angles(5)
