"""The gallery of all stored runs, in a real browser: what it shows is what Python computes."""

import json
import math
from functools import partial
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe

import trajhelpers as th
from trajhelpers.explorer.embedding import embedded
from trajhelpers.lab.redundancy import load_redundancy

ROOT = Path(__file__).parents[1]
HTML = ROOT / "_build" / "html"
GALLERY = HTML / "book" / "gallery.html"
STUDIES = [path.name for path in sorted((ROOT / "data" / "studies").iterdir())]

pytestmark = pytest.mark.filterwarnings("ignore:the path is so much longer")


@pytest.fixture
def opened(browser):
    """Opens the gallery from the disk, where scripts may load nothing but scripts; whatever is
    asked of another place, and whatever a console would show, fails the test.
    """
    if not GALLERY.exists():
        pytest.fail("no pages in _build/html: run `make book` first")
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    trouble = []
    context.on("request", lambda r: foreign(r.url) and trouble.append(r.url))
    context.on("weberror", lambda e: trouble.append(str(e.error)))
    context.on("console", lambda m: m.type == "error" and trouble.append(m.text))
    yield partial(open_gallery, context)
    context.close()
    assert not trouble


def foreign(address):
    return not address.startswith((HTML.as_uri(), "data:", "blob:"))


def open_gallery(context, query=""):
    page = context.new_page()
    page.goto(GALLERY.as_uri() + query)
    arranged(page)
    return page


def arranged(page):
    """Wait for a grid, the first maps of it drawn."""
    page.wait_for_selector(".maps:not([aria-busy]) li.drawn", timeout=60_000)


def choose(page, name, value):
    page.locator(f"select[name='{name}']").select_option(value)
    arranged(page)


def runs(page):
    return page.eval_on_selector_all(".maps button", "all => all.map(one => one.dataset.run)")


def number(page, measure):
    return float(page.locator(f"[data-measure={measure}]").get_attribute("data-value"))


def pair(page):
    """The runs that stand side by side."""
    return [
        page.locator(f".maps button:has(.letter.{letter})").get_attribute("data-run")
        for letter in "AB"
    ]


def kernels_of(study):
    """By the names that runs have in the gallery."""
    if study != "redundancy":
        return th.studies.load_study(study).kernels
    return {
        f"{recipe.lower().replace(',', '').replace(' ', '-')}-{seed}-{kind}": kernel
        for (recipe, seed, kind), kernel in load_redundancy().kernels.items()
    }


def script_of(study):
    """What a study's script hands over."""
    text = (HTML / "_static" / "runs" / f"{study}.js").read_text()
    name, content = text.removeprefix("trajhelpersRuns(").removesuffix(");\n").split(", ", 1)
    assert json.loads(name) == study
    return json.loads(content)


# ---- the data ----


@pytest.mark.parametrize("study", [*STUDIES, "redundancy"])
def test_a_script_has_every_run_of_its_study_once_with_all_digits(study):
    content, kernels = script_of(study), kernels_of(study)
    names = [run["run"] for run in content["runs"]]
    assert sorted(names) == sorted(kernels)
    for run in content["runs"]:
        whole = kernels[run["run"]].group_by(lambda _: "all")
        expected = embedded(whole, "")["groups"][0]
        (group,) = run["kernel"]["groups"]
        assert group["products"] == expected["products"]
        assert run["kernel"]["steps"] == list(whole.steps)


def test_a_run_has_its_recipe_and_its_results():
    study, content = th.studies.load_study("batch-size"), script_of("batch-size")
    for run in content["runs"]:
        rows, recipe = study.table.loc[[run["run"]]], content["shared"] | run["recipe"]
        for field in ("learning_rate", "batch_size", "momentum", "seed", "model"):
            assert recipe[field] == rows[field].iloc[0]
        assert np.array_equal(np.atleast_1d(recipe["arm"]), rows.arm.unique())
        assert run["results"]["test_accuracy"] == rows.test_accuracy.iloc[0]
        end = study.log[study.log.run == run["run"]].iloc[-1]
        assert run["results"]["test_loss"] == end.test_loss


