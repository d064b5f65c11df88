"""The catalogue of a run on the hub, by the real client against a stand-in: which revisions, at
which commits, with which files.
"""

import hashlib
import itertools
import json
import traceback
from pathlib import Path

import pytest
import torch
from huggingface_hub import (
    HfApi,
    constants,
    get_hf_file_metadata,
    get_session,
    hf_hub_download,
    hf_hub_url,
)
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save
from standin_hub import FAULTS, StandInHub

import trajhelpers as th
from trajhelpers.sources.catalogue import ListedFile, Revision, choose_format
from trajhelpers.sources.hub.address import Address, is_hub, parse
from trajhelpers.sources.hub.revisions import find_run

TOKEN = "hf_ThisIsTheTokenThatNobodyMaySee"
OTHER, PYTHIA = "someone/digits", "EleutherAI/pythia-14m"
# The suite's 154 steps, as its paper states them.
SCHEDULE = [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512] + [1000 * k for k in range(1, 144)]


@pytest.fixture
def hub(monkeypatch, tmp_path):
    with StandInHub() as hub:
        hub.connect(monkeypatch, tmp_path / "home", TOKEN)
        yield hub


def weights(number):
    return {"model.safetensors": b"the weights of %d" % number, "config.json": b"{}"}


def fill(hub, repo, steps, name="step{}"):
    return {step: hub.add(repo, name.format(step), weights(step)) for step in steps}


def find_revisions(repo, *arguments, **options):
    return find_run(f"hf://{repo}", *arguments, **options).revisions


def steps(revisions):
    return [revision.step for revision in revisions]


# The stand-in


def test_the_real_client_takes_the_stand_in_for_the_hub(hub, tmp_path):
    content = save({"w": torch.arange(1000.0).reshape(100, 10).half()})
    commit = hub.add(PYTHIA, "step0", {"model.safetensors": content, "config.json": b'{"a": 1}'})
    api = HfApi(endpoint=hub.endpoint)
    assert [
        (branch.name, branch.target_commit) for branch in api.list_repo_refs(PYTHIA).branches
    ] == [("step0", commit)]
    for revision in ("step0", commit):
        info = api.model_info(PYTHIA, revision=revision, files_metadata=True)
        assert (
            info.sha == commit
            and info.siblings[0].lfs.sha256 == hashlib.sha256(content).hexdigest()
            and info.siblings[0].size == len(content)
        )
    assert api.get_safetensors_metadata(PYTHIA, revision=commit).files_metadata[
        "model.safetensors"
    ].tensors["w"].shape == [100, 10]
    assert (
        Path(hf_hub_download(PYTHIA, "model.safetensors", revision=commit)).read_bytes() == content
    )
    assert (
        Path(hf_hub_download(PYTHIA, "config.json", revision="step0")).read_bytes() == b'{"a": 1}'
    )
    found = get_hf_file_metadata(hf_hub_url(PYTHIA, "model.safetensors", revision="step0"))
    assert (
        found.commit_hash == commit
        and found.size == len(content)
        and "//localhost:" in found.location
    )
    answer = get_session().get(found.location, headers={"Range": "bytes=100-149"})
    assert (answer.status_code, answer.headers["Content-Range"], answer.content) == (
        206,
        f"bytes 100-149/{len(content)}",
        content[100:150],
    )
    assert all(
        request.has_authorization for kind in ("refs", "info") for request in hub.requests_of(kind)
    )
    assert hub.requests_of("file") and not any(
        request.has_authorization for request in hub.requests_of("file")
    )
    hub.expire_addresses()
    assert get_session().get(found.location).status_code == 403


@pytest.mark.parametrize("fault", FAULTS)
def test_the_stand_in_fails_as_it_is_told(hub, fault):
    hub.add(PYTHIA, "main", {"model.safetensors": bytes(range(200))})
    address = get_hf_file_metadata(hf_hub_url(PYTHIA, "model.safetensors")).location
    hub.faults, hub.pause = lambda request: fault if request.kind == "file" else None, 0
    try:
        answer = get_session().get(address, headers={"Range": "bytes=10-109"})
        seen = answer.status_code, len(answer.content), answer.headers.get("Content-Range")
    except Exception as error:
        seen = type(error).__name__
        # By the client's 0.x, which stands on requests.
        seen = {"ChunkedEncodingError": "RemoteProtocolError", "ConnectionError": "ReadError"}.get(
            seen, seen
        )
    whole = "bytes 10-109/200"
    assert (
        seen
        == {
            "503": (503, 9, None),
            "429": (429, 9, None),
            "short": (206, 50, whole),
            "elsewhere": (206, 100, "bytes 9-108/200"),
            "ignore-range": (200, 200, None),
            "truncated": "RemoteProtocolError",
            "reset": "ReadError",
            "expired": (403, 78, None),
            "html": (200, 63, None),
            "dribble": (206, 100, whole),
            "crawl": (206, 100, whole),
        }[fault]
    )


