"""The command line: ``trajhelpers gram``, ``audit``, ``hallmarks``, ``plot``, ``train`` and
``study``. Bad input ends with exit code 2 and one line that says why.
"""

import argparse
import json
import os
import re
import sys
import traceback
import warnings
from pathlib import Path

from . import __version__, gram, hallmarks, load_kernel, open_trajectory
from .errors import TrajectoryError, TrajectoryWarning

_ASK_ABOVE = 10e9
_BYTES_PER_SECOND = 100e6
_UNITS = {"": 1, "k": 1e3, "m": 1e6, "g": 1e9, "ki": 2**10, "mi": 2**20, "gi": 2**30}


def main(arguments=None):
    options = _parser().parse_args(arguments)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", TrajectoryWarning)
            warnings.showwarning = _show_warning
            return options.run(options) or 0
    except BrokenPipeError:
        # `| head` has read enough; Python would complain once more when it closes its output.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (TrajectoryError, OSError, ValueError, IndexError, ImportError) as error:
        if options.debug:
            traceback.print_exc()
        print(f"trajhelpers: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("trajhelpers: interrupted", file=sys.stderr)
        return 130


def _gram(options):
    output = Path(options.output)
    if output.is_dir() or not output.absolute().parent.is_dir():
        raise OSError(
            f"{output}:"
            f" {'is a folder' if output.is_dir() else f'there is no folder {output.parent}'}; give"
            " the name of a file, RUN.npz"
        )
    memory = _bytes(options.memory)
    trajectory = open_trajectory(
        _source(options),
        include=options.include,
        exclude=options.exclude,
        nonfinite=options.nonfinite,
        revisions=_revisions(options.revisions),
        every=options.every,
        skip=_steps(options.skip),
        format=options.format,
        cache=options.cache,
        accept=options.accept,
    )
    for line in trajectory.left_out[:20]:
        print(f"left out {line}", file=sys.stderr)
    if len(trajectory.left_out) > 20:
        print(f"left out {len(trajectory.left_out) - 20} more", file=sys.stderr)
    arguments = {
        "device": options.device,
        "precision": options.precision,
        "groups": _groups(trajectory),
        "memory": memory,
    }
    partial = output.with_name(output.name + ".partial")
    if trajectory.remote is None:
        kernel = gram(trajectory, **arguments)
    else:
        if partial.exists():
            print(f"{partial}: going on from there", file=sys.stderr)
        if not _is_wanted(trajectory, options.yes, arguments | {"partial": partial}):
            return 1
        try:
            kernel = gram(trajectory, **arguments, partial=partial)
        except BaseException:
            if partial.exists():
                print(
                    f"{partial}: holds what is done; the same command goes on from there",
                    file=sys.stderr,
                )
            raise
    kernel.save(output)
    if trajectory.remote is not None:
        partial.unlink(missing_ok=True)
    print(f"{output}: {kernel}")


def _is_wanted(trajectory, yes, arguments):
    from .gram import cost

    requests, size = cost(trajectory, **arguments)
    if size <= _ASK_ABOVE:
        return True
    print(
        f"to be read from the hub: {size / 1e9:,.0f} GB in {requests:,} requests,"
        f" {size / _BYTES_PER_SECOND / 3600:.1f} hours at 100 MB/s",
        file=sys.stderr,
    )
    if yes:
        return True
    if not sys.stdin.isatty():
        raise ValueError("gram: more than 10 GB, and no terminal to ask at; say --yes")
    return input("Go on? [y/N] ").strip().lower() in ("y", "yes")


def _groups(trajectory):
    """Query, key and value apart, where it is known how they are stored."""
    from .lab.pythia.parts import gpt_neox_groups, is_gpt_neox

    if not is_gpt_neox(trajectory):
        return None
    if "num_attention_heads" not in trajectory.config:
        print(
            "query, key and value stay together: there is no config.json that says how many heads a"
            " layer has",
            file=sys.stderr,
        )
        return None
    return gpt_neox_groups(trajectory)


def _audit(options):
    from .auditing.checks import audit

    found = audit(
        _source(options),
        revisions=_revisions(options.revisions),
        every=options.every,
        skip=_steps(options.skip),
        format=options.format,
        deep=load_kernel(options.deep) if options.deep else None,
    )
    print(found.to_json() if options.json else found)
    return 1 if found.errors else 0


def _source(options):
    return options.source[0] if len(options.source) == 1 else options.source


def _revisions(given):
    """One pattern as a string, names and steps as a list."""
    names = [name for part in given or () for name in part.split(",") if name]
    if len(names) > 1 and any(re.search(r"[*?[]", name) for name in names):
        raise ValueError(
            f"--revisions: expected one pattern, or names and steps, got {', '.join(names)}"
        )
    return names[0] if len(names) == 1 and re.search(r"[*?[]", names[0]) else names or None


def _steps(given):
    try:
        return [int(step) for part in given or () for step in part.split(",") if step]
    except ValueError:
        raise ValueError(
            f"--skip: expected steps, separated by commas, got {','.join(given)}"
        ) from None


def _bytes(text):
    """
    >>> _bytes("2GB"), _bytes("512MiB")
    (2000000000, 536870912)
    """
    match = re.fullmatch(r"(\d+\.?\d*|\.\d+)\s*([kmg]i?)?b?", text.strip(), re.IGNORECASE)
    if match is None:
        raise ValueError(f"--memory: expected bytes, as in 500MB or 2GB, got {text!r}")
    return int(float(match[1]) * _UNITS[(match[2] or "").lower()])


def _hallmarks(options):
    kernel = load_kernel(options.kernel)
    values = hallmarks(kernel, options.origin)
    if options.json:
        print(json.dumps(_plain(values), allow_nan=False))
        return
    print(kernel)
    print(f"{'ω   mean directional similarity':40} {values['mds']:.3f}")
    print(f"{f'ω_τ seen from step {kernel.steps[options.origin]}':40} {values['relative_mds']:.3f}")
    print(f"\n{'':40} {'first':>10} {'middle':>10} {'last':>10}")
    for unit, family in (("degrees", "angles"), ("", "norms"), ("", "spectra")):
        for name, series in values[family].items():
            label = f"{family}: {name}" + f" [{unit}]" * bool(unit)
            print(
                f"{label:40} " + " ".join(f"{series[i]:10.4g}" for i in (0, len(series) // 2, -1))
                if len(series)
                else label
            )


def _plot(options):
    import matplotlib

    matplotlib.use("agg")
    from .plots.sheet import plot_sheet

    figure = plot_sheet(load_kernel(options.kernel))
    figure.savefig(options.output)
    print(options.output)


def _train(options):
    from .lab.studies.paper import PAPER, paper_recipe
    from .lab.training.recipes import Recipe

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
    from .lab.training.loop import train  # brings torch, which --list does without

    log = train(
        recipe,
        options.out,
        options.device,
        options.data_folder,
        resume=options.resume,
        overwrite=options.overwrite,
    )
    if int(os.environ.get("RANK", 0)) == 0:  # once, not in every process
        print(
            f"{options.out}: test accuracy {log.test_accuracy.iloc[-1]:.2%} after"
            f" {log.step.iloc[-1]} steps"
        )


def _study(options):
    from .lab.studies.catalogue import STUDIES
    from .lab.studies.run import run_studies

    if options.list:
        for study in STUDIES.values():
            print(
                f"{study.name:22} {sum(map(len, study.arms.values())):3} recipes   {study.asks}"
                f" ({study.source})"
            )
        return
    if bool(options.names) == options.all:
        raise ValueError("study: expected one or more names, or --all; --list lists them")
    names = list(STUDIES) if options.all else options.names
    run_studies(names, options.out, options.seeds, options.jobs, options.device)
    for name in names:
        print(f"{options.out}/studies/{name}/runs.csv")


def _plain(value):
    """For JSON: arrays as lists, what is undefined as null."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value if not isinstance(value, float) or abs(value) < float("inf") else None


def _show_warning(message, category, filename, lineno, file=None, line=None):
    print(f"warning: {message}", file=sys.stderr)


def _parser():
    parser = argparse.ArgumentParser(
        prog="trajhelpers", description="Trajectory maps of a training run, from its checkpoints."
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser(
        "gram",
        help="compute the kernel of a trajectory",
        description="Compute the kernel of a trajectory in one pass over its checkpoints.",
    )
    _add_source(command)
    command.add_argument(
        "-o", "--output", required=True, metavar="RUN.npz", help="where the kernel goes"
    )
    command.add_argument(
        "--device", default="auto", help="auto, cpu, cuda, cuda:<i> or mps (default: auto)"
    )
    command.add_argument(
        "--precision",
        default="float64",
        choices=["float64", "float32"],
        help="of the products (default: float64)",
    )
    command.add_argument(
        "--include",
        action="append",
        metavar="PATTERN",
        help="take only parameters whose name matches; may be repeated",
    )
    command.add_argument(
        "--exclude",
        action="append",
        metavar="PATTERN",
        help="leave out parameters whose name matches; may be repeated",
    )
    command.add_argument(
        "--nonfinite",
        default="raise",
        choices=["raise", "skip-checkpoint"],
        help="what to do about a checkpoint with NaN or infinity",
    )
    command.add_argument(
        "--memory",
        default="2GB",
        metavar="BYTES",
        help="for what is fetched from the hub (default: 2GB)",
    )
    command.add_argument(
        "--cache",
        action="store_true",
        help="download whole files from the hub into its client's cache, and read them there",
    )
    command.add_argument(
        "--accept", action="store_true", help="go on in spite of errors that the audit finds"
    )
    command.add_argument(
        "--yes", action="store_true", help="do not ask before more than 10 GB are read from the hub"
    )
    command.set_defaults(run=_gram)

    command = commands.add_parser(
        "audit",
        help="look for mistakes in a run's checkpoints, without reading weights",
        description=(
            "Look for steps that are missing, damaged or doubled, by hashes and metadata alone."
            " Exit code 1 where there are errors."
        ),
    )
    _add_source(command)
    command.add_argument(
        "--deep",
        metavar="RUN.npz",
        help="a kernel of these checkpoints: look at the size of its increments too",
    )
    command.add_argument("--json", action="store_true", help="one JSON object")
    command.set_defaults(run=_audit)

    command = commands.add_parser(
        "hallmarks",
        help="print the hallmarks of a kernel",
        description="Print the mean directional similarity, angles, norms and spectra of a kernel.",
    )
    command.add_argument("kernel", metavar="RUN.npz")
    command.add_argument(
        "--json",
        action="store_true",
        help="one JSON object, in full precision; undefined values are null",
    )
    command.add_argument(
        "--origin",
        type=int,
        default=0,
        metavar="I",
        help="index of the checkpoint from which relative_mds, K0 and C0 are seen (default: 0)",
    )
    command.set_defaults(run=_hallmarks)

    command = commands.add_parser(
        "plot",
        help="draw a kernel",
        description="Draw one sheet: map, relative map, angles, norms, spectra.",
    )
    command.add_argument("kernel", metavar="RUN.npz")
    command.add_argument(
        "-o",
        "--output",
        required=True,
        metavar="RUN.png",
        help="a picture in any format of matplotlib's, by its ending",
    )
    command.set_defaults(run=_plot)

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
    command.set_defaults(run=_train)

    command = commands.add_parser(
        "study",
        help="run the studies of the book",
        description=(
            "Train the recipes of a study and write its table, logs and kernels. What was trained"
            " before is kept; an interrupted study goes on."
        ),
    )
    command.add_argument(
        "names", nargs="*", metavar="NAME", help="studies, e.g. momentum-decay-vgg"
    )
    command.add_argument("--all", action="store_true", help="all of them")
    command.add_argument("--list", action="store_true", help="list them, and run nothing")
    command.add_argument(
        "--seeds", type=int, default=3, help="how many seeds a recipe, from 0 on (default: 3)"
    )
    command.add_argument(
        "--jobs", type=int, default=2, help="processes of one thread each (default: 2)"
    )
    command.add_argument("--device", default="auto", help="auto, cpu, cuda or mps (default: auto)")
    command.add_argument(
        "-o",
        "--out",
        default="runs",
        metavar="FOLDER",
        help="where everything goes (default: runs)",
    )
    command.set_defaults(run=_study)

    for command in commands.choices.values():
        command.add_argument(
            "--debug",
            action="store_true",
            help="where an error came from, too: for reports of a bug",
        )
    return parser


def _add_source(command):
    command.add_argument(
        "source",
        nargs="+",
        metavar="SOURCE",
        help=(
            "a folder of checkpoints, several checkpoints, several folders to be joined, or"
            " hf://OWNER/NAME"
        ),
    )
    command.add_argument(
        "--revisions",
        action="append",
        metavar="NAME,…",
        help=(
            "on the hub: names, steps or one pattern (default: all of step<N>; for Pythia, its 154"
            " steps)"
        ),
    )
    command.add_argument(
        "--every", type=int, default=1, metavar="K", help="take every K-th checkpoint"
    )
    command.add_argument(
        "--skip", action="append", metavar="STEP,…", help="leave out these steps of them"
    )
    command.add_argument(
        "--format",
        choices=["safetensors", "bin"],
        help="on the hub: what to read (default: what all have, else safetensors)",
    )


if __name__ == "__main__":
    sys.exit(main())
