"""A reader finds the way: what the first page, the README and the tables say leads somewhere."""

import importlib.util
import json
import re
import subprocess
from functools import cache, reduce
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
import yaml

import trajhelpers as th

ROOT = Path(__file__).parents[1]
BOOK = ROOT / "book"
PAGES = [ROOT / "README.md", BOOK / "intro.ipynb", *sorted(BOOK.glob("*.md"))]
FIGURES = BOOK / "paper-figures.md"


@cache
def text(path):
    """The Markdown of a page."""
    if path.suffix != ".ipynb":
        return path.read_text()
    cells = nbformat.read(path, as_version=4).cells
    return "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


def rows(path, beginning):
    """Of the table whose head begins so: its rows, as lists of cells."""
    lines = text(path).splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith(beginning))
    table = []
    for line in lines[first + 2 :]:
        if not line.startswith("|"):
            break
        table.append([cell.strip() for cell in line[1:-1].split("|")])
    return table


def links(words):
    return re.findall(r"\]\(([^)\s]+)\)", words)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_lead_to_files_and_anchors(path):
    for link in links(text(path)):
        file, _, anchor = link.partition("#")
        if re.match(r"https?://", link):
            continue
        target = path.parent / file if file else path
        assert target.is_file(), f"{path.name}: {link}"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", text(target), re.M)
            slugs = [re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings]
            assert anchor in slugs, f"{path.name}: {link}"


def test_doors_lead_to_pages():
    doors = re.findall(r"^:link: (\S+)$", text(BOOK / "intro.ipynb"), re.M)
    assert len(doors) == 3
    in_contents = re.findall(r"(?:root|file): book/(\S+)", (ROOT / "_toc.yml").read_text())
    assert set(doors) <= set(in_contents)


def test_the_first_page_has_every_chapter_by_its_number_and_title():
    contents = yaml.safe_load((ROOT / "_toc.yml").read_text())
    numbered, number = [], 0
    for part in contents["parts"]:
        if "numbered" in part:
            for chapter in part["chapters"]:
                number += 1
                numbered.append((str(number), chapter["file"]))
                numbered += [("", section["file"]) for section in chapter.get("sections", [])]
    table = rows(BOOK / "intro.ipynb", "| | chapter")
    assert [(row[0], f"book/{links(row[1])[0][:-6]}") for row in table] == numbered
    for place, file in numbered:
        assert not place or Path(file).name.startswith(f"{int(place):02}-")
        shown = next(row[1] for row in table if Path(file).name in row[1])
        title = text(ROOT / f"{file}.ipynb").splitlines()[0].removeprefix("# ")
        assert title.startswith(re.match(r"\[([^]]*)\]", shown)[1])


# Of each finding on the first page: the claim of the scorecard whose verdict stands beside it.
CLAIMS = {
    "4": "ω rises from both, to no momentum",
    "5": "SGD: more weight decay, lower ω",
    "6": "more momentum, lower ω (VGG",
    "7": "larger batches, lower ω",
    "9": None,
    "10": "Lemma 1: the printed bounds",
    "12": "larger language models: higher ω",
    "13": "the query-key-value weights of the middle layers converge the latest",
}


def test_findings_have_the_chapters_numbers_and_the_scorecards_verdicts():
    table = th.claims.scorecard()
    found = rows(BOOK / "intro.ipynb", "| finding")
    assert [re.match(r"\[(\d+)\]", row[2])[1] for row in found] == list(CLAIMS)
    for (finding, said, chapter), claim in zip(found, CLAIMS.values(), strict=True):
        page = links(chapter)[0]
        written = text(BOOK / page)
        for number in re.findall(r"[−]?[\d,]*\.?\d+", finding.replace("Lemma 1", "")):
            assert re.search(rf"(?<![\d.]){re.escape(number)}(?![\d])", written), (page, number)
        if claim is None:
            assert said == "left open"
            continue
        [row] = [row for row in table.itertuples() if row.claim.startswith(claim)]
        assert said == f"{row.verdict} ({row.holds})" and page == f"{row.chapter}.ipynb"


def test_the_first_pages_run_is_chapter_1s():
    """As chapter 1 stored it: its ω, to the digits that it prints."""
    printed = re.search(r"ω = (\d\.\d+)", (BOOK / "01-first-map.ipynb").read_text())[1]
    kernel = th.load_kernel(ROOT / "data" / "first-map.npz")
    assert kernel.n == 61 and f"{th.mds(kernel):.3f}" == printed


def figures(cell):
    """The numbers in "Fig 4, 12–14"."""
    found = []
    for first, last in re.findall(r"(\d+)(?:\(\w\))?(?:–(\d+))?", cell):
        found += range(int(first), int(last or first) + 1)
    return found


