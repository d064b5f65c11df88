"""A hub that sends wrong bytes of the right length: nothing that was made of them is returned."""

import hashlib
import io
import json
import time
import zlib

import numpy as np
import pytest
import torch
from hub_runs import check_exactly, checkpoint, parameters, products, saved, whole_numbers
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save
from standin_hub import StandInHub
from standin_store import StandInWeb
from test_lora import factors, write

import trajhelpers as th
from trajhelpers.__main__ import main
from trajhelpers.gram import cost
from trajhelpers.sources.remote import checking as _checking
from trajhelpers.sources.remote import file as _file
from trajhelpers.sources.remote import files as _files
from trajhelpers.sources.remote.checksums import Checksum, Running

REPO, SOURCE = "somebody/model", "hf://somebody/model"


@pytest.fixture
def hub(monkeypatch, tmp_path):
    monkeypatch.setattr(_files, "_FIRST_WAIT", 0.001)
    with StandInHub() as hub:
        hub.connect(monkeypatch, tmp_path / "home")
        yield hub


STATES = [whole_numbers(seed) for seed in range(3)]


def put(hub, folder, kind="safetensors", shards=1, states=STATES, old=False):
    """By step, the files."""
    found = []
    for step, state in enumerate(states):
        found.append(checkpoint(state, folder / f"step{step}", kind, shards, old))
        hub.add(REPO, f"step{step}", found[-1])
    return found


@pytest.fixture
def short_headers(monkeypatch):
    """As of files that are far longer than what is read of them at opening."""
    monkeypatch.setattr(_file, "_HEADER_READ", 512)
    monkeypatch.setattr(_file, "_TAIL_READ", 512)
    monkeypatch.setattr(_files, "_WIDEST_GAP", 64)


def kernel_of(memory=2_000_000_000, verify=False, partial=None, **options):
    trajectory = th.open_trajectory(SOURCE, **options)
    return th.gram(trajectory, device="cpu", memory=memory, verify=verify, partial=partial)


def refused(hub, match, forged=None, memory=2_000_000_000, verify=False, partial=None, **options):
    """``forged``: what arrives when headers have been read."""
    hub.forged, honest = honest_bytes, hub.forged
    trajectory = th.open_trajectory(SOURCE, **options)
    hub.forged = forged or honest
    with pytest.raises(th.CheckpointError, match=match):
        th.gram(trajectory, device="cpu", memory=memory, verify=verify, partial=partial)
    hub.forged = honest_bytes


def honest_bytes(request, sha256, start, body):
    return body


# What a hub that lies sends

OTHER_STEP, ZEROS, ONE_BIT = "another step's", "zeros", "one flipped bit"


def lies(files, how):
    """Of step 1's files, what is as long as weights arrives otherwise."""
    others = dict(zip(files[1], files[2]))

    def forged(request, sha256, start, body):
        name = next((n for n, p in files[1].items() if is_of(p, sha256)), None)
        if name is None or name.endswith(".json") or len(body) < 100:
            return body
        if how == ZEROS:
            return bytes(len(body))
        if how == ONE_BIT:
            at = len(body) // 2
            return body[:at] + bytes([body[at] ^ 4]) + body[at + 1 :]
        return files[2][others[name]].read_bytes()[start : start + len(body)]

    return forged


def is_of(source, sha256):
    content = source if isinstance(source, bytes) else source.read_bytes()
    return hashlib.sha256(content).hexdigest() == sha256


@pytest.mark.parametrize("memory", [2_000_000_000, 60_000])
@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("kind", ["safetensors", "bin"])
@pytest.mark.parametrize("how", [OTHER_STEP, ZEROS, ONE_BIT])
def test_wrong_bytes_of_the_right_length(hub, tmp_path, how, kind, shards, memory):
    """Files that the pass covers: every tensor counts."""
    states = [parameters(state) for state in STATES]
    files = put(hub, tmp_path, kind, shards, states)
    kernel = kernel_of(memory)
    assert not kernel.source["verified"]["not_compared"]
    check_exactly(kernel, states)
    refused(hub, "step1", lies(files, how), memory)
    # And so from the beginning.
    hub.forged = lies(files, how)
    with pytest.raises(th.CheckpointError, match="step1"):
        kernel_of(memory)


