"""Writes the files beside it, each the smallest that went wrong once: python tests/corpus/make.py

All are our own. Their names say what they are; ``tests/test_corpus.py`` what must come of them.
"""

import io
import json
import struct
import warnings
import zipfile
from pathlib import Path

import numpy as np
import safetensors.numpy
import torch

HERE = Path(__file__).parent


def torch_file(state, zipped=True) -> bytes:
    written = io.BytesIO()
    torch.save(state, written, _use_new_zipfile_serialization=zipped)
    return written.getvalue()


def edited(content: bytes, signature: bytes, offset: int, form: str, number: int) -> bytes:
    """A field of the first header of its kind in a zip set to something else."""
    at = content.index(signature) + offset
    return content[:at] + struct.pack(form, number) + content[at + struct.calcsize(form) :]


def rewritten(content: bytes, change) -> bytes:
    """A zip with the same records but for what ``change`` says of a name and its data."""
    written = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(written, "w") as new:
        for name in old.namelist():
            new.writestr(zipfile.ZipInfo(name), change(name, old.read(name)))
    return written.getvalue()


def safetensors_of(header: str, data: bytes) -> bytes:
    encoded = header.encode(errors="surrogatepass")
    return struct.pack("<Q", len(encoded)) + encoded + data


def entry(name: str, shape="[2]", offsets="[0,8]", dtype="F32") -> str:
    return f'{{"{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}'


def npz(**arrays) -> bytes:
    written = io.BytesIO()
    np.savez_compressed(written, **arrays)
    return written.getvalue()


def kernel(**other) -> bytes:
    about = {"format": 1, "kind": "trajectory", "version": "0.1", "precision": "float64"}
    about |= {"p": 2, "source": {}}
    arrays = {
        "increments": np.array([[1.0, 0.0, 1.0]]),
        "squared_path": np.array([[1.0, 1.0]]),
        "steps": np.array([0, 1]),
        "runs": np.array(["", ""]),
        "names": np.array(["w"]),
        "sizes": np.array([2]),
        "about": np.array(json.dumps(about)),
    }
    return npz(**arrays | other)


def torch_files():
    torch.manual_seed(0)
    two, sound = torch.randn(2), torch_file({"w": torch.ones(2)})
    other = torch_file({"w": torch.zeros(2)})
    # A persistent number and a storage of 8 bytes: 2**29 elements of it.
    expanded = torch.zeros(1).expand(1 << 29)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch says that nested tensors are new
        nested = torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])
        sparse = torch.eye(2).to_sparse_csr()
    yield "negated", torch_file({"w": torch._neg_view(two)})
    yield (
        "negated_by_conjugation",
        torch_file({"w": torch.randn(2, dtype=torch.cfloat).conj().imag}),
    )
    yield "two_zips", other + sound
    yield "before_a_zip", b"#!/bin/sh\n" + sound
    yield "encrypted", edited(sound, b"PK\1\2", 8, "<H", 1)
    yield "on_another_disk", edited(sound, b"PK\1\2", 34, "<H", 127)
    yield "of_unknown_compression", edited(sound, b"PK\1\2", 10, "<H", 99)
    yield "record_too_short", rewritten(sound, lambda n, d: d[:-4] if n.endswith("data/0") else d)
    yield "record_too_long", rewritten(sound, lambda n, d: d * 2 if n.endswith("data/0") else d)
    yield "expanded", torch_file({"w": expanded})
    yield "sparse", torch_file({"w": torch.eye(2).to_sparse()})
    yield "sparse_rows", torch_file({"w": sparse})
    yield "nested", torch_file({"w": nested})
    yield "meta", torch_file({"w": torch.empty(2, device="meta")})
    yield "compiled_and_not", torch_file({"w": torch.ones(2), "_orig_mod.w": torch.zeros(2)})
    yield (
        "int8_with_scales",
        torch_file(
            {"a.weight": torch.ones(2, 2, dtype=torch.int8), "a.weight_scale": torch.ones(2)}
        ),
    )
    yield "deep", b"\x80\2" + b"]" * 3000 + b"a" * 2999 + b"."
    yield "deep_key", b"\x80\2}" + b")" + b"\x85" * 3000 + b"Ns."
    yield "large_memo", b"\x80\2]r\xff\xff\xff\x7f."
    yield "number_of_5000_digits", b"\x80\2L" + b"1" * 5000 + b"L\n."


def safetensors_files():
    data = np.float32([1, 2]).tobytes()
    yield "nul_in_name", safetensors_of(entry("w\\u0000"), data)
    yield "half_a_character_in_name", safetensors_of(entry("w\\ud800"), data)
    yield "name_twice", safetensors_of(entry("w")[:-1] + "," + entry("w")[1:], data)
    yield "number_of_5000_digits", safetensors_of(entry("w", f"[{'1' * 5000}]"), data)
    yield (
        "product_of_lengths_overflows",
        safetensors_of(entry("w", "[4294967296,4294967296]"), data),
    )
    yield "negative_length", safetensors_of(entry("w", "[-1,-2]"), data)
    yield "deep", safetensors_of('{"w":' + "[" * 3000 + "]" * 3000 + "}", data)
    yield "lengths_are_true", safetensors_of(entry("w", "[true,2]"), data)
    yield "offsets_are_text", safetensors_of(entry("w", offsets='["0","8"]'), data)
    yield "metadata_is_a_list", safetensors_of('{"__metadata__":[1],' + entry("w")[1:], data)


