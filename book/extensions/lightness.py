"""A Sphinx extension: each page loads what it uses, and no more, and nothing in it moves while it
loads."""

import re
from pathlib import Path

from PIL import Image

# The code of explorers, as execute.py writes it.
EXPLORER = re.compile(r'class="trajhelpers-')
# What a script is for: where a page has none of it, the page goes without.
USES = {
    "copybutton.js": 'class="highlight',
    "clipboard.min.js": 'class="highlight',
    "togglebutton.js": "toggle|dropdown",
    "design-tabs.js": "sd-tab-",
}
PICTURE = re.compile(r'<img\b[^>]*?\bsrc="[./]*_images/([^"]+)"[^>]*>')
# Set before scripts run, which may wait until the text is there.
AT_ONCE = "documentation_options.js"


def light(app, page, template, context, doctree):
    body = context.get("body", "")
    if EXPLORER.search(body):
        # The gallery's has the explorer's in it.
        name = "gallery" if 'class="trajhelpers-gallery' in body else "explorer"
        app.add_css_file(f"{name}.css")
        app.add_js_file(f"{name}.js")
    context["script_files"] = [
        script for script in context["script_files"] if is_used(script, body)
    ]
    for script in context["script_files"]:
        if script.filename and AT_ONCE not in script.filename:
            script.attributes.setdefault("defer", "defer")
    if doctree:
        context["body"] = with_sizes(app, body)


def is_used(script, body):
    name = Path(str(script.filename or "")).name.partition("?")[0]
    return name not in USES or re.search(USES[name], body)


def with_sizes(app, body):
    """Pictures with width and height, so that their place is kept; those beyond the first are
    fetched when a reader comes near.
    """
    files = {name: Path(app.srcdir) / source for source, name in app.builder.images.items()}
    seen = 0

    def sized(found):
        nonlocal seen
        seen += 1
        tag, file = found[0], files.get(found[1])
        if file is None or " width=" in tag:
            return tag
        with Image.open(file) as image:
            width, height = image.size
        later = ' loading="lazy"' if seen > 1 else ""
        return f'{tag[:-1].rstrip("/").rstrip()} width="{width}" height="{height}"{later} />'

    return PICTURE.sub(sized, body)


def setup(app):
    app.connect("html-page-context", light, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