# Addresses


@pytest.mark.parametrize(
    "source, fact",
    [
        ("hf://datasets/a/b", "dataset"),
        ("hf://spaces/a/b", "space"),
        ("hf://", "OWNER/NAME"),
        ("hf://pythia-14m", "OWNER/NAME"),
        ("hf://a/../b", "OWNER/NAME"),
        ("hf://a/b?c", "OWNER/NAME"),
        ("runs/digits", "OWNER/NAME"),
    ],
)
def test_what_is_no_address_says_so(source, fact):
    with pytest.raises(ValueError, match=fact):
        parse(source)


def test_addresses():
    assert parse("hf://EleutherAI/pythia-2.8b/") == Address("EleutherAI/pythia-2.8b")
    for source, expected in {
        "hf://a/b@step3": ("a/b", "step3", ""),
        "hf://a/b/tree/step3": ("a/b", "step3", ""),
        "hf://a/b/hf_ckpt": ("a/b", "", "hf_ckpt"),
        "hf://a/b@main/x/checkpoint-5": ("a/b", "main", "x/checkpoint-5"),
        "hf://a/b@refs/pr/1/x": ("a/b", "refs/pr/1", "x"),
    }.items():
        assert parse(source) == expected
    assert is_hub("hf://a/b") and not is_hub("/hf/a") and not is_hub(["hf://a/b"])


# Which revisions


def test_by_default_the_branches_named_step_in_the_order_of_their_numbers(hub):
    commits = fill(hub, OTHER, [1000, 5, 20, 0, 143])
    hub.add(OTHER, "main", weights(1000))
    hub.add(OTHER, "step7-draft", weights(7))
    found = find_revisions(OTHER)
    assert [(revision.step, revision.name, revision.commit) for revision in found] == [
        (step, f"step{step}", commits[step]) for step in (0, 5, 20, 143, 1000)
    ]
    assert steps(find_revisions(OTHER, every=2)) == [0, 20, 1000] and steps(
        find_revisions(OTHER, every=2, skip=[20, 5])
    ) == [0, 1000]


def test_of_the_suite_its_schedule(hub):
    fill(hub, PYTHIA, SCHEDULE)
    hub.add(PYTHIA, "main", weights(143000))
    assert steps(find_revisions(PYTHIA)) == SCHEDULE and len(SCHEDULE) == 154
    every_fourth = steps(find_revisions(PYTHIA, every=4))
    assert len(every_fourth) == 39 and every_fourth == [0, 8, 128] + list(range(2000, 142001, 4000))


def test_of_the_suite_its_schedule_where_a_branch_is_missing(hub):
    """Without it all later steps would move by one, and `every` would take others."""
    fill(hub, PYTHIA, [step for step in SCHEDULE if step not in (2, 6000)])
    found = find_revisions(PYTHIA, every=4)
    assert len(found) == 39 and steps(found) == [0, 8, 128] + list(range(2000, 142001, 4000))
    assert [revision for revision in found if not revision.commit] == [
        Revision(6000, "step6000", "", {}, repository=PYTHIA)
    ]


def test_by_pattern(hub):
    fill(hub, PYTHIA, SCHEDULE)
    assert steps(find_revisions(PYTHIA, "step*000")) == [1000 * k for k in range(1, 144)]
    assert steps(find_revisions(PYTHIA, "step*000", every=100, skip=[1000])) == [101000]
    with pytest.raises(th.StepError, match=r"'stp\*'.*step0, step1, step1000"):
        find_revisions(PYTHIA, "stp*")


def test_by_list_of_names_and_steps(hub):
    commits = fill(hub, PYTHIA, SCHEDULE)
    found = find_revisions(PYTHIA, ["step3", 512, "1000", "step2000"])
    assert [(revision.step, revision.commit) for revision in found] == [
        (3, ""),
        (512, commits[512]),
        (1000, commits[1000]),
        (2000, commits[2000]),
    ]
    for nonsense, error, fact in [
        (["step1", 1], th.StepError, "step1 is asked for twice"),
        ([], th.StepError, "empty"),
        (["main"], th.StepError, "'main'"),
        ([-1], ValueError, "-1"),
        ([True], ValueError, "True"),
        ([1.5], TypeError, "1.5"),
    ]:
        with pytest.raises(error, match=fact):
            find_revisions(PYTHIA, nonsense)


