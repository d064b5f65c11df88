"""The method ``kernel.append``: the kernel of a run that has gone on, from that of what was there
before and a pass that multiplies the new checkpoints with all.

It is a kernel's method, and reads checkpoints, which is the business of rooms above the kernel's:
so it is written here, and put on the class below."""

from collections.abc import Sequence

import numpy as np

from .checkpoints import Trajectory
from .errors import StepError, TrajectoryError
from .kernel import TrajectoryKernel
from .links import O
from .making import certain_kernel, kernel_of
from .streaming.comparing import note_compared
from .streaming.default_groups import told_of
from .streaming.devices import choose_device
from .streaming.fingerprint import in_words
from .streaming.passing import How, one_pass, pass_over
from .streaming.segments import Groups, Segment, columns_of, segments_of
from .streaming.sums import Scaled
from .verifying import digests_of, refuse_sample

_SHOWN = 8


def append(
    kernel: TrajectoryKernel,
    trajectory: Trajectory,
    device: str = "auto",
    groups: Groups | None = None,
    memory: int = 2_000_000_000,
    verify: bool = False,
) -> TrajectoryKernel:
    """The kernel of a run that has gone on since this one was made: as :func:`trajhelpers.gram`
    gives it, for n·p multiplications a new checkpoint, where all of them anew take n²·p.

    Parameters
    ----------
    trajectory : Trajectory
        The same run, opened again with the same choices: this kernel's checkpoints first, then at
        least one that is new.
    device, memory, verify
        As of :func:`trajhelpers.gram`. The precision is this kernel's.
    groups : dict, optional
        What :func:`trajhelpers.gram` was given.

    Returns
    -------
    TrajectoryKernel
        A new one, of all checkpoints; this one stays as it is. In float64 it is that of one pass
        to 1e-12 of ‖δ_s‖ ‖δ_t‖; in float32 both are within ``error_bound()`` of the truth, since
        sums of float32 depend on their order.

    Raises
    ------
    StepError
        Where this kernel's checkpoints are not the trajectory's first ones, or none is new.
    TrajectoryError
        Where a checkpoint is no longer what this kernel was made of; where the kernel keeps no
        fingerprints, by which that would show (see :func:`trajhelpers.verify`); where the groups
        are others; where it is of a sample. The remedy is :func:`trajhelpers.gram`, anew.

    Notes
    -----
    All checkpoints are read, once, since each new increment is multiplied with all that were before
    it; that they are what they were then costs nothing more. New rows are measured from the
    checkpoint before, whatever ``links`` the others have. If that does not make cosines certain,
    files on this machine are read again, and all is multiplied, as :func:`trajhelpers.gram` does.

    >>> import numpy as np, trajhelpers as th
    >>> walk = np.cumsum(np.random.default_rng(0).standard_normal((6, 1000)), axis=0)
    >>> states = [{"w": theta} for theta in walk]
    >>> kernel = th.gram(th.open_trajectory(states[:4]))
    >>> kernel.append(th.open_trajectory(states))
    TrajectoryKernel(6 checkpoints, steps 0 … 5, 1,000 parameters in 1 group)
    """
    if not isinstance(trajectory, Trajectory):
        raise TypeError(
            f"trajectory: expected what open_trajectory returns, got {type(trajectory).__name__}"
        )
    if kernel.sample is not None:
        raise TrajectoryError(
            "append: the kernel is of a sample, and new checkpoints would need the same; sample the"
            " longer run anew, with gram"
        )
    digests = digests_of(kernel, "the kernel")
    refuse_sample(trajectory, "the kernel")
    _refuse_others(kernel, trajectory)
    # As they were when the kernel was made: of thousands of tensors, default groups depend on what
    # has moved.
    segments = segments_of(trajectory[: kernel.n], groups)
    left_out = _left_out(kernel, segments)
    ranges, how = list(segments.values()), How(kernel.precision, choose_device(device), memory)
    trajectory, sums, checks = pass_over(trajectory, segments, how, None, verify, kernel.n)
    _refuse_others(kernel, trajectory)  # without those that are not finite, which may be old ones
    _refuse_changed(kernel, trajectory, digests, in_words(sums.prints))
    rows = Scaled(*sums.in_one_unit(len(ranges)))
    before = _before(kernel, trajectory, segments, left_out, how)
    appended = np.append(kernel.links, np.arange(kernel.n, trajectory.n) - 1)

    def kernel_along(links):
        if links is None:
            whole, links = _together(before, rows), appended
        else:
            found, _ = one_pass(trajectory, ranges, links, how)
            whole = Scaled(*found.in_one_unit(len(ranges)))
        sizes = {name: columns_of(segment) for name, segment in segments.items()}
        made = kernel_of(trajectory, *whole, sizes, kernel.precision, links)
        made.source["digests"] = in_words(sums.prints)
        return made

    made = certain_kernel(kernel_along, trajectory, may_repeat=trajectory.remote is None)
    assert isinstance(made, TrajectoryKernel)
    note_compared(made.source, trajectory, checks, verify)
    if groups is None and (grouped := told_of(segments)):
        made.source["notes"] = [*made.source["notes"], grouped]
    return made


