"""A pass that several processes share: one process's kernel, each byte read once, one error for
all, and nothing lost when one of them dies."""

import contextlib
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from safetensors.torch import save_file
from sharing_processes import REPO, ends, run_cases, whole, write_run
from standin_hub import StandInHub

import trajhelpers as th
from trajhelpers.cli.launched import launch
from trajhelpers.streaming.columns import both, count, less, part, share
from trajhelpers.streaming.resuming import Partial, State
from trajhelpers.streaming.sums import Scaled, Sums


def check_same(kernel, ends):
    """That of one process; and each rank has the same."""
    scale = np.sqrt(kernel.increments.diagonal(axis1=1, axis2=2))
    for (increments, source, _), _, _ in ends:
        np.testing.assert_array_equal(increments, ends[0][0][0])
        error = abs(increments - kernel.increments) / (scale[:, :, None] * scale[:, None, :])
        assert error.max() < 1e-12
        assert source["digests"] == kernel.source["digests"]


# ---- columns and states, without processes ----


@given(some.lists(some.tuples(some.integers(0, 30), some.integers(1, 9)), max_size=6), some.data())
def test_each_column_is_one_rank_s(gaps, data):
    columns, at = [], 0
    for gap, width in gaps:
        columns.append((at + gap + 1, at + gap + 1 + width))
        at = columns[-1][1]
    size = data.draw(some.integers(1, 5))
    parts = [share(columns, rank, size) for rank in range(size)]

    def each(ranges):
        return [column for begin, end in ranges for column in range(begin, end)]

    assert each(columns) == [column for one in parts for column in each(one)]
    assert max(map(count, parts)) - min(map(count, parts)) <= 1
    some_of_them = parts[0]
    assert each(less(columns, some_of_them)) == [c for one in parts[1:] for c in each(one)]
    assert both(some_of_them, less(columns, some_of_them)) == both(columns, [])
    assert each(part(columns, 1, 3)) == each(columns)[1:3]
    if some_of_them:
        with pytest.raises(ValueError, match="twice"):
            both(columns, some_of_them)


def state_of(begin, end, rank):
    sums = Sums.none(3)
    sums.add_product(rank % 2, Scaled(np.eye(3) * 10.0**rank))
    sums.prints += np.uint64(rank)
    return State([(begin, end)], [], sums)


@pytest.mark.parametrize("call", range(7))
def test_gathering_is_cut_short_at_any_moment(tmp_path, monkeypatch, call):
    """At the so-manieth file that is written or removed; before it is, or just after."""
    for after in (False, True):
        path = tmp_path / f"{after}.partial"
        for rank in range(4):
            Partial(path, {}, rank).write(state_of(10 * rank, 10 * rank + 10, rank))
        expected = Partial(shutil.copytree(tmp_path, tmp_path / f"c{after}") / path.name, {}).read()
        assert expected.done == [(0, 40)]
        left = [call]

        def mortal(do, left=left, after=after):
            def call_(*arguments, **options):
                left[0] -= 1
                if left[0] == -1 and not after:
                    raise KeyboardInterrupt
                result = do(*arguments, **options)
                if left[0] == -1:
                    raise KeyboardInterrupt
                return result

            return call_

        with monkeypatch.context() as patched:
            patched.setattr(Path, "unlink", mortal(Path.unlink))
            patched.setattr(Partial, "_write", mortal(Partial._write))
            with contextlib.suppress(KeyboardInterrupt):
                Partial(path, {}).read()
        found = Partial(path, {}).read()
        assert found.done == [(0, 40)] and not list(tmp_path.glob(f"{after}*.rank*"))
        np.testing.assert_array_equal(found.sums.prints, expected.sums.prints)
        for index, one in expected.sums.products.items():
            np.testing.assert_array_equal(found.sums.products[index].values, one.values)


def test_states_that_do_not_fit_together(tmp_path):
    Partial(tmp_path / "x", {}).write(state_of(0, 10, 0))
    Partial(tmp_path / "x", {}, 2).write(state_of(5, 15, 2))
    with pytest.raises(th.TrajectoryError, match=r"x\.rank2.*done twice.*delete it"):
        Partial(tmp_path / "x", {}).read()
    with pytest.raises(th.TrajectoryError, match=r"x.*begun with other steps"):
        Partial(tmp_path / "x", {"steps": [1]}).read()
    Partial(tmp_path / "x", {}).discard()
    assert not list(tmp_path.iterdir())


