"""A run that grows in its explorer: by a button, by keys, by itself, or a part a press."""

from contextlib import contextmanager

import pytest
from test_explorer import random_kernel
from test_explorer_page import move, omega

import trajhelpers as th

KERNEL = random_kernel(31, 0)


@contextmanager
def opened(browser, tmp_path, play=False, **of_context):
    """Its clock stands still until a test moves it."""
    th.explore(KERNEL, play=play).save(tmp_path / "run.html")
    context = browser.new_context(viewport={"width": 1200, "height": 1400}, **of_context)
    page, heard = context.new_page(), []
    page.on("pageerror", lambda error: heard.append(str(error)))
    page.clock.install(time=0)
    page.clock.pause_at(1000)
    page.goto((tmp_path / "run.html").as_uri())
    page.clock.run_for(100)
    yield page
    assert not heard
    context.close()


def reached(page):
    """The last checkpoint that is shown, after a check of the number beside it."""
    last = int(page.locator("input[name=last]").input_value())
    assert omega(page) == pytest.approx(th.mds(KERNEL[: last + 1]), abs=1e-9)
    assert f" {last + 1} checkpoints" in page.locator(".measures").inner_text()
    return last


def test_it_grows_pauses_and_ends(browser, tmp_path):
    with opened(browser, tmp_path) as page:
        button = page.get_by_role("button", name="play")
        path = page.locator("figure.path circle.point")
        assert reached(page) == 30 and path.count() == 31
        button.focus()
        page.keyboard.press("Enter")
        page.clock.run_for(2000)
        first = reached(page)
        assert 2 < first < 30 and path.count() == first + 1
        page.keyboard.press("Enter")
        page.clock.run_for(2000)
        assert reached(page) == first
        page.keyboard.press("Enter")
        page.clock.run_for(500)
        assert first < reached(page) < 30
        page.clock.run_for(8000)
        assert reached(page) == 30 and path.count() == 31
        assert page.get_by_role("button", name="play").is_visible()


def test_a_control_that_is_moved_stops_it(browser, tmp_path):
    with opened(browser, tmp_path) as page:
        page.get_by_role("button", name="play").click()
        page.clock.run_for(1000)
        move(page, "origin", 3)
        last = page.locator("input[name=last]")
        count = int(last.input_value()) + 1
        assert 4 < count < 31
        page.clock.run_for(1000)
        assert int(last.input_value()) + 1 == count
        assert omega(page) == pytest.approx(th.mds(KERNEL[:count], 3), abs=1e-9)
        assert page.get_by_role("button", name="play").is_visible()


def test_nothing_moves_below_while_it_grows(browser, tmp_path):
    with opened(browser, tmp_path) as page:
        page.evaluate(
            """window.shifts = []; new PerformanceObserver(list => window.shifts.push(
            ...list.getEntries().map(entry => entry.value))).observe({ type: "layout-shift" })"""
        )
        places = (
            "[...document.querySelectorAll('figure, p, .controls')].map("
            "element => element.getBoundingClientRect().top)"
        )
        before = page.evaluate(places)
        page.get_by_role("button", name="play").click()
        for _ in range(30):
            page.clock.run_for(200)
            assert page.evaluate(places) == before
        assert page.evaluate("window.shifts") == []


def test_it_plays_by_itself_once_it_is_seen(browser, tmp_path):
    with opened(browser, tmp_path, play=True) as page:
        page.get_by_role("button", name="pause").wait_for()
        page.clock.run_for(2000)
        assert 2 < reached(page) < 30


def test_who_wants_no_motion_moves_it_by_hand(browser, tmp_path):
    with opened(browser, tmp_path, play=True, reduced_motion="reduce") as page:
        page.clock.run_for(2000)
        assert reached(page) == 30
        button = page.get_by_role("button", name="grow by a tenth")
        seen = []
        for _ in range(10):
            button.click()
            seen.append(reached(page))
            page.clock.run_for(1000)
            assert reached(page) == seen[-1]
        assert seen == [5, 9, 13, 17, 21, 25, 29, 30, 5, 9]
