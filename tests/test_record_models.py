"""What a recorder writes when the model changes under its hands, and which steps it takes."""

import copy
import errno
import fcntl
import gc
import os
import shutil
import threading
import warnings

import numpy as np
import pytest
import torch
from faults import Faults
from safetensors.torch import load_file

import trajhelpers as th


def net(seed=0):
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2))


def move(model):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter))


def holds(folder, step, state):
    """A checkpoint has these tensors and no others."""
    found = load_file(folder / f"step_{step}.safetensors")
    assert set(found) == set(state)
    assert all(torch.equal(found[name], state[name]) for name in found)


# Whose names stand for other tensors later: recorded is what they stand for now.


def another_layer(model):
    model[1] = torch.nn.Linear(4, 2)


def another_parameter(model):
    model[0].weight = torch.nn.Parameter(torch.ones(4, 3))


def assigned_state(model):
    model.load_state_dict(net(7).state_dict(), assign=True)


def frozen(model):
    model[0].requires_grad_(False)


def other_memory(model):
    model.share_memory()


@pytest.mark.parametrize(
    "change",
    [another_layer, another_parameter, assigned_state, frozen, other_memory],
)
def test_names_are_looked_up_at_each_call(tmp_path, change):
    model = net()
    with th.Recorder(tmp_path / "run", model) as record:
        for step in range(1, 4):
            if step == 2:
                change(model)
            move(model)
            seen = copy.deepcopy(dict(model.named_parameters()))
            record(step)
            record.flush()
            holds(tmp_path / "run", step, seen)
    assert th.open_trajectory(tmp_path / "run").p == 12 + 4 + 8 + 2


def test_parameters_that_are_tied_later_are_written_under_both_names(tmp_path):
    model = torch.nn.ModuleDict({"a": torch.nn.Linear(2, 2), "b": torch.nn.Linear(2, 2)})
    with th.Recorder(tmp_path / "run", model) as record:
        model["b"].weight = model["a"].weight
        record(1)
    found = load_file(tmp_path / "run" / "step_1.safetensors")
    assert set(found) == {"a.weight", "a.bias", "b.weight", "b.bias"}
    assert torch.equal(found["a.weight"], found["b.weight"])


def weight_norm(model):
    torch.nn.utils.parametrizations.weight_norm(model[0])


def spectral_norm(model):
    torch.nn.utils.parametrizations.spectral_norm(model[0])


def no_layer(model):
    del model[0]


def wider(model):
    model[0] = torch.nn.Linear(5, 4)


@pytest.mark.parametrize(
    "change, what",
    [
        (weight_norm, "no parameter 0.weight now"),
        (spectral_norm, "no parameter 0.weight now"),
        (no_layer, "no parameter 1.weight, 1.bias now"),
        (wider, r"0.weight has shape \(4, 5\) now, and \(4, 3\) in earlier checkpoints"),
    ],
)
def test_what_would_no_longer_open_is_refused_at_the_call(tmp_path, change, what):
    model = net()
    with th.Recorder(tmp_path / "run", model) as record:
        record(1)
        change(model)
        with pytest.raises(th.LayoutError, match=f"run: .*{what}.*another folder"):
            record(2)
    assert th.open_trajectory(tmp_path / "run").steps == (0, 1)


def unfrozen(model):
    model[0].requires_grad_(True)


def added(model):
    model.append(torch.nn.Linear(2, 1))


@pytest.mark.parametrize("change, names", [(unfrozen, "0.weight, 0.bias"), (added, "2.weight")])
def test_what_begins_to_train_later_is_named_once(tmp_path, change, names):
    model = net()
    model[0].requires_grad_(False)
    with th.Recorder(tmp_path / "run", model) as record:
        record(1)
        change(model)
        with pytest.warns(
            th.TrajectoryWarning, match=f"not recorded: {names}.*freeze after"
        ) as seen:
            record(2)
        assert seen[0].filename == __file__
        record(3)
    assert set(load_file(tmp_path / "run" / "step_3.safetensors")) == {"1.weight", "1.bias"}
    assert th.open_trajectory(tmp_path / "run").steps == (0, 1, 2, 3)


