"""From a trajectory, or a set of models, to its kernel, in one streaming pass: the front door of
the room `streaming`.

Columns (parameters) are cut into blocks of all n checkpoints. A block is read, converted,
differenced, along a path or against a base, and multiplied with its own transpose; the products of
all blocks of a group add up, in float64, to the group's Gram matrix. Memory holds a few blocks,
whatever p is."""

import operator
import warnings
from contextlib import closing
from pathlib import Path
from typing import overload

import numpy as np

from .checkpoints import Trajectory
from .errors import LayoutError, NonFiniteError, TrajectoryWarning
from .kernel import ModelSetKernel, TrajectoryKernel
from .models import ModelSet
from .reading.account import capped, listed, of_constant
from .reading.lora import LowRankLayout
from .streaming.blocks import Block, cut, in_turn, requests
from .streaming.cpu import COLUMNS, products_on_cpu
from .streaming.default_groups import told_of
from .streaming.devices import choose_device
from .streaming.low_rank import NotFiniteIn, products_of_adapters
from .streaming.nonfinite import NonFiniteFound, NotFinite, nonfinite_checkpoints
from .streaming.progress import progress_bar
from .streaming.resuming import Partial, State, conditions
from .streaming.segments import Groups, blocks_of, columns_of, segments_of
from .telling import tell
from .version import __version__

# Of ‖θ‖², that never moves: up to here a line is enough.
_LARGEST_SILENT_SHARE = 0.01


@overload
def gram(
    trajectory: Trajectory,
    device: str = ...,
    precision: str = ...,
    groups: Groups | None = ...,
    memory: int = ...,
    partial: str | Path | None = ...,
) -> TrajectoryKernel: ...


@overload
def gram(
    trajectory: ModelSet,
    device: str = ...,
    precision: str = ...,
    groups: Groups | None = ...,
    memory: int = ...,
    partial: str | Path | None = ...,
) -> ModelSetKernel: ...


