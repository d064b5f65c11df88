"""From a trajectory to its kernel, in one streaming pass: the only file that touches p numbers.

Columns (parameters) are cut into blocks of all n checkpoints. A block is read, converted,
differenced along the checkpoints and multiplied with its own transpose; the products of all blocks
of a group add up, in float64, to the group's Gram matrix of increments. Memory holds a few blocks,
whatever p is.

On the CPU each core takes a range of columns of its own, with BLAS held to one thread: a block then
stays in the core's cache, NumPy's product of a matrix with its own transpose computes half of it,
and nothing is shared until the end. On an accelerator the block product runs there while the next
block is read."""

import operator
import os
import threading
import warnings
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import closing, contextmanager

import numpy as np
from threadpoolctl import ThreadpoolController

from .errors import NonFiniteError, TrajectoryWarning
from .kernel import TrajectoryKernel
from .streaming.blocks import Block, cut, in_turn, requests
from .streaming.devices import choose_device
from .streaming.progress import progress_bar
from .streaming.resuming import Partial, State, conditions
from .streaming.segments import blocks_of, columns_of
from .version import __version__

# Columns of a block. On the CPU a block and its increments must fit a core's cache, and a float32
# product must not run over more terms than its rounding allows (chapter 2); accelerators want fewer
# and larger transfers.
_COLUMNS = {"float32": 16384, "float64": 8192}
_ACCELERATOR_BYTES = 64 << 20
# Looked for once: the system calls back for every library, and a Ctrl-C that falls into such a call
# is lost.
_LIBRARIES = ThreadpoolController()


def gram(
    trajectory, device="auto", precision="float64", groups=None, memory=2_000_000_000, partial=None
):
    """The kernel of a trajectory: the Gram matrix of its increments, one a parameter tensor.

    Parameters
    ----------
    trajectory : Trajectory
        From :func:`trajhelpers.open_trajectory`: n checkpoints of p parameters.
    device : {"auto", "cpu", "cuda", "cuda:<i>", "mps"}
        ``auto`` is cuda where there is one, else cpu.
    precision : {"float64", "float32"}
        Of differences and products; sums over blocks are float64 in both. float64 gives cosines to
        1e-12; float32 is about twice as fast on a CPU and gives 1e-6, unless the path is far longer
        than the way it covers, which the kernel then warns of.
    groups : dict, optional
        Name → list of (tensor name, start, stop), ranges of flattened tensors with None for an open
        end. Default: one group a tensor. n² × 8 bytes are kept a group.
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
    TrajectoryKernel

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
    n²p multiplications and one read of every checkpoint (on this machine a second one of two that
    come out equal without being neighbours). Global settings (threads, TF32, autocast) neither
    matter nor change. Interrupting is safe at any time. Derived in chapter "The kernel and its
    maps".

    >>> import numpy as np, trajhelpers as th
    >>> walk = np.cumsum(np.random.default_rng(0).standard_normal((5, 10_000)), axis=0)
    >>> kernel = gram(th.open_trajectory([{"w": theta} for theta in walk]))
    >>> kernel
    TrajectoryKernel(5 checkpoints, steps 0 … 4, 10,000 parameters in 1 group)
    >>> bool(abs(kernel.cosine() - np.corrcoef(walk)).max() < 0.05)
    True
    """
    device, segments = _checked(trajectory, device, precision, groups, memory)
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
        except _NonFiniteFound as found:
            if trajectory.nonfinite == "raise" or not found.bad:
                raise NonFiniteError(found.message) from None
            warnings.warn(
                f"{found.message}; left out of the trajectory", TrajectoryWarning, stacklevel=2
            )
            left = [index for index in range(whole.n) if index not in state.lost]
            lost = sorted([*state.lost, *(left[index] for index in found.bad)])
            state = State(0, lost, _zeros(_without(whole, lost), segments))
    kernel = TrajectoryKernel(
        increments,
        trajectory.steps,
        list(segments),
        [columns_of(segment) for segment in segments.values()],
        trajectory.runs,
        trajectory.provenance,
        precision,
    )
    _warn_of_identical(kernel, trajectory)
    return kernel


