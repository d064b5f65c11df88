"""What the names in a checkpoint's pickle stand for: tensors, arrays, containers. Any other name
stays a name (:mod:`trajhelpers.reading.pickles`).
"""

import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from .pickles import Global, Inert, mapping_of, unpickle

# By torch's name, bytes of an element.
SIZES = {
    "float64": 8,
    "float32": 4,
    "float16": 2,
    "bfloat16": 2,
    "complex128": 16,
    "complex64": 8,
    "complex32": 4,
    "int64": 8,
    "int32": 4,
    "int16": 2,
    "int8": 1,
    "uint64": 8,
    "uint32": 4,
    "uint16": 2,
    "uint8": 1,
    "bool": 1,
    "float8_e4m3fn": 1,
    "float8_e5m2": 1,
    "float8_e4m3fnuz": 1,
    "float8_e5m2fnuz": 1,
    "float8_e8m0fnu": 1,
    "float4_e2m1fn_x2": 1,
    "quint8": 1,
    "qint8": 1,
    "qint32": 4,
    "quint4x2": 1,
    "quint2x4": 1,
}
_STORAGES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "ComplexDoubleStorage": "complex128",
    "ComplexFloatStorage": "complex64",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "QUInt8Storage": "quint8",
    "QInt8Storage": "qint8",
    "QInt32Storage": "qint32",
    "QUInt4x2Storage": "quint4x2",
    "QUInt2x4Storage": "quint2x4",
    "UntypedStorage": "uint8",
    "_UntypedStorage": "uint8",
}
_MOST_DIMENSIONS = 64
NOT_DENSE = "{kind}, and only dense tensors can be read; save it as a dense one"
# Of one rank's part of a tensor.
SHARD = (
    "one rank's part of a sharded tensor ({kind}); gather it before saving (FULL_STATE_DICT, or"
    " get_model_state_dict with full_state_dict=True), or save with torch.distributed.checkpoint,"
    " and open its folder"
)


class Storage(NamedTuple):
    """``numel`` elements of ``dtype``, from element ``begin`` on of what lies under ``key``."""

    dtype: str
    key: str
    location: str
    numel: int
    begin: int = 0

    @property
    def nbytes(self) -> int:
        return self.numel * SIZES[self.dtype]


class Lying(NamedTuple):
    """A tensor of torch's, whose elements lie in a storage."""

    storage: Storage
    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    # Elements of its own dtype, from the storage's begin on.
    start: int


class Unreadable(NamedTuple):
    """A tensor that has no elements in a row: ``why`` says what it is, and what to do; ``inside``
    is what it is made of, where that is known.
    """

    why: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    inside: Any = None


class Array:
    """One of NumPy's, filled when its bytes come."""

    __slots__ = ("values",)

    def __init__(self, values: np.ndarray | None = None):
        self.values = values

    @property
    def dtype(self) -> str:
        return "object" if self.values is None else self.values.dtype.name

    @property
    def shape(self) -> tuple[int, ...]:
        return () if self.values is None else self.values.shape

    def build(self, state: tuple) -> None:
        _version, shape, dtype, in_columns, content = state
        if isinstance(dtype, _Dtype) and dtype.is_number and isinstance(content, (bytes, str)):
            self.values = _values(content, dtype, shape, "F" if in_columns else "C")


class _Dtype:
    """A type of NumPy's, with the order of its bytes."""

    __slots__ = ("code", "order")

    def __init__(self, code: Any, *_rest: Any):
        self.code, self.order = code if isinstance(code, str) else "O", "<"

    @property
    def is_number(self) -> bool:
        return self.code[:1] in set("fiubc") and self.code[1:].isdigit()

    def of_numpy(self) -> np.dtype:
        found = np.dtype(self.code)
        return found.newbyteorder(">") if self.order == ">" else found.newbyteorder("<")

    def build(self, state: tuple) -> None:
        self.order = ">" if state[1] == ">" else "<"


def _values(content, dtype, shape, order) -> np.ndarray:
    content = content.encode("latin-1") if isinstance(content, str) else content
    _, shape = _whole_numbers((), shape)
    kind = dtype.of_numpy()
    if len(content) != math.prod(shape) * kind.itemsize:
        raise ValueError(f"an array of {shape} with {len(content):,} bytes")
    found = np.frombuffer(content, kind).reshape(shape, order=order)
    return found if dtype.order == "<" else found.astype(kind.newbyteorder("<"))