def test_every_study_has_its_file_and_its_chapter():
    scripts = {path.stem for path in (HTML / "_static" / "runs").glob("*.js")}
    assert scripts == {*STUDIES, "redundancy"}
    head = (HTML / "_static" / "gallery.js").read_text().splitlines()[0]
    about = json.loads(head.removeprefix("window.trajhelpersGallery = ").removesuffix(";"))
    for study in about["studies"]:
        assert study["runs"] == len(script_of(study["name"])["runs"])
        page = (HTML / "book" / study["page"]).read_text()
        assert study["chapter"].split(". ", 1)[1].split("?")[0] in page
    every = {run["run"] for study in scripts for run in script_of(study)["runs"]}
    assert about["distinct"] == len(every)
    assert f"{len(every)} of them, in {len(scripts)} studies" in GALLERY.read_text()


# ---- the page ----


# The others are no different, but many.
QUICK = ("momentum-decay-vgg", "pythia-mini-layers")


@pytest.mark.parametrize(
    "study",
    [
        pytest.param(study, marks=() if study in QUICK else pytest.mark.slow)
        for study in (*STUDIES, "redundancy")
    ],
)
def test_numbers_are_python_s(opened, study):
    """ω of all, seen from both places; of the two side by side from any, and their difference."""
    page, kernels = opened(f"?study={study}"), kernels_of(study)
    for place, origin in (("O", None), ("start", 0)):
        choose(page, "from", place)
        shown = page.eval_on_selector_all(
            ".maps button",
            "all => all.map(one => [one.dataset.run, +one.querySelector('.omega').dataset.value])",
        )
        assert sorted(run for run, _ in shown) == sorted(kernels)
        for run, omega in shown:
            assert omega == pytest.approx(th.mds(kernels[run], origin), abs=1e-9)
    a, b = (kernels[run] for run in pair(page))
    both = range(a.n) if a.n == b.n else [t for t in range(a.n) if a.steps[t] in b.steps]
    for place in (-1, 0, len(both) // 2):
        page.locator("input[name=origin]").fill(str(place))
        if place < 0:
            expected = th.mds(a), th.mds(b)
        else:
            of_b = both[place] if a.n == b.n else list(b.steps).index(a.steps[both[place]])
            expected = th.mds(a, both[place]), th.mds(b, of_b)
        assert number(page, "omega-A") == pytest.approx(expected[0], abs=1e-9)
        assert number(page, "omega-B") == pytest.approx(expected[1], abs=1e-9)
        difference = number(page, "omega-difference")
        assert difference == pytest.approx(expected[0] - expected[1], abs=2e-9)


def test_sorted_and_filtered(opened):
    page, table = opened("?study=momentum-vgg"), th.studies.load_study("momentum-vgg").table
    by_name = {"ω": "mds", "ω₀": "relative_mds", "test_accuracy": "test_accuracy"}
    for name, column in by_name.items():
        choose(page, "sort", name)
        assert list(table[column][runs(page)]) == sorted(table[column])
    page.locator("input[name=down]").check()
    assert list(table.test_accuracy[runs(page)]) == sorted(table.test_accuracy, reverse=True)
    choose(page, "is-momentum", "0.95")
    choose(page, "is-weight_decay", "0")
    wanted = table[(table.momentum == 0.95) & (table.weight_decay == 0)]
    assert sorted(runs(page)) == sorted(wanted.index)
    assert f"{len(wanted)} of {len(table)} runs" in page.locator(".said").first.inner_text()
    choose(page, "is-momentum", "")
    assert len(runs(page)) == (table.weight_decay == 0).sum()


def test_two_are_chosen_and_swapped(opened):
    page, kernels = opened(), kernels_of("momentum-decay-vgg")
    first, second, third = runs(page)[2], runs(page)[5], runs(page)[7]
    for run in (first, second):
        page.locator(f"button[data-run='{run}']").click()
    assert pair(page) == [first, second]
    page.locator(f"button[data-run='{third}']").click()
    assert pair(page) == [third, second]
    page.get_by_role("button", name="swap A and B").click()
    assert pair(page) == [second, third]
    assert number(page, "omega-A") == pytest.approx(th.mds(kernels[second]), abs=1e-9)
    pressed = page.locator(".maps button[aria-pressed=true]")
    assert pressed.count() == 2
    origin = page.locator(".trajhelpers-gallery input[name=origin]")
    origin.fill("10")
    page.get_by_role("button", name="open both in an explorer").click()
    omega = page.locator(".trajhelpers-explorer [data-measure=omega]")
    assert float(omega.get_attribute("data-value")) == pytest.approx(
        th.mds(kernels[second], 10), abs=1e-9
    )


def test_a_map_less_another(opened):
    """Every cell of the picture, against the difference of Python's maps."""
    page, kernels = opened(), kernels_of("momentum-decay-vgg")
    a, b = (kernels[run].cosine() for run in pair(page))
    most = math.ceil(np.abs(a - b).max() * 20) / 20
    canvas = page.locator(".trio figure:nth-child(3) canvas")
    label = canvas.get_attribute("aria-label")
    mean = f"{(a - b).mean():.3f}"
    assert f"mean {mean}, at most {np.abs(a - b).max():.2f}" in label
    # Colours at the middle of cells where hatching is not: where A is higher, or nearly equal.
    found = canvas.evaluate(
        """(canvas, n) => {
          const c = canvas.getContext("2d"), side = canvas.clientWidth - 72;
          const scale = canvas.width / canvas.clientWidth;
          const at = (i) => (i + .5) * side / n;
          return Array.from({length: n * n}, (_, k) => [...c.getImageData(
            scale * (52 + at(k % n)), scale * (10 + at(Math.floor(k / n))), 1, 1).data]);
        }""",
        len(a),
    )
    red, blue = (np.array(found)[:, k].reshape(a.shape) for k in (0, 2))
    share = (a - b) / most
    orange = share < -0.2
    assert (red[orange] > blue[orange]).all() and orange.sum() > 100
    assert (np.abs(red - blue.astype(int))[np.abs(share) < 0.005] < 12).all()


def test_runs_of_other_lengths_are_compared_where_both_have_checkpoints(opened):
    """76 and 31 checkpoints of two arms; too few in common for a map is said."""
    page = opened("?study=edge-of-stability")
    kernels = kernels_of("edge-of-stability")
    long = next(run for run, kernel in kernels.items() if kernel.n == 76)
    short = next(run for run, kernel in kernels.items() if kernel.n == 31)
    both = sorted(set(kernels[long].steps) & set(kernels[short].steps))
    page = opened(f"?study=edge-of-stability&a={long}&b={short}")
    said = page.locator(".trio figure:nth-child(3)").inner_text()
    expected = f"On the {len(both)} checkpoints" if len(both) > 2 else "No difference of maps"
    assert expected in said
    assert page.locator("input[name=origin]").get_attribute("max") == str(len(both) - 1)


def test_a_link_shows_what_its_sender_saw(opened):
    page = opened("?study=sam")
    choose(page, "sort", "sam_rho")
    choose(page, "is-seed", "1")
    for place in (3, 1):
        page.locator(".maps button").nth(place).click()
    page.locator("input[name=origin]").fill("4")
    page.wait_for_function("location.search.includes('origin=4')")
    sent = urlsplit(page.url)
    assert parse_qs(sent.query)["is-seed"] == ["1"]
    other = opened(f"?{sent.query}")
    assert runs(other) == runs(page) and pair(other) == pair(page)
    for measure in ("omega-A", "omega-B"):
        assert number(other, measure) == number(page, measure)
    assert other.locator("select[name=sort]").input_value() == "sam_rho"


def test_an_address_of_nothing_shows_what_there_is(opened):
    page = opened("?study=none&sort=none&a=none&origin=9999&is-none=1&from=x")
    assert page.locator("select[name=study]").input_value() == "momentum-decay-vgg"
    assert len(runs(page)) == 12
    assert page.locator("input[name=origin]").input_value() == "30"


def test_by_keyboard(opened):
    page = opened()
    first, second = runs(page)[:2]
    page.locator(".maps button[tabindex='0']").focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    focused = "document.activeElement.dataset.run"
    assert page.evaluate(focused) == second
    page.keyboard.press("Enter")
    assert pair(page)[0] == second
    page.keyboard.press("ArrowLeft")
    assert page.evaluate(focused) == first
    page.keyboard.press("Enter")
    assert pair(page) == [second, first]
    said = page.locator(".said").first.inner_text()
    assert said.startswith("B is ") and said.endswith("the next that you choose becomes A.")
    page.keyboard.press("ArrowDown")
    columns = "getComputedStyle(document.querySelector('.maps')).gridTemplateColumns.split(' ')"
    assert page.evaluate(focused) == runs(page)[page.evaluate(f"{columns}.length")]
    page.keyboard.press("End")
    assert page.evaluate(focused) == runs(page)[-1]
    # One stop for Tab, however many runs there are.
    page.keyboard.press("Tab")
    assert page.evaluate("!document.activeElement.closest('.maps')")


def test_a_study_that_cannot_be_read_is_named(opened, browser):
    page = browser.new_page()
    page.route("**/runs/sam.js", lambda route: route.abort())
    page.goto(GALLERY.as_uri())
    arranged(page)
    page.locator("select[name=study]").select_option("sam")
    page.wait_for_function("document.querySelector('.said').textContent.includes('cannot be read')")
    assert "The runs of sam" in page.locator(".said").first.inner_text()
    page.close()


@pytest.mark.slow
def test_all_studies_at_once(opened):
    """Every run once, though some are of several studies, and nothing blocks for long."""
    page = opened("?study=all")
    every = {run for study in (*STUDIES, "redundancy") for run in kernels_of(study)}
    assert sorted(runs(page)) == sorted(every)
    drawn = page.locator(".maps li.drawn").count()
    assert 0 < drawn < len(every) / 2  # what is seen, and a little more
    page.locator(".maps").evaluate("box => { box.scrollTop = box.scrollHeight; }")
    page.wait_for_selector(".maps li:last-child.drawn")


def test_it_fits(opened):
    page = opened("?study=batch-size")
    for width in (1400, 900, 390):
        page.set_viewport_size({"width": width, "height": 800})
        page.wait_for_timeout(200)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        small = page.evaluate(
            """[...document.querySelectorAll(".live *")].filter(one => one.checkVisibility() &&
            parseFloat(getComputedStyle(one).fontSize) < 12).map(one => one.outerHTML)"""
        )
        assert not small


def test_accessible(page, site):
    """Over http too, from a server's own folder."""
    page.goto(f"{site}/book/gallery.html?study=batch-size")
    arranged(page)
    assert not page.trouble  # axe asks for things of its own
    for details in page.locator(".live details").all():
        details.evaluate("one => { one.open = true; }")
    for theme in ("light", "dark"):
        page.evaluate("theme => { document.documentElement.dataset.theme = theme; }", theme)
        found = Axe().run(page, context="article").response["violations"]
        assert not [(one["id"], [node["html"][:99] for node in one["nodes"]]) for one in found]


def test_without_scripts_and_in_print_there_is_a_picture(browser, opened):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(GALLERY.as_uri())
    picture = page.locator(".trajhelpers-gallery img")
    assert picture.is_visible() and picture.evaluate("one => one.naturalWidth") > 1000
    context.close()
    page = opened()
    assert not page.locator(".trajhelpers-gallery img").is_visible()
    page.emulate_media(media="print")
    assert page.locator(".trajhelpers-gallery img").is_visible()
    assert not page.locator(".live").is_visible()