def cost(
    trajectory, device="auto", precision="float64", groups=None, memory=2_000_000_000, partial=None
):
    """What :func:`gram` with the same arguments still has to ask of the hub, as ``(requests,
    bytes)``; nothing for other sources.
    """
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


def _checked(trajectory, device, precision, groups, memory):
    if precision not in _COLUMNS:
        raise ValueError(f"precision: expected 'float64' or 'float32', got {precision!r}")
    device = choose_device(device)
    if device.startswith("mps") and precision == "float64":
        raise ValueError(
            "device: 'mps' has no float64; use precision='float32' there, or device='cpu'"
        )
    if operator.index(memory) < 1:
        raise ValueError(f"memory: expected bytes, from 1 on, got {memory}")
    return device, _segments(trajectory, groups)


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
    run = _on_cpu if device == "cpu" else _on_accelerator
    with (
        progress_bar(trajectory, segments, blocks, state.blocks) as progress,
        closing(in_turn(trajectory, blocks[state.blocks :], progress)) as in_hand,
    ):
        for done, block in enumerate(in_hand, state.blocks + 1):
            try:
                increments[list(block.segments)] += run(
                    trajectory, list(block.segments.values()), precision, progress, device
                )
            except _NotFinite as found:
                raise _NonFiniteFound(
                    *_nonfinite_checkpoints(trajectory, found.segment, precision)
                ) from None
            if store:
                store.write(State(done, state.lost, increments))
    return increments


def _segments(trajectory, groups):
    if groups is None:
        return {name: [(name, 0, size)] for name, size in trajectory.sizes.items()}
    sizes, segments = trajectory.sizes, {}
    for group, ranges in groups.items():
        segments[group] = []
        for name, start, stop in ranges:
            if name not in sizes:
                raise ValueError(
                    f"groups: {group!r} names the tensor {name!r}, which the trajectory does not"
                    f" have; it has {', '.join(list(sizes)[:8])} …"
                )
            start, stop = 0 if start is None else start, sizes[name] if stop is None else stop
            if not 0 <= start < stop <= sizes[name]:
                raise ValueError(
                    f"groups: {group!r} asks for elements {start}:{stop} of {name!r}, which has"
                    f" {sizes[name]}"
                )
            if (start, stop) != (0, sizes[name]) and name in trajectory.permuted:
                raise ValueError(
                    f"groups: {group!r} asks for a part of {name!r}, which is stored in"
                    f" channels_last order: its elements {start}:{stop} are not those of the"
                    " flattened tensor; save contiguous tensors, or take it whole"
                )
            segments[group].append((name, start, stop))
    if not segments or not all(segments.values()):
        raise ValueError("groups: a group without a tensor")
    return segments


# ---- CPU ----


