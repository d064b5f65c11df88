"""Sentences with something in them that can be moved, and numbers that follow."""

import html
import string
from numbers import Real
from typing import TYPE_CHECKING, Any

from .parts import PagePart

if TYPE_CHECKING:
    import pandas as pd


def movable_sentence(template: str, table: "pd.DataFrame") -> PagePart:
    """A sentence about a table: what the table's index names is chosen in the sentence, and the
    columns' values follow.

    Parameters
    ----------
    template : str
        As for `str.format`: ``"At momentum {momentum:g} ω is {ω:.3f}."``. It names every level of
        the index, and columns.
    table : pandas.DataFrame
        A row for each combination that was run; the levels of its index are what is chosen. The
        first row is shown at first.

    Returns
    -------
    PagePart
        The last expression of a cell shows it. Numbers of an index are moved along a line, where
        they are more than two; the rest are chosen from a list. Values have all their digits in
        ``data-value``. Without JavaScript, and in print, it is a sentence about one row.

    Raises
    ------
    ValueError
        For a template that names what the table has not, or leaves a level of its index out;
        for two rows of one combination, and for a table without rows.

    >>> import pandas as pd
    >>> import trajhelpers as th
    >>> table = pd.DataFrame({"momentum": [0.9, 0], "ω": [0.804, 0.94]}).set_index("momentum")
    >>> th.movable_sentence("With momentum {momentum:g}, ω is {ω:.2f}.", table)
    With momentum 0.9, ω is 0.80.
    """
    fields = list(string.Formatter().parse(template))
    named = [name for _, name, _, _ in fields if name is not None]
    _check(template, named, table)
    levels = [str(name) for name in table.index.names]
    spec = {name: form or "" for _, name, form, _ in reversed(fields) if name is not None}
    choices = {level: list(dict.fromkeys(table.index.get_level_values(level))) for level in levels}
    for level, values in choices.items():
        if _are_numbers(values):
            choices[level] = sorted(values)
    columns = [name for name in dict.fromkeys(named) if name not in levels]
    keys = [key if isinstance(key, tuple) else (key,) for key in table.index]
    rows = [
        {
            "at": [choices[level].index(value) for level, value in zip(levels, key)],
            "values": [_shown(table[name].iloc[i], spec[name]) for name in columns],
        }
        for i, key in enumerate(keys)
    ]
    data = {
        "parts": _parts(fields, levels, columns),
        "choices": [
            {
                "name": level,
                "options": [format(value, spec[level]) for value in choices[level]],
                "isLine": len(choices[level]) > 2 and _are_numbers(choices[level]),
            }
            for level in levels
        ],
        "columns": columns,
        "rows": rows,
    }
    first = dict(zip(levels, keys[0])) | {name: table[name].iloc[0] for name in columns}
    said = "".join(
        text + (format(first[name], form or "") if name is not None else "")
        for text, name, form, _ in fields
    )
    return PagePart("sentence", data, f"<p>{html.escape(said)}</p>", said)


def _check(template, named, table):
    levels = list(table.index.names)
    if table.empty:
        raise ValueError("table: expected rows and columns, got none")
    if None in levels:
        raise ValueError("table: its index has no name; name what is chosen by set_index")
    known = [*levels, *table.columns]
    for name in named:
        if name not in known:
            raise ValueError(f"template: {{{name}}} is none of {', '.join(map(str, known))}")
    if set(named) <= set(levels):
        raise ValueError(f"template: names none of the columns {', '.join(table.columns)}")
    for level in levels:
        if level not in named:
            raise ValueError(f"template: {template!r} leaves out {{{level}}}, by which rows differ")
    repeated = table.index[table.index.duplicated()]
    if len(repeated):
        raise ValueError(f"table: expected one row for {repeated[0]}, got several")


def _parts(fields, levels, columns):
    """Texts; and where a choice or a value stands, its number among them. A level that is named
    again is said, not chosen again.
    """
    parts: list[Any] = []
    chosen = set()
    for text, name, _, _ in fields:
        if text:
            parts.append(text)
        if name in levels:
            parts.append({"said" if name in chosen else "choice": levels.index(name)})
            chosen.add(name)
        elif name is not None:
            parts.append({"value": columns.index(name)})
    return parts


def _shown(value, spec):
    """All digits, and as it is read."""
    text = format(value, spec)
    return [float(value) if _are_numbers([value]) else text, text]


def _are_numbers(values):
    return all(isinstance(value, Real) and not isinstance(value, bool) for value in values)
