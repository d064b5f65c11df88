"""Train by a recipe as `train` does, in each process of torchrun's, and write down hashes of this
process's network.

Called as ``distributed_driver.py RECIPE.json FOLDER STEP``: goes on with what the folder holds, and
stops at the checkpoint of that step (0: nowhere). Writes ``hashes_of_<rank>.json`` into the folder:
``steps``, of the parameters after each step, and ``evaluated``, of parameters and buffers as they
were evaluated."""

import hashlib
import json
import os
import sys
from pathlib import Path

from trajhelpers.lab.training.loop import Run, train
from trajhelpers.lab.training.recipes import Recipe
from trajhelpers.lab.training.tasks import ImageTask

hashes = {"steps": {}, "evaluated": []}
take_step, evaluate = Run.take_step, ImageTask.evaluate


def hash_of(tensors):
    digest = hashlib.sha256()
    for _, tensor in sorted(tensors):
        digest.update(tensor.detach().contiguous().numpy())
    return digest.hexdigest()


def take_and_hash(run, *arguments):
    take_step(run, *arguments)
    hashes["steps"][run.step] = hash_of(run.task.model.named_parameters())


def evaluate_and_hash(task, *arguments):
    result = evaluate(task, *arguments)
    hashes["evaluated"].append(hash_of(task.model.state_dict().items()))
    return result


if __name__ == "__main__":
    Run.take_step, ImageTask.evaluate = take_and_hash, evaluate_and_hash
    recipe, folder, stop = Recipe.load(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    train(
        recipe,
        folder,
        device="cpu",
        resume=True,
        progress=False,
        on_checkpoint=lambda step, log: step == stop,
    )
    (folder / f"hashes_of_{os.environ.get('RANK', 0)}.json").write_text(json.dumps(hashes))
