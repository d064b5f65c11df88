"""Sentences whose numbers follow what is chosen in them: in a browser, against Python's format."""

import itertools

import numpy as np
import pandas as pd
import pytest
from axe_playwright_python.sync_playwright import Axe

import trajhelpers as th
from trajhelpers.explorer.page import page as html_page

TEMPLATE = (
    "In the {network}, with momentum {momentum:g} and λ {λ:.4f}, ω is {ω:.3f} ± {spread:.1e},"
    " {than} than with λ 0; {momentum:g} is what it says."
)
NUMBER = np.random.default_rng(0).random(12)


@pytest.fixture
def table():
    """Every combination but one."""
    levels = ["network", "momentum", "λ"]
    rows = list(itertools.product(["VGG", "ResNet <b>"], [0.9, 0.0], [0.0234, 0.0, 0.0117]))
    table = pd.DataFrame(rows, columns=levels)
    table["ω"], table["spread"] = NUMBER, NUMBER[::-1] / 1000
    table["than"] = ["less", "as much", "more"] * 4
    return table.set_index(levels).drop(("VGG", 0.0, 0.0117))


@pytest.fixture
def opened(from_disk, table):
    part = th.movable_sentence(TEMPLATE, table)
    page = from_disk(html_page("A sentence", [part._repr_html_()]))
    # It is made when nothing else happens.
    page.locator(".live").wait_for()
    return page


def said(row, key):
    network, momentum, decay = key
    values = {"network": network, "momentum": momentum, "λ": decay, **row}
    return TEMPLATE.format(**values)


def choose(page, network, momentum, decay):
    page.locator("select[name=network]").select_option(label=network)
    page.locator("select[name=momentum]").select_option(label=f"{momentum:g}")
    page.locator("input[name=λ]").fill(str([0.0, 0.0117, 0.0234].index(decay)))


def test_each_choice_shows_its_row(opened, table):
    for key, row in table.iterrows():
        choose(opened, *key)
        for name in ("ω", "spread"):
            shown = opened.locator(f"[data-measure={name}]")
            assert float(shown.get_attribute("data-value")) == row[name]
            assert shown.inner_text() == format(row[name], {"ω": ".3f", "spread": ".1e"}[name])
        assert opened.locator("[data-measure=than]").inner_text() == row["than"]
        assert opened.locator("[aria-live]").text_content() == said(row, key)


def test_what_was_not_run_is_said(opened, table):
    choose(opened, "VGG", 0.0, 0.0117)
    assert opened.locator("[data-measure=ω]").get_attribute("data-value") == ""
    assert "This was not run." in opened.locator(".live").inner_text()
    assert opened.locator("[aria-live]").text_content() == "This was not run."
    choose(opened, "VGG", 0.9, 0.0117)
    assert "This was not run." not in opened.locator(".live").inner_text()


def test_the_first_row_is_shown_first_and_keys_move_on(opened, table):
    assert float(opened.locator("[data-measure=ω]").get_attribute("data-value")) == NUMBER[0]
    line = opened.get_by_role("slider", name="λ")
    assert line.get_attribute("aria-valuetext") == "0.0234"
    line.focus()
    opened.keyboard.press("ArrowLeft")
    assert line.get_attribute("aria-valuetext") == "0.0117"
    assert float(opened.locator("[data-measure=ω]").get_attribute("data-value")) == NUMBER[2]
    opened.get_by_role("combobox", name="network").focus()
    opened.keyboard.press("ArrowDown")
    expected = table.loc[("ResNet <b>", 0.9, 0.0117), "ω"]
    assert float(opened.locator("[data-measure=ω]").get_attribute("data-value")) == expected


def test_a_level_that_is_named_again_is_said(opened):
    opened.locator("select[name=momentum]").select_option(label="0")
    assert opened.locator("select[name=momentum]").count() == 1
    assert opened.locator(".live").inner_text().endswith("; 0 is what it says.")


def test_it_is_a_sentence_as_text_and_without_scripts(browser, opened, table, tmp_path):
    expected = said(table.iloc[0], table.index[0])
    assert repr(th.movable_sentence(TEMPLATE, table)) == expected
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((tmp_path / "page.html").as_uri())
    assert page.locator(".trajhelpers-sentence").inner_text() == expected
    context.close()


def test_in_print_what_is_chosen_is_text(opened):
    opened.emulate_media(media="print")
    assert not opened.locator("input").is_visible()
    assert "0.0234" in opened.locator(".live").inner_text()


def test_nothing_flows_over_on_a_phone(opened):
    opened.set_viewport_size({"width": 390, "height": 800})
    assert opened.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_rule_of_axe_is_broken(theme, opened):
    opened.emulate_media(color_scheme=theme)
    found = Axe().run(opened).response["violations"]
    assert not [(one["id"], one["nodes"][0]["html"][:200]) for one in found]


@pytest.mark.parametrize(
    ("template", "change", "said"),
    [
        ("{ω} at {a} of {b}", lambda t: t, r"\{b\} is none of a, ω"),
        ("at {a}", lambda t: t, "names none of the columns ω"),
        ("ω is {ω}", lambda t: t, r"leaves out \{a\}, by which rows differ"),
        ("{ω} at {a}", lambda t: pd.concat([t, t]), "expected one row for 1, got several"),
        ("{ω} at {a}", lambda t: t.iloc[:0], "expected rows and columns, got none"),
        ("{ω} at {a}", lambda t: t.reset_index(), "its index has no name"),
    ],
)
def test_sentences_that_cannot_be_said(template, change, said):
    table = pd.DataFrame({"a": [1, 2], "ω": [0.1, 0.2]}).set_index("a")
    with pytest.raises(ValueError, match=said):
        th.movable_sentence(template, change(table))
