"""A run that is followed while it trains: each look takes what has become complete since the last
one, and appends it to the kernel."""

import os
from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

from .checkpoints import Trajectory, open_trajectory
from .errors import (
    CheckpointError,
    LayoutError,
    NonFiniteError,
    StepError,
    TrajectoryError,
)
from .gauges import gauges_of
from .gram import gram
from .hallmarks import of_a_path
from .kernel import TrajectoryKernel, load_kernel
from .sources.table import source_of
from .telling import silently
from .verifying import verify

# Looks at a checkpoint that does not open, and does not change, as one that is being written does;
# and at a source far away that does not answer.
_PATIENCE, _PATIENCE_AFAR = 6, 60


class Following:
    """A source whose checkpoints become more, and the kernel of those that are there.

    Parameters
    ----------
    source : what open_trajectory takes
        A folder that need not be there yet, or an address.
    path : path, optional
        Where the kernel is kept, after each look that changes it; one that is there goes on.
    device, precision, memory
        As of :func:`trajhelpers.gram`; a kernel that goes on keeps its precision.
    groups : function, optional
        From a trajectory to the groups of its kernel.
    agree : function, optional
        Is given each trajectory before it is read, and raises where that is not wanted.
    **choices
        What :func:`trajhelpers.open_trajectory` is given.
    """

    def __init__(
        self,
        source: Any,
        path: str | Path | None = None,
        device: str = "auto",
        precision: str = "float64",
        memory: int = 2_000_000_000,
        groups: Callable[[Trajectory], Any] = lambda trajectory: None,
        agree: Callable[[Trajectory], object] = lambda trajectory: None,
        **choices: Any,
    ):
        self.kernel: TrajectoryKernel | None = None
        self._path = None if path is None else Path(path)
        if self._path is not None and self._path.exists():
            self.kernel = of_a_path("watch", load_kernel(self._path))
        self._source, self._choices = source, choices
        self._device, self._precision, self._memory = device, precision, memory
        self._groups, self._agree = groups, agree
        self._stamps: Any = None
        # Of those that are not finite and are left out, run and step.
        self._lost: set[tuple[str, int]] = set()
        self._said, self._opened_before = "", False
        self._trouble: tuple[Any, int] = (None, 0)

    def look(self) -> list[str]:
        """What there is to say of what has changed, in lines; none where nothing has. ``kernel`` is
        then that of the checkpoints that are complete, None where they are not two yet.

        Raises TrajectoryError or OSError where a checkpoint cannot be read, and does not change any
        more.
        """
        with silently() if self._opened_before else nullcontext():
            try:
                trajectory, unreadable = self._opened()
                lines = self._taken(trajectory)
                if unreadable is None:
                    self._trouble = (None, 0)
                    return lines
                newest, error = unreadable
                self._wait_for(error)
            except (StepError, FileNotFoundError) as error:
                return self._once(f"waiting for checkpoints: {error}")
            except (CheckpointError, LayoutError, NonFiniteError, OSError) as error:
                self._wait_for(error)
                return self._once("waiting: a checkpoint cannot be read yet")
        return lines + self._once(f"{newest}: does not open yet, and is left alone until then")

    def _opened(self) -> tuple[Trajectory, tuple[str, Exception] | None]:
        """All checkpoints; or all but the newest, where that does not open, its name, and why."""
        unreadable = None
        try:
            trajectory = open_trajectory(self._source, **self._choices)
        except FileNotFoundError:
            raise
        except (CheckpointError, LayoutError, OSError) as error:
            newest = self._newest()
            skip = [*self._choices.get("skip", ()), newest.step]
            trajectory = open_trajectory(self._source, **{**self._choices, "skip": skip})
            unreadable = newest.source, error
        self._opened_before = True
        found = list(zip(trajectory.runs, trajectory.steps))
        kept = [index for index, one in enumerate(found) if one not in self._lost]
        return (trajectory if len(kept) == len(found) else trajectory[kept]), unreadable

    def _newest(self):
        place = source_of(self._source)
        given = {
            name: value for name, value in self._choices.items() if name in place.options and value
        }
        every, skip = self._choices.get("every", 1), self._choices.get("skip", ())
        return place.list(self._source, every, skip, **given).checkpoints[-1]

    def _taken(self, trajectory: Trajectory) -> list[str]:
        """Make the kernel that of the trajectory, and say how it is now."""
        # Of adapters' products nothing but steps tells what is new.
        names = list(zip(trajectory.runs, trajectory.steps))
        stamps: Any = trajectory.stamps() or names
        if self.kernel is not None and stamps == self._stamps:
            return []
        self._agree(trajectory)
        lines: list[str] = []
        groups = self._groups(trajectory)
        kernel = self.kernel
        if kernel is not None and kernel.sample and trajectory.drawn:
            kernel = None  # a recorded sample is little: what is new is read with all before it
        if kernel is not None:
            try:
                kernel = self._gone_on(kernel, trajectory, groups)
            except (CheckpointError, LayoutError, NonFiniteError):
                raise
            except TrajectoryError as why:
                lines = [f"computing the kernel anew: {why}"]
                kernel, self._lost = None, set()
        if kernel is None:
            kernel = gram(trajectory, self._device, self._precision, groups, self._memory)
        self._stamps = stamps
        if kernel is self.kernel:
            return []
        kept = set(zip(kernel.runs, map(int, kernel.steps)))
        self._lost |= {one for one in names if one not in kept}
        self.kernel, self._said = kernel, ""
        if self._path is not None:
            kernel.save(self._path)
        return [*lines, str(gauges_of(kernel))]

    def _gone_on(self, kernel: TrajectoryKernel, trajectory: Trajectory, groups: Any):
        if list(trajectory.steps) != kernel.steps.tolist():
            return kernel.append(trajectory, self._device, groups, self._memory)
        changed = verify(kernel, trajectory, self._memory)
        if changed:
            raise TrajectoryError(
                f"{trajectory.sources[changed[0]]}: is no longer what the kernel was made of"
            )
        return kernel

    def _once(self, line: str) -> list[str]:
        """Not again while it stays so."""
        before, self._said = self._said, line
        return [] if line == before else [line]

    def _wait_for(self, error: Exception) -> None:
        """Raise it where nothing has changed for so many looks."""
        sizes = _sizes(self._source)
        now, (before, looks) = (str(error), sizes), self._trouble
        self._trouble = now, looks + 1 if now == before else 1
        if self._trouble[1] >= (_PATIENCE if sizes else _PATIENCE_AFAR):
            raise error


def _sizes(source: Any) -> list[tuple[str, int, int]]:
    """Of the files of a folder on this machine: what changes while something is written there."""
    found = []
    for path in Path(source).rglob("*") if isinstance(source, (str, os.PathLike)) else ():
        with suppress(OSError):  # gone meanwhile
            status = path.stat()
            found.append((str(path), status.st_size, status.st_mtime_ns))
    return sorted(found)
