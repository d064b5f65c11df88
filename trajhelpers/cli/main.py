"""The command line as a whole. Bad input ends with exit code 2 and one line that says why."""

import argparse
import os
import sys
import traceback
import warnings

from ..errors import TrajectoryError, TrajectoryWarning
from ..version import __version__
from . import audit, gram, hallmarks, plot, study, train

# In the order of the help.
COMMANDS = (gram, audit, hallmarks, plot, train, study)


def main(arguments=None):
    options = parser().parse_args(arguments)
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


def _show_warning(message, category, filename, lineno, file=None, line=None):
    print(f"warning: {message}", file=sys.stderr)


def parser():
    whole = argparse.ArgumentParser(
        prog="trajhelpers", description="Trajectory maps of a training run, from its checkpoints."
    )
    whole.add_argument("--version", action="version", version=__version__)
    commands = whole.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add(commands)
    for part in commands.choices.values():
        part.add_argument(
            "--debug",
            action="store_true",
            help="where an error came from, too: for reports of a bug",
        )
    return whole
