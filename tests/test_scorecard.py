"""The scorecard's rule, on made-up numbers, and its rows, on the stored runs."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import trajhelpers as th
from trajhelpers.lab.claims import claims

FALLS = pd.DataFrame({"a": [3.0, 3.1, 2.9], "b": [2.0, 2.1, 1.9], "c": [1.0, 1.1, 0.9]})
NOISY = pd.DataFrame({"a": [3.0, 1.0, 2.0], "b": [1.0, 2.0, 2.1]})


def made_up(**conditions):
    return claims.Claim("a > b", "nowhere", "1", lambda: conditions, "chance", "00-none")


@pytest.mark.parametrize(
    "conditions, verdict",
    [
        ({"one": FALLS}, "reproduced"),
        ({"one": FALLS, "two": FALLS}, "reproduced"),
        ({"one": FALLS, "two": NOISY}, "under a condition"),
        ({"one": NOISY}, "not reproduced"),
        ({"one": FALLS.iloc[:, ::-1]}, "not reproduced"),
    ],
)
def test_the_rule(conditions, verdict):
    assert claims.verdict(conditions) == verdict


def test_one_pair_out_of_order_breaks_a_chain():
    assert not claims.holds(FALLS[["b", "a", "c"]])
    assert claims.holds(FALLS[["a", "c"]])


def test_a_claim_without_runs_says_so(monkeypatch):
    monkeypatch.setattr(claims, "CLAIMS", (replace(made_up(), conditions=None), made_up(vgg=FALLS)))
    table = th.claims.scorecard()
    assert table.verdict.tolist() == ["not run here", "reproduced"]
    assert table.ours[0] == "" and table.seeds[1] == "3"
    assert table.ours[1] == "vgg: a 3 > b 2 > c 1: +2 [+2, +2]" and table.holds[1] == "1 of 1"


def test_the_page_shows_every_condition(monkeypatch):
    monkeypatch.setattr(claims, "CLAIMS", (made_up(**{"η < 1": FALLS, "bad": NOISY}),))
    page = th.claims.show_scorecard().data
    assert (
        "<td>under a condition</td><td>1 of 2</td>" in page
        and "<summary>a &gt; b</summary>" in page
    )
    assert "<td>η &lt; 1</td><td>a 3 &gt; b 2 &gt; c 1</td><td>+2 [+2, +2]</td><td>yes</td>" in page
    assert "<td>bad</td>" in page and "<td>no</td>" in page and "chance." in page


@pytest.fixture(scope="module")
def table():
    return th.claims.scorecard()


def test_every_claim_is_put_to_the_test(table):
    assert len(table) == len(claims.CLAIMS) and table.claim.is_unique
    assert set(table.verdict) <= {"reproduced", "under a condition", "not reproduced"}
    assert (table.seeds == "3").all()


def test_rows_name_their_source_and_a_chapter_that_exists(table):
    from pathlib import Path

    book = Path(__file__).parents[1] / "book"
    assert (table.source != "").all()
    assert all((book / f"{chapter}.ipynb").is_file() for chapter in table.chapter)
    assert "".join(table.paper) != ""
    for chapter in table.chapter.unique():
        assert th.claims.scorecard(chapter).equals(
            table[table.chapter == chapter].reset_index(drop=True)
        )


def test_four_cells_by_hand(table):
    """The first row's numbers, from the stored kernels by the definition."""
    study = th.studies.load_study("momentum-decay-vgg")
    means = {}
    for (momentum, decay), part in study.table.groupby(["momentum", "weight_decay"]):
        omegas = []
        for run in part.index:
            kernel = study.kernels[run].gram()
            length = np.sqrt(np.diag(kernel))
            omegas.append((kernel / np.outer(length, length)).mean())
        means[momentum, decay > 0] = np.mean(omegas)
    expected = (
        f"VGG: neither {means[0, False]:.3g} > no decay {means[0.9, False]:.3g} > no momentum"
        f" {means[0, True]:.3g} > both {means[0.9, True]:.3g}:"
    )
    assert table.ours[0].split("\n")[0].startswith(expected)


def test_the_function_stays_a_function_when_its_module_is_loaded():
    th.claims.show_scorecard("08-sam")
    assert callable(th.claims.scorecard) and len(th.claims.scorecard("08-sam")) == 1
