"""A Sphinx extension: the package's docstrings, as they are written, in the API reference."""

import re
from operator import attrgetter

import trajhelpers

LISTS = re.compile("(Attributes|Parameters|Raises|Returns|Yields)$")


def end_lists(app, what, name, obj, options, lines):
    """Our lists of parameters, results and errors end at a blank line; NumPy's style needs another
    heading for that.
    """
    done, listing = [], False
    for line, following in zip(lines, [*lines[1:], ""]):
        if following.startswith("---"):
            listing = LISTS.match(line)
        elif listing and done[-1:] == [""] and line[:1].strip():
            done += ["Examples", "--------"] if line.startswith(">>>") else ["Notes", "-----"]
            listing = False
        done.append(line)
    lines[:] = done


def module_of(app, module, name):
    """Where the source of a public name is: ``trajhelpers.training`` is no module to look in."""
    if not name:  # a module's own heading
        return None
    owner = f"{module}.{name.split('.')[0]}".removeprefix("trajhelpers.")
    return getattr(attrgetter(owner)(trajhelpers), "__module__", None)


def setup(app):
    app.connect("autodoc-process-docstring", end_lists, priority=1)  # before napoleon
    app.connect("viewcode-follow-imported", module_of)
    return {"parallel_read_safe": True}
