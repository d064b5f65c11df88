"""The explorer for who does not see it, or sees it large: axe-core's rules, words, a table."""

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from test_explorer import random_kernel
from test_explorer_page import drawn, move

import trajhelpers as th
from trajhelpers.explorer.page import page as html_page

KERNELS = {"a run": random_kernel(31, 0), "another": random_kernel(20, 1)}

# Pictures that stood without words for as long as it takes to tell of them.
REMEMBER_THE_MUTE = """
  window.mute = [];
  new MutationObserver(() => {
    for (const one of document.querySelectorAll("[role=img]:not([aria-label])"))
      if (!window.mute.includes(one)) window.mute.push(one);
  }).observe(document, { subtree: true, childList: true, attributes: true });
"""


def all_drawn(page):
    """The spectrum comes last."""
    page.get_by_role("img", name="eigenvalues").wait_for()
    drawn(page)


@pytest.fixture
def opened(browser, tmp_path):
    th.explore(KERNELS, unit="epoch").save(tmp_path / "runs.html")

    def opened(**of_context):
        contexts.append(browser.new_context(**of_context))
        page = contexts[-1].new_page()
        page.goto((tmp_path / "runs.html").as_uri())
        all_drawn(page)
        return page

    contexts = []
    yield opened
    for context in contexts:
        context.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 390])
def test_no_rule_of_axe_is_broken(opened, theme, width):
    page = opened(color_scheme=theme, viewport={"width": width, "height": 900})
    page.locator("input[name=walk]").check()
    page.locator(".trajhelpers-explorer summary").first.click()
    drawn(page)
    found = Axe().run(page).response["violations"]
    assert not [(one["id"], one["nodes"][0]["html"][:200]) for one in found]


@pytest.mark.parametrize("width", [600, 320])
def test_enlarged_it_scrolls_one_way(opened, width):
    """A window of 1200 or 1280 pixels at 200 % and 400 %."""
    page = opened(viewport={"width": width, "height": 450})
    page.locator("input[name=walk]").check()
    page.locator(".trajhelpers-explorer summary").first.click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    sizes = page.evaluate(
        "[...document.querySelectorAll('button, select, summary, [type=range], label.box')]"
        ".filter(element => element.checkVisibility())"
        ".map(element => element.getBoundingClientRect().height)"
    )
    assert len(sizes) > 12 and min(sizes) >= 24
    texts = page.evaluate(
        "[...document.querySelectorAll('*')].map(e => parseFloat(getComputedStyle(e).fontSize))"
    )
    assert min(texts) >= 12


def test_each_view_says_what_it_shows(opened):
    page, kernel = opened(), KERNELS["a run"]
    labels = page.locator(":is([role=img], [role=application]):visible").evaluate_all(
        "all => all.map(e => e.ariaLabel)"
    )
    assert len(labels) == 5 and all(labels)
    assert f"mean {th.mds(kernel):.3f}, lowest {kernel.cosine().min():.2f}" in labels[0]
    first, last = th.angles(kernel)["consecutive"][[0, -1]]
    assert f"consecutive updates from {first:.4g} to {last:.4g}, between" in labels[2]


def test_no_picture_is_there_before_its_words(opened):
    page = opened()
    page.add_init_script(REMEMBER_THE_MUTE)
    page.reload()
    all_drawn(page)
    page.locator("input[name=walk]").check()
    drawn(page)
    pictures = page.locator(".views [role=img]").evaluate_all("all => all.map(e => e.ariaLabel)")
    assert len(pictures) == 5 and all(pictures)
    assert page.evaluate("window.mute.map(one => one.outerHTML.slice(0, 100))") == []


def test_the_table_has_what_is_drawn(opened):
    page, kernel = opened(), KERNELS["a run"]
    page.locator(".trajhelpers-explorer summary").first.click()
    rows = page.locator("table tr")
    for stride in (1, 3):
        move(page, "stride", stride)
        some = kernel[::stride]
        assert rows.count() == some.n + 1
        steps, with_end, bends, *_, way = np.array(
            [
                [np.nan if cell == "–" else float(cell) for cell in row.split("\t")]
                for row in rows.all_inner_texts()[1:]
            ]
        ).T
        np.testing.assert_array_equal(steps, some.steps)
        np.testing.assert_allclose(with_end, some.cosine()[:, -1], rtol=6e-4)
        assert np.isnan(bends[[0, -1]]).all() and np.isnan(way[0])
        np.testing.assert_allclose(bends[1:-1], th.angles(some)["consecutive"], rtol=6e-4)
        np.testing.assert_allclose(way[1:], th.norms(some)["from_initialization"], rtol=6e-4)


# Words over words, and words beside their drawing. Boxes are higher than letters.
COLLISIONS = """[...document.querySelectorAll("svg")].flatMap((svg) => {
  const { left, right } = svg.getBoundingClientRect();
  const words = [...svg.querySelectorAll("text")].filter((one) => one.textContent.trim());
  const boxes = words.map((one) => one.getBoundingClientRect());
  const isCut = (one) => one.left < left - 1 || one.right > right + 1;
  const shared = (one, other, from, to) =>
    Math.min(one[to], other[to]) - Math.max(one[from], other[from]);
  const isOver = (one, other) =>
    shared(one, other, "left", "right") > 1 && shared(one, other, "top", "bottom") > 5;
  const isBad = (i) => isCut(boxes[i]) || boxes.some((box, j) => j < i && isOver(boxes[i], box));
  return words.filter((_, i) => isBad(i)).map((one) => one.textContent);
})"""


@pytest.mark.parametrize(("width", "text"), [(320, 16), (390, 24), (1280, 24), (1280, 32)])
def test_words_of_drawings_have_room(browser, tmp_path, width, text):
    parts = [
        th.explore({"run": random_kernel(25, 0)}, unit="epoch"),
        th.draw_curve(
            "?", ["before", "across", "after"], [10, 20, 30], "place", "angle (degrees)", (0, 180)
        ),
        th.draw_curve("?", [0.1, 0.3, 0.6, 1, 3], [0.5] * 5, "learning rate η", logx=True),
    ]
    path = tmp_path / "page.html"
    path.write_text(html_page("?", [part._repr_html_() for part in parts]))
    context = browser.new_context(viewport={"width": width, "height": 800})
    page = context.new_page()
    page.add_init_script(
        f"addEventListener('DOMContentLoaded', () =>"
        f" (document.documentElement.style.fontSize = '{text}px'))"
    )
    page.goto(path.as_uri())
    page.locator(".live").last.wait_for()
    all_drawn(page)
    assert page.evaluate(COLLISIONS) == []
    size = page.evaluate("document.querySelector('svg text').getBoundingClientRect().height")
    assert size > 12 * min(1.4, text / 16)
    context.close()
