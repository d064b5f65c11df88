"""A pickle read as data: plain containers and inert objects. Nothing is imported, called or looked
up.

Python's own Unpickler can be kept from importing, not from the rest: one opcode makes it set aside
64 GiB for a memo, another takes what a process registered, and a key of nested tuples overflows its
stack. So the opcodes are read here, in the order of Python's ``pickletools``.
"""

import struct
from collections.abc import Callable, Mapping
from typing import Any

from ..errors import CheckpointError

# Of a hundred thousand tensors with their optimizer's. The objects of as many take 3 GB at most.
_MOST_OPERATIONS = 16_000_000
_MOST_COPIED = 1 << 28
_DEEPEST_KEY = 4
_PYTHON_2 = {"__builtin__": "builtins", "copy_reg": "copyreg"}


class Global:
    """The name of a class or a function, and nothing behind it."""

    __slots__ = ("name",)

    def __init__(self, name: str):
        self.name = name

    def __str__(self) -> str:
        return self.name


class Inert:
    """What a pickle would have made by calling ``maker``, and what it would have put into it."""

    __slots__ = ("arguments", "entries", "items", "maker", "state")

    def __init__(self, maker: Any, arguments: tuple):
        self.maker, self.arguments = maker, arguments
        self.state: Any = None
        self.items: list = []
        self.entries: dict = {}

    def __str__(self) -> str:
        return str(self.maker) if isinstance(self.maker, Global) else "an object"

    def build(self, state: Any) -> None:
        self.state = state


class Ended(Exception):
    """The bytes end before the pickle does."""


def unpickle(
    content: bytes,
    start: int,
    where,
    makers: Mapping[str, Callable] = {},
    persistent: Callable[[Any], Any] = lambda identity: None,
) -> tuple[Any, int]:
    """What the pickle in ``content`` from ``start`` on holds, and the byte behind it.

    ``makers`` has, by full name, what stands for the functions and classes that are known: it gets
    the arguments. ``persistent`` says what stands for a persistent id. Ended where the bytes end
    too early, a CheckpointError that names ``where`` for anything else that is wrong.
    """
    machine = _Machine(content, start, makers, persistent)
    try:
        return machine.run(), machine.at
    except (CheckpointError, Ended):
        raise
    except Exception as error:  # a damaged pickle can go wrong anywhere
        reason = str(error).strip() or type(error).__name__
        raise CheckpointError(
            f"{where}: damaged or not a checkpoint (its pickle, at byte {machine.at:,}:"
            f" {reason[:200]}); fetch or save it again"
        ) from error


