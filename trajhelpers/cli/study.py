"""``trajhelpers study``: the studies of the book."""

from ..printable import printable


def add(commands):
    command = commands.add_parser(
        "study",
        help="run the studies of the book",
        description=(
            "Train the recipes of a study and write its table, logs and kernels. What was trained"
            " before is kept; an interrupted study goes on."
        ),
    )
    command.add_argument(
        "names", nargs="*", metavar="NAME", help="studies, e.g. momentum-decay-vgg"
    )
    command.add_argument("--all", action="store_true", help="all of them")
    command.add_argument("--list", action="store_true", help="list them, and run nothing")
    command.add_argument(
        "--seeds", type=int, default=3, help="how many seeds a recipe, from 0 on (default: 3)"
    )
    command.add_argument(
        "--jobs", type=int, default=2, help="processes of one thread each (default: 2)"
    )
    command.add_argument("--device", default="auto", help="auto, cpu, cuda or mps (default: auto)")
    command.add_argument(
        "-o",
        "--out",
        default="runs",
        metavar="FOLDER",
        help="where everything goes (default: runs)",
    )
    command.set_defaults(run=run)


def run(options):
    from ..lab.studies import STUDIES

    if options.list:
        for study in STUDIES.values():
            print(
                f"{study.name:22} {sum(map(len, study.arms.values())):3} recipes   {study.asks}"
                f" ({study.source})"
            )
        return
    if bool(options.names) == options.all:
        raise ValueError("study: expected one or more names, or --all; --list lists them")
    from ..lab.studies import run_studies  # brings pandas, which --list does without

    names = list(STUDIES) if options.all else options.names
    run_studies(
        names,
        options.out,
        options.seeds,
        options.jobs,
        options.device,
        progress=not options.quiet,
    )
    for name in names:
        print(printable(f"{options.out}/studies/{name}/runs.csv"))