def npz_files():
    def with_header(text: str) -> bytes:
        header = text.encode().ljust(117) + b"\n"
        array = b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header + bytes(16)
        written = io.BytesIO()
        with zipfile.ZipFile(written, "w") as archive:
            archive.writestr(zipfile.ZipInfo("w.npy"), array)
        return written.getvalue()

    plain = "{'descr': '<f8', 'fortran_order': False, 'shape': (2,), }"
    yield "open_bracket", with_header(plain.replace("(2,)", "(2,"))
    yield "deep", with_header("(" * 100)
    yield "negative_length", with_header(plain.replace("2,", "-2,"))
    yield "length_overflows", with_header(plain.replace("2,", f"{1 << 64},"))
    yield "objects", with_header(plain.replace("<f8", "|O"))


def kernels():
    yield "no_gram_matrix", kernel(increments=np.array([[1.0, 5.0, 1.0]]))
    yield "not_finite", kernel(increments=np.array([[1.0, np.nan, 1.0]]))
    yield "wrong_shape", kernel(increments=np.ones((1, 4)))
    yield "deep_about", kernel(about=np.array("[" * 5000))
    yield "about_is_a_list", kernel(about=np.array("[]"))
    yield "format_is_text", kernel(about=np.array('{"format": "x"}'))
    yield "steps_of_text", kernel(steps=np.array(["a", "b"]))
    yield "steps_beyond_64_bits", kernel(steps=np.array([0.0, 1e300]))
    yield "damaged_deflate", edited(kernel(), b"increments.npy", 36, "<I", 0xFFFFFFFF)
    yield "encrypted", edited(kernel(), b"PK\1\2", 8, "<H", 1)
    yield "sizes_of_numbers_with_points", kernel(sizes=np.array([1.5]))


def partials():
    about = {"conditions": {"steps": [0, 1]}, "done": [[0, 1]], "lost": [], "n": 2}
    about |= {"segments": [0], "exponents": [0]}

    def state(**other) -> bytes:
        written = io.BytesIO()
        arrays = {"increments": np.ones((1, 3)), "prints": np.zeros(2, np.uint64)}
        np.savez(written, **arrays, about=np.array(json.dumps(about | other)))
        return written.getvalue()

    yield "encrypted", edited(state(), b"PK\1\2", 8, "<H", 1)
    yield "of_unknown_compression", edited(state(), b"PK\1\2", 10, "<H", 99)
    yield "n_is_large", state(n=1 << 20)
    yield "n_is_text", state(n="2")
    yield "done_is_text", state(done="1")
    yield "lost_is_a_number", state(lost=1)
    yield "open_bracket", state().replace(b"(1, 3), }", b"(1, 3 , }", 1)


def indices():
    shard = safetensors.numpy.save({"w": np.float32([1, 2])})
    other = safetensors.numpy.save({"w": np.float32([3, 4]), "v": np.float32([5])})
    first, second = (f"model-0000{i}-of-00002.safetensors" for i in (1, 2))

    own = "model.safetensors.index.json"

    def index(weight_map) -> bytes:
        return json.dumps({"weight_map": weight_map}).encode()

    yield (
        "names_itself",
        {own: index({"w": own})},
    )
    yield "above", {own: index({"w": "../secret.safetensors"})}
    yield "absolute", {own: index({"w": "/etc/hostname"})}
    yield "deep", {own: b'{"weight_map":' + b"[" * 5000}
    yield "is_a_list", {own: b"[]"}
    yield "shard_is_a_number", {own: index({"w": 3})}
    yield "shard_is_empty", {own: index({"w": ""})}
    yield (
        "tensor_in_two_shards",
        {
            own: index({"w": first, "v": second}),
            first: shard,
            second: other,
        },
    )


def msgpack_files():
    def array(shape: bytes, dtype: bytes, data: bytes) -> bytes:
        inner = b"\x93" + shape + bytes([0xA0 | len(dtype)]) + dtype
        inner += b"\xc4" + bytes([len(data)]) + data
        return b"\x81\xa1w\xc7" + bytes([len(inner), 1]) + inner

    yield "float8", array(b"\x91\2", b"float8_e4m3fn", bytes(2))
    yield "no_parameters", array(b"\x91\1", b"int32", bytes(4))
    yield "shape_is_a_number", array(b"\2", b"float32", bytes(8))
    yield "deep", b"\x81\xa1w" * 3000
    yield "four_thousand_million_keys", b"\xdf\xff\xff\xff\xff\xa1w\1"


WRITERS = (
    ("torch", ".pt", torch_files),
    ("safetensors", ".safetensors", safetensors_files),
    ("npz", ".npz", npz_files),
    ("msgpack", ".msgpack", msgpack_files),
    ("kernel", ".npz", kernels),
    ("partial", ".partial", partials),
)


def main():
    for kind, ending, files in WRITERS:
        for name, content in files():
            (HERE / kind).mkdir(exist_ok=True)
            (HERE / kind / f"{name}{ending}").write_bytes(content)
    for name, tree in indices():
        for path, content in tree.items():
            (HERE / "index" / name).mkdir(parents=True, exist_ok=True)
            (HERE / "index" / name / path).write_bytes(content)


if __name__ == "__main__":
    main()
