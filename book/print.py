"""The whole book in one file, without TeX: python book/print.py [PAGE …]

A browser prints the built pages, _build/html, and what it printed is joined in the order of the
contents, with a bookmark a page. A link from one page to another leads there in the file."""

import io
import re
import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright
from pypdf import PdfReader, PdfWriter
from pypdf.generic import ArrayObject, FloatObject, NameObject, NullObject

ROOT = Path(__file__).resolve().parents[1]
HTML, TARGET = ROOT / "_build" / "html", ROOT / "_build" / "trajectory-maps.pdf"
FOOT = (
    '<div style="font: 8px sans-serif; width: 100%; text-align: center">'
    '<span class="title"></span> · <span class="pageNumber"></span></div>'
)
MARGIN = {"top": "18mm", "bottom": "18mm", "left": "16mm", "right": "16mm"}
TOP, SCALE = 18 / 25.4 * 72, 0.8  # in points
INSIDE = "book:"
# An address of this disk is none to a reader: of what is in the book, its page and place are kept.
# A place is in the PDF where a link of the same page leads to it, seen or not.
MADE_READY = """([base, inside]) => {
  document.title = document.querySelector("article h1").innerText.replace(/#$/, "").trim();
  for (const image of document.querySelectorAll("img[loading]")) image.loading = "";
  for (const link of document.querySelectorAll("a[href]"))
    if (link.href.startsWith(base)) link.href = inside + link.href.slice(base.length);
  for (const { id } of document.querySelectorAll("article [id]")) {
    const link = document.body.appendChild(document.createElement("a"));
    link.href = "#" + encodeURIComponent(id);
    link.hidden = true;
  }
}"""


def printed(page, name):
    """A built page: its title and its PDF."""
    page.goto((HTML / f"{name}.html").as_uri(), wait_until="load")
    page.evaluate(MADE_READY, [f"{HTML.as_uri()}/", INSIDE])
    page.wait_for_function("[...document.images].every(image => image.complete)")
    content = page.pdf(
        format="A4",
        margin=MARGIN,
        print_background=True,
        scale=SCALE,
        display_header_footer=True,
        header_template="<span></span>",
        footer_template=FOOT,
    )
    return page.title(), PdfReader(io.BytesIO(content))


def joined(parts):
    """One file of pages by name, each (title, PDF), whose links lead to pages and places of it."""
    writer, places = PdfWriter(), {}
    for name, (title, part) in parts.items():
        first = len(writer.pages)
        writer.append(part, outline_item=title)
        places[name, ""] = (first, [NameObject("/Fit")])
        for anchor, place in part.named_destinations.items():
            at = first + part.get_destination_page_number(place)
            places[name, anchor.removeprefix("/")] = (at, _seen(place, writer.pages[at]))
    for page in writer.pages:
        page[NameObject("/Annots")] = ArrayObject(
            link for link in page.get("/Annots", []) if lead(link.get_object(), places, writer)
        )
    return writer


def _seen(place, page):
    """A window whose top is at a place; the browser gives it before margins and scale."""
    height = float(page.mediabox.height)
    top = height - TOP - SCALE * (height - float(place.top))
    return [NameObject("/XYZ"), NullObject(), FloatObject(top), NullObject()]


def lead(link, places, writer):
    """Whether it leads anywhere, once those to the book lead to its pages."""
    address = str(link.get("/A", {}).get("/URI", ""))
    if not address.startswith(INSIDE):
        return not address.startswith("file:")
    file, _, anchor = address.removeprefix(INSIDE).partition("#")
    name = file.partition("?")[0].removesuffix(".html")
    found = places.get((name, anchor)) or places.get((name, ""))
    if found:
        at, place = found
        del link["/A"]
        link[NameObject("/Dest")] = ArrayObject([writer.pages[at].indirect_reference, *place])
    return found


def main(names):
    if not (HTML / "index.html").exists():
        sys.exit("no pages in _build/html: run `make book` first")
    with sync_playwright() as playwright:
        own = Path(playwright.chromium.executable_path)
        browser = playwright.chromium.launch(
            executable_path=own if own.exists() else shutil.which("chromium"),
            args=["--no-sandbox"],
        )
        page = browser.new_page(color_scheme="light", viewport={"width": 900, "height": 1200})
        writer = joined({name: printed(page, name) for name in names})
        browser.close()
    part = TARGET.with_suffix(".part")
    writer.write(part)
    part.replace(TARGET)
    print(f"{TARGET.relative_to(ROOT)}: {len(writer.pages)} pages")


if __name__ == "__main__":
    main(sys.argv[1:] or re.findall(r"(?:root|file): (\S+)", (ROOT / "_toc.yml").read_text()))