def test_what_is_left_out_is_told(tmp_path, capfd):
    model = net()
    model[0].requires_grad_(False)
    th.Recorder(tmp_path / "run", model).close()
    th.Recorder(tmp_path / "whole", net()).close()
    (line,) = capfd.readouterr().err.splitlines()
    assert "run: records 2 of 4 tensors, 10 of 26 numbers; the others are frozen: 0.weight" in line


def on_meta():
    return torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2, device="meta"))


def lazy():
    return torch.nn.Sequential(torch.nn.LazyLinear(2))


def zero_3():
    """As DeepSpeed leaves a parameter whose shards lie elsewhere."""
    model = torch.nn.Linear(2, 3)
    model.weight = torch.nn.Parameter(torch.empty(0))
    model.weight.ds_shape = torch.Size([3, 2])
    return model


@pytest.mark.parametrize(
    "make, what",
    [
        (on_meta, "1.weight is on the meta device.*to_empty"),
        (lazy, "0.weight has no shape yet.*batch"),
        (zero_3, "weight is sharded by DeepSpeed.*GatheredParameters"),
        (torch.nn.Identity, "Identity has no trainable"),
        (lambda: net().requires_grad_(False), "Sequential has no trainable"),
    ],
)
def test_a_model_without_numbers_is_refused_before_anything_is_written(tmp_path, make, what):
    with pytest.raises(ValueError, match=what):
        th.Recorder(tmp_path / "run", make())
    assert not (tmp_path / "run").exists()


def test_a_model_that_went_to_meta_is_refused_at_the_call(tmp_path):
    """As those do whose layers are kept elsewhere between batches."""
    model = net()
    with th.Recorder(tmp_path / "run", model) as record:
        model[1].to("meta")
        with pytest.raises(th.TrajectoryError, match="run: 1.weight is on the meta device"):
            record(1)


@pytest.mark.parametrize(
    "model", [net().state_dict(), net, [net()]], ids=["state", "class", "list"]
)
def test_what_is_no_model(tmp_path, model):
    with pytest.raises(TypeError, match="model: expected a torch.nn.Module, got"):
        th.Recorder(tmp_path / "run", model)


# Steps


@pytest.mark.parametrize(
    "step", [1.0, True, False, "1", None, np.float32(1), np.True_,
             torch.tensor(1.0), torch.tensor([1, 2])], ids=repr
)  # fmt: skip
def test_a_step_that_is_no_whole_number(tmp_path, step):
    with th.Recorder(tmp_path / "run", net()) as record:
        with pytest.raises(TypeError, match="step: expected a whole number, got"):
            record(step)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["step_0.safetensors"]


@pytest.mark.parametrize("step", [1, np.int64(1), np.uint8(1), torch.tensor(1)], ids=repr)
def test_a_step_that_is_one(tmp_path, step):
    with th.Recorder(tmp_path / "run", net()) as record:
        record(step)
    assert (tmp_path / "run" / "step_1.safetensors").exists()


def test_a_step_below_0(tmp_path):
    with th.Recorder(tmp_path / "run", net()) as record:
        with pytest.raises(ValueError, match="step: expected a whole number from 0 on, got -1"):
            record(-1)


@pytest.mark.parametrize(
    "options", [{"every": True}, {"every": 2.0}, {"steps": [1, True]}], ids=str
)
def test_schedules_of_what_is_no_whole_number(tmp_path, options):
    with pytest.raises(TypeError, match="expected a whole number"):
        th.Recorder(tmp_path / "run", net(), **options)


def test_a_step_goes_back(tmp_path):
    """Steps that are counted anew each epoch would overwrite the first epoch's."""
    model = net()
    with th.Recorder(tmp_path / "run", model, every=2) as record:
        for step in range(5):
            record(step) if step else None
        for step in (3, 0):
            with pytest.raises(
                th.StepError, match=f"step {step} after step 4; .*all epochs.*resume"
            ):
                record(step)
        record(6)
    assert th.open_trajectory(tmp_path / "run").steps == (0, 2, 4, 6)


def test_a_step_that_is_recorded_again_counts_as_it_was_last(tmp_path):
    """Under gradient accumulation a callback may give the same step several times."""
    model = net()
    with th.Recorder(tmp_path / "run", model) as record:
        for step in (1, 1, 2, 2, 2):
            move(model)
            record(step)
    holds(tmp_path / "run", 2, dict(model.named_parameters()))
    assert th.open_trajectory(tmp_path / "run").steps == (0, 1, 2)


