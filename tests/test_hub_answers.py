"""Answers of the hub that are not as they should be: each is refused with an error that names the
repository and says what to do, or is tried again.
"""

import json
import os

import huggingface_hub
import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save
from standin_hub import StandInHub

import trajhelpers as th
from trajhelpers.sources.hub import asking
from trajhelpers.sources.hub.client import asked_to_wait
from trajhelpers.sources.hub.redirects import Misled, led_to
from trajhelpers.sources.remote import files as _files
from trajhelpers.sources.remote import trying as _trying
from trajhelpers.sources.remote.trying import LONGEST_ASKED, Unfit

REPO, SOURCE = "somebody/model", "hf://somebody/model"
OLD = huggingface_hub.__version__.startswith("0.")


@pytest.fixture
def hub(monkeypatch, tmp_path):
    monkeypatch.setattr(_files, "_FIRST_WAIT", 0.001)
    with StandInHub() as hub:
        hub.connect(monkeypatch, tmp_path / "home", "hf_ThisIsTheTokenThatNobodyMaySee")
        for step in range(3):
            hub.add(REPO, f"step{step}", stored(step))
        yield hub


def stored(step):
    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    index = {"metadata": {}, "weight_map": {"a": names[0], "b": names[1]}}
    return {
        "config.json": b"{}",
        "model.safetensors.index.json": json.dumps(index).encode(),
        names[0]: save({"a": np.arange(6.0) * step}),
        names[1]: save({"b": np.arange(4.0) + step * step}),
    }


def gram():
    return th.gram(th.open_trajectory(SOURCE), device="cpu")


def set_at(value, path, new):
    """``value`` with what lies at ``path`` replaced, or, where ``new`` is DROP, left out."""
    if not path:
        return new
    first, *rest = path
    changed = list(value) if isinstance(value, list) else dict(value)
    if not rest and new is DROP:
        del changed[first]
    else:
        changed[first] = set_at(value[first] if rest else None, rest, new)
    return changed


DROP = object()
# By name: of which answer, where in it, and what is there instead.
FIRST = ("siblings", 0)
LFS = ("siblings", 2, "lfs")
ODD = {
    "refs: null": ("refs", (), None),
    "refs: a list": ("refs", (), []),
    "refs: a number": ("refs", (), 3),
    "refs: an error": ("refs", (), {"error": {"error": ["nested"]}}),
    "refs: no branches": ("refs", ("branches",), DROP),
    "refs: branches null": ("refs", ("branches",), None),
    "refs: tags an object": ("refs", ("tags",), {"name": "x"}),
    "refs: a branch is text": ("refs", ("branches", 0), "main"),
    "refs: no name": ("refs", ("branches", 0, "name"), DROP),
    "refs: name a number": ("refs", ("branches", 0, "name"), 7),
    "refs: name null": ("refs", ("branches", 0, "name"), None),
    "refs: name with an escape": ("refs", ("branches", 0, "name"), "step\x1b[2J0"),
    "refs: no commit": ("refs", ("branches", 0, "targetCommit"), DROP),
    "refs: commit null": ("refs", ("branches", 0, "targetCommit"), None),
    "refs: commit a list": ("refs", ("branches", 0, "targetCommit"), ["a"]),
    "refs: commit a path": ("refs", ("branches", 0, "targetCommit"), "../../../api/whoami"),
    "refs: a branch twice": ("refs", ("branches", 1, "name"), "step0"),
    "info: null": ("info", (), None),
    "info: a list": ("info", (), [1]),
    "info: no files": ("info", ("siblings",), DROP),
    "info: files null": ("info", ("siblings",), None),
    "info: files an object": ("info", ("siblings",), {"a": 1}),
    "info: a file is text": ("info", FIRST, "config.json"),
    "info: another commit": ("info", ("sha",), "f" * 40),
    "info: no path": ("info", (*FIRST, "rfilename"), DROP),
    "info: path a number": ("info", (*FIRST, "rfilename"), 3),
    "info: path null": ("info", (*FIRST, "rfilename"), None),
    "info: path empty": ("info", (*FIRST, "rfilename"), ""),
    "info: path absolute": ("info", (*FIRST, "rfilename"), "/etc/passwd"),
    "info: path upwards": ("info", (*FIRST, "rfilename"), "a/../../b.json"),
    "info: path upwards on Windows": ("info", (*FIRST, "rfilename"), "a\\..\\..\\b.json"),
    "info: path with NUL": ("info", (*FIRST, "rfilename"), "a\0b.json"),
    "info: path with a newline": ("info", (*FIRST, "rfilename"), "a\nb.json"),
    "info: path with half a letter": ("info", (*FIRST, "rfilename"), "a\ud800.json"),
    "info: a path twice": ("info", (*FIRST, "rfilename"), "model-00001-of-00002.safetensors"),
    "info: size text": ("info", (*FIRST, "size"), "2"),
    "info: size negative": ("info", (*FIRST, "size"), -2),
    "info: size huge": ("info", (*FIRST, "size"), 10**30),
    "info: size a fraction": ("info", (*FIRST, "size"), 2.5),
    "info: size true": ("info", (*FIRST, "size"), True),
    "info: no size": ("info", (*FIRST, "size"), DROP),
    "info: no hash": ("info", (*FIRST, "blobId"), DROP),
    "info: hash of another kind": ("info", (*FIRST, "blobId"), "xyz"),
    "info: pointer text": ("info", LFS, "sha256:abc"),
    "info: pointer without hash": ("info", (*LFS, "sha256"), DROP),
    "info: pointer's hash short": ("info", (*LFS, "sha256"), "abc"),
    "info: pointer's hash null": ("info", (*LFS, "sha256"), None),
    "info: pointer's size text": ("info", (*LFS, "size"), "200"),
    "info: pointer's size negative": ("info", (*LFS, "size"), -1),
    "info: types a list": ("info", ("safetensors",), ["F32"]),
    "info: types a number": ("info", ("safetensors",), {"parameters": 3}),
}


