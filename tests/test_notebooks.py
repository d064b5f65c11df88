"""The stored chapters against their execution by `make book`: what `pytest --nbval-lax book/`
checks, without executing them once more."""

import importlib.util
from pathlib import Path

import nbformat
import pytest
from nbval.plugin import IPyNbFile, coalesce_streams

import trajhelpers as th

ROOT = Path(__file__).parents[1]
CHAPTERS = sorted((ROOT / "book").glob("*.ipynb"))

spec = importlib.util.spec_from_file_location("execute", ROOT / "book" / "execute.py")
book = importlib.util.module_from_spec(spec)
spec.loader.exec_module(book)


@pytest.fixture(scope="module")
def around():
    return book.surroundings()


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_stored_outputs_are_what_the_cells_give(path, around, request):
    assert book.is_current(path, around), "executed before something changed: run `make book` first"
    stored = IPyNbFile.from_parent(request.session, path=path)
    stored.compare_outputs = False  # as --nbval-lax: only where a cell asks for it
    executed = book.code_cells(book.last_execution(path))
    differing = []
    for cell, now in zip(stored.collect(), executed, strict=True):
        errors = [output for output in now.outputs if output.output_type == "error"]
        assert cell.options["check_exception"] or not errors
        assert cell.cell.execution_count, f"cell {cell.cell_num} is stored without having run"
        if cell.options["check"]:
            outputs = coalesce_streams(now.outputs), coalesce_streams(cell.cell.outputs)
            if not cell.compare_outputs(*outputs):
                differing += [f"cell {cell.cell_num}:\n{cell.cell.source}"]
                differing += cell.comparison_traceback
    assert not differing, "\n".join(differing)


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_stored_chapters_read_well_where_repositories_are_browsed(path):
    """A widget without its state, which is megabytes, is an error message there."""
    stored = book.read(path)
    assert "widgets" not in stored.metadata and path.stat().st_size < 1e6
    outputs = [output for cell in book.code_cells(stored) for output in cell.outputs]
    assert not [kind for output in outputs for kind in output.get("data", {}) if "widget" in kind]
    # A warning's place, on the machine that stored it.
    assert "site-packages" not in path.read_text()


def test_pages_have_the_explorers_code_once_for_all():
    html = th.explore(th.random_walk(4))._repr_html_()
    outputs = [
        nbformat.v4.new_output("display_data", {"text/html": text}) for text in (html, "<b>one</b>")
    ]
    cell = nbformat.v4.new_code_cell(outputs=outputs)
    book.with_code_in_files(nbformat.v4.new_notebook(cells=[cell]))
    explorer, table = (output.data["text/html"] for output in cell.outputs)
    assert table == "<b>one</b>" and len(explorer) < len(html) - 30_000
    assert explorer.startswith("<div") and explorer.count("<script") == 1
    assert '<script type="application/json">' in explorer and "<style" not in explorer


def test_outputs_are_without_widgets(tmp_path, monkeypatch):
    """What stands there without them does; a bar that has ended goes."""
    widget = {"application/vnd.jupyter.widget-view+json": {"model_id": "a"}}
    outputs = [
        nbformat.v4.new_output(
            "display_data", {**widget, "text/plain": "100%| 9/9 [00:01, 9it/s]"}
        ),
        nbformat.v4.new_output("display_data", {**widget, "text/html": "<p>a note</p>"}),
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1", outputs=outputs)])
    nbformat.write(notebook, tmp_path / "a.ipynb")
    notebook.metadata.widgets = {"application/vnd.jupyter.widget-state+json": {}}
    (tmp_path / "executed").mkdir()
    nbformat.write(notebook, tmp_path / "executed/a.ipynb")
    monkeypatch.setattr(book, "EXECUTED", tmp_path / "executed")
    shown = book.with_outputs(tmp_path / "a.ipynb")
    assert [output.data for output in shown.cells[0].outputs] == [{"text/html": "<p>a note</p>"}]
    assert "widgets" not in shown.metadata
