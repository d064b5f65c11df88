"""The accelerator's code on machines without one: on the CPU against the oracle, the CUDA queue by
stand-ins for streams and events, and on cuda under fake tensors. What only a GPU can show is in
test_gpu.py.
"""

import contextlib
import itertools

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

import trajhelpers as th
from trajhelpers.streaming import accelerator
from trajhelpers.streaming.differences import Differences
from trajhelpers.streaming.nonfinite import NotFinite
from trajhelpers.streaming.segments import segments_of


@pytest.fixture
def trajectory():
    rng = np.random.default_rng(0)
    walk = np.cumsum(rng.standard_normal((7, 40_000)), axis=0).astype(np.float32)
    return th.open_trajectory(
        [{"a": row[:30_000].reshape(100, 300), "b": row[30_000:]} for row in walk]
    )


class _Silent:
    def add(self, block):
        pass

    def show(self):
        pass


def products(trajectory, precision, device):
    segments = list(segments_of(trajectory, None).values())
    differences = Differences(trajectory.links)
    return accelerator.sums_on_device(
        trajectory, segments, differences, precision, _Silent(), device
    )[0]


def assert_right(found, trajectory, tolerance):
    for index, name in enumerate(trajectory.names):
        theta = trajectory.read([(name, 0, trajectory.sizes[name])])
        delta = np.diff(theta, axis=0, prepend=0)
        expected = np.array([[(a * b).sum() for a in delta] for b in delta])
        scale = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
        assert (abs(found[index] - expected) / scale).max() < tolerance


@pytest.mark.parametrize("precision, tolerance", [("float64", 1e-12), ("float32", 1e-5)])
@pytest.mark.parametrize("block_bytes", [64 << 20, 100_000])
def test_torch_agrees_with_direct_products(
    trajectory, precision, tolerance, block_bytes, monkeypatch
):
    monkeypatch.setattr(accelerator, "_BLOCK_BYTES", block_bytes)
    assert_right(products(trajectory, precision, "cpu").numpy(), trajectory, tolerance)


# NaN


def broken(value, at=5, n=6, columns=40_000):
    """Checkpoints of one tensor, with one value that is not finite."""
    theta = np.random.default_rng(1).standard_normal((n, columns)).astype(np.float32)
    theta[3, at] = value
    return th.open_trajectory([{"w": row} for row in theta])


@pytest.fixture
def blocks_read(monkeypatch):
    """Blocks of 1000 columns; the list of those that were read."""
    monkeypatch.setattr(accelerator, "_BLOCK_BYTES", 6 * 4 * 1000)
    read, fill = [], accelerator._fill
    monkeypatch.setattr(
        accelerator, "_fill", lambda *arguments: (read.append(arguments[1]), fill(*arguments))
    )
    return read


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("queue", ["plain", "cuda"])
def test_nan_shows_early(value, queue, blocks_read, request):
    if queue == "cuda":
        request.getfixturevalue("cuda_by_stand_ins")
    with pytest.raises(NotFinite) as found:
        products(broken(value), "float64", "cpu")
    assert found.value.segment == [("w", 0, 1000)] and len(blocks_read) <= 3


@pytest.mark.parametrize("queue", ["plain", "cuda"])
@pytest.mark.parametrize("at", [20_500, 38_999, 39_999])
def test_nan_shows_wherever_it_is(at, queue, blocks_read, request):
    if queue == "cuda":
        request.getfixturevalue("cuda_by_stand_ins")
    with pytest.raises(NotFinite) as found:
        products(broken(np.nan, at), "float32", "cpu")
    start = at // 1000 * 1000
    assert found.value.segment == [("w", start, start + 1000)]


# The queue


class Recorder:
    """Stands for torch.cuda's streams and events, and for the copies between: notes what is asked
    of them, in order, and whether a buffer is written to before its upload was waited for.
    """

    def __init__(self):
        self.calls, self._numbers = [], itertools.count()
        recorder = self

        class Stream:
            def __init__(self, device=None):
                recorder.calls.append(("stream", str(device)))

            def wait_stream(self, other):
                recorder.calls.append(("wait_stream", other))

        class Event:
            def __init__(self):
                self.number = next(recorder._numbers)

            def record(self, stream):
                recorder.calls.append(("record", self.number, stream))

            def synchronize(self):
                recorder.calls.append(("synchronize", self.number))

        self.Stream, self.Event, self.computing = Stream, Event, Stream()

    def put_in_place(self, monkeypatch, queue_for):
        def record_stream(values, stream):
            self.calls.append(("record_stream", stream))

        empty = torch.empty

        def pinned(*arguments, pin_memory=False, **options):
            self.calls += [("pinned",)] * pin_memory
            return empty(*arguments, **options)

        monkeypatch.setattr(torch, "empty", pinned)
        monkeypatch.setattr(torch.cuda, "Stream", self.Stream)
        monkeypatch.setattr(torch.cuda, "Event", self.Event)
        monkeypatch.setattr(torch.cuda, "stream", lambda stream: contextlib.nullcontext())
        monkeypatch.setattr(torch.cuda, "current_stream", lambda device: self.computing)
        monkeypatch.setattr(torch.Tensor, "record_stream", record_stream)
        monkeypatch.setattr(accelerator, "_queue", queue_for)


