"""In the loop of transformers."""

import transformers

from ..record.followed import FollowedRecorder


class Trainer(transformers.TrainerCallback):
    """Records what a ``transformers.Trainer`` trains, and logs ω, ω_0 and the last angle with
    ``trainer.log``.

    >>> trainer = transformers.Trainer(model, arguments, …)                    # doctest: +SKIP
    >>> trainer.add_callback(
    ...     th.callbacks.Trainer("runs/mine", trainer, every=100))             # doctest: +SKIP

    Parameters
    ----------
    folder : path
        As of :class:`trajhelpers.Recorder`, which says what is written, and when.
    trainer : transformers.Trainer
        Any subclass of it. Callbacks are not given it otherwise.
    every, steps, overwrite, shards, sample, seed
        Of the recorder. Steps are the trainer's ``global_step``. A training that goes on from a
        checkpoint resumes the run in the folder.
    log_every : int or None
        Log numbers of every so many recorded checkpoints; None logs nothing, and costs nothing.

    Notes
    -----
    Logged are ``trajectory/omega``, ``trajectory/omega_0`` and ``trajectory/angle``, the angle in
    degrees between the last two updates from checkpoint to checkpoint: of the kernel of all
    checkpoints so far, as :func:`trajhelpers.mds` and :func:`trajhelpers.angles` have them, to
    10⁻⁶. The thread that writes computes them when a checkpoint is on disk, and they are logged at
    the first step that begins after that; ``trajectory/step`` says which checkpoint was the last.
    The rest is logged when the training ends.

    A checkpoint costs that thread one read of four checkpoints, however many there are, half a
    minute of one core for 10⁹ parameters, and the process 8 bytes a parameter of the host's memory.
    No step waits for it, unless checkpoints come faster than they are written and measured: then
    until no more than three are in memory. A run that goes on is read once, when the first
    checkpoint of the rest is written.

    With ``sample`` a checkpoint costs a read of what is kept of all, n per cent of θ of n
    checkpoints where it is 0.01, and no memory; ``trajectory/omega_standard_error``,
    ``trajectory/omega_0_standard_error`` and ``trajectory/angle_standard_error`` are logged, too.
    """

    def __init__(
        self,
        folder,
        trainer,
        every=1,
        steps=None,
        overwrite=False,
        log_every=1,
        shards=False,
        sample=None,
        seed=0,
    ):
        if not isinstance(trainer, transformers.Trainer):
            raise TypeError(
                "trainer: expected the transformers.Trainer to which this callback is added, got a"
                f" {type(trainer).__name__}"
            )
        self._folder, self._trainer = folder, trainer
        self._record: FollowedRecorder
        self._options = dict(
            every=every,
            steps=steps,
            overwrite=overwrite,
            log_every=log_every,
            shards=shards,
            sample=sample,
            seed=seed,
        )

    def on_train_begin(self, args, state, control, model=None, **_):
        goes_on = state.global_step > 0
        options = self._options | (dict(resume=True, overwrite=False) if goes_on else {})
        self._record = FollowedRecorder(self._folder, model, **options)

    def on_step_begin(self, args, state, control, **_):
        self._log()

    def on_step_end(self, args, state, control, **_):
        self._record(state.global_step)

    def on_epoch_end(self, args, state, control, **_):
        if control.should_training_stop:
            self._record.flush()
            should_log = control.should_log
            self._log()
            control.should_log = should_log  # trainer.log takes it for done

    def on_train_end(self, args, state, control, **_):
        self._record.close()

    def _log(self):
        for numbers in self._record.numbers():
            self._trainer.log(numbers)
