"""Explorers as HTML: the modules and the kernels in it, nothing fetched."""

import html
import json
import re
from collections.abc import Iterable
from importlib.resources import files
from typing import Any

# What a page with the code in files of its own leaves out of what a cell shows.
CODE = re.compile(r'<(style|script) class="trajhelpers-code">.*?</\1>\n', re.DOTALL)
# In the order in which one needs the other; what a worker runs, and what a page.
_IN_WORKERS = ("safetensors", "naming", "folder", "layout", "gram", "working")
_IN_PAGES = (
    *("kernel", "eigen", "hallmarks", "arrays", "validity", "files", "colours", "scene", "state"),
    *("elements", "mounting", "drawing", "maps", "paths", "saving"),
    *("words", "controls", "views", "tables", "dropped", "writing", "opening"),
    *("listening", "playing", "explorer"),
    *("guessing", "predicting", "sentences"),
)
# What the page of all stored runs has besides.
GALLERY = ("runs", "comparing", "beside", "tiles", "grid", "asked", "gallery")
# Each has a mountAll, for what it makes of a page, and a style sheet of its own.
_KINDS = ("explorer", "predicting", "sentences")
_IMPORT = re.compile(r'^import (\{[^}]*\}) from "\./(\w+)\.mjs";$', re.MULTILINE)
_EXPORT = re.compile(r"^export ((?:async )?(?:const|class|function) (\w+))", re.MULTILINE)

# Comments with lines of their own are a quarter of what a page would carry.
_COMMENT = re.compile(r"^ *(?:/\*\*(?:(?!\*/).)*\*/|//[^\n]*)\n", re.MULTILINE | re.DOTALL)


def script(more: tuple[str, ...] = ()) -> str:
    """The modules as one classic script, which runs too where a page was opened from a disk and
    modules are refused: each in a block of its own, its imports and exports as assignments. As a
    worker, which a page makes of the script's own text, it computes what is sent to it. ``more``
    modules come after those of every page; the last of them has a mountAll too.
    """
    of_worker, of_page = (
        "".join(_block(name, _text(f"{name}.mjs")) for name in names)
        for names in (_IN_WORKERS, (*_IN_PAGES, *more))
    )
    mounted = "".join(f"modules.{name}.mountAll();\n" for name in (*_KINDS, *more[-1:]))
    return (
        f'(function trajhelpers() {{\n"use strict";\nconst modules = {{}};\n{of_worker}'
        f'if (typeof document === "undefined") return modules.working.work();\n{of_page}'
        f"modules.opening.keepSource(`(${{trajhelpers}})();`);\n{mounted}}})();\n"
    )


def _block(name: str, source: str) -> str:
    exported = ", ".join(found[2] for found in _EXPORT.finditer(source))
    code = _COMMENT.sub("", source)
    body = _EXPORT.sub(r"\1", _IMPORT.sub(r"const \1 = modules.\2;", code))
    return f"{{\n{body}modules.{name} = {{ {exported} }};\n}}\n"


def fragment(data: dict[str, Any], picture: str, caption: str) -> str:
    """An explorer, for a page or a cell's output."""
    said = html.escape(caption)
    static = f'<figure><img src="{picture}" alt="{said}"><figcaption>{said}</figcaption></figure>'
    return part("explorer", static, data)


def part(kind: str, static: str, data: dict[str, Any]) -> str:
    """For a page, or a cell's output: what is seen without JavaScript, and what replaces it."""
    # "</script>" in a name would end the element.
    content = json.dumps(data).replace("<", "\\u003c")
    return (
        f"{style_element()}"
        f'<div class="trajhelpers-{kind}">{static}\n'
        f'<script type="application/json">{content}</script></div>\n'
        f'<script class="trajhelpers-code">{script()}</script>\n'
    )


# For whoever was sent a page of its own, and has no book beside it.
HOW_TO_READ = """<details><summary>How to read it</summary>
<p>A training run left checkpoints: points on a path through the space of all weights. Each cell of
the map is the cosine between two of them, of the arrows that lead there from one point: dark where
both point the same way. That point is O, where all weights are zero, or a checkpoint: seen from
there only what has moved since counts.</p>
<p>ω is the mean of all cells. It is 1 where every arrow points the same way, and falls the more
directions there are; it changes with the point that one looks from and with the number of
checkpoints, so runs are compared at the same ones. The path is drawn in the plane in which it
varies most, light at its beginning.</p></details>
"""


def page(title: str, fragments: Iterable[str]) -> str:
    """A page of its own, which asks for nothing."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n"
        "<style>:root { color-scheme: light dark; } body { margin: 1rem auto; max-width: 62rem;"
        " padding: 0 1rem; font-family: system-ui, sans-serif; }"
        " summary { min-height: 24px; cursor: pointer; }"
        " summary:focus-visible { outline: 3px solid #0072b2; }</style></head>\n"
        f"<body><main><h1>{html.escape(title)}</h1>\n{''.join(fragments)}</main></body></html>\n"
    )


def style(*more: str) -> str:
    return "".join(_text(f"{name}.css") for name in (*_KINDS, "opening", *more))


def style_element() -> str:
    return f'<style class="trajhelpers-code">{style()}</style>\n'


def _text(name: str) -> str:
    return (files(__package__) / "js" / name).read_text()
