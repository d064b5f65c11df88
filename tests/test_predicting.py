"""Questions of a page, answered in a real browser: what is then seen is what Python computes."""

import itertools
import re

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe

import trajhelpers as th
from trajhelpers.explorer.page import page as html_page

MAPS = {
    "from O": th.random_walk(31),
    "from afar": th.random_walk(31, start=30),
    "</script>": th.circular_orbit(31),
    "noise": th.ar1(31, correlation=0.8, distance=2),
}
DECAYS = [0, 0.0001, 0.0117, 0.0234]
SEEDS = [[0.957, 0.955], [0.9565, 0.9563], [0.85, 0.87, 0.86], [0.8, 0.82, 0.9]]


def asked(name="from O", **changed):
    return th.choose_map("Which begins at O?", MAPS, name, "It turns <more>.", **changed)


def drawn(**changed):
    settings = {"xlabel": "λ", "y_range": (0.6, 1), "why": "It turns up again."} | changed
    return th.draw_curve("How does ω change?", DECAYS, SEEDS, **settings)


@pytest.fixture
def opened(from_disk):
    def opened(part):
        page = from_disk(html_page("A question", [part._repr_html_()]))
        # It is made when nothing else happens.
        page.locator(".live").wait_for()
        return page

    return opened


# ---- which map? ----


@pytest.mark.parametrize("seed", [0, 3])
def test_a_map_is_chosen_and_all_are_named(opened, seed):
    page = opened(asked(seed=seed))
    figures = page.locator(".maps figure")
    assert figures.count() == 4
    # Before the answer nothing tells.
    assert page.locator("[data-measure=omega]").count() == 0
    assert not any(name in page.locator(".live").inner_text() for name in MAPS)
    page.get_by_role("button", name="Map C").click()
    order = page.locator(".maps figcaption b").all_inner_texts()
    assert sorted(order) == sorted(MAPS)
    for name, number in zip(order, page.locator("[data-measure=omega]").all(), strict=True):
        omega = th.mds(MAPS[name])
        assert float(number.get_attribute("data-value")) == pytest.approx(omega, abs=1e-9)
        assert number.inner_text() == f"{omega:.3f}"
    answer, said = "ABCD"[order.index("from O")], page.locator(".said").inner_text()
    assert said.endswith(f"{answer} is “from O”. It turns <more>.")
    assert said.startswith("Yes: " if answer == "C" else f"No, C is “{order[2]}”: ")


def test_a_map_is_chosen_by_the_keyboard(opened):
    page = opened(asked())
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    chosen = page.get_by_role("button", name="Map B")
    assert chosen.get_attribute("aria-pressed") == "true"
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    assert chosen.get_attribute("aria-pressed") == "false"
    assert page.get_by_role("button", name="Map C").get_attribute("aria-pressed") == "true"


def test_where_a_reader_chose_the_colours(opened):
    """The scale keeps its own, and the answer is told from the others."""
    page = opened(asked())
    page.emulate_media(forced_colors="active")
    page.get_by_role("button", name="Map A").click()
    scale = page.locator(".colours")
    assert "gradient" in scale.evaluate("one => getComputedStyle(one).backgroundImage")
    borders = page.locator(".maps figure").evaluate_all(
        "all => all.map((one) => [one.classList.contains('answer'),"
        " getComputedStyle(one).borderTopColor])"
    )
    answer = {colour for is_answer, colour in borders if is_answer}
    assert len(answer) == 1 and not answer & {
        colour for is_answer, colour in borders if not is_answer
    }


def test_maps_are_drawn_in_one_scale(opened):
    page = opened(asked())
    page.get_by_role("button", name="Map A").click()
    order = page.locator(".maps figcaption b").all_inner_texts()
    # Darker is closer to 1: the order of all cells' darkness is that of their cosines.
    light = [
        page.evaluate(
            "i => { const c = document.querySelectorAll('canvas')[i];"
            " const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
            " return Array.from({ length: d.length / 4 },"
            " (_, k) => .2126 * d[4 * k] + .7152 * d[4 * k + 1] + .0722 * d[4 * k + 2]); }",
            i,
        )
        for i in range(4)
    ]
    cosines = np.concatenate([MAPS[name].cosine().ravel() for name in order])
    by_cosine = np.concatenate(light)[np.argsort(cosines)]
    assert (np.diff(by_cosine) <= 3).all()  # colours are whole numbers
    assert by_cosine[0] > 200 > 50 > by_cosine[-1]


