"""Train by a recipe, and record the trajectory."""

import os
import time
from pathlib import Path

import pandas as pd
import torch
from tqdm.auto import tqdm

from ...atomic import atomic_path
from ...errors import ExistingRunError, NonFiniteError, TrajectoryError, missing_extra
from ...record import Recorder
from ...streaming.devices import choose_device
from .images import load_data
from .models import build_model
from .sam import SAM

_EVALUATED_EACH_EPOCH = 2000
_EVALUATION_BATCH = 500
_STATE = ".training_state.pt"  # hidden: no checkpoint


def train(
    recipe,
    folder,
    device="auto",
    data_folder=None,
    resume=False,
    overwrite=False,
    progress=True,
    on_checkpoint=None,
):
    """Train a network and record its trajectory.

    Parameters
    ----------
    recipe : Recipe
    folder : path
        Gets ``recipe.json``, ``log.csv`` and one ``step_<N>.safetensors`` a checkpoint, the
        initialization among them.
    device : str
        ``"auto"`` (a GPU where there is one), ``"cpu"``, ``"cuda"``, ``"mps"``.
    data_folder : path, optional
        Where CIFAR-10 or ImageNet lie. They are never downloaded.
    resume : bool
        Go on with the run that the folder holds, from its last checkpoint to the same bits; a
        finished run is returned as it is.
    overwrite : bool
        Delete the run that the folder holds.
    progress : bool
        Show a progress bar.
    on_checkpoint : callable, optional
        Called with ``(step, log)`` when a checkpoint is on disk, ``log`` a list of dicts; the run
        stops there if it returns True, and can be resumed.

    Returns
    -------
    pandas.DataFrame
        One row an epoch: ``epoch, step, learning_rate``; ``running_loss, running_accuracy`` over
        the epoch's training batches as they came (in training mode, under SAM at θ);
        ``test_accuracy_first_2000``; ``seconds`` since the start. The last row of a finished run
        also has ``train_loss``, ``train_accuracy``, ``test_loss`` and ``test_accuracy``, over all
        images and without augmentation; training labels are the noisy ones.

    Raises
    ------
    ExistingRunError
        Where the folder holds a run, and it is not to be resumed or overwritten, or is another
        recipe's.
    NonFiniteError
        At the first loss that is NaN or infinite. The checkpoints and the log up to there are kept.

    Notes
    -----
    On a CPU, one recipe, machine and number of threads give the same bits each time. Under
    ``torchrun`` or ``accelerate launch``, and for dtype ``"bfloat16"``, the run goes through
    accelerate (``pip install 'trajhelpers[distributed]'``); each process takes its share of every
    batch, and the batches do not depend on their number. BatchNorm's statistics do: each process
    takes those of its share. Chapter "Switching off momentum and weight decay"."""
    folder = Path(folder)
    engine = _engine(recipe, device)
    finished = _look_at_folder(folder, recipe, resume, overwrite, engine)
    if finished is not None:
        return finished

    data = load_data(recipe.data, data_folder, recipe.label_noise)
    run = _Run(recipe, data, engine, folder / _STATE, resume)
    _claim_folder(folder, recipe, overwrite, engine)  # what cannot start has changed nothing
    recorder = None
    if engine.is_main_process:
        recorder = Recorder(
            folder,
            run.plain_model,
            steps=run.checkpoints,
            resume=run.step > 0,
            overwrite=run.step == 0,
        )
        recorder.flush()
    bar = tqdm(
        total=run.steps,
        initial=run.step,
        desc=f"{recipe.model} on {recipe.data}",
        unit="step",
        disable=not (progress and engine.is_main_process),
        leave=False,
    )
    try:
        for inputs, targets in run.batches():
            run.take_step(inputs, targets, folder)
            bar.update()
            if run.ends_epoch():
                run.write_log(folder)
                bar.set_postfix(
                    loss=f"{run.log[-1]['running_loss']:.3f}",
                    test=f"{run.log[-1]['test_accuracy_first_2000']:.1%}",
                )
            if (
                run.step in run.checkpoints
                and run.keep(recorder)
                and on_checkpoint
                and on_checkpoint(run.step, run.log)
            ):
                return pd.DataFrame(run.log)
        run.finish(folder)
    finally:
        bar.close()
        if recorder:
            recorder.close()
    return pd.DataFrame(run.log)


def read_log(folder):
    """The log of a run, as `train` returns it."""
    path = Path(folder) / "log.csv"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no log; has this run ended its first epoch?")
    return pd.read_csv(path)


