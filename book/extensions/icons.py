"""A Sphinx extension: of Font Awesome, the icons that the pages show.

The theme brings 2,000 of them, as a script of 1,500 kB and as a font of 156 kB. A font of the forty
or so in use has 5 kB, and stands in its own style sheet, so that none is seen late."""

import base64
import io
import re
from pathlib import Path

from fontTools.subset import Options, Subsetter
from fontTools.ttLib import TTFont

STYLE = "icons.css"
NAME = re.compile(r"\bfa-([a-z-]+)")
GLYPH = re.compile(r'\.fa-([\w-]+):before(?=[^{}]*\{content:"\\(\w+)"\})')
# What the theme's own rules draw: arrows and the signs of admonitions.
DRAWN = re.compile(r'"\\(f\w{3})"|"([\ue000-\uf8ff])"')
RULES = """/* Font Awesome Free, SIL OFL 1.1: the icons in use, by book/extensions/icons.py. */
@font-face {{
  font-family: "Font Awesome 6 Free"; font-weight: 900;
  src: url(data:font/woff;base64,{font});
}}
/* The theme expects the script's <svg>. */
.search-button-field > i {{ display: inline-flex; }}
"""


def code_points(static, pages):
    """Those of all icons named in pages and scripts, and of those that rules draw."""
    theme = (static / "styles/pydata-sphinx-theme.css").read_text()
    glyphs = {name: int(code, 16) for name, code in GLYPH.findall(theme)}
    own_rules = re.findall(r"--pst-[\w-]+:\"[^\"]*\"", theme)
    own_rules.append((static / "styles/sphinx-book-theme.css").read_text())
    drawn = {
        int(code, 16) if code else ord(sign) for code, sign in DRAWN.findall("".join(own_rules))
    }
    named = {name for text in pages for name in NAME.findall(text)}
    return drawn | {glyphs[name] for name in named & glyphs.keys()}


def subset(path, code_points):
    """The font's file with these alone, as WOFF."""
    font = TTFont(path)
    subsetter = Subsetter(Options(layout_features=[], name_IDs=[], notdef_outline=True))
    subsetter.populate(unicodes=code_points)
    subsetter.subset(font)
    font.flavor = "woff"
    with io.BytesIO() as file:
        font.save(file)
        return file.getvalue()


def write_style(app, error):
    if error or app.builder.format != "html":
        return
    static = Path(app.outdir) / "_static"
    sources = [*Path(app.outdir).rglob("*.html"), static / "scripts/pydata-sphinx-theme.js"]
    solid = static / "vendor/fontawesome/webfonts/fa-solid-900.ttf"
    font = subset(solid, code_points(static, (path.read_text() for path in sources)))
    (static / STYLE).write_text(RULES.format(font=base64.b64encode(font).decode()))


def setup(app):
    app.add_css_file(STYLE)
    app.connect("build-finished", write_style)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
