"""What callbacks log while a run trains, in the loops of the libraries themselves: the numbers of
the kernel of what was recorded so far, each once, where the library logs its own."""

import numpy as np
import pytest
import torch
from test_record_trainers import EXAMPLES, Net, state_of

import trajhelpers as th
from trajhelpers.record.followed import FollowedRecorder


def expected(folder, step):
    """From the checkpoints up to a step, one float64 vector each, by the words of the paper."""
    path = th.open_trajectory(folder)
    theta = path.read([(name, 0, size) for name, size in path.sizes.items()])
    theta = theta[: path.steps.index(step) + 1]
    found = {"trajectory/step": step, "trajectory/omega": mean_cosine(theta)}
    moved = theta - theta[0]
    if moved.any():
        found["trajectory/omega_0"] = mean_cosine(moved[moved.any(1)])
    *_, one, other = [theta[0] * 0] * 2 + list(np.diff(theta, axis=0))
    if one.any() and other.any():
        cosine = one @ other / np.linalg.norm(one) / np.linalg.norm(other)
        found["trajectory/angle"] = np.degrees(np.arccos(cosine))
    return found


def mean_cosine(rows):
    units = rows / np.linalg.norm(rows, axis=1)[:, None]
    return (units @ units.T).mean()


def logged_are(logged, folder, steps):
    """These steps in this order, with the numbers that they should have. Of sums that are kept in
    float32, ω has an error of n 2⁻²³.
    """
    assert [numbers["trajectory/step"] for numbers in logged] == list(steps)
    for numbers in logged:
        right = expected(folder, numbers["trajectory/step"])
        ours = {name: value for name, value in numbers.items() if name.startswith("trajectory/")}
        assert ours.keys() == right.keys()
        for name, value in right.items():
            tolerance = 1e-4 if name.endswith("angle") else len(steps) * 2**-22
            assert abs(ours[name] - value) < tolerance, (name, ours[name], value)


# ---- the numbers, whoever trains ----


def walk(record, model, steps, first=1):
    for step in range(first, steps + 1):
        with torch.no_grad():
            for tensor in model.parameters():
                tensor += torch.randn_like(tensor) / 3
        record(step)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(150, 200), torch.nn.Linear(200, 3))


def test_numbers_are_those_of_the_kernel(tmp_path, model):
    """31,000 parameters: several blocks, tensors that share one."""
    with FollowedRecorder(tmp_path, model) as record:
        walk(record, model, 6)
        record.flush()
        logged_are(found := record.numbers(), tmp_path, [1, 2, 3, 4, 5, 6])
        assert record.numbers() == []
    kernel = th.gram(th.open_trajectory(tmp_path))
    assert abs(found[-1]["trajectory/omega"] - th.mds(kernel)) < 1e-6
    assert abs(found[-1]["trajectory/omega_0"] - th.mds(kernel, 0)) < 1e-6
    assert abs(found[-1]["trajectory/angle"] - th.angles(kernel)["consecutive"][-1]) < 1e-4


def test_of_every_so_many(tmp_path, model):
    with FollowedRecorder(tmp_path, model, log_every=3, every=2) as record:
        walk(record, model, 14)
        record.flush()
        logged_are(record.numbers(), tmp_path, [6, 12])
    with pytest.raises(ValueError, match="log_every: expected a whole number from 1 on, got 0"):
        FollowedRecorder(tmp_path / "other", model, log_every=0)
    with FollowedRecorder(tmp_path / "none", model, log_every=None) as record:
        walk(record, model, 2)
        record.flush()
        assert record.numbers() == []


def test_what_does_not_move_has_no_direction(tmp_path, model):
    """Two checkpoints equal to θ_0, an update that does not move; calls of one step count once."""
    with FollowedRecorder(tmp_path, model) as record:
        record(1)
        record(2)
        walk(record, model, 4, first=3)
        record(5)
        record(5)
        walk(record, model, 6, first=6)
        record.flush()
        logged_are(record.numbers(), tmp_path, [1, 2, 3, 4, 5, 6])