class _Run:
    """Model, optimizer and place in the run: what a checkpoint of the training has to hold."""

    def __init__(self, recipe, data, engine, state_file, resume):
        self.recipe, self.data, self.engine, self.state_file = recipe, data, engine, state_file
        if recipe.batch_size > data.size["train"]:
            raise ValueError(
                f"batch_size: expected at most {data.size['train']}, the training images of"
                f" {recipe.data}, got {recipe.batch_size}"
            )
        if recipe.batch_size % engine.num_processes:
            raise ValueError(
                f"batch_size: expected a multiple of {engine.num_processes}, the number of"
                f" processes, got {recipe.batch_size}"
            )
        self.steps_an_epoch = data.size["train"] // recipe.batch_size
        self.steps = recipe.steps or recipe.epochs * self.steps_an_epoch
        self.checkpoints = set(recipe.checkpoint_steps(self.steps))
        self.dtype = torch.float64 if recipe.dtype == "float64" else torch.float32
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            model = build_model(
                recipe.model, recipe.width, data.channels, data.pixels, data.classes
            )
        self.plain_model = model.to(engine.device, self.dtype, memory_format=torch.channels_last)
        self.optimizer = _optimizer(recipe, self.plain_model.parameters())
        self.step, self.log, self.running, self._seconds = 0, [], [0.0, 0.0, 0.0], 0.0
        if resume and state_file.exists():
            self._load()
        self.model = engine.prepare(self.plain_model)
        self._stepper = SAM(self.optimizer, recipe.sam_rho) if recipe.sam_rho else self.optimizer
        self._started = time.perf_counter() - self._seconds

    def batches(self):
        """This process's share of each batch from the present step on."""

        def indices():
            share = slice(self.engine.process_index, None, self.engine.num_processes)
            for step in range(self.step, self.steps):
                epoch, place = divmod(step, self.steps_an_epoch)
                if place == 0 or step == self.step:
                    # one stream of numbers an epoch, so that a resumed run needs no past ones
                    generator = torch.Generator().manual_seed(self.recipe.seed * 1_000_003 + epoch)
                    order = torch.randperm(self.data.size["train"], generator=generator)
                yield (
                    epoch,
                    order[place * self.recipe.batch_size : (place + 1) * self.recipe.batch_size][
                        share
                    ].tolist(),
                )

        batches = self.data.batches("train", indices(), **self._augment())
        return (
            (images.to(self.engine.device, self.dtype), labels.to(self.engine.device))
            for images, labels in batches
        )

    def _augment(self):
        return {} if self.recipe.data in ("digits", "fashion-mnist") else {"augment": True}

    def take_step(self, inputs, targets, folder):
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.rate(self.step, self.steps)
        seen = []

        def closure():
            self.optimizer.zero_grad()
            # vgg16_bn's dropout: the same whenever this step is taken, another in each process
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(
                    self.recipe.seed * 1_000_003
                    + self.step * self.engine.num_processes
                    + self.engine.process_index
                )
                outputs = self.model(inputs)
            loss = torch.nn.functional.cross_entropy(outputs, targets)
            if not torch.isfinite(loss):
                raise _diverged(
                    folder, loss.item(), self.step + 1, self.steps, self.recipe, " or a warmup"
                )
            self.engine.backward(loss)
            seen.append((loss.item(), (outputs.argmax(1) == targets).sum().item()))
            return loss.item()

        self._stepper.step(closure)
        loss, correct = seen[0]
        self.running = [
            self.running[0] + loss * len(targets),
            self.running[1] + correct,
            self.running[2] + len(targets),
        ]
        self.step += 1

    def ends_epoch(self):
        """Where to log; of epochs of a single step, those that are recorded."""
        if self.steps_an_epoch == 1 and self.step not in self.checkpoints:
            return self.step == self.steps
        return self.step % self.steps_an_epoch == 0 or self.step == self.steps

    def write_log(self, folder):
        loss, correct, count = self._sum(torch.tensor(self.running, dtype=torch.float64))
        self.log.append(
            {
                "epoch": self.step / self.steps_an_epoch,
                "step": self.step,
                "learning_rate": self.recipe.rate(self.step - 1, self.steps),
                "running_loss": loss / count,
                "running_accuracy": correct / count,
                "test_accuracy_first_2000": self._evaluate("test", _EVALUATED_EACH_EPOCH)[1],
                "seconds": time.perf_counter() - self._started,
            }
        )
        self.running = [0.0, 0.0, 0.0]
        self._write(folder)

    def keep(self, recorder):
        """Record, and remember all that is needed to go on from here; True in every process."""
        running = self._sum(torch.tensor(self.running, dtype=torch.float64))
        if recorder:
            recorder(self.step)
            recorder.flush()  # the state must never be ahead of the checkpoints
            with atomic_path(self.state_file) as temporary:
                torch.save(
                    {
                        "step": self.step,
                        "model": self.plain_model.state_dict(),
                        "optimizer": self.optimizer.state_dict(),
                        "log": self.log,
                        "running": running,
                        "seconds": time.perf_counter() - self._started,
                    },
                    temporary,
                )
        return True

    def _load(self):
        try:
            state = torch.load(self.state_file, map_location="cpu", weights_only=True)
            self.plain_model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
        except Exception as error:
            raise TrajectoryError(
                f"{self.state_file}: the state of the training cannot be read ({error}); start"
                " again with overwrite=True"
            ) from error
        self.step, self.log, self._seconds = state["step"], state["log"], state["seconds"]
        if self.engine.is_main_process:  # it is the sum over all processes
            self.running = state["running"]

    def finish(self, folder):
        for split in ("train", "test"):
            self.log[-1][f"{split}_loss"], self.log[-1][f"{split}_accuracy"] = self._evaluate(
                split, self.data.size[split]
            )
        self._write(folder)
        if self.engine.is_main_process:
            self.state_file.unlink(missing_ok=True)

    def _evaluate(self, split, count):
        """Mean loss and accuracy over the first ``count`` images."""
        mine = range(
            self.engine.process_index, min(count, self.data.size[split]), self.engine.num_processes
        )
        batches = self.data.batches(
            split,
            (
                (0, list(mine[i : i + _EVALUATION_BATCH]))
                for i in range(0, len(mine), _EVALUATION_BATCH)
            ),
        )
        sums = torch.zeros(3, dtype=torch.float64)
        if self.engine.num_processes > 1:
            # BatchNorm's averages are of each process's shares; the next step goes on from the
            # first one's
            for buffer in self.plain_model.buffers():
                torch.distributed.broadcast(buffer, 0)
        self.plain_model.eval()
        with torch.no_grad():
            for images, labels in batches:
                outputs = self.plain_model(images.to(self.engine.device, self.dtype))
                labels = labels.to(self.engine.device)
                loss = torch.nn.functional.cross_entropy(outputs, labels, reduction="sum")
                sums += torch.tensor(
                    [loss.item(), (outputs.argmax(1) == labels).sum().item(), len(labels)],
                    dtype=torch.float64,
                )
        self.plain_model.train()
        loss, correct, seen = self._sum(sums)
        return loss / seen, correct / seen

    def _sum(self, numbers):
        """Over all processes."""
        if self.engine.num_processes > 1:
            # NCCL takes nothing from the CPU
            numbers = self.engine.reduce(numbers.to(self.engine.device), "sum")
        return numbers.tolist()

    def _write(self, folder):
        if self.engine.is_main_process:
            with atomic_path(folder / "log.csv") as temporary:
                pd.DataFrame(self.log).to_csv(temporary, index=False)


