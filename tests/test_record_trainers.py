"""The recorder in loops that others wrote, in the words of the reference's page."""

import os
import re
from pathlib import Path

import pytest
import torch
from recording_processes import run_cases
from safetensors.torch import load_file

import trajhelpers as th

PAGE = Path(__file__).parents[1] / "book" / "api" / "trajectories.md"


def words_of(library):
    """The code that the page gives for a library."""
    page = PAGE.read_text()
    return re.search(rf"^\*\*{library}\*\*.*?```python\n(.*?)```", page, re.M | re.S | re.I)[1]


def callback(library, module):
    names = {"th": th, library: module}
    exec(words_of(library).replace("every=100", "every=2"), names)
    return names["Record"]()


@pytest.fixture(autouse=True)
def within(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def state_of(model):
    return {name: tensor.detach().clone() for name, tensor in model.named_parameters()}


def recorded(steps, last):
    """These steps, the last of them as the model is when its training has ended."""
    assert th.open_trajectory("runs/mine").steps == steps
    found = load_file(f"runs/mine/step_{steps[-1]}.safetensors")
    assert set(found) == set(last) and all(torch.equal(found[name], last[name]) for name in last)
    assert not list(Path("runs/mine").glob(".*"))


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


def with_transformers(model, steps, **options):
    """Two batches an update."""
    import transformers

    arguments = transformers.TrainingArguments(
        "out",
        max_steps=steps,
        per_device_train_batch_size=2,
        gradient_accumulation_steps=2,
        save_steps=2,
        save_strategy="steps",
        learning_rate=0.1,
        use_cpu=True,
        report_to=[],
        disable_tqdm=True,
    )
    record = callback("transformers", transformers)
    trainer = transformers.Trainer(model, arguments, train_dataset=EXAMPLES, callbacks=[record])
    trainer.train(**options)


def with_lightning(net, steps, checkpoint=None, **options):
    """Two batches an update, which a batch that ends does not tell."""
    lightning = pytest.importorskip("lightning")

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = net

        def training_step(self, batch, index):
            return self.net(**batch)["loss"]

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    trainer = lightning.Trainer(
        max_steps=steps,
        accelerator="cpu",
        accumulate_grad_batches=2,
        callbacks=[callback("lightning", lightning)],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )
    module, batches = Module(), torch.utils.data.DataLoader(EXAMPLES, batch_size=2)
    trainer.fit(module, batches, ckpt_path=checkpoint)
    trainer.save_checkpoint("last.ckpt")
    return module


# transformers, Lightning and torch deprecate one another's ways
@pytest.mark.filterwarnings("ignore", "error::trajhelpers.errors.TrajectoryWarning")
def test_transformers():
    model = Net()
    first = state_of(model)
    with_transformers(model, 4)
    recorded((0, 2, 4), state_of(model))
    found = load_file("runs/mine/step_0.safetensors")
    assert all(torch.equal(found[name], first[name]) for name in first)
    with pytest.raises(th.ExistingRunError):
        with_transformers(Net(), 4)
    model = Net()
    with_transformers(model, 6, resume_from_checkpoint=True)
    recorded((0, 2, 4, 6), state_of(model))


@pytest.mark.filterwarnings("ignore", "error::trajhelpers.errors.TrajectoryWarning")
def test_lightning():
    module = with_lightning(Net(), 4)
    recorded((0, 2, 4), state_of(module))
    module = with_lightning(Net(), 6, checkpoint="last.ckpt")
    recorded((0, 2, 4, 6), state_of(module))


@pytest.mark.slow
@pytest.mark.parametrize("library", ["transformers", "lightning"])
def test_on_two_processes(tmp_path, library):
    pytest.importorskip(library)
    run_cases(tmp_path, [library])
    place = tmp_path / library
    assert [(place / f"{rank}.txt").read_text() for rank in range(2)] == ["", ""]
    os.chdir(place)
    recorded((0, 2, 4), torch.load("last.pt"))


def test_accelerate():
    """In one process; see test_record_processes for two."""
    accelerate = pytest.importorskip("accelerate")
    model = Net()
    names = {
        "th": th,
        "accelerator": accelerate.Accelerator(cpu=True, gradient_accumulation_steps=2),
        "model": model,
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.1),
        "batches": torch.utils.data.DataLoader(EXAMPLES, batch_size=2),
        "loss_of": lambda model, batch: model(**batch)["loss"],
    }
    exec(words_of("accelerate").replace("every=100", "every=1"), names)
    recorded((0, 1, 2, 3), state_of(model))
