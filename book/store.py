"""Execute notebooks in place and store what reads well where repositories are browsed: python
book/store.py A.ipynb …

Widgets need their state, which is megabytes, or a kernel; without either their output is an error
message. So their state is not stored, and a line stands where they were."""

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

WIDGET = "application/vnd.jupyter.widget-view+json"


def execute(path):
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(
        notebook, timeout=120, record_timing=False, resources={"metadata": {"path": path.parent}}
    ).execute()
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [kept for output in cell.outputs for kept in without_widget(output)]
    nbformat.write(notebook, path)
    print(f"{path}: {path.stat().st_size / 1e3:.0f} kB")


def without_widget(output):
    if WIDGET not in output.get("data", {}):
        return [output]
    if "it/s" in output.data.get("text/plain", ""):  # a progress bar has nothing left to say
        return []
    output.data = {"text/plain": "[a widget: run this cell, or see the rendered page]"}
    return [output]


for name in sys.argv[1:]:
    execute(Path(name))
