"""What a reader plays with on a page, and what stands there where no script runs and in print."""

import base64
import io
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from .page import part


class PagePart:
    """What :func:`choose_map`, :func:`draw_curve` and :func:`movable_sentence` return: the last
    expression of a cell shows it.
    """

    def __init__(self, kind: str, data: dict[str, Any], static: str, said: str):
        self._kind, self._data, self._static, self._said = kind, data, static, said

    def __repr__(self) -> str:
        return self._said

    def _repr_html_(self) -> str:
        return part(self._kind, self._static, self._data)


def as_webp(figure: Figure) -> str:
    """An address that holds the picture; the figure is closed."""
    with io.BytesIO() as file:
        figure.savefig(file, format="webp", dpi=90, pil_kwargs={"quality": 80})
        plt.close(figure)
        return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"
