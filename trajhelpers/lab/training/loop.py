"""Train by a recipe of any kind, and record the trajectory."""

import math
import time

import pandas as pd
import torch
from tqdm.auto import tqdm

from ...atomic import atomic_path
from ...errors import NonFiniteError, TrajectoryError
from .engine import choose_engine, over_all_processes
from .folder import RunFolder
from .recipes.json_recipe import JsonRecipe
from .tasks import task_of


def train(
    recipe,
    folder,
    device="auto",
    data_folder=None,
    resume=False,
    overwrite=False,
    progress=True,
    on_checkpoint=None,
) -> pd.DataFrame:
    """Train a network and record its trajectory.

    Parameters
    ----------
    recipe : Recipe, WidthRecipe or LanguageRecipe
    folder : path
        Gets ``recipe.json``, ``log.csv`` and one ``step_<N>.safetensors`` a checkpoint (of a
        language model a folder ``step<N>/``, as on the hub), the initialization among them.
    device : str
        ``"auto"`` (a GPU where there is one), ``"cpu"``, ``"cuda"``, ``"mps"``. The numbers that
        are drawn do not depend on it.
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
        The log: one row an epoch of a `Recipe`, one a checkpoint of the others. Its columns are
        described with each kind of recipe.

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
    if not isinstance(recipe, JsonRecipe):
        raise TypeError(f"recipe: expected a recipe, got {type(recipe).__name__}")
    engine = choose_engine(device, getattr(recipe, "dtype", None) == "bfloat16")
    place = RunFolder(folder, recipe)
    try:
        finished = place.finished_log(resume, overwrite)
    finally:
        engine.wait_for_everyone()  # before one of them changes what the others look at
    if finished is not None:
        return finished

    run = Run(task_of(recipe, engine, data_folder), engine, place, resume)
    task = run.task
    engine.wait_for_everyone()  # until all have read what they go on from
    if engine.is_main_process:
        place.claim(run.step)  # what cannot start has changed nothing
    engine.wait_for_everyone()
    recorder = None
    if engine.is_main_process:
        recorder = task.recorder(place.path, resume=run.step > 0)
    bar = tqdm(
        total=task.steps,
        initial=run.step,
        desc=task.title,
        unit="step",
        disable=not (progress and engine.is_main_process),
        leave=False,
    )
    try:
        if recorder:
            recorder.flush()
        for batch in run.batches():
            run.take_step(batch)
            bar.update()
            if task.ends_row(run.step):
                row = run.add_row()
                bar.set_postfix({name: f"{row[key]:.3f}" for name, key in task.watched.items()})
            if run.step in task.checkpoints:
                run.keep(recorder)
                if on_checkpoint and on_checkpoint(run.step, run.log):
                    return pd.DataFrame(run.log)
        run.finish()
    finally:
        bar.close()
        if recorder:
            recorder.close()
    return pd.DataFrame(run.log)


class Run:
    """A task and the place in it: what a checkpoint of the training has to hold."""

    def __init__(self, task, engine, place, resume):
        self.task, self.engine, self.place = task, engine, place
        self.step, self.log, self._seconds = 0, [], 0.0
        self._running = [0.0, 0.0, 0.0]  # loss, right ones and examples since the last row
        if resume and place.state_file.exists():
            self._load()
        self._model = engine.prepare(task.model)
        self._started = time.perf_counter() - self._seconds

    def batches(self):
        """This process's share of each batch from the present step on."""
        return self.task.batches(self._indices())

    def _indices(self):
        recipe, each = self.task.recipe, self.task.steps_an_epoch
        share = slice(self.engine.process_index, None, self.engine.num_processes)
        for step in range(self.step, self.task.steps):
            epoch, place = divmod(step, each)
            if place == 0 or step == self.step:
                # one stream of numbers an epoch, so that a resumed run needs no past ones
                generator = torch.Generator().manual_seed(recipe.seed * 1_000_003 + epoch)
                order = torch.randperm(self.task.size, generator=generator)
            batch = order[place * recipe.batch_size : (place + 1) * recipe.batch_size]
            yield epoch, batch[share].tolist()

    def take_step(self, batch):
        task, engine = self.task, self.engine
        if (rate := task.rate(self.step)) is not None:
            for group in task.optimizer.param_groups:
                group["lr"] = rate
        seen = []

        def closure():
            task.optimizer.zero_grad()
            # vgg16_bn's dropout: the same whenever this step is taken, another in each process
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(
                    task.recipe.seed * 1_000_003
                    + self.step * engine.num_processes
                    + engine.process_index
                )
                loss, correct, count = task.loss(self._model, batch)
            value = loss.item()
            if not math.isfinite(value):
                raise self._diverged(value)
            engine.backward(loss)
            seen.append((value * count, correct, count))
            return value

        task.take_step(closure)
        # SAM's second loss is not at θ
        self._running = [sum(pair) for pair in zip(self._running, seen[0])]
        self.step += 1

    def add_row(self):
        """Put a row into the log, and give it."""
        loss, correct, count = self._over_all(self._running)
        seconds = time.perf_counter() - self._started
        row = self.task.row(self.step, loss / count, correct / count, seconds)
        self.log.append(row)
        self._running = [0.0, 0.0, 0.0]
        self._write_log()
        return row

    def keep(self, recorder):
        """Record, and remember all that is needed to go on from here."""
        running = self._over_all(self._running)
        if recorder:
            recorder(self.step)
            recorder.flush()  # the state must never be ahead of the checkpoints
            state = {
                "step": self.step,
                "model": self.task.model.state_dict(),
                "optimizer": self.task.optimizer.state_dict(),
                "log": self.log,
                "running": running,
                "seconds": time.perf_counter() - self._started,
            }
            try:
                with atomic_path(self.place.state_file) as temporary:
                    torch.save(state, temporary)
            except RuntimeError as error:  # torch's, where the disk is full
                raise TrajectoryError(
                    f"{self.place.state_file}: the state of the training cannot be written"
                    f" ({error}); make room, and go on with resume=True"
                ) from error

    def finish(self):
        """Complete the last row: a finished log stands for a finished run."""
        self.log[-1] |= self.task.results()
        self._write_log()
        if self.engine.is_main_process:
            self.place.state_file.unlink(missing_ok=True)

    def _load(self):
        file = self.place.state_file
        try:
            state = torch.load(file, map_location="cpu", weights_only=True)
            self.task.model.load_state_dict(state["model"])
            self.task.optimizer.load_state_dict(state["optimizer"])
        except Exception as error:
            raise TrajectoryError(
                f"{file}: the state of the training cannot be read ({error}); start again with"
                " overwrite=True"
            ) from error
        self.step, self.log, self._seconds = state["step"], state["log"], state["seconds"]
        if self.engine.is_main_process:  # it is the sum over all processes
            self._running = state["running"]

    def _over_all(self, numbers):
        return over_all_processes(self.engine, torch.tensor(numbers, dtype=torch.float64))

    def _write_log(self):
        if self.engine.is_main_process:
            self.place.write_log(self.log)

    def _diverged(self, loss):
        recipe = self.task.recipe
        return NonFiniteError(
            f"{self.place.path}: the loss became {loss} at step {self.step + 1} of"
            f" {self.task.steps}; the checkpoints before it are kept. A smaller learning_rate (now"
            f" {recipe.learning_rate:g}){self.task.remedy} may help"
        )
