"""The whole book in one file, without TeX: python book/print.py [PAGE …]

A browser prints the built pages, _build/html, and what it printed is joined in the order of the
contents, with a bookmark a page."""

import io
import re
import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright
from pypdf import PdfWriter

ROOT = Path(__file__).resolve().parents[1]
HTML, TARGET = ROOT / "_build" / "html", ROOT / "_build" / "trajectory-maps.pdf"
FOOT = (
    '<div style="font: 8px sans-serif; width: 100%; text-align: center">'
    '<span class="title"></span> · <span class="pageNumber"></span></div>'
)
MARGIN = {"top": "18mm", "bottom": "18mm", "left": "16mm", "right": "16mm"}


def printed(page, name):
    """A built page: its title and its PDF."""
    page.goto((HTML / f"{name}.html").as_uri(), wait_until="load")
    page.evaluate("document.querySelectorAll('img[loading]').forEach(image => image.loading = '')")
    page.wait_for_function("[...document.images].every(image => image.complete)")
    title = page.locator("article h1").first.inner_text().removesuffix("#").strip()
    return title, page.pdf(
        format="A4",
        margin=MARGIN,
        print_background=True,
        scale=0.8,
        display_header_footer=True,
        header_template="<span></span>",
        footer_template=FOOT,
    )


def main(names):
    if not (HTML / "index.html").exists():
        sys.exit("no pages in _build/html: run `make book` first")
    writer = PdfWriter()
    with sync_playwright() as playwright:
        own = Path(playwright.chromium.executable_path)
        browser = playwright.chromium.launch(
            executable_path=own if own.exists() else shutil.which("chromium"),
            args=["--no-sandbox"],
        )
        page = browser.new_page(color_scheme="light", viewport={"width": 900, "height": 1200})
        for name in names:
            title, content = printed(page, name)
            writer.append(io.BytesIO(content), outline_item=title)
        browser.close()
    part = TARGET.with_suffix(".part")
    writer.write(part)
    part.replace(TARGET)
    print(f"{TARGET.relative_to(ROOT)}: {len(writer.pages)} pages")


if __name__ == "__main__":
    main(sys.argv[1:] or re.findall(r"(?:root|file): (\S+)", (ROOT / "_toc.yml").read_text()))