def edited(kind, edit):
    """For ``hub.edit``: of each answer of a kind, another body."""

    def answer(request, status, body, headers):
        return (status, edit(body) if request.kind == kind else body, headers)

    return answer


@pytest.mark.parametrize("name", ODD)
def test_an_odd_answer(hub, name):
    kind, path, new = ODD[name]
    hub.edit = edited(kind, lambda body: json.dumps(set_at(json.loads(body), path, new)).encode())
    with pytest.raises(th.CheckpointError, match=f"^{SOURCE}: .*answers.*; check") as caught:
        gram()
    assert "\x1b" not in str(caught.value) and "\n" not in str(caught.value)


BODIES = {
    "a page": b"<!DOCTYPE html><html>Sign in</html>",
    "nothing": b"",
    "half": b'{"tags": [], "bran',
    "other bytes": b"\xff\xfe\x00\x01",
    "an escape": b"\x1b[2J",
    "too deep": b"[" * 100_000 + b"]" * 100_000,
    "too many digits": b'{"tags": [' + b"1" * 5_000 + b"]}",
    "no number": b"NaN",
}


@pytest.mark.parametrize("kind", ["refs", "info"])
@pytest.mark.parametrize("name", BODIES)
def test_a_body_that_is_no_answer(hub, name, kind):
    hub.edit = edited(kind, lambda body: BODIES[name])
    with pytest.raises(th.CheckpointError, match=f"^{SOURCE}: .*answers.*; check") as caught:
        gram()
    assert len(str(caught.value)) < 400 and str(caught.value).isprintable()


def test_more_than_anybody_would_list(hub, monkeypatch):
    """It is not read to its end."""
    monkeypatch.setattr(asking, "_LARGEST_ANSWER", 100_000)
    ref = {"name": "x", "targetCommit": "0" * 40}
    refs = {"tags": [], "branches": [ref] * 100_000}
    hub.edit = edited("refs", lambda body: json.dumps(refs).encode())
    with pytest.raises(th.CheckpointError, match="more than 100,000 bytes"):
        gram()


