"""What callbacks record and log while a run trains, in the loops of the libraries themselves and in
the words of the reference's page: the numbers of the kernel of what was recorded so far, each once,
where the library logs its own."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from recording_processes import run_cases
from safetensors.torch import load_file

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


def test_of_a_sample_with_their_errors(tmp_path, model):
    """Those of the kernel of what was recorded so far."""
    with FollowedRecorder(tmp_path, model, log_every=2, sample=0.2, seed=4) as record:
        walk(record, model, 6)
        record.flush()
        found = record.numbers()
    path = th.open_trajectory(tmp_path)
    assert [numbers["trajectory/step"] for numbers in found] == [2, 4, 6]
    for numbers in found:
        kernel = th.gram(path[: numbers["trajectory/step"] + 1], device="cpu")
        right = {
            "omega": th.mds(kernel),
            "omega_0": th.mds(kernel, 0),
            "angle": th.angles(kernel)["consecutive"][-1],
            "omega_standard_error": kernel.standard_error(th.mds),
            "omega_0_standard_error": kernel.standard_error(th.mds, origin=0),
            "angle_standard_error": kernel.standard_error(th.angles)["consecutive"][-1],
            "step": numbers["trajectory/step"],
        }
        assert numbers == pytest.approx({f"trajectory/{name}": right[name] for name in right})
        assert numbers["trajectory/omega_standard_error"] > 0


def test_of_a_sample_that_does_not_move_or_is_not_finite(tmp_path, model):
    with FollowedRecorder(tmp_path, model, sample=0.2) as record:
        record(1)
        walk(record, model, 2, first=2)
        with torch.no_grad():
            model[1].bias[0] = torch.nan
        record(3)
        record.flush()
        first, second, last = record.numbers()
    assert first["trajectory/omega"] == pytest.approx(1) and "trajectory/omega_0" not in first
    assert "trajectory/omega_0" in second and "trajectory/angle" not in second
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


# ---- in the loops of others ----

PAGE = Path(__file__).parents[1] / "book" / "api" / "trajectories.md"


def words_of(library):
    """The code that the page gives for a library, that records every step."""
    found = re.search(
        rf"^\*\*{library}\*\*.*?```python\n(.*?)```", PAGE.read_text(), re.M | re.S | re.I
    )[1]
    return found.replace("every=100", "every=1")


@pytest.fixture
def within(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def recorded(last, steps):
    """These steps, the last of them as the model is when its training has ended."""
    assert th.open_trajectory("runs/mine").steps == steps
    found = load_file(f"runs/mine/step_{steps[-1]}.safetensors")
    assert set(found) == set(last) and all(torch.equal(found[name], last[name]) for name in last)
    assert not list(Path("runs/mine").glob(".*"))


def state_of(model):
    return {name: tensor.detach().clone() for name, tensor in model.named_parameters()}


class Net(torch.nn.Module):
    """As transformers calls one."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Linear(3, 1)

    def forward(self, x, labels=None):
        y = self.layer(x)
        return {"loss": (y - labels).square().mean(), "logits": y}


EXAMPLES = [{"x": torch.tensor([i, 1.0, -1.0]) / 9, "labels": torch.ones(1)} for i in range(12)]


