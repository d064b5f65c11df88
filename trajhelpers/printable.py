"""Names come from strangers' files, and a terminal obeys what is written to it: escape sequences
recolour it, a carriage return hides a line, a change of direction turns a name round.
"""

import unicodedata


def printable(text: object) -> str:
    """One line in which every character shows: those that do not, as Python writes them.

    What programs read (JSON, a kernel's names) stays as it is.

    >>> print(printable("layer\\x1b[31m.weight\\r"), printable("größe θ 重み"))
    layer\\x1b[31m.weight\\r größe θ 重み
    """
    text = str(text)
    if text.isprintable():
        return text
    return "".join(
        one
        if one.isprintable() or unicodedata.category(one) == "Zs"  # any space is none to fear
        else one.encode("unicode_escape").decode()
        for one in text
    )


def printable_lines(text: object) -> str:
    """The same for text of several lines, which are lines of ours: a traceback."""
    return "\n".join(map(printable, str(text).split("\n")))