@pytest.mark.parametrize("status", [204, 400, 401, 404, 418, 451, 500])
@pytest.mark.parametrize(
    "body", [b"[1]", b'{"error": {"error": [[{}]]}}', b'{"errors": 3}', b"null", b"\xff"]
)
def test_errors_of_any_shape(hub, status, body):
    hub.edit = lambda request, *answer: (status, body, {"Content-Type": "application/json"})
    with pytest.raises(th.CheckpointError, match=f"^{SOURCE}: .*(hub answers|there is no such)"):
        gram()


def test_what_may_be_odd_and_is_not_read(hub):
    """Answers grow: what is new in them, and what nobody reads, is no matter."""

    def edit(body):
        return json.dumps(json.loads(body) | {"new": [{}], "tags": []}).encode()

    expected = gram().gram()
    hub.edit = edited("refs", edit)
    np.testing.assert_array_equal(gram().gram(), expected)


# Lists in pages

BUCKET = "hf://buckets/someone/runs/digits"


@pytest.fixture
def bucket(hub):
    hub.fill_bucket("someone/runs", {f"digits/step_{k}.safetensors": content(k) for k in range(5)})
    return hub


def content(step):
    return save({"a": np.arange(6.0) + step * step})


def linked(link):
    """Of each page that there is another, there."""

    def answer(request, status, body, headers):
        next_page = link(request) if callable(link) else link
        more = {"Link": f'<{next_page}>; rel="next"'}
        return status, body, headers | (more if request.kind == "tree" else {})

    return answer


@pytest.mark.parametrize("cursor", ["same", "growing"])
def test_a_list_without_an_end(bucket, monkeypatch, cursor):
    monkeypatch.setattr(asking, "_MOST_PAGES", 20)
    address = f"{bucket.endpoint}/api/buckets/someone/runs/tree?recursive=true&cursor="
    bucket.edit = linked(
        lambda request: (
            address + "0" * (1 if cursor == "same" else 1 + len(bucket.requests_of("tree")))
        )
    )
    with pytest.raises(
        th.CheckpointError, match="hf://buckets/someone/runs: its list does not end"
    ):
        th.open_trajectory(BUCKET)
    assert len(bucket.requests_of("tree")) == (2 if cursor == "same" else 20)


@pytest.mark.parametrize("link", ["http://[", "file:///etc/passwd?cursor=x", "", "\x7f?&&=;"])
def test_links_to_nowhere(bucket, link):
    """Of a link its query is read, whatever it is."""
    bucket.edit = linked(link)
    with pytest.raises(th.TrajectoryError, match="buckets/someone/runs"):
        th.open_trajectory(BUCKET)


def test_the_next_page_is_asked_of_the_hub(bucket):
    """Not of the host that the link names, with the token."""
    expected = th.open_trajectory(BUCKET).steps

    def elsewhere(request, status, body, headers):
        if "Link" in headers:
            headers["Link"] = headers["Link"].replace("127.0.0.1", "localhost")
        return status, body, headers

    bucket.edit, before = elsewhere, len(bucket.requests)
    assert th.open_trajectory(BUCKET).steps == expected
    pages = [request for request in bucket.requests[before:] if request.kind == "tree"]
    assert len(pages) == 3 and {request.host for request in pages} == {"127.0.0.1"}


ODD_ENTRIES = {
    "no type": (("type",), DROP),
    "no path": (("path",), DROP),
    "path upwards": (("path",), "digits/../../x"),
    "path absolute": (("path",), "/digits/x"),
    "path with NUL": (("path",), "digits/\0"),
    "size text": (("size",), "3"),
    "size negative": (("size",), -3),
    "size huge": (("size",), 2**64),
    "no hash": (("xetHash",), DROP),
    "hash null": (("xetHash",), None),
    "twice": (("path",), "digits/step_1.safetensors"),
}


