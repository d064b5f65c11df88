"""The explorer by mouse, by touch and by keys: what each shows, and that the page scrolls."""

import numpy as np
import pytest
from PIL import Image
from test_explorer import random_kernel
from test_explorer_page import colours, drawn, expected_colours, move, omega

import trajhelpers as th

KERNEL = random_kernel(31, 0)


@pytest.fixture
def page(browser, tmp_path):
    yield from explorer(browser, tmp_path, viewport={"width": 1200, "height": 900})


@pytest.fixture
def phone(browser, tmp_path):
    yield from explorer(
        browser, tmp_path, viewport={"width": 390, "height": 800}, has_touch=True, is_mobile=True
    )


def explorer(browser, tmp_path, **of_context):
    th.explore(KERNEL, unit="epoch").save(tmp_path / "run.html")
    context = browser.new_context(**of_context)
    page, heard = context.new_page(), []
    page.on("pageerror", lambda error: heard.append(str(error)))
    page.goto((tmp_path / "run.html").as_uri())
    drawn(page)
    yield page
    assert not heard
    context.close()


def over(page, i, j):
    """Where a cell of the map is on the screen."""
    canvas = page.locator("canvas").first
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    side = (box["width"] - 52 - 20) / KERNEL.n
    return box["x"] + 52 + (j + 0.5) * side, box["y"] + 10 + (i + 0.5) * side


def degrees(cosine):
    return np.degrees(np.arccos(cosine))


def pair(i, j):
    c = KERNEL.cosine()[i, j]
    apart = f"{KERNEL.distance(i, j):.4g}"
    cosine = f"{c:.3f}".replace("-", "−")
    return f"epoch {i} and {j}, seen from O: cosine {cosine}, {degrees(c):.1f}°; {apart} apart"


def assert_looked_at(page, i, j):
    """In words, as rings on the path, as lines across the angles."""
    assert page.locator(".said").inner_text() == pair(i, j)
    drawn(page)
    ring, point = (page.locator(f"figure.path circle.{name}") for name in ("marked", "point"))
    places = [
        [float(one.nth(k).get_attribute(x)) for x in ("cx", "cy")]
        for one, k in ((ring, 0), (ring, 1), (point, i), (point, j))
    ]
    assert places[:2] == places[2:]
    assert page.locator("figure.wide line.mark").count() == 2


def test_a_cell_under_the_mouse_is_looked_at_everywhere(page):
    page.mouse.move(*over(page, 4, 20))
    assert_looked_at(page, 4, 20)
    page.mouse.move(1, 1)
    drawn(page)
    assert page.locator("figure.path circle.marked").count() == 0


def test_a_click_on_the_path_looks_from_there_and_back(page):
    point = page.locator("figure.path circle.point").nth(30)
    for origin in (30, None):
        point.click(force=True)
        assert omega(page) == pytest.approx(th.mds(KERNEL, origin), abs=1e-9)


def test_the_angles_are_pointed_at(page):
    angles = page.locator("figure.wide svg")
    angles.scroll_into_view_if_needed()
    box = angles.bounding_box()
    page.mouse.move(box["x"] + 52 + (box["width"] - 72) * 12 / 30, box["y"] + box["height"] / 2)
    assert page.locator(".said").inner_text() == "epoch 12"


def test_sliders_by_keys(page):
    slider = page.locator("input[name=origin]")
    slider.focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    assert slider.get_attribute("aria-valuetext") == "epoch 2"
    assert omega(page) == pytest.approx(th.mds(KERNEL, 2), abs=1e-9)
    page.keyboard.press("End")
    assert omega(page) == pytest.approx(th.mds(KERNEL, 30), abs=1e-9)


def test_from_a_cell_on_by_keys(page):
    """Also where Enter took the cell's own row away."""
    map_ = page.locator("canvas").first
    map_.focus()
    for key in ["ArrowDown"] * 5 + ["ArrowRight"] * 8:
        page.keyboard.press(key)
    said = page.locator(".said")
    assert said.inner_text().startswith("epoch 4 and 8,")
    page.keyboard.press("Enter")
    assert omega(page) == pytest.approx(th.mds(KERNEL, 4), abs=1e-9)
    for key, place in ("ArrowRight", (5, 9)), ("ArrowUp", (3, 9)), ("ArrowDown", (5, 9)):
        page.keyboard.press(key)
        assert said.inner_text().startswith("epoch {} and {},".format(*place))


def test_a_click_on_the_words_takes_the_slider(page):
    for words, name in ("seen from", "origin"), ("every", "stride"), ("to", "last"):
        slider = page.get_by_role("slider", name=words, exact=True)
        assert slider.get_attribute("name") == name
        page.locator("label", has=slider).locator("span").first.click()
        assert page.evaluate("document.activeElement.name") == name


def test_every_control_is_reached_by_keys_and_its_focus_is_seen(page):
    reached = []
    for _ in range(15):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate(
                "(({ name, innerText, tagName }) => name || innerText || tagName)"
                "(document.activeElement)"
            )
        )
        style = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert style == "solid", reached[-1]
    assert reached[:10] == [
        *("How to read it", "layers", "origin", "stride", "first", "last", "walk", "fixed"),
        *("play", "CANVAS"),
    ]


def test_colours_from_minus_one(page):
    page.locator("input[name=fixed]").check()
    drawn(page)
    found = colours(page.locator("canvas").first, KERNEL.n)
    np.testing.assert_allclose(found, expected_colours(KERNEL.cosine(), -1), atol=3)


