"""Kernels straight from the hub, by the real client from a stand-in: the same as of whole files,
however badly the network behaves, in few bytes and little memory.
"""

import functools
import io
import logging
import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time

import huggingface_hub
import numpy as np
import pytest
import torch
from hub_runs import check_exactly, checkpoint, loaded_whole, parameters, whole_numbers
from hypothesis import given, settings
from hypothesis import strategies as some
from standin_hub import StandInHub

import trajhelpers as th
from trajhelpers.sources.catalogue import ListedFile
from trajhelpers.sources.hub import client, range_requests
from trajhelpers.sources.hub import ranges as _ranges
from trajhelpers.sources.remote import file as _remote
from trajhelpers.sources.remote import files as _files
from trajhelpers.streaming import passing
from trajhelpers.streaming.accelerator import products_on_accelerator
from trajhelpers.streaming.blocks import cut
from trajhelpers.streaming.segments import columns_of

TOKEN = "hf_ThisIsTheTokenThatNobodyMaySee"
REPO, SOURCE = "EleutherAI/pythia-xs", "hf://EleutherAI/pythia-xs"
MIXED = [
    ("safetensors", 1, False),
    ("bin", 1, True),
    ("bin", 3, False),
    ("safetensors", 2, False),
    ("bin", 2, True),
]


@pytest.fixture
def hub(monkeypatch, tmp_path):
    monkeypatch.setattr(_files, "_FIRST_WAIT", 0.001)
    with StandInHub() as hub:
        hub.connect(monkeypatch, tmp_path / "home", TOKEN)
        yield hub


def put(hub, folder, states, formats=MIXED, config=None, repo=REPO):
    """One revision a state; returns the files of each."""
    revisions = [
        checkpoint(state, folder / f"step{step}", *format, config)
        for step, (state, format) in enumerate(zip(states, formats))
    ]
    for step, files in enumerate(revisions):
        hub.add(repo, f"step{step}", files)
    return revisions


def opened(**options):
    return th.open_trajectory(SOURCE, **({"revisions": "step*"} | options))


def weights(states):
    """Bytes of all parameters."""
    return sum(tensor.nbytes for state in states for tensor in parameters(state).values())


# The same kernel


@pytest.mark.parametrize("memory", [2**31, 100_000, 9_999])
def test_mixed_formats_and_shardings(hub, tmp_path, memory):
    revisions = put(
        hub, tmp_path, [whole_numbers(seed) for seed in range(5)], config={"model_type": "gpt_neox"}
    )
    trajectory = opened()
    assert trajectory.steps == (0, 1, 2, 3, 4) and trajectory.config == {"model_type": "gpt_neox"}
    kernel = th.gram(trajectory, device="cpu", memory=memory)
    check_exactly(kernel, [loaded_whole(files) for files in revisions])
    assert (
        kernel.source["repository"] == REPO
        and kernel.source["commits"] == list(trajectory.commits)
        and all(len(commit) == 40 for commit in trajectory.commits)
    )


@pytest.mark.parametrize("memory", [2**31, 50_000])
@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_the_same_bits_as_of_files_on_this_machine(hub, tmp_path, memory, precision):
    """Real numbers, cut into the same blocks."""
    states = [
        {
            name: (
                torch.randn(tensor.shape, generator=torch.Generator().manual_seed(seed)).to(
                    [torch.float16, torch.bfloat16][seed % 2]
                )
            )
            for name, tensor in parameters(whole_numbers(0, layers=6)).items()
        }
        for seed in range(4)
    ]
    revisions = put(
        hub,
        tmp_path,
        states,
        [("safetensors", 1, False), ("bin", 1, False), ("bin", 1, True), ("safetensors", 1, False)],
    )
    with pytest.warns(th.TrajectoryWarning, match="changes its dtype"):
        near = th.open_trajectory([files[min(files)] for files in revisions])
        far = opened()
    kernels = [
        th.gram(near, "cpu", precision, memory=memory, partial=tmp_path / "near.partial"),
        th.gram(far, "cpu", precision, memory=memory),
    ]
    assert kernels[0].names == kernels[1].names
    np.testing.assert_array_equal(kernels[0].increments, kernels[1].increments)


