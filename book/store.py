"""Execute chapters and store them with what reads well where repositories are browsed:
python book/store.py A.ipynb …

Scripts do not run there, so of what moves by a script of its own its words are stored; and
figures, which have twice the pixels for pages, are stored with those of their size."""

import base64
import io
import sys
from pathlib import Path

from execute import bring_up_to_date, code_cells, html_of, with_outputs, write
from PIL import Image


def without_what_moves(notebook):
    for cell in code_cells(notebook):
        for output in cell.outputs:
            if 'class="trajhelpers-' in html_of(output):
                del output.data["text/html"]
    return notebook


def with_small_figures(notebook):
    for cell in code_cells(notebook):
        for output in cell.outputs:
            if size := output.get("metadata", {}).pop("image/png", None):
                output.data["image/png"] = small(output.data["image/png"], size)
    return notebook


def small(png, size):
    """In at most 256 colours, as legible, and a third of the bytes."""
    with Image.open(io.BytesIO(base64.b64decode(png))) as image, io.BytesIO() as file:
        image = image.convert("RGB").resize((size["width"], size["height"]), Image.Resampling.BOX)
        image.quantize(dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
        return base64.b64encode(file.getvalue()).decode() + "\n"


if __name__ == "__main__":
    paths = [Path(name).resolve() for name in sys.argv[1:]]
    bring_up_to_date(paths)
    for path in paths:
        write(with_small_figures(without_what_moves(with_outputs(path))), path)
        print(f"{path.name}: {path.stat().st_size / 1e3:.0f} kB")