@pytest.mark.parametrize("name", ODD_ENTRIES)
def test_an_odd_entry_of_a_bucket(bucket, name):
    path, new = ODD_ENTRIES[name]
    edit = edited(
        "tree", lambda body: json.dumps(set_at(json.loads(body), (0, *path), new)).encode()
    )
    bucket.edit = edit
    with pytest.raises(th.CheckpointError, match="^hf://buckets/someone/runs: .*answers.*; check"):
        th.open_trajectory(BUCKET)


# Where an answer leads


@pytest.mark.parametrize(
    "here, location, words",
    [
        ("https://hub.org/a", "http://hub.org/b", "http://hub.org, which is not encrypted"),
        ("https://hub.org/a", "http://cdn.org/b?Signature=x", "not encrypted"),
        ("https://hub.org/a", "file:///etc/passwd", "no web address"),
        ("http://localhost/a", "file:///etc/passwd", "no web address"),
        ("https://hub.org/a", "ftp://hub.org/b", "no web address"),
        ("https://hub.org/a", "data:text/plain,x", "no web address"),
        ("https://hub.org/a", "https://127.0.0.1/b", "network of its own"),
        ("https://hub.org/a", "https://localhost:8080/b", "localhost:8080, which is in a network"),
        ("https://hub.org/a", "https://[::1]/b", "network of its own"),
        ("https://hub.org/a", "https://192.168.1.1/b", "network of its own"),
        ("https://hub.org/a", "https://169.254.169.254/latest", "network of its own"),
        ("http://hub.org/a", "http://10.0.0.1/b", "network of its own"),
        ("https://hub.org/a", "https://[", "no address"),
        ("https://hub.org/a", "https://cdn.org:99999/b", "no address"),
    ],
)
def test_where_nobody_should_follow(here, location, words):
    with pytest.raises(Misled) as caught:
        led_to(here, location)
    assert words in str(caught.value) and "Signature" not in str(caught.value)


@pytest.mark.parametrize(
    "here, location, there",
    [
        ("https://hub.org/a/b", "/c?d", "https://hub.org/c?d"),
        ("https://hub.org/a/b", "c", "https://hub.org/a/c"),
        ("https://hub.org/a", "//cdn.org/c", "https://cdn.org/c"),
        ("https://hub.org/a", "https://cdn.org:444/c", "https://cdn.org:444/c"),
        ("http://hub.org/a", "https://cdn.org/c", "https://cdn.org/c"),
        ("http://hub.org/a", "http://cdn.org/c", "http://cdn.org/c"),
        ("http://127.0.0.1:1/a", "http://localhost:1/c", "http://localhost:1/c"),
        ("https://10.0.0.1/a", "https://10.0.0.2/c", "https://10.0.0.2/c"),
    ],
)
def test_where_one_may_follow(here, location, there):
    assert led_to(here, location) == there


WHICH = {
    "a list": lambda request: request.kind == "refs",
    "a revision": lambda request: request.kind == "info",
    "a small file": lambda request: request.path.startswith("/api/resolve-cache"),
    "an address": lambda request: request.kind == "resolve" and request.method == "HEAD",
    "a range": lambda request: request.kind == "file",
}


def moved(name, location):
    """For ``hub.edit``: some answers lead elsewhere."""

    def answer(request, *answer):
        there = location(request) if callable(location) else location
        return (302, b"", {"Location": there}) if WHICH[name](request) else answer

    return answer


@pytest.mark.parametrize("name", WHICH)
@pytest.mark.parametrize("location", ["file:///etc/passwd", "gopher://x/"])
def test_no_request_is_led_astray(hub, name, location):
    hub.edit = moved(name, location)
    # The client's 0.x asks the hub for the path that a HEAD leads to.
    words = (
        "leads to .*; check HF_ENDPOINT"
        if not (OLD and name == "an address")
        else "(.*404|has 0 bytes)"
    )
    with pytest.raises(th.CheckpointError, match=f"^{SOURCE}.* {words}"):
        gram()
    assert sum(map(WHICH[name], hub.requests)) <= 8, "of each in flight, once"


