"""What a kernel says of the checkpoints that it was made of: which of them is not on the path."""

import numpy as np

from ..kernel import TrajectoryKernel
from .copies import copies
from .descent import unrelated
from .lengths import irregular_lengths
from .off_path import off_path
from .report import Finding


def findings_in(kernel: TrajectoryKernel) -> tuple[list[Finding], list[Finding]]:
    """(errors, notes), by the rules that :func:`trajhelpers.audit` states. What one rule accounts
    for is not shown to the next.

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> theta = np.cumsum(rng.standard_normal((20, 500)), axis=0)
    >>> theta[[4, 5]], theta[10] = theta[[5, 4]], rng.standard_normal(500)
    >>> delta = np.diff(theta, axis=0, prepend=0)
    >>> [(note.kind, note.steps) for note in findings_in(TrajectoryKernel(delta @ delta.T))[1]]
    [('swapped', (4, 5)), ('detour', (10,))]
    """
    row = np.arange(kernel.n)
    d = kernel.distance(row[:, None], row)
    errors, notes, rows = copies(kernel, d)
    for rule in (unrelated, off_path):
        found, rows = rule(kernel, rows)
        notes += found
    return errors, notes + irregular_lengths(kernel, rows)
