"""From a trajectory, or a set of models, to its kernel, in one streaming pass: the front door of
the room `streaming`.

Columns (parameters) are cut into blocks of all n checkpoints. A block is read, converted,
differenced, along a path or against a base, and multiplied with its own transpose; the products of
all blocks of a group add up, in float64, to the group's Gram matrix. Memory holds a few blocks,
whatever p is."""

import operator
from contextlib import nullcontext
from pathlib import Path
from typing import Any, overload

from .checkpoints import Trajectory
from .errors import NonFiniteError
from .kernel import ModelSetKernel, TrajectoryKernel
from .making import certain_kernel, kernel_of
from .models import ModelSet
from .previewing import drawn_of, gram_of_sample
from .reading.account import listed
from .reading.lora import LowRankLayout
from .streaming.blocks import checks_of, cut, requests
from .streaming.columns import all_columns, less
from .streaming.comparing import finish, note_compared
from .streaming.cpu import COLUMNS
from .streaming.default_groups import told_of
from .streaming.devices import choose_device
from .streaming.fingerprint import in_words
from .streaming.low_rank import NotFiniteIn, products_of_adapters
from .streaming.passing import How, begin, one_pass, pass_over, without
from .streaming.ranks import ranks_of
from .streaming.sampling import share_or_bytes
from .streaming.segments import Groups, columns_of, once_each, segments_of
from .telling import tell


@overload
def gram(
    trajectory: Trajectory,
    device: str = ...,
    precision: str = ...,
    groups: Groups | None = ...,
    memory: int = ...,
    partial: str | Path | None = ...,
    verify: bool = ...,
    sample: float | int | None = ...,
    seed: int = ...,
    begun: TrajectoryKernel | None = ...,
    group: Any = ...,
) -> TrajectoryKernel: ...


@overload
def gram(
    trajectory: ModelSet,
    device: str = ...,
    precision: str = ...,
    groups: Groups | None = ...,
    memory: int = ...,
    partial: str | Path | None = ...,
    verify: bool = ...,
    sample: float | int | None = ...,
    seed: int = ...,
    begun: ModelSetKernel | None = ...,
    group: Any = ...,
) -> ModelSetKernel: ...


