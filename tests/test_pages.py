"""The rendered pages in a real browser, with every other host out of reach."""

import re
from urllib.parse import unquote

import pytest
from pages import ALL_PAGES, HTML


def read(page, url):
    """Open a page and wait until its pictures and fonts are there, each by itself: a network that
    falls silent says neither that they are nor, on a busy machine, anything within a given time.
    """
    page.goto(url, wait_until="load")
    # Those further down are else not fetched before a reader comes near.
    page.evaluate("for (const image of document.images) image.loading = 'eager'")
    page.wait_for_function("[...document.images].every(image => image.complete)")
    page.wait_for_function("document.fonts.ready.then(() => true)")


@pytest.mark.parametrize("name", ALL_PAGES)
def test_page(page, site, name):
    read(page, f"{site}/{name}.html")
    assert page.locator("article h1, #search-results, .genindextable, #index").count() >= 1
    broken = page.evaluate(
        "[...document.images].filter(image => !image.naturalWidth).map(image =>"
        " image.outerHTML.slice(0, 200))"
    )
    assert not broken
    mute = page.evaluate(
        "[...document.querySelectorAll('article img')].filter(image => !image.alt.trim() ||"
        " image.alt.startsWith('../')).map(image => image.outerHTML.slice(0, 200))"
    )
    assert not mute, "figures without a text for those who cannot see them"
    assert page.locator(".math").count() == page.locator(".math:has(.katex)").count()
    for width in 1400, 900, 390:
        page.set_viewport_size({"width": width, "height": 900})
        excess = page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        assert excess <= 0, f"{excess} px too wide on a screen of {width}"
    assert not page.trouble


@pytest.mark.parametrize("name", ALL_PAGES)
def test_links_lead_to_files(name):
    page = HTML / f"{name}.html"
    links = re.findall(r'<[^>]*\s(?:href|src)="([^"#?:]+)["#?]', page.read_text())
    assert links
    assert not [link for link in links if not (page.parent / unquote(link)).exists()]


@pytest.mark.parametrize(
    "chapter",
    [
        "01-first-map",
        "02-kernel-and-maps",
        "how-to-read-a-map",
        "03-lengths-and-bends",
        "04-momentum-and-decay",
        "05-weight-decay",
        "06-momentum-and-rate",
        "07-batch-size",
        "08-sam",
        "09-generalization",
        "10a-the-lemma-put-right",
        "11-width",
        "12-pythia",
    ],
)
def test_explorers_compute_in_the_page(page, site, chapter):
    read(page, f"{site}/book/{chapter}.html")
    explorers = page.locator(".trajhelpers-explorer:has([data-measure=omega])")
    assert explorers.count() >= 1
    for place in range(explorers.count()):
        explorer = explorers.nth(place)
        omega, origin = (explorer.locator(f) for f in ("[data-measure=omega]", "[name=origin]"))
        seen = [omega.get_attribute("data-value")]
        # Not from 0: some walks begin at O.
        for value in ("1", "2", "-1"):
            origin.fill(value)
            seen.append(omega.get_attribute("data-value"))
        assert len(set(seen)) == 3 and seen[0] == seen[3], seen
        assert all(0 <= float(value) <= 1 for value in seen)
    assert not page.trouble


@pytest.mark.parametrize("chapter", ["how-to-read-a-map", "how-fast-how-exact"])
def test_pictures_move_without_a_kernel(page, site, chapter):
    read(page, f"{site}/book/{chapter}.html")
    slider = page.locator("input[data-labels]").first
    shown = page.locator("div:has(> label > input[data-labels])").first.locator("img:visible")
    before = shown.get_attribute("alt")
    slider.focus()
    page.keyboard.press("ArrowRight")
    assert shown.get_attribute("alt") != before
    page.keyboard.press("ArrowLeft")
    assert shown.get_attribute("alt") == before
    assert not page.trouble


@pytest.mark.parametrize("width", [1400, 390])
def test_formulas_begin_in_their_boxes(page, site, width):
    """What is wider than its box is cut at the right, where it can be scrolled to."""
    page.set_viewport_size({"width": width, "height": 900})
    read(page, f"{site}/book/10-the-lemma.html")
    boxes = page.locator("div.math")
    assert boxes.count() > 2
    for place in range(boxes.count()):
        box, formula = boxes.nth(place), boxes.nth(place).locator(".katex-display")
        left, width = formula.bounding_box()["x"], formula.bounding_box()["width"]
        assert left >= box.bounding_box()["x"] - 1
        ink = formula.locator(".katex-html").bounding_box()
        assert abs(ink["x"] + ink["width"] / 2 - left - width / 2) <= 1


def test_the_book_can_be_searched(page, site):
    page.goto(f"{site}/search.html?q=momentum")
    page.locator("#search-results li a").first.wait_for()
    assert not page.trouble
