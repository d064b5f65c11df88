"""The command line as a whole. Bad input ends with exit code 2 and one line that says why."""

import argparse
import difflib
import os
import sys
import traceback
import warnings
from contextlib import nullcontext
from pathlib import Path

from ..errors import TrajectoryError, TrajectoryWarning
from ..printable import printable, printable_lines
from ..sources.hub.address import is_hub
from ..sources.stores.address import is_in_a_store, shown
from ..telling import silently
from ..version import __version__
from . import audit, explore, gram, hallmarks, ls, plot, study, train, verify, watch

# In the order of the help.
COMMANDS = (gram, watch, ls, audit, verify, hallmarks, plot, explore, train, study)


def main(arguments=None):
    try:
        try:
            return _run(sys.argv[1:] if arguments is None else arguments)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # `| head` has read enough; Python would complain once more when it closes its output.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _run(arguments):
    options = _parsed(arguments)
    if options.quiet:
        os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"  # read by the hub's client at its import
    try:
        with silently() if options.quiet else nullcontext(), warnings.catch_warnings():
            warnings.simplefilter("always", TrajectoryWarning)
            warnings.showwarning = _showing_each_once()
            return options.run(options) or 0
    except BrokenPipeError:
        raise
    except (TrajectoryError, OSError, ValueError, IndexError, ImportError) as error:
        if options.debug:
            print(printable_lines(traceback.format_exc()), end="", file=sys.stderr)
        print(f"trajhelpers: error: {printable(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("trajhelpers: interrupted", file=sys.stderr)
        return 130


def _showing_each_once():
    """A sheet of pictures asks the kernel for one map several times."""
    shown_before = set()

    def show(message, category, filename, lineno, file=None, line=None):
        if str(message) not in shown_before:
            shown_before.add(str(message))
            print(f"warning: {printable(message)}", file=sys.stderr)

    return show


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        super().error(printable(message))


def parser():
    """Of all commands; also what shtab makes completions for a shell from."""
    whole = _Parser(
        prog="trajhelpers", description="Trajectory maps of a training run, from its checkpoints."
    )
    whole.add_argument("--version", action="version", version=__version__)
    commands = whole.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add(commands)
    for part in commands.choices.values():
        part.add_argument(
            "--quiet",
            action="store_true",
            help="no progress bars and no lines about what was chosen; warnings and errors remain",
        )
        part.add_argument(
            "--debug",
            action="store_true",
            help="where an error came from, too: for reports of a bug",
        )
    return whole


def _parsed(arguments):
    whole = parser()
    names = [command.__name__.rpartition(".")[2] for command in COMMANDS]
    if arguments and not arguments[0].startswith("-") and arguments[0] not in names:
        whole.error(_no_such_command(arguments[0], names))
    return whole.parse_args(arguments)


def _no_such_command(given, names):
    if is_hub(given) or is_in_a_store(given) or Path(given).exists():
        return f"which command? For example: trajhelpers hallmarks {shown(given)}"
    near = difflib.get_close_matches(given, names, 1)
    meant = f"did you mean {near[0]}?" if near else f"there are {', '.join(names)}"
    return f"there is no command {given!r}; {meant}"
