"""Every page can be read, and everything on it used, without a mouse, good eyes or a wide screen:
axe-core's rules in both themes, the keyboard, sizes on a phone."""

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from pages import ALL_PAGES
from test_pages import read

# What axe-core calls serious or critical keeps someone from reading or using a page.
BARRIERS = ("serious", "critical")
# Thousands of elements that are all alike; one page is looked at with them.
CODE_AND_FORMULAS = {"exclude": [".highlight pre", ".katex"]}
# Text by its own size; a formula's indices are as small as a formula's are, and the name of a link
# that is a whole card is for those who hear it.
SMALL = """[...document.querySelectorAll("article *")]
  .filter((one) => [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim()))
  .filter((one) => !one.closest(".katex, script, style, .sd-hide-link-text"))
  .filter((one) => one.checkVisibility())
  .filter((one) => parseFloat(getComputedStyle(one).fontSize) < 12)
  .map((one) => `${getComputedStyle(one).fontSize}: ${one.outerHTML.slice(0, 100)}`)"""
# What lies beside the screen, and in no box that scrolls.
CUT = """[...document.querySelectorAll("article :is(img, table, pre, canvas, svg, input, select)")]
  .filter((one) => one.checkVisibility())
  .filter((one) => one.getBoundingClientRect().right > innerWidth + 1)
  .filter((one) => {
    for (let box = one; box.tagName !== "ARTICLE"; box = box.parentElement)
      if (["auto", "scroll"].includes(getComputedStyle(box).overflowX)) return false;
    return true;
  })
  .map((one) => one.outerHTML.slice(0, 100))"""
# Whatever has the focus: how one finds it again, and whether it is seen to have it. The theme rings
# the arrow in a summary, not the summary, which has no height.
FOCUSED = """() => {
  const one = document.activeElement;
  if (one === document.body) return null;
  window.order ??= new Map();
  if (!window.order.has(one)) window.order.set(one, window.order.size);
  const seen = [one, one.querySelector("svg, span, i") ?? one].some((part) => {
    const style = getComputedStyle(part), box = part.getBoundingClientRect();
    const ring = style.outlineStyle !== "none" || style.boxShadow !== "none";
    return ring && box.width > 0 && box.height > 0;
  });
  return { number: window.order.get(one), html: one.outerHTML.slice(0, 120), seen };
}"""
CONTROLS = """[...document.querySelectorAll(
  "a[href], button, input, select, summary, [tabindex='0']")]
  .filter((one) => one.checkVisibility({ visibilityProperty: true }) && !one.disabled)
  .filter((one) => one.type !== "hidden" && !one.closest("dialog, [inert]"))"""

OPERATED = {"slider", "button", "checkbox", "combobox", "searchbox", "textbox", "link"}

# axe-core takes some seconds a page: each kind of page at every run, the rest with the slow tests.
KINDS = ["book/intro", "book/01-first-map", "book/api/theory", "book/references", "search"]
BY_AND_BY = [
    name if name in KINDS else pytest.param(name, marks=pytest.mark.slow) for name in ALL_PAGES
]


def barriers(page, context=CODE_AND_FORMULAS, **options):
    """One line for each of axe-core's rules that a page breaks: where, and what to do."""
    options["resultTypes"] = ["violations"]
    found = page.evaluate("(arguments) => axe.run(...arguments)", [context, options])["violations"]
    return [
        f"{one['id']} ({one['impact']}): {len(one['nodes'])} times, first in"
        f" {one['nodes'][0]['html'][:200]}: {one['nodes'][0]['failureSummary']}"
        for one in found
        if one["impact"] in BARRIERS
    ]


def in_theme(page, theme):
    page.evaluate(
        "theme => { const root = document.documentElement;"
        " root.dataset.theme = root.dataset.mode = theme; }",
        theme,
    )
    # Colours change over a time, and axe-core would look at those between.
    page.wait_for_function(
        "document.getAnimations().every((one) => one.playState !== 'running' ||"
        " !(one instanceof CSSTransition))"
    )


@pytest.mark.parametrize("name", BY_AND_BY)
def test_nothing_stands_in_the_way(page, site, name):
    read(page, f"{site}/{name}.html")
    # Far sections that are not laid out lie, for axe-core, over what follows them.
    page.add_style_tag(content="* { content-visibility: visible !important; }")
    page.evaluate(AXE_SCRIPT)
    in_theme(page, "light")
    assert not barriers(page)
    # A theme is colours, and no more.
    in_theme(page, "dark")
    assert not barriers(page, runOnly=["color-contrast"])


@pytest.mark.slow
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nor_in_code_and_formulas(page, site, theme):
    read(page, f"{site}/book/13-layer-by-layer.html")
    page.evaluate(AXE_SCRIPT)
    in_theme(page, theme)
    assert not barriers(page, context={"include": [["article"]]})


