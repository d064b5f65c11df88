"""A recorder that knows, while a run trains, ω, ω_0 and the last angle of what it has recorded."""

import math
import threading
import warnings
from collections import deque

from ..checkpoints import open_trajectory
from ..errors import NonFiniteError, TrajectoryWarning
from ..gauges import gauges_of
from ..gram import gram
from ..streaming.so_far import SoFar
from ..telling import silently, tell
from .recorder import Recorder
from .schedule import whole_number
from .writer import FolderWriter

# Of a glance's numbers, those that are logged.
_NAMES = ("omega", "omega_0", "angle")


class FollowedRecorder(Recorder):
    """A :class:`Recorder` of which one can ask for numbers.

    Parameters
    ----------
    log_every : int or None
        Of every so many recorded checkpoints; None for none, which costs nothing.
    **options
        Of the recorder.
    """

    # None where nothing is asked for.
    _follower: "Follower | None" = None

    def __init__(self, folder, model, log_every=1, **options):
        if log_every is not None:
            every = whole_number("log_every", log_every, 1)
            self._follower = Follower(every, options.get("sample") is not None)
        super().__init__(folder, model, **options)

    def __call__(self, step):
        """Not where the step is that of the last call: of several batches that make an update."""
        if step != self._last or step == 0:
            super().__call__(step)

    def numbers(self) -> list[dict[str, float]]:
        """Those that are known by now and were not given before, one dict a checkpoint; none in
        processes that do not write.

        ``trajectory/omega``, ``trajectory/omega_0``, ``trajectory/angle`` in degrees, each where it
        is defined, and ``trajectory/step``: the last checkpoint that they are of. Of a sample also
        ``trajectory/omega_standard_error`` and so on.
        """
        return self._follower.numbers() if self._follower else []


class Follower:
    """Measures each checkpoint once it is on disk; called by the thread that writes."""

    def __init__(self, every: int, sampled: bool):
        self._every, self._sampled = every, sampled
        self._so_far: SoFar | None = None
        self._steps: tuple[int, ...] = ()  # of the checkpoints that were measured
        self._known: deque[dict[str, float]] = deque()
        self._failed = False

    def numbers(self) -> list[dict[str, float]]:
        return [self._known.popleft() for _ in range(len(self._known))]

    def __call__(self, writer: FolderWriter) -> None:
        """The last checkpoint of the folder is new."""
        if self._failed or not threading.main_thread().is_alive():
            return  # nobody will ask
        try:
            # As this process sees them: where others write shards, they do not ask.
            self._measure(*zip(*FolderWriter.checkpoints(writer)))
        except Exception as error:  # of a disk, or for want of memory: no reason to end a training
            self._failed, self._so_far = True, None
            tell(f"{writer.folder}: ω and angles are logged no longer: {error}")

    def _measure(self, steps, files):
        last = len(steps) - 1
        due = last and last % self._every == 0
        if self._sampled:
            found = _of_sample(files) if due else {}
        else:
            found = self._of_whole(steps, files)
        if due:
            named = {f"trajectory/{name}": value for name, value in found.items()}
            self._known.append({**named, "trajectory/step": steps[-1]})

    def _of_whole(self, steps, files):
        if steps[:-1] != self._steps:  # some were recorded before this, or deleted since
            self._so_far, self._steps = None, ()
        found = {}
        for t in range(max(len(self._steps), 1), len(steps)):
            rows = sorted({0, max(t - 2, 0), t - 1, t})
            with silently():  # what there is to be said is said where the run is opened
                path = open_trajectory([files[row] for row in rows])
            self._so_far = self._so_far or SoFar(path.p)
            found = self._so_far.measure(path)._asdict()
        self._steps = steps
        return {name: value for name, value in found.items() if value is not None}


def _of_sample(files):
    """Little is kept of each checkpoint, so that all are read again: a kernel has errors."""
    with silently(), warnings.catch_warnings():
        warnings.simplefilter("ignore", TrajectoryWarning)
        try:
            gauges = gauges_of(gram(open_trajectory(list(files)), device="cpu"))
        except NonFiniteError:
            return dict.fromkeys(_NAMES, math.nan)
    found = {name: getattr(gauges, name) for name in _NAMES}
    if gauges.sampled:  # of a small network all may be kept
        found |= {f"{name}_standard_error": gauges.errors[name] for name in _NAMES}
    return {name: value for name, value in found.items() if not math.isnan(value)}