def test_every_figure_of_the_paper_has_a_row():
    table = [row for row in rows(FIGURES, "| the paper's |") if row[0].startswith("Fig")]
    assert {number for row in table for number in figures(row[0])} == set(range(1, 71))


@cache
def names_of_figures():
    """Name → the page that has it."""
    found = {}
    for path in BOOK.glob("*.ipynb"):
        for cell in nbformat.read(path, as_version=4).cells:
            name = cell.metadata.get("mystnb", {}).get("figure", {}).get("name")
            found |= {name: path.name} if name else {}
    return found


@pytest.mark.parametrize("row", rows(FIGURES, "| the paper's |"), ids=lambda row: row[0])
def test_what_the_table_of_figures_names_exists(row):
    _, shows, chapters, ours, functions, run, large = row
    pages = links(chapters)
    where = names_of_figures()
    assert shows and pages and all((BOOK / page).is_file() for page in pages)
    labels = re.findall(r"<(fig-[\w-]+)>", ours)
    assert labels and all(where[label] in pages for label in labels)
    for name in re.findall(r"`th\.([\w.]+)`", functions):
        assert reduce(getattr, name.split("."), th)
    for command in re.findall(r"`([^`]+)`", f"{run} {large}"):
        kind, what = command.split()[:2]
        assert {
            "study": what in th.studies.STUDIES,
            "train": what in th.studies.PAPER,
            "gram": what.startswith("hf://EleutherAI/pythia-"),
        }[kind], command


def terms():
    inside = re.search(r"```\{glossary\}\n(.*?)```", text(BOOK / "glossary.md"), re.S)[1]
    return {line for line in inside.splitlines() if line and not line.startswith(" ")}


def test_terms_that_pages_link_are_in_the_glossary():
    linked = {}
    for path in [*BOOK.glob("*.ipynb"), *BOOK.glob("*.md")]:
        for words in re.findall(r"\{term\}`([^`]+)`", text(path)):
            linked[re.sub(r".*<(.*)>", r"\1", words)] = path.name
    missing = {term: page for term, page in linked.items() if term not in terms()}
    assert not missing and {"trajectory map", "ω"} <= set(linked)


def test_each_term_names_a_chapter():
    inside = re.search(r"```\{glossary\}\n(.*?)```", text(BOOK / "glossary.md"), re.S)[1]
    for entry in inside.strip().split("\n\n"):
        assert len(links(entry)) >= 1, entry


def test_the_version_to_cite_is_the_packages():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    page = text(BOOK / "cite.md")
    assert citation["version"] == th.__version__
    assert f"version = {{{th.__version__}}}" in page and citation["title"] in page
    for author in citation["references"][0]["authors"]:
        assert author["family-names"].replace("ö", r"{\"o}") in page


def test_the_workflow_runs_what_the_repository_runs():
    """And may do no more than that, but for the job that publishes."""
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "pages.yml").read_text())
    assert workflow["permissions"] == {"contents": "read"}
    test, publish = workflow["jobs"]["test"], workflow["jobs"]["publish"]
    assert any(step.get("run") == ".ci/run" for step in test["steps"])
    assert "permissions" not in test and publish["needs"] == "test"
    assert publish["permissions"] == {"pages": "write", "id-token": "write"}
    used = [step["uses"] for job in (test, publish) for step in job["steps"] if "uses" in step]
    assert used and all(re.fullmatch(r"actions/[\w-]+@v\d+", action) for action in used)


@pytest.mark.parametrize("address", ["", "https://github.com/OWNER/NAME"])
def test_launch_buttons_stand_where_the_repository_is_known(address, monkeypatch):
    """As `make book` says it; the theme would have its own authors' otherwise."""
    command = ["make", "--dry-run", "--always-make", "book", f"REPOSITORY={address}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert f"REPOSITORY={address} " in done.stdout
    place = BOOK / "extensions" / "launching.py"
    spec = importlib.util.spec_from_file_location("launching", place)
    launching = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(launching)
    monkeypatch.setenv("REPOSITORY", address)
    config = SimpleNamespace(html_theme_options={"show_navbar_depth": 2})
    launching.launch(None, config)
    assert config.html_theme_options.get("repository_url", "") == address
    assert ("launch_buttons" in config.html_theme_options) is bool(address)
    named = (ROOT / "_config.yml").read_text()
    assert "launching: book/extensions" in named and "- launching\n" in named


def test_readme_and_stored_commands_are_commands():
    for path in (ROOT / "README.md", BOOK / "commands.md"):
        for command in re.findall(r"^trajhelpers (\w+)", text(path), re.M):
            assert (ROOT / "trajhelpers" / "cli" / f"{command}.py").is_file(), command


def test_data_entry_of_the_first_page():
    entries = json.loads((ROOT / "data" / "manifest.json").read_text())["files"]
    assert "first_map" in entries["first-map.npz"]["command"]