def test_a_run_that_goes_on_is_read_once_more(tmp_path, model):
    with FollowedRecorder(tmp_path, model) as record:
        walk(record, model, 5)
    with FollowedRecorder(tmp_path, model, resume=True) as record:
        walk(record, model, 5, first=4)
        record.flush()
        logged_are(record.numbers(), tmp_path, [4, 5])


def test_checkpoints_that_are_deleted_meanwhile_do_not_count(tmp_path, model):
    with FollowedRecorder(tmp_path, model) as record:
        walk(record, model, 4)
        record.flush()
        record.numbers()
        (tmp_path / "step_2.safetensors").unlink()
        walk(record, model, 6, first=5)
        record.flush()
        logged_are(record.numbers(), tmp_path, [5, 6])


def test_bfloat16_and_float64(tmp_path):
    for dtype in (torch.bfloat16, torch.float64):
        torch.manual_seed(0)
        model, folder = torch.nn.Linear(30, 20, dtype=dtype), tmp_path / str(dtype)
        with FollowedRecorder(folder, model) as record:
            walk(record, model, 3)
            record.flush()
            logged_are(record.numbers(), folder, [1, 2, 3])


def test_what_is_not_finite_is_logged_as_it_is(tmp_path, model):
    with FollowedRecorder(tmp_path, model) as record:
        walk(record, model, 2)
        with torch.no_grad():
            model[0].weight[0, 0] = torch.nan
        record(3)
        record.flush()
        *_, last = record.numbers()
        assert all(np.isnan(last[f"trajectory/{name}"]) for name in ("omega", "omega_0", "angle"))


def test_numbers_that_fail_end_no_training(tmp_path, model, capsys):
    """What is recorded is on disk all the same, and it is said."""
    with FollowedRecorder(tmp_path, model) as record:
        walk(record, model, 2)
        record.flush()
        (tmp_path / "step_1.safetensors").write_bytes(b"damaged")
        walk(record, model, 4, first=3)
        record.flush()
        assert [numbers["trajectory/step"] for numbers in record.numbers()] == [1, 2]
    assert (tmp_path / "step_4.safetensors").exists()
    (line,) = [one for one in capsys.readouterr().err.splitlines() if "no longer" in one]
    assert "step_1.safetensors" in line


# ---- transformers ----

ignored = pytest.mark.filterwarnings("ignore", "error::trajhelpers.errors.TrajectoryWarning")


def with_transformers(folder, model, steps, resume=None, **options):
    """Two batches an update; the loss is logged in each step."""
    import transformers

    arguments = transformers.TrainingArguments(
        str(folder / "out"),
        max_steps=steps,
        per_device_train_batch_size=2,
        gradient_accumulation_steps=2,
        save_steps=2,
        logging_steps=1,
        learning_rate=0.1,
        use_cpu=True,
        report_to=[],
        disable_tqdm=True,
    )
    trainer = transformers.Trainer(model, arguments, train_dataset=EXAMPLES)
    trainer.add_callback(th.callbacks.Trainer(folder / "run", trainer, **options))
    trainer.train(resume_from_checkpoint=resume)
    return trainer.state.log_history


def of_the_trajectory(history):
    return [entry for entry in history if "trajectory/step" in entry]


@ignored
def test_transformers(tmp_path):
    model = Net()
    history = with_transformers(tmp_path, model, 4)
    logged_are(of_the_trajectory(history), tmp_path / "run", [1, 2, 3, 4])
    assert all(entry["step"] >= entry["trajectory/step"] for entry in of_the_trajectory(history))
    # The trainer's own numbers are all there.
    assert [entry["step"] for entry in history if "loss" in entry] == [1, 2, 3, 4]
    recorded = th.open_trajectory(tmp_path / "run")
    assert recorded.steps == (0, 1, 2, 3, 4)
    assert ends_as(recorded, model)
    with pytest.raises(th.ExistingRunError):
        with_transformers(tmp_path, Net(), 4)
    history = with_transformers(tmp_path, Net(), 6, resume=True, every=2)
    fresh = [one for one in of_the_trajectory(history) if one["step"] > 4]
    logged_are(fresh, tmp_path / "run", [6])


