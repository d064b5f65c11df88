"""The kernel of checkpoints, for commands that take a run."""

import re
import sys
from argparse import ArgumentParser, ArgumentTypeError

from .. import gram, load_kernel
from ..printable import printable
from ..telling import tell
from .source import add_reading, opened, source_of

ASK_ABOVE = 10e9
_BYTES_PER_SECOND = 100e6
_UNITS = {"": 1, "k": 1e3, "m": 1e6, "g": 1e9, "ki": 2**10, "mi": 2**20, "gi": 2**30}


def add_computing(command):
    """Which checkpoints, what of them, and how the pass goes."""
    add_pass(command)
    add_sample(command)
    command.add_argument(
        "--verify",
        action="store_true",
        help=(
            "read all of the files, so that each is compared with the hash that the hub lists, or,"
            " where it is a zip, with its own CRC-32"
        ),
    )


def add_pass(command):
    """What holds of a pass that is made once, and of one that is made anew."""
    add_reading(command)
    command.add_argument(
        "--device", default="auto", help="auto, cpu, cuda, cuda:<i> or mps (default: auto)"
    )
    command.add_argument(
        "--precision",
        default="float64",
        choices=["float64", "float32"],
        help="of the products (default: float64)",
    )
    add_fetching(command)


def add_sample(command):
    """Whether a part will do, and which."""
    command.add_argument(
        "--sample",
        type=_sample,
        metavar="SHARE",
        help="a preview, with its error: of 1%% of the parameters, or 4GB of all checkpoints",
    )
    command.add_argument("--seed", type=int, default=0, help="of the draw of a sample (default: 0)")


def add_fetching(command):
    """How much is held of what is far away, and whether much of it is wanted."""
    command.add_argument(
        "--memory",
        type=_bytes,
        default="2GB",
        metavar="BYTES",
        help="for what is fetched from the hub or a store (default: 2GB)",
    )
    command.add_argument(
        "--yes", action="store_true", help="do not ask before more than 10 GB are fetched"
    )


def kernel_of(options):
    """The kernel in a file RUN.npz, or that of checkpoints; None where it is not wanted."""
    source = source_of(options)
    if not (isinstance(source, str) and source.endswith(".npz")):
        trajectory = opened(options)
        return computed(trajectory, options, arguments_of(trajectory, options))
    parser = ArgumentParser()
    add_computing(parser)
    defaults = vars(parser.parse_args([source])) | {"source": options.source}
    if given := [name for name, value in defaults.items() if getattr(options, name) != value]:
        raise ValueError(f"{source}: is a kernel, and --{given[0]} is for checkpoints")
    return load_kernel(source)


def arguments_of(trajectory, options, partial=None, begun=None):
    """What ``gram`` is given. ``partial``: where a pass over files far away keeps what is done;
    ``begun``: a preview that it goes on from.
    """
    return {
        "device": options.device,
        "precision": options.precision,
        "groups": groups_of(trajectory),
        "memory": options.memory,
        "partial": partial if trajectory.remote is not None else None,
        "verify": options.verify,
        "sample": options.sample,
        "seed": options.seed,
        "begun": begun,
    }


def computed(trajectory, options, arguments, processes=None):
    """The kernel, or None where the pass would be long and is not wanted. ``processes`` that were
    launched share it: they get what the first has opened.
    """
    partial = arguments["partial"]
    if partial is not None and partial.exists():
        tell(f"{partial}: going on from there")
    if not is_wanted(trajectory, options.yes, arguments):
        return None
    try:
        if processes is None:
            return gram(trajectory, **arguments)
        processes.give({"trajectory": trajectory} | arguments)
        return gram(trajectory, **arguments, group=processes.group)
    except BaseException:
        if partial is not None and partial.exists():
            print(
                printable(f"{partial}: holds what is done; the same command goes on from there"),
                file=sys.stderr,
            )
        raise


def is_wanted(trajectory, yes, arguments):
    """Whether a pass goes ahead; before a long one, a terminal is asked."""
    from ..gram import cost

    requests, size = cost(trajectory, **arguments)
    if size <= ASK_ABOVE:
        return True
    needed = (
        f"to be fetched: {size / 1e9:,.0f} GB in {requests:,} requests,"
        f" {size / _BYTES_PER_SECOND / 3600:.1f} hours at 100 MB/s"
    )
    if yes:
        tell(needed)
        return True
    print(needed, file=sys.stderr)
    if not sys.stdin.isatty():
        raise ValueError("more than 10 GB, and no terminal to ask at; say --yes")
    return input("Go on? [y/N] ").strip().lower() in ("y", "yes")


def groups_of(trajectory):
    """Query, key and value apart, where it is known how they are stored."""
    from ..lab.pythia.parts import gpt_neox_groups, is_gpt_neox

    if not is_gpt_neox(trajectory):
        return None
    if "num_attention_heads" not in trajectory.config:
        tell(
            "query, key and value stay together: there is no config.json that says how many heads a"
            " layer has"
        )
        return None
    return gpt_neox_groups(trajectory)


def _sample(text):
    """
    >>> _sample("1%"), _sample("0.01"), _sample("4GB")
    (0.01, 0.01, 4000000000)
    """
    share = re.fullmatch(r"(\d+\.?\d*|\.\d+)\s*(%?)", text.strip())
    if share is None:
        return _bytes(text)
    number = float(share[1]) / (100 if share[2] else 1)
    if not 0 < number <= 1:
        raise ArgumentTypeError(f"expected a share, as in 1% or 0.01, or bytes, 4GB, got {text!r}")
    return number


def _bytes(text):
    """
    >>> _bytes("2GB"), _bytes("512MiB")
    (2000000000, 536870912)
    """
    match = re.fullmatch(r"(\d+\.?\d*|\.\d+)\s*([kmg]i?)?b?", text.strip(), re.IGNORECASE)
    if match is None:
        raise ArgumentTypeError(f"expected bytes, as in 500MB or 2GB, got {text!r}")
    return int(float(match[1]) * _UNITS[(match[2] or "").lower()])
