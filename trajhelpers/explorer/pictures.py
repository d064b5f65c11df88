"""Pictures that were drawn before, and a slider over them, for what a page cannot compute."""

import base64
import html
from collections.abc import Iterable

from .page import style_element

_MOVE = (
    "const said = this.previousElementSibling.lastElementChild;"
    "said.textContent = this.dataset.labels.split('\\n')[this.value];"
    "this.setAttribute('aria-valuetext', said.textContent);"
    "[...this.closest('div').querySelectorAll('img')].forEach((image, i) => {"
    "image.hidden = i != this.value; });"
)


class PictureSlider:
    """What :func:`picture_slider` returns: the last expression of a cell shows it."""

    def __init__(self, labels: Iterable[str], pictures: Iterable[bytes], description: str):
        self._labels, self._pictures = list(labels), list(pictures)
        self._description = description

    def __repr__(self) -> str:
        return f"{len(self._labels)} pictures, by {self._description}: {', '.join(self._labels)}"

    def _repr_html_(self) -> str:
        said, first = html.escape(self._description), html.escape(self._labels[0])
        labels = html.escape("\n".join(self._labels)).replace("\n", "&#10;")
        images = "".join(
            f'<img src="data:image/webp;base64,{base64.b64encode(picture).decode()}"'
            f' alt="{said}: {html.escape(label)}"{" hidden" * (i > 0)}>'
            for i, (label, picture) in enumerate(zip(self._labels, self._pictures))
        )
        return (
            f'{style_element()}<div class="trajhelpers-explorer" data-mounted><label><span>{said}'
            f' <span aria-hidden="true">{first}</span></span>'
            f'<input type="range" min="0" max="{len(self._labels) - 1}" value="0"'
            f' aria-valuetext="{first}" data-labels="{labels}" oninput="{_MOVE}"></label>'
            f'<div class="pictures">{images}</div></div>\n'
        )


def picture_slider(
    labels: Iterable[str], pictures: Iterable[bytes], description: str
) -> PictureSlider:
    """A slider that shows one of several pictures, also on a page, where no kernel runs.

    Parameters
    ----------
    labels : sequence of str
        One a picture: what the slider reads.
    pictures : sequence of bytes
        WebP files.
    description : str
        What the slider moves over.

    For what has to be computed from checkpoints, as previews are; :func:`trajhelpers.explore`
    computes in the page itself.

    >>> import trajhelpers as th
    >>> th.picture_slider(["1 %", "10 %"], [b"", b""], "read")
    2 pictures, by read: 1 %, 10 %
    """
    return PictureSlider(labels, pictures, description)