@pytest.mark.parametrize("name", WHICH)
@pytest.mark.parametrize("location", ["http://[", "//", "http://x:99999/"])
def test_redirects_to_what_is_no_address(hub, name, location):
    hub.edit = moved(name, location)
    with pytest.raises(th.CheckpointError, match=f"^{SOURCE}.*;"):
        gram()


@pytest.mark.parametrize("name", WHICH)
def test_redirects_without_an_end(hub, name):
    if OLD and name == "an address":
        pytest.skip("the client follows until Python ends it, each time")
    hub.edit = moved(name, lambda request: request.path)
    with pytest.raises(th.CheckpointError, match="leads on and on|TooManyRedirects"):
        gram()


@pytest.mark.parametrize("kind", ["refs", "info"])
def test_a_redirect_takes_no_token_along(hub, kind):
    """To a renamed repository on the hub it goes, to another host not, nor back from there."""
    expected = gram().gram()

    def answer(request, *answer):
        if request.kind != kind:
            return answer
        hops = request.path.count("hop")
        name, mark = "127.0.0.1" if hops else "localhost", "&" if "?" in request.path else "?"
        there = f"http://{name}:{hub.port}{request.path}{mark}hop"
        return answer if hops == 2 else (307, b"", {"Location": there})

    hub.edit, before = answer, len(hub.requests)
    np.testing.assert_array_equal(gram().gram(), expected)
    seen = [
        (request.host, request.has_authorization)
        for request in hub.requests[before:]
        if request.kind == kind
    ]
    assert set(seen) == {("127.0.0.1", True), ("localhost", False), ("127.0.0.1", False)}


# Slow answers, and those that ask to wait


@pytest.mark.parametrize("fault", ["dribble", "crawl"])
@pytest.mark.parametrize("name", WHICH)
def test_a_byte_at_a_time(hub, monkeypatch, name, fault):
    """The first answer is given up, and asked for again: nobody waits for its end."""
    if (name, fault) == ("an address", "dribble"):
        pytest.skip("a HEAD has no body")
    expected, before = gram().gram(), sum(map(WHICH[name], hub.requests))
    monkeypatch.setattr(_trying, "_PATIENCE", 1)
    slow = []

    def faults(request):
        if WHICH[name](request) and not slow:
            slow.append(request)
            return fault

    hub.faults = faults
    hub.requests.clear()
    np.testing.assert_array_equal(gram().gram(), expected)
    # More on a machine that is itself so slow.
    assert sum(map(WHICH[name], hub.requests)) > before


@pytest.mark.parametrize(
    "asked, seconds",
    [
        ("7", 7),
        ("0", 0),
        ("-7", 0),
        ("999999999999", 999999999),
        ("9" * 5_000, 999999999),
        ("Wed, 21 Oct 2115 07:28:00 GMT", 0),
        ("7.5", 7),
        ("\xb2", 0),
        ("\u0667", 0),
        ("soon", 0),
        ("", 0),
    ],
)
def test_what_is_read_of_retry_after(asked, seconds):
    assert asked_to_wait({"Retry-After": asked}) == seconds
    assert _files._wait(0, Unfit("", 429, seconds)) <= LONGEST_ASKED


@pytest.mark.parametrize("asked", ['"api";r=0;t=55', '"api";r=0;t=' + "9" * 5_000, '"api";r=1;t=9'])
def test_what_is_read_of_rate_limits(asked):
    assert asked_to_wait({"RateLimit": asked}) in (56, 10**9, 0)


@pytest.mark.parametrize("asked", ["-7", "9" * 5_000, "Wed, 21 Oct 2115 07:28:00 GMT", "\xb2"])
def test_a_hub_that_asks_to_wait_for_ever(hub, asked):
    expected = gram().gram()
    hub.retry_after, answers = asked, iter(["429"])
    hub.faults = lambda request: next(answers, None)
    np.testing.assert_array_equal(gram().gram(), expected)
    assert len(hub.waits) == 1 and hub.waits[0] <= LONGEST_ASKED


# Files that are not what the list says