def test_a_link_holds_all_that_is_chosen(page):
    page.locator("select[name=layers]").select_option("group 1")
    page.locator("input[name=walk]").check()
    page.locator("input[name=fixed]").check()
    for name, value in (("last", 25), ("first", 4), ("stride", 2), ("origin", 6)):
        move(page, name, value)
    page.get_by_role("button", name="link to this view").click()
    other = page.context.new_page()
    other.goto(page.url)
    chosen = "[...document.querySelectorAll('input, select')].map(e => e.checked || e.value)"
    assert other.evaluate(chosen) == page.evaluate(chosen)
    assert omega(other) == omega(page)
    assert omega(page) == pytest.approx(th.mds(KERNEL.groups()["group 1"][4:26:2], 1), abs=1e-9)


def test_a_link_is_followed_also_where_the_page_is_open(page):
    page.evaluate("document.body.style.paddingTop = '3000px'")
    link = page.locator(".controls button").filter(has_text="link")
    move(page, "origin", 6)
    link.click()
    first = page.url
    assert link.inner_text() != "link to this view"
    move(page, "last", 20)
    assert link.inner_text() == "link to this view"
    link.click()
    page.goto(first)
    page.wait_for_function("document.querySelector('[name=last]').value === '30'")
    assert omega(page) == pytest.approx(th.mds(KERNEL, 6), abs=1e-9)
    page.go_back()
    page.wait_for_function("document.querySelector('[name=last]').value === '20'")


def test_files_are_on_white_also_in_the_dark(browser, tmp_path):
    th.explore(KERNEL).save(tmp_path / "run.html")
    page = browser.new_page(color_scheme="dark")
    page.goto((tmp_path / "run.html").as_uri())
    drawn(page)
    with page.expect_download() as download:
        page.get_by_role("button", name="(PNG)").click()
    pixels = np.asarray(Image.open(download.value.path()).convert("RGB")).astype(int)
    assert (pixels[0, 0] == 255).all()
    assert pixels[:, :40].min() < 60  # labels
    with page.expect_download() as download:
        page.get_by_role("button", name="(SVG)").click()
    drawing = download.value.path().read_text()
    assert 'fill="#fff"' in drawing and "rgb(255, 255, 255)" not in drawing
    # The page itself is as dark as before.
    drawn(page)
    assert (
        page.locator("svg text").first.evaluate("e => getComputedStyle(e).fill") != "rgb(0, 0, 0)"
    )
    page.close()


def test_a_run_that_has_not_grown_yet_stays_so(page):
    """Looked at from elsewhere, until its end is asked for."""
    page.emulate_media(reduced_motion="reduce")
    page.get_by_role("button", name="grow by a tenth").click()
    grown = 6  # two, which are the fewest to begin with, and a tenth
    move(page, "origin", 0)
    assert omega(page) == pytest.approx(th.mds(KERNEL[:grown], 0), abs=1e-9)
    move(page, "last", 30)
    assert omega(page) == pytest.approx(th.mds(KERNEL, 0), abs=1e-9)


def test_files_are_called_by_what_they_hold(browser, tmp_path):
    th.explore({"η 0.1, μ 0": KERNEL, "<b>": KERNEL}, unit="epoch").save(tmp_path / "run.html")
    page = browser.new_page()
    page.goto((tmp_path / "run.html").as_uri())
    drawn(page)
    page.locator("select[name=layers]").select_option("group 1")
    move(page, "origin", 4)
    for run, called in ("0", "η-0.1-μ-0-group-1-from-epoch-4"), ("1", "b-group-1-from-epoch-4"):
        page.locator("select[name=run]").select_option(run)
        for kind in "png", "svg", "csv":
            with page.expect_download() as download:
                page.get_by_role("button", name=f"({kind.upper()})").click()
            assert download.value.suggested_filename == f"{called}.{kind}"
    page.close()


class Finger:
    """Events of a screen, which the browser makes scrolling of where nothing holds it back."""

    def __init__(self, page):
        self._page, self._session = page, page.context.new_cdp_session(page)

    def drag(self, start, end, steps=12):
        self._send("touchStart", start)
        for share in np.linspace(0, 1, steps + 1)[1:]:
            self._send("touchMove", np.add(start, share * np.subtract(end, start)))
            self._page.wait_for_timeout(16)
        self._session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        self._page.wait_for_timeout(300)

    def _send(self, kind, place):
        point = {"x": float(place[0]), "y": float(place[1])}
        self._session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [point]})


def scrolled(page):
    return page.evaluate("window.scrollY")


def test_a_finger_looks_at_a_cell(phone):
    phone.touchscreen.tap(*over(phone, 20, 4))
    assert_looked_at(phone, 20, 4)


def test_a_finger_along_the_diagonal_moves_the_origin_and_not_the_page(phone):
    # Steeper than the diagonal: the browser would scroll.
    start, end = over(phone, 4, 5), over(phone, 22, 20)
    before = scrolled(phone)
    Finger(phone).drag(start, end)
    assert scrolled(phone) == before
    assert omega(phone) == pytest.approx(th.mds(KERNEL, 22), abs=1e-9)


def test_a_finger_elsewhere_moves_the_page_and_not_the_origin(phone):
    start, end = over(phone, 26, 4), over(phone, 6, 4)
    before = scrolled(phone)
    Finger(phone).drag(start, end)
    assert scrolled(phone) > before + 50
    assert omega(phone) == pytest.approx(th.mds(KERNEL), abs=1e-9)