TrajectoryKernel.append = append


def _refuse_others(kernel: TrajectoryKernel, trajectory: Trajectory) -> None:
    """A StepError unless the kernel's checkpoints are the first ones, and others follow."""
    before = list(zip(kernel.runs, map(int, kernel.steps)))
    now = list(zip(trajectory.runs, trajectory.steps))
    gone = [one for one in before if one not in now]
    if gone:
        raise StepError(
            f"append: the trajectory lacks {_called(gone)}, which the kernel has; open it with the"
            " same choices, or compute its kernel anew with gram"
        )
    between = [one for one in now[: len(before)] if one not in before]
    if between:
        raise StepError(
            f"append: the kernel lacks {_called(between)}, before its last: new, or not finite and"
            f" left out; leave out such again with skip={sorted({step for _, step in between})}, or"
            " compute the kernel anew with gram"
        )
    if now[: len(before)] != before:
        raise StepError(
            "append: the trajectory has the kernel's checkpoints in another order; compute its"
            " kernel anew with gram"
        )
    if len(now) == len(before):
        raise StepError(f"append: none is new: the trajectory ends at {_called(now[-1:])}, too")


def _called(some: Sequence[tuple[str, int]]) -> str:
    named = ", ".join(f"{run} {step}".strip() for run, step in some[:_SHOWN])
    return f"step{'s'[: len(some) > 1]} {named}{' …' * (len(some) > _SHOWN)}"


def _left_out(kernel: TrajectoryKernel, segments: dict[str, Segment]) -> list[str]:
    """Groups that the kernel has not, since they never moved. TrajectoryError where the others are
    not its own.
    """
    sizes = dict(zip(kernel.names, kernel.sizes))
    found = {name: columns_of(segment) for name, segment in segments.items()}
    missing = [name for name in found if name not in sizes]
    told = kernel.source.get("constant", {})
    numbers = told.get("numbers", 0) if told.get("left_out") else 0
    others = {name: found.get(name) for name in sizes} != sizes
    if others or sum(found[name] for name in missing) != numbers:
        raise TrajectoryError(
            f"append: the kernel has {len(sizes)} groups of {kernel.p:,} parameters, and the"
            f" trajectory gives {len(found)} of {sum(found.values()):,}, or others; give what gram"
            " was given (groups, include, exclude), and a kernel that no select or group_by made"
        )
    return missing


def _refuse_changed(
    kernel: TrajectoryKernel, trajectory: Trajectory, known: list[str], found: list[str]
) -> None:
    changed = [index for index, (was, now) in enumerate(zip(known, found)) if was != now]
    if changed:
        pairs = [(kernel.runs[index], int(kernel.steps[index])) for index in changed]
        raise TrajectoryError(
            f"append: {trajectory.sources[changed[0]]}: is no longer what the kernel was made of"
            f" ({_called(pairs)}); compute the kernel anew with gram"
        )


def _before(
    kernel: TrajectoryKernel,
    trajectory: Trajectory,
    segments: dict[str, Segment],
    left_out: list[str],
    how: How,
) -> Scaled:
    """The products of the kernel's own rows, of all groups. Of those that it left out, since they
    do not move, only ‖θ‖² is not zero, where a row is measured from O.
    """
    products, exponent = kernel.rows
    at = {name: index for index, name in enumerate(segments)}
    of_kernel = np.zeros((len(segments), kernel.n, kernel.n))
    of_kernel[[at[name] for name in kernel.names]] = products
    if not left_out:
        return Scaled(of_kernel, exponent)
    ends = trajectory[[0, kernel.n - 1]]
    sums, _ = one_pass(ends, [segments[name] for name in left_out], ends.links, how)
    still, unit = sums.in_one_unit(len(left_out))
    if still[:, 1, 1].any():
        raise TrajectoryError(
            f"append: {left_out[int(np.argmax(still[:, 1, 1]))]!r} moves between the kernel's"
            " checkpoints and is no group of it; compute the kernel anew with gram"
        )
    of_the_rest = np.zeros_like(of_kernel)
    from_zero = kernel.links == O
    of_the_rest[[at[name] for name in left_out]] = still[:, :1, :1] * np.outer(from_zero, from_zero)
    return Scaled(of_kernel, exponent).plus(Scaled(of_the_rest, unit))


def _together(before: Scaled, rows: Scaled) -> Scaled:
    """The products of all rows, from those of the first ones and those of the others with all."""
    n, known = rows.values.shape[-1], before.values.shape[-1]
    whole = np.zeros((len(rows.values), n, n))
    whole[:, known:, :known] = rows.values[:, :, :known]
    whole[:, :known, known:] = rows.values[:, :, :known].swapaxes(1, 2)
    # Symmetric to the last bit, as a product with its own transpose is.
    new = rows.values[:, :, known:]
    whole[:, known:, known:] = (new + new.swapaxes(1, 2)) / 2
    padded = np.zeros_like(whole)
    padded[:, :known, :known] = before.values
    return Scaled(whole, rows.exponent).plus(Scaled(padded, before.exponent))