def gram(
    trajectory: Trajectory | ModelSet,
    device: str = "auto",
    precision: str = "float64",
    groups: Groups | None = None,
    memory: int = 2_000_000_000,
    partial: str | Path | None = None,
    verify: bool = False,
    sample: float | int | None = None,
    seed: int = 0,
    begun: TrajectoryKernel | ModelSetKernel | None = None,
    group: Any = None,
) -> TrajectoryKernel | ModelSetKernel:
    """The kernel of a trajectory: the Gram matrix of its increments, one a parameter tensor. Of a
    set of models: that of their differences from the base.

    Parameters
    ----------
    trajectory : Trajectory or ModelSet
        From :func:`trajhelpers.open_trajectory` or :func:`trajhelpers.open_models`: n checkpoints
        of p parameters.
    device : {"auto", "cpu", "cuda", "cuda:<i>", "mps"}
        ``auto`` is cuda where there is one, else cpu.
    precision : {"float64", "float32"}
        Of differences and products; sums over blocks are float64 in both. float64 gives cosines to
        what ``kernel.error_bound()`` says, 1e-9 at most where nothing is warned of and by far less
        as a rule; float32 is about twice as fast on a CPU and gives 1e-6, unless the path is
        far longer than the way it covers, which the kernel then warns of.
    groups : dict, optional
        Name → list of (tensor name, start, stop), ranges of flattened tensors with None for an open
        end. n² × 8 bytes are kept a group. Default: one group a tensor; of more than 2,000 tensors,
        those together whose names differ in their last number alone, as the experts of a layer do,
        ``model.layers.3.mlp.experts.*.up_proj.weight``, which is told.
    memory : int
        Bytes for what is fetched from the hub: two blocks, of which one is multiplied while the
        next is on its way. More makes fewer and longer reads, up to 64 MiB; 2 GB make them 24 MiB
        for 39 checkpoints, 6 for 154. Files on this machine need none.
    partial : path, optional
        Where the sums so far are kept, after every block. A pass that was interrupted goes on from
        there, with the same result to the bit (on as many cores). Delete the file when the kernel
        is saved.
    verify : bool
        Read all of the files, so that each is compared with the hash that the hub lists, also where
        tensors that do not count lie between, or a pass went on from ``partial``; of zips (``.pt``,
        ``.npz``) elsewhere the CRC-32 of each record is. Without it, what goes by is compared as
        far as it covers a file, or a zip's record. ``kernel.summary()`` says what was compared, and
        with what.
    sample : float or int, optional
        A preview, of a fraction of the parameters, 0.01, or of so many bytes of all checkpoints
        together, as a whole number, 4_000_000_000: blocks drawn at random within each group, scaled
        up, so that each inner product of increments is without bias. Groups are read in equal
        shares, but for two blocks of each, which is told where it makes more of a fraction.
        ``kernel.standard_error(th.mds)`` says how far off a number may be.
    seed : int
        Of the draw. With one seed, a smaller sample is a part of a larger one.
    begun : kernel, optional
        A preview to go on from, to a larger ``sample`` or, where none is given, to all, without
        reading again what it read. The result is that of one pass; the seed is the preview's. Of
        checkpoints in memory nothing tells whether they are still the same.
    group : torch.distributed.ProcessGroup, optional
        Whose ranks share the pass: ``torch.distributed.group.WORLD``, say. All of them call this
        with the same trajectory and arguments, each reads columns of its own, and each gets the
        same kernel: in float64 that of one process to 1e-12, the same bits from as many ranks on
        as many cores. The first shows the progress; the others are silent. A GPU is each rank's
        current device, or what ``device`` says. ``partial`` has to be in a folder that all see;
        any number of ranks goes on from it. Files of which several ranks read parts are compared
        with their hashes only with ``verify``, for which one rank each reads them once more.

    Returns
    -------
    TrajectoryKernel, or ModelSetKernel of a set

    Raises
    ------
    NonFiniteError
        Names the tensor and the step. With ``open_trajectory(…, nonfinite="skip-checkpoint")`` the
        checkpoint is left out instead, with a warning, and the pass begins anew.
    ValueError
        An unknown device or precision, a device that is not there, or groups that name no tensor of
        the trajectory; fewer bytes of a sample than two blocks of each group have.
    TrajectoryError
        Where ``begun`` is of other checkpoints, groups or files, or of another precision; where
        ``partial`` is of other checkpoints, steps, groups, or was begun with another precision,
        device or memory. Where the ranks of a group were given different trajectories or arguments,
        or one of them has ended. (Any other error of one rank is raised on all.)
    OSError
        Where ``partial`` cannot be written; before the pass.
    CheckpointError
        Where the hub does not give what it should; ``partial`` then holds what is done. Where what
        arrived is not what its checksum says; ``partial`` is then deleted, since it was summed.

    Notes
    -----
    What never moves (masks, position tables, frozen layers) is counted, and said: a line up to 1 %
    of ‖θ‖², a warning above, since it holds all cosines high. ``open_trajectory(…,
    exclude="constant")`` leaves it out of the kernel. Both see groups, and no tensor that never
    moves within a group that does. Of default groups of several, what is the same in the first and
    last checkpoint is one of its own, ``… (still)``; of files far away that is not known, and told
    where ``exclude="constant"`` asks for it, as it is of groups that are given.

    n²p multiplications and one read of every checkpoint (on this machine a second one of two that
    come out equal without being neighbours). Where a path comes back to where it was, as orbits,
    restarts and outliers do, increments are long and what they add up to is short: if float64 does
    not make cosines certain to 1e-9 then, files on this machine are read once more, each checkpoint
    measured from the nearest (``kernel.links``), and that is told. Of rows whose squares no float
    holds, powers of two are taken out first. Global settings (threads, TF32, autocast) neither
    matter nor change. Interrupting is safe at any time. Derived in chapter "The kernel and its
    maps".

    ``kernel.source["digests"]`` has a fingerprint of each checkpoint's numbers
    (:func:`trajhelpers.verify`).

    LoRA adapters that count as their products are multiplied on the CPU, in float64, one layer
    after the other, a group each: from r × r products, so that r and n decide and not p.

    >>> import numpy as np, trajhelpers as th
    >>> walk = np.cumsum(np.random.default_rng(0).standard_normal((5, 10_000)), axis=0)
    >>> kernel = gram(th.open_trajectory([{"w": theta} for theta in walk]))
    >>> kernel
    TrajectoryKernel(5 checkpoints, steps 0 … 4, 10,000 parameters in 1 group)
    >>> bool(abs(kernel.cosine() - np.corrcoef(walk)).max() < 0.05)
    True
    """
    if not isinstance(trajectory, (Trajectory, ModelSet)):
        raise TypeError(
            "trajectory: expected what open_trajectory or open_models returns, got"
            f" {type(trajectory).__name__}"
        )
    if isinstance(trajectory.layout, LowRankLayout):
        _refuse_for_adapters(
            device=(device, "auto", "cpu"),
            precision=(precision, "float64"),
            groups=(groups, None),
            partial=(partial, None),
            sample=(share_or_bytes(sample), None),
            begun=(begun, None),
            group=(group, None),
        )
        return _gram_of_adapters(trajectory, precision, verify)
    # What a preview has read is in its source, and not in its repr.
    read = getattr(begun, "source", None)
    given = (precision, groups, memory, partial, verify, sample, seed, begun, read)
    with ranks_of(group, trajectory, given) as ranks:
        device = _checked(device, precision, memory)
        segments = ranks.once(lambda: segments_of(trajectory, groups))
        if grouped := told_of(segments) if groups is None else "":
            tell(grouped)
        how = How(precision, device, memory, ranks)
        sizes = {name: columns_of(segment) for name, segment in segments.items()}
        if drawn := drawn_of(trajectory, segments, precision, sample, seed, begun):
            return gram_of_sample(trajectory, segments, drawn, how, partial, verify, begun)
        trajectory, sums, checks = pass_over(trajectory, segments, how, partial, verify)

        def kernel_along(links):
            found = sums
            if links is not None:
                found, _ = one_pass(trajectory, list(segments.values()), links, how)
            products, exponent = found.in_one_unit(len(segments))
            kernel = kernel_of(trajectory, products, exponent, sizes, precision, links)
            if once_each(segments.values(), trajectory.sizes):
                kernel.source["digests"] = in_words(found.prints)
            return kernel

        kernel = certain_kernel(kernel_along, trajectory, trajectory.remote is None, ranks)
        note_compared(kernel.source, trajectory, checks, verify, ranks)
    mixed = [name for name in kernel.names if len({part[0] for part in segments[name]}) > 1]
    seen = groups is None and trajectory.remote is None
    if trajectory.origin.counting.without_constant and mixed and not seen:
        tell(
            "exclude='constant' leaves out groups, and no tensors within a group: what never moves"
            f" in {listed(mixed, 4)} is counted"
        )
    if grouped:
        kernel.source["notes"] = [*kernel.source["notes"], grouped]
    return kernel