def test_what_a_map_says_to_those_who_hear_it(opened):
    page = opened(asked())
    heard = page.locator("canvas").first.get_attribute("aria-label")
    page.get_by_role("button", name="Map A").click()
    cosine = MAPS[page.locator(".maps figcaption b").first.inner_text()].cosine()
    k = len(cosine)
    assert f"Map A, {k} checkpoints" in heard
    assert f"first and last {cosine[0, -1]:.2f}" in heard.replace("-0.00", "0.00")


@pytest.mark.parametrize(
    ("maps", "answer", "said"),
    [
        (MAPS, "another", "answer: expected one of from O, from afar, .*; got 'another'"),
        ({"one": MAPS["from O"]}, "one", "maps: expected two to five, got 1"),
        (dict.fromkeys("abcdef", MAPS["from O"]), "a", "maps: expected two to five, got 6"),
        (
            {"a": MAPS["from O"], "b": th.ModelSetKernel(np.diag([9.0, 1]), ["x", "y"])},
            "a",
            "choose_map: needs a path",
        ),
    ],
)
def test_maps_that_cannot_be_asked_for(maps, answer, said):
    with pytest.raises(ValueError, match=said):
        th.choose_map("Which?", maps, answer, "")


# ---- how does the curve go? ----


def shown(page):
    page.get_by_role("button", name="show the measured curve").click()
    values = [float(page.locator(f"[data-measure={name}]").get_attribute("data-value"))
              for name in ("off", "directions")]  # fmt: skip
    return *values, page.locator(".said").inner_text()


def test_a_guess_is_compared_with_what_was_measured(opened):
    page = opened(drawn())
    guess = [0.96, 0.9, 0.8, 0.7]
    for i, value in enumerate(guess):
        page.get_by_role("slider").nth(i).fill(str(value))
    off, directions, said = shown(page)
    means = [np.mean(values) for values in SEEDS]
    assert off == pytest.approx(np.mean(np.abs(np.subtract(guess, means))), abs=1e-9)
    # The guess falls three times; what was measured is level, falls, and falls by two of its seeds.
    assert directions == 1
    assert said.endswith(
        "in 1 of 2 steps. What was measured hardly moves from 0 to 0.0001."
        " Which way it goes from 0.0117 to 0.0234 the seeds do not tell. It turns up again."
    )
    slider = page.get_by_role("slider", name="ω at λ 0.0117")
    assert slider.get_attribute("aria-valuetext") == "0.800, measured 0.860"
    # And is hidden again.
    page.get_by_role("button", name="hide").click()
    assert page.locator("[data-measure]").count() == 0
    assert slider.get_attribute("aria-valuetext") == "0.800"


def test_a_perfect_guess(opened):
    part = th.draw_curve("?", ["a", "b", "c"], [0.25, 0.5, 0.1])
    page = opened(part)
    for i, value in enumerate([0.25, 0.5, 0.1]):
        page.get_by_role("slider").nth(i).fill(str(value))
    off, directions, said = shown(page)
    assert off == pytest.approx(0, abs=1e-12) and directions == 2
    assert said == "Your curve is off by 0.00 on average, and goes the right way in 2 of 2 steps."


@pytest.mark.parametrize(
    ("seeds", "is_told"),
    [
        ([[0.2], [0.4]], True),  # measured once, it is what it is
        ([[0.2, 0.5], [0.4, 0.7]], True),
        ([[0.2, 0.5, 0.8], [0.4, 0.71, 0.99]], True),  # each by itself, though they overlap
        ([[0.2, 0.3, 0.25], [0.8, 0.9]], True),
        ([[0.2, 0.5, 0.8], [0.9, 0.6, 0.7]], False),
        ([[0.2, 0.3, 0.25], [0.8]], False),  # how far may another seed be?
    ],
)
def test_what_seeds_do_not_tell_is_not_judged(opened, seeds, is_told):
    page = opened(th.draw_curve("?", ["a", "b"], seeds))
    page.get_by_role("slider").nth(1).fill("0.9")
    page.get_by_role("button", name="show the measured curve").click()
    judged, open_ = (
        "in 1 of 1 steps.",
        "average. Which way it goes from a to b the seeds do not tell.",
    )
    assert page.locator(".said").inner_text().endswith(judged if is_told else open_)


def test_nothing_drawn_is_not_judged(opened):
    page = opened(drawn())
    button = page.get_by_role("button", name="show the measured curve")
    button.click()
    assert page.locator(".said").inner_text() == (
        "You have drawn nothing to compare it with. It turns up again."
    )
    assert page.locator("[data-measure]").count() == 0
    assert page.locator("svg .measured").count() == 2  # the curve, and its line in the legend


