"""A Sphinx extension: each page loads what it uses, and no more, and scripts wait for the text."""

import re
from pathlib import Path

from sphinx.errors import ExtensionError

# The code of explorers, as execute.py writes it.
EXPLORER = re.compile(r'class="trajhelpers-')
# What a script is for: where a page has none of it, the page goes without.
USES = {
    "copybutton.js": 'class="highlight',
    "clipboard.min.js": 'class="highlight',
    "togglebutton.js": "toggle|dropdown",
    "design-tabs.js": "sd-tab-",
}
# The theme's own search for boxes that scroll, at the start and after whatever changes: it lays out
# all of a page, and once more for each box. access.js is told which boxes change, and asks no more.
THEME = "_static/scripts/pydata-sphinx-theme.js"
SEARCH = '"complete"===document.readyState?I():window.addEventListener("load",I)'
# Set before scripts run, which may wait until the text is there.
AT_ONCE = "documentation_options.js"


def light(app, page, template, context, doctree):
    body = context.get("body", "")
    if EXPLORER.search(body):
        # The gallery's has the explorer's in it.
        name = "gallery" if 'class="trajhelpers-gallery' in body else "explorer"
        app.add_css_file(f"{name}.css")
        app.add_js_file(f"{name}.js")
    scripts = [script for script in context["script_files"] if is_used(script, body)]
    # The page for searching runs its own scripts at once, and they need these.
    context["script_files"] = scripts if page == "search" else [*map(waiting, scripts)]


def waiting(script):
    """Another one, since all pages share them."""
    if not script.filename or AT_ONCE in script.filename:
        return script
    attributes = script.attributes | {"defer": "defer"}
    return type(script)(script.filename, priority=script.priority, **attributes)


def is_used(script, body):
    name = Path(str(script.filename or "")).name.partition("?")[0]
    return name not in USES or re.search(USES[name], body)


def leave_out_search(app, error):
    if error or app.builder.format != "html":
        return
    script = Path(app.outdir) / THEME
    code = script.read_text(encoding="utf-8")
    if code.count(SEARCH) != 1:
        raise ExtensionError(f"{script.name} does not end as it did: see what {__name__} cuts")
    script.write_text(code.replace(SEARCH, "0"), encoding="utf-8")


def setup(app):
    app.connect("html-page-context", light, priority=900)
    app.connect("build-finished", leave_out_search)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
