"""The book in one file: what its links lead to."""

import importlib.util
import re
import unicodedata

import pytest
from pages import HTML, ROOT
from pypdf import PdfReader

PAGES = ["book/01-first-map", "book/glossary", "book/notation"]

spec = importlib.util.spec_from_file_location("print_book", ROOT / "book" / "print.py")
book = importlib.util.module_from_spec(spec)
spec.loader.exec_module(book)


@pytest.fixture(scope="module")
def printed(browser, tmp_path_factory):
    assert (HTML / "index.html").exists(), "no pages in _build/html: run `make book` first"
    target = tmp_path_factory.mktemp("printed") / "book.pdf"
    page = browser.new_page()
    book.joined({name: book.printed(page, name) for name in PAGES}).write(target)
    page.close()
    return PdfReader(target)


def links(pdf):
    """Each: the page that it stands on, and its annotation."""
    for number, page in enumerate(pdf.pages):
        for link in page.get("/Annots", []):
            yield number, link.get_object()


def test_a_bookmark_a_page(printed):
    titles = [one.title for one in printed.outline]
    assert titles == ["1. A first map", "Glossary", "Notation"]
    for one in printed.outline:
        text = printed.pages[printed.get_destination_page_number(one)].extract_text()
        heading = one.title.removeprefix("1. ")  # its number is made by a style
        assert heading in unicodedata.normalize("NFKC", text)


def test_no_address_is_of_this_machine(printed):
    addresses = [link["/A"]["/URI"] for _, link in links(printed) if "/A" in link]
    assert not [one for one in addresses if not one.startswith(("https:", "http:", "mailto:"))]


def line_under(page, top):
    """What is written first below a height on a page."""
    lines = {}

    def visit(text, matrix, text_matrix, *_):
        height = text_matrix[5] * matrix[3] + matrix[5]
        if text.strip():
            lines.setdefault(round(height), []).append(text)

    page.extract_text(visitor_text=visit)
    return "".join(lines[max(height for height in lines if height < top)]).strip()


def test_a_link_leads_to_its_place_on_another_page(printed):
    glossary, notation = (printed.get_destination_page_number(one) for one in printed.outline[1:])
    led = []
    for number, link in links(printed):
        if number < glossary and "/Dest" in link:
            page, _, *place = link["/Dest"]
            at = printed.get_page_number(page.get_object())
            if glossary <= at < notation:
                led.append(line_under(printed.pages[at], place[1]))
    html = (HTML / "book/01-first-map.html").read_text()
    asked = set(re.findall(r'href="glossary.html#term-([^"]*)"', html))
    assert {"trajectory-map", "mean-directional-similarity"} <= asked
    assert set(led) == {{"0": "ω"}.get(one, one.replace("-", " ")) for one in asked}
