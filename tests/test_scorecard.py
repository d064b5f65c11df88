"""The scorecard's rule, on made-up numbers, and its rows, on the stored runs."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import trajhelpers as th
from trajhelpers.lab.claims import table as page
from trajhelpers.lab.claims.rule import Claim, outcome, verdict
from trajhelpers.lab.studies import load

FALLS = pd.DataFrame({"a": [3.0, 3.1, 2.9], "b": [2.0, 2.1, 1.9], "c": [1.0, 1.1, 0.9]})
ALONE = FALLS.iloc[:1].reindex(FALLS.index)  # the other two seeds diverged
NOISY = pd.DataFrame({"a": [3.0, 1.0, 2.0], "b": [1.0, 2.0, 2.1]})


def made_up(**conditions):
    return Claim("a > b", "nowhere", "1", lambda: conditions, "chance", "00-none")


@pytest.mark.parametrize(
    "conditions, expected",
    [
        ({"one": FALLS}, "reproduced"),
        ({"one": FALLS, "two": FALLS}, "reproduced"),
        ({"one": FALLS, "two": NOISY}, "under a condition"),
        ({"one": NOISY}, "not reproduced"),
        ({"one": FALLS.iloc[:, ::-1]}, "not reproduced"),
        ({"one": FALLS, "two": ALONE}, "reproduced"),
        ({"one": NOISY, "two": ALONE}, "not reproduced"),
        ({"one": ALONE}, "not decided"),
    ],
)
def test_the_rule(conditions, expected):
    assert verdict(outcome(columns).holds for columns in conditions.values()) == expected


def test_one_pair_out_of_order_breaks_a_chain():
    assert outcome(FALLS[["b", "a", "c"]]).holds is False
    assert outcome(FALLS[["a", "c"]]).holds is True


@pytest.mark.parametrize("lost", ["a", "b", "c"])
def test_a_seed_that_diverged_is_left_out_of_all_comparisons(lost):
    """Where the others tell, as where that seed was never run."""
    columns = pd.concat([FALLS, FALLS.iloc[:1]], ignore_index=True)
    columns.loc[3, lost] = np.nan
    found, without = outcome(columns), outcome(FALLS)
    assert found.holds is True and found.lost == 1
    assert found.whole[:3] == without.whole[:3]
    pd.testing.assert_frame_equal(found.columns, FALLS)


def test_fewer_than_two_seeds_decide_nothing():
    for columns, seeds in ((ALONE, 1), (FALLS * np.nan, 0), (FALLS.iloc[:1], 1)):
        found = outcome(columns)
        assert found.holds is None and found.whole is None and len(found.columns) == seeds


def test_the_row_says_what_diverged(monkeypatch):
    fourth = pd.concat([FALLS, FALLS.iloc[:1].assign(b=np.nan)], ignore_index=True)
    monkeypatch.setattr(page, "CLAIMS", (made_up(vgg=fourth, vit=ALONE), made_up(vit=ALONE)))
    table = th.claims.scorecard()
    assert table.ours[0].split("\n") == [
        "vgg (3 of 4 seeds, 1 diverged): a 3 > b 2 > c 1: +2 [+2, +2]",
        "vit (1 of 3 seeds, 2 diverged): a 3 > b 2 > c 1: fewer than two seeds",
    ]
    assert table.verdict.tolist() == ["reproduced", "not decided"]
    assert table.holds.tolist() == ["1 of 1, 1 not decided", "0 of 0, 1 not decided"]
    assert table.seeds.tolist() == ["1/3", "1"]
    assert "<td>fewer than two seeds</td><td>not decided</td>" in th.claims.show_scorecard().data


def test_a_claim_without_runs_says_so(monkeypatch):
    monkeypatch.setattr(page, "CLAIMS", (replace(made_up(), conditions=None), made_up(vgg=FALLS)))
    table = th.claims.scorecard()
    assert table.verdict.tolist() == ["not run here", "reproduced"]
    assert table.ours[0] == "" and table.seeds[1] == "3"
    assert table.ours[1] == "vgg: a 3 > b 2 > c 1: +2 [+2, +2]" and table.holds[1] == "1 of 1"


def test_the_page_shows_every_condition(monkeypatch):
    monkeypatch.setattr(page, "CLAIMS", (made_up(**{"η < 1": FALLS, "bad": NOISY}),))
    shown = th.claims.show_scorecard().data
    assert (
        "<td>under a condition</td><td>1 of 2</td>" in shown
        and "<summary>a &gt; b</summary>" in shown
    )
    assert (
        "<td>η &lt; 1</td><td>a 3 &gt; b 2 &gt; c 1</td><td>+2 [+2, +2]</td><td>yes</td>" in shown
    )
    assert "<td>bad</td>" in shown and "<td>no</td>" in shown and "chance." in shown


@pytest.fixture(scope="module")
def table():
    return th.claims.scorecard()


def test_every_claim_is_put_to_the_test(table):
    assert len(table) == len(th.claims.CLAIMS) and table.claim.is_unique
    assert set(table.verdict) <= {"reproduced", "under a condition", "not reproduced"}
    assert (table.seeds == "3").all()


def test_rows_name_their_source_and_a_chapter_that_exists(table):
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


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """A copy of the book's runs, which claims look at."""
    shutil.copytree(load.DATA_FOLDER / "studies", tmp_path / "studies")
    monkeypatch.setattr(load, "DATA_FOLDER", tmp_path)
    return tmp_path / "studies"


def write_runs(place, diverged):
    """Seed 2 diverged in every run of a study, or was never run."""
    for study in place.iterdir():
        table = pd.read_csv(study / "runs.csv", dtype={"run": "str", "diverged": "str"})
        log = pd.read_csv(study / "log.csv", dtype={"run": "str"})
        last = table.seed == 2
        log[~log.run.isin(table.run[last])].to_csv(study / "log.csv", index=False)
        numbers = [
            name
            for name in ("mds", "relative_mds", "train_accuracy", "test_accuracy")
            if name in table
        ]
        table["diverged"] = table.diverged.where(~last, "the loss became nan")
        table[numbers] = table[numbers].where(~last)
        (table if diverged else table[~last]).to_csv(study / "runs.csv", index=False)


def test_a_seed_that_diverged_is_as_one_that_was_not_run(runs):
    """Of every claim on runs; the lemma's are on draws."""
    write_runs(runs, diverged=True)
    diverged, shown = th.claims.scorecard(), th.claims.show_scorecard().data
    write_runs(runs, diverged=False)
    two = th.claims.scorecard()
    on_runs = diverged.seeds == "2"
    assert on_runs.sum() == len(diverged) - 3 and (diverged.seeds[~on_runs] == "3").all()
    note = " (2 of 3 seeds, 1 diverged)"
    assert diverged.ours[on_runs].str.split("\n").explode().str.contains(note, regex=False).all()
    ours = diverged.ours.str.replace(note, "", regex=False)
    pd.testing.assert_frame_equal(diverged.assign(ours=ours), two)
    assert shown.replace(note, "") == th.claims.show_scorecard().data


def test_the_function_stays_a_function_when_its_module_is_loaded():
    th.claims.show_scorecard("08-sam")
    assert callable(th.claims.scorecard) and len(th.claims.scorecard("08-sam")) == 1
