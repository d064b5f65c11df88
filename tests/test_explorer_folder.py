"""Checkpoints that are opened in a page: what it computes is what Python computes, and what it
cannot read it says."""

import json
import subprocess

import numpy as np
import pytest
import torch
from playwright.sync_api import expect
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_tensors
from test_explorer import HERE, NODE

import trajhelpers as th

# Both sides' cosines are within kernel.error_bound() of the true ones, so twice that apart at most;
# of each run here it is asserted to be below half of this.
WITHIN = 1e-9


def walk(n=5, seed=0, dtype=np.float32):
    """Checkpoints of three tensors, of 210 numbers."""
    rng = np.random.default_rng(seed)
    tensors = {"layer.0.weight": (10, 12), "layer.0.bias": (12,), "head": (6, 13)}
    state = {name: rng.standard_normal(shape) for name, shape in tensors.items()}
    for _ in range(n):
        state = {name: x + 0.3 * rng.standard_normal(x.shape) for name, x in state.items()}
        yield {name: x.astype(dtype) for name, x in state.items()}


def in_page(*folders):
    """What its modules make of each, under node."""
    done = subprocess.run(
        [NODE, HERE / "explorer_opening.mjs", *folders], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


# ---- runs that both read ----


def files(folder, dtype=np.float32):
    for step, state in zip((0, 5, 10, 200, 1000), walk(dtype=dtype)):
        save_file(state, folder / f"step_{step}.safetensors")


def of_type(dtype):
    def write(folder):
        for step, state in enumerate(walk()):
            tensors = {name: torch.tensor(x).to(dtype) for name, x in state.items()}
            save_tensors(tensors, folder / f"epoch={step}.safetensors")

    return write


def changing_type(folder):
    for step, state in enumerate(walk()):
        dtype = torch.bfloat16 if step % 2 else torch.float32
        tensors = {name: torch.tensor(x).to(dtype) for name, x in state.items()}
        save_tensors(tensors, folder / f"epoch={step}-step={10 * step}.safetensors")


def a_folder_each(folder):
    for step, state in zip((100, 20, 3000), walk()):
        (folder / f"checkpoint-{step}").mkdir()
        save_file(state, folder / f"checkpoint-{step}" / "model.safetensors")
        (folder / f"checkpoint-{step}" / "optimizer.pt").write_bytes(b"anything")
    save_file(state, folder / "model.safetensors")  # the last once more, as the Trainer saves it


def shards(folder, with_index=True):
    for step, state in zip((1, 2, 30), walk()):
        (folder / f"checkpoint-{step}").mkdir()
        weight_map = {}
        for number, name in enumerate(state, 1):
            shard = f"model-{number:05}-of-00003.safetensors"
            save_file({name: state[name]}, folder / f"checkpoint-{step}" / shard)
            weight_map[name] = shard
        if with_index:
            index = folder / f"checkpoint-{step}" / "model.safetensors.index.json"
            index.write_text(json.dumps({"weight_map": weight_map}))


def shards_without_index(folder):
    shards(folder, with_index=False)


def recorded(folder):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.Linear(7, 2))
    with th.Recorder(folder / "run", model) as recorder:
        for step in range(4):
            recorder(step)
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter += torch.randn_like(parameter)


def beside_parameters(folder):
    """What is no parameter, under names that wrappers made."""
    for step, state in enumerate(walk()):
        more = {
            "bn.running_mean": np.full(3, step, np.float32),
            "bn.num_batches_tracked": np.array([step]),
            "h.attn.bias": np.ones((1, 1, 4, 4), np.float32),
            "rope.inv_freq": np.ones(4, np.float32),
            "empty": np.zeros((0, 3), np.float32),
            "scalar": np.array(step + 1.0),
        }
        named = {f"module._orig_mod.{name}": x for name, x in (state | more).items()}
        save_file(named, folder / f"init{step or ''}.safetensors")


def from_the_start(folder):
    for name, state in zip(("initial", "step1", "step2", "best"), walk()):
        save_file(state, folder / f"{name}.safetensors")


def below(folder):
    (folder / "version_0" / "checkpoints").mkdir(parents=True)
    files(folder / "version_0" / "checkpoints")