def test_query_key_and_value_across_blocks(hub, tmp_path):
    """Groups of many small ranges, which blocks cut at any place."""
    from trajhelpers.lab.pythia.parts import gpt_neox_groups

    states = [whole_numbers(seed) for seed in range(3)]
    put(hub, tmp_path, states, config={"model_type": "gpt_neox", "num_attention_heads": 4})
    trajectory = opened()
    kernel = th.gram(trajectory, device="cpu", groups=gpt_neox_groups(trajectory), memory=3_000)
    name, hidden = "gpt_neox.layers.1.attention", 24
    fused = np.stack(
        [state[f"{name}.query_key_value.weight"].double().numpy() for state in states]
    ).reshape(3, 4, 3, hidden // 4, hidden)
    for part, which in enumerate(("query", "key", "value")):
        rows = fused[:, :, part].reshape(3, -1)
        np.testing.assert_array_equal(kernel.select(f"{name}.{which}.weight").gram(), rows @ rows.T)


def test_an_accelerator_gets_the_same_blocks(hub, tmp_path, monkeypatch):
    states = [whole_numbers(seed) for seed in range(5)]
    put(hub, tmp_path, states)
    on_cpu_by_torch = functools.partial(products_on_accelerator, device="cpu")
    monkeypatch.setattr(passing, "products_on_cpu", on_cpu_by_torch)
    check_exactly(th.gram(opened(), device="cpu", memory=30_000), states)


def test_ranges_of_a_trajectory_and_parts_of_it(hub, tmp_path):
    states = [whole_numbers(seed) for seed in range(5)]
    put(hub, tmp_path, states)
    trajectory = opened()
    name = "gpt_neox.layers.2.mlp.dense_h_to_4h.weight"
    expected = np.stack([state[name].double().numpy().reshape(-1) for state in states])
    np.testing.assert_array_equal(
        trajectory.read([(name, 7, 1000), (name, 0, 3)]),
        np.concatenate([expected[:, 7:1000], expected[:, :3]], axis=1),
    )
    np.testing.assert_array_equal(trajectory[1::2].read([(name, 7, 1000)]), expected[1::2, 7:1000])
    check_exactly(th.gram(trajectory[::2], device="cpu"), states[::2])


def test_revisions_every_skip_and_format(hub, tmp_path):
    states = [whole_numbers(seed, layers=1) for seed in range(5)]
    for step, state in enumerate(states):
        hub.add(
            REPO,
            f"step{step}",
            checkpoint(state, tmp_path / f"a{step}", "safetensors")
            | checkpoint(state, tmp_path / f"b{step}", "bin", 2),
        )
    assert opened().sources[0] == f"{SOURCE}@step0/model.safetensors"
    assert opened(format="bin").sources[0] == f"{SOURCE}@step0/pytorch_model.bin.index.json"
    assert opened(every=2, skip=[2]).steps == (0, 4)
    assert opened(revisions=[1, "step3"]).steps == (1, 3)
    with pytest.warns(th.TrajectoryWarning, match="the list is taken in its own order"):
        assert opened(revisions=["step3", 1]).steps == (0, 1)
    check_exactly(th.gram(opened(format="bin", every=2), device="cpu"), states[::2])


def test_a_missing_step_stops_it_until_accepted(hub, tmp_path):
    states = [whole_numbers(seed, layers=1) for seed in range(3)]
    put(hub, tmp_path, states)
    steps = [0, 1, 2, 77]
    with pytest.raises(th.TrajectoryError, match=r"(?s)77.*skip.*accept"):
        opened(revisions=steps)
    assert opened(revisions=steps, skip=[77]).steps == (0, 1, 2)
    trajectory = opened(revisions=steps, accept=True)
    assert trajectory.steps == (0, 1, 2) and any("77" in line for line in trajectory.left_out)


def test_whole_files_in_the_cache(hub, tmp_path):
    states = [whole_numbers(seed) for seed in range(5)]
    put(hub, tmp_path, states, config={"hidden_size": 24})
    trajectory = opened(cache=True)
    hub.faults = lambda request: "503"
    kernel = th.gram(trajectory, device="cpu")
    check_exactly(kernel, states)
    assert (
        trajectory.config == {"hidden_size": 24}
        and kernel.source["commits"] == list(trajectory.commits)
        and kernel.source["checkpoints"][0].startswith("hf://")
    )
    assert any((tmp_path / "home").rglob("model.safetensors"))


@pytest.mark.parametrize("fault", ["503", "reset"])
def test_files_that_do_not_come_into_the_cache(hub, tmp_path, fault):
    put(hub, tmp_path, [whole_numbers(seed) for seed in range(5)])
    hub.faults = lambda request: (
        fault if request.kind == "file" or request.method == "HEAD" else None
    )
    with pytest.raises(th.CheckpointError, match=f"{SOURCE}@step0.*could not be fetched"):
        opened(cache=True)


def test_nothing_is_kept_on_disk_otherwise(hub, tmp_path):
    put(hub, tmp_path, [whole_numbers(seed) for seed in range(5)])
    th.gram(opened(), device="cpu")
    assert not [path for path in (tmp_path / "home").rglob("*") if path.is_file()]


# A bad network


@pytest.mark.parametrize("seed", range(4))
def test_one_answer_in_ten_is_wrong(hub, tmp_path, seed):
    states = [whole_numbers(seed) for seed in range(5)]
    put(hub, tmp_path, states)
    dice = random.Random(seed)

    def faults(request):
        if dice.random() < 0.1:
            of_files = [
                "503",
                "429",
                "short",
                "elsewhere",
                "ignore-range",
                "truncated",
                "reset",
                "expired",
                "html",
            ]
            return dice.choice(of_files if request.kind == "file" else ["503", "429", "reset"])

    hub.faults = faults
    kernel = th.gram(opened(), device="cpu", memory=40_000)
    assert len(hub.requests) > 150
    check_exactly(kernel, states)


@pytest.mark.parametrize(
    "fault, words",
    [
        ("503", "503"),
        ("short", "range|bytes"),
        ("elsewhere", "range"),
        ("ignore-range", "range"),
        ("truncated", "Error|bytes"),
        ("reset", "Error"),
        ("expired", "403"),
        ("html", "HTML"),
    ],
)
def test_an_answer_that_is_always_wrong(hub, tmp_path, fault, words):
    put(hub, tmp_path, [whole_numbers(seed) for seed in range(5)])
    trajectory = opened()
    hub.faults = lambda request: (
        fault if request.kind == "file" and "Signature" in request.path else None
    )
    with pytest.raises(th.CheckpointError, match=words) as caught:
        th.gram(trajectory, device="cpu")
    assert SOURCE + "@step" in str(caught.value) and "Signature" not in str(caught.value)
    for fetch in trajectory.remote.held:
        pytest.fail(f"{fetch} is still held")


@pytest.mark.parametrize("when", ["a pass fails", "a pass is interrupted", "opening fails"])
def test_nobody_goes_on_asking(hub, tmp_path, monkeypatch, when):
    """When an error or Ctrl-C has come out, no thread is left behind that asks the hub for what
    nobody waits for.
    """
    put(hub, tmp_path, [whole_numbers(seed, layers=30) for seed in range(5)])
    under_way, read_range = [], _ranges.read_range

    def noted(*range):
        under_way.append(range)
        try:
            read_range(*range)
        finally:
            under_way.remove(range)

    monkeypatch.setattr(_ranges, "read_range", noted)
    if when == "opening fails":
        # No record's beginning can be inferred, so that all headers are asked for, many at once.
        monkeypatch.setattr(
            "trajhelpers.reading.zip_records._inferred_start", lambda entry, following: None
        )
        hub.faults = lambda request: (
            "html" if request.kind == "file" and len(hub.requests_of("file")) > 40 else None
        )
        with pytest.raises(th.CheckpointError, match="HTML"):
            opened(format="bin", revisions=[1, 2, 4])
    elif when == "a pass fails":
        trajectory = opened()
        hub.faults = lambda request: (
            "html" if request.kind == "file" and len(hub.requests_of("file")) > 40 else None
        )
        with pytest.raises(th.CheckpointError, match="HTML"):
            th.gram(trajectory, device="cpu")
    else:
        trajectory = opened()

        def interrupted(self):
            raise KeyboardInterrupt

        hub.faults = lambda request: time.sleep(0.2)
        monkeypatch.setattr("trajhelpers.streaming.progress.Progress.show", interrupted)
        with pytest.raises(KeyboardInterrupt):
            th.gram(trajectory, device="cpu")
    assert under_way == []
    asked = len(hub.requests)
    time.sleep(0.3)
    assert under_way == [] and len(hub.requests) == asked > 5


def test_one_that_fails_stops_the_others(hub, tmp_path):
    """Of a hundred ranges only those are asked for that are in flight when the first one fails for
    good.
    """
    put(
        hub,
        tmp_path,
        [whole_numbers(seed, layers=4, hidden=96) for seed in range(2)],
        [("safetensors", 1, False)] * 2,
    )
    trajectory = opened()
    file = trajectory.ranges([(trajectory.names[0], 0, 1)])[0][0]
    hub.requests.clear()
    hub.faults = lambda request: "html" if request.kind == "file" else None
    fetch = trajectory.remote.fetch(
        [(file, begin, begin + 1) for begin in range(0, 200_000, 2_000)]
    )
    fetch.drain()
    assert len({request.range for request in hub.requests_of("file")}) <= _files._IN_FLIGHT
    with pytest.raises(th.CheckpointError, match="HTML"):
        fetch.wait(0)


@pytest.mark.parametrize(
    "headers", ["of safetensors", "of a zip, inferred", "of a zip, one by one"]
)
def test_opening_is_interrupted_while_it_waits_to_try_again(hub, tmp_path, monkeypatch, headers):
    put(
        hub,
        tmp_path,
        [whole_numbers(seed) for seed in range(3)],
        [("safetensors" if headers == "of safetensors" else "bin", 1, False)] * 3,
    )
    if headers == "of a zip, one by one":
        monkeypatch.setattr(
            "trajhelpers.reading.zip_records._inferred_start", lambda entry, following: None
        )
    monkeypatch.setattr(_files, "_FIRST_WAIT", 50)
    answered = 4 if headers == "of a zip, one by one" else 0
    seen, refused = [], threading.Event()

    def faults(request):
        if request.kind == "file":
            seen.append(request)
            if len(seen) > answered:
                refused.set()
                return "503"

    hub.faults = faults
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        threading.Thread(
            target=lambda: (
                refused.wait(20),
                time.sleep(0.2),
                signal.pthread_kill(threading.main_thread().ident, signal.SIGALRM),
            ),
            daemon=True,
        ).start()
        begun = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            opened()
        assert time.monotonic() - begun < 30, "it waited for its threads to try again"
    finally:
        signal.signal(signal.SIGALRM, before)


def test_an_answer_that_is_too_long(hub, tmp_path, monkeypatch):
    put(hub, tmp_path, [whole_numbers(seed) for seed in range(5)])
    trajectory = opened()
    handler = hub._server.RequestHandlerClass
    monkeypatch.setattr(
        handler,
        "_send",
        lambda self, status, body, headers, answer=handler._send: answer(
            self, status, body + b"more" * (status == 206), headers
        ),
    )
    with pytest.raises(th.CheckpointError, match="more bytes than were asked for"):
        th.gram(trajectory, device="cpu")


def test_addresses_that_expire_are_asked_for_again(hub, tmp_path):
    states = [whole_numbers(seed) for seed in range(5)]
    put(hub, tmp_path, states)
    trajectory = opened()
    before = len(hub.requests_of("resolve"))
    check_exactly(th.gram(trajectory, device="cpu"), states)
    assert len(hub.requests_of("resolve")) == before
    hub.expire_addresses()
    check_exactly(th.gram(trajectory, device="cpu"), states)
    assert len(hub.requests_of("resolve")) - before == 1 + 1 + 3 + 2 + 2


class Clock:
    """In the place of the event that stops a reader: its waits are noted."""

    def __init__(self):
        self.waits = []

    def is_set(self):
        return False

    def wait(self, seconds):
        self.waits.append(seconds)


@pytest.mark.parametrize("kind", ["file", "resolve"])
def test_retry_after_is_honoured(hub, tmp_path, kind):
    if kind == "resolve" and int(huggingface_hub.__version__.split(".")[0]) < 2:
        pytest.skip("these clients ask again by themselves, and sooner")
    put(hub, tmp_path, [whole_numbers(0), whole_numbers(1)])
    trajectory = opened()
    file, offset, end = trajectory.ranges([(trajectory.names[0], 0, 50)])[0]
    hub.retry_after, left, clock = "37", [3], Clock()
    hub.expire_addresses()

    def faults(request):
        if request.kind == kind and left[0]:
            left[0] -= 1
            return "429"

    hub.faults = faults
    trajectory.remote.get(file, offset, memoryview(bytearray(end - offset)), clock)
    assert [wait for wait in clock.waits if wait >= 1] == [37, 37, 37]


def test_resolver_calls_stay_under_a_limit(monkeypatch):
    now, clock = [1000.0], Clock()
    monkeypatch.setattr(range_requests.time, "monotonic", lambda: now[0])
    limit = range_requests.Limit(3, 300)
    for _ in range(3):
        limit.wait(clock)
        now[0] += 10
    assert clock.waits == []
    limit.wait(clock)
    assert clock.waits == [270]


# Tokens


def test_the_token_goes_to_the_hub_alone(hub, tmp_path, caplog, monkeypatch):
    caplog.set_level(logging.DEBUG)
    put(hub, tmp_path, [whole_numbers(seed) for seed in range(5)], config={"a": 1})
    handler, headers = hub._server.RequestHandlerClass, []
    monkeypatch.setattr(
        handler,
        "_file",
        lambda self, answer=handler._file, **parts: (
            headers.append(str(self.headers)),
            answer(self, **parts),
        ),
    )
    kernel = th.gram(opened(), device="cpu", partial=tmp_path / "x.partial")
    kernel.save(tmp_path / "x.npz")
    assert len(headers) > 20 and TOKEN not in "".join(headers)
    assert not [
        request
        for request in hub.requests
        if request.host == "127.0.0.1" and request.kind != "other" and not request.has_authorization
    ]
    elsewhere = [request for request in hub.requests if request.host != "127.0.0.1"]
    assert len(elsewhere) > 20 and not any(request.has_authorization for request in elsewhere)
    for content in (
        (tmp_path / "x.npz").read_bytes(),
        (tmp_path / "x.partial").read_bytes(),
        caplog.text.encode(),
    ):
        assert TOKEN.encode() not in content and b"Signature" not in content
    assert "/files/" in caplog.text, "the client's log was not looked at"


def test_the_users_own_records_stay_as_they_are(hub, tmp_path, caplog):
    """Signed addresses are taken out of the records of our requests, and nothing out of those of
    anybody else's, also while ours are under way.
    """
    caplog.set_level(logging.DEBUG)
    put(hub, tmp_path, [whole_numbers(seed) for seed in range(3)])
    mine = "http://localhost/mine?key=1"

    def faults(request):
        logging.getLogger("httpx").info("my own: %s", mine)

    hub.faults = faults
    th.gram(opened(), device="cpu")
    faults(None)
    own = [record for record in caplog.records if record.getMessage().startswith("my own")]
    assert len(own) > 10 and all(record.args == (mine,) for record in own)
    assert "/files/" in caplog.text and "Signature" not in caplog.text


def test_the_users_dice_stay_as_they_are(hub, tmp_path):
    put(hub, tmp_path, [whole_numbers(seed) for seed in range(3)])
    trajectory, failed = opened(), []

    def faults(request):
        if request.kind == "file" and len(failed) < 5:
            failed.append(request)
            return "503"

    hub.faults = faults
    before = random.getstate()
    th.gram(trajectory, device="cpu")
    assert len(failed) == 5 and random.getstate() == before


def test_a_file_that_may_not_be_read(hub, tmp_path):
    put(hub, tmp_path, [whole_numbers(seed) for seed in range(5)])
    trajectory = opened()
    hub.expire_addresses()
    hub.denied[REPO] = "GatedRepo"
    with pytest.raises(th.CheckpointError, match=r"hf auth login") as caught:
        th.gram(trajectory, device="cpu")
    assert TOKEN not in str(caught.value)
    assert (
        sum(request.status == 403 and request.kind == "resolve" for request in hub.requests) <= 12
    ), "by each of those that were in flight, once"


@pytest.mark.parametrize("where", ["in a pass", "in the catalogue"])
def test_a_client_that_another_thread_closed(hub, tmp_path, monkeypatch, where):
    """The hub's client closes itself under all threads when the connection of one fails; a request
    on it is made again.
    """
    put(
        hub,
        tmp_path,
        states := [whole_numbers(seed) for seed in range(2)],
        [("safetensors", 1, False)] * 2,
    )
    trajectory = opened()
    closed, session = type(client.get_session())(), client.get_session
    closed.close()
    given = iter([closed])
    monkeypatch.setattr(client, "get_session", lambda: next(given, None) or session())
    check_exactly(th.gram(trajectory if where == "in a pass" else opened(), device="cpu"), states)
    assert next(given, None) is None


# Few bytes, large reads


@pytest.mark.parametrize("memory", [2**31, 2**21])
@pytest.mark.parametrize("include", [None, "*.bias", "*.attention.*"])
def test_bytes_that_are_asked_for(hub, tmp_path, memory, include):
    """At most 1.02 times the tensors' and 200 kB a file, headers and all."""
    states = [whole_numbers(seed, layers=30, hidden=96) for seed in range(3)]
    put(hub, tmp_path, states, [("safetensors", 2, False), ("bin", 1, True), ("bin", 2, False)])
    trajectory = opened(include=include)
    th.gram(trajectory, device="cpu", memory=memory)
    taken = sum(trajectory.sizes.values()) * 2 * 3
    assert hub.bytes_sent <= 1.02 * taken + 200_000 * 5
    assert (
        len([request for request in hub.requests_of("resolve") if request.method == "HEAD"]) == 5
    ), "the address of a file is asked once"


@pytest.mark.parametrize("old", [False, True])
def test_neighbours_are_read_together(hub, tmp_path, old):
    """One request a checkpoint between two of the buffers that are left out, which are 4 kB here
    and 4 MB in Pythia.
    """
    put(hub, tmp_path, [whole_numbers(seed, layers=30) for seed in range(2)], [("bin", 1, old)] * 2)
    trajectory = opened()
    hub.requests.clear()
    th.gram(trajectory, device="cpu")
    assert len(hub.requests_of("file")) == 2 * (30 + 1)


def test_reads_are_as_large_as_memory_allows(hub, tmp_path):
    states = [whole_numbers(seed, layers=1, hidden=256) for seed in range(4)]
    put(hub, tmp_path, states, [("safetensors", 1, False)] * 4)
    trajectory = opened()
    hub.requests.clear()
    th.gram(trajectory, device="cpu", memory=800_000)
    sizes = [request.bytes_sent for request in hub.requests_of("file")]
    assert max(sizes) <= 800_000 / (2 * 4) + 1024 and np.median(sizes) > 0.95 * 800_000 / (2 * 4)


PEAK = textwrap.dedent("""
    import sys, trajhelpers as th
    def peak():
        lines = open("/proc/self/status")
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024
    trajectory = th.open_trajectory(sys.argv[1], revisions="step*")
    th.gram(trajectory[:2], device="cpu", memory=2**20, groups={"some": [("b", 0, None)]})
    before = peak()
    kernel = th.gram(trajectory, device="cpu", memory=int(sys.argv[2]))
    print(peak() - before, kernel.p)
""")


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs Linux")
def test_peak_memory(hub, tmp_path):
    """Checkpoints of 48 MB each, in 12 MB; each core has its own few for what it multiplies."""
    memory, p = 12 << 20, 24 << 20
    for step in range(3):
        hub.add(
            REPO,
            f"step{step}",
            checkpoint(
                {
                    "a": torch.full((p // 1024, 1024), step, dtype=torch.float16),
                    "b": torch.full((64,), step, dtype=torch.float16),
                },
                tmp_path / str(step),
                ["bin", "safetensors"][step % 2],
            ),
        )
    done = subprocess.run(
        [sys.executable, "-c", PEAK, SOURCE, str(memory)],
        capture_output=True,
        text=True,
        env=os.environ | hub.environment(tmp_path / "home"),
    )
    assert done.returncode == 0, done.stderr
    grown, size = map(int, done.stdout.split())
    assert size == p + 64
    assert grown < memory + (18 << 20), f"{grown / 2**20:.1f} MiB"


# Parts


@settings(max_examples=60, deadline=None)
@given(some.data())
def test_blocks_hold_every_column_of_every_group(data):
    """Whatever the groups are, overlapping and doubled ranges too: put end to end, a group's parts
    in the blocks have its columns, each as often as the group has it.
    """
    sizes = data.draw(some.lists(some.integers(1, 40), min_size=1, max_size=4))
    trajectory = th.open_trajectory(
        [
            {f"t{i}": np.zeros(size, np.float16) + t for i, size in enumerate(sizes)}
            for t in range(2)
        ]
    )
    ranges = some.integers(0, len(sizes) - 1).flatmap(
        lambda i: some.tuples(some.integers(0, sizes[i] - 1), some.integers(1, sizes[i])).map(
            lambda ends: (f"t{i}", min(ends[0], ends[1] - 1), max(ends))
        )
    )
    segments = data.draw(
        some.lists(some.lists(ranges, min_size=1, max_size=5), min_size=1, max_size=4)
    )
    memory = data.draw(some.integers(1, 200))
    blocks = cut(trajectory, segments, memory)
    for group, segment in enumerate(segments):
        wanted = sorted(
            (name, column) for name, start, stop in segment for column in range(start, stop)
        )
        found = sorted(
            (name, column)
            for block in blocks
            for name, start, stop in block.segments.get(group, [])
            for column in range(start, stop)
        )
        assert found == wanted
    pieces = [
        (name, column)
        for block in blocks
        for name, start, stop in block.pieces
        for column in range(start, stop)
    ]
    assert sorted(pieces) == sorted(
        {
            (name, column)
            for segment in segments
            for name, start, stop in segment
            for column in range(start, stop)
        }
    )
    for block in blocks:
        held = {
            (name, column) for name, start, stop in block.pieces for column in range(start, stop)
        }
        assert all(
            (name, column) in held
            for segment in block.segments.values()
            for name, start, stop in segment
            for column in range(start, stop)
        )
        assert columns_of(block.pieces) * 2 * 2 <= max(memory // 2, 4)


@settings(max_examples=60, deadline=None)
@given(
    size=some.integers(1, 300_000),
    moves=some.lists(
        some.tuples(
            some.sampled_from([0, 1, 2]), some.integers(-70_000, 300_000), some.integers(0, 90_000)
        ),
        max_size=12,
    ),
)
def test_a_remote_file_reads_as_any_file_does(size, moves):
    content = np.random.default_rng(0).bytes(size)
    fetched = []

    class Files:
        def read(self, file, offset, length):
            assert length > 0
            fetched.extend(range(offset // 997, (offset + length) // 997))
            return content[offset : offset + length]

    remote, local = (
        _remote._Reader(
            _remote.Tree(Files(), "hf://a/b", {"f.bin": ListedFile("f.bin", size, "")}).file(
                "f.bin"
            )
        ),
        io.BytesIO(content),
    )
    for whence, offset, length in moves:
        if (
            (whence == 0 and offset < 0)
            or (whence == 1 and local.tell() + offset < 0)
            or (whence == 2 and size + offset < 0)
        ):
            continue
        assert remote.seek(offset, whence) == local.seek(offset, whence)
        assert remote.read(length) == local.read(length) and remote.tell() == local.tell()
    assert len(set(fetched)) == len(fetched), "a byte was fetched twice"


def test_what_is_for_the_hub_alone(tmp_path):
    for option in ({"revisions": "step*"}, {"format": "bin"}, {"cache": True}, {"accept": True}):
        with pytest.raises(ValueError, match=f"{next(iter(option))}.*hub"):
            th.open_trajectory(tmp_path, **option)
    with pytest.raises(ValueError, match="memory"):
        th.gram(th.open_trajectory([{"w": np.zeros(3)}, {"w": np.ones(3)}]), memory=0)


def test_every_and_skip_of_other_sources(tmp_path):
    states = [{"w": np.full(3, float(t))} for t in range(9)]
    assert th.open_trajectory(states, every=2, skip=[4]).steps == (0, 2, 6, 8)
    for step, state in enumerate(states):
        torch.save({"w": torch.from_numpy(state["w"])}, tmp_path / f"step_{step * 10}.pt")
    (tmp_path / "config.json").write_text('{"num_attention_heads": 4}')
    trajectory = th.open_trajectory(tmp_path, every=3, skip=[30])
    assert (
        trajectory.steps == (0, 60)
        and trajectory.config == {"num_attention_heads": 4}
        and trajectory.commits == ("", "")
    )
    with pytest.raises(th.StepError, match="41"):
        th.open_trajectory(tmp_path, skip=[41])
    with pytest.raises(ValueError, match="every"):
        th.open_trajectory(tmp_path, every=0)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(th.CheckpointError, match="config.json"):
        th.open_trajectory(tmp_path)


# Values


def test_a_checkpoint_that_is_not_finite(hub, tmp_path):
    states = [whole_numbers(seed) for seed in range(5)]
    put(hub, tmp_path, states)
    broken = {name: tensor.clone() for name, tensor in states[2].items()}
    broken["gpt_neox.layers.0.attention.dense.weight"][3, 4] = float("nan")
    hub.add(REPO, "step2", checkpoint(broken, tmp_path / "broken", "bin"))
    with pytest.raises(
        th.NonFiniteError,
        match=(
            r"step 2 \(hf://.*@step2/.*nan in 'gpt_neox.layers.0.attention.dense.weight',"
            r" element 76"
        ),
    ):
        th.gram(opened(), device="cpu", memory=40_000)
    with pytest.warns(th.TrajectoryWarning, match="step 2.*left out"):
        kernel = th.gram(opened(nonfinite="skip-checkpoint"), device="cpu", memory=40_000)
    assert list(kernel.steps) == [0, 1, 3, 4]
    check_exactly(kernel, [state for step, state in enumerate(states) if step != 2])


@pytest.mark.parametrize(
    "order, words",
    [((0, 0, 1), "steps 0 and 1 are identical"), ((0, 1, 0), "steps 0 and 2 are identical")],
)
def test_equal_checkpoints_are_not_read_again(hub, tmp_path, order, words):
    states = [whole_numbers(seed) for seed in order]
    put(hub, tmp_path, states, [("safetensors", 1, False)] * 3)
    trajectory = opened(accept=True)
    hub.requests.clear()
    with pytest.warns(th.TrajectoryWarning, match=words):
        th.gram(trajectory, device="cpu")
    assert hub.bytes_sent <= 1.02 * weights(states) + 3 * 1024


def test_equal_weights_in_files_of_different_formats(hub, tmp_path):
    states = [whole_numbers(seed) for seed in (0, 1, 0)]
    put(
        hub,
        tmp_path,
        states,
        [("safetensors", 1, False), ("safetensors", 1, False), ("bin", 1, False)],
    )
    with pytest.warns(th.TrajectoryWarning, match="steps 0 and 2 are equal up to rounding"):
        th.gram(opened(), device="cpu")
