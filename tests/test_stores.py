"""Runs in buckets and on web servers, by the real client from servers on loopback: the same kernel
as of the same files here, pinned, checked, resumable, and no secret anywhere.
"""

import logging
import os
import random
import re
import subprocess
import sys
import textwrap
import traceback

import numpy as np
import pytest
import torch
from hub_runs import checkpoint, save, saved
from standin_store import SECRETS, StandInStore, StandInWeb

import trajhelpers as th
from trajhelpers.__main__ import main
from trajhelpers.sources.remote import files as _files
from trajhelpers.sources.remote import trying as _trying
from trajhelpers.sources.stores.address import address_of, is_in_a_store

BUCKET = "s3://bucket/runs/digits"


@pytest.fixture(scope="module")
def moto():
    with StandInStore() as store:
        yield store


@pytest.fixture
def store(moto, monkeypatch):
    monkeypatch.setattr(_files, "_FIRST_WAIT", 0.001)
    moto.connect(monkeypatch)
    moto.faults = lambda request: None
    moto.empty()
    yield moto


@pytest.fixture
def web(monkeypatch):
    monkeypatch.setattr(_files, "_FIRST_WAIT", 0.001)
    with StandInWeb() as web:
        yield web


def state(seed, size=120):
    generator = torch.Generator().manual_seed(seed)
    return {
        "a.weight": torch.randn(size, 40, generator=generator),
        "b.bias": torch.randn(size, generator=generator).bfloat16(),
    }


def run(folder, steps=(1, 2, 10)):
    """Files by relative path: a folder a step, in several formats and shards, with side files."""
    kinds = [("safetensors", 1), ("bin", 1), ("safetensors", 2)]
    files = {}
    for index, step in enumerate(steps):
        made = checkpoint(state(step), folder / f"made{step}", *kinds[index % 3], config={"a": 1})
        for name, content in made.items():
            path = folder / "run" / f"checkpoint-{step}" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.read_bytes())
    (folder / "run" / f"checkpoint-{steps[1]}" / "optimizer.pt").write_bytes(
        saved({"x": torch.zeros(3)})
    )
    for path in (folder / "run").rglob("*"):
        if path.is_file():
            files[path.relative_to(folder / "run").as_posix()] = path
    return files


def put(store, folder, prefix="runs/digits", bucket="bucket", **options):
    files = run(folder, **options)
    store.put(bucket, {f"{prefix}/{path}": file for path, file in files.items()})
    store.requests.clear()
    return folder / "run"


def gram(source, **options):
    return th.gram(th.open_trajectory(source), device="cpu", **options)


def same(kernel, other):
    assert kernel.names == other.names and list(kernel.steps) == list(other.steps)
    np.testing.assert_array_equal(kernel.increments, other.increments)


# The same kernel


@pytest.mark.parametrize("memory", [2**31, 20_000])
def test_a_prefix_is_a_run_like_a_folder(store, tmp_path, memory):
    here = put(store, tmp_path)
    far = gram(BUCKET, memory=memory)
    near = th.gram(
        th.open_trajectory(here), device="cpu", memory=memory, partial=tmp_path / "near.partial"
    )
    same(far, near)
    assert far.source["checkpoints"][2] == f"{BUCKET}/checkpoint-10/model.safetensors.index.json"
    assert far.source["stamps"][0] == [
        ["runs/digits/checkpoint-1/model.safetensors", far.source["stamps"][0][0][1]]
    ]
    assert re.fullmatch("[0-9a-f]{32}", far.source["stamps"][0][0][1])
    assert all(request.if_match for request in store.ranges)
    listed = [request for request in store.requests if "list-type" in request.path]
    assert len(listed) == 1


def test_several_prefixes_are_joined_and_files_are_listed(store, tmp_path):
    here = put(store, tmp_path / "a", "joined/a", steps=(1, 2))
    there = put(store, tmp_path / "b", "joined/b", steps=(3, 4))
    both = th.open_trajectory(["s3://bucket/joined/a", "s3://bucket/joined/b/"])
    assert both.runs == ("a", "a", "b", "b") and both.steps == (1, 2, 3, 4)
    np.testing.assert_array_equal(
        th.gram(both, device="cpu").increments, gram([here, there]).increments
    )
    files = [
        f"checkpoint-{step}/{name}"
        for step, name in ((1, "model.safetensors"), (2, "pytorch_model.bin"))
    ]
    listed = th.open_trajectory([f"s3://bucket/joined/a/{file}" for file in files])
    assert listed.steps == (1, 2)
    same(th.gram(listed, device="cpu"), gram([here / file for file in files]))


