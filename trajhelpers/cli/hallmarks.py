"""``trajhelpers hallmarks``: the numbers of a kernel."""

from .. import hallmarks
from ..hallmarks import mds_in_words, of_a_path
from .computing import add_computing, kernel_of
from .output import print_json


def add(commands):
    command = commands.add_parser(
        "hallmarks",
        help="print the hallmarks of a kernel or of checkpoints",
        description=(
            "Print the mean directional similarity, angles, norms and spectra of a kernel RUN.npz;"
            " of checkpoints, it is computed first and not kept, as gram does."
        ),
    )
    add_computing(command)
    command.add_argument(
        "--json",
        action="store_true",
        help="one JSON object, in full precision; undefined values are null",
    )
    command.add_argument(
        "--origin",
        type=int,
        default=0,
        metavar="I",
        help="index of the checkpoint from which relative_mds, K0 and C0 are seen (default: 0)",
    )
    command.set_defaults(run=run)


def run(options):
    kernel = kernel_of(options)
    if kernel is None:
        return 1
    values = hallmarks(of_a_path("hallmarks", kernel), options.origin)
    if options.json:
        return print_json(values)
    print(kernel)
    print(f"{'ω   mean directional similarity':40} {mds_in_words(kernel)}")
    seen_from = f"ω_τ seen from step {kernel.steps[options.origin]}"
    print(f"{seen_from:40} {mds_in_words(kernel, options.origin)}")
    errors = values.get("standard_errors")
    wide = 20 if errors else 10
    print(f"\n{'':40} {'first':>{wide}} {'middle':>{wide}} {'last':>{wide}}")
    for unit, family in (("degrees", "angles"), ("", "norms"), ("", "spectra")):
        for name, series in values[family].items():
            label = f"{family}: {name}" + f" [{unit}]" * bool(unit)
            off = errors and errors[family][name]
            shown = [
                f"{series[i]:10.4g}" + (f" ± {off[i]:<7.1g}" if errors else "")
                for i in (0, len(series) // 2, -1)
                if len(series)
            ]
            print(f"{label:40} {' '.join(shown)}".rstrip())
