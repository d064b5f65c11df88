"""What is no checkpoint of torch's is called what it is, and arrays of NumPy's are read where they
lie.
"""

import io
import json
import tarfile
import zipfile

import numpy as np
import oracle
import pytest
import torch

import trajhelpers as th
from trajhelpers.reading.formats import read_checkpoint
from trajhelpers.reading.strangers import seen_instead
from trajhelpers.sources.disk import LocalFile


def archive(names, compression=zipfile.ZIP_STORED):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as new:
        for name in names:
            new.writestr(name, b"content")
    return out.getvalue()


def torchscript():
    out = io.BytesIO()
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 3), torch.ones(1, 2)), out)
    return out.getvalue()


def exported():
    out = io.BytesIO()
    torch.export.save(torch.export.export(torch.nn.Linear(2, 3), (torch.ones(1, 2),)), out)
    return out.getvalue()


def in_tar():
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as new:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            new.addfile(tarfile.TarInfo(name))
    return out.getvalue()


# The first bytes of each, as their libraries write them (h5py 3.15, onnx 1.19, flax 0.12,
# tensorflow 2.20 and llama.cpp), where the library is not one that is needed here.
STRANGERS = {
    "HDF5": ("model.h5", b"\x89HDF\r\n\x1a\n" + b"\0" * 500, "HDF5.*Keras", "numpy.savez"),
    "HDF5 by another name": ("model.pt", b"\x89HDF\r\n\x1a\n" + b"\0" * 500, "HDF5", "numpy.savez"),
    "ONNX": ("model.pt", b"\x08\x0a\x12\x07pytorch\x1a\x062.11.0:\x84\x01", "ONNX", "torch.save"),
    "ONNX by its name": ("model.onnx", b"\x08\x07:\x10", "ONNX", "torch.save"),
    "msgpack": ("model.pt", b"\x82\xa6params\x81\xa7Dense_0\x82", "msgpack.*flax", r"\.msgpack"),
    "msgpack of many": ("model.bin", b"\xde\x00\x13\xa6params\x81", "msgpack", r"\.msgpack"),
    "GGUF": ("model.bin", b"GGUF\x03\0\0\0" + b"\0" * 99, "GGUF", "checkpoint"),
    "TensorFlow": ("model.ckpt.data-00000-of-00001", b"\0" * 99, "TensorFlow", "load_checkpoint"),
    "torch 0.1": ("model.pt", in_tar(), "tar archive", "torch.load"),
    "gzip": ("model.pt", b"\x1f\x8b\x08\0" + b"\0" * 99, "gzip", "gunzip"),
    "one array": ("model.pt", b"\x93NUMPY\x01\0" + b"\0" * 99, "array", "savez"),
    "TorchScript": ("model.pt", torchscript, "TorchScript", "torch.jit.load"),
    "pt2": ("model.pt", exported, r"exported program.*\.pt2", "torch.export.load"),
    "keras": (
        "model.pt",
        archive(["metadata.json", "config.json", "model.weights.h5"], zipfile.ZIP_DEFLATED),
        "Keras",
        "numpy.savez",
    ),
    "Stable-Baselines3": (
        "model.pt",
        archive(["data", "policy.pth", "policy.optimizer.pth", "_stable_baselines3_version"]),
        "Stable-Baselines3",
        "policy.pth",
    ),
    "torch.package": (
        "model.pt",
        archive(["m/.data/extern_modules", "m/.data/version", "m/code.py"]),
        "torch.package",
        "state_dict",
    ),
    "another zip": ("model.pt", archive(["a.txt", "b.txt"]), "zip archive.*'a.txt'", "unpack"),
    "an empty zip": ("model.pt", b"PK\x03\x04", "", ""),
    "arrays by another name": ("model.pt", archive(["a.npy", "b.npy"]), "NumPy", r"\.npz"),
    "empty": ("model.pt", b"", "empty", "fetch"),
    "git-lfs": ("model.pt", b"version https://git-lfs.github.com/spec/v1\n", "git-lfs", "lfs pull"),
    "HTML": ("model.pt", b"<!DOCTYPE html>", "web page", "fetch"),
    "a pickle of something": (
        "model.pt",
        b"\x80\x04}\x94\x8c\x01a\x94K\x01s.",
        "'a'",
        "state_dict",
    ),
    "text": ("model.pt", b"step 1\nstep 2\n", "", "fetch or save"),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("kind", STRANGERS)
def test_strangers_are_called_what_they_are(tmp_path, kind):
    name, content, what, remedy = STRANGERS[kind]
    content = content() if callable(content) else content
    paths = []
    for step in (1, 2):
        paths.append(tmp_path / f"step_{step}" / name)
        paths[-1].parent.mkdir()
        paths[-1].write_bytes(content)
    with pytest.raises(th.CheckpointError, match=rf"(?s){name}: .*{what}.*{remedy}"):
        th.open_trajectory(paths)


@pytest.mark.parametrize(
    "names, seen",
    [
        (["step_1.h5", "step_2.h5"], r"2 \.h5 .*HDF5"),
        (["step_1.onnx", "step_2.onnx"], r"2 \.onnx .*ONNX"),
        (["step_1.keras", "step_2.keras"], r"2 \.keras"),
        (["step_1.zip", "step_2.zip", "notes.txt"], r"2 \.zip"),
        (["step_1.pt2", "step_2.pt2", "x.pkl"], r"2 \.pt2.*1 \.pkl"),
    ],
)
def test_folders_of_strangers(tmp_path, names, seen):
    for name in names:
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(th.StepError, match=rf"no checkpoints.*{seen}"):
        th.open_trajectory(tmp_path)


def test_what_is_seen_in_a_folder():
    assert seen_instead(["a.txt", "config.json"]) == ""


# NumPy's archives


def arrays(step):
    dice = np.random.default_rng(step)
    return {
        "a.weight": dice.standard_normal((4, 3)).astype(np.float32),
        "params/Dense_0/kernel": np.asfortranarray(dice.standard_normal((3, 2, 5))),
        "half": dice.standard_normal(7).astype(np.float16),
        "one": dice.standard_normal((1, 4)).T.copy(),
        "scalar": np.float64(step),
        "steps": np.arange(3),
        "empty": np.zeros((0, 3)),
        "text": np.array(["a", "b"]),
    }


def test_arrays_of_numpy(tmp_path):
    states = [arrays(step) for step in range(4)]
    for step, state in enumerate(states):
        if step == 2:  # in another order
            state = state | {"params/Dense_0/kernel": state["params/Dense_0/kernel"].copy("C")}
        np.savez(tmp_path / f"step_{step}.npz", **state)
    names = ["a.weight", "params/Dense_0/kernel", "half", "one", "scalar"]
    trajectory = th.open_trajectory(tmp_path)
    assert set(trajectory.names) == set(names)
    flat = oracle.flat([{name: state[name] for name in names} for state in states])
    np.testing.assert_allclose(th.gram(trajectory, device="cpu").gram(), flat @ flat.T, rtol=1e-12)


def test_arrays_of_numpy_that_cannot_be_read(tmp_path):
    path = tmp_path / "step_1.npz"
    cases = [
        (lambda: np.savez_compressed(path, a=np.ones(9)), "compressed.*savez"),
        (lambda: np.savez(path, a=np.ones(9, ">f8")), "'a.npy'.*big-endian"),
        (lambda: path.write_bytes(archive(["a.npy", "readme"])), "readme"),
        (lambda: path.write_bytes(archive(["a.npy"])), "header.*'a.npy'"),
    ]
    for make, words in cases:
        make()
        with pytest.raises(th.CheckpointError, match=rf"step_1\.npz: .*{words}"):
            read_checkpoint(LocalFile(path))
    th.gram(th.open_trajectory([{"w": np.zeros(2)}, {"w": np.ones(2)}])).save(path)
    with pytest.raises(th.CheckpointError, match=r"step_1\.npz: is a kernel.*load_kernel"):
        read_checkpoint(LocalFile(path))


def test_pth_tar(tmp_path):
    """A file of torch's by an old habit, and no tar."""
    for step in (1, 2):
        torch.save(
            {"state_dict": {"a.weight": torch.ones(2) * step}}, tmp_path / f"ep{step}.pth.tar"
        )
    assert th.open_trajectory(tmp_path).steps == (1, 2)


def test_an_index_of_shards_needs_no_state(tmp_path):
    """Each shard is what the index says, whatever its names."""
    for step in (1, 2):
        folder = tmp_path / f"step_{step}"
        folder.mkdir()
        torch.save({"a.weight": torch.ones(2) * step}, folder / "pytorch_model-00001-of-00002.bin")
        torch.save({"b.steps": torch.ones(2).int()}, folder / "pytorch_model-00002-of-00002.bin")
        weight_map = {
            "a.weight": "pytorch_model-00001-of-00002.bin",
            "b.steps": "pytorch_model-00002-of-00002.bin",
        }
        (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": weight_map}))
    assert th.open_trajectory(tmp_path).names == ("a.weight",)