@pytest.mark.parametrize(
    "name", ["step{}-tokens4B", "stage1-step{}-tokens5B", "global_step{}", "ckpt_{}"]
)
def test_other_runs_name_their_revisions_otherwise(hub, name):
    fill(hub, OTHER, [9000, 1000, 20000], name)
    pattern = name.replace("{}", "*")
    found = find_revisions(OTHER, pattern)
    assert [(revision.step, revision.name) for revision in found] == [
        (step, name.format(step)) for step in (1000, 9000, 20000)
    ]
    # by itself, from a list of names, from numbers: the same revisions
    assert find_revisions(OTHER) == found
    assert find_revisions(OTHER, [name.format(step) for step in (1000, 20000)]) == found[::2]
    assert find_revisions(OTHER, [9000]) == [found[1]]
    with pytest.raises(th.StepError, match="no revision of step 100; it has"):
        find_revisions(OTHER, [100, 1000])
    with pytest.raises(th.StepError, match="no revision 'step3'; it has"):
        find_revisions(OTHER, ["step3"])


def test_a_list_keeps_its_order(hub):
    fill(hub, OTHER, [1000, 20000])
    run = find_run(f"hf://{OTHER}", ["step20000", "step1000"])
    assert [(revision.step, revision.name) for revision in run.revisions] == [
        (0, "step20000"),
        (1, "step1000"),
    ]
    assert "step1000 comes after step20000" in run.guesses[0]


def test_two_revisions_of_one_step(hub):
    fill(hub, OTHER, [1000], "stage1-step{}")
    fill(hub, OTHER, [1000, 2000], "stage2-step{}")
    run = find_run(f"hf://{OTHER}")
    assert [(revision.stage, revision.step) for revision in run.revisions] == [
        ("stage1", 1000),
        ("stage2", 1000),
        ("stage2", 2000),
    ]
    assert [revision.key for revision in run.revisions] == [
        "stage1-step1000",
        "stage2-step1000",
        "stage2-step2000",
    ]
    assert "stage1 (1, step 1000), then stage2 (2, steps 1000 … 2000)" in run.notes[0]
    assert find_revisions(OTHER, ["stage1-*", "stage2-*"]) == run.revisions
    with pytest.raises(
        th.StepError, match="skip: 2 checkpoints are at step 1000.*'stage1-step1000'"
    ):
        find_revisions(OTHER, skip=[1000])
    assert find_revisions(OTHER, skip=["stage1-step1000"]) == run.revisions[1:]
    with pytest.raises(th.StepError, match="stage1-step1000 and stage2-step1000"):
        find_revisions(OTHER, [1000, 2000])
    assert steps(find_revisions(OTHER, "stage2-*")) == [1000, 2000]
    hub.add(OTHER, "stage2-step01000", weights(1))
    with pytest.raises(
        th.StepError, match="stage2-step01000 and stage2-step1000 are both step 1000"
    ):
        find_revisions(OTHER)


@pytest.mark.parametrize(
    "arguments, error",
    [
        ({"every": 0}, ValueError),
        ({"every": 1.5}, TypeError),
        ({"skip": ["1"]}, th.StepError),
        ({"skip": [1.5]}, TypeError),
        ({"skip": [0, 1]}, th.StepError),
        ({"skip": [7]}, th.StepError),
    ],
)
def test_arguments(hub, arguments, error):
    fill(hub, OTHER, [0, 1])
    with pytest.raises(error):
        find_revisions(OTHER, **arguments)


# What they hold


def test_files_with_their_hashes_at_pinned_commits(hub):
    """Branches move; the catalogue asks for commits."""
    fill(hub, OTHER, [0, 1])
    found = find_revisions(OTHER)
    content = weights(1)["model.safetensors"]
    assert found[1].files["model.safetensors"] == ListedFile(
        "model.safetensors", len(content), hashlib.sha256(content).hexdigest()
    )
    assert found[1].files["config.json"] == ListedFile(
        "config.json", 2, hashlib.sha1(b"blob 2\0{}").hexdigest()
    )
    hub.add(OTHER, "step1", weights(99))
    later = find_revisions(OTHER)
    assert (
        later[0] == found[0]
        and later[1].commit != found[1].commit
        and later[1].files != found[1].files
    )
    assert all(
        any(
            commit in request.path for commit in (found[0].commit, found[1].commit, later[1].commit)
        )
        for request in hub.requests_of("info")
    )
    assert not hub.requests_of("file") and not hub.requests_of("resolve")