def _on_cpu(trajectory, segments, precision, progress, device):
    total = sum(map(columns_of, segments))
    columns = _COLUMNS[precision]
    workers = max(
        1,
        min(
            len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            total // columns,
        ),
    )
    edges = [total * worker // workers for worker in range(workers + 1)]
    stop = threading.Event()
    with _LIBRARIES.limit(limits=1, user_api="blas"), ThreadPoolExecutor(workers) as pool:
        try:
            parts = [
                pool.submit(
                    _multiply_blocks, trajectory, segments, begin, end, precision, progress, stop
                )
                for begin, end in zip(edges, edges[1:])
            ]
            while wait(parts, timeout=0.1, return_when=FIRST_EXCEPTION).not_done and not any(
                part.done() and part.exception() for part in parts
            ):
                progress.show()
        finally:
            stop.set()
    # Added in the order of the ranges, so that the same machine gives the same bits.
    increments = np.zeros((len(segments), trajectory.n, trajectory.n))
    for part in parts:
        for index, product in part.result().items():
            increments[index] += product
    return increments


def _multiply_blocks(trajectory, segments, begin, end, precision, progress, stop):
    columns = _COLUMNS[precision]
    # Values are held in the type that loses nothing, and differenced in it: a difference taken in
    # float32 of what is stored in float64 would lose the updates of a converged run.
    exact = (
        np.float64
        if precision == "float64" or "float64" in trajectory.dtypes.values()
        else np.float32
    )
    values, increments = (
        np.empty((trajectory.n, columns), exact),
        np.empty((trajectory.n, columns), precision),
    )
    sums = {}
    for index, block, width in blocks_of(segments, begin, end, columns):
        if stop.is_set():
            break
        theta, delta = values[:, :width], increments[:, :width]
        trajectory.read_into(block, theta)
        with np.errstate(over="ignore", invalid="ignore"):
            delta[0] = theta[0]
            np.subtract(theta[1:], theta[:-1], out=delta[1:], casting="same_kind")
            product = delta @ delta.T
        if not np.isfinite(np.trace(product)):
            raise _NotFinite(block)
        if index in sums:
            sums[index] += product
        else:
            sums[index] = product.astype(np.float64)
        progress.add(block)
    return sums


# ---- accelerators ----


def _on_accelerator(trajectory, segments, precision, progress, device):
    increments = (
        _accelerator_products(trajectory, segments, precision, progress, device).cpu().numpy()
    )
    for index, segment in enumerate(segments):
        if not np.isfinite(np.trace(increments[index])):
            raise _NotFinite(segment)
    return increments


def _accelerator_products(trajectory, segments, precision, progress, device):
    """As :func:`_multiply_blocks`, by torch on ``device``; the sums stay there, but for mps, which
    has no float64.
    """
    import torch

    kinds = {trajectory.dtypes[name] for segment in segments for name, _, _ in segment}
    stored = kinds.pop() if len(kinds) == 1 else "float64" if "float64" in kinds else "float32"
    stored, working = getattr(torch, stored), getattr(torch, precision)
    has_float64 = torch.device(device).type != "mps"
    exact = (
        torch.float64
        if stored == torch.float64 or (precision == "float64" and has_float64)
        else torch.float32
    )
    sums_on = torch.device(device if has_float64 else "cpu")
    n, columns = trajectory.n, max(1, _ACCELERATOR_BYTES // (stored.itemsize * trajectory.n))
    sums = torch.zeros((len(segments), n, n), dtype=torch.float64, device=sums_on)
    queue = _upload_queue(torch.device(device), n * columns, stored)
    with (
        torch.no_grad(),
        _exact_products(),
        torch.autocast(torch.device(device).type, enabled=False),
        ThreadPoolExecutor(min(8, os.cpu_count())) as pool,
    ):
        for index, block, width in blocks_of(segments, 0, sum(map(columns_of, segments)), columns):
            host = queue.buffer()[: n * width].view(n, width)
            _fill(trajectory, block, host, pool)
            theta = queue.upload(host) if exact != torch.float64 or has_float64 else host
            theta = theta.to(exact)
            delta = torch.cat([theta[:1], theta[1:] - theta[:-1]]).to(working).to(device)
            for part in delta.split(
                _COLUMNS["float32"] if precision == "float32" else width, dim=1
            ):
                sums[index] += (part @ part.T).to(sums_on).double()
            progress.add(block)
            progress.show()
    return sums


def _fill(trajectory, block, host, pool):
    """Read a block into a host tensor, several checkpoints at a time."""
    import torch

    rows = (host.view(torch.uint16) if host.dtype == torch.bfloat16 else host).numpy()
    several = [slice(first, first + 8) for first in range(0, trajectory.n, 8)]
    list(pool.map(lambda part: trajectory.read_into(block, rows[part], part), several))


def _upload_queue(device, size, dtype):
    return (
        _CudaQueue(device, size, dtype)
        if device.type == "cuda"
        else _PlainQueue(device, size, dtype)
    )


class _PlainQueue:
    """One host buffer; uploads wait."""

    def __init__(self, device, size, dtype):
        import torch

        self._device, self._host = device, torch.empty(size, dtype=dtype)

    def buffer(self):
        return self._host

    def upload(self, host):
        return host.to(self._device, copy=True)


class _CudaQueue:
    """Two pinned host buffers and a copy stream: one is filled while the other travels and is
    multiplied.
    """

    def __init__(self, device, size, dtype):
        import torch

        self._cuda, self._device = torch.cuda, device
        self._stream = torch.cuda.Stream(device)
        self._hosts = [
            (torch.empty(size, dtype=dtype, pin_memory=True), torch.cuda.Event()) for _ in range(2)
        ]

    def buffer(self):
        self._hosts.reverse()
        host, uploaded = self._hosts[0]
        uploaded.synchronize()
        return host

    def upload(self, host):
        with self._cuda.stream(self._stream):
            values = host.to(self._device, non_blocking=True)
            self._hosts[0][1].record(self._stream)
        compute = self._cuda.current_stream(self._device)
        compute.wait_stream(self._stream)
        values.record_stream(compute)
        return values


@contextmanager
def _exact_products():
    """TF32 and bfloat16 products off, and the settings of the process as they were afterwards."""
    import torch

    places = [torch.backends.cuda.matmul, torch.backends.mkldnn.matmul]
    before = [place.fp32_precision for place in places]
    try:
        for place in places:
            place.fp32_precision = "ieee"
        yield
    finally:
        for place, setting in zip(places, before):
            place.fp32_precision = setting


# ---- what can be wrong with the values ----


class _NotFinite(Exception):
    def __init__(self, segment):
        self.segment = segment


class _NonFiniteFound(Exception):
    def __init__(self, bad, message):
        self.bad, self.message = bad, message


def _nonfinite_checkpoints(trajectory, segment, precision):
    """Indices of the checkpoints with NaN or infinity in a segment, and what to say of them."""
    found = {}
    for _, block, _ in blocks_of([segment], 0, columns_of(segment), _COLUMNS["float64"]):
        for name, start, stop in block:
            for index, row in enumerate(trajectory.read([(name, start, stop)])):
                bad = np.flatnonzero(~np.isfinite(row))
                if len(bad) and index not in found:
                    found[index] = (
                        f"step {trajectory.steps[index]} ({trajectory.sources[index]}):"
                        f" {row[bad[0]]} in {name!r}, element {start + bad[0]}"
                    )
    if not found:
        remedy = (
            "use precision='float64'"
            if precision == "float32"
            else "no floating-point type holds their squares"
        )
        return (
            [],
            (
                f"the values of {segment[0][0]!r} are finite, but so large that their products"
                f" overflow {precision}; {remedy}"
            ),
        )
    more = (
        f"; also steps {', '.join(str(trajectory.steps[index]) for index in sorted(found)[1:])}"
        if len(found) > 1
        else ""
    )
    return list(found), found[min(found)] + more + (
        ""
        if trajectory.nonfinite == "skip-checkpoint"
        else "; leave such checkpoints out with nonfinite='skip-checkpoint'"
    )


def _warn_of_identical(kernel, trajectory):
    # A float64 increment of zero is proof, and so are equal hashes of files. For other pairs the
    # kernel knows which are equal up to rounding; those few are read again, but not from afar.
    still = (
        np.diag(kernel.total) == 0 if kernel.precision == "float64" else np.full(kernel.n, False)
    )
    stamps = trajectory.stamps() if trajectory.remote else None
    equal, close = [], []
    for s, t in kernel.identical():
        proven = (t == s + 1 and still[t]) or (
            stamps[s] == stamps[t] if stamps else _equal(trajectory[[s, t]])
        )
        (equal if proven else close if stamps else []).append(
            f"{kernel.steps[s]} and {kernel.steps[t]}"
        )
    for pairs, are in ((equal, "identical"), (close, "equal up to rounding")):
        if pairs:
            more = f" … ({len(pairs)} pairs)" if len(pairs) > 10 else ""
            warnings.warn(
                f"checkpoints at steps {', '.join(pairs[:10])}{more} are {are}",
                TrajectoryWarning,
                stacklevel=3,
            )


def _equal(pair):
    segments = [[(name, 0, size)] for name, size in pair.sizes.items()]
    return all(
        (np.diff(pair.read(block), axis=0) == 0).all()
        for _, block, _ in blocks_of(segments, 0, pair.p, 1 << 20)
    )
