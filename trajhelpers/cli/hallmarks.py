"""``trajhelpers hallmarks``: the numbers of a kernel."""

import json

from .. import hallmarks, load_kernel


def add(commands):
    command = commands.add_parser(
        "hallmarks",
        help="print the hallmarks of a kernel",
        description="Print the mean directional similarity, angles, norms and spectra of a kernel.",
    )
    command.add_argument("kernel", metavar="RUN.npz")
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
    kernel = load_kernel(options.kernel)
    values = hallmarks(kernel, options.origin)
    if options.json:
        print(json.dumps(_plain(values), allow_nan=False))
        return
    print(kernel)
    print(f"{'ω   mean directional similarity':40} {values['mds']:.3f}")
    print(f"{f'ω_τ seen from step {kernel.steps[options.origin]}':40} {values['relative_mds']:.3f}")
    print(f"\n{'':40} {'first':>10} {'middle':>10} {'last':>10}")
    for unit, family in (("degrees", "angles"), ("", "norms"), ("", "spectra")):
        for name, series in values[family].items():
            label = f"{family}: {name}" + f" [{unit}]" * bool(unit)
            print(
                f"{label:40} " + " ".join(f"{series[i]:10.4g}" for i in (0, len(series) // 2, -1))
                if len(series)
                else label
            )


def _plain(value):
    """For JSON: arrays as lists, what is undefined as null."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value if not isinstance(value, float) or abs(value) < float("inf") else None