def gram(
    trajectory: Trajectory | ModelSet,
    device: str = "auto",
    precision: str = "float64",
    groups: Groups | None = None,
    memory: int = 2_000_000_000,
    partial: str | Path | None = None,
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
        1e-12; float32 is about twice as fast on a CPU and gives 1e-6, unless the path is far longer
        than the way it covers, which the kernel then warns of.
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
        the trajectory.
    TrajectoryError
        Where ``partial`` is of other checkpoints, steps, groups, or was begun with another
        precision, device or memory.
    CheckpointError
        Where the hub does not give what it should; ``partial`` then holds what is done.

    Notes
    -----
    What never moves (masks, position tables, frozen layers) is counted, and said: a line up to 1 %
    of ‖θ‖², a warning above, since it holds all cosines high. ``open_trajectory(…,
    exclude="constant")`` leaves it out of the kernel. Both see groups, and no tensor that never
    moves within a group that does. Of default groups of several, what is the same in the first and
    last checkpoint is one of its own, ``… (still)``; of files far away that is not known, and told
    where ``exclude="constant"`` asks for it, as it is of groups that are given.

    n²p multiplications and one read of every checkpoint (on this machine a second one of two that
    come out equal without being neighbours). Global settings (threads, TF32, autocast) neither
    matter nor change. Interrupting is safe at any time. Derived in chapter "The kernel and its
    maps".

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
        return _gram_of_adapters(trajectory, device, precision, groups, partial)
    device, segments = _checked(trajectory, device, precision, groups, memory)
    if grouped := told_of(segments) if groups is None else "":
        tell(grouped)
    whole, state, store = trajectory, None, None
    if partial is not None:
        store = Partial(
            partial, conditions(trajectory, segments, precision, device, memory, __version__)
        )
        state = store.read()
    state = state or State(0, [], _zeros(trajectory, segments))
    while True:
        trajectory = _without(whole, state.lost)
        try:
            increments = _pass(trajectory, segments, precision, device, memory, state, store)
            break
        except NonFiniteFound as found:
            if trajectory.nonfinite == "raise" or not found.bad:
                raise NonFiniteError(found.message) from None
            warnings.warn(
                f"{found.message}; left out of the trajectory", TrajectoryWarning, stacklevel=2
            )
            left = [index for index in range(whole.n) if index not in state.lost]
            lost = sorted([*state.lost, *(left[index] for index in found.bad)])
            state = State(0, lost, _zeros(_without(whole, lost), segments))
    sizes = {name: columns_of(segment) for name, segment in segments.items()}
    kernel = _kernel(trajectory, increments, sizes, precision)
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


def _tokens(trajectory: Trajectory) -> np.ndarray | None:
    if trajectory.tokens is None:
        return None
    is_known = all(tokens is not None for tokens in trajectory.tokens)
    return np.array(trajectory.tokens, np.int64 if is_known else np.float64)


def cost(
    trajectory: Trajectory | ModelSet,
    device: str = "auto",
    precision: str = "float64",
    groups: Groups | None = None,
    memory: int = 2_000_000_000,
    partial: str | Path | None = None,
) -> tuple[int, int]:
    """What :func:`gram` with the same arguments still has to ask of the hub, as ``(requests,
    bytes)``; nothing for other sources.
    """
    if isinstance(trajectory.layout, LowRankLayout):
        far = trajectory.layout.far()
        return len(far), sum(end - begin for _, begin, end in far)
    device, segments = _checked(trajectory, device, precision, groups, memory)
    state = (
        Partial(
            partial, conditions(trajectory, segments, precision, device, memory, __version__)
        ).read()
        if partial is not None
        else None
    )
    trajectory = _without(trajectory, state.lost if state else [])
    parts = requests(trajectory, cut(trajectory, list(segments.values()), memory))[
        state.blocks if state else 0 :
    ]
    return sum(count for count, _ in parts), sum(size for _, size in parts)


def _gram_of_adapters(trajectory, device, precision, groups, partial):
    for name, given, only in (
        ("device", device, ("auto", "cpu")),
        ("precision", precision, ("float64",)),
        ("groups", groups, (None,)),
        ("partial", partial, (None,)),
    ):
        if given not in only:
            raise ValueError(
                f"{name}: products of LoRA adapters are taken on the CPU, in float64, a group a"
                f" weight, and in one go; leave {name}= out"
            )
    try:
        products = products_of_adapters(trajectory.layout.layers, trajectory.differences)
    except NotFiniteIn as found:
        raise NonFiniteError(
            f"{trajectory.called(found.row)} ({trajectory.sources[found.row]}): the change of"
            f" {found.layer!r} is not finite; {trajectory.leave_out}"
        ) from None
    return _kernel(trajectory, products, trajectory.sizes, precision)


def _kernel(trajectory, products, sizes, precision):
    # Nobody else has them: the kernel need not copy them.
    products.setflags(write=False)
    if isinstance(trajectory, ModelSet):
        models = ModelSetKernel(
            products,
            trajectory.labels,
            list(sizes),
            list(sizes.values()),
            trajectory.provenance,
            precision,
        )
        _warn_of_equal(models)
        return models.moving() if trajectory.origin.counting.without_constant else models
    kernel = TrajectoryKernel(
        products,
        trajectory.steps,
        list(sizes),
        list(sizes.values()),
        trajectory.runs,
        trajectory.provenance,
        precision,
        tokens=_tokens(trajectory),
    )
    _warn_of_identical(kernel, trajectory)
    return _without_constant(kernel, trajectory.origin.counting.without_constant)


def _checked(trajectory, device, precision, groups, memory):
    if precision not in COLUMNS:
        raise ValueError(f"precision: expected 'float64' or 'float32', got {precision!r}")
    device = choose_device(device)
    if device.startswith("mps") and precision == "float64":
        raise ValueError(
            "device: 'mps' has no float64; use precision='float32' there, or device='cpu'"
        )
    if operator.index(memory) < 1:
        raise ValueError(f"memory: expected bytes, from 1 on, got {memory}")
    return device, segments_of(trajectory, groups)


def _zeros(trajectory, segments):
    return np.zeros((len(segments), trajectory.n, trajectory.n))


def _without(trajectory, lost):
    return (
        trajectory[[index for index in range(trajectory.n) if index not in lost]]
        if lost
        else trajectory
    )


def _pass(trajectory, segments, precision, device, memory, state, store):
    """The increments' Gram matrices, (groups, n, n), of all blocks from where the state is."""
    segments, increments = list(segments.values()), state.increments
    whole = trajectory.remote is None and store is None
    blocks = [Block([], dict(enumerate(segments)))] if whole else cut(trajectory, segments, memory)
    with (
        progress_bar(trajectory, segments, blocks, state.blocks) as progress,
        closing(in_turn(trajectory, blocks[state.blocks :], progress)) as in_hand,
    ):
        for done, block in enumerate(in_hand, state.blocks + 1):
            try:
                increments[list(block.segments)] += _products(
                    trajectory, list(block.segments.values()), precision, progress, device
                )
            except NotFinite as found:
                raise NonFiniteFound(
                    *nonfinite_checkpoints(trajectory, found.segment, precision)
                ) from None
            if store:
                store.write(State(done, state.lost, increments))
    return increments


def _products(trajectory, segments, precision, progress, device):
    if device == "cpu":
        return products_on_cpu(trajectory, segments, precision, progress)
    # Not at the top of the file: torch takes seconds to import.
    from .streaming.accelerator import products_on_accelerator

    return products_on_accelerator(trajectory, segments, precision, progress, device)


def _warn_of_identical(kernel, trajectory):
    # A float64 increment of zero is proof, and so are equal hashes of files. For other pairs the
    # kernel knows which are equal up to rounding; those few are read again, but not from afar.
    still = (
        np.diag(kernel.total) == 0 if kernel.precision == "float64" else np.full(kernel.n, False)
    )
    low_rank = isinstance(trajectory.layout, LowRankLayout)
    stamps = trajectory.stamps() if trajectory.remote else None
    equal, close = [], []
    for s, t in kernel.identical():
        proven = (t == s + 1 and still[t]) or (
            stamps[s] == stamps[t] if stamps else not low_rank and _equal(trajectory[[s, t]])
        )
        (equal if proven else close if stamps or low_rank else []).append(
            " and ".join(f"{kernel.runs[at]} {kernel.steps[at]}".strip() for at in (s, t))
        )
    for pairs, are in ((equal, "identical"), (close, "equal up to rounding")):
        if pairs:
            more = f" … ({len(pairs)} pairs)" if len(pairs) > 10 else ""
            warnings.warn(
                f"checkpoints at steps {', '.join(pairs[:10])}{more} are {are}",
                TrajectoryWarning,
                stacklevel=4,
            )


def _warn_of_equal(kernel):
    if pairs := kernel.identical():
        more = f" … ({len(pairs)} pairs)" if len(pairs) > 10 else ""
        warnings.warn(
            f"models {', '.join(f'{a!r} and {b!r}' for a, b in pairs[:10])}{more} are identical, or"
            " too close to tell",
            TrajectoryWarning,
            stacklevel=4,
        )


def _without_constant(kernel, leave_out):
    """Groups whose increments are zero are masks, tables, or frozen: they hold every cosine high.
    They are said, or left out.
    """
    still = ~kernel.squared_path[:, 1:].any(1)
    if still.all():
        if leave_out:
            raise LayoutError(
                "no parameters left (exclude='constant'): nothing moves between the checkpoints"
            )
        return kernel
    if not still.any():
        return kernel
    squared = kernel.increments[still, 0, 0]
    # Of the checkpoint where it is most: what moves is of another length in each.
    whole = kernel.distance(None, np.arange(kernel.n)) ** 2
    share = min(float(np.max(squared.sum() / whole)), 1.0) if squared.any() else 0.0
    largest_first = np.flatnonzero(still)[np.argsort(-squared, kind="stable")]
    facts = {
        "share": share,
        "numbers": sum(kernel.sizes[g] for g in largest_first),
        "groups": capped(
            [f"{kernel.names[g]} ({kernel.sizes[g]:,} numbers)" for g in largest_first]
        ),
        "left_out": leave_out,
    }
    if leave_out:
        kernel = kernel.moving()
        tell(of_constant(facts))
    elif share > _LARGEST_SILENT_SHARE:
        warnings.warn(
            f"{of_constant(facts)}; leave it out with exclude='constant', or take kernel.moving()",
            TrajectoryWarning,
            stacklevel=4,
        )
    elif share:
        tell(f"{of_constant(facts)}; leave it out with exclude='constant'")
    kernel.source["constant"] = facts
    return kernel


def _equal(pair):
    segments = [[(name, 0, size)] for name, size in pair.sizes.items()]
    return all(
        (np.diff(pair.read(block), axis=0) == 0).all()
        for _, block, _ in blocks_of(segments, 0, pair.p, 1 << 20)
    )
