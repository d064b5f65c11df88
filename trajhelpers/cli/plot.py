"""``trajhelpers plot``: one sheet of pictures of a kernel."""

from .. import load_kernel


def add(commands):
    command = commands.add_parser(
        "plot",
        help="draw a kernel",
        description="Draw one sheet: map, relative map, angles, norms, spectra.",
    )
    command.add_argument("kernel", metavar="RUN.npz")
    command.add_argument(
        "-o",
        "--output",
        required=True,
        metavar="RUN.png",
        help="a picture in any format of matplotlib's, by its ending",
    )
    command.set_defaults(run=run)


def run(options):
    import matplotlib

    matplotlib.use("agg")
    from ..plots.sheet import plot_sheet

    figure = plot_sheet(load_kernel(options.kernel))
    figure.savefig(options.output)
    print(options.output)
