"""A Sphinx extension: formulas are set when the book is built, by KaTeX in a small engine for
JavaScript, so that no page runs a script for them, and nothing moves when it has. The MathML in
each of them is what a screen reader reads."""

import json
import re
from functools import cache
from pathlib import Path

import quickjs
from docutils import nodes
from sphinx.errors import SphinxError
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.math import get_node_equation_number

KATEX = Path(__file__).parent / "katex/katex.min.js"
STYLE = "vendor/katex/katex.min.css"
# A line may break inside a longer one.
LONGEST_WHOLE = 40
# As JSON, since this engine's binding does not know a string that was put together of others.
SET = "(tex, displayMode) => JSON.stringify(katex.renderToString(tex, { displayMode }))"


@cache
def engine():
    context = quickjs.Context()
    context.eval(KATEX.read_text())
    return context.eval(SET)


@cache
def as_html(tex, display):
    try:
        return json.loads(engine()(tex, display))
    except quickjs.JSException as error:
        raise SphinxError(f"{tex!r} is no formula: {str(error).splitlines()[0]}") from None


def visit_math(self, node):
    self.body.append(self.starttag(node, "span", "", CLASS="math notranslate nohighlight"))
    self.body.append(as_html(node.astext(), False) + "</span>")
    raise nodes.SkipNode


def visit_displaymath(self, node):
    self.body.append(self.starttag(node, "div", CLASS="math notranslate nohighlight"))
    if node["number"]:
        self.body.append(f'<span class="eqno">({get_node_equation_number(self, node)})')
        self.add_permalink_ref(node, "Link to this equation")
        self.body.append("</span>")
    tex = node.astext()
    is_of_rows = r"\\" in tex or "\n\n" in tex
    if is_of_rows and not node["nowrap"] and not tex.lstrip().startswith(r"\begin"):
        rows = r"\\".join(row for row in tex.split("\n\n") if row.strip())
        tex = rf"\begin{{split}}{rows}\end{{split}}"
    self.body.append(as_html(tex, True) + "</div>\n")
    raise nodes.SkipNode


class NoMarkBeginsALine(SphinxPostTransform):
    """Browsers may break a line between a formula and the comma after it."""

    default_priority = 400
    formats = ("html",)

    def run(self, **_):
        for formula in list(self.document.findall(nodes.math)):
            after = formula.next_node(descend=False, siblings=True)
            mark = re.match(r"[^\w\s(\[]+", after) if isinstance(after, nodes.Text) else None
            if mark is None or len(formula.astext()) > LONGEST_WHOLE:
                continue
            whole = nodes.inline(classes=["whole"])
            # By its place: to docutils texts of the same letters are one.
            formula.parent[formula.parent.index(formula) + 1] = nodes.Text(after[mark.end() :])
            formula.replace_self(whole)
            whole += [formula, nodes.Text(mark[0])]


def style_of_formulas(app, page, template, context, doctree):
    if 'class="katex' in context.get("body", ""):
        app.add_css_file(STYLE)


def setup(app):
    app.add_html_math_renderer("katex", (visit_math, None), (visit_displaymath, None))
    app.add_post_transform(NoMarkBeginsALine)
    app.connect("html-page-context", style_of_formulas)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
