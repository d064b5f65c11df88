"""Execute chapters and store them with what reads well where repositories are browsed:
python book/store.py A.ipynb …

Widgets need their state, which is megabytes, or a kernel; without either their output is an error
message. So their state is not stored, and a line stands where they were; and where something moves
by a script of its own, since scripts do not run there."""

import sys
from pathlib import Path

from execute import bring_up_to_date, code_cells, html_of, with_outputs, write

WIDGET = "application/vnd.jupyter.widget-view+json"


def without_widgets(notebook):
    notebook.metadata.pop("widgets", None)
    for cell in code_cells(notebook):
        cell.outputs = [kept for output in cell.outputs for kept in without_widget(output)]
    return notebook


def without_widget(output):
    if "trajhelpers-explorer" in html_of(output):
        del output.data["text/html"]
        return [output]
    if WIDGET not in output.get("data", {}):
        return [output]
    if "it/s" in output.data.get("text/plain", ""):  # a progress bar has nothing left to say
        return []
    output.data = {"text/plain": "[a widget: run this cell, or see the rendered page]"}
    return [output]


if __name__ == "__main__":
    paths = [Path(name).resolve() for name in sys.argv[1:]]
    bring_up_to_date(paths)
    for path in paths:
        write(without_widgets(with_outputs(path)), path)
        print(f"{path.name}: {path.stat().st_size / 1e3:.0f} kB")