def test_a_loop_that_counts_from_0_after_its_updates_is_told(tmp_path):
    """Its first call would put the model after an update in the place of the initialization."""
    model = net()
    first = copy.deepcopy(dict(model.named_parameters()))
    with th.Recorder(tmp_path / "run", model) as record:
        record(0)  # before the first update: nothing to say
        record(0)
        move(model)
        with pytest.raises(th.StepError, match=r"step 0.*has changed since.*record\(step \+ 1\)"):
            record(0)
        record(1)
    holds(tmp_path / "run", 0, first)


def test_an_initialization_that_is_not_a_number_is_the_same_as_itself(tmp_path):
    model = net()
    torch.nn.init.constant_(model[0].bias, float("nan"))
    with th.Recorder(tmp_path / "run", model) as record:
        record(0)


@pytest.mark.parametrize(
    "options, steps, what",
    [
        ({"every": 10}, range(5, 100, 10), "step 15 after step 5, and step 10 was due .every=10"),
        ({"every": 100}, range(99, 1000, 100), "step 199 after step 99, and step 100 was due"),
        ({"steps": [1, 2, 4, 8]}, [10], r"step 10 after step 0, and step 1 was due .steps=1, 2, 4"),
        ({"steps": [10, 25, 30]}, [10, 20, 30], "step 30 after step 20, and step 25 was due"),
    ],
)
def test_a_due_step_that_goes_by_is_told_at_once_and_once(tmp_path, options, steps, what):
    with pytest.warns(th.TrajectoryWarning, match=f"run: called at {what}") as seen:
        with th.Recorder(tmp_path / "run", net(), **options) as record:
            for step in steps:
                record(step)
    assert len(seen) == 1 and seen[0].filename == __file__


@pytest.mark.parametrize("options, steps", [({}, [10, 20]), ({"every": 10}, [3, 20, 29, 31])])
def test_who_calls_seldom_may_want_fewer(tmp_path, options, steps):
    with th.Recorder(tmp_path / "run", net(), **options) as record:
        for step in steps:
            record(step)


def test_a_schedule_that_is_never_hit_is_told_at_the_end(tmp_path):
    record = th.Recorder(tmp_path / "run", net(), every=1000)
    for step in range(1, 501):
        record(step)
    with pytest.warns(
        th.TrajectoryWarning, match="steps 1 to 500, none of .* due .every=1000"
    ) as w:
        record.close()
    assert w[0].filename == __file__
    record.close()  # nothing new


def test_an_error_is_not_hidden_by_what_was_never_hit(tmp_path):
    with warnings.catch_warnings(record=True) as seen, pytest.raises(ZeroDivisionError):
        with th.Recorder(tmp_path / "run", net(), every=1000) as record:
            record(1)
            raise ZeroDivisionError
    assert not seen


def test_a_recorder_that_was_never_called_says_nothing(tmp_path):
    th.Recorder(tmp_path / "run", net(), every=1000).close()


# Resuming, and others in the folder


@pytest.mark.parametrize(
    "change, what",
    [
        (frozen, "0.bias has shape .4,. there and none in the model's"),
        (added, r"2.bias has shape none there and \(1,\) in"),
        (wider, r"0.weight has shape \(4, 3\) there and \(4, 5\) in"),
    ],
)
def test_a_run_goes_on_with_its_own_parameters(tmp_path, change, what):
    th.Recorder(tmp_path / "run", net()).close()
    model = net()
    change(model)
    with pytest.raises(th.LayoutError, match=f"step_0.safetensors: {what}"):
        th.Recorder(tmp_path / "run", model, resume=True)
    assert th.Recorder(tmp_path / "run", net(), resume=True).close() is None


def test_a_run_whose_last_checkpoint_is_broken_does_not_go_on(tmp_path):
    th.Recorder(tmp_path / "run", net()).close()
    (tmp_path / "run" / "step_4.safetensors").write_bytes(b"half")
    with pytest.raises(th.CheckpointError, match="step_4.safetensors: cannot be read .*overwrite"):
        th.Recorder(tmp_path / "run", net(), resume=True)


