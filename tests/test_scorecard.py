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
        ({"one": NOISY, "two": ALONE}, "not decided"),
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


@pytest.mark.parametrize("span, smallest", [(1, 0.005), (180, 0.9), (None, 0.02)])
def test_a_difference_has_to_reach_the_smallest_effect(span, smallest):
    """Half a percent of how far the quantity can go, or of the larger of the two, here 4."""
    low = pd.Series([3.9, 4.0, 4.1]) - (0.0 if span else smallest)
    for times, expected in ((1.01, True), (0.99, False)):
        columns = pd.DataFrame({"a": low + times * smallest, "b": low})
        assert outcome(columns, span).holds is expected
        if span:  # and so has a reversal, to break an order
            chain = pd.DataFrame({"a": low + 9, "b": low, "c": low + times * smallest})
            assert outcome(chain, span).holds is not expected


def test_no_difference_is_too_small_for_the_order_of_neighbours():
    columns = pd.DataFrame({"a": [1.0, 1.1], "b": [0.997, 1.097], "c": [0.994, 1.094]})
    assert outcome(columns).holds is True


@pytest.mark.parametrize("lost", range(3))
def test_a_lost_seed_takes_no_claim_down(lost):
    """Whatever three seeds say: with one of them lost a condition that held is held or not decided,
    and a claim that was not refuted is not refuted.
    """
    generator = np.random.default_rng(lost)
    held = 0
    for _ in range(60):
        shape = (3, generator.integers(2, 4))
        trend = generator.normal() * np.arange(shape[1], 0, -1)
        columns = pd.DataFrame(trend + generator.normal(size=shape) * generator.choice([0.1, 1]))
        without = columns.copy()
        without.loc[lost] = np.nan
        before, after = outcome(columns).holds, outcome(without).holds
        held += before
        assert after in (True, None) if before else True
        if verdict([before]) != "not reproduced":
            assert verdict([after]) != "not reproduced"
    assert 10 < held < 50


def test_what_the_others_refute_stays_refuted():
    """By an interval that excludes zero; a third seed could not have turned it."""
    columns = FALLS.iloc[:, ::-1].copy()
    columns.loc[2] = np.nan
    assert outcome(columns).holds is False
    noisy = NOISY.copy()
    noisy.loc[2] = np.nan
    assert outcome(noisy).holds is None


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


def test_what_the_paper_trained_was_not_run_here(monkeypatch):
    """And what the miniature shows stands beside it."""
    pythia = replace(made_up(vgg=FALLS), setting="Pythia")
    monkeypatch.setattr(page, "CLAIMS", (pythia, made_up(vgg=FALLS)))
    table = th.claims.scorecard()
    assert table["in the paper's setting"].tolist() == ["not run here", ""]
    assert table.setting.tolist() == ["Pythia", ""] and (table.verdict == "reproduced").all()
    shown = th.claims.show_scorecard().data
    assert "<td>not run here (Pythia)</td><td>in miniature: reproduced</td>" in shown
    assert "<td>–</td><td>reproduced</td>" in shown


def test_steps_are_whole_numbers(monkeypatch):
    """Not 1.21e+03."""
    monkeypatch.setattr(page, "CLAIMS", (made_up(steps=FALLS * 404.4),))
    assert th.claims.scorecard().ours[0].startswith("steps: a 1,213 > b 809 > c 404:")


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


@pytest.fixture(scope="module")
def conditions():
    """Of every claim, with what its conditions compare."""
    return [(claim, claim.conditions()) for claim in th.claims.CLAIMS]


def test_every_claim_is_put_to_the_test(table):
    assert len(table) == len(th.claims.CLAIMS) and table.claim.is_unique
    assert set(table.verdict) <= {"reproduced", "under a condition", "not reproduced"}
    assert (table.seeds == "3").all()


def test_what_the_paper_trained_is_run_nowhere_here(table):
    """ImageNet, CIFAR-10 and Pythia are out of this book's reach, and no claim of ours needs them;
    the lemma, the pictures and the width argument are about no network of the paper's.
    """
    trained = table.setting != ""
    assert (table["in the paper's setting"] == trained.map({True: "not run here", False: ""})).all()
    assert table.setting[trained].str.contains("ImageNet|CIFAR-10|Pythia").all()
    assert not table.claim[trained].str.startswith("(ours").any()
    untrained = table[~trained & ~table.claim.str.startswith("(ours")]
    assert set(untrained.source) == {"Fig 7", "Lemma 1", "Lemma 1, App. A", "App. B"}


def test_nothing_holds_by_less_than_the_smallest_effect(conditions):
    """In every condition of every claim, from the numbers themselves."""
    for claim, those in conditions:
        for name, columns in those.items():
            means = columns.mean()
            unit = claim.span or means.abs().max()
            if outcome(columns, claim.span).holds:
                assert means.iloc[0] - means.iloc[-1] >= 0.005 * unit, (claim.finding, name)


@pytest.mark.parametrize("lost", range(3))
def test_no_seed_that_diverged_takes_a_claim_down(lost, table, conditions):
    """Of every claim of the book, whichever seed it is."""
    for (claim, those), before in zip(conditions, table.verdict):
        held = []
        for columns in those.values():
            columns = columns.reset_index(drop=True).astype(float)
            columns.loc[lost] = np.nan
            held.append(outcome(columns, claim.span).holds)
        if before != "not reproduced":
            assert verdict(held) != "not reproduced", claim.finding


def test_what_the_row_on_decays_says_of_the_other_cells(conditions):
    """In words typed beside the claim, which is tested in one cell of four."""
    findings = [claim.finding for claim, _ in conditions]
    row = findings.index("a decay of η turns the angle of the pair across it acute")
    [(_, pairs)] = [pair for pair in conditions if "pair of epochs across" in pair[0].finding]
    assert conditions[row + 2][1] is pairs, "next row but one"
    across, before = zip(
        *(columns.mean() for name, columns in pairs.items() if ", both," not in name)
    )
    assert len(across) == 18 and sum(angle < 90 for angle in across) == 9
    assert all(one > other for one, other in zip(across, before))
    assert "acute in 9 of 18 conditions, and in each of the 18" in conditions[row][0].explains


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


def test_a_run_that_diverged_is_a_seed_that_is_lost(runs):
    """From the files: the order of the other two seeds is what is left."""
    chapter = "06-momentum-and-rate"
    write_runs(runs, diverged=True)
    diverged, shown = th.claims.scorecard(chapter), th.claims.show_scorecard(chapter).data
    write_runs(runs, diverged=False)
    two = th.claims.scorecard(chapter)
    assert (diverged.seeds == "2").all() and not (diverged.verdict == "not reproduced").any()
    note = " (2 of 3 seeds, 1 diverged)"
    assert diverged.ours.str.split("\n").explode().str.contains(note, regex=False).all()
    assert note in shown
    pd.testing.assert_series_equal(diverged.ours.str.replace(note, "", regex=False), two.ours)


def test_the_function_stays_a_function_when_its_module_is_loaded():
    th.claims.show_scorecard("08-sam")
    assert callable(th.claims.scorecard) and len(th.claims.scorecard("08-sam")) == 1
