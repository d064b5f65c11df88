"""A Sphinx extension: what keeps the theme's and pandas' HTML from being read by everyone.

Tests look for it with axe-core, on every page in both themes."""

import re

# The arrow beside a chapter with sections has no name; its chapter is the link before it.
ARROW = re.compile(r'(<a [^>]*>)([^<]*)(</a><details[^>]*><summary)(><span class="toctree-toggle")')
# pandas and MyST leave cells of a heading empty, which then head nothing.
EMPTY_HEADING = re.compile(r"<th([^>]*)>(\s|&nbsp;|<p>\s*</p>)*</th>")
# A signature of several lines is a list of definitions without a term.
SIGNATURE = re.compile(r"<dl>\s*(<dd>.*?)</dl>", re.DOTALL)
# What the roles of a bibliography were, ARIA 1.3 calls those of a list.
BIBLIOGRAPHY = re.compile(r'(<div class="citation" [^>]*role=)"doc-biblioentry"')
# A phone shows a figure at half its size or less: a tap opens the picture, to be enlarged.
PICTURE = re.compile(r'(<figure[^>]*>\s*)(<img\b[^>]*?\bsrc="([./]*_images/[^"]+)"[^>]*>)')


def named_arrows(html):
    return ARROW.sub(r'\1\2\3 aria-label="Sections of \2"\4', html)


def lines_of_signature(found):
    lines = found[1].replace("<dd>", "<div>").replace("</dd>", "</div>")
    return f'<div class="parameters">{lines}</div>'


def for_everyone(app, page, template, context, doctree):
    if "body" in context:
        body = EMPTY_HEADING.sub(r"<td\1></td>", context["body"])
        body = SIGNATURE.sub(lines_of_signature, body)
        body = BIBLIOGRAPHY.sub(r'\1"listitem"', body)
        context["body"] = PICTURE.sub(r'\1<a class="enlarge" href="\3">\2</a>', body)
    if make := context.get("generate_toctree_html"):

        def with_names(*args, **options):
            return named_arrows(str(make(*args, **options)))

        context["generate_toctree_html"] = with_names


def setup(app):
    app.add_js_file("access.js", defer="defer")
    # After the theme has put its functions there, and after pictures have their sizes.
    app.connect("html-page-context", for_everyone, priority=950)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
