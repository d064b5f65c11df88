"""``trajhelpers verify``: whether checkpoints are still those that a kernel was made of."""

from .. import load_kernel
from ..hallmarks import of_a_path
from ..printable import printable
from ..verifying import verify
from .computing import add_fetching, is_wanted
from .source import add_reading, opened

_SHOWN = 20


def add(commands):
    command = commands.add_parser(
        "verify",
        help="see whether checkpoints are those that a kernel was made of",
        description=(
            "Read all numbers of the checkpoints once, and compare each one's fingerprint with that"
            " in the kernel. Exit code 1 where some differ. Give the options that gram was given."
        ),
    )
    command.add_argument("kernel", metavar="RUN.npz", help="what gram has written")
    add_reading(command)
    add_fetching(command)
    command.set_defaults(run=run)


def run(options):
    # Before anything is fetched.
    kernel = of_a_path("verify", load_kernel(options.kernel))
    trajectory = opened(options)
    if not is_wanted(trajectory, options.yes, {"memory": options.memory}):
        return 1
    different = verify(options.kernel, trajectory, options.memory)
    if not different:
        print(printable(f"all {kernel.n} checkpoints are those that {options.kernel} was made of"))
        return 0
    called = [f"{run} {step}".strip() for run, step in zip(kernel.runs, kernel.steps)]
    steps = ", ".join(called[index] for index in different[:_SHOWN])
    more = f" and {len(different) - _SHOWN} more" if len(different) > _SHOWN else ""
    hint = "; was it opened with the same options as then?" if len(different) == kernel.n else ""
    said = (
        f"{len(different)} of {kernel.n} checkpoints differ from what {options.kernel} was made of:"
        f" step{'s'[: len(different) > 1]} {steps}{more}{hint}"
    )
    print(printable(said))
    return 1