def cost(
    trajectory: Trajectory | ModelSet,
    device: str = "auto",
    precision: str = "float64",
    groups: Groups | None = None,
    memory: int = 2_000_000_000,
    partial: str | Path | None = None,
    verify: bool = False,
    sample: float | int | None = None,
    seed: int = 0,
    begun: TrajectoryKernel | ModelSetKernel | None = None,
) -> tuple[int, int]:
    """What :func:`gram` with the same arguments still has to ask of the hub, as ``(requests,
    bytes)``; nothing for other sources.
    """
    if isinstance(trajectory.layout, LowRankLayout):
        far, checks = trajectory.layout.far(), _checks_of_adapters(trajectory, verify)
        return _sum([(1, end - begin) for _, begin, end in far], checks)
    device, segments = _checked(device, precision, memory), segments_of(trajectory, groups)
    if drawn := drawn_of(trajectory, segments, precision, sample, seed, begun):
        segments = drawn.segments
    state, left, _ = begin(trajectory, segments, How(precision, device, memory), partial)
    trajectory, ranges = without(trajectory, state.lost), list(segments.values())
    done, blocks = (
        cut(trajectory, ranges, memory, columns)
        for columns in (less(all_columns(ranges), left), left)
    )
    return _sum(
        requests(trajectory, blocks),
        checks_of(trajectory, [*done, *blocks], len(done), True) if verify else None,
    )


def _sum(parts, checks):
    parts = [*parts, checks.to_fetch] if checks else parts
    return sum(count for count, _ in parts), sum(size for _, size in parts)


def _refuse_for_adapters(**options):
    for name, (given, *only) in options.items():
        if given not in only:
            raise ValueError(
                f"{name}: products of LoRA adapters are taken on the CPU, in float64, a group a"
                f" weight, whole and in one go; leave {name}= out"
            )


def _gram_of_adapters(trajectory, precision, verify):
    checks = _checks_of_adapters(trajectory, verify)
    try:
        with checks or nullcontext():
            products = products_of_adapters(trajectory.layout.layers, trajectory.links.tolist())
            finish(checks)
    except NotFiniteIn as found:
        trajectory.refuse_changed()
        raise NonFiniteError(
            f"{trajectory.called(found.row)} ({trajectory.sources[found.row]}): the change of"
            f" {found.layer!r} is not finite; {trajectory.leave_out}"
        ) from None
    trajectory.refuse_changed()
    kernel = certain_kernel(
        lambda links: kernel_of(trajectory, products, 0, trajectory.sizes, precision, None),
        trajectory,
        may_repeat=False,
    )
    note_compared(kernel.source, trajectory, checks, verify)
    return kernel


def _checks_of_adapters(trajectory, verify):
    if trajectory.remote is None:
        return None
    return trajectory.remote.check([trajectory.layout.far()], verify=verify, apart=True)


def _checked(device, precision, memory):
    if precision not in COLUMNS:
        raise ValueError(f"precision: expected 'float64' or 'float32', got {precision!r}")
    device = choose_device(device)
    if device.startswith("mps") and precision == "float64":
        raise ValueError(
            "device: 'mps' has no float64; use precision='float32' there, or device='cpu'"
        )
    if operator.index(memory) < 1:
        raise ValueError(f"memory: expected bytes, from 1 on, got {memory}")
    return device