# ---- how a command line finds the others ----


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        ({"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}, None),
        ({"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1"}, (5, 8, 1)),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "1"}, None),
        ({"SLURM_NTASKS": "4"}, None),
        (
            {
                "SLURM_PROCID": "3",
                "SLURM_NTASKS": "4",
                "SLURM_LOCALID": "1",
                "MASTER_ADDR": "node1",
                "MASTER_PORT": "29500",
            },
            (3, 4, 1),
        ),
    ],
)
def test_which_process_this_is(monkeypatch, environment, expected):
    set_only(monkeypatch, environment)
    assert launch() == expected


def test_slurm_without_a_place_to_meet(monkeypatch):
    set_only(monkeypatch, {"SLURM_PROCID": "3", "SLURM_NTASKS": "4", "MASTER_PORT": "1"})
    with pytest.raises(ValueError, match=r"4 tasks, and MASTER_ADDR must say.*scontrol"):
        launch()


def set_only(monkeypatch, environment):
    several = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
    for name in (*several, "SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


def test_a_group_before_torch_has_one():
    states = [{"w": np.ones(3) * step} for step in range(2)]
    with pytest.raises(ValueError, match="not initialised.*init_process_group.*torchrun"):
        th.gram(th.open_trajectory(states), group=True)


# ---- with processes, several cases each time, since starting them takes seconds ----


def test_two_ranks(tmp_path):
    write_run(tmp_path / "run")
    write_run(tmp_path / "bad", bad=2)
    cases = ["kernel", "kept", "bytes_read", "sent", "differing", "previews"]
    cases += ["not_finite", "skipping", "changed"]
    kernel = whole(tmp_path / "run")
    run_cases(tmp_path, *[(name, 2) for name in cases])
    for case in ("kernel", "kept", "sent"):
        check_same(kernel, ends(tmp_path, case, 2))
    each_byte_once(tmp_path, 2)
    with pytest.warns(th.TrajectoryWarning, match="left out"):
        left = whole(tmp_path / "bad", nonfinite="skip-checkpoint")
    check_same(left, ends(tmp_path, "skipping", 2))
    assert [len(told) for _, told, _ in ends(tmp_path, "skipping", 2)] == [1, 0]
    check_error(tmp_path, "differing", 2, "TrajectoryError", "rank 1 was given other checkpoints")
    check_error(tmp_path, "previews", 2, "TrajectoryError", "rank 1 was given other arguments")
    check_error(tmp_path, "not_finite", 2, "NonFiniteError", "step 2 .*: nan in 'layer.weight'")
    check_error(tmp_path, "changed", 2, "CheckpointError", "step1.pt: changed since it was opened")


def each_byte_once(folder, size):
    reads = sum((end for end, *_ in ends(folder, "bytes_read", size)), Counter())
    by_file = {}
    for (name, offset, length), times in reads.items():
        assert times == 1
        by_file.setdefault(name, []).append((offset, offset + length))
    assert len(by_file) == 5
    for ranges in by_file.values():
        assert sum(end - begin for begin, end in ranges) == 8 * (6000 + 111 * 77 + 5)
        both(ranges, [])  # raises where some overlap


def check_error(folder, case, size, kind, text):
    """The same on all ranks."""
    found = {end for end, *_ in ends(folder, case, size)}
    assert len(found) == 1 and len(ends(folder, case, size)) == size
    ((name, said),) = found
    assert name == kind
    with pytest.raises(AssertionError, match=text):
        raise AssertionError(said)


def test_a_rank_dies_and_another_number_goes_on(tmp_path):
    """Begun by one process, gone on with by 3, 2 and 4, ended by one again."""
    write_run(tmp_path / "run")
    kernel = whole(tmp_path / "run")
    run_cases(tmp_path, ("dies", 1), ("dies", 3), ("killed", 2), ("dies", 4), ("kept", 1))
    for case, size in (("dies", 3), ("killed", 2), ("dies", 4)):
        alive = ends(tmp_path, case, size)
        assert [end for end, *_ in alive] == [
            (
                "RankEnded",
                f"rank {size - 1} of {size} has ended before the others (killed, out of memory, or"
                " interrupted?), and the pass with it; begin it again, with any number of ranks",
            )
        ] * (size - 1)
    check_same(kernel, ends(tmp_path, "kept", 1))
    assert not list(tmp_path.glob("x.partial.*"))


@pytest.mark.slow
def test_three_and_four_ranks(tmp_path):
    write_run(tmp_path / "run")
    kernel = whole(tmp_path / "run")
    run_cases(tmp_path, *[(case, size) for case in ("kernel", "bytes_read") for size in (3, 4)])
    for size in (3, 4):
        check_same(kernel, ends(tmp_path, "kernel", size))
        each_byte_once(tmp_path, size)
    before = [end[0] for end, *_ in ends(tmp_path, "kernel", 3)]
    run_cases(tmp_path, ("kernel", 3))
    for one, (end, *_) in zip(before, ends(tmp_path, "kernel", 3)):
        np.testing.assert_array_equal(one, end[0], err_msg="the same ranks, the same bits")


@pytest.fixture
def hub(tmp_path):
    generator = np.random.default_rng(0)
    import torch

    with StandInHub() as hub:
        theta = np.zeros(4000, np.float32)
        for step in range(5):
            theta = theta + generator.standard_normal(4000).astype(np.float32)
            state = {"a": torch.tensor(theta[:1500]), "b": torch.tensor(theta[1500:])}
            save_file(state, tmp_path / f"step{step}.safetensors")
            hub.add(
                REPO, f"step{step}", {"model.safetensors": tmp_path / f"step{step}.safetensors"}
            )
        yield hub


def run_far(hub, folder, *cases):
    environment = hub.environment(folder / "home") | {"HF_TOKEN": "hf_NobodyMaySeeThis"}
    return run_cases(folder, *cases, **environment)


def bytes_asked_for(hub):
    numbers = Counter()
    for request in hub.requests_of("file"):
        begin, end = map(int, request.range.removeprefix("bytes=").split("-"))
        numbers[request.path.partition("?")[0]] += end + 1 - begin
    return numbers


def test_on_the_hub(hub, tmp_path):
    """The command line: the first process lists, all read ranges, and the first prints."""
    (tmp_path / "command.txt").write_text(
        f"gram hf://{REPO} -o {tmp_path}/x.npz --device cpu --memory 40kB"
    )
    run_far(hub, tmp_path, ("command", 1))
    by_one = bytes_asked_for(hub)
    alone = th.load_kernel(tmp_path / "x.npz")
    hub.requests.clear()
    run_far(hub, tmp_path, ("command", 2))
    first, second = (end for end, *_ in ends(tmp_path, "command", 2))
    assert first[0] == 0 and "5 checkpoints" in first[1] and "several processes read" in first[2]
    assert second == (0, "", "")
    assert len(hub.requests_of("refs")) == 1
    asked = Counter(request.path for request in hub.requests if request.kind in ("info", "tree"))
    assert asked and set(asked.values()) == {1}
    assert not any(one.has_authorization for one in hub.requests if one.host == "localhost")
    assert bytes_asked_for(hub) == by_one
    kernel = th.load_kernel(tmp_path / "x.npz")
    assert kernel.source["verified"]["not_compared"] == {"several processes read a part each": 5}
    np.testing.assert_allclose(kernel.increments, alone.increments, rtol=1e-12)
    assert not (tmp_path / "x.npz.partial").exists()


def test_verified_and_told_to_wait(hub, tmp_path):
    told, hub.retry_after = [], "1"

    def once(request):
        # In the pass, and not when headers are read.
        in_pass = request.kind == "file" and not request.range.startswith("bytes=0-")
        if in_pass and not told:
            told.append(request)
            return "429"

    run_far(hub, tmp_path, ("far_and_verified", 2))
    for (_, source, _), *_ in ends(tmp_path, "far_and_verified", 2):
        assert source["verified"] == {"files": 5, "compared": {"sha256": 5}, "not_compared": {}}
    hub.faults = once
    run_far(hub, tmp_path, ("told_to_wait", 2))
    waits = [end for end, *_ in ends(tmp_path, "told_to_wait", 2)]
    assert told and len(waits) == 2 and waits[0] and waits[0] == pytest.approx(waits[1], abs=0.01)
    # What arrives in the pass is another than what the hub lists, and than what comes again.
    seen = Counter()

    def forged(request, sha256, start, body):
        seen[sha256, start] += 1
        wrong = start > 1000 and seen[sha256, start] == 1
        return bytes([body[0] ^ 1]) + body[1:] if wrong else body

    hub.faults, hub.forged = lambda request: None, forged
    run_far(hub, tmp_path, ("far_and_verified", 2))
    check_error(tmp_path, "far_and_verified", 2, "ChecksumError", "safetensors")
