"""Explorers as HTML: the modules and the kernels in it, nothing fetched."""

import html
import json
import re
from collections.abc import Iterable
from importlib.resources import files
from typing import Any

# In the order in which one needs the other.
_MODULES = (
    *("kernel", "eigen", "hallmarks", "files", "colours", "drawing", "saving"),
    *("scene", "words", "state", "controls", "views", "listening", "explorer"),
)
# Of the page that has all stored runs, which opens explorers too.
GALLERY = (*_MODULES, "runs", "comparing", "beside", "tiles", "gallery")
_IMPORT = re.compile(r'^import (\{[^}]*\}) from "\./(\w+)\.mjs";$', re.MULTILINE)
_EXPORT = re.compile(r"^export ((?:async )?(?:const|class|function) (\w+))", re.MULTILINE)


def script(modules: Iterable[str] = _MODULES) -> str:
    """The modules as one classic script, which runs too where a page was opened from a disk and
    modules are refused: each in a block of its own, its imports and exports as assignments. The
    last of them mounts what it finds on the page.
    """
    *_, last = modules
    blocks = "".join(_block(name, _text(f"{name}.mjs")) for name in modules)
    return (
        f'(() => {{\n"use strict";\nconst modules = {{}};\n{blocks}'
        f"modules.{last}.mountAll();\n}})();\n"
    )


def _block(name: str, source: str) -> str:
    exported = ", ".join(found[2] for found in _EXPORT.finditer(source))
    body = _EXPORT.sub(r"\1", _IMPORT.sub(r"const \1 = modules.\2;", source))
    return f"{{\n{body}modules.{name} = {{ {exported} }};\n}}\n"


def fragment(data: dict[str, Any], picture: str, caption: str) -> str:
    """For a page, or a cell's output: what is seen without JavaScript, and what replaces it."""
    # "</script>" in a name would end the element.
    kernels = json.dumps(data).replace("<", "\\u003c")
    said = html.escape(caption)
    return (
        f"<style>{style()}</style>\n"
        f'<div class="trajhelpers-explorer"><figure><img src="{picture}" alt="{said}">'
        f"<figcaption>{said}</figcaption></figure>\n"
        f'<script type="application/json">{kernels}</script></div>\n'
        f"<script>{script()}</script>\n"
    )


def page(title: str, fragments: Iterable[str]) -> str:
    """A page of its own, which asks for nothing."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n"
        "<style>:root { color-scheme: light dark; } body { margin: 1rem auto; max-width: 62rem;"
        " padding: 0 1rem; font-family: system-ui, sans-serif; }</style></head>\n"
        f"<body><h1>{html.escape(title)}</h1>\n{''.join(fragments)}</body></html>\n"
    )


def style(*names: str) -> str:
    """The explorer's, or those of others."""
    return "".join(_text(f"{name}.css") for name in names or ("explorer",))


def _text(name: str) -> str:
    return (files(__package__) / "js" / name).read_text()
