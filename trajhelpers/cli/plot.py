"""``trajhelpers plot``: one sheet of pictures of a kernel."""

from .. import ModelSetKernel
from ..atomic import atomic_path
from ..printable import printable
from .computing import add_computing, kernel_of
from .output import writable


def add(commands):
    command = commands.add_parser(
        "plot",
        help="draw a kernel, or that of checkpoints",
        description=(
            "Draw one sheet of a kernel RUN.npz: map, relative map, angles, norms, spectra. Of a"
            " set of models, its map; of checkpoints, the kernel is computed first and not kept, as"
            " gram does."
        ),
    )
    add_computing(command)
    command.add_argument(
        "-o",
        "--output",
        required=True,
        metavar="RUN.png",
        help="a picture in any format of matplotlib's, by its ending",
    )
    command.set_defaults(run=run)


def run(options):
    from ..plots import plot_sheet  # first: says what to install, where matplotlib is missing

    writable(options.output, "RUN.png", _endings())
    kernel = kernel_of(options)
    if kernel is None:
        return 1
    import matplotlib

    matplotlib.use("agg")
    if isinstance(kernel, ModelSetKernel):
        from matplotlib import pyplot as plt

        from ..plots import plot_map

        plot_map(kernel, order="clustered")
        figure = plt.gcf()
    else:
        figure = plot_sheet(kernel)
    with atomic_path(options.output) as temporary:
        figure.savefig(temporary)
    print(printable(options.output))


def _endings():
    from matplotlib.backend_bases import FigureCanvasBase

    return tuple(f".{kind}" for kind in sorted(FigureCanvasBase.get_supported_filetypes()))