class _Machine:
    def __init__(self, content, start, makers, persistent):
        self.content, self.at = content, start
        self.makers, self.persistent = makers, persistent
        self.stack: list = []
        self.marked: list[list] = []
        self.memo: dict[int, Any] = {}
        self.globals: dict[str, Global] = {}
        self.copied = 0

    def run(self):
        content, length, do = self.content, len(self.content), _OPERATIONS
        for _ in range(_MOST_OPERATIONS):
            if self.at >= length:
                raise Ended
            code = content[self.at]
            self.at += 1
            if code == 0x2E:  # STOP
                return self.stack.pop()
            do[code](self)
        raise ValueError(f"it has more than {_MOST_OPERATIONS:,} operations")

    # ---- bytes ----

    def take(self, count):
        end = self.at + count
        if end > len(self.content):
            raise Ended
        found = self.content[self.at : end]
        self.at = end
        return found

    def number(self, layout):
        try:
            (found,) = layout.unpack_from(self.content, self.at)
        except struct.error:
            raise Ended from None
        self.at += layout.size
        return found

    def byte(self):
        try:
            found = self.content[self.at]
        except IndexError:
            raise Ended from None
        self.at += 1
        return found

    def line(self):
        end = self.content.find(b"\n", self.at)
        if end < 0:
            raise Ended
        found = self.content[self.at : end]
        self.at = end + 1
        return found

    # ---- the stack ----

    def since_mark(self):
        found, self.stack = self.stack, self.marked.pop()
        return found

    def mark(self):
        self.marked.append(self.stack)
        self.stack = []

    def pop(self):
        if self.stack:
            self.stack.pop()
        else:
            self.since_mark()

    # ---- names and what they would make ----

    def global_of(self, module, name):
        full = f"{_PYTHON_2.get(module, module)}.{name}"
        return self.globals.setdefault(full, Global(full))

    def made(self, maker, arguments):
        if not isinstance(arguments, tuple):
            raise TypeError(f"arguments of type {type(arguments).__name__}")
        if isinstance(maker, Global) and (known := self.makers.get(maker.name)):
            self.count_copies(arguments)
            return known(*arguments)
        return Inert(maker, arguments)

    def count_copies(self, values):
        """Of what may be copied: from references, little asks for much."""
        self.copied += sum(
            len(value) for value in values if isinstance(value, (str, bytes, list, tuple, dict))
        )
        if self.copied > _MOST_COPIED + len(self.content):
            raise ValueError("it makes much of little")

    def reduce(self):
        arguments = self.stack.pop()
        self.stack[-1] = self.made(self.stack[-1], arguments)

    def new_with_names(self):
        self.stack.pop()
        self.reduce()

    def instance(self):
        maker = self.global_of(self.line().decode(), self.line().decode())
        arguments = tuple(self.since_mark())
        self.stack.append(self.made(maker, arguments))

    def object(self):
        maker, *arguments = self.since_mark()
        self.stack.append(self.made(maker, tuple(arguments)))

    def stack_global(self):
        name, module = self.stack.pop(), self.stack.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise TypeError("a name that is no string")
        self.stack.append(self.global_of(module, name))

    def build(self):
        state = self.stack.pop()
        target = self.stack[-1]
        if hasattr(type(target), "build"):
            self.count_copies(state if isinstance(state, tuple) else ())
            target.build(state)

    # ---- containers ----

    def append(self, values):
        target = self.stack[-1]
        if type(target) is list:
            target.extend(values)
        elif isinstance(target, Inert):
            target.items.extend(values)
        else:
            raise TypeError(f"appends to a {type(target).__name__}")

    def set_items(self, values):
        target = self.stack[-1]
        target = target.entries if isinstance(target, Inert) else target
        if type(target) is not dict or len(values) % 2:
            raise TypeError(f"sets items of a {type(target).__name__}")
        for key, value in zip(values[::2], values[1::2]):
            target[key if type(key) is str else _key(key)] = value

    def add_items(self, values):
        target = self.stack[-1]
        if type(target) is set:
            target.update(map(_key, values))
        elif isinstance(target, Inert):
            target.items.extend(values)
        else:
            raise TypeError(f"adds to a {type(target).__name__}")

    def pop_two(self):
        value, key = self.stack.pop(), self.stack.pop()
        return [key, value]

    def dict_since_mark(self):
        values = self.since_mark()
        self.stack.append({})
        self.set_items(values)

    def tuple_of(self, count):
        if len(self.stack) < count:
            raise IndexError("pop from an empty stack")
        self.stack[-count:] = [tuple(self.stack[-count:])]


def _key(value, deep=_DEEPEST_KEY):
    """A key of a dict that is as cheap to hash as it looks."""
    if type(value) is int and not -(1 << 63) <= value < 1 << 64:
        raise ValueError("a key that is too large a number")
    if type(value) is tuple:
        if not deep:
            raise ValueError("a key of nested tuples")
        for part in value:
            _key(part, deep - 1)
    return value


def mapping_of(pairs: Any = ()) -> dict:
    """A dict of pairs, or of another, whose keys are cheap to hash."""
    if isinstance(pairs, dict):
        return dict(pairs)
    return {_key(key): value for key, value in pairs}


def _text(content: bytes) -> str | bytes:
    """A string of Python 2's, which may have been bytes."""
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content


def _quoted(line: bytes) -> str | bytes:
    line = line.strip()
    if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in (b"'", b'"'):
        raise ValueError("a string without quotes")
    return _text(line[1:-1].decode("unicode_escape").encode("latin-1"))


def _integer(line: bytes) -> int | bool:
    if line in (b"00", b"01"):
        return line == b"01"
    return int(line.strip().removesuffix(b"L") or b"0")


def _long(content: bytes) -> int:
    return int.from_bytes(content, "little", signed=True)


_U1, _U2, _U4, _U8 = (struct.Struct(f"<{letter}") for letter in "BHIQ")
_I4, _F8 = struct.Struct("<i"), struct.Struct(">d")


def _length(machine) -> int:
    """Of four bytes, and signed in old opcodes."""
    found = machine.number(_I4)
    if found < 0:
        raise ValueError("a negative length")
    return found


def _remember(machine, index: int) -> None:
    machine.memo[index] = machine.stack[-1]


def _no_buffers(machine) -> None:
    raise ValueError("its buffers lie elsewhere")


def _unknown(machine) -> None:
    raise ValueError(f"no operation is {machine.content[machine.at - 1]:#04x}")


def _pushing(value: Callable[[_Machine], Any]) -> Callable[[_Machine], None]:
    return lambda machine: machine.stack.append(value(machine))


