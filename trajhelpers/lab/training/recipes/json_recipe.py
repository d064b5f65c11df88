"""What recipes share: they read and write as JSON, have a name, and refuse a field by its own."""

import dataclasses
import difflib
import hashlib
import json
import math
from pathlib import Path
from typing import ClassVar, Self

from ....atomic import atomic_path
from ....errors import TrajectoryError


class JsonRecipe:
    """Base of the recipes, which are frozen dataclasses."""

    # properties that a study's table has beside the fields
    derived: ClassVar[tuple[str, ...]] = ()

    def replace(self, **changes) -> Self:
        """The same recipe with some fields changed."""
        _refuse_unknown(type(self), changes)
        return dataclasses.replace(self, **changes)

    def to_json(self) -> str:
        """One JSON object, a field a line, that `from_json` reads."""
        return json.dumps(dataclasses.asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote, or what you wrote by hand; fields with defaults may be
        missing.
        """
        try:
            fields = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"not a recipe: invalid JSON ({error})") from error
        if not isinstance(fields, dict):
            raise ValueError(
                f"not a recipe: expected a JSON object with its fields, got {text.strip()[:40]!r}"
            )
        _refuse_unknown(cls, fields)
        missing = [
            f.name
            for f in dataclasses.fields(cls)
            if f.default is dataclasses.MISSING and f.name not in fields
        ]
        if missing:
            raise ValueError(f"{', '.join(missing)}: missing from the recipe")
        return cls(**fields)

    def save(self, path):
        """Write the recipe to a file, in one atomic move."""
        with atomic_path(path) as temporary:
            temporary.write_text(self.to_json() + "\n")

    @classmethod
    def load(cls, path) -> Self:
        """Read a file that `save` wrote."""
        try:
            return cls.from_json(Path(path).read_text())
        except (ValueError, UnicodeDecodeError) as error:
            raise TrajectoryError(f"{path}: {error}") from error

    @property
    def id(self) -> str:
        """Twelve hexadecimal digits that name the recipe, a hash of its fields, the seed among
        them.
        """
        return hashlib.sha256(
            json.dumps(dataclasses.asdict(self), sort_keys=True).encode()
        ).hexdigest()[:12]


# ---- what the kinds of recipes check their fields with ----


def as_floats(recipe, *fields):
    """0 and 0.0 are one recipe."""
    for field in fields:
        if type(getattr(recipe, field)) is int:
            object.__setattr__(recipe, field, float(getattr(recipe, field)))


def expect_one_of(recipe, field, allowed):
    value = getattr(recipe, field)
    if value not in allowed:
        close = difflib.get_close_matches(str(value), allowed, 1)
        refuse(
            recipe,
            field,
            "one of " + ", ".join(allowed),
            f"; did you mean {close[0]!r}?" if close else "",
        )


def expect_number(recipe, field, expected, allowed):
    value = getattr(recipe, field)
    if not is_number(value) or not allowed(value):
        refuse(recipe, field, f"a number {expected}")


def expect_whole(recipe, field, least):
    value = getattr(recipe, field)
    if type(value) is not int or value < least:
        refuse(recipe, field, f"a whole number from {least} on")


def is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def refuse(recipe, field, expected, hint=""):
    raise ValueError(f"{field}: expected {expected}, got {getattr(recipe, field)!r}{hint}")


def _refuse_unknown(kind, fields):
    known = [field.name for field in dataclasses.fields(kind)]
    for name in fields:
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            raise ValueError(
                f"{name}: no such field of a recipe"
                + (f"; did you mean {close[0]!r}?" if close else f"; there are {', '.join(known)}")
            )
