"""``trajhelpers gram``: the kernel of a trajectory."""

import tempfile
import time
from contextlib import suppress
from pathlib import Path

from .. import gram, load_kernel, mds
from ..errors import RankEnded, TrajectoryError
from ..hallmarks import mds_in_words
from ..printable import printable
from .computing import add_computing, arguments_of, computed
from .launched import launched
from .output import print_json, writable
from .source import opened

# Of a kernel's source, what is for its own file.
_LONG = ("stamps", "sampled")


def add(commands):
    command = commands.add_parser(
        "gram",
        help="compute the kernel of a trajectory",
        description=(
            "Compute the kernel of a trajectory in one pass over its checkpoints. Under torchrun,"
            " or srun with MASTER_ADDR and MASTER_PORT set, all processes share the pass."
        ),
    )
    add_computing(command)
    command.add_argument(
        "-o", "--output", required=True, metavar="RUN.npz", help="where the kernel goes"
    )
    command.add_argument(
        "--begun",
        metavar="PREVIEW.npz",
        help=(
            "go on from a preview, which --sample made, to a larger --sample or, without it, to"
            " all; nothing is read twice"
        ),
    )
    command.add_argument(
        "--json",
        action="store_true",
        help="one JSON object about the kernel: what it is of, what was left out, what it took",
    )
    command.set_defaults(run=run)


def run(options):
    with launched() as processes:
        if processes is None or processes.is_first:
            return _run(options, processes)
        return _follow(processes)


def _follow(processes):
    """What a process does that is not the first, which says what goes wrong."""
    given = processes.take()
    try:
        if given is not None:
            gram(**given, group=processes.group)
            return 0
    except RankEnded as error:
        if error.rank == 0:
            raise
    except (TrajectoryError, OSError, ValueError, ImportError):
        pass
    processes.until_first_ends()
    return 2


def _run(options, processes):
    # By its ending, other commands tell a kernel from checkpoints.
    output = writable(options.output, "RUN.npz", (".npz",))
    started = time.monotonic()
    begun = load_kernel(options.begun) if options.begun else None
    trajectory = opened(options)
    partial = output.with_name(output.name + ".partial")
    arguments = arguments_of(trajectory, options, partial, begun)
    asked = _asked(trajectory, arguments) if options.json else {}
    kernel = computed(trajectory, options, arguments, processes)
    if kernel is None:
        return 1
    _save(kernel, output, arguments["partial"])
    if trajectory.remote is not None:
        partial.unlink(missing_ok=True)
    if options.json:
        print_json(
            {
                "path": str(output),
                "n": kernel.n,
                "p": sum(kernel.sizes),
                "steps": kernel.steps,
                "runs": kernel.runs,
                "groups": dict(zip(kernel.names, kernel.sizes)),
                "precision": kernel.precision,
                "dtypes": sorted(set(trajectory.dtypes.values())),
                **{key: value for key, value in kernel.source.items() if key not in _LONG},
                **_sample_of(kernel),
                "left_out": trajectory.left_out,
                "cost": {"seconds": round(time.monotonic() - started, 3), **asked},
            }
        )
    else:
        print(printable(f"{output}: {kernel}"))
        if kernel.sample:
            print(f"ω = {mds_in_words(kernel)}")


def _sample_of(kernel):
    """How much was read of a preview, and how far off its ω may be."""
    if kernel.sample is None:
        return {}
    omega = {"mds": mds(kernel), "standard_error_of_mds": kernel.standard_error(mds)}
    return {"sample": {**kernel.sample.facts(kernel.p), **omega}}


def _save(kernel, output, partial):
    """Elsewhere, where the disk has become full during the pass, which may have taken hours."""
    try:
        kernel.save(output)
    except OSError as error:
        kept = "the kernel is lost" if partial is None else f"{partial} holds what is done"
        with suppress(OSError):
            folder = Path(tempfile.mkdtemp(prefix="trajhelpers-"))
            try:
                kernel.save(folder / output.name)
                kept = f"the kernel is in {folder / output.name} now"
            except OSError:
                folder.rmdir()
        raise OSError(f"{error}; {kept}") from error


def _asked(trajectory, arguments):
    """Of the hub; nothing of this machine's disk."""
    from ..gram import cost

    return dict(zip(("requests", "bytes"), cost(trajectory, **arguments)))
