"""What is no checkpoint that can be read here, called what it is, with what to do about it."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from .msgpack_files import is_msgpack

_SAVE = "save model.state_dict() with torch.save, or as .safetensors"


class Stranger(NamedTuple):
    """``endings`` are of names; ``begins`` is asked about a file's name and first bytes."""

    what: str
    remedy: str
    endings: tuple[str, ...]
    begins: Callable[[str, bytes], bool]


def _magic(*starts: bytes) -> Callable[[str, bytes], bool]:
    return lambda name, start: start.startswith(starts)


def _named(*endings: str) -> Callable[[str, bytes], bool]:
    return lambda name, start: name.endswith(endings)


def _is_onnx(name: str, start: bytes) -> bool:
    """A message of protobuf whose first field is a small version, and whose next is a string."""
    version, then = start[1:2], start[2:3]
    return name.endswith(".onnx") or (
        start[:1] == b"\x08" and b"\0" < version < b"\x20" and then in (b"\x12", b"\x3a")
    )


def _is_renamed_msgpack(name: str, start: bytes) -> bool:
    """A map of strings, as flax writes it; no pickle begins so."""
    key = start[3:4] if start[:1] == b"\xde" else b""
    key = start[1:2] if b"\x81" <= start[:1] <= b"\x8f" else key
    return not is_msgpack(name, start) and (b"\xa1" <= key <= b"\xbf" or key == b"\xd9")


# The first that recognises a file names it.
STRANGERS = (
    Stranger("empty", "fetch or save it again", (), lambda name, start: not start),
    Stranger(
        "a git-lfs pointer, not the weights themselves",
        "fetch them with `git lfs pull`",
        (),
        _magic(b"version https://git-lfs"),
    ),
    Stranger(
        "a web page (HTML), not a checkpoint",
        "the download failed, fetch it again",
        (),
        lambda name, start: start.lstrip()[:1] == b"<",
    ),
    Stranger(
        "an HDF5 file (Keras, h5py), not a checkpoint of torch's",
        "load it with Keras and give a list of {variable.path: variable.numpy()}, or save that with"
        " numpy.savez",
        (".h5", ".hdf5"),
        _magic(b"\x89HDF\r\n\x1a\n"),
    ),
    Stranger(
        "a GGUF file, whose weights are quantized blocks",
        "take the checkpoint that it was made of",
        (".gguf",),
        _magic(b"GGUF"),
    ),
    Stranger(
        "an ONNX graph, not a checkpoint of torch's",
        f"{_SAVE}, where it was exported from",
        (".onnx",),
        _is_onnx,
    ),
    Stranger(
        "a msgpack file (flax) by another name",
        "give its name the ending .msgpack",
        (),
        _is_renamed_msgpack,
    ),
    Stranger(
        "a part of a TensorFlow checkpoint",
        "read it with tf.train.load_checkpoint and save its variables with numpy.savez",
        (".data-00000-of-00001", ".ckpt.index", ".ckpt.meta"),
        lambda name, start: bool(
            re.search(r"\.data-\d{5}-of-\d{5}$|\.ckpt[-\d]*\.(index|meta)$", name)
        ),
    ),
    Stranger(
        "a tar archive",
        "unpack it (a file of torch 0.1: load it with torch.load, and save it again)",
        (".tar",),
        lambda name, start: start[257:262] == b"ustar",
    ),
    Stranger("compressed (gzip)", "unpack it with gunzip", (".gz", ".tgz"), _magic(b"\x1f\x8b")),
    Stranger("compressed (zstd)", "unpack it with zstd -d", (".zst",), _magic(b"\x28\xb5\x2f\xfd")),
    Stranger(
        "one array of NumPy's, not a checkpoint",
        "save all arrays by name with numpy.savez",
        (".npy",),
        _magic(b"\x93NUMPY"),
    ),
)
# Of zip files, by the names in them; torch's own has none of these.
_OF_ZIPS = (
    (
        re.compile(r"(^|/)constants\.pkl$"),
        "is a TorchScript archive (torch.jit.save), not a checkpoint; load it with torch.jit.load"
        " and save its state_dict()",
    ),
    (
        re.compile(r"(^|/)(serialized_exported_program\.json|archive_format|models/[^/]+\.json)$"),
        "is an exported program (torch.export, .pt2), not a checkpoint; load it with"
        " torch.export.load and save its state_dict",
    ),
    (
        re.compile(r"(^|/)\.data/extern_modules$"),
        "is a torch.package, which holds code; save model.state_dict() from the model in it",
    ),
    (
        re.compile(r"^model\.weights\.h5$"),
        "is a Keras archive (.keras), not a checkpoint of torch's; load it with Keras and give a"
        " list of {variable.path: variable.numpy()}, or save that with numpy.savez",
    ),
    (
        re.compile(r"^_stable_baselines3_version$|^policy\.pth$"),
        "is a Stable-Baselines3 archive, whose weights are policy.pth in it; unzip it a folder"
        " each, and open those",
    ),
)
_PLAIN = (
    (".keras", "Keras archives"),
    (".zip", "zip archives"),
    (".pt2", "exported programs"),
    (".pkl", "pickles"),
    (".pickle", "pickles"),
    (".joblib", "pickles of joblib"),
    (".pb", "TensorFlow graphs"),
    (".tflite", "TensorFlow Lite models"),
    (".index", "indices of TensorFlow checkpoints"),
    (".mlmodel", "Core ML models"),
    (".distcp", "parts of a distributed checkpoint"),
)


def file_of(name: str, start: bytes) -> str | None:
    """Why a file is no checkpoint, by its name and first bytes; None where that is not known.

    >>> file_of("model.pt", b"")
    'is empty; fetch or save it again'
    """
    if name.endswith(".safetensors") and start[8:9] == b"{":
        return None  # it begins with a length, whose bytes may be anything
    for stranger in STRANGERS:
        if stranger.begins(name, start):
            return f"is {stranger.what}; {stranger.remedy}"
    return None


def zip_of(names: Sequence[str]) -> str | None:
    """Why a zip of these names is no checkpoint of torch's; None where it is one."""
    for pattern, what in _OF_ZIPS:
        if any(map(pattern.search, names)):
            return what
    if names and all(name.endswith(".npy") for name in names):
        return "holds arrays of NumPy's; give its name the ending .npz"
    if len([name for name in names if re.fullmatch(r"[^/]+/data\.pkl", name)]) == 1:
        return None
    some = ", ".join(map(repr, list(names)[:3])) or "nothing"
    return f"is a zip archive that torch.save did not write (it holds {some}); unpack it"


def seen_instead(names: Iterable[str]) -> str:
    """What lies in a folder without checkpoints, for an error: "" where nothing is known.

    >>> seen_instead(["a.onnx", "b.onnx", "notes.txt"])
    "it has 2 .onnx (an ONNX graph, not a checkpoint of torch's)"
    """
    known = {ending: other.what for other in STRANGERS for ending in other.endings} | dict(_PLAIN)
    counts = Counter(ending for name in names for ending in known if name.endswith(ending))
    listed = ", ".join(
        f"{count} {ending} ({known[ending]})" for ending, count in counts.most_common()
    )
    return f"it has {listed}" if listed else ""
