"""Two processes that train one network: the first records, and whole parameters."""

import pytest
import recording_processes
import torch
from safetensors.torch import load_file

import trajhelpers as th

QUICK = ["ddp", "ddp_first_alone", "fsdp2", "fsdp2_recorder_first", "fsdp1_parts", "no_group"]
QUICK_REFUSED = ["fsdp1_inner"]
SLOW = ["ddp_other_folders", "ddp_resumed", "accelerated", "fsdp2_frozen", "fsdp2_resumed"]
SLOW += ["tensor_parallel", "fsdp1_flat", "fsdp1_unsharded"]
SLOW_REFUSED = ["fsdp1_recorder_first", "fsdp2_evaluated", "fsdp2_first_alone"]


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    folder = tmp_path_factory.mktemp("quick")
    recording_processes.run_cases(folder, [*QUICK, *QUICK_REFUSED])
    return folder


@pytest.fixture(scope="module")
def slow(tmp_path_factory):
    folder = tmp_path_factory.mktemp("slow")
    recording_processes.run_cases(folder, [*SLOW, *SLOW_REFUSED])
    return folder


@pytest.fixture(scope="module")
def alone():
    """The same training in one process: all examples are the same in each, and so is their mean."""
    model, seen = recording_processes.network(), {}

    def keep(step):
        seen[step] = {name: tensor.detach().clone() for name, tensor in model.named_parameters()}

    keep(0)
    recording_processes.train(model, keep)
    assert (seen[3]["0.weight"] - seen[0]["0.weight"]).abs().max() > 0.1
    return seen


def nothing_went_wrong(folder, processes=2):
    said = [(folder / f"{rank}.txt").read_text() for rank in range(processes)]
    assert said == [""] * processes


def as_alone(folder, alone, frozen=()):
    nothing_went_wrong(folder)
    assert th.open_trajectory(folder / "run").steps == (0, 1, 2, 3)
    for step, state in alone.items():
        found = load_file(folder / "run" / f"step_{step}.safetensors")
        assert set(found) == set(state) - set(frozen)
        for name, tensor in found.items():
            torch.testing.assert_close(tensor, state[name], rtol=1e-5, atol=1e-6)
    others = [path.name for path in (folder / "run").iterdir() if path.suffix != ".safetensors"]
    assert not others


@pytest.mark.parametrize("case", QUICK)
def test_recorded_is_what_one_process_would(quick, alone, case):
    as_alone(quick / case, alone)


def test_shards_without_their_whole_are_refused(quick):
    nothing_went_wrong(quick / "fsdp1_inner")


def test_the_first_says_that_it_records(quick):
    line = "run: the first of 2 processes records\n"
    assert (quick / "ddp" / "0.log").read_text().endswith(line)
    assert (quick / "ddp" / "1.log").read_text() == ""


@pytest.mark.slow
@pytest.mark.parametrize("case", [case for case in SLOW if case != "fsdp2_frozen"])
def test_more_recorded_is_what_one_process_would(slow, alone, case):
    as_alone(slow / case, alone)


@pytest.mark.slow
def test_frozen_shards(slow):
    nothing_went_wrong(slow / "fsdp2_frozen")
    trajectory = th.open_trajectory(slow / "fsdp2_frozen" / "run")
    assert trajectory.steps == (0, 1, 2, 3) and trajectory.sizes == {"0.weight": 20, "0.bias": 4}


@pytest.mark.slow
@pytest.mark.parametrize("case", ["fsdp1_recorder_first", "fsdp2_evaluated"])
def test_more_that_looks_at_itself(slow, case):
    nothing_went_wrong(slow / case)


@pytest.mark.slow
def test_weights_as_they_are_and_not_as_forward_used_them(slow, alone):
    for step in range(4):
        found = load_file(slow / "fsdp2_evaluated" / "run" / f"step_{step}.safetensors")
        assert all(torch.equal(tensor, alone[0][name]) for name, tensor in found.items())


@pytest.mark.slow
def test_a_process_that_waits_for_shards_says_so(slow):
    """And ends when torch's own patience does."""
    folder = slow / "fsdp2_first_alone"
    assert "RuntimeError" in (folder / "0.txt").read_text()
    said = (folder / "0.log").read_text()
    assert "run: process 0 has waited 1 s for the others' shards" in said
    assert "every process has to make the recorder and to call it" in said
