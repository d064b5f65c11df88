"""Record a trajectory while a network trains."""

import warnings
from collections.abc import Callable
from pathlib import Path

import torch

from ..errors import CheckpointError, ExistingRunError, LayoutError, StepError, TrajectoryWarning
from ..telling import tell
from .parameters import RecordedParameters
from .processes import group_size, writes
from .schedule import Schedule, whole_number
from .writer import FolderWriter


class Recorder:
    """Writes a model's trainable parameters to a folder at chosen steps, the initialization among
    them.

    Parameters
    ----------
    folder : path
        Made where it does not exist. One file a checkpoint, ``step_<N>.safetensors``, that
        :func:`trajhelpers.open_trajectory` reads.
    model : torch.nn.Module
        Its parameters that require a gradient now make θ; those that are frozen are named in a
        line. What is frozen later is still recorded. Prefixes of DDP, FSDP and torch.compile fall
        away, where all names have them.
    every : int
        Record every so many steps.
    steps : iterable of int, optional
        Record at these instead, e.g. :func:`pythia_steps`.
    resume : bool
        Go on in a folder that holds a run of the same parameters: the first step that is recorded
        replaces the earlier checkpoint of that step and deletes those after it, so that the folder
        holds one run.
    overwrite : bool
        Delete the run that the folder holds.
    shards : bool
        For networks that several processes train in shards (FSDP2's ``fully_shard``, tensor
        parallelism): each process writes what it holds, and none ever has a whole parameter. A
        checkpoint is then a folder, ``step_<N>.shards``, one of torch.distributed.checkpoint's,
        that takes its name when all have written; the folder must be one that all processes share.

    Raises
    ------
    ExistingRunError
        Where the folder holds a run and neither ``resume`` nor ``overwrite`` is set, or another
        process records into it.
    LayoutError
        Where a run is resumed with other parameters than it holds.
    ValueError, TypeError
        For a model without trainable parameters, or on the meta device; for ``every`` below 1, and
        for steps that are no whole numbers; for ``shards`` without a process group, or of FSDP1,
        whose shards are no parts of parameters.
    TrajectoryError
        Where one process cannot write its shards, in all; a StepError within it where they recorded
        different steps.

    Notes
    -----
    A call takes a step, a whole number that counts updates over all epochs: 0 is the model as the
    recorder found it, 1 after the first update. It records where the step is due, under the names
    and values that the model has now. Steps go up; one that is recorded again counts as it was
    last. Where due steps go by without a call, a `TrajectoryWarning` says so.

    Parameters are copied at the call and written by a thread, each file in one atomic move:
    whenever the process dies, the folder opens. All is written where Python ends in good order,
    by an exception too; ``close``, or the end of the ``with`` block, is for those who go on, and
    leaves the folder to other recorders. A process that a signal kills loses the last three
    checkpoints at most. An error of the disk is told at once, and raised at the next call and by
    ``close``.

    Where several processes train one network, all make a recorder, after
    ``torch.distributed.init_process_group``, and call it; the first writes. With DDP that one
    alone may do so; where parameters are shards (FSDP, tensor parallelism) all must. They are
    gathered, a parameter at a time, unless ``shards`` is set. Loops of transformers, Lightning and
    accelerate: :ref:`recording-in-a-trainer`. Chapter "A first map".

    With ``shards`` a thread of each process writes, and they tell each other when they have; close
    the recorder before ``torch.distributed.destroy_process_group``. What is replicated is written
    once. In a loop that all processes run::

        fully_shard(model)
        with th.Recorder("runs/mine", model, every=100, shards=True) as record:
            for step in range(1, steps + 1):
                ...                                            # your training step
                record(step)
                if step % 1000 == 0:
                    record.flush()
                    trajectory = th.open_trajectory("runs/mine")
                    kernel = th.gram(trajectory, group=torch.distributed.group.WORLD)

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

    # What looks at each checkpoint once it is written, of recorders that have it.
    _follower: Callable | None = None

    def __init__(
        self,
        folder,
        model,
        every=1,
        steps=None,
        resume=False,
        overwrite=False,
        shards=False,
    ):
        self._schedule = Schedule(every, steps)
        if resume and overwrite:
            raise ValueError("resume and overwrite exclude each other")
        self._folder, here = Path(folder), writes()
        self._parameters = RecordedParameters(self._folder, model, shards)
        self._first: int | None = None  # step of a call
        self._last: int | None = 0  # the same, or 0 which is recorded here
        self._recorded = self._warned = False
        self._abandoned: list[tuple[int, Path]] = []
        self._writer: FolderWriter | None = None
        self._start: dict[str, torch.Tensor] | None = None  # step 0, until a later one
        # All processes give their shards, before the one that writes looks at the folder.
        state = self._parameters.copies()
        if not (here or shards):
            return
        writer = FolderWriter
        if shards:  # not at the top of the file: some builds of torch have no torch.distributed
            from .shards import ShardWriter as writer
        self._writer = writer(self._folder, resume or overwrite, self._follower if here else None)
        try:
            self._begin(self._writer, state, resume, overwrite)
        except BaseException:
            self._writer.close()
            raise
        if (processes := group_size()) > 1 and here:
            who = "each" if shards else "the first"
            tell(f"{folder}: {who} of {processes} processes records{' its shards' * shards}")

    def _begin(self, writer, state, resume, overwrite):
        earlier = writer.checkpoints()
        if earlier and not (resume or overwrite):
            raise ExistingRunError(
                f"{self._folder}: holds a run already ({len(earlier)} checkpoints); go on with"
                " resume=True, replace it with overwrite=True, or choose another folder"
            )
        if resume and earlier:
            _same_parameters(writer, earlier[-1][1], self._parameters.shapes)
            self._abandoned, self._last = earlier, None
            return
        with writer.as_one():
            for _, checkpoint in earlier:
                writer.remove(checkpoint)
        self._start = state
        writer.put(0, state)

    def __call__(self, step):
        """Record the model as it is now, if ``step`` is due."""
        step = whole_number("step", step)
        if self._writer:
            self._writer.check()
        if self._last is not None and step < self._last:
            raise StepError(
                f"{self._folder}: called at step {step} after step {self._last}; count steps over"
                " all epochs, and to go on from an earlier one make a recorder with resume=True"
            )
        due = step in self._schedule
        if step > 0:
            self._start = None
        if self._writer:
            self._watch(step, due)
        if due:
            self._record(step)
        self._first = step if self._first is None else self._first
        self._last = step

    def flush(self):
        """Wait until what has been recorded so far is on disk."""
        if self._writer:
            self._writer.flush()

    def close(self):
        """Wait until all is written, and leave the folder to others. The end of the ``with`` block
        does this.
        """
        self._end(stacklevel=4)

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        self._end(stacklevel=4 if kind is None else 0)

    def _record(self, step):
        state = self._parameters.copies()
        if self._writer is None:
            return
        if self._start is not None:
            with self._writer.as_one():
                _check_start(self._folder, self._start, state)
            return
        if self._abandoned:
            with self._writer.as_one():
                for earlier, checkpoint in self._abandoned:
                    if earlier > step:
                        self._writer.remove(checkpoint)
        self._abandoned = []
        self._writer.put(step, state)
        self._recorded = True

    def _watch(self, step, due):
        """Say where a step of a list goes by, or all due ones do. Where some are recorded, one may
        want fewer than ``every``.
        """
        missed = None if self._last is None else self._schedule.next(self._last)
        wanted = self._schedule.listed or not (due or self._recorded)
        if wanted and missed is not None and missed < step:
            self._warn_once(
                f"called at step {step} after step {self._last}, and step {missed} was due"
                f" ({self._schedule}): only steps of a call are recorded",
                stacklevel=4,
            )

    def _end(self, stacklevel):
        if self._writer is None:
            return
        self._writer.close()
        self._writer.flush()  # raises an error of the disk
        if self._first is not None and self._last and not self._recorded and stacklevel:
            self._warn_once(
                f"called at steps {self._first} to {self._last}, none of which was due"
                f" ({self._schedule}): nothing but the model's first state is recorded",
                stacklevel,
            )

    def _warn_once(self, text, stacklevel):
        if not self._warned:
            self._warned = True
            warnings.warn(f"{self._folder}: {text}", TrajectoryWarning, stacklevel)


def _same_parameters(writer, checkpoint, shapes):
    """Raise LayoutError where a checkpoint of the run that goes on holds other parameters."""
    if checkpoint.suffix != writer.ending:
        raise ExistingRunError(
            f"{checkpoint}: was recorded with{'' if checkpoint.is_dir() else 'out'} shards=True,"
            " and a run goes on as it began"
        )
    try:
        stored = writer.shapes(checkpoint)
    except CheckpointError as error:
        raise CheckpointError(
            f"{error}; resume from an earlier checkpoint by deleting it, or begin anew with"
            " overwrite=True"
        ) from error
    for name in sorted({**stored, **shapes}):
        if stored.get(name) != shapes.get(name):
            raise LayoutError(
                f"{checkpoint}: {name} has shape {stored.get(name, 'none')} there and"
                f" {shapes.get(name, 'none')} in the model's trainable parameters; a run goes on"
                " with the parameters it began with, trainable when its recorder is made"
            )


def _check_start(folder, saved, state):
    """A call at step 0, which is recorded already, is no mistake before the first update."""
    if any(not _same_bytes(tensor, saved[name]) for name, tensor in state.items()):
        raise StepError(
            f"{folder}: called at step 0, which is the model as the recorder found it, and the"
            " model has changed since; the first update makes step 1: record(step + 1)"
        )


def _same_bytes(one, other):
    """Whether two tensors, or this process's shards, are equal, NaN and all."""
    one, other = (getattr(tensor, "to_local", lambda t=tensor: t)() for tensor in (one, other))
    return one.dtype == other.dtype and torch.equal(
        one.flatten().view(torch.uint8), other.flatten().view(torch.uint8)
    )
