"""``trajhelpers watch``: a run that trains, in a terminal."""

import sys
import time
from collections import deque
from contextlib import nullcontext
from itertools import zip_longest

import numpy as np

from ..following import Following
from ..gauges import gauges_of
from ..printable import printable
from .computing import ASK_ABOVE, add_pass, groups_of
from .output import writable
from .source import choices, source_of

# Lines beneath the map, and how wide that is at most, in characters.
_LINES, _WIDTH = 4, 48
# Of matplotlib's magma_r, from where checkpoints point apart to where they point the same way.
_COLOURS = ((252, 253, 191), (252, 137, 97), (183, 55, 121), (81, 18, 124), (0, 0, 4))


def add(commands):
    command = commands.add_parser(
        "watch",
        help="follow a run while it trains",
        description=(
            "Follow a folder, or branches of the hub, that a running training fills: each time new"
            " checkpoints are complete they are appended to the kernel, and the map, ω, ω_0, the"
            " angle between the last two updates and the drift, the share of the path's length that"
            " is net displacement, are shown anew. Ctrl-C ends it."
        ),
    )
    add_pass(command)
    command.add_argument(
        "-o",
        "--output",
        metavar="RUN.npz",
        help="where the kernel goes, after each change; one that is there goes on",
    )
    command.add_argument(
        "--interval",
        type=_seconds,
        default=10.0,
        metavar="SECONDS",
        help="between two looks at the source (default: 10)",
    )
    command.set_defaults(run=run)


def run(options):
    path = options.output and writable(options.output, "RUN.npz", (".npz",))
    following = Following(
        source_of(options),
        path,
        options.device,
        options.precision,
        options.memory,
        groups=groups_of,
        agree=lambda trajectory: _refuse_much(trajectory, options),
        **choices(options),
    )
    try:
        with _screen() as show:
            while True:
                show(following.look(), following.kernel)
                time.sleep(options.interval)
    except KeyboardInterrupt:
        print(printable(_last_words(following.kernel, path)))


def _refuse_much(trajectory, options):
    """Each look that finds something new reads all of it."""
    from ..gram import cost

    size = cost(trajectory, options.device, options.precision, None, options.memory)[1]
    if size > ASK_ABOVE and not options.yes:
        raise ValueError(
            f"{size / 1e9:,.0f} GB are fetched each time that a checkpoint is new; say --yes, or"
            " watch where the files are written"
        )


def _last_words(kernel, path):
    if kernel is None:
        return "stopped; there was nothing to see yet"
    return f"stopped; {path}: {kernel}" if path else f"stopped; {kernel}"


def _seconds(text):
    seconds = float(text)
    if not 0 < seconds < float("inf"):
        raise ValueError(text)
    return seconds


def _screen():
    """A context with a function that shows new lines, and the kernel."""
    if sys.stdout.isatty():
        try:
            from rich.console import Console
            from rich.live import Live
        except ModuleNotFoundError:
            return nullcontext(_print_lines)
        console = Console()
        if console.color_system and not console.no_color:
            return _LiveScreen(Live(console=console, auto_refresh=False))
    return nullcontext(_print_lines)


def _print_lines(lines, kernel):
    for line in lines:
        print(printable(line), flush=True)


class _LiveScreen:
    """The map and the last lines, drawn over what was there before."""

    def __init__(self, live):
        self._live, self._lines = live, deque(maxlen=_LINES)

    def __enter__(self):
        self._live.start()
        return self

    def __exit__(self, *exception):
        self._live.stop()

    def __call__(self, lines, kernel):
        self._lines += lines
        if lines:
            self._live.update(screen_of(kernel, self._lines), refresh=True)


def screen_of(kernel, lines):
    """What is drawn for a kernel, None as long as there is none, and the last lines."""
    from rich.console import Group
    from rich.text import Text

    said = Text("\n".join(map(printable, lines)), style="dim")
    if kernel is None:
        return said
    gauges = gauges_of(kernel)
    numbers = Text(
        f"{gauges.where}\nω {gauges.said('omega')}   ω_0 {gauges.said('omega_0')}   {gauges.turn}"
    )
    return Group(_map_of(kernel), numbers, _gauge(gauges), said)


def _gauge(gauges, width=30):
    """How much of the path is progress, from none to all, with a mark where a random walk is."""
    from rich.text import Text

    # Where nothing has moved yet there is no drift.
    shares = np.nan_to_num([gauges.drift, gauges.walk])
    filled, walk = (shares * width).round().astype(int)
    bar = list("█" * filled + "░" * (width - filled))
    bar[min(walk, width - 1)] = "│"
    end = f" {gauges.said('drift')}   │ a random walk's, {gauges.walk:.3f}"
    return Text(f"drift {''.join(bar)}{end}")


def _map_of(kernel):
    """The Trajectory Map in half blocks: two rows a line."""
    from rich.style import Style
    from rich.text import Text

    cosine = kernel.cosine()
    every = -(-len(cosine) // _WIDTH)
    shown = slice((len(cosine) - 1) % every, None, every)  # the last among them
    cosine = cosine[shown, shown]
    cosine = np.repeat(np.repeat(cosine, _WIDTH // len(cosine), 0), _WIDTH // len(cosine), 1)
    least = min(cosine.min(), 0.95)
    channels = np.stack(
        [
            np.interp((cosine - least) / (1 - least), np.linspace(0, 1, len(_COLOURS)), channel)
            for channel in np.transpose(_COLOURS)
        ],
        axis=-1,
    ).round()
    drawn = Text()
    for upper, lower in zip_longest(channels[::2], channels[1::2]):
        for column, above in enumerate(upper):
            below = None if lower is None else _rgb(lower[column])
            drawn.append("▀", Style(color=_rgb(above), bgcolor=below))
        drawn.append("\n")
    return drawn


def _rgb(colour):
    return "#" + "".join(f"{int(part):02x}" for part in colour)