def with_transformers(model, steps, resumed=False):
    """Two batches an update; what was logged."""
    import transformers

    arguments = transformers.TrainingArguments(
        "out",
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
    names = dict(th=th, transformers=transformers, model=model, arguments=arguments)
    names["examples"] = EXAMPLES
    words = words_of("transformers")
    exec(
        words.replace("train()", "train(resume_from_checkpoint=True)" if resumed else "train()"),
        names,
    )
    return names["trainer"].state.log_history


def with_lightning(net, steps, checkpoint=None, **options):
    """Two batches an update; the module, and what was logged."""
    lightning = pytest.importorskip("lightning")
    from lightning.pytorch.loggers import CSVLogger

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = net

        def training_step(self, batch, index):
            return self.net(**batch)["loss"]

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    names = {"th": th, "lightning": lightning, "steps": steps}
    exec(words_of("lightning"), names)
    trainer = lightning.Trainer(
        max_steps=steps,
        accelerator="cpu",
        accumulate_grad_batches=2,
        callbacks=[names["record"]],
        logger=CSVLogger("logs", version=steps),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )
    module, batches = Module(), torch.utils.data.DataLoader(EXAMPLES, batch_size=2)
    trainer.fit(module, batches, ckpt_path=checkpoint)
    trainer.save_checkpoint("last.ckpt")
    return module, Path(f"logs/lightning_logs/version_{steps}/metrics.csv")


def lines_of(csv):
    header, *lines = [line.split(",") for line in csv.read_text().splitlines()]
    return [{name: float(text) for name, text in zip(header, line) if text} for line in lines]


def of_the_trajectory(history):
    """At the step of its last checkpoint, or later."""
    found = [entry for entry in history if "trajectory/step" in entry]
    assert all(entry["step"] >= entry["trajectory/step"] for entry in found)
    return found


# transformers, Lightning and torch deprecate one another's ways
others_warnings = pytest.mark.filterwarnings(
    "ignore", "error::trajhelpers.errors.TrajectoryWarning"
)


@others_warnings
def test_transformers(within):
    model = Net()
    first = state_of(model)
    history = with_transformers(model, 4)
    recorded(state_of(model), (0, 1, 2, 3, 4))
    found = load_file("runs/mine/step_0.safetensors")
    assert all(torch.equal(found[name], first[name]) for name in first)
    logged_are(of_the_trajectory(history), "runs/mine", [1, 2, 3, 4])
    # The trainer's own are all there.
    assert [entry["step"] for entry in history if "loss" in entry] == [1, 2, 3, 4]
    with pytest.raises(th.ExistingRunError):
        with_transformers(Net(), 4)
    model = Net()
    history = with_transformers(model, 6, resumed=True)
    recorded(state_of(model), (0, 1, 2, 3, 4, 5, 6))
    logged_are(of_the_trajectory(history)[-2:], "runs/mine", [5, 6])
    with pytest.raises(TypeError, match=r"trainer: expected the transformers.Trainer to which"):
        th.callbacks.Trainer("runs/mine", 100)


@others_warnings
def test_lightning(within):
    """Its own numbers are logged in every 50th step, these in all."""
    module, csv = with_lightning(Net(), 4)
    recorded(state_of(module), (0, 1, 2, 3, 4))
    logged_are(logged := of_the_trajectory(lines_of(csv)), "runs/mine", [1, 2, 3, 4])
    assert [numbers["step"] for numbers in logged] == [1, 2, 3, 4]
    module, csv = with_lightning(Net(), 6, checkpoint="last.ckpt")
    recorded(state_of(module), (0, 1, 2, 3, 4, 5, 6))
    # The first batch of an update ends at step 4, from which the run goes on.
    logged_are(lines_of(csv), "runs/mine", [5, 6])


@others_warnings
def test_a_sample_in_each(within, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "words_of", with_a_sample(words_of))
    with_transformers(Net(), 2)
    is_a_sample("runs/mine", 3)
    Path("runs/mine").rename("runs/transformers")
    with_lightning(Net(), 2)
    is_a_sample("runs/mine", 3)
    accelerate = pytest.importorskip("accelerate")
    words = with_a_sample(lambda library: 'th.callbacks.Accelerate("runs/a", a, net, every=1)')("")
    with eval(words, {"th": th, "a": accelerate.Accelerator(cpu=True), "net": Net()}) as record:
        record(1)
    is_a_sample("runs/a", 2)


def with_a_sample(words_of):
    return lambda library: words_of(library).replace("every=1", "sample=0.5, seed=4")


def is_a_sample(folder, n):
    trajectory = th.open_trajectory(folder)
    assert trajectory.n == n and trajectory.drawn[:2] == (0.5, 4)


@pytest.mark.slow
@pytest.mark.parametrize("library", ["transformers", "lightning"])
def test_on_two_processes(tmp_path, library, monkeypatch):
    pytest.importorskip(library)
    run_cases(tmp_path, [library])
    place = tmp_path / library
    assert [(place / f"{rank}.txt").read_text() for rank in range(2)] == ["", ""]
    monkeypatch.chdir(place)
    recorded(torch.load("last.pt"), (0, 1, 2, 3, 4))


def test_accelerate(within):
    """In one process; see test_record_processes for two."""
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

    tracker, model = Tracker(), Net()
    accelerator = accelerate.Accelerator(
        cpu=True, gradient_accumulation_steps=2, log_with=[tracker]
    )
    accelerator.init_trackers("mine")
    names = {
        "th": th,
        "accelerator": accelerator,
        "model": model,
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.1),
        "batches": torch.utils.data.DataLoader(EXAMPLES, batch_size=2),
        "loss_of": lambda model, batch: model(**batch)["loss"],
    }
    exec(words_of("accelerate"), names)
    recorded(state_of(model), (0, 1, 2, 3))
    logged_are(of_the_trajectory(tracker.logged), "runs/mine", [1, 2, 3])
    with pytest.raises(TypeError, match=r"expected an accelerate.Accelerator, got a Net"):
        th.callbacks.Accelerate("runs/mine", model, accelerator)


def test_nobody_is_imported_before_asked_for():
    program = (
        "import sys, trajhelpers as th; th.callbacks;"
        " print({'torch', 'transformers', 'lightning', 'accelerate'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout == b"set()\n"