def test_files_of_others_are_let_be(tmp_path):
    """Names that begin like a checkpoint's are none."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "step_best.safetensors").write_bytes(b"mine")
    th.Recorder(folder, net()).close()
    th.Recorder(folder, net(), overwrite=True).close()
    th.Recorder(folder, net(), resume=True).close()
    assert (folder / "step_best.safetensors").read_bytes() == b"mine"


@pytest.mark.parametrize("option", ["resume", "overwrite"])
def test_a_cell_that_is_run_again_takes_the_folder_over(tmp_path, option):
    """The recorder before it, which nobody closed, is, and says so where it is called."""
    first, second = net(), net(1)
    before = th.Recorder(tmp_path / "run", first)
    before(1)
    with th.Recorder(tmp_path / "run", second, **{option: True}) as record:
        with pytest.raises(th.TrajectoryError, match="run: another recorder .* taken over"):
            before(2)
        record(1)
        before.close()  # and leaves the other's lock alone
        assert (tmp_path / "run" / ".recorder.lock").exists()
        record(2)
    assert th.open_trajectory(tmp_path / "run").steps == (0, 1, 2)
    holds(tmp_path / "run", 2, dict(second.named_parameters()))


def test_a_recorder_that_is_gone_holds_nothing(tmp_path):
    th.Recorder(tmp_path / "run", net())(1)
    gc.collect()
    th.Recorder(tmp_path / "run", net(), resume=True).close()
    assert th.open_trajectory(tmp_path / "run").steps == (0, 1)


def test_a_folder_that_was_deleted_and_made_anew_is_anothers(tmp_path):
    before = th.Recorder(tmp_path / "run", net())
    before.flush()
    shutil.rmtree(tmp_path / "run")
    with th.Recorder(tmp_path / "run", net()) as record:
        record(1)
        before(2)
        with pytest.raises(th.TrajectoryError, match="is recording into this folder"):
            before.flush()
        with pytest.raises(th.TrajectoryError, match="is recording into this folder"):
            before.close()
        record(3)
    assert th.open_trajectory(tmp_path / "run").steps == (0, 1, 3)


def test_a_lock_that_a_cleaner_of_old_files_took_is_taken_again(tmp_path):
    lock = tmp_path / "run" / ".recorder.lock"
    with th.Recorder(tmp_path / "run", net()) as record:
        record.flush()
        assert lock.read_text().startswith(f"process {os.getpid()} on ")
        lock.unlink()
        record(1)
        record.flush()
        assert lock.exists()
    assert not lock.exists()


def test_a_disk_that_cannot_be_asked_is_not_asked_for_ever(tmp_path):
    folder = tmp_path / "run"
    with Faults("look", 1, "EIO", folder, lasting=True), pytest.raises(OSError, match="run"):
        th.Recorder(folder, net())
    with th.Recorder(folder, net()) as record:
        record(1)


def test_a_file_system_without_locks(tmp_path, monkeypatch):
    def none(*_):
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", none)
    with th.Recorder(tmp_path / "run", net()) as record:
        record(1)
    assert th.open_trajectory(tmp_path / "run").steps == (0, 1)


def test_a_folder_that_cannot_be_written_is_found_at_once(tmp_path):
    (tmp_path / "run").write_text("no folder")
    with pytest.raises(FileExistsError):
        th.Recorder(tmp_path / "run", net())


def test_no_thread_is_left_and_none_is_needed(tmp_path, monkeypatch):
    """A machine may refuse a thread; then the call itself writes."""
    before = threading.active_count()
    with th.Recorder(tmp_path / "run", net()) as record:
        record.flush()
        assert threading.active_count() == before

        def no_thread(thread):
            raise RuntimeError("can't start new thread")

        monkeypatch.setattr(threading.Thread, "start", no_thread)
        record(1)
        assert (tmp_path / "run" / "step_1.safetensors").exists()


def test_an_error_of_the_disk_is_told_when_it_happens(tmp_path, monkeypatch, capfd):
    """Since nobody may call the recorder again."""
    record = th.Recorder(tmp_path / "run", net())
    record.flush()
    monkeypatch.setattr(os, "replace", lambda *_: 1 / 0)
    record(1)
    with pytest.raises(th.TrajectoryError, match="run: a checkpoint could not be written"):
        record.flush()
    assert "step_1.safetensors could not be written: division by zero" in capfd.readouterr().err
