"""Run the study of redundancy: python -m trajhelpers.lab.redundancy.run --out runs"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm.auto import tqdm

from ...atomic import atomic_path
from ...checkpoints import open_trajectory
from ...gram import gram
from ...kernel import load_kernel
from . import plan
from .averages import AVERAGES, average_of
from .forks import Fork
from .load import kernel_name
from .parts import layers_of, parameters_of_arm
from .pausing import pausing_steps, settling_order

EVERY = plan.STEPS_AN_EPOCH // plan.CHECKPOINTS_AN_EPOCH


def run_redundancy(out, seeds=plan.SEEDS, progress=True):
    """Train all that the plan says and is not there yet, then write ``out/redundancy``: chapter
    "What redundancy is good for".

    Parameters
    ----------
    out : path
        ``out/redundancy-trained`` keeps stems and results, so that an interrupted study goes on.
    seeds : sequence of int
    """
    torch.set_num_threads(1)
    trained = Path(out) / "redundancy-trained"
    waiting = [job for seed in seeds for job in jobs(seed)]
    missing = [job for job in waiting if not _result(trained, *job).exists()]
    bar = tqdm(
        missing,
        desc="forks",
        total=len(waiting),
        initial=len(waiting) - len(missing),
        disable=not progress,
    )
    for name, seed, arm, at in bar:
        started = time.process_time()
        found = _fork(trained, name, seed, arm, at)
        row = {"recipe": name, "seed": seed, "arm": arm, "at": at, **found}
        row["cpu_seconds"] = round(time.process_time() - started, 2)
        _write(_result(trained, name, seed, arm, at), row)
    _collect(Path(out), trained, waiting)


def jobs(seed):
    """What is done with a seed, what most depends on first: (recipe, seed, arm, where it forks from
    the stem, in epochs).
    """
    parts = ("batchnorm", "nothing", "random", "head")
    orders = ("settling", "depth", *(f"random {i}" for i in range(plan.RANDOM_ORDERS)))
    ends = [(which, plan.EPOCHS) for which in ("none", "nothing", *AVERAGES)]
    for names, forks in (
        (plan.RECIPES, [("decayed", plan.DECAY_AT), *ends]),
        (plan.WHOLE, [(arm, k) for arm in parts for k in plan.STARTS]),
        (plan.CELLS, [("batchnorm", k) for k in plan.STARTS]),
        (plan.RECIPES, [("decayed", at) for at in plan.DECAYS if at != plan.DECAY_AT]),
        (plan.PAUSED, [(f"pause by {order}", plan.PAUSED_FROM) for order in orders]),
        (plan.PAUSED, [("shorter", plan.SHORTER_DECAY)]),
        (plan.RECIPES, [("decayed anew", plan.DECAY_AT)]),
    ):
        for name in names:
            for arm, at in forks:
                yield name, seed, arm, at


def stem_of(trained, name, seed):
    """The run at constant η, trained where it is not there: its states at the epochs where
    something forks, and its checkpoints.
    """
    folder = trained / f"{name}, {seed}"
    file = folder / "stem.pt"
    if file.exists():
        return torch.load(file, weights_only=True)
    folder.mkdir(parents=True, exist_ok=True)
    recipe = plan.decayed_after(plan.EPOCHS, plan.RECIPES[name].replace(seed=seed))
    fork = Fork(recipe, folder)
    stem = {"states": {}, "checkpoints": [fork.parameters()]}
    for epoch in range(1, plan.EPOCHS + 1):
        stem["checkpoints"] += fork.train_until(epoch * plan.STEPS_AN_EPOCH, every=EVERY, log=True)
        if epoch in {*plan.DECAYS, *plan.STARTS, plan.PAUSED_FROM, plan.SHORTER_DECAY, plan.EPOCHS}:
            stem["states"][epoch] = fork.state()
    _kernel(fork.model, stem["checkpoints"]).save(folder / "stem.npz")
    with atomic_path(file) as temporary:  # last, since it says that the stem is done
        torch.save(stem, temporary)
    return stem


def _fork(trained, name, seed, arm, at):
    stem, folder = stem_of(trained, name, seed), trained / f"{name}, {seed}"
    recipe = plan.RECIPES[name].replace(seed=seed)
    end = plan.EPOCHS * plan.STEPS_AN_EPOCH
    if arm in ("decayed", "decayed anew"):
        recipe = plan.decayed_after(at, recipe)
    if arm == "shorter":
        recipe = plan.decayed_after(at, recipe)
        end = (plan.PAUSED_FROM + plan.EPOCHS) * plan.STEPS_AN_EPOCH // 2
    fork = Fork(recipe, folder, stem["states"][at])
    if arm in ("batchnorm", "random", "head"):
        fork.train_only(parameters_of_arm(fork.model, arm, seed))
        fork.train_until(end)
    elif arm == "nothing":
        fork.refresh_statistics()
    elif arm in AVERAGES:
        fork.use(average_of(stem["checkpoints"], arm))
    elif arm.startswith("pause by "):
        return _paused(trained, name, seed, arm.removeprefix("pause by "), fork, end)
    elif arm != "none":
        after = fork.train_until(end, every=EVERY)
        if arm == "decayed" and at == plan.DECAY_AT:
            before = stem["checkpoints"][: at * plan.CHECKPOINTS_AN_EPOCH + 1]
            kernel = _kernel(fork.model, [*before, *after])
            kernel.save(folder / "decayed.npz")
        if arm == "decayed anew":
            fork.refresh_statistics()
    return fork.results()


def _paused(trained, name, seed, order, fork, end):
    layers = layers_of(fork.model)
    named = dict(fork.model.named_parameters())
    sizes = [sum(named[key].numel() for key in layer) for layer in layers]
    if order == "settling":
        ranks = settling_order(_scouted(trained, name), [layer[0] for layer in layers])
    elif order == "depth":
        ranks = list(range(len(layers)))
    else:
        ranks = np.random.default_rng([seed, int(order.split()[1])]).permutation(len(layers))
    times = pausing_steps(sizes, list(ranks), plan.PAUSED_FROM * plan.STEPS_AN_EPOCH, end)
    trains = np.full(len(layers), True)
    for layer in ranks:
        fork.train_until(int(times[layer]))
        trains[layer] = False
        fork.train_only(
            {
                key: torch.full(named[key].shape, bool(trains[i]))
                for i, layer in enumerate(layers)
                for key in layer
            }
        )
    return fork.results() | {
        "order": " ".join(map(str, ranks)),
        "paused": " ".join(map(str, times)),
        "parameter_steps": int((times * sizes).sum()),
    }


def _scouted(trained, name):
    """The kernel, a group a layer, of the decayed run of the scout."""
    file = trained / f"{name}, {plan.SCOUT}" / "decayed.npz"
    if not file.exists():
        _fork(trained, name, plan.SCOUT, "decayed", plan.DECAY_AT)
    return load_kernel(file)


def _kernel(model, checkpoints):
    """A group a layer, called as its first parameter."""
    layer = {key: layer[0] for layer in layers_of(model) for key in layer}
    return gram(open_trajectory(checkpoints), device="cpu").group_by(layer.get)


def _result(trained, name, seed, arm, at):
    return trained / f"{name}, {seed}" / f"{arm}, {at}.json"


def _write(path, row):
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(row))


def _collect(out, trained, done):
    place = out / "redundancy"
    place.mkdir(parents=True, exist_ok=True)
    rows, logs = [json.loads(_result(trained, *job).read_text()) for job in done], []
    for name, seed in dict.fromkeys(job[:2] for job in done):
        folder = trained / f"{name}, {seed}"
        for kind in ("stem", "decayed"):
            load_kernel(folder / f"{kind}.npz").save(place / kernel_name(name, seed, kind))
        logs.append(pd.read_csv(folder / "log.csv").assign(recipe=name, seed=seed))
    for name in plan.PAUSED:
        _scouted(trained, name).save(place / kernel_name(name, plan.SCOUT, "decayed"))
    for file, table in (("runs.csv", pd.DataFrame(rows)), ("log.csv", pd.concat(logs))):
        with atomic_path(place / file) as temporary:
            table.to_csv(temporary, index=False)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--out", default="runs")
    parser.add_argument("--seeds", type=int, default=len(plan.SEEDS), help="from 0 on (default: 5)")
    options = parser.parse_args()
    run_redundancy(options.out, range(options.seeds))
