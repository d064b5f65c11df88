"""The folder of a run: what it holds, whether a run may go there, and what it must not keep."""

import re
import shutil
from pathlib import Path

import pandas as pd

from ...atomic import atomic_path, remove_abandoned
from ...errors import ExistingRunError, TrajectoryError

_CHECKPOINT = re.compile(r"step(\d+)|step_(\d+)\.safetensors")
# What a log has when its run is finished, of images or of text.
_RESULTS = {"test_accuracy", "validation_loss"}


def read_log(folder) -> pd.DataFrame:
    """The log of a run, as `train` returns it."""
    path = Path(folder) / "log.csv"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no log; has this run come to its first row?")
    return pd.read_csv(path)


def remove_checkpoints(folder: Path, after: int = -1):
    """Delete what is recorded of the steps after one; by default all. Both forms of checkpoints,
    since a folder may have held a run of another kind.
    """
    for step, path in _checkpoints(folder):
        if step > after:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


class RunFolder:
    """The folder of a recipe's run: ``recipe.json``, ``log.csv``, checkpoints, and while the run is
    unfinished the state of the training.
    """

    def __init__(self, path, recipe):
        self.path, self._recipe = Path(path), recipe
        self.state_file = self.path / ".training_state.pt"  # hidden: no checkpoint

    def finished_log(self, resume: bool, overwrite: bool) -> pd.DataFrame | None:
        """The log, where the folder holds the finished run and it is to be resumed; an
        ExistingRunError, where it holds what is neither to be resumed nor to be overwritten.
        """
        if resume and overwrite:
            raise ValueError("resume and overwrite exclude each other")
        described = self.path / "recipe.json"
        if overwrite or not (described.exists() or any(_checkpoints(self.path))):
            return None
        if not described.exists():
            raise ExistingRunError(
                f"{self.path}: holds checkpoints that are no run of a recipe; choose another"
                " folder, or replace them with overwrite=True"
            )
        if not resume:
            raise ExistingRunError(
                f"{self.path}: holds a run already; go on with resume=True, replace it with"
                " overwrite=True, or choose another folder"
            )
        if differs := self._differs(described):
            raise ExistingRunError(
                f"{self.path}: holds a run of another recipe ({differs}); choose another folder,"
                " or replace it with overwrite=True"
            )
        if (self.path / "log.csv").exists() and _RESULTS & set(log := read_log(self.path)):
            return log
        return None

    def claim(self, step: int):
        """Keep of an earlier run what is recorded up to the step from which this one goes on; of a
        run from the start, nothing.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        for left in self.path.glob(".*.tmp"):
            remove_abandoned(left)
        if step == 0:
            for file in (self.state_file, self.path / "log.csv"):
                file.unlink(missing_ok=True)
        remove_checkpoints(self.path, after=step or -1)
        self._recipe.save(self.path / "recipe.json")

    def write_log(self, rows: list[dict]):
        with atomic_path(self.path / "log.csv") as temporary:
            pd.DataFrame(rows).to_csv(temporary, index=False)

    def _differs(self, described):
        try:
            earlier = vars(type(self._recipe).load(described))
        except TrajectoryError as error:  # another kind's, or damaged
            return str(error)
        names = [name for name, value in vars(self._recipe).items() if earlier[name] != value]
        return f"{', '.join(names)} differ" if names else ""


def _checkpoints(folder):
    """(step, path) of each file ``step_<N>.safetensors`` and each folder ``step<N>``."""
    for path in folder.glob("step*"):
        found = _CHECKPOINT.fullmatch(path.name)
        if found and path.is_dir() == bool(found[1]):
            yield int(found[1] or found[2]), path
