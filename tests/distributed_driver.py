"""Train by a recipe as `train` does, in each process of torchrun's, and write down a hash of this process's parameters after each step.

Called as ``distributed_driver.py RECIPE.json FOLDER STEP``: goes on with what the folder holds, and stops at the checkpoint of that step (0: nowhere). Writes ``hashes_of_<rank>.json`` into the folder.
"""

import hashlib
import json
import os
import sys
from pathlib import Path

from trajhelpers import training
from trajhelpers.recipe import Recipe

hashes = {}
take_step = training._Run.take_step


def take_and_hash(run, *arguments):
    take_step(run, *arguments)
    digest = hashlib.sha256()
    for _, parameter in sorted(run.plain_model.named_parameters()):
        digest.update(parameter.detach().contiguous().numpy())
    hashes[run.step] = digest.hexdigest()


if __name__ == "__main__":
    training._Run.take_step = take_and_hash
    recipe, folder, stop = Recipe.load(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    training.train(recipe, folder, device="cpu", resume=True, progress=False, on_checkpoint=lambda step, log: step == stop)
    (folder / f"hashes_of_{os.environ.get('RANK', 0)}.json").write_text(json.dumps(hashes))
