"""Execute chapters and store them with what reads well where repositories are browsed:
python book/store.py A.ipynb …

Scripts do not run there, so of what moves by a script of its own its words are stored."""

import sys
from pathlib import Path

from execute import bring_up_to_date, code_cells, html_of, with_outputs, write


def without_what_moves(notebook):
    for cell in code_cells(notebook):
        for output in cell.outputs:
            if 'class="trajhelpers-' in html_of(output):
                del output.data["text/html"]
    return notebook


if __name__ == "__main__":
    paths = [Path(name).resolve() for name in sys.argv[1:]]
    bring_up_to_date(paths)
    for path in paths:
        write(without_what_moves(with_outputs(path)), path)
        print(f"{path.name}: {path.stat().st_size / 1e3:.0f} kB")
