"""Pictures of the explorer as they were looked at; a picture that is not there is drawn, to be
looked at.

Of a map a pixel a cell, whose colours are exact. Of curves their lines, places, words and looks,
not the pixels, which another machine's fonts and edges change.
"""

import re
import tempfile
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_explorer import random_kernel
from test_explorer_page import colours, drawn, move

import trajhelpers as th

PICTURES = Path(__file__).parent / "pictures"
# Kernel, and what is moved.
SEEN = {
    "walk": (lambda: th.random_walk(31, start=3), {}),
    "run": (lambda: random_kernel(25, 0), {"origin": 8}),
}
THEMES = ("light", "dark")
# Each view as it looks, below the one before.
AS_FILE = """() => {
  let top = 0;
  const svgs = [...document.querySelectorAll(".views svg")];
  const parts = svgs.map((svg) => {
    const copy = svg.cloneNode(true), copies = copy.querySelectorAll("*");
    svg.querySelectorAll("*").forEach((element, i) => {
      const style = getComputedStyle(element);
      copies[i].removeAttribute("class");
      if (element.tagName !== "g" && element.tagName !== "title")
        for (const name of ["stroke", "fill"]) copies[i].setAttribute(name, style[name]);
    });
    const height = svg.viewBox.baseVal.height;
    top += height;
    const lines = copy.innerHTML.replaceAll("><", ">\\n<");
    return `<g transform="translate(0 ${top - height})">\\n${lines}\\n</g>`;
  });
  const head = 'xmlns="http://www.w3.org/2000/svg" font-size="12" width="960"';
  return `<svg ${head} height="${top}">\\n${parts.join("\\n")}\\n</svg>\\n`;
}"""


def picture(browser, name, theme):
    """Colours of the map's cells, and the curves as SVG."""
    kernel, moved = SEEN[name]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "run.html"
        th.explore(kernel()).save(file)
        context = browser.new_context(
            viewport={"width": 1200, "height": 900}, color_scheme=theme, device_scale_factor=1
        )
        page = context.new_page()
        page.goto(file.as_uri())
        page.locator("input[name=walk]").check()
        for control, value in moved.items():
            move(page, control, value)
        page.wait_for_function("document.querySelectorAll('figure.half path').length === 5")
        drawn(page)
        canvas = page.locator("canvas").first
        count = int(re.search(r"Map of (\d+)", canvas.get_attribute("aria-label"))[1])
        found = colours(canvas, count), page.evaluate(AS_FILE)
        context.close()
        return found


NUMBER = re.compile(r"-?\d+\.?\d*(?:e-?\d+)?")


def in_parts(svg):
    """Of each element what is compared exactly, and its numbers."""
    for element in ET.fromstring(svg).iter():
        look = {name: element.get(name) for name in ("stroke", "fill", "stroke-dasharray")}
        places = {k: v for k, v in sorted(element.attrib.items()) if k not in look}
        text = (element.text or "").strip()
        yield (
            (element.tag, text, look, {k: NUMBER.sub("#", v) for k, v in places.items()}),
            [float(x) for v in places.values() for x in NUMBER.findall(v)],
        )


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("name", SEEN)
def test_it_looks_as_it_did(browser, name, theme):
    cells, curves = picture(browser, name, theme)
    of_cells, of_curves = PICTURES / f"{name}.png", PICTURES / f"{name}-{theme}.svg"
    if not (of_cells.exists() and of_curves.exists()):
        Image.fromarray(cells.astype(np.uint8)).save(of_cells)
        of_curves.write_text(curves)
        pytest.fail(f"drawn anew: look at {of_cells} and {of_curves}")
    np.testing.assert_array_equal(cells, np.asarray(Image.open(of_cells)))
    then, now = in_parts(of_curves.read_text()), in_parts(curves)
    for (exact_then, places_then), (exact_now, places_now) in zip(then, now, strict=True):
        assert exact_now == exact_then
        # What is written with a tenth of a pixel may be rounded the other way.
        np.testing.assert_allclose(places_now, places_then, atol=0.11)
