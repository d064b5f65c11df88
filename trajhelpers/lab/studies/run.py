"""Run studies: each recipe is trained once, kept as a kernel and a log, and put in every study that
has it.
"""

import json
import multiprocessing
import os
import warnings
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import pandas as pd
from tqdm.auto import tqdm

from ...atomic import atomic_path, refuse_unwritable
from ...checkpoints import open_trajectory
from ...errors import NonFiniteError, TrajectoryWarning
from ...gram import gram
from ...hallmarks import mds
from ...kernel import load_kernel
from ..pythia.parts import gpt_neox_groups, is_gpt_neox
from ..training.folder import read_log, remove_checkpoints
from .load import named_study

# of a log's last row
_RESULTS = ("train_accuracy", "test_accuracy", "validation_loss", "validation_bits", "seconds")


def run_studies(names, out, seeds=3, jobs=2, device="auto", progress=True):
    """Train what the studies need and is not there yet, then write their tables to
    ``out/studies/NAME``.

    Parameters
    ----------
    names : sequence of str
    out : path
        ``out/trained/RUN`` keeps each recipe's log and kernel: a study that is run again, or
        another that shares recipes, goes on from there.
    seeds : int
        Each recipe is trained with seeds 0 … seeds − 1.
    jobs : int
        Processes, of one thread each.
    device : str
        As in :func:`trajhelpers.training.train`.

    Warns
    -----
    TrajectoryWarning
        By the name of the run, of what its reader must know, e.g. of equal checkpoints; again at
        each call that has the run in one of its studies.
    """
    studies, out = [named_study(name) for name in names], Path(out)
    for option, value in (("seeds", seeds), ("jobs", jobs)):
        if value < 1:
            raise ValueError(f"{option}: expected a whole number from 1 on, got {value}")
    for study in studies:  # before hours of training
        place = out / "studies" / study.name
        place.mkdir(parents=True, exist_ok=True)
        for name in ("runs.csv", "log.csv"):
            refuse_unwritable(place / name)
    recipes = list(dict.fromkeys(recipe for study in studies for _, recipe in study.recipes(seeds)))
    sharp, pulled = (
        {recipe for study in studies if getattr(study, what) for _, recipe in study.recipes(seeds)}
        for what in ("sharpness", "forces")
    )
    missing = [recipe for recipe in recipes if not _is_done(_folder(out, recipe), recipe in pulled)]
    with tqdm(
        total=len(recipes),
        initial=len(recipes) - len(missing),
        desc="runs",
        unit="run",
        disable=not progress,
    ) as bar:
        for _ in _in_processes(
            [
                (recipe, str(_folder(out, recipe)), device, recipe in sharp, recipe in pulled)
                for recipe in missing
            ],
            jobs,
        ):
            bar.update()
    for study in studies:
        _collect(study, out, seeds)


def _in_processes(tasks, jobs):
    """One thread a process: for networks this small two processes get far more done than two
    threads.
    """
    quiet = os.environ.get("TQDM_DISABLE")
    before = set(multiprocessing.active_children())
    # of the workers, which read it when they start: one display is enough
    os.environ["TQDM_DISABLE"] = "1"
    try:
        with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
            waiting = [pool.submit(_train_one, *task) for task in tasks]
            try:
                for done in as_completed(waiting):
                    yield done.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                for worker in set(multiprocessing.active_children()) - before:
                    # what it had reached is on disk, and the next call goes on from there
                    worker.terminate()
                raise
    finally:
        os.environ.pop("TQDM_DISABLE")
        if quiet is not None:
            os.environ["TQDM_DISABLE"] = quiet


def _train_one(recipe, folder, device, sharp, pulled):
    # in the worker alone: who lists or reads studies waits for no torch
    import torch

    from ..training.forces import train_with_forces
    from ..training.hessian import measure_sharpness
    from ..training.loop import train

    torch.set_num_threads(1)
    folder = Path(folder)
    try:
        if pulled:
            train_with_forces(recipe, folder, device)
        else:
            train(recipe, folder, device, resume=True, progress=False)
        if sharp:
            measure_sharpness(folder, device)
        with _told() as told:
            trajectory = open_trajectory(folder)
            groups = gpt_neox_groups(trajectory) if is_gpt_neox(trajectory) else None
            kernel = gram(trajectory, device="cpu", groups=groups)
    except NonFiniteError as error:  # of the loss, or of the weights after the last one
        _write_json(
            folder / "diverged.json",
            str(error).removeprefix(f"{folder}: ").replace(f"{folder}/", ""),
        )
        return
    _write_json(folder / "warnings.json", told)
    kernel.save(folder / "kernel.npz")  # last, since it says that the run is done
    remove_checkpoints(folder)


@contextmanager
def _told():
    """A list, at the end of the block, of what a reader of the run has to know. Warnings of other
    libraries are no matter of the run's, and go where they always do.
    """
    told = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", TrajectoryWarning)
        yield told
    for one in caught:
        if issubclass(one.category, TrajectoryWarning):
            told.append(str(one.message))
        else:
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)


def _write_json(path, value):
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(value))


def _read_json(path, missing):
    return json.loads(path.read_text()) if path.exists() else missing


def _collect(study, out, seeds):
    place = out / "studies" / study.name
    rows, logs = [], {}
    for arm, recipe in study.recipes(seeds):
        folder = _folder(out, recipe)
        row = {
            "run": recipe.id,
            "arm": arm,
            **asdict(recipe),
            "mds": None,
            "relative_mds": None,
            "diverged": _read_json(folder / "diverged.json", ""),
            **{name: getattr(recipe, name) for name in recipe.derived},
        }
        if not row["diverged"]:
            kernel, log = (
                load_kernel(folder / "kernel.npz").group_by(study.groups or (lambda name: "all")),
                read_log(folder),
            )
            last = log.iloc[-1]
            with _told() as told:
                row |= {
                    "mds": mds(kernel),
                    "relative_mds": mds(kernel, 0),
                    **last[last.index.intersection(_RESULTS)],
                }
            kernel.save(place / f"{recipe.id}.npz")
            if study.sharpness:
                log = log.merge(pd.read_csv(folder / "sharpness.csv"), on="step", how="outer")
            if study.forces:
                log = log.merge(pd.read_csv(folder / "forces.csv"), on="step", how="outer")
            logs[recipe.id] = log.assign(run=recipe.id)
            for message in _read_json(folder / "warnings.json", []) + told:
                warnings.warn(
                    f"{study.name}, run {recipe.id}: {message}", TrajectoryWarning, stacklevel=3
                )
        rows.append(row)
    kept = {f"{row['run']}.npz" for row in rows}
    for stale in place.glob("*.npz"):
        if stale.name not in kept:
            stale.unlink()
    for name, table in (
        ("runs.csv", pd.DataFrame(rows)),
        ("log.csv", pd.concat(logs.values()) if logs else pd.DataFrame({"run": []})),
    ):
        with atomic_path(place / name) as temporary:
            table.to_csv(temporary, index=False)


def _folder(out, recipe):
    return Path(out) / "trained" / recipe.id


def _is_done(folder, with_forces):
    """Forces are those of the gradients: without them a run is trained again."""
    trained = (folder / "kernel.npz").exists()
    if with_forces:
        trained = trained and (folder / "forces.csv").exists()
    return trained or (folder / "diverged.json").exists()