@pytest.mark.parametrize("name", ALL_PAGES)
def test_on_a_phone(page, site, name):
    page.set_viewport_size({"width": 390, "height": 844})
    read(page, f"{site}/{name}.html")
    assert not page.evaluate(SMALL), "text under 12 px"
    assert not page.evaluate(CUT), "beside the screen, and in no box that scrolls"
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.parametrize(
    "name",
    ["book/01-first-map", "book/08-sam", "book/09-generalization", "book/11-width"]
    + ["book/commands", "book/api/trajectories", "genindex"],
)
def test_at_four_hundred_percent(page, site, name):
    """On a screen of 1280 pixels."""
    page.set_viewport_size({"width": 320, "height": 256})
    read(page, f"{site}/{name}.html")
    page.add_style_tag(content="* { content-visibility: visible !important; }")
    assert page.evaluate("document.documentElement.scrollWidth") <= 320


@pytest.mark.parametrize("name", ALL_PAGES)
def test_every_control_says_what_it_is(page, site, name):
    """As the browser tells it to a screen reader, by its own rules and not by the markup."""
    # Whoever comes by an address finds all that lives already there.
    read(page, f"{site}/{name}.html#main-content")
    session = page.context.new_cdp_session(page)
    nodes = session.send("Accessibility.getFullAXTree")["nodes"]
    operated = [node for node in nodes if node.get("role", {}).get("value") in OPERATED]
    assert operated
    mute = [node for node in operated if not node["name"]["value"].strip()]
    asked = [{"backendNodeIds": [node["backendDOMNodeId"]]} for node in mute]
    session.send("DOM.getDocument")
    found = [session.send("DOM.pushNodesByBackendIdsToFrontend", one)["nodeIds"] for one in asked]
    assert not [session.send("DOM.getOuterHTML", {"nodeId": id})["outerHTML"] for (id,) in found]


@pytest.mark.parametrize("name", ["book/01-first-map", "book/scorecard", "book/api/kernels"])
def test_the_keyboard_reaches_everything_and_shows_where_it_is(page, site, name):
    read(page, f"{site}/{name}.html")
    expected = page.evaluate(f"{CONTROLS}.length")
    reached, invisible = set(), []
    for _ in range(2 * expected):  # a trap would never end
        page.keyboard.press("Tab")
        focused = page.evaluate(FOCUSED)
        if focused is None or focused["number"] in reached:
            break
        reached.add(focused["number"])
        if not focused["seen"]:
            invisible.append(focused["html"])
    assert not invisible, "focused, and not seen to be"
    missed = page.evaluate(
        f"{CONTROLS}.filter((one) => !window.order.has(one)).map((one) =>"
        " one.outerHTML.slice(0, 120))"
    )
    assert not missed


def test_the_first_link_skips_what_all_pages_have(page, site):
    read(page, f"{site}/book/01-first-map.html")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_url("**/*#main-content")
    page.keyboard.press("Tab")
    page.wait_for_function("document.activeElement.closest('#main-content') !== null")


def test_a_figure_opens_by_itself(page, site):
    page.set_viewport_size({"width": 390, "height": 844})
    read(page, f"{site}/book/12-pythia.html")
    figure = page.locator("article figure a.enlarge").first
    source = figure.locator("img").evaluate("(image) => image.src")
    figure.focus()
    page.keyboard.press("Enter")
    page.wait_for_url(source)


def test_boxes_that_scroll_can_be_reached(page, site):
    page.set_viewport_size({"width": 390, "height": 844})
    read(page, f"{site}/book/12-pythia.html")
    box = page.locator("article pre[tabindex='0'], article .highlight [tabindex='0']").first
    # Sections are laid out when they come near, which may move what is there.
    box.scroll_into_view_if_needed()
    box.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("document.activeElement.scrollLeft > 0")
    # Wide enough, it is no stop on the way.
    page.set_viewport_size({"width": 1400, "height": 900})
    page.wait_for_function("!document.activeElement.hasAttribute('tabindex')")


@pytest.mark.parametrize(
    "name",
    ["book/12-pythia", "book/14-the-law-of-omega", "book/paper-figures", "book/api/trajectories"],
)
def test_on_paper_code_and_tables_are_whole(page, site, name):
    # A4 within its margins, at the scale that `make pdf` prints.
    page.set_viewport_size({"width": 841, "height": 990})
    read(page, f"{site}/{name}.html")
    page.emulate_media(media="print")
    assert not page.evaluate(CUT), "beside the paper"
    cut = page.evaluate(
        "[...document.querySelectorAll('article pre')].filter((one) => one.checkVisibility() &&"
        " one.scrollWidth > one.clientWidth + 1).map((one) => one.textContent.slice(0, 100))"
    )
    assert not cut


def test_paper_is_white_in_any_theme(page, site):
    read(page, f"{site}/book/01-first-map.html")
    in_theme(page, "dark")
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(ground)
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate(ground) == "rgb(255, 255, 255)" != dark
    assert page.evaluate("document.documentElement.dataset.theme") == "light"
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