def sharded(kind, count, seed=0, names=None):
    stem = {"safetensors": "model", "bin": "pytorch_model"}[kind]
    shards = [f"{stem}-{i + 1:05d}-of-{count:05d}.{kind}" for i in range(count)]
    index = json.dumps(
        {
            "metadata": {},
            "weight_map": {f"layer{i}.weight": name for i, name in enumerate(names or shards)},
        }
    ).encode()
    return {f"{stem}.{kind}.index.json": index} | {
        name: b"%d %d" % (seed, i) for i, name in enumerate(shards)
    }


def test_shards_are_those_that_the_index_names(hub):
    hub.add(OTHER, "step0", sharded("bin", 2, 0))
    hub.add(OTHER, "step1", sharded("bin", 3, 1) | {"model.safetensors": b"x"})
    hub.add(OTHER, "step2", sharded("bin", 2, 2))
    hub.add(
        OTHER,
        "step3",
        sharded("safetensors", 2, 3, ["model-00001-of-00002.safetensors", "elsewhere.safetensors"]),
    )
    hub.add(
        OTHER,
        "step4",
        {"pytorch_model.bin.index.json": b"<html>", "pytorch_model-00001-of-00001.bin": b"x"},
    )
    found = find_revisions(OTHER)
    two = [
        "pytorch_model.bin.index.json",
        "pytorch_model-00001-of-00002.bin",
        "pytorch_model-00002-of-00002.bin",
    ]
    assert [list(revision.weights["bin"]) for revision in found] == [
        two,
        [
            "pytorch_model.bin.index.json",
            *(f"pytorch_model-0000{i}-of-00003.bin" for i in (1, 2, 3)),
        ],
        two,
        [],
        ["pytorch_model.bin.index.json"],
    ]
    assert list(found[3].weights["safetensors"]) == [
        "model.safetensors.index.json",
        "elsewhere.safetensors",
        "model-00001-of-00002.safetensors",
    ]
    assert found[4].shards == {"pytorch_model.bin.index.json": None}
    # four different indexes in five revisions, each asked for once, and redirected once
    assert len(hub.requests_of("resolve")) == 8 and not hub.requests_of("file")


def test_an_index_that_arrives_damaged_is_asked_for_again(hub):
    hub.add(OTHER, "step0", sharded("bin", 2))
    hub.add(OTHER, "step1", sharded("bin", 2, 1))
    answers = iter(["html", None, "html"])
    hub.faults = lambda request: (
        next(answers, None) if request.path.startswith("/api/resolve-cache") else None
    )
    assert len(find_revisions(OTHER)[0].weights["bin"]) == 3
    hub.faults = lambda request: "html" if request.path.startswith("/api/resolve-cache") else None
    with pytest.raises(th.CheckpointError, match=r"pytorch_model\.bin\.index\.json.*try again"):
        find_revisions(OTHER)


def test_the_types_that_the_hub_has_counted(hub):
    for step, dtype in enumerate([torch.float16, torch.float32]):
        hub.add(
            OTHER, f"step{step}", {"model.safetensors": save({"w": torch.zeros(3, dtype=dtype)})}
        )
    assert [revision.dtypes for revision in find_revisions(OTHER)] == [("F16",), ("F32",)]


# Formats


def holding(step, *paths, shards=None):
    return Revision(
        step,
        f"step{step}",
        "c" * 40,
        {path: ListedFile(path, 1, f"{step} {path}") for path in paths},
        shards or {},
    )


@pytest.mark.parametrize(
    "paths, safetensors, bin",
    [
        (["model.safetensors", "pytorch_model.bin"], ["model.safetensors"], ["pytorch_model.bin"]),
        (["config.json", "tokenizer.json"], [], []),
        (["pytorch_model.bin", "optimizer.bin", "training_args.bin"], [], ["pytorch_model.bin"]),
        (["weights.pth", "optimizer.pt"], [], ["weights.pth"]),
        (["a.safetensors", "b.safetensors"], [], []),
        (["onnx/model.safetensors"], [], []),
        (["pytorch_model-00001-of-00001.bin"], [], []),
        (["adapter_model.safetensors"], ["adapter_model.safetensors"], []),
    ],
)
def test_weight_files(paths, safetensors, bin):
    assert (
        list(holding(0, *paths).weights["safetensors"]),
        list(holding(0, *paths).weights["bin"]),
    ) == (safetensors, bin)


