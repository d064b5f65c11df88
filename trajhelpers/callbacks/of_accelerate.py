"""In a loop of one's own, with accelerate."""

import accelerate

from ..record.followed import FollowedRecorder


class Accelerate:
    """Records what a loop with accelerate trains, and logs ω, ω_0 and the last angle with
    ``accelerator.log``.

    >>> with th.callbacks.Accelerate(
    ...     "runs/mine", accelerator, model, every=100) as record:             # doctest: +SKIP
    ...     for batch in batches:
    ...         …                                                              # your training step
    ...         record(updates)

    Parameters
    ----------
    folder : path
    accelerator : accelerate.Accelerator
        Its trackers (``log_with=``, ``init_trackers``) are logged to.
    model : torch.nn.Module
        As ``accelerator.prepare`` gave it.
    every, steps, resume, overwrite, shards, sample, seed
        As of :class:`trajhelpers.Recorder`; a call takes the number of updates so far.
    log_every
        As of :class:`trajhelpers.callbacks.Trainer`, which says what is logged, when, and what it
        costs. It is logged at the step of the call.
    """

    def __init__(
        self,
        folder,
        accelerator,
        model,
        every=1,
        steps=None,
        resume=False,
        overwrite=False,
        log_every=1,
        shards=False,
        sample=None,
        seed=0,
    ):
        if not isinstance(accelerator, accelerate.Accelerator):
            raise TypeError(
                f"accelerator: expected an accelerate.Accelerator, got a"
                f" {type(accelerator).__name__}"
            )
        self._accelerator, self._step = accelerator, 0
        self._record = FollowedRecorder(
            folder,
            model,
            log_every,
            every=every,
            steps=steps,
            resume=resume,
            overwrite=overwrite,
            shards=shards,
            sample=sample,
            seed=seed,
        )

    def __call__(self, step):
        """Record the model as it is now, if ``step`` is due, and log what is known."""
        self._record(step)
        self._step = step
        self._log()

    def close(self):
        """Wait until all is written, log the rest, and leave the folder to others. The end of the
        ``with`` block does this.
        """
        self._record.flush()
        self._log()
        self._record.close()

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        if kind is None:
            self.close()
        else:
            self._record.__exit__(kind, error, traceback)

    def _log(self):
        for numbers in self._record.numbers():
            self._accelerator.log(numbers, step=self._step)