def ends_as(trajectory, model):
    return all(
        np.array_equal(trajectory.read([(name, 0, tensor.numel())])[-1], tensor.double().flatten())
        for name, tensor in state_of(model).items()
    )


@ignored
def test_transformers_is_asked_for_its_trainer(tmp_path):
    with pytest.raises(TypeError, match=r"trainer: expected the transformers.Trainer to which"):
        th.callbacks.Trainer(tmp_path, 100)


# ---- Lightning ----


@ignored
def test_lightning(tmp_path):
    """Its own numbers are logged in every 50th step, these in all."""
    lightning = pytest.importorskip("lightning")
    from lightning.pytorch.loggers import CSVLogger

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = Net()

        def training_step(self, batch, index):
            return self.net(**batch)["loss"]

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    def trained(steps, checkpoint=None):
        trainer = lightning.Trainer(
            max_steps=steps,
            accelerator="cpu",
            accumulate_grad_batches=2,
            callbacks=[th.callbacks.Lightning(tmp_path / "run")],
            logger=CSVLogger(tmp_path / "logs", version=steps),
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        module, batches = Module(), torch.utils.data.DataLoader(EXAMPLES, batch_size=2)
        trainer.fit(module, batches, ckpt_path=checkpoint)
        trainer.save_checkpoint(tmp_path / "last.ckpt")
        return module, logged_in(tmp_path / f"logs/lightning_logs/version_{steps}/metrics.csv")

    module, logged = trained(4)
    logged_are(logged, tmp_path / "run", [1, 2, 3, 4])
    assert [numbers["step"] for numbers in logged] == [1, 2, 3, 4]
    assert ends_as(th.open_trajectory(tmp_path / "run"), module)
    # The first batch of an update ends at the step from which the run goes on.
    _, logged = trained(6, tmp_path / "last.ckpt")
    logged_are(logged, tmp_path / "run", [4, 5, 6])


def logged_in(csv):
    header, *lines = [line.split(",") for line in csv.read_text().splitlines()]
    return [{name: float(text) for name, text in zip(header, line) if text} for line in lines]


# ---- accelerate ----


def test_accelerate(tmp_path):
    accelerate = pytest.importorskip("accelerate")
    from accelerate.tracking import GeneralTracker

    class Tracker(GeneralTracker):
        name, requires_logging_directory, main_process_only = "ours", False, True
        tracker = property(lambda self: self.logged)

        def __init__(self):
            super().__init__()
            self.logged = []

        def store_init_configuration(self, values):
            pass

        def log(self, values, step=None, **_):
            self.logged.append({**values, "step": step})

    tracker = Tracker()
    accelerator = accelerate.Accelerator(
        cpu=True, gradient_accumulation_steps=2, log_with=[tracker]
    )
    accelerator.init_trackers("mine")
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    batches = torch.utils.data.DataLoader(EXAMPLES, batch_size=2)
    model, optimizer, batches = accelerator.prepare(model, optimizer, batches)
    updates = 0
    with th.callbacks.Accelerate(tmp_path / "run", accelerator, model) as record:
        for batch in batches:
            with accelerator.accumulate(model):
                accelerator.backward(model(**batch)["loss"])
                optimizer.step()
                optimizer.zero_grad()
            updates += accelerator.sync_gradients
            record(updates)
    logged_are(tracker.logged, tmp_path / "run", [1, 2, 3])
    assert all(numbers["step"] >= numbers["trajectory/step"] for numbers in tracker.logged)
    assert ends_as(th.open_trajectory(tmp_path / "run"), model)
    with pytest.raises(TypeError, match=r"expected an accelerate.Accelerator, got a Net"):
        th.callbacks.Accelerate(tmp_path / "other", model, accelerator)
