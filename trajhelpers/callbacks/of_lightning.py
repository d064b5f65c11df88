"""In the loop of Lightning."""

import lightning

from ..record.followed import FollowedRecorder


class Lightning(lightning.Callback):
    """Records what a ``lightning.Trainer`` trains, and logs ω, ω_0 and the last angle to its
    loggers.

    >>> record = th.callbacks.Lightning("runs/mine", every=100)                # doctest: +SKIP
    >>> trainer = lightning.Trainer(callbacks=[record], …)                     # doctest: +SKIP

    Parameters
    ----------
    folder, every, steps, overwrite, log_every, shards, sample, seed
        As of :class:`trajhelpers.callbacks.Trainer`, which says what is logged, when, and what it
        costs. Steps are the trainer's ``global_step``.

    Notes
    -----
    Each logger of the trainer is given the numbers at the step of their checkpoint, as by
    Lightning's own ``LearningRateMonitor``: what a callback gives ``self.log`` is lost but in every
    ``log_every_n_steps``-th step.
    """

    def __init__(
        self,
        folder,
        every=1,
        steps=None,
        overwrite=False,
        log_every=1,
        shards=False,
        sample=None,
        seed=0,
    ):
        self._folder = folder
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

    def on_train_start(self, trainer, pl_module):
        self._from = trainer.global_step
        goes_on = self._from > 0
        options = self._options | (dict(resume=True, overwrite=False) if goes_on else {})
        # The model as DDP or FSDP has wrapped it.
        self._record = FollowedRecorder(self._folder, trainer.model, **options)

    def on_train_batch_end(self, trainer, *_):
        # Of several batches that make an update, the first ones end at the step before.
        if trainer.global_step > self._from:
            self._record(trainer.global_step)
        self._log(trainer)

    def on_train_end(self, trainer, pl_module):
        self._record.flush()
        self._log(trainer)
        self._record.close()

    def _log(self, trainer):
        for numbers in self._record.numbers():
            for logger in trainer.loggers:
                logger.log_metrics(dict(numbers), step=numbers["trajectory/step"])