def _whole_numbers(*groups: Iterable[int]) -> list[tuple[int, ...]]:
    """As tuples; a ValueError unless all are numbers that a shape or a stride can be."""
    found = [tuple(group) for group in groups]
    for group in found:
        if len(group) > _MOST_DIMENSIONS or not all(
            type(number) is int and 0 <= number < 1 << 62 for number in group
        ):
            raise ValueError("a tensor of no possible shape, stride or offset")
    return found


# ---- torch ----


def storage_of(identity: Any) -> Any:
    """What stands for a persistent id of torch's; None for one that is not."""
    if not isinstance(identity, tuple) or not identity:
        return None
    if identity[0] == "module" and len(identity) > 1:
        return identity[1]  # beside the source of its class, in old files
    if identity[0] != "storage" or len(identity) not in (5, 6):
        return None
    _, kind, key, location, numel, *view = identity
    name = kind.name if isinstance(kind, Global) else ""
    dtype = _STORAGES.get(name.rpartition(".")[2]) if name.startswith("torch.") else None
    if dtype is None:
        raise ValueError(f"a storage of {kind}")
    _whole_numbers((numel,))
    if view and view[0] is not None:
        _, begin, numel = view[0]
        _whole_numbers((begin, numel))
        return Storage(dtype, str(key), str(location), numel, begin)
    return Storage(dtype, str(key), str(location), numel)


def _tensor(storage, start, shape, strides, _grad=False, _hooks=None, metadata=None) -> Any:
    dtype = storage.dtype if isinstance(storage, Storage) else ""
    return _typed(storage, start, shape, strides, dtype, metadata)


def _tensor_3(storage, start, shape, strides, _grad, _hooks, dtype, metadata=None) -> Any:
    return _typed(storage, start, shape, strides, dtype.name.removeprefix("torch."), metadata)


def _typed(storage, start, shape, strides, dtype, metadata) -> Any:
    shape, strides, _ = _whole_numbers(shape, strides, (start,))
    if isinstance(storage, Inert) and str(storage) == "torch.storage._load_from_bytes":
        return Unreadable("written by pickle.dump; save with torch.save", shape)
    if not isinstance(storage, Storage) or dtype not in SIZES:
        raise ValueError(f"a tensor of {dtype or storage}")
    if len(shape) != len(strides):
        raise ValueError("a tensor with more strides than dimensions")
    if isinstance(metadata, dict) and (metadata.get("neg") or metadata.get("conj")):
        what = "negated" if metadata.get("neg") else "conjugated"
        return Unreadable(
            f"a {what} view, of which the file holds the values before; save"
            " tensor.resolve_neg().resolve_conj()",
            shape,
            dtype,
        )
    if storage.location == "meta":
        return _on_meta(dtype, shape)
    return Lying(storage, dtype, shape, strides, start)


def _on_meta(dtype, shape, *_rest) -> Unreadable:
    (shape,) = _whole_numbers(shape)
    name = str(dtype).removeprefix("torch.")
    return Unreadable("on the meta device, without values; save it from another", shape, name)


def _inner(maker, arguments: tuple) -> Any:
    known = MAKERS.get(maker.name) if isinstance(maker, Global) else None
    return known(*arguments) if known else Inert(maker, arguments)


def _subclass(maker, kind, arguments, state) -> Any:
    """A tensor of a subclass: its values, where they are a tensor's own."""
    found = _inner(maker, arguments)
    return found._replace(inside=state) if isinstance(found, Unreadable) else found


def _wrapper(kind, dtype, shape, *_rest) -> Unreadable:
    """A tensor whose class keeps its values elsewhere."""
    (shape,) = _whole_numbers(shape)
    why = f"of class {kind}, which keeps its values elsewhere; save a plain tensor"
    name = str(kind).rpartition(".")[2]
    if name in ("DTensor", "ShardedTensor"):
        why = SHARD.format(kind=name)
    return Unreadable(why, shape, str(dtype).removeprefix("torch."))


def _refused(why: str) -> Callable[..., Unreadable]:
    def made(*arguments) -> Unreadable:
        return Unreadable(NOT_DENSE.format(kind=why), ())

    return made


# ---- containers ----


def _array(_kind, _shape=(), _type=b"b") -> Array:
    return Array()


def _scalar(dtype, content=b"") -> Any:
    """A number of NumPy's, as Python's own: beside weights it is a score or a count."""
    if isinstance(dtype, _Dtype) and dtype.is_number and isinstance(content, (bytes, str)):
        return _values(content, dtype, (), "C").item()
    return None


