"""What a page of the book loads: little, from nowhere else, and from wherever it lies."""

import functools
import gzip
import re
import threading
from pathlib import Path
from urllib.parse import unquote, urlparse

import pytest
from pages import ALL_PAGES, HTML, PAGES, Quiet, Site

LIMIT = 1e6
CHAPTER = "book/04-momentum-and-decay"
TEXT = {".html", ".css", ".js", ".svg"}


@pytest.fixture(scope="module", autouse=True)
def built():
    if not (HTML / "index.html").exists():
        pytest.fail("no pages in _build/html: run `make book` first")


@functools.cache
def over_the_line(path):
    content = path.read_bytes()
    return len(gzip.compress(content, 6) if path.suffix in TEXT else content)


@pytest.mark.parametrize("name", ALL_PAGES)
def test_a_page_with_all_that_it_loads_is_light(page, name):
    """By its files: opened from the disk, and read to its end."""
    asked = set()
    page.context.unroute("**/*")
    page.on("request", lambda request: asked.add(request.url.partition("#")[0]))
    page.goto((HTML / f"{name}.html").as_uri(), wait_until="load")
    page.evaluate("document.querySelectorAll('img').forEach(image => { image.loading = 'eager'; })")
    page.wait_for_function("[...document.images].every(image => image.complete)")
    page.wait_for_function("document.fonts.ready.then(() => true)")
    assert not [url for url in asked if not url.startswith(("file:", "data:", "blob:"))]
    files = {Path(unquote(urlparse(url).path)) for url in asked if url.startswith("file:")}
    sizes = {file.name: over_the_line(file) for file in files}
    heaviest = sorted(sizes.items(), key=lambda item: -item[1])[:5]
    assert sum(sizes.values()) <= LIMIT, heaviest
    assert not page.trouble


@pytest.mark.parametrize("name", PAGES)
def test_a_page_loads_what_it_uses(name):
    html = (HTML / f"{name}.html").read_text()
    scripts = re.findall(r'<script[^>]* src="[./]*_static/([^"?]+)', html)
    code = [name for name in scripts if name in ("explorer.js", "gallery.js")]
    assert len(code) == ('class="trajhelpers-' in html)
    assert ("katex.min.css" in html) == ('class="katex"' in html)
    assert not re.search("jupyter-widgets|require.js|mathjax/|fontawesome.js|widget-state", html)
    assert html.count("const modules = {}") == 0, "the explorer's code is in a file of its own"


@pytest.mark.parametrize("name", PAGES)
def test_figures_keep_their_place(name):
    html = (HTML / f"{name}.html").read_text()
    figures = re.findall(r"<img\b[^>]*_images/[^>]*>", html)
    assert all(re.search(r' width="\d+" height="\d+"', figure) for figure in figures)
    assert all(' loading="lazy"' in figure for figure in figures[1:])


def test_all_icons_in_use_are_in_their_font(page):
    """As drawn: a sign that the font lacks would be fetched with the theme's whole font."""
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.context.unroute("**/*")
    page.goto((HTML / f"{CHAPTER}.html").as_uri())
    signs = page.evaluate(
        "[...document.querySelectorAll('[class*=fa-]')].map(icon =>"
        " getComputedStyle(icon, '::before').content)"
    )
    assert len(signs) > 8 and all(re.fullmatch('"[\ue000-\uf8ff]"', sign) for sign in signs)
    page.wait_for_function("document.fonts.ready.then(() => true)")
    assert not [url for url in asked if "webfonts" in url]


def computes(page, address):
    page.goto(address, wait_until="load")
    explorer = page.locator(".trajhelpers-explorer:has([data-measure=omega])").first
    omega, origin = (explorer.locator(f) for f in ("[data-measure=omega]", "[name=origin]"))
    seen = []
    for value in ("1", "2", "-1"):
        origin.fill(value)
        seen.append(omega.get_attribute("data-value"))
    assert len(set(seen)) == 3
    assert not page.trouble


def test_a_page_computes_from_the_disk(page):
    page.context.unroute("**/*")
    computes(page, (HTML / f"{CHAPTER}.html").as_uri())


def test_a_page_computes_in_a_folder_of_a_site(page, tmp_path):
    (tmp_path / "some/where").mkdir(parents=True)
    (tmp_path / "some/where/book").symlink_to(HTML)
    server = Site(("127.0.0.1", 0), functools.partial(Quiet, directory=tmp_path))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        computes(page, f"http://127.0.0.1:{server.server_port}/some/where/book/{CHAPTER}.html")
    finally:
        server.shutdown()
        server.server_close()