@pytest.mark.parametrize(
    ("y_range", "said"),
    [
        ((0, 1), ["0", "0.25", "0.5", "0.75", "1"]),
        ((0, 180), ["0", "45", "90", "135", "180"]),
        ((0.7, 1), ["0.7", "0.8", "0.9", "1"]),
        ((-0.1, 0.2), ["−0.1", "0", "0.1", "0.2"]),
        ((-4, -1), ["−4", "−3", "−2", "−1"]),
        ((0, 15), ["0", "5", "10", "15"]),
    ],
)
def test_the_axis_has_round_numbers(opened, y_range, said):
    page = opened(th.draw_curve("?", ["a", "b"], [np.mean(y_range)] * 2, y_range=y_range))
    assert page.locator(".plot svg text[text-anchor=end]").all_text_contents() == said


def test_the_unit_is_said(opened):
    page = opened(
        th.draw_curve("?", ["a", "b"], [45, 90], ylabel="angle (degrees)", y_range=(0, 180))
    )
    page.get_by_role("slider").first.fill("90")
    assert shown(page)[-1].startswith("Your curve is off by 23 degrees on average, and goes")
    page = opened(
        th.draw_curve("?", ["a", "b"], [-2, -1], ylabel="log₁₀(1 − cos)", y_range=(-3, 0))
    )
    page.get_by_role("slider").first.fill("-1.5")
    assert shown(page)[-1].startswith("Your curve is off by 0.50 on average, and goes")


def test_points_are_set_by_keys_and_spoken(opened):
    page = opened(drawn())
    slider = page.get_by_role("slider", name="ω at λ 0.0001")
    slider.focus()
    before = float(slider.input_value())
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    assert float(slider.input_value()) == pytest.approx(before + 0.008)
    assert slider.get_attribute("aria-valuetext") == f"{before + 0.008:.3f}"
    page.keyboard.press("Home")
    assert float(slider.input_value()) == 0.6


def test_a_curve_is_drawn_by_the_pointer(opened):
    page = opened(drawn())
    box = page.locator(".plot svg").bounding_box()
    # At the left end high, at the right end low.
    page.mouse.move(box["x"] + 60, box["y"] + 34)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 40, box["y"] + box["height"] - 44, steps=30)
    page.mouse.up()
    page.mouse.move(box["x"] + 60, box["y"] + box["height"] / 2)  # no longer held
    values = [float(slider.input_value()) for slider in page.get_by_role("slider").all()]
    assert values == sorted(values, reverse=True)
    assert values[0] > 0.9 and values[-1] == pytest.approx(0.6, abs=0.005)


def test_a_finger_draws_sideways_and_scrolls_upwards(browser, tmp_path):
    (tmp_path / "page.html").write_text(
        html_page("?", ["<p>before</p>" * 30, drawn()._repr_html_(), "<p>after</p>" * 90])
    )
    context = browser.new_context(
        viewport={"width": 390, "height": 800}, has_touch=True, is_mobile=True
    )
    page = context.new_page()
    page.goto((tmp_path / "page.html").as_uri())
    page.locator(".live").wait_for()
    plot = page.locator(".plot svg")
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    hand = context.new_cdp_session(page)

    def swipe(begin, end):
        for kind, places in [
            ("touchStart", [begin]),
            *[("touchMove", [begin + (end - begin) * step / 10]) for step in range(1, 11)],
            ("touchEnd", []),
        ]:
            points = [{"x": float(x), "y": float(y)} for x, y in places]
            hand.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        page.wait_for_timeout(200)

    def values():
        return [float(slider.input_value()) for slider in page.get_by_role("slider").all()]

    corner = np.array([box["x"], box["y"]])
    before, top = values(), page.evaluate("scrollY")
    # Between two columns, upwards.
    swipe(corner + [box["width"] / 2, 180], corner + [box["width"] / 2, 20])
    assert page.evaluate("scrollY") > top + 80
    assert values() == before
    plot.scroll_into_view_if_needed()
    page.evaluate("top => scrollTo(0, top)", top)
    swipe(corner + [70, 60], corner + [box["width"] - 40, 60])
    assert page.evaluate("scrollY") == top
    assert len(set(values())) == 1 and values()[0] > 0.9
    context.close()


