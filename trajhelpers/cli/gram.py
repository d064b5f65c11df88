"""``trajhelpers gram``: the kernel of a trajectory."""

from pathlib import Path

from .computing import add_computing, kernel_of
from .source import opened


def add(commands):
    command = commands.add_parser(
        "gram",
        help="compute the kernel of a trajectory",
        description="Compute the kernel of a trajectory in one pass over its checkpoints.",
    )
    add_computing(command)
    command.add_argument(
        "-o", "--output", required=True, metavar="RUN.npz", help="where the kernel goes"
    )
    command.set_defaults(run=run)


def run(options):
    output = Path(options.output)
    if output.is_dir() or not output.absolute().parent.is_dir():
        raise OSError(
            f"{output}:"
            f" {'is a folder' if output.is_dir() else f'there is no folder {output.parent}'}; give"
            " the name of a file, RUN.npz"
        )
    partial = output.with_name(output.name + ".partial")
    trajectory = opened(options)
    kernel = kernel_of(trajectory, options, partial)
    if kernel is None:
        return 1
    kernel.save(output)
    if trajectory.remote is not None:
        partial.unlink(missing_ok=True)
    print(f"{output}: {kernel}")
