"""``trajhelpers audit``: mistakes in a run's checkpoints."""

from typing import Any

from .. import gram, load_kernel, open_trajectory
from ..sources.hub.address import is_hub
from .computing import add_sample, groups_of, is_wanted
from .source import add_source, chosen, source_of


def add(commands):
    command = commands.add_parser(
        "audit",
        help="look for mistakes in a run's checkpoints, without reading weights, or from a sample",
        description=(
            "Look for steps that are missing, damaged or doubled, by hashes and metadata alone;"
            " with --sample, or of a kernel RUN.npz, for checkpoints that are not on the path, too."
            " Exit code 1 where there are errors."
        ),
    )
    add_source(command)
    add_sample(command)
    command.add_argument(
        "--yes", action="store_true", help="do not ask before more than 10 GB are fetched"
    )
    command.add_argument(
        "--deep",
        metavar="RUN.npz",
        help="a kernel of these checkpoints, in the place of a sample",
    )
    command.add_argument("--json", action="store_true", help="one JSON object")
    command.set_defaults(run=run)


def run(options):
    from ..auditing.checks import audit

    source: Any = source_of(options)
    kernel: Any = None
    if isinstance(source, str) and source.endswith(".npz"):
        if options.sample or options.deep:
            raise ValueError(f"{source}: is a kernel; --sample and --deep are for checkpoints")
        source = load_kernel(source)
    elif options.sample and options.deep:
        raise ValueError("--sample and --deep: give one of them")
    elif options.sample:
        # What is wrong with their files is to be reported, and not to stand in the way.
        on_hub = any(map(is_hub, options.source))
        trajectory = open_trajectory(source, accept=on_hub, **chosen(options))
        arguments = {
            "sample": options.sample,
            "seed": options.seed,
            "groups": groups_of(trajectory),
        }
        if not is_wanted(trajectory, options.yes, arguments):
            return 1
        kernel = gram(trajectory, **arguments)
    elif options.deep:
        kernel = load_kernel(options.deep)
    found = audit(source, deep=kernel, **chosen(options))
    print(found.to_json() if options.json else found)
    return 1 if found.errors else 0