RUNS = {
    "float32": files,
    "float64": lambda folder: files(folder, np.float64),
    "float16": of_type(torch.float16),
    "bfloat16": of_type(torch.bfloat16),
    "changing its type": changing_type,
    "a folder each": a_folder_each,
    "shards": shards,
    "shards without index": shards_without_index,
    "recorded": recorded,
    "beside parameters": beside_parameters,
    "from the start": from_the_start,
    "below": below,
}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Of each run, its folder and what the page makes of it."""
    folders = {}
    for name, write in RUNS.items():
        folders[name] = tmp_path_factory.mktemp("run")
        write(folders[name])
    return dict(zip(folders, zip(folders.values(), in_page(*folders.values()))))


def kernel_of(run):
    products = np.array([group["products"] for group in run["groups"]])
    n = len(run["steps"])
    return th.TrajectoryKernel(
        products.reshape(-1, n, n),
        run["steps"],
        names=[group["name"] for group in run["groups"]],
        sizes=[group["size"] for group in run["groups"]],
    )


@pytest.mark.filterwarnings("ignore::trajhelpers.TrajectoryWarning")
@pytest.mark.parametrize("name", RUNS)
def test_a_run_is_what_python_makes_of_it(found, name):
    folder, run = found[name]
    assert "error" not in run, run["error"]
    mine, kernel = kernel_of(run), th.gram(th.open_trajectory(folder))
    assert mine.steps.tolist() == kernel.steps.tolist()
    assert (mine.names, mine.sizes) == (kernel.names, kernel.sizes)
    for origin in (None, 0):
        assert kernel.error_bound(origin=origin).max() < WITHIN / 2
        np.testing.assert_allclose(mine.cosine(origin), kernel.cosine(origin), atol=WITHIN, rtol=0)
        assert th.mds(mine, origin) == pytest.approx(th.mds(kernel, origin), abs=WITHIN)
    for measure, lengths in th.norms(kernel).items():
        np.testing.assert_allclose(th.norms(mine)[measure], lengths, rtol=WITHIN)
    lengths = np.sqrt(np.einsum("gss->gs", kernel.increments))
    off = abs(mine.increments - kernel.increments)
    assert np.all(off <= 1e-12 * lengths[:, :, None] * lengths[:, None, :])


def test_what_was_left_out_is_said(found):
    _, run = found["beside parameters"]
    assert "bn.running_mean: a running statistic" in run["leftOut"]
    assert "h.attn.bias: a causal mask" in run["leftOut"]
    assert "bn.num_batches_tracked: a running statistic" in run["leftOut"]
    assert found["from the start"][1]["leftOut"] == ["run/best.safetensors: no step in its name"]


def test_no_file_is_ever_read_at_once(tmp_path):
    """A row of a block at most, of 32 MiB over all checkpoints."""
    rng = np.random.default_rng(0)
    for step in range(3):
        theta = rng.standard_normal(2_300_000).astype(np.float32)
        save_file(
            {"w": theta[:-7].reshape(-1, 1), "b": theta[-7:]}, tmp_path / f"{step}.safetensors"
        )
    (run,) = in_page(tmp_path)
    assert run["largest"] <= (32 << 20) / 8 / 4 * 4 < theta.nbytes / 2
    assert run["last"]["done"] == run["last"]["of"] == 3 * theta.nbytes
    kernel = th.gram(th.open_trajectory(tmp_path))
    np.testing.assert_allclose(kernel_of(run).cosine(), kernel.cosine(), atol=WITHIN, rtol=0)


# ---- what is wrong with a folder ----


def replaced(name, content):
    def write(folder):
        files(folder)
        (folder / name).write_bytes(content)

    return write


def cut_short(folder):
    files(folder)
    path = folder / "step_10.safetensors"
    path.write_bytes(path.read_bytes()[:-5])


def changed(change, dtype=np.float32):
    """One checkpoint of which something is different."""

    def write(folder):
        files(folder, dtype)
        states = list(walk(dtype=dtype))
        change(states[2])
        save_file(states[2], folder / "step_10.safetensors")

    return write


def put(name, place, value):
    return lambda state: state[name].reshape(-1).__setitem__(place, value)


def only(count):
    def write(folder):
        files(folder)
        for path in sorted(folder.iterdir())[count:]:
            path.unlink()

    return write


def named(*names):
    def write(folder):
        for name, state in zip(names, walk()):
            save_file(state, folder / f"{name}.safetensors")

    return write


def a_shard_is_missing(folder):
    shards(folder)
    (folder / "checkpoint-2" / "model-00002-of-00003.safetensors").unlink()


def twice(folder):
    files(folder)
    save_file(next(walk()), folder / "step_010.safetensors")


def of_other_files(folder):
    (folder / "notes.txt").write_text("nothing")
    (folder / "config.json").write_text("{}")


def tiny(folder):
    for step, state in enumerate(walk(dtype=np.float64)):
        save_file({k: 1e-160 * x for k, x in state.items()}, folder / f"step_{step}.safetensors")


def of_one_file(state):
    def write(folder):
        for step in range(2):
            save_file(state, folder / f"step_{step}.safetensors")

    return write


def two_runs(folder):
    for run in ("a", "b"):
        (folder / run).mkdir()
        files(folder / run)


def header_only(text):
    return len(text).to_bytes(8, "little") + text.encode()


# What is said, and whether Python says the same where it opens or computes.
WRONG = {
    "not safetensors": (
        replaced("step_10.safetensors", b"some text that is no header"),
        "run/step_10.safetensors: damaged or no safetensors file (its header would have",
        True,
    ),
    "three bytes": (
        replaced("step_10.safetensors", b"abc"),
        "run/step_10.safetensors: damaged or no safetensors file (it has 3 bytes)",
        False,
    ),
    "a tensor without a place": (
        replaced("step_10.safetensors", header_only('{"a":{"dtype":"F32","shape":[1]}}')),
        "run/step_10.safetensors: damaged or no safetensors file"
        " ('a' has no type, shape and place that a tensor has)",
        False,
    ),
    "a place before the beginning": (
        replaced(
            "step_10.safetensors",
            header_only('{"a":{"dtype":"F32","shape":[1],"data_offsets":[-4,0]}}'),
        ),
        "run/step_10.safetensors: damaged or no safetensors file"
        " ('a' has no type, shape and place that a tensor has)",
        False,
    ),
    "a web page": (
        replaced("step_10.safetensors", b"<!doctype html><p>404"),
        "run/step_10.safetensors: is a web page (HTML), not a checkpoint; the download failed,"
        " fetch it again",
        True,
    ),
    "empty": (
        replaced("step_10.safetensors", b""),
        "run/step_10.safetensors: is empty; fetch or save it again",
        True,
    ),
    "cut short": (
        cut_short,
        "run/step_10.safetensors: damaged or no safetensors file (its tensors end at byte",
        True,
    ),
    "a tensor is missing": (
        changed(lambda state: state.pop("head")),
        "run/step_10.safetensors: lacks parameter 'head', which run/step_0.safetensors has",
        True,
    ),
    "a tensor more": (
        changed(lambda state: state.update(tail=np.ones(3, np.float32))),
        "run/step_10.safetensors: has parameter 'tail', which run/step_0.safetensors lacks",
        True,
    ),
    "another shape": (
        changed(lambda state: state.update(head=np.ones(3, np.float32))),
        "run/step_10.safetensors: parameter 'head' has shape (3,), expected (6, 13) as in"
        " run/step_0.safetensors",
        True,
    ),
    "not a number": (
        changed(put("head", 40, np.nan)),
        "step 10 (run/step_10.safetensors): nan in 'head', element 40",
        True,
    ),
    "infinity": (
        changed(put("layer.0.bias", 3, -np.inf)),
        "step 10 (run/step_10.safetensors): -inf in 'layer.0.bias', element 3",
        True,
    ),
    "squares beyond float64": (
        changed(put("head", 1, 1e200), np.float64),
        "step 10 (run/step_10.safetensors): numbers of 'head' are so large or so small that their"
        " squares leave float64; `trajhelpers gram` scales them",
        False,
    ),
    "squares below float64": (
        tiny,
        "step 0 (run/step_0.safetensors): numbers of 'head' are so large or so small",
        False,
    ),
    "one only": (only(1), "run: one checkpoint only (step_0.safetensors)", True),
    "none": (of_other_files, "run: no checkpoints (expected", True),
    "no steps": (named("a", "b"), "run: no checkpoints (expected", True),
    "twice": (twice, "run: step_010 and step_10 are both at step 10; move one away", False),
    "a shard is missing": (
        a_shard_is_missing,
        "run/checkpoint-2/model.safetensors.index.json: names shards that are not there:"
        " model-00002-of-00003.safetensors; fetch them",
        True,
    ),
    "several runs": (two_runs, "run: holds several runs, run/a, run/b; open one of them", False),
    "several kinds": (
        named("step_1", "step_2", "ema_1", "ema_2"),
        "run: ema_* (2), step_* (2) differ in more than their numbers; open the files of one kind",
        False,
    ),
    "seeds": (
        named("seed_1_step_5", "seed_2_step_5", "seed_2_step_6"),
        "run: which of the numbers in its names is the step cannot be told here",
        False,
    ),
    "an optimizer's": (
        of_one_file({"w": np.ones(3), "w.exp_avg": np.ones(3)}),
        "run/step_0.safetensors: 'w.exp_avg' may be of an optimizer, and no parameter;"
        " `trajhelpers gram` knows what to do with it",
        False,
    ),
    "quantized": (
        of_one_file({"w.weight": np.ones((3, 3), np.int8)}),
        "run/step_0.safetensors: parameter 'w.weight': quantized (stored as I8)",
        False,
    ),
}


def test_what_is_wrong_is_said_as_python_says_it(tmp_path):
    """By the file, the thing and the remedy."""
    folders = {}
    for name, (write, _, _) in WRONG.items():
        folders[name] = tmp_path / name.replace(" ", "-") / "run"
        folders[name].mkdir(parents=True)
        write(folders[name])
    for (name, (_, said, is_pythons)), run in zip(WRONG.items(), in_page(*folders.values())):
        assert run.get("error", "no error").startswith(said), name
        if is_pythons:
            with pytest.raises(th.TrajectoryError) as raised:
                th.gram(th.open_trajectory(folders[name]))
            assert said in str(raised.value).replace(f"{folders[name].parent}/", ""), name


# ---- in a browser ----


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mine") / "my-run"
    folder.mkdir()
    files(folder)
    return folder


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """Of which the sums take a while."""
    folder = tmp_path_factory.mktemp("large") / "large"
    folder.mkdir()
    state = {"w": np.random.default_rng(0).standard_normal(400_000).astype(np.float32)}
    for step in range(60):
        save_file(state, folder / f"step_{step}.safetensors")
    return folder


@pytest.fixture
def opened(page, tmp_path):
    th.explore({"example": th.random_walk(12, start=4)}).save(tmp_path / "page.html")
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    address = (tmp_path / "page.html").as_uri()
    page.context.unroute_all()
    page.goto(address)
    yield page
    # What the page makes of its own text, a worker and a file to be saved, is a blob.
    assert not [one for one in asked if not one.startswith((address, "data:", "blob:"))]
    assert not page.trouble


def omega(page):
    return float(page.locator("[data-measure=omega]").get_attribute("data-value"))


def is_shown(page, folder, called):
    expect(page.locator(".opened")).to_contain_text(f"{called}: ", timeout=30_000)
    expect(page.locator("select[name=run] option:checked")).to_have_text(called)
    kernel = th.gram(th.open_trajectory(folder))
    assert omega(page) == pytest.approx(th.mds(kernel), abs=WITHIN)
    for group in kernel.groups():
        page.locator("select[name=layers]").select_option(group)
        assert omega(page) == pytest.approx(th.mds(kernel.groups()[group]), abs=WITHIN)


def test_a_folder_is_chosen(opened, run):
    opened.locator("input[webkitdirectory]").set_input_files(run)
    is_shown(opened, run, "my-run")
    assert "5 checkpoints, 0 … 1000, 210 parameters in 3 groups" in (
        opened.locator(".opened").inner_text()
    )


def test_a_folder_is_dropped(opened, run):
    """As a system does it: the browser then asks it for what the folder holds."""
    opened.locator(".trajhelpers-explorer").scroll_into_view_if_needed()
    client = opened.context.new_cdp_session(opened)
    for kind in ("dragEnter", "dragOver", "drop"):
        data = {"items": [], "files": [str(run)], "dragOperationsMask": 1}
        place = {"type": kind, "x": 300, "y": 300, "data": data}
        client.send("Input.dispatchDragEvent", place)
    is_shown(opened, run, "my-run")


def test_files_are_dropped(opened, run):
    drop(opened, {path.name: path for path in run.iterdir()})
    is_shown(opened, run, "your run")


def test_a_kernel_is_dropped(opened, tmp_path):
    kernel = th.random_walk(9, start=2)
    kernel.save(tmp_path / "kernel.npz")
    drop(opened, {"kernel.npz": tmp_path / "kernel.npz"})
    expect(opened.locator("select[name=run] option:checked")).to_have_text("kernel.npz")
    assert omega(opened) == pytest.approx(th.mds(kernel), abs=WITHIN)


def test_a_link_says_that_a_file_is_not_in_it(opened, tmp_path):
    th.random_walk(9, start=2).save(tmp_path / "kernel.npz")
    given = omega(opened)
    opened.locator("input[accept]").set_input_files(tmp_path / "kernel.npz")
    expect(opened.locator("select[name=run] option:checked")).to_have_text("kernel.npz")
    opened.locator("input[name=walk]").check()
    opened.get_by_role("button", name="link to this view").click()
    opened.get_by_role("button", name=", without your file").wait_for()
    other = opened.context.new_page()
    other.goto(opened.url)
    assert omega(other) == given and other.locator("input[name=walk]").is_checked()


def drop(page, paths):
    """Files on the explorer, as a script can."""
    content = {name: list(path.read_bytes()) for name, path in paths.items()}
    page.evaluate(
        """content => {
            const dataTransfer = new DataTransfer();
            for (const [name, bytes] of Object.entries(content))
                dataTransfer.items.add(new File([Uint8Array.from(bytes)], name));
            const event = new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true });
            document.querySelector(".trajhelpers-explorer").dispatchEvent(event);
        }""",
        content,
    )


def test_its_kernel_is_saved_for_python(opened, run, tmp_path):
    opened.locator("input[webkitdirectory]").set_input_files(run)
    with opened.expect_download() as download:
        opened.get_by_role("button", name="save its kernel (.npz)").click()
    assert download.value.suggested_filename == "my-run.npz"
    download.value.save_as(tmp_path / "my-run.npz")
    mine, kernel = th.load_kernel(tmp_path / "my-run.npz"), th.gram(th.open_trajectory(run))
    assert (mine.names, mine.sizes, mine.runs) == (kernel.names, kernel.sizes, kernel.runs)
    assert mine.steps.tolist() == kernel.steps.tolist()
    assert th.mds(mine) == pytest.approx(th.mds(kernel), abs=1e-12)
    assert "computed in a page" in mine.summary()
    before = omega(opened)
    opened.locator("input[accept]").set_input_files(tmp_path / "my-run.npz")
    expect(opened.locator("select[name=run] option:checked")).to_have_text("my-run.npz")
    assert omega(opened) == before


def test_what_is_wrong_is_shown(opened, tmp_path):
    cut_short(tmp_path)
    before = omega(opened)
    opened.locator("input[webkitdirectory]").set_input_files(tmp_path)
    said = opened.locator(".opened")
    expect(said).to_contain_text("step_10.safetensors: damaged or no safetensors file")
    drop(opened, {"weights.pt": tmp_path / "step_0.safetensors"})
    expect(said).to_contain_text("weights.pt: neither a kernel (.npz) nor safetensors")
    assert omega(opened) == before
    assert opened.locator(".pace").is_hidden()


def test_it_is_stopped(opened, large):
    before = omega(opened)
    opened.locator("input[webkitdirectory]").set_input_files(large)
    opened.get_by_role("button", name="stop").click()
    expect(opened.locator(".opened")).to_have_text("Stopped.")
    assert opened.locator(".pace").is_hidden()
    assert omega(opened) == before
    assert opened.locator("select[name=run] option").count() == 1