def _extension(layout) -> Callable[[_Machine], None]:
    return _pushing(lambda machine: machine.global_of("copyreg", machine.number(layout)))


_BY_NAME: dict[bytes, Callable[[_Machine], None]] = {
    b"I": _pushing(lambda m: _integer(m.line())),
    b"J": _pushing(lambda m: m.number(_I4)),
    b"K": _pushing(_Machine.byte),
    b"M": _pushing(lambda m: m.number(_U2)),
    b"L": _pushing(lambda m: _integer(m.line())),
    b"\x8a": _pushing(lambda m: _long(m.take(m.number(_U1)))),
    b"\x8b": _pushing(lambda m: _long(m.take(_length(m)))),
    b"S": _pushing(lambda m: _quoted(m.line())),
    b"T": _pushing(lambda m: _text(m.take(_length(m)))),
    b"U": _pushing(lambda m: _text(m.take(m.number(_U1)))),
    b"B": _pushing(lambda m: m.take(m.number(_U4))),
    b"C": _pushing(lambda m: m.take(m.number(_U1))),
    b"\x8e": _pushing(lambda m: m.take(m.number(_U8))),
    b"\x96": _pushing(lambda m: m.take(m.number(_U8))),
    b"\x97": _no_buffers,
    b"\x98": _no_buffers,
    b"N": _pushing(lambda m: None),
    b"\x88": _pushing(lambda m: True),
    b"\x89": _pushing(lambda m: False),
    b"V": _pushing(lambda m: m.line().decode("raw-unicode-escape")),
    b"\x8c": _pushing(lambda m: m.take(m.number(_U1)).decode("utf-8", "surrogatepass")),
    b"X": _pushing(lambda m: m.take(m.number(_U4)).decode("utf-8", "surrogatepass")),
    b"\x8d": _pushing(lambda m: m.take(m.number(_U8)).decode("utf-8", "surrogatepass")),
    b"F": _pushing(lambda m: float(m.line())),
    b"G": _pushing(lambda m: m.number(_F8)),
    b"]": _pushing(lambda m: []),
    b"a": lambda m: m.append([m.stack.pop()]),
    b"e": lambda m: m.append(m.since_mark()),
    b"l": lambda m: _collect(m, list),
    b")": _pushing(lambda m: ()),
    b"t": lambda m: _collect(m, tuple),
    b"\x85": lambda m: m.tuple_of(1),
    b"\x86": lambda m: m.tuple_of(2),
    b"\x87": lambda m: m.tuple_of(3),
    b"}": _pushing(lambda m: {}),
    b"d": _Machine.dict_since_mark,
    b"s": lambda m: m.set_items(m.pop_two()),
    b"u": lambda m: m.set_items(m.since_mark()),
    b"\x8f": _pushing(lambda m: set()),
    b"\x90": lambda m: m.add_items(m.since_mark()),
    b"\x91": lambda m: _collect(m, lambda values: frozenset(map(_key, values))),
    b"0": _Machine.pop,
    b"2": _pushing(lambda m: m.stack[-1]),
    b"(": _Machine.mark,
    b"1": _Machine.since_mark,
    b"g": _pushing(lambda m: m.memo[int(m.line())]),
    b"h": _pushing(lambda m: m.memo[m.byte()]),
    b"j": _pushing(lambda m: m.memo[m.number(_U4)]),
    b"p": lambda m: _remember(m, int(m.line())),
    b"q": lambda m: _remember(m, m.byte()),
    b"r": lambda m: _remember(m, m.number(_U4)),
    b"\x94": lambda m: _remember(m, len(m.memo)),
    b"\x82": _extension(_U1),
    b"\x83": _extension(_U2),
    b"\x84": _extension(_U4),
    b"c": _pushing(lambda m: m.global_of(m.line().decode(), m.line().decode())),
    b"\x93": _Machine.stack_global,
    b"R": _Machine.reduce,
    b"b": _Machine.build,
    b"i": _Machine.instance,
    b"o": _Machine.object,
    b"\x81": _Machine.reduce,
    b"\x92": _Machine.new_with_names,
    b"\x80": lambda m: m.take(1),
    b"P": _pushing(lambda m: m.persistent(m.line().decode())),
    b"Q": _pushing(lambda m: m.persistent(m.stack.pop())),
    b"\x95": lambda m: m.take(8),
}


def _collect(machine, kind) -> None:
    values = machine.since_mark()
    machine.stack.append(kind(values))


_OPERATIONS = [_BY_NAME.get(bytes([code]), _unknown) for code in range(256)]