def test_options_and_a_config(store, tmp_path):
    put(store, tmp_path)
    trajectory = th.open_trajectory(BUCKET, file="*.safetensors*", exclude="b.*")
    assert trajectory.steps == (1, 10) and trajectory.names == ("a.weight",)
    assert trajectory.config == {"a": 1} and trajectory.remote is not None
    with pytest.raises(ValueError, match="revisions.*hub"):
        th.open_trajectory(BUCKET, revisions="step*")


def test_names_with_odd_characters(store, tmp_path):
    content = {step: saved(state(step)) for step in (1, 2)}
    store.put("bucket", {f"odd/a b%20#?ä/step {step}.pt": content[step] for step in content})
    for step in content:
        (tmp_path / f"step {step}.pt").write_bytes(content[step])
    same(gram("s3://bucket/odd/a b%20#?ä"), gram(tmp_path))


# What is not there, or not allowed


@pytest.mark.parametrize(
    "source, facts",
    [
        ("s3://nobody", ["no such bucket", "AWS_ENDPOINT_URL"]),
        ("s3://bucket/nothing", ["s3://bucket/nothing", "not there"]),
        ("s3://", ["names no bucket"]),
        ("https://huggingface.co/a/b/tree/main", ["hf://a/b"]),
        ("https://huggingface.co/buckets/a/b", ["hf://buckets/a/b"]),
        ("http://example.org/a.pt", ["http://", "https://"]),
        ("https:///a.pt", ["no host"]),
        (["s3://bucket/a", "/tmp"], ["/tmp", "one kind"]),
    ],
)
def test_addresses_that_lead_nowhere(store, source, facts):
    store.put("bucket", {})
    with pytest.raises((th.CheckpointError, ValueError)) as caught:
        th.open_trajectory(source)
    for fact in facts:
        assert fact in str(caught.value)


def test_one_file_is_one_checkpoint(store, tmp_path):
    put(store, tmp_path)
    with pytest.raises(th.StepError, match="is one file"):
        th.open_trajectory(f"{BUCKET}/checkpoint-1/model.safetensors")


def test_names_that_cannot_be_listed(store):
    store.put("odd-bucket", {"x//y.pt": b"1"})
    with pytest.raises(th.CheckpointError, match=r"empty part.*longer prefix"):
        th.open_trajectory("s3://odd-bucket")


def test_access_denied_says_what_is_looked_for(store, tmp_path):
    put(store, tmp_path)
    store.faults = lambda request: "403"
    with pytest.raises(th.CheckpointError, match=r"denied.*AWS_ACCESS_KEY_ID.*boto3.*AWS_SKIP_SIG"):
        th.open_trajectory(BUCKET)
    store.faults = lambda request: None
    trajectory = th.open_trajectory(BUCKET)
    store.faults = lambda request: "403"
    store.requests.clear()
    with pytest.raises(th.CheckpointError, match=r"checkpoint-.*denied \(403, AccessDenied\)"):
        th.gram(trajectory, device="cpu")
    assert len(store.requests) <= 12, "by each of those that were in flight, once"