@pytest.fixture
def cuda_by_stand_ins(monkeypatch):
    """The queue of CUDA's, between two places of this machine's memory."""
    recorder = Recorder()
    made = []

    def queue_for(*arguments):
        made.append(accelerator._CudaQueue(*arguments))
        return made[0]

    recorder.put_in_place(monkeypatch, queue_for)
    recorder.made = made
    return recorder


@pytest.mark.parametrize("precision, tolerance", [("float64", 1e-12), ("float32", 1e-5)])
def test_the_cuda_queue_gives_the_same_products(
    trajectory, precision, tolerance, cuda_by_stand_ins, monkeypatch
):
    monkeypatch.setattr(accelerator, "_BLOCK_BYTES", 100_000)
    assert_right(products(trajectory, precision, "cpu").numpy(), trajectory, tolerance)


def test_a_buffer_is_filled_again_only_after_its_upload(trajectory, cuda_by_stand_ins, monkeypatch):
    """And no third block goes to the device before the product of the first is done: memory there
    would grow where products are slower than reading.
    """
    monkeypatch.setattr(accelerator, "_BLOCK_BYTES", 100_000)
    calls, fill = cuda_by_stand_ins.calls, accelerator._fill

    def noted(trajectory, block, host, pool):
        calls.append(("fill", host.data_ptr()))
        fill(trajectory, block, host, pool)

    monkeypatch.setattr(accelerator, "_fill", noted)
    products(trajectory, "float64", "cpu")
    (queue,) = cuda_by_stand_ins.made
    slots = {slot.host.data_ptr(): slot for slot in queue._slots}
    fills = [at for at, call in enumerate(calls) if call[0] == "fill"]
    assert len(fills) > 10 and calls.count(("pinned",)) == 4
    buffers = [calls[at][1] for at in fills]
    assert len(set(buffers)) == 2 and all(a != b for a, b in zip(buffers, buffers[1:]))
    for number, (at, following) in enumerate(zip(fills, [*fills[1:], len(calls)])):
        slot = slots[calls[at][1]]
        uploaded, multiplied = slot.uploaded.number, slot.multiplied.number
        if number >= 2:
            before = calls[fills[number - 2] : at]
            recorded = before.index(("record", uploaded, queue._copying))
            assert ("synchronize", uploaded) in before[recorded:]
        after = [call for call in calls[at:following] if call[0] != "pinned"]
        order = [
            ("synchronize", multiplied),
            ("record", uploaded, queue._copying),
            ("wait_stream", queue._copying),
            ("record_stream", cuda_by_stand_ins.computing),
            ("record", multiplied, cuda_by_stand_ins.computing),
        ]
        places = [after.index(call) for call in order]
        assert places == sorted(places)


# Fake tensors


@pytest.mark.skipif(
    not hasattr(torch.backends.mkldnn, "matmul"),
    reason="before torch 2.9, fake tensors of CUDA's need a driver",
)
@pytest.mark.parametrize("precision", ["float64", "float32"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("device", ["cuda:0", "cuda:1"])
def test_every_tensor_of_the_cuda_loop_is_on_the_device(precision, dtype, device, monkeypatch):
    """Fake tensors refuse an operation between two devices, as a GPU would. Streams and events need
    a driver, reading and looking at a value need memory: all are replaced.
    """
    trajectory = th.open_trajectory(
        [
            {
                "w": (
                    torch.randn(50, 40, generator=torch.Generator().manual_seed(t)).to(
                        getattr(torch, dtype)
                    )
                )
            }
            for t in range(5)
        ]
    )
    recorder, checked = Recorder(), []
    recorder.put_in_place(monkeypatch, accelerator._queue)
    monkeypatch.setattr(accelerator, "_BLOCK_BYTES", 5 * 400 * getattr(torch, dtype).itemsize)
    monkeypatch.setattr(accelerator, "_fill", lambda trajectory, block, host, pool: None)
    monkeypatch.setattr(accelerator, "_check", lambda trace, block: checked.append((trace, block)))
    with FakeTensorMode():
        sums = products(trajectory, precision, device)
    assert sums.device == torch.device(device) and sums.dtype == torch.float64
    assert sums.shape == (1, 5, 5) and ("stream", device) in recorder.calls
    assert [block for _, block in checked] == [[("w", at, at + 400)] for at in range(0, 2000, 400)]
    assert all(trace.device.type == "cpu" and trace.shape == () for trace, _ in checked)
