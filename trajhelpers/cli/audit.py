"""``trajhelpers audit``: mistakes in a run's checkpoints."""

from .. import load_kernel
from .source import add_source, chosen, source_of


def add(commands):
    command = commands.add_parser(
        "audit",
        help="look for mistakes in a run's checkpoints, without reading weights",
        description=(
            "Look for steps that are missing, damaged or doubled, by hashes and metadata alone."
            " Exit code 1 where there are errors."
        ),
    )
    add_source(command)
    command.add_argument(
        "--deep",
        metavar="RUN.npz",
        help="a kernel of these checkpoints: look at the size of its increments too",
    )
    command.add_argument("--json", action="store_true", help="one JSON object")
    command.set_defaults(run=run)


def run(options):
    from ..auditing.checks import audit

    found = audit(
        source_of(options),
        **chosen(options),
        deep=load_kernel(options.deep) if options.deep else None,
    )
    print(found.to_json() if options.json else found)
    return 1 if found.errors else 0
