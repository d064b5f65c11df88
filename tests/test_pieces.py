"""Tensors in pieces read as if they lay whole; folders that are listed look as those on disk do."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import trajhelpers as th
from trajhelpers.reading.pieces import joined, part
from trajhelpers.reading.tensors import in_memory
from trajhelpers.sources.disk import LocalFile, LocalFolder
from trajhelpers.sources.listed import ListedFolder


def cuts_of(length):
    """A dimension cut into ranges."""
    inner = st.lists(st.integers(1, max(1, length - 1)), max_size=3, unique=True)
    return inner.map(lambda some: list(itertools.pairwise(sorted({0, length, *some} - {0} | {0}))))


@st.composite
def grids(draw):
    """An array, and the boxes of a grid that fills it, in any order."""
    shape = draw(st.lists(st.integers(1, 6), min_size=0, max_size=4).map(tuple))
    dtype = draw(st.sampled_from([np.float16, np.float32, np.float64]))
    seed = draw(st.integers(0, 2**32 - 1))
    whole = np.random.default_rng(seed).standard_normal(shape).astype(dtype)
    cuts = [draw(cuts_of(length)) for length in shape]
    boxes = draw(st.permutations(list(itertools.product(*cuts))))
    return whole, boxes


def pieces_of(whole, boxes):
    return [
        (
            tuple(start for start, _ in box),
            in_memory(whole[tuple(slice(start, stop) for start, stop in box)].copy()),
        )
        for box in boxes
    ]


@settings(max_examples=300, deadline=None)
@given(grids(), st.data())
def test_any_range_of_any_grid(grid, data):
    whole, boxes = grid
    tensor = joined(whole.shape, pieces_of(whole, boxes), "w")
    start = data.draw(st.integers(0, whole.size))
    stop = data.draw(st.integers(start, whole.size))
    row = np.full(stop - start, np.nan, whole.dtype)
    tensor.read_into(start, stop, row)
    np.testing.assert_array_equal(row, whole.reshape(-1)[start:stop])
    row = np.full(stop - start, np.nan)
    tensor.read_into(start, stop, row)
    np.testing.assert_array_equal(row, whole.reshape(-1)[start:stop].astype(np.float64))
    # What would be fetched is what is read.
    found = sum(end - begin for _, begin, end in tensor.ranges(start, stop))
    assert found >= (stop - start) * whole.itemsize
    assert len(tensor.ranges(start, stop)) <= len(boxes)


def test_long_rows():
    whole = np.random.default_rng(0).standard_normal((20, 1000)).astype(np.float32)
    boxes = [((0, 20), (0, 400)), ((0, 20), (400, 1000))]
    tensor = joined(whole.shape, pieces_of(whole, boxes), "w")
    for start, stop in [(0, 20_000), (399, 401), (350, 15_450), (1000, 2000), (1399, 1400)]:
        row = np.empty(stop - start, np.float32)
        tensor.read_into(start, stop, row)
        np.testing.assert_array_equal(row, whole.reshape(-1)[start:stop])


def test_pieces_of_a_flat_buffer_make_tensors_of_their_own():
    flat = np.arange(24.0)
    halves = [((0,), in_memory(flat[:10].copy())), ((10,), in_memory(flat[10:].copy()))]
    buffer = joined((24,), halves, "flat")
    tensor = part(buffer, 6, (2, 4))
    assert tensor.shape == (2, 4)
    row = np.empty(8)
    tensor.read_into(0, 8, row)
    np.testing.assert_array_equal(row, flat[6:14])
    assert len(tensor.ranges(0, 8)) == 2
    whole = joined((2, 8), [((0, 0), tensor), ((0, 4), part(buffer, 14, (2, 4)))], "w")
    row = np.empty(16)
    whole.read_into(0, 16, row)
    expected = np.hstack([flat[6:14].reshape(2, 4), flat[14:22].reshape(2, 4)])
    np.testing.assert_array_equal(row, expected.reshape(-1))
    with pytest.raises(ValueError, match="elements 20:28"):
        part(buffer, 20, (2, 4))


@pytest.mark.parametrize(
    ("boxes", "problem"),
    [
        ([((0, 2), (0, 4)), ((2, 3), (0, 4))], "12 of 16 elements"),
        ([((0, 2), (0, 4)), ((1, 3), (0, 4))], "overlap"),
        ([((0, 2), (0, 4)), ((0, 2), (0, 4))], "overlap"),
        ([((0, 4), (0, 2)), ((0, 2), (2, 4)), ((1, 3), (2, 4))], "overlap"),
    ],
)
def test_what_does_not_fill_a_tensor_is_refused(boxes, problem):
    whole = np.zeros((4, 4))
    with pytest.raises(th.CheckpointError, match=f"w: .*{problem}.*fetch or save it again"):
        joined((4, 4), pieces_of(whole, boxes), "w")


def test_a_piece_outside_and_types_that_differ_are_refused():
    with pytest.raises(th.CheckpointError, match="does not lie within"):
        joined((2, 2), [((1, 0), in_memory(np.zeros((2, 2))))], "w")
    with pytest.raises(th.CheckpointError, match="float32 and float64"):
        joined(
            (2,),
            [((0,), in_memory(np.zeros(1))), ((1,), in_memory(np.zeros(1, np.float32)))],
            "w",
        )


def test_a_listed_folder_is_as_one_on_disk(tmp_path):
    for path in ["b/2.pt", "b/c/3.pt", "a/1.pt", "0.pt", ".hidden/x.pt", "a/y.tmp", "z.partial"]:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(path.encode())
    paths = [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()]
    listed = ListedFolder(str(tmp_path), paths, lambda path: LocalFile(tmp_path / path))

    def drawn(folder):
        return (
            str(folder),
            folder.name,
            [str(file) for file in folder.files()],
            [drawn(inner) for inner in folder.folders()],
        )

    assert drawn(listed) == drawn(LocalFolder(tmp_path))
    assert str(listed.folder("b/c").file("3.pt")) == str(tmp_path / "b/c/3.pt")
    assert listed.folder("b/c").files()[0].read_text() == "b/c/3.pt"
    assert listed.folder("nowhere").files() == []


def networks(folder, step, names):
    (folder / f"step_{step}").mkdir(parents=True)
    for scale, name in enumerate(names, 1):
        torch.save({"w": torch.full((3,), float(step * scale))}, folder / f"step_{step}" / name)


def test_a_file_of_each_checkpoint_is_chosen(tmp_path):
    for step in (1, 2):
        networks(tmp_path, step, ["generator.pt", "critic.pt"])
    trajectory = th.open_trajectory(tmp_path, file="critic*")
    assert trajectory.names == ("w",)
    np.testing.assert_array_equal(trajectory.read([("w", 0, 1)]), [[2], [4]])
    both = th.open_trajectory(tmp_path, file=["critic.pt", "gen*.pt"])
    assert both.names == ("critic.w", "generator.w")
    with pytest.raises(th.StepError, match=r"no file matches nothing\*"):
        th.open_trajectory(tmp_path, file="nothing*")
    with pytest.raises(ValueError, match="file: is for files"):
        th.open_trajectory([{"w": np.zeros(2)}, {"w": np.ones(2)}], file="x")