def test_two_fingers_draw_nothing(browser, tmp_path):
    """They enlarge the page."""
    (tmp_path / "page.html").write_text(html_page("?", [drawn()._repr_html_()]))
    context = browser.new_context(
        viewport={"width": 390, "height": 800}, has_touch=True, is_mobile=True
    )
    page = context.new_page()
    page.goto((tmp_path / "page.html").as_uri())
    page.locator(".live").wait_for()
    box = page.locator(".plot svg").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + 120
    before = [slider.input_value() for slider in page.get_by_role("slider").all()]
    hand = context.new_cdp_session(page)
    for apart in (20, *range(30, 120, 10)):
        points = [{"x": x - apart, "y": y, "id": 0}, {"x": x + apart, "y": y, "id": 1}]
        kind = "touchStart" if apart == 20 else "touchMove"
        hand.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    hand.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    page.wait_for_function("visualViewport.scale > 1.5")
    assert [slider.input_value() for slider in page.get_by_role("slider").all()] == before
    context.close()


def test_a_second_finger_that_is_taken_away_undoes_nothing(opened):
    page = opened(drawn())
    plot = page.locator(".plot svg")
    box = plot.bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + 60)
    values = [slider.input_value() for slider in page.get_by_role("slider").all()]
    assert len(set(values)) == 2
    plot.dispatch_event("pointercancel", {"pointerId": 7, "isPrimary": False})
    assert [slider.input_value() for slider in page.get_by_role("slider").all()] == values


def test_places_on_a_logarithmic_axis(opened):
    page = opened(th.draw_curve("?", [1, 10, 1000], [0.1, 0.2, 0.3], logx=True))
    left = [slider.bounding_box()["x"] for slider in page.get_by_role("slider").all()]
    assert (left[1] - left[0]) / (left[2] - left[0]) == pytest.approx(1 / 3, abs=0.01)


def test_labels_do_not_touch_on_a_phone(opened):
    x = [0.1, 0.3, 0.6, 1, 3]
    page = opened(th.draw_curve("?", x, [0.5] * 5, logx=True))
    page.set_viewport_size({"width": 390, "height": 800})
    page.wait_for_function("document.documentElement.scrollWidth <= 390")
    boxes = [
        page.locator("svg text", has_text=re.compile(rf"^{v:g}$")).last.bounding_box() for v in x
    ]
    for one, other in itertools.combinations(boxes, 2):
        beside = one["x"] + one["width"] + 3 < other["x"]
        assert beside or abs(one["y"] - other["y"]) > 10


@pytest.mark.parametrize(
    ("x", "y", "changed", "said"),
    [
        ([1, 2, 3], [0.1, 0.2], {}, "x and y: expected as many of each, got 3 and 2"),
        ([1], [0.1], {}, "x: expected two to twelve values, got 1"),
        ([1, 2], [0.1, 1.2], {}, r"y at 2: expected 0 to 1 \(y_range\), got \[1.2\]"),
        ([1, 2], [0.1, np.nan], {}, "y at 2: expected 0 to 1"),
        ([1, 2], [[], [0.1]], {}, "y at 1: expected 0 to 1"),
        ([0, 2], [0.1, 0.2], {"logx": True}, "x: has no logarithm at 0"),
        ([2, 1], [0.1, 0.2], {"logx": True}, "x: expected ascending values, got 2, 1"),
        ([1, 2], [0.1, 0.2], {"y_range": (1, 0)}, "y_range: expected the lower end first"),
    ],
)
def test_curves_that_cannot_be_drawn(x, y, changed, said):
    with pytest.raises(ValueError, match=said):
        th.draw_curve("?", x, y, **changed)


# ---- both ----


@pytest.mark.parametrize("part", [asked, drawn])
def test_without_scripts_and_in_print_the_answer_stands_there(part, browser, opened, tmp_path):
    page = opened(part())
    assert not page.locator("img").is_visible()
    page.emulate_media(media="print")
    assert page.locator("img").is_visible() and not page.locator(".live").is_visible()
    context = browser.new_context(java_script_enabled=False)
    still = context.new_page()
    still.goto((tmp_path / "page.html").as_uri())
    assert still.locator("img").is_visible()
    text = still.locator(".trajhelpers-prediction").inner_text()
    assert repr(part()).removeprefix(text.splitlines()[0]).strip() in text.replace("\n", " ")
    context.close()


@pytest.mark.parametrize("part", [asked, drawn])
def test_nothing_flows_over_on_a_phone(part, opened):
    page = opened(part())
    page.set_viewport_size({"width": 390, "height": 800})
    # What is drawn anew takes a frame or two.
    page.wait_for_function("document.documentElement.scrollWidth <= 390")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("part", [asked, drawn])
def test_no_rule_of_axe_is_broken(part, theme, opened):
    page = opened(part())
    page.emulate_media(color_scheme=theme)
    page.get_by_role("button").first.click()
    found = Axe().run(page).response["violations"]
    assert not [(one["id"], one["nodes"][0]["html"][:200]) for one in found]