def _from_buffer(content, dtype, shape, order) -> Array:
    if isinstance(dtype, _Dtype) and dtype.is_number:
        return Array(_values(content, dtype, shape, order))
    return Array()


def _reconstructed(kind, base, state) -> Any:
    """An object of protocols 0 and 1, and what it inherits from a container."""
    found = Inert(kind, ())
    if isinstance(state, dict):
        found.entries.update(state)
    elif isinstance(state, (list, tuple)):
        found.items.extend(state)
    return found


def _encoded(text, encoding="utf-8", *_rest) -> bytes:
    if encoding not in ("latin1", "latin-1", "utf-8", "ascii"):
        raise ValueError(f"bytes in {encoding}")
    return text.encode(encoding)


def _new(kind, *arguments) -> Any:
    return _inner(kind, arguments)


_UTILS = "torch._utils."
MAKERS: dict[str, Callable] = {
    **dict.fromkeys((f"{_UTILS}_rebuild_tensor", f"{_UTILS}_rebuild_tensor_v2"), _tensor),
    f"{_UTILS}_rebuild_tensor_v3": _tensor_3,
    f"{_UTILS}_rebuild_parameter": lambda data, *rest: data,
    f"{_UTILS}_rebuild_parameter_with_state": lambda data, *rest: data,
    **dict.fromkeys(
        (
            "torch._tensor._rebuild_from_type_v2",
            "torch._tensor._rebuild_from_type",
            "torch.tensor._rebuild_from_type",
        ),
        _subclass,
    ),
    f"{_UTILS}_rebuild_wrapper_subclass": _wrapper,
    f"{_UTILS}_rebuild_device_tensor_from_numpy": lambda data, *rest: data,
    f"{_UTILS}_rebuild_xla_tensor": lambda data, *rest: data,
    f"{_UTILS}_rebuild_device_tensor_from_cpu_tensor": lambda data, *rest: data,
    f"{_UTILS}_rebuild_meta_tensor_no_storage": _on_meta,
    f"{_UTILS}_rebuild_sparse_tensor": _refused("sparse"),
    f"{_UTILS}_rebuild_sparse_csr_tensor": _refused("sparse"),
    f"{_UTILS}_rebuild_nested_tensor": _refused("nested"),
    "torch.nested._internal.nested_tensor._rebuild_njt": _refused("nested"),
    f"{_UTILS}_rebuild_qtensor": _refused("quantized"),
    "torch.Size": lambda numbers=(): tuple(numbers),
    "collections.OrderedDict": mapping_of,
    "collections.defaultdict": lambda factory=None, pairs=(): mapping_of(pairs),
    "collections.Counter": mapping_of,
    "collections.deque": lambda values=(), longest=None: list(values),
    "builtins.dict": mapping_of,
    "builtins.list": lambda values=(): list(values),
    "builtins.tuple": lambda values=(): tuple(values),
    "builtins.set": lambda values=(): list(values),
    "builtins.frozenset": lambda values=(): list(values),
    "builtins.bytes": lambda *content: bytes(*content) if _is_content(content) else b"",
    "builtins.bytearray": lambda *content: bytes(*content) if _is_content(content) else b"",
    "_codecs.encode": _encoded,
    "copyreg._reconstructor": _reconstructed,
    "copyreg.__newobj__": _new,
    "copyreg.__newobj_ex__": lambda kind, arguments, names: _inner(kind, arguments),
    "numpy.dtype": _Dtype,
    **{
        f"numpy.{core}.{name}": maker
        for core in ("core", "_core")
        for name, maker in (
            ("multiarray._reconstruct", _array),
            ("multiarray.scalar", _scalar),
            ("numeric._frombuffer", _from_buffer),
        )
    },
}


def _is_content(arguments: tuple) -> bool:
    """Of bytes or a list of numbers, never of a number: that would be a length."""
    return len(arguments) == 1 and isinstance(arguments[0], (bytes, list, tuple))


def read_pickle(content: bytes, start: int, where, storages: dict | None = None) -> tuple[Any, int]:
    """What a pickle holds, and the byte behind it: tensors as :class:`Lying`, :class:`Array` or
    :class:`Unreadable`, containers as Python's, anything else as :class:`Inert`.

    ``storages`` gets the storages that it speaks of, whole, by key.
    """

    def noted(identity: Any) -> Any:
        found = storage_of(identity)
        if storages is not None and isinstance(found, Storage):
            storages[found.key] = found._replace(numel=identity[4], begin=0)
        return found

    return unpickle(content, start, where, MAKERS, noted)