def _look_at_folder(folder, recipe, resume, overwrite, engine):
    """The log, where the folder holds the finished run; an error, where it holds another."""
    if resume and overwrite:
        raise ValueError("resume and overwrite exclude each other")
    described = folder / "recipe.json"
    try:
        if (described.exists() or any(folder.glob("step_*.safetensors"))) and not overwrite:
            if not described.exists():
                raise ExistingRunError(
                    f"{folder}: holds checkpoints that are no run of a recipe; choose another"
                    " folder, or replace them with overwrite=True"
                )
            if not resume:
                raise ExistingRunError(
                    f"{folder}: holds a run already; go on with resume=True, replace it with"
                    " overwrite=True, or choose another folder"
                )
            if (earlier := type(recipe).load(described)) != recipe:
                differs = [
                    name for name, value in vars(recipe).items() if getattr(earlier, name) != value
                ]
                raise ExistingRunError(
                    f"{folder}: holds a run of another recipe ({', '.join(differs)} differ); choose"
                    " another folder, or replace it with overwrite=True"
                )
            if (folder / "log.csv").exists() and {"test_accuracy", "validation_loss"} & set(
                log := read_log(folder)
            ):
                return log
    finally:
        engine.wait_for_everyone()  # before one of them changes what the others look at
    return None


def _claim_folder(folder, recipe, overwrite, engine):
    engine.wait_for_everyone()  # until all have read what they go on from
    if engine.is_main_process:
        folder.mkdir(parents=True, exist_ok=True)
        for file in folder.glob(".*.tmp"):  # left by a process that was killed
            file.unlink()
        if overwrite:
            for name in (_STATE, "log.csv"):
                (folder / name).unlink(missing_ok=True)
        recipe.save(folder / "recipe.json")
    engine.wait_for_everyone()


def _diverged(folder, loss, step, steps, recipe, more=""):
    return NonFiniteError(
        f"{folder}: the loss became {loss} at step {step} of {steps}; the checkpoints before it are"
        f" kept. A smaller learning_rate (now {recipe.learning_rate:g}){more} may help"
    )


def _optimizer(recipe, parameters):
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(
            parameters, lr=recipe.learning_rate, weight_decay=recipe.weight_decay
        )
    return torch.optim.SGD(
        parameters,
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov,
        weight_decay=recipe.weight_decay,
    )


class _OneProcess:
    """What `_Run` uses of accelerate's Accelerator, where one process trains in one precision and
    needs none of it.
    """

    process_index, num_processes, is_main_process = 0, 1, True

    def __init__(self, device):
        self.device = device

    def prepare(self, model):
        return model

    def backward(self, loss):
        loss.backward()

    def wait_for_everyone(self):
        pass


def _engine(recipe, device):
    if recipe.dtype != "bfloat16" and int(os.environ.get("WORLD_SIZE", 1)) == 1:
        return _OneProcess(choose_device(device))
    try:
        from accelerate import Accelerator
    except ImportError as error:
        raise missing_extra(
            "training with several processes, or in bfloat16,", "accelerate", "distributed"
        ) from error
    return Accelerator(
        cpu=choose_device(device) == "cpu",
        mixed_precision="bf16" if recipe.dtype == "bfloat16" else "no",
    )