def test_an_endpoint_without_tls_only_on_this_machine(store, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://192.0.2.1:9000")
    with pytest.raises(th.CheckpointError, match="AWS_ENDPOINT_URL is http://.*AWS_ALLOW_HTTP"):
        th.open_trajectory(BUCKET)


def test_profiles_where_the_client_is_there(store, tmp_path, monkeypatch):
    put(store, tmp_path)
    for name in SECRETS:
        monkeypatch.delenv(name)
    (tmp_path / "credentials").write_text(
        "[mine]\naws_access_key_id = AKIAPROFILE\naws_secret_access_key = word\n"
    )
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_PROFILE", "mine")
    th.open_trajectory(BUCKET)
    assert all("AKIAPROFILE/" in request.authorization for request in store.requests)

    monkeypatch.setenv("AWS_PROFILE", "nobody's")
    with pytest.raises(th.CheckpointError, match=r"profiles.*ProfileNotFound.*AWS_PROFILE"):
        th.open_trajectory(BUCKET)


def test_anonymous(store, tmp_path, monkeypatch):
    put(store, tmp_path)
    monkeypatch.setenv("AWS_SKIP_SIGNATURE", "true")
    # moto lists a private bucket and gives nothing of it
    with pytest.raises(th.CheckpointError, match="denied"):
        th.open_trajectory(BUCKET)
    assert store.requests and not any(request.authorization for request in store.requests)


# A bad network


@pytest.mark.parametrize("seed", range(2))
def test_one_answer_in_ten_is_wrong(store, tmp_path, seed):
    here = put(store, tmp_path)
    dice, failed = random.Random(seed), []

    def faults(request):
        if dice.random() < 0.1 and request.range:
            failed.append(dice.choice(["503", "short", "elsewhere", "truncated", "reset"]))
            return failed[-1]

    trajectory = th.open_trajectory(BUCKET)
    store.faults = faults
    far = th.gram(trajectory, device="cpu", memory=2_000)
    assert len(failed) > 5
    same(far, th.gram(th.open_trajectory(here), "cpu", memory=2_000, partial=tmp_path / "p"))


@pytest.mark.parametrize(
    "fault, words",
    [
        ("503", "10 tries.*503"),
        ("short", "10 tries"),
        ("elsewhere", "10 tries.*range"),
        ("truncated", "10 tries.*connection"),
        ("reset", "10 tries.*connection"),
        ("ignore-range", "10 tries.*whole file"),
    ],
)
def test_an_answer_that_is_always_wrong(store, tmp_path, fault, words):
    put(store, tmp_path)
    trajectory = th.open_trajectory(BUCKET)
    store.faults = lambda request: fault if request.range else None
    with pytest.raises(th.CheckpointError, match=f"{BUCKET}/checkpoint-.*{words}"):
        th.gram(trajectory, device="cpu")
    assert not trajectory.remote.held


def test_an_answer_that_dribbles(store, tmp_path, monkeypatch):
    put(store, tmp_path)
    trajectory = th.open_trajectory(BUCKET)
    monkeypatch.setattr(_trying, "_PATIENCE", 0.2)
    monkeypatch.setattr(_files, "_TRIES", 2)
    store.faults = lambda request: "dribble" if request.range else None
    with pytest.raises(th.CheckpointError, match=r"2 tries.*bytes of .* in \d+ seconds"):
        th.gram(trajectory, device="cpu")


@pytest.mark.parametrize("how", ["another content", "removed"])
def test_an_object_that_changes_in_the_middle(store, tmp_path, how):
    put(store, tmp_path)
    trajectory = th.open_trajectory(BUCKET)
    key = "runs/digits/checkpoint-2/pytorch_model.bin"
    if how == "removed":
        store.remove("bucket", key)
    else:
        store.put("bucket", {key: saved(state(7))})
    with pytest.raises(th.CheckpointError, match=f"{key}: changed since .* open it again"):
        th.gram(trajectory, device="cpu")


def test_a_pass_goes_on_where_it_was(store, tmp_path):
    put(store, tmp_path)
    partial = tmp_path / "run.npz.partial"
    whole = gram(BUCKET, memory=8_000)
    trajectory = th.open_trajectory(BUCKET)
    left = [12]

    def faults(request):
        left[0] -= bool(request.range)
        return "503" if left[0] < 0 else None

    store.faults = faults
    with pytest.raises(th.CheckpointError):
        th.gram(trajectory, device="cpu", memory=8_000, partial=partial)
    store.faults = lambda request: None
    assert partial.exists()
    store.requests.clear()
    same(gram(BUCKET, memory=8_000, partial=partial), whole)
    changed = {
        "runs/digits/checkpoint-1/model.safetensors": save(state(5), tmp_path / "x.safetensors")
    }
    store.put("bucket", changed)
    with pytest.raises(th.TrajectoryError, match="other files"):
        gram(BUCKET, memory=8_000, partial=partial)


def test_the_command_line(store, tmp_path, capsys):
    here = put(store, tmp_path)
    output = tmp_path / "run.npz"
    assert main(["gram", BUCKET, "-o", str(output), "--device", "cpu"]) in (None, 0)
    same(th.load_kernel(output), gram(here))
    assert not list(tmp_path.glob("*.partial"))


# Web servers


def on_the_web(web, folder):
    files = {}
    for step in (1, 2, 3):
        path = save(state(step), folder / f"step_{step}.{['pt', 'safetensors'][step % 2]}")
        files[path] = f"{web.endpoint}/my%20runs/{path.name}"
        web.files[f"my runs/{path.name}"] = path.read_bytes()
    return list(files), list(files.values())


@pytest.mark.parametrize("etag", ["strong", "weak", "time"])
def test_files_on_a_web_server(web, tmp_path, etag):
    here, there = on_the_web(web, tmp_path)
    web.etag = etag
    trajectory = th.open_trajectory(there)
    same(th.gram(trajectory, device="cpu"), gram(here))
    assert trajectory.sources[0] == f"{web.endpoint}/my runs/step_1.safetensors"
    assert any(request.if_match for request in web.ranges) == (etag == "strong")
    web.files["my runs/step_2.pt"] = saved(state(9))
    web.written += 1
    # The time is that of all files.
    which = "step_." if etag == "time" else "step_2.pt"
    with pytest.raises(th.CheckpointError, match=f"{which}.*: changed since"):
        th.gram(trajectory, device="cpu")


def test_a_server_that_moves_its_files(web, tmp_path):
    here, there = on_the_web(web, tmp_path)
    web.moved = True
    same(gram(there), gram(here))


def test_shards_on_a_web_server(web, tmp_path):
    states = [state(seed) for seed in (1, 2)]
    for step, one in enumerate(states):
        for name, content in checkpoint(
            one, tmp_path / f"{step}", shards=2, config={"b": 2}
        ).items():
            content = content if isinstance(content, bytes) else content.read_bytes()
            web.files[f"step{step}/{name}"] = content
    trajectory = th.open_trajectory(
        [f"{web.endpoint}/step{step}/model.safetensors.index.json" for step in (0, 1)]
    )
    assert trajectory.steps == (0, 1) and trajectory.config == {"b": 2}
    np.testing.assert_array_equal(
        th.gram(trajectory, device="cpu").increments, gram(states).increments
    )


def test_what_a_web_server_cannot_do(web, tmp_path):
    _, there = on_the_web(web, tmp_path)
    with pytest.raises(th.CheckpointError, match="no list of what is in a folder"):
        th.open_trajectory(f"{web.endpoint}/my%20runs/")
    with pytest.raises(th.CheckpointError, match="step_9.pt: is not there"):
        th.open_trajectory([*there, f"{web.endpoint}/my%20runs/step_9.pt"])
    web.faults = lambda request: "ignore-range"
    with pytest.raises(th.CheckpointError, match="sends whole files"):
        th.open_trajectory(there)
    web.faults, web.etag = lambda request: None, None
    with pytest.raises(th.CheckpointError, match="neither ETag nor Last-Modified"):
        th.open_trajectory(there)


PEAK = textwrap.dedent("""
    import sys, trajhelpers as th
    def peak():
        lines = open("/proc/self/status")
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024
    trajectory = th.open_trajectory(sys.argv[2:])
    th.gram(trajectory[:2], device="cpu", memory=2**20, groups={"some": [("b", 0, None)]})
    before = peak()
    kernel = th.gram(trajectory, device="cpu", memory=int(sys.argv[1]))
    print(peak() - before, kernel.p)
""")


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs Linux")
def test_peak_memory(web, tmp_path):
    """Checkpoints of 48 MB each, in 12 MB, and what the client holds of twelve answers at once."""
    memory, p = 12 << 20, 24 << 20
    addresses = []
    for step in range(3):
        tensors = {
            "a": torch.full((p // 1024, 1024), step, dtype=torch.float16),
            "b": torch.full((64,), step, dtype=torch.float16),
        }
        path = save(tensors, tmp_path / f"step_{step}.{['pt', 'safetensors'][step % 2]}")
        web.files[path.name] = path.read_bytes()
        addresses.append(f"{web.endpoint}/{path.name}")
    command = [sys.executable, "-c", PEAK, str(memory), *addresses]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    grown, size = map(int, done.stdout.split())
    assert size == p + 64 and grown < memory + (24 << 20), f"{grown / 2**20:.1f} MiB"


# Secrets

SIGNATURE, WORD = "TheSignatureThatNobodyMaySee", "ThePasswordThatNobodyMaySee"


def everything_written(folder):
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("where", ["bucket", "signed", "password"])
@pytest.mark.parametrize(
    "fault", [None, "503", "403", "reset", "truncated", "ignore-range", "changed"]
)
def test_no_secret_shows(store, web, tmp_path, caplog, capsys, where, fault):
    """In no log, error, kernel, repr or file that a pass leaves behind."""
    caplog.set_level(logging.DEBUG)
    folder = tmp_path / "out"
    folder.mkdir()
    if where == "bucket":
        put(store, tmp_path)
        source, server, changed = BUCKET, store, "runs/digits/checkpoint-2/pytorch_model.bin"
    else:
        _, there = on_the_web(web, tmp_path)
        server, changed = web, "my runs/step_2.pt"
        if where == "signed":
            web.key = f"sv=2024&sig={SIGNATURE}%2Bx"
            source = [f"{address}?{web.key}" for address in there]
        else:
            web.user = f"me:{WORD}"
            source = [address.replace("http://", f"http://me:{WORD}@") for address in there]
    said = []
    try:
        trajectory = th.open_trajectory(source)
        said += [repr(trajectory), repr(trajectory.origin), repr(trajectory.checkpoints)]
        said += [repr(vars(trajectory.origin)), repr(trajectory.layout.tensors)]
        if fault == "changed":
            if where == "bucket":
                store.put("bucket", {changed: saved(state(8))})
            else:
                web.files[changed] = saved(state(8))
        elif fault:
            server.faults = lambda request: fault if request.range and dice.random() < 0.8 else None
        dice = random.Random(0)
        kernel = th.gram(trajectory, device="cpu", memory=8_000, partial=folder / "x.partial")
        kernel.save(folder / "x.npz")
        said += [repr(kernel), repr(kernel.source), str(kernel.source)]
    except Exception as error:
        assert fault and isinstance(error, th.TrajectoryError)
        said.append("".join(traceback.format_exception(error)))
        seen = error
        while seen is not None:
            said += [repr(seen), str(seen), repr(getattr(seen, "args", ""))]
            seen = seen.__cause__ or seen.__context__
    else:
        assert not fault
    server.faults = lambda request: None
    # a failure while opening
    for other in [source, source] if where == "bucket" else [source[:1] + [source[0] + "x"]]:
        server.faults = lambda request: "403"
        try:
            th.open_trajectory(other)
        except (th.TrajectoryError, ValueError) as error:
            said.append("".join(traceback.format_exception(error)))
    server.faults = lambda request: None
    shown = capsys.readouterr()
    text = "".join([*said, shown.out, shown.err, caplog.text])
    written = everything_written(folder).decode("latin-1")
    for secret in (*SECRETS.values(), SIGNATURE, WORD):
        assert secret not in text and secret not in written
    assert len(said) > 3


def test_what_is_shown_of_an_address():
    for source in ("https://me:word@host:8080/a b/c.pt?sig=word#word", "https://host/x.pt?word"):
        address = address_of(source)
        assert "word" not in repr(address) + str(address)
    assert str(address_of("S3://b/a//")) == "s3://b/a"
    assert str(address_of("abfs://box@account.dfs.core.windows.net/a")).startswith("abfs://box@acc")
    assert (
        is_in_a_store("gs://b") and not is_in_a_store("C:/runs") and not is_in_a_store("hf://a/b")
    )


def test_messages_and_lists_show_no_secret(web, tmp_path, capsys):
    _, there = on_the_web(web, tmp_path)
    web.key = f"sig={SIGNATURE}"
    source = [f"{address}?{web.key}" for address in there]
    for ask in (
        lambda: th.open_trajectory(source[0], revisions="step*"),
        lambda: th.audit(source[0], revisions="step*"),
        lambda: th.audit(source),
    ):
        with pytest.raises(ValueError) as caught:
            ask()
        assert SIGNATURE not in str(caught.value)
    assert main(["ls", "--json", *source]) in (None, 0)
    assert main(["ls", *source]) in (None, 0)
    with pytest.raises(SystemExit):
        main([source[0]])
    shown = capsys.readouterr()
    assert "step_1.safetensors" in shown.out and SIGNATURE not in shown.out + shown.err


def test_a_list_of_what_is_there(store, tmp_path, capsys):
    put(store, tmp_path)
    main(["ls", BUCKET])
    assert re.search(r"3 +1 … 10", capsys.readouterr().out)
    with pytest.raises(ValueError, match=f"{BUCKET}: lies in a store"):
        th.audit(BUCKET)