@given(st.lists(st.sets(st.sampled_from(["safetensors", "bin"])), min_size=1, max_size=6))
def test_the_format_that_is_read(held):
    """The issue's sentence, word by word."""
    names = {"safetensors": "model.safetensors", "bin": "pytorch_model.bin"}
    revisions = [
        holding(step, *(names[kind] for kind in sorted(kinds))) for step, kinds in enumerate(held)
    ]
    chosen = choose_format(revisions)
    some = [kinds for kinds in held if kinds]
    for step, kinds in enumerate(held):
        if not kinds:
            assert step not in chosen
        elif len(kinds) == 1:
            assert {chosen[step]} == kinds
        elif all("safetensors" in other for other in some):
            assert chosen[step] == "safetensors"
        elif all("bin" in other for other in some):
            assert chosen[step] == "bin"
        else:
            assert chosen[step] == "safetensors"
    assert set(choose_format(revisions, "bin").values()) <= {"bin"}


def test_an_unknown_format():
    with pytest.raises(ValueError, match="'safetensors' or 'bin' or .*, got 'onnx'"):
        choose_format([holding(0, "model.safetensors")], "onnx")


# What can go wrong


def refused(error=th.CheckpointError, repo=PYTHIA):
    """The message of the error, which, with all that led to it, shows no token."""
    with pytest.raises(error) as caught:
        find_revisions(repo)
    assert TOKEN not in "".join(traceback.format_exception(caught.value))
    return str(caught.value)


def test_a_repository_that_is_not_there(hub):
    assert (
        "hf://EleutherAI/pythia-14m: there is no such model" in refused()
        and "auth login" in refused()
    )


def test_a_gated_repository(hub):
    fill(hub, PYTHIA, [0, 1])
    hub.denied[PYTHIA] = "GatedRepo"
    assert "gated" in refused() and f"{hub.endpoint}/{PYTHIA}" in refused()


def test_an_account_that_may_not(hub):
    fill(hub, PYTHIA, [0, 1])
    hub.denied[PYTHIA] = "Forbidden"
    assert "403" in refused() and "auth login" in refused()


def test_offline(hub, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE" in refused()


def test_no_network(hub, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:1")
    assert "http://127.0.0.1:1 cannot be reached" in refused() and "network" in refused()
    assert hub.waits and not hub.requests


def test_a_proxy_that_wants_a_login(hub, monkeypatch):
    hub.add("a/b", "main", {"page": b"<html>Sign in</html>"})
    monkeypatch.setattr(constants, "ENDPOINT", f"{hub.endpoint}/a/b/resolve/main/page?")
    assert "something other than the hub's data" in refused() and "proxy" in refused()


@pytest.mark.parametrize(
    "fault, fact",
    [("503", "503; try again later"), ("429", "limit of requests"), ("reset", "cannot be reached")],
)
def test_a_hub_that_never_answers(hub, caplog, fault, fact):
    caplog.set_level("DEBUG")
    fill(hub, PYTHIA, [0, 1])
    hub.faults = lambda request: fault
    assert fact in refused() and caplog.text and TOKEN not in caplog.text


def test_a_hub_that_asks_to_wait_is_left_alone_for_as_long(hub):
    fill(hub, OTHER, [0, 1])
    hub.retry_after, answers = "77", iter(["429"])
    hub.faults = lambda request: next(answers, None)
    assert steps(find_revisions(OTHER)) == [0, 1]
    assert len(hub.waits) == 1 and hub.waits[0] >= 77


def test_a_hub_that_stumbles(hub):
    """Each fifth answer fails; the catalogue is the same."""
    for step in range(40):
        hub.add(OTHER, f"step{step}", sharded("bin", 1 + step % 3, step))
    expected = find_revisions(OTHER)
    faults = itertools.cycle(
        [
            None,
            None,
            None,
            None,
            "503",
            None,
            None,
            None,
            None,
            "429",
            None,
            None,
            None,
            None,
            "reset",
            None,
            None,
            None,
            None,
            "truncated",
        ]
    )
    hub.faults = lambda request: next(faults)
    assert find_revisions(OTHER) == expected and len(hub.waits) >= 8


def test_a_token_goes_to_the_hub_and_not_to_where_it_points(hub, monkeypatch):
    """An index that git-lfs keeps is on the other host."""
    monkeypatch.setattr("standin_hub.LFS", (".bin", ".json"))
    for step in range(2):
        hub.add(OTHER, f"step{step}", sharded("bin", 2, step))
    assert len(find_revisions(OTHER)[0].weights["bin"]) == 3
    assert hub.requests_of("file") and not any(
        request.has_authorization for request in hub.requests if request.host != "127.0.0.1"
    )
    assert all(
        request.has_authorization
        for request in hub.requests
        if request.kind in ("refs", "info", "resolve")
    )
