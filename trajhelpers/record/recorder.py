"""Record a trajectory while a network trains."""

from collections.abc import Callable
from pathlib import Path

import torch

from ..errors import CheckpointError, ExistingRunError, LayoutError, StepError
from ..reading.partly import KEY, said_of_sample
from ..telling import tell, warn
from .columns import SampledColumns
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
    sample : float, optional
        For runs that cannot keep checkpoints: keep this fraction of the parameters, 0.01, of which
        the columns are the same at each step, and small tensors whole. :func:`trajhelpers.gram` of
        what was recorded is that of the whole run with ``sample=`` and ``seed=`` as here, and has
        the same standard errors. What is not kept can be asked for no more.
    seed : int
        Of the blocks of columns that are drawn.

    Raises
    ------
    ExistingRunError
        Where the folder holds a run and neither ``resume`` nor ``overwrite`` is set, or another
        process records into it.
    LayoutError
        Where a run is resumed with other parameters than it holds, or another sample of them.
    ValueError, TypeError
        For a model without trainable parameters, or on the meta device; for ``every`` below 1, and
        for steps that are no whole numbers; for ``shards`` without a process group, or of FSDP1,
        whose shards are no parts of parameters; for a ``sample`` that is no fraction, or of shards.
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
        sample=None,
        seed=0,
    ):
        self._schedule = Schedule(every, steps)
        if resume and overwrite:
            raise ValueError("resume and overwrite exclude each other")
        if shards and sample is not None:
            raise ValueError(
                "shards, sample: exclude each other; leave shards= out, and parameters are gathered"
                " one at a time for what is kept of them"
            )
        self._folder, here = Path(folder), writes()
        self._parameters = RecordedParameters(self._folder, model, shards)
        self._first: int | None = None  # step of a call
        self._last: int | None = 0  # the same, or 0 which is recorded here
        self._recorded = self._warned = False
        self._abandoned: list[tuple[int, Path]] = []
        self._writer: FolderWriter | None = None
        self._start: dict[str, torch.Tensor] | None = None  # step 0, until a later one
        if sample is not None:
            self._parameters.sampled = SampledColumns(self._parameters.shapes, sample, seed)
        # All processes give their shards, before the one that writes looks at the folder.
        state = self._parameters.copies()
        if not (here or shards):
            return
        writer = FolderWriter
        if shards:  # not at the top of the file: some builds of torch have no torch.distributed
            from .shards import ShardWriter as writer
        self._writer = writer(self._folder, resume or overwrite, self._follower if here else None)
        if self._parameters.sampled:
            self._writer.metadata[KEY] = self._parameters.sampled.description
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
            _same_parameters(writer, earlier[-1][1], self._parameters)
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
        self._end(told=True)

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        self._end(told=kind is None)

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
                f" ({self._schedule}): only steps of a call are recorded"
            )

    def _end(self, told):
        if self._writer is None:
            return
        self._writer.close()
        self._writer.flush()  # raises an error of the disk
        if self._first is not None and self._last and not self._recorded and told:
            self._warn_once(
                f"called at steps {self._first} to {self._last}, none of which was due"
                f" ({self._schedule}): nothing but the model's first state is recorded"
            )

    def _warn_once(self, text):
        if not self._warned:
            self._warned = True
            warn(f"{self._folder}: {text}")


def _same_parameters(writer, checkpoint, parameters):
    """Raise LayoutError where a checkpoint of the run that goes on holds other parameters."""
    if checkpoint.suffix != writer.ending:
        raise ExistingRunError(
            f"{checkpoint}: was recorded with{'' if checkpoint.is_dir() else 'out'} shards=True,"
            " and a run goes on as it began"
        )
    try:
        stored, description = writer.held(checkpoint)
    except CheckpointError as error:
        raise CheckpointError(
            f"{error}; resume from an earlier checkpoint by deleting it, or begin anew with"
            " overwrite=True"
        ) from error
    shapes = parameters.shapes
    for name in sorted({**stored, **shapes}):
        if stored.get(name) != shapes.get(name):
            raise LayoutError(
                f"{checkpoint}: {name} has shape {stored.get(name, 'none')} there and"
                f" {shapes.get(name, 'none')} in the model's trainable parameters; a run goes on"
                " with the parameters it began with, trainable when its recorder is made"
            )
    _same_sample(checkpoint, description, parameters.sampled)


def _same_sample(checkpoint, description, sampled):
    if description == (sampled.description if sampled else ""):
        return
    was = f"with {said_of_sample(checkpoint, description)[0]}" if description else "whole"
    now = f"with {sampled.drawn}" if sampled else "whole"
    if was == now:
        now = "that draws other columns, in this version of trajhelpers"
    raise LayoutError(
        f"{checkpoint}: was recorded {was}, and now it is {now}; a run goes on with the sample= and"
        " seed= that it began with, or begins anew in another folder"
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
