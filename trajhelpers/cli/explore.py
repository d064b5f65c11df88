"""``trajhelpers explore``: kernels as a page that computes."""

from pathlib import Path

from .. import load_kernel
from ..printable import printable
from .output import writable


def add(commands):
    command = commands.add_parser(
        "explore",
        help="write a page in which kernels can be explored",
        description=(
            "Write one HTML file that shows kernels RUN.npz, and computes: origin, stride, layers"
            " and range are moved in it. It opens from a disk or a mail, offline."
        ),
    )
    command.add_argument("kernels", nargs="+", metavar="RUN.npz", help="as gram writes them")
    command.add_argument("-o", "--output", required=True, metavar="PAGE.html")
    command.add_argument("--unit", default="step", help="what the steps are (default: step)")
    command.set_defaults(run=run)


def run(options):
    from ..explorer import explore  # says what to install, where matplotlib is missing

    writable(options.output, "PAGE.html", (".html",))
    import matplotlib

    matplotlib.use("agg")
    kernels = {Path(path).stem: load_kernel(path) for path in options.kernels}
    explore(kernels, unit=options.unit).save(options.output)
    print(printable(options.output))
