"""Where a run's checkpoints are, and which of them: what commands that open one take."""

import re

from .. import open_trajectory
from ..telling import tell

_SHOWN = 20


def add_source(command):
    """What the audit asks of a source, too."""
    command.add_argument(
        "source",
        nargs="+",
        metavar="SOURCE",
        help=(
            "a folder of checkpoints, or a .zip or .tar of it without compression; several"
            " checkpoints; several folders to be joined; hf://OWNER/NAME (with @REVISION/FOLDER,"
            " where a revision holds several checkpoints), s3://BUCKET/PREFIX, gs://, az://,"
            " hf://buckets/OWNER/NAME/PREFIX, https:// files"
        ),
    )
    command.add_argument(
        "--revisions",
        action="append",
        metavar="NAME,…",
        help=(
            "on the hub: names, steps and patterns, in order (default: the run that has most"
            " branches, stage by stage; for Pythia, its 154 steps)"
        ),
    )
    command.add_argument(
        "--every", type=int, default=1, metavar="K", help="take every K-th checkpoint"
    )
    command.add_argument(
        "--skip", action="append", metavar="STEP,…", help="leave out these steps, or names, of them"
    )
    command.add_argument(
        "--format",
        choices=["safetensors", "bin", "npz", "msgpack"],
        help="on the hub: what to read (default: what all have, else safetensors)",
    )


def add_reading(command):
    """What is taken of each checkpoint."""
    add_source(command)
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
        help=(
            "leave out parameters whose name matches, or, with 'constant', those that never move;"
            " may be repeated"
        ),
    )
    command.add_argument(
        "--state",
        metavar="KEYS",
        help="which state of each checkpoint is meant, where it holds several: e.g. ema",
    )
    command.add_argument(
        "--file",
        action="append",
        metavar="PATTERN",
        help="which files of each checkpoint are read, where it has several; may be repeated",
    )
    command.add_argument(
        "--lora",
        default="factors",
        choices=["factors", "product"],
        help="what an adapter counts as: A and B as stored, or its change of weights, BA",
    )
    command.add_argument(
        "--nonfinite",
        default="raise",
        choices=["raise", "skip-checkpoint"],
        help="what to do about a checkpoint with NaN or infinity",
    )
    command.add_argument(
        "--cache",
        action="store_true",
        help="on the hub: download whole files into its client's cache, and read them there",
    )
    command.add_argument(
        "--accept",
        action="store_true",
        help="on the hub: go on in spite of errors that the audit finds",
    )


def opened(options):
    """The trajectory that the options of :func:`add_reading` mean; what it leaves out is told."""
    trajectory = open_trajectory(source_of(options), **choices(options))
    # Of the states, the notes have said it.
    unsaid = [
        line for line in trajectory.left_out if not any(line in note for note in trajectory.notes)
    ]
    for line in unsaid[:_SHOWN]:
        tell(f"left out {line}")
    if len(unsaid) > _SHOWN:
        tell(f"left out {len(unsaid) - _SHOWN} more")
    return trajectory


def choices(options):
    """The options of :func:`add_reading` but the source, as the package takes them."""
    return {
        "include": options.include,
        "exclude": options.exclude,
        "nonfinite": options.nonfinite,
        "state": options.state,
        "file": options.file,
        "lora": options.lora,
        "cache": options.cache,
        "accept": options.accept,
        **chosen(options),
    }


def source_of(options):
    return options.source[0] if len(options.source) == 1 else options.source


def chosen(options):
    """The options of :func:`add_source` but the source, as the package takes them."""
    return {
        "revisions": _revisions(options.revisions),
        "every": options.every,
        "skip": _steps(options.skip),
        "format": options.format,
    }


def _revisions(given):
    """One pattern as a string; names, steps and patterns as a list."""
    names = [name for part in given or () for name in part.split(",") if name]
    return names[0] if len(names) == 1 and re.search(r"[*?[]", names[0]) else names or None


def _steps(given):
    items = [item for part in given or () for item in part.split(",") if item]
    return [int(item) if item.isdecimal() else item for item in items]
