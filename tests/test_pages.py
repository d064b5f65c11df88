"""The rendered pages in a real browser, with every other host out of reach."""

import functools
import http.server
import re
import threading
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HTML = ROOT / "_build" / "html"
PAGES = re.findall(r"(?:root|file): (\S+)", (ROOT / "_toc.yml").read_text())


class Site(http.server.ThreadingHTTPServer):
    # A browser opens several connections at once for every page; those over socketserver's
    # five in the queue are dropped when the machine is busy, and what they asked never ends.
    request_queue_size = 128


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def site():
    if not (HTML / "index.html").exists():
        pytest.fail("no pages in _build/html: run `make book` first")
    server = Site(("127.0.0.1", 0), functools.partial(Quiet, directory=HTML))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def read(page, url):
    """Open a page and wait until its pictures and fonts are there.

    Each thing that a test looks at is waited for by itself: a network that falls silent says
    neither that they are there nor, on a busy machine, anything within a given time.
    """
    page.goto(url, wait_until="load")
    # Those far down are fetched when a reader comes near.
    page.evaluate("document.querySelectorAll('img').forEach(image => { image.loading = 'eager'; })")
    page.wait_for_function("[...document.images].every(image => image.complete)")
    page.wait_for_function("document.fonts.ready.then(() => true)")


@pytest.mark.parametrize("name", [*PAGES, "search", "genindex"])
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
    formulas = page.locator(".math").count()
    assert page.locator(".math .katex math").count() == formulas
    for width in 1400, 900, 390:
        page.set_viewport_size({"width": width, "height": 900})
        excess = page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        assert excess <= 0, f"{excess} px too wide on a screen of {width}"
    assert not page.trouble


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