def test_the_answer_about_a_file_is_compared_with_the_list(hub, tmp_path):
    files = put(hub, tmp_path)
    other = hashlib.sha256(files[2]["model.safetensors"].read_bytes()).hexdigest()
    for claim in ({"X-Repo-Commit": "1" * 40}, {"X-Linked-ETag": f'"{other}"'}):
        hub.claimed = lambda request, claim=claim: claim
        with pytest.raises(th.CheckpointError, match="answers with another file"):
            th.open_trajectory(SOURCE)
    # As a mirror may have it: says nothing of the content.
    hub.claimed = lambda request: {"X-Linked-ETag": '"5f3c"'}
    check_exactly(kernel_of(), STATES)


def test_a_flipped_bit_in_the_cache(hub, tmp_path):
    put(hub, tmp_path, "bin", 2)
    kernel = kernel_of(cache=True)
    check_exactly(kernel, STATES)
    assert kernel.source["verified"] == {
        "files": 9,
        "compared": {"git": 3, "sha256": 6},
        "not_compared": {},
    }
    (blob,) = {
        path.resolve()
        for path in (tmp_path / "home").rglob("pytorch_model-00002-of-00002.bin")
        if hub._branches[REPO]["step1"] in str(path)
    }
    content = bytearray(blob.read_bytes())
    content[len(content) // 2] ^= 4
    blob.write_bytes(content)
    with pytest.raises(th.CheckpointError, match=f"delete {blob} and open again"):
        kernel_of(cache=True)
    blob.unlink()
    check_exactly(kernel_of(cache=True), STATES)


# Files that a pass does not cover


def with_masks():
    """What is left out lies between what is read."""
    return [
        {
            "a": state["gpt_neox.embed_in.weight"],
            "mask": torch.ones(40, 40),
            "z": state["embed_out.weight"],
        }
        for state in STATES
    ]


def spent(hub, **options):
    """The kernel, and bytes asked for by the pass."""
    trajectory = th.open_trajectory(SOURCE, exclude="mask")
    before = hub.bytes_sent
    arguments = {"memory": 2_000_000_000, **options}
    estimate = cost(trajectory, device="cpu", **arguments)
    kernel = th.gram(trajectory, device="cpu", **arguments)
    assert hub.bytes_sent - before == estimate[1]
    return kernel, hub.bytes_sent - before


def test_a_safetensors_file_that_is_read_in_part(hub, tmp_path, short_headers, capsys):
    states = with_masks()
    files = put(hub, tmp_path, states=states)
    read = [{name: state[name] for name in "az"} for state in states]
    kernel, bytes_read = spent(hub)
    check_alike(kernel, read)
    assert kernel.source["verified"]["not_compared"] == {"not read whole": 3}
    assert "3 with nothing: not read whole" in kernel.summary()
    assert "--verify" in capsys.readouterr().err
    for memory in (2_000_000_000, 9_000):
        kernel, all_read = spent(hub, verify=True, memory=memory)
        check_alike(kernel, read)
        assert kernel.source["verified"]["compared"] == {"sha256": 3}
        # The mask, but for what was read at opening, and nothing twice.
        assert (
            bytes_read + 3 * (6400 - 2 * 512)
            <= all_read
            <= sum(of_one["model.safetensors"].stat().st_size for of_one in files)
        )
    refused(hub, "step1.*SHA-256", lies(files, ONE_BIT), verify=True, exclude="mask")


def check_alike(kernel, states):
    assert set(kernel.names) == set(states[0])
    expected = products(states, list(states[0]))
    for name, part in kernel.groups().items():
        np.testing.assert_array_equal(part.gram(), expected[name])


@pytest.mark.parametrize("memory", [2_000_000_000, 9_000])
def test_a_zip_that_is_read_in_part(hub, tmp_path, short_headers, memory):
    """Its records have checksums of their own."""
    states = with_masks()
    files = put(hub, tmp_path, "bin", states=states)
    kernel, _ = spent(hub, memory=memory)
    check_alike(kernel, [{name: state[name] for name in "az"} for state in states])
    assert kernel.source["verified"]["compared"] == {"crc32": 3}
    kernel, _ = spent(hub, memory=memory, verify=True)
    assert kernel.source["verified"]["compared"] == {"sha256": 3}
    flipped = lies(files, ONE_BIT)
    refused(hub, "step1.*CRC-32", flipped, memory, exclude="mask")
    refused(hub, "step1.*SHA-256", flipped, memory, verify=True, exclude="mask")


def test_records_without_checksums(hub, tmp_path, short_headers):
    """As torch writes them where it is told to: healthy, and known by the whole file alone."""
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        states = with_masks()
        files = put(hub, tmp_path, "bin", states=states)
    finally:
        torch.serialization.set_crc32_options(before)
    kernel, _ = spent(hub)
    assert kernel.source["verified"]["not_compared"] == {"not read whole": 3}
    kernel, _ = spent(hub, verify=True)
    assert kernel.source["verified"]["compared"] == {"sha256": 3}
    folder = tmp_path / "here"
    folder.mkdir()
    for step, of_one in enumerate(files):
        (folder / f"step_{step}.pt").write_bytes(of_one["pytorch_model.bin"].read_bytes())
    kernel = th.gram(th.open_trajectory(folder), device="cpu", verify=True)
    assert kernel.source["verified"]["not_compared"] == {"no checksum of them is known": 3}


@pytest.mark.parametrize("kind", ["safetensors", "bin"])
def test_tensors_in_another_order(hub, tmp_path, short_headers, kind):
    """Of one file; the others are read in their own."""
    names = [f"t{i}" for i in range(6)]
    generator = torch.Generator().manual_seed(0)
    states = [
        {name: torch.randint(-9, 9, (500,), generator=generator).float() for name in names}
        for _ in range(3)
    ]
    stored = [dict(state) for state in states]
    if kind == "bin":
        stored[1] = dict(reversed(stored[1].items()))
    files = put(hub, tmp_path, kind, states=stored)
    if kind == "safetensors":
        files[1] = {"model.safetensors": backwards(stored[1])}
        hub.add(REPO, "step1", files[1])
    for memory in (2_000_000_000, 30_000):
        check_alike(kernel_of(memory), states)
        kernel = kernel_of(memory, verify=True)
        check_alike(kernel, states)
        assert kernel.source["verified"]["compared"] == {"sha256": 3}
    told = kernel_of(30_000).source["verified"]
    assert told["not_compared"] == (
        {"their tensors lie in another order than those of the first": 1}
        if kind == "safetensors"
        else {}
    )
    refused(hub, "step1", lies(files, ONE_BIT), memory=30_000, verify=True)
    # Wrong in the pass alone, right when it is read again.
    seen = []

    def forged(request, sha256, start, body):
        if is_of(files[1][next(iter(files[1]))], sha256) and start > 600 and not seen:
            seen.append(request)
            return bytes(len(body))
        return body

    refused(hub, "step1.*(otherwise|record)", forged, memory=30_000, verify=True)


def backwards(state):
    """A safetensors file with its tensors in the order of the alphabet, backwards."""
    header, at = {}, 0
    for name in sorted(state, reverse=True):
        size = 4 * state[name].numel()
        header[name] = {"dtype": "F32", "shape": [size // 4], "data_offsets": [at, at + size]}
        at += size
    encoded = json.dumps(header).encode()
    return (
        len(encoded).to_bytes(8, "little")
        + encoded
        + b"".join(state[name].numpy().tobytes() for name in sorted(state, reverse=True))
    )


def test_a_pass_that_goes_on(hub, tmp_path, short_headers, monkeypatch):
    """What was read before it was interrupted is compared where all is read again, and said."""
    states = [parameters(state) for state in STATES]
    files = put(hub, tmp_path, states=states)
    partial = tmp_path / "run.partial"
    for verify in (False, True):
        interrupt(monkeypatch, partial)
        kernel = kernel_of(60_000, verify, partial)
        check_exactly(kernel, states)
        assert kernel.source["verified"] == (
            {"files": 3, "compared": {"sha256": 3}, "not_compared": {}, "interrupted": 3}
            if verify
            else {
                "files": 3,
                "compared": {},
                "not_compared": {"a part was read before the pass was interrupted": 3},
            }
        )
        partial.unlink()
    interrupt(monkeypatch, partial)
    refused(
        hub, "step1.*SHA-256", lies(files, ONE_BIT), memory=60_000, verify=True, partial=partial
    )
    # What has been summed is wrong.
    assert not partial.exists()


def interrupt(monkeypatch, partial):
    """A pass after its second block."""
    from trajhelpers.streaming.resuming import Partial

    write, written = Partial.write, []

    def and_stop(self, state):
        write(self, state)
        written.append(state)
        if len(written) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Partial, "write", and_stop)
        with pytest.raises(KeyboardInterrupt):
            kernel_of(60_000, partial=partial)


def test_checkpoints_that_are_left_out(hub, tmp_path, short_headers):
    """The pass begins anew without the one that is not finite."""
    states = [parameters(state) for state in [*STATES, whole_numbers(3)]]
    broken = {name: tensor.clone() for name, tensor in states[1].items()}
    broken["embed_out.weight"][0, 0] = float("nan")
    put(hub, tmp_path, states=[states[0], broken, *states[2:]])
    with pytest.warns(th.TrajectoryWarning, match="step 1 .*left out"):
        kernel = kernel_of(60_000, nonfinite="skip-checkpoint")
    check_exactly(kernel, [states[0], *states[2:]])
    assert kernel.source["verified"]["compared"] == {"sha256": 3}


def test_a_second_pass(hub, tmp_path, short_headers):
    """Of one trajectory that stays open."""
    states = [parameters(state) for state in STATES]
    for kind in ("safetensors", "bin"):
        put(hub, tmp_path / kind, kind, states=states)
        trajectory = th.open_trajectory(SOURCE)
        for memory in (2_000_000_000, 60_000, 2_000_000_000):
            kernel = th.gram(trajectory, device="cpu", memory=memory)
            check_exactly(kernel, states)
            assert not kernel.source["verified"]["not_compared"]


@pytest.mark.parametrize("verify", [False, True])
def test_formats(hub, tmp_path, short_headers, verify):
    """Whatever the format, healthy files are taken."""
    generator = torch.Generator().manual_seed(0)
    states = [
        {name: torch.randint(-9, 9, (500,), generator=generator).float() for name in "abc"}
        for _ in range(2)
    ]
    for kind, content in {
        "weights.npz": lambda state: npz({n: t.numpy() for n, t in state.items()}),
        "pytorch_model.bin": lambda state: saved(state, _use_new_zipfile_serialization=False),
        "model.pt": lambda state: saved({"a": 1, "model": state, "optimizer": {"m": state["a"]}}),
    }.items():
        repo = f"someone/{kind.replace('.', '-')}"
        for step, state in enumerate(states):
            hub.add(repo, f"step{step}", {kind: content(state)})
        for exclude in (None, "b"):
            trajectory = th.open_trajectory(f"hf://{repo}", exclude=exclude)
            for memory in (2_000_000_000, 5_000):
                kernel = th.gram(trajectory, device="cpu", memory=memory, verify=verify)
                check_alike(kernel, [{n: t for n, t in s.items() if n != exclude} for s in states])
                facts = kernel.source["verified"]
                assert not (verify and facts["not_compared"]), kind
                assert verify or kind == "pytorch_model.bin" or not facts["not_compared"]


def npz(state):
    file = io.BytesIO()
    np.savez(file, **state)
    return file.getvalue()


def test_a_wrong_number_is_no_reason_to_leave_a_checkpoint_out(hub, tmp_path):
    """What arrives as NaN may not be one."""
    states = [parameters(state) for state in STATES]
    files = put(hub, tmp_path, states=states)
    trajectory = th.open_trajectory(SOURCE, nonfinite="skip-checkpoint")
    hub.forged = lambda request, sha256, start, body: (
        b"\xff" * len(body)
        if len(body) > 5_000 and is_of(files[1]["model.safetensors"], sha256)
        else body
    )
    with pytest.raises(th.CheckpointError, match="step1.*(SHA-256|otherwise)"):
        th.gram(trajectory, device="cpu", memory=60_000)


def test_reading_the_rest_is_interrupted(hub, tmp_path, short_headers, monkeypatch):
    """Nobody goes on asking."""
    monkeypatch.setattr(_checking, "_CHUNK", 256)
    put(hub, tmp_path, states=with_masks())
    trajectory = th.open_trajectory(SOURCE, exclude="mask")

    def interrupted(self):
        raise KeyboardInterrupt

    monkeypatch.setattr("trajhelpers.streaming.progress.Progress.show", interrupted)
    hub.faults = lambda request: time.sleep(0.02)
    with pytest.raises(KeyboardInterrupt):
        th.gram(trajectory, device="cpu", verify=True)
    asked = len(hub.requests)
    assert asked < 3 * 6400 // 256
    time.sleep(0.1)
    assert len(hub.requests) == asked


# Where nobody lists hashes


def test_a_web_server_and_a_bucket(hub, tmp_path, monkeypatch):
    """Records of zips are compared; of others it is said that nothing was."""
    states = [{"a": torch.arange(2000.0) + step, "b": torch.ones(50)} for step in range(2)]
    files = {f"step_{step}.pt": saved(state) for step, state in enumerate(states)} | {
        f"step_{step}.safetensors": save(state) for step, state in enumerate(states)
    }
    hub.fill_bucket("someone/runs", files)
    with StandInWeb() as web:
        web.files = files
        for kind, compared, why in (
            ("pt", {"crc32": 2}, {}),
            ("safetensors", {}, {"no checksum of them is known": 2}),
        ):
            names = [f"step_{step}.{kind}" for step in range(2)]
            sources = [
                [f"{web.endpoint}/{name}" for name in names],
                [f"hf://buckets/someone/runs/{name}" for name in names],
            ]
            for source in sources:
                for memory in (2_000_000_000, 9_000):
                    for verify in (False, True):
                        trajectory = th.open_trajectory(source)
                        kernel = th.gram(trajectory, device="cpu", memory=memory, verify=verify)
                        facts = {"files": 2, "compared": compared, "not_compared": why}
                        assert kernel.source["verified"] == facts
        trajectory = th.open_trajectory([f"{web.endpoint}/step_{step}.pt" for step in range(2)])
        answer = web.answer

        def flipped(request, headers, body):
            status, about, content = answer(request, headers, body)
            at = len(content) // 2
            flipped = content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :] if at else b""
            return status, about, flipped

        monkeypatch.setattr(web, "answer", flipped)
        with pytest.raises(th.CheckpointError, match="step_..pt: the record.*CRC-32"):
            th.gram(trajectory, device="cpu")


def test_on_this_machine(tmp_path, capsys):
    """Zips have checksums, which are compared when that is asked for; safetensors have none."""
    states = [{"a": torch.arange(2000.0) + step, "b": torch.ones(50)} for step in range(3)]
    torch.save(states[0], tmp_path / "step_0.pt")
    np.savez(tmp_path / "step_1.npz", **{name: t.numpy() for name, t in states[1].items()})
    (tmp_path / "step_2.safetensors").write_bytes(save(states[2]))
    sources = sorted(tmp_path.iterdir())
    assert "verified" not in th.gram(th.open_trajectory(sources), device="cpu").source
    output = tmp_path / "run.npz"
    assert not main(["gram", *map(str, sources), "-o", str(output), "--verify"])
    assert th.load_kernel(output).source["verified"] == {
        "files": 3,
        "compared": {"crc32": 2},
        "not_compared": {"no checksum of them is known": 1},
    }
    assert "1 with nothing: no checksum of them is known" in capsys.readouterr().err
    for source in sources[:2]:
        content = source.read_bytes()
        at = content.index(states[0]["a"][500:520].numpy().tobytes()) + 9
        source.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        with pytest.raises(th.CheckpointError, match=f"{source.name}.*CRC-32"):
            th.gram(th.open_trajectory(sources), device="cpu", verify=True)
        source.write_bytes(content)


def test_adapters(hub, tmp_path):
    """Their factors are read one after the other."""
    files = {}
    for name in "ab":
        rng = np.random.default_rng(ord(name))
        folder = write(tmp_path / name, {"q": factors(rng, 4, 6, 7)})
        files[name] = folder / "adapter_model.safetensors"
        hub.add(f"OWNER/{name}", "main", {path.name: path for path in folder.iterdir()})
    models = th.open_models({name: f"hf://OWNER/{name}" for name in "ab"})
    facts = th.gram(models).source["verified"]
    assert facts["not_compared"] == {"read tensor by tensor": 2}
    before = hub.bytes_sent
    assert cost(models, verify=True)[1] >= cost(models)[1]
    assert th.gram(models, verify=True).source["verified"]["compared"] == {"sha256": 2}
    assert hub.bytes_sent - before == cost(models, verify=True)[1]
    hub.forged = lambda request, sha256, start, body: (
        bytes([body[0] ^ 1]) + body[1:] if is_of(files["b"], sha256) else body
    )
    with pytest.raises(th.CheckpointError, match="hf://OWNER/b@main"):
        th.gram(models, verify=True)


# The checksum that runs along


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_pieces_in_any_order(data):
    """Of whatever pieces a pass reads, block by block and within a block in any order, what lies
    between them at hand: the checksum is that of the whole.
    """
    content = data.draw(st.binary(max_size=300))
    edges = sorted(data.draw(st.lists(st.integers(0, len(content)), max_size=12)))
    pieces = [piece for piece in zip(edges[::2], edges[1::2]) if piece[0] < piece[1]]
    kind = data.draw(st.sampled_from(["sha256", "git", "crc32"]))
    value = {
        "sha256": hashlib.sha256(content).hexdigest(),
        "git": hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest(),
        "crc32": f"{zlib.crc32(content):08x}",
    }[kind]
    between = []

    def gap(begin, end):
        between.append((begin, end))
        middle = (begin + end) // 2
        return [content[begin:middle], content[middle:end]]

    running = Running(Checksum(kind, 0, len(content), value), pieces, gap)
    at = 0
    while at < len(pieces):
        block = pieces[at : at + data.draw(st.integers(1, 4))]
        for begin, end in data.draw(st.permutations(block)):
            assert not running.found
            running.add(begin, memoryview(content)[begin:end])
        at += len(block)
    running.finish()
    assert running.found == value
    covered = sorted([*pieces, *between])
    assert [begin for begin, _ in covered[1:]] == [end for _, end in covered[:-1]]


def test_a_piece_that_was_not_expected_leaves_it_open():
    running = Running(Checksum("sha256", 0, 4, ""), [(0, 2), (2, 4)], lambda begin, end: [])
    running.add(1, memoryview(b"bc"))
    running.add(2, memoryview(b"cd"))
    running.finish()
    assert not running.found
