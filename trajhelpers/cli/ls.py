"""``trajhelpers ls``: what a source holds and what a pass over it would cost, before it is read."""

import json
import math
import warnings
from itertools import groupby

from .. import open_trajectory
from ..auditing.report import in_bytes
from ..errors import TrajectoryError, TrajectoryWarning
from ..printable import printable
from ..reading.steps import Position, in_units, span
from ..sources.stores.address import shown
from ..sources.table import source_of as table_source_of
from ..telling import silently
from .source import add_source, chosen, source_of

_MEMORY, _LONGEST_READ = 2_000_000_000, 64 << 20
_SHOWN = 10


def add(commands):
    command = commands.add_parser(
        "ls",
        help="list the checkpoints of a run, and what a pass over them would cost",
        description=(
            "List runs, stages, steps, formats and sizes, and what a pass would read; of files on"
            " this machine, by their headers, what would be counted, too. No weights are read."
        ),
    )
    add_source(command)
    command.add_argument("--json", action="store_true", help="one JSON object")
    command.set_defaults(run=run)


def run(options):
    what = source_of(options)
    place = table_source_of(what)
    given = {name: value for name, value in chosen(options).items() if value is not None}
    unfit = [name for name in given if name not in ("every", "skip", *place.options)]
    if unfit:
        raise ValueError(f"--{unfit[0]}: is for sources on the hub (hf://OWNER/NAME)")
    listing = place.list(what, **given)
    # A source need not know them.
    sizes: list[int | None] = [*listing.sizes()] or [None] * len(listing.checkpoints)
    if options.json:
        found = _plain(what, listing, sizes) | {"counted": _counted(what, given, listing)}
        print(json.dumps(found))
    else:
        lines = [*_lines(listing, sizes), *_counted(what, given, listing)]
        print("\n".join(map(printable, lines)))


def _counted(what, given, listing):
    """What opening would count, or why it would refuse; nothing of files far away, whose headers
    are requests.
    """
    if listing.fetcher is not None:
        return []
    try:
        with silently(), warnings.catch_warnings():
            # A guess about the order has been said.
            warnings.simplefilter("ignore", TrajectoryWarning)
            account = open_trajectory(what, **given).summary()
    except TrajectoryError as error:
        return [f"does not open as it is: {error}"]
    said = {*listing.notes, *(f"left out: {line}" for line in listing.left_out)}
    said = set(map(printable, said))
    lines = str(account).splitlines()[1:]
    return [line for line in lines if line.removeprefix("chosen: ") not in said]


def _plain(what, listing, sizes):
    requests, size = _cost(listing, sizes)
    return {
        "source": shown(what) if isinstance(what, str) else [shown(one) for one in what],
        "checkpoints": [
            {
                "step": one.step,
                "run": one.run,
                "tokens": one.tokens,
                "source": one.source,
                "format": one.format,
                "bytes": bytes_,
            }
            for one, bytes_ in zip(listing.checkpoints, sizes)
        ],
        "missing": _missing(listing),
        "left_out": list(listing.left_out),
        "notes": list(listing.notes),
        "guesses": list(listing.guesses),
        "pass": {"bytes": size, "requests": requests},
    }


def _lines(listing, sizes):
    rows = [("run", "checkpoints", "steps", "tokens", "format", "size of each")]
    pairs = list(zip(listing.checkpoints, sizes))
    for name, members in groupby(pairs, lambda pair: pair[0].run):
        rows.append(_row(name, list(members)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    # A column in which nothing stands is not shown.
    shown = [column for column in range(len(rows[0])) if any(row[column] for row in rows[1:])]
    table = [
        "  ".join(row[column].ljust(widths[column]) for column in shown).rstrip() for row in rows
    ]
    requests, size = _cost(listing, sizes)
    cost = (
        f"a pass reads {in_bytes(size)} at most" if size else "how much a pass reads is not known"
    )
    cost += f", in about {requests:,} requests" if requests else ""
    missing = _missing(listing)
    aside = [f"left out {line}" for line in listing.left_out]
    return [
        *listing.notes,
        *(f"warning: {guess}" for guess in listing.guesses),
        *table,
        *([f"missing: {', '.join(missing[:_SHOWN])} ({len(missing)})"] if missing else []),
        *aside[:_SHOWN],
        *([f"left out {len(aside) - _SHOWN} more"] if len(aside) > _SHOWN else []),
        cost,
    ]


def _row(name, members):
    found = [one for one, _ in members]
    sizes = [size for _, size in members if size is not None]
    steps = span([Position(one.step, "", one.tokens) for one in found])
    tokens = [one.tokens for one in found if one.tokens is not None]
    seen = "" if not tokens else " … ".join(dict.fromkeys(map(in_units, (tokens[0], tokens[-1]))))
    return (
        printable(name),
        f"{len(found):,}",
        "" if steps.endswith(" tokens") else steps.partition(" ")[2],
        seen,
        " and ".join(dict.fromkeys(one.format for one in found)),
        " to ".join(dict.fromkeys(map(in_bytes, (min(sizes), max(sizes)) if sizes else ()))),
    )


def _missing(listing):
    return [revision.label for revision in listing.revisions if not revision.commit]


def _cost(listing, sizes):
    """(requests, bytes) at most, by the sizes alone: blocks of half the memory are read from all
    checkpoints at once, and of each file an address and a header before.
    """
    size = sum(size or 0 for size in sizes)
    if listing.fetcher is None:
        return 0, size
    blocks = math.ceil(size / (_MEMORY // 2))
    return max(len(sizes) * blocks, math.ceil(size / _LONGEST_READ)) + 2 * len(sizes), size