def test_a_branch_that_moves(hub):
    """What was listed is read: a commit stays what it is."""
    expected = gram().gram()
    trajectory = th.open_trajectory(SOURCE)
    hub.add(REPO, "step1", stored(7))
    np.testing.assert_array_equal(th.gram(trajectory, device="cpu").gram(), expected)


def test_a_commit_that_is_another_when_it_is_read(hub):
    trajectory = th.open_trajectory(SOURCE)
    hub.expire_addresses()
    longer = stored(1) | {"model-00002-of-00002.safetensors": save({"b": np.ones(9)})}
    commit = hub._branches[REPO]["step1"]
    hub.add(REPO, "step1", longer, commit)
    with pytest.raises(th.CheckpointError, match="step1/model-00002.* bytes, where the .* list"):
        th.gram(trajectory, device="cpu")


@pytest.mark.parametrize("kind", ["resolve", "file"])
@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_file_that_is_refused_midway(hub, kind, status):
    trajectory = th.open_trajectory(SOURCE)
    hub.expire_addresses()
    hub.edit = lambda request, *answer: (status, b"", {}) if request.kind == kind else answer
    with pytest.raises(th.CheckpointError, match=f"^{SOURCE}@step.*status {status}.*;"):
        th.gram(trajectory, device="cpu")


@pytest.mark.parametrize("size", ["7", "-7", "1e3", "x", "9" * 5_000])
def test_a_size_that_is_another_when_it_is_read(hub, size):
    hub.edit = lambda request, status, body, headers: (
        status,
        body,
        headers | ({"X-Linked-Size": size} if "X-Linked-Size" in headers else {}),
    )
    try:
        gram()
    except th.CheckpointError as error:
        assert str(error).startswith(f"{SOURCE}@step") and "model-0000" in str(error)
    else:
        assert size not in ("7", "-7"), "the client takes the others for none"


# Any answer

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from([-1, 2**63, 10**30, "..", "/", "\0", "\ud800", "step1", "0" * 40]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)


def places_in(value, at=()):
    yield at
    if isinstance(value, (dict, list)):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from places_in(value[key], (*at, key))


@pytest.fixture(scope="module")
def standing(tmp_path_factory):
    with pytest.MonkeyPatch.context() as monkeypatch, StandInHub() as hub:
        monkeypatch.setattr(_files, "_FIRST_WAIT", 0.001)
        hub.connect(monkeypatch, tmp_path_factory.mktemp("home"))
        states = {hub.add(REPO, f"step{step}", stored(step)): step for step in range(3)}
        answers = {}

        def note(request, status, body, headers):
            if request.kind in ("refs", "info"):
                answers[request.kind] = json.loads(body)
            return status, body, headers

        hub.edit = note
        th.open_trajectory(SOURCE)
        yield hub, states, answers


@given(st.data())
@settings(max_examples=int(os.environ.get("TRAJHELPERS_MUTATIONS", "60")), deadline=None)
def test_any_answer(standing, data):
    """With anything else anywhere in the hub's answers: what is read is right, or an error of ours
    says why nothing is.
    """
    hub, states, answers = standing
    kind = data.draw(st.sampled_from(["refs", "info"]))
    at = data.draw(st.sampled_from(list(places_in(answers[kind]))))
    new = data.draw(JSON | st.just(DROP) if at else JSON)
    hub.edit = edited(kind, lambda body: json.dumps(set_at(json.loads(body), at, new)).encode())
    try:
        trajectory = th.open_trajectory(SOURCE)
        found = trajectory.read([("a", 0, 6), ("b", 0, 4)])
    except (th.CheckpointError, th.StepError, th.LayoutError) as error:
        event(type(error).__name__)
        assert str(error).startswith(SOURCE) and str(error).isprintable()
    else:
        event("read")
        steps = np.array([states[one.commit] for one in trajectory.checkpoints])[:, None]
        expected = np.hstack([np.arange(6.0) * steps, np.arange(4.0) + steps**2])
        np.testing.assert_array_equal(found, expected)
