"""``trajhelpers train``: a run by a recipe."""

import os

from ..printable import printable


def add(commands):
    command = commands.add_parser(
        "train",
        help="train by a recipe and record the trajectory",
        description=(
            "Train by a recipe and record the trajectory. Under torchrun or accelerate launch every"
            " process takes its share of each batch."
        ),
    )
    command.add_argument(
        "recipe",
        nargs="?",
        metavar="RECIPE",
        help="a recipe's .json file, or the name of one of the paper's, e.g. vgg16-cifar10",
    )
    command.add_argument("-o", "--out", metavar="FOLDER", help="where checkpoints and log go")
    command.add_argument(
        "--list",
        action="store_true",
        help=(
            "list the paper's recipes, their figures and the fields that the paper does not state,"
            " and run nothing"
        ),
    )
    command.add_argument(
        "--data-folder",
        metavar="FOLDER",
        help="where CIFAR-10 or ImageNet lie; nothing is downloaded",
    )
    command.add_argument("--device", default="auto", help="auto, cpu, cuda or mps (default: auto)")
    command.add_argument("--resume", action="store_true", help="go on with the run in the folder")
    command.add_argument("--overwrite", action="store_true", help="replace the run in the folder")
    command.set_defaults(run=run)


def run(options):
    from ..lab.studies.paper import PAPER, paper_recipe
    from ..lab.training.recipes import Recipe

    if options.list:
        for name, run in PAPER.items():
            print(f"{name:62} {run.source:16} ours: {', '.join(run.ours)}")
        return
    if options.recipe is None or options.out is None:
        raise ValueError(
            "train: expected a RECIPE and --out FOLDER; --list lists the recipes of the paper"
        )
    recipe = (
        Recipe.load(options.recipe)
        if options.recipe.endswith(".json")
        else paper_recipe(options.recipe)
    )
    from ..lab.training import train  # brings torch, which --list does without

    log = train(
        recipe,
        options.out,
        options.device,
        options.data_folder,
        resume=options.resume,
        overwrite=options.overwrite,
        progress=not options.quiet,
    )
    if int(os.environ.get("RANK", 0)) == 0:  # once, not in every process
        print(
            f"{printable(options.out)}: test accuracy {log.test_accuracy.iloc[-1]:.2%} after"
            f" {log.step.iloc[-1]} steps"
        )
