"""Sharded training: each process records its own shards, nothing is gathered, and the folder is
that of the whole network.
"""

import numpy as np
import oracle
import pytest
import recording_shards
import torch
from recording_processes import network, run_cases
from test_record_processes import nothing_went_wrong

import trajhelpers as th

QUICK = ["fsdp2", "replicated", "goes_on"]
QUICK_REFUSED = ["other_steps", "full_disk", "one_dies"]
SLOW = ["made_before_sharded", "columns", "replaced"]
SLOW_REFUSED = ["off_by_one", "other_folders", "flat", "odd_names"]
OF_FOUR = ["hybrid", "both_ways", "more_than_rows"]


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    run_cases(folder, [*QUICK, *QUICK_REFUSED], recording_shards.__file__)
    return folder


@pytest.fixture(scope="module")
def more(tmp_path_factory):
    folder = tmp_path_factory.mktemp("more")
    run_cases(folder, [*SLOW, *SLOW_REFUSED], recording_shards.__file__)
    return folder


@pytest.fixture(scope="module")
def four(tmp_path_factory):
    folder = tmp_path_factory.mktemp("four")
    run_cases(folder, OF_FOUR, recording_shards.__file__, processes=4)
    return folder


def is_the_network(folder, processes=2):
    nothing_went_wrong(folder, processes)
    states = torch.load(folder / "states.pt")
    trajectory = th.open_trajectory(folder / "run")
    assert trajectory.steps == tuple(range(len(states)))
    assert trajectory.shapes == {name: tuple(tensor.shape) for name, tensor in states[0].items()}
    found = trajectory.read([(name, 0, size) for name, size in trajectory.sizes.items()])
    expected = oracle.flat([{name: state[name] for name in trajectory.names} for state in states])
    assert len(np.unique(expected, axis=0)) == len(states)
    np.testing.assert_array_equal(found, expected)
    names = {path.name for path in (folder / "run").iterdir()}
    assert names == {f"step_{step}.shards" for step in trajectory.steps}


@pytest.mark.parametrize("case", QUICK)
def test_recorded_is_the_network(two, case):
    is_the_network(two / case)


def test_each_process_writes_its_part(two):
    parts = (two / "fsdp2" / "run" / "step_1.shards").glob("*.distcp")
    first, second = (path.stat().st_size for path in parts)
    assert min(first, second) > 0.5 * max(first, second)


def test_every_process_has_the_kernel(two):
    """In the midst of training, of which nothing is gathered."""
    states = torch.load(two / "fsdp2" / "states.pt")
    gram = oracle.gram(oracle.flat(states))
    first, second = (th.load_kernel(two / "fsdp2" / f"{rank}.npz") for rank in range(2))
    np.testing.assert_array_equal(first.increments, second.increments)
    np.testing.assert_allclose(first.gram(), gram, rtol=0, atol=1e-12 * gram.max())


@pytest.mark.parametrize("case", QUICK_REFUSED)
def test_errors_are_everybodys(two, case):
    nothing_went_wrong(two / case)


def test_the_first_says_who_records(two):
    line = "run: each of 2 processes records its shards\n"
    assert (two / "fsdp2" / "0.log").read_text().endswith(line)
    assert (two / "fsdp2" / "1.log").read_text() == ""


def test_without_a_process_group(tmp_path):
    with pytest.raises(ValueError, match="init_process_group before"):
        th.Recorder(tmp_path / "run", network(), shards=True)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize("case", SLOW)
def test_more_recorded_is_the_network(more, case):
    is_the_network(more / case)


@pytest.mark.slow
@pytest.mark.parametrize("case", SLOW_REFUSED)
def test_more_errors_are_everybodys(more, case):
    nothing_went_wrong(more / case)


@pytest.mark.slow
@pytest.mark.parametrize("case", OF_FOUR)
def test_four_processes(four, case):
    is_the_network(four / case, processes=4)
