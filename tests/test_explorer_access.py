"""The explorer for who does not see it, or sees it large: axe-core's rules, words, a table."""

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from test_explorer import random_kernel
from test_explorer_page import drawn, move

import trajhelpers as th

KERNELS = {"a run": random_kernel(31, 0), "another": random_kernel(20, 1)}


@pytest.fixture
def opened(browser, tmp_path):
    th.explore(KERNELS, unit="epoch").save(tmp_path / "runs.html")

    def opened(**of_context):
        contexts.append(browser.new_context(**of_context))
        page = contexts[-1].new_page()
        page.goto((tmp_path / "runs.html").as_uri())
        drawn(page)
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
    page.locator("summary").click()
    drawn(page)
    found = Axe().run(page).response["violations"]
    assert not [(one["id"], one["nodes"][0]["html"][:200]) for one in found]


@pytest.mark.parametrize("width", [600, 320])
def test_enlarged_it_scrolls_one_way(opened, width):
    """A window of 1200 or 1280 pixels at 200 % and 400 %."""
    page = opened(viewport={"width": width, "height": 450})
    page.locator("input[name=walk]").check()
    page.locator("summary").click()
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
    labels = page.locator("[role=img]:visible").evaluate_all("all => all.map(e => e.ariaLabel)")
    assert len(labels) == 5 and all(labels)
    assert f"mean {th.mds(kernel):.3f}, lowest {kernel.cosine().min():.2f}" in labels[0]
    first, last = th.angles(kernel)["consecutive"][[0, -1]]
    assert f"consecutive updates from {first:.4g} to {last:.4g}, between" in labels[2]


def test_the_table_has_what_is_drawn(opened):
    page, kernel = opened(), KERNELS["a run"]
    page.locator("summary").click()
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
