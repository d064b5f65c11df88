"""Changes of nested dicts and lists: what JSON and msgpack hold."""

import copy
import math
from random import Random
from typing import Any

import odd


def changed(nest: Any, random: Random) -> Any:
    """A copy with one thing changed; at the top, where there is nothing in it."""
    nest = copy.deepcopy(nest)
    nodes = list(_nodes(nest))
    if not nodes:
        return odd_value(random)
    holder, key = random.choice(nodes)
    change = random.randrange(8)
    if change == 0:
        del holder[key]
    elif change == 1 and isinstance(holder, dict):
        holder[another_text(random, key)] = holder.pop(key)
    elif change == 2 and isinstance(holder, dict):
        holder[another_text(random, key)] = copy.deepcopy(holder[key])
    elif change == 3:
        other, at = random.choice(nodes)
        holder[key], other[at] = copy.deepcopy(other[at]), copy.deepcopy(holder[key])
    elif change == 4 and isinstance(holder, list):
        holder.insert(key, odd_value(random))
    else:
        holder[key] = _another(holder[key], random)
    return nest


def odd_value(random: Random) -> Any:
    return copy.deepcopy(random.choice(random.choice((odd.NUMBERS, odd.TEXTS, odd.VALUES))))


def another_number(random: Random, number: int) -> int:
    near = (number + 1, number - 1, number * 2, number // 2, -number, number + 4, number + 64)
    return random.choice((*near, random.choice(odd.NUMBERS), random.choice(odd.NUMBERS)))


def another_text(random: Random, text: Any) -> str:
    text = str(text)
    at = random.randrange(len(text) + 1)
    parts = (text[:at], text[at:], f"{text}.{text}", f"{text[:at]}{random.choice(odd.TEXTS)}")
    return random.choice((*parts, random.choice(odd.TEXTS), random.choice(odd.TEXTS)))


def _another(value: Any, random: Random) -> Any:
    if random.random() < 0.3:
        return odd_value(random)
    if isinstance(value, str):
        return another_text(random, value)
    if isinstance(value, (bool, type(None))) or (
        isinstance(value, float) and not math.isfinite(value)
    ):
        return odd_value(random)
    if isinstance(value, (int, float)):
        return another_number(random, int(value))
    return [value] if random.random() < 0.5 else odd_value(random)


def _nodes(nest: Any):
    """(dict or list, key) of all that lies in it."""
    keys = nest if isinstance(nest, dict) else range(len(nest)) if isinstance(nest, list) else ()
    for key in list(keys):
        yield nest, key
        yield from _nodes(nest[key])
