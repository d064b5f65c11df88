"""Record a trajectory while a network trains."""

import operator
import queue
import threading
from pathlib import Path

from .atomic import atomic_path
from .errors import ExistingRunError, TrajectoryError
from .reading.prefixes import without_prefixes

_WAITING_CHECKPOINTS = 2


class Recorder:
    """Writes a model's trainable parameters to a folder at chosen steps, the initialization among
    them.

    Parameters
    ----------
    folder : path
        Made where it does not exist. One file a checkpoint, ``step_<N>.safetensors``, that
        :func:`trajhelpers.open_trajectory` reads.
    model : torch.nn.Module
        Its parameters with ``requires_grad`` make θ. Prefixes of DDP and torch.compile fall
        away, where all names have them.
    every : int
        Record every so many steps.
    steps : iterable of int, optional
        Record at these instead, e.g. :func:`pythia_steps`.
    resume : bool
        Go on in a folder that holds a run: the first step that is recorded replaces the earlier
        checkpoint of that step and deletes those after it, so that the folder holds one run.
    overwrite : bool
        Delete the run that the folder holds.

    Raises
    ------
    ExistingRunError
        Where the folder holds a run and neither ``resume`` nor ``overwrite`` is set.
    ValueError
        For a model without trainable parameters, or ``every`` below 1.

    Notes
    -----
    Parameters are copied at the call and written by a thread, each file in one atomic move:
    whenever the process dies, the folder opens. An error of the disk is raised at the next call or
    at the end of the ``with`` block. Chapter "A first map".

    >>> import tempfile, torch, trajhelpers as th
    >>> model = torch.nn.Linear(4, 2)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with Recorder(folder, model, every=2) as record:      # step 0 is written here
    ...         for step in range(1, 7):
    ...             _ = torch.nn.init.normal_(model.weight)       # your training step
    ...             record(step)
    ...     th.open_trajectory(folder).steps
    (0, 2, 4, 6)
    """

    def __init__(self, folder, model, every=1, steps=None, resume=False, overwrite=False):
        every = operator.index(every)
        if every < 1:
            raise ValueError(f"every: expected a whole number of steps from 1 on, got {every}")
        steps = None if steps is None else {operator.index(step) for step in steps}
        if steps and min(steps) < 0:
            raise ValueError(f"steps: expected whole numbers from 0 on, got {sorted(steps)}")
        if resume and overwrite:
            raise ValueError("resume and overwrite exclude each other")
        self._folder, self._every = Path(folder), every
        self._steps = steps
        named = dict(model.named_parameters())
        self._parameters = {
            name: parameter
            for name, parameter in zip(without_prefixes(named), named.values())
            if parameter.requires_grad
        }
        if not self._parameters:
            raise ValueError(
                f"model: this {type(model).__name__} has no trainable parameters to record"
            )
        self._folder.mkdir(parents=True, exist_ok=True)
        earlier = sorted(self._folder.glob("step_*.safetensors"))
        if overwrite:
            for file in earlier:
                file.unlink()
        elif earlier and not resume:
            raise ExistingRunError(
                f"{self._folder}: holds a run already ({len(earlier)} checkpoints); go on with"
                " resume=True, replace it with overwrite=True, or choose another folder"
            )
        for file in self._folder.glob(".step_*.tmp"):  # left by a process that was killed
            file.unlink()
        self._abandoned = earlier if resume else []
        self._waiting = queue.Queue(_WAITING_CHECKPOINTS)
        self._error = None
        self._writer = threading.Thread(target=self._write, daemon=True)
        self._writer.start()
        if not (resume and earlier):
            self._put(0)

    def __call__(self, step):
        """Record the model as it is now, if ``step`` is one of the chosen steps."""
        self._raise_error()
        if step % self._every == 0 if self._steps is None else step in self._steps:
            self._put(step)

    def flush(self):
        """Wait until what has been recorded so far is on disk."""
        if self._writer.is_alive():
            self._waiting.join()
        self._raise_error()

    def close(self):
        """Wait until all is written. The end of the ``with`` block does this."""
        if self._writer.is_alive():
            self._waiting.put(None)
            self._writer.join()
        self._raise_error()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def _put(self, step):
        if not self._writer.is_alive():
            raise TrajectoryError(
                f"{self._folder}: this recorder is closed; make another with resume=True"
            )
        for file in self._abandoned:
            if int(file.stem.removeprefix("step_")) > step:
                file.unlink(missing_ok=True)
        self._abandoned = []
        self._waiting.put(
            (
                step,
                {
                    name: parameter.detach().to("cpu", copy=True).contiguous()
                    for name, parameter in self._parameters.items()
                },
            )
        )

    def _write(self):
        from safetensors.torch import save_file

        while (item := self._waiting.get()) is not None:
            step, state = item
            try:
                if not self._error:
                    with atomic_path(self._folder / f"step_{step}.safetensors") as temporary:
                        save_file(state, temporary, metadata={"step": str(step)})
            except Exception as error:  # raised in the caller's thread, where it can be seen
                self._error = error
            self._waiting.task_done()

    def _raise_error(self):
        if self._error:
            raise TrajectoryError(
                f"{self._folder}: a checkpoint could not be written ({self._error})"
            ) from self._error
