"""What can be wrong with the values: NaN and infinity, overflow, checkpoints that are one and the same."""

import warnings

import numpy as np

from ._segments import blocks_of, columns_of
from .errors import TrajectoryWarning

# Read at a time.
_COLUMNS = 8192


def nonfinite_checkpoints(trajectory, segment, precision):
    """Indices of the checkpoints with NaN or infinity in a segment, and what to say of them."""
    found = {}
    for _, block, _ in blocks_of([segment], 0, columns_of(segment), _COLUMNS):
        for name, start, stop in block:
            for index, row in enumerate(trajectory.read([(name, start, stop)])):
                bad = np.flatnonzero(~np.isfinite(row))
                if len(bad) and index not in found:
                    found[index] = f"step {trajectory.steps[index]} ({trajectory.sources[index]}): {row[bad[0]]} in {name!r}, element {start + bad[0]}"
    if not found:
        remedy = "use precision='float64'" if precision == "float32" else "no floating-point type holds their squares"
        return [], f"the values of {segment[0][0]!r} are finite, but so large that their products overflow {precision}; {remedy}"
    more = f"; also steps {', '.join(str(trajectory.steps[index]) for index in sorted(found)[1:])}" if len(found) > 1 else ""
    return list(found), found[min(found)] + more + ("" if trajectory.nonfinite == "skip-checkpoint" else "; leave such checkpoints out with nonfinite='skip-checkpoint'")


def warn_of_identical(kernel, trajectory):
    # A float64 increment of zero is proof, and so are equal hashes of files. For other pairs the kernel knows which are equal up to rounding; those few are read again, but not from afar.
    still = np.diag(kernel.total) == 0 if kernel.precision == "float64" else np.full(kernel.n, False)
    stamps = trajectory.stamps() if trajectory.remote else None
    equal, close = [], []
    for s, t in kernel.identical():
        proven = (t == s + 1 and still[t]) or (stamps[s] == stamps[t] if stamps else _equal(trajectory[[s, t]]))
        (equal if proven else close if stamps else []).append(f"{kernel.steps[s]} and {kernel.steps[t]}")
    for pairs, are in ((equal, "identical"), (close, "equal up to rounding")):
        if pairs:
            more = f" … ({len(pairs)} pairs)" if len(pairs) > 10 else ""
            warnings.warn(f"checkpoints at steps {', '.join(pairs[:10])}{more} are {are}", TrajectoryWarning, stacklevel=3)


def _equal(pair):
    segments = [[(name, 0, size)] for name, size in pair.sizes.items()]
    return all((np.diff(pair.read(block), axis=0) == 0).all() for _, block, _ in blocks_of(segments, 0, pair.p, 1 << 20))
