"""Files of torch's, read by their pickles and offsets: the same tensors as torch.load, and nothing
else that a file holds is run, imported, or in the way.
"""

import argparse
import collections
import contextlib
import copy
import io
import pickle
import random
import subprocess
import sys
import textwrap
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import trajhelpers as th
from trajhelpers.reading.formats import read_checkpoint
from trajhelpers.reading.pickles import Global, Inert
from trajhelpers.reading.tensors import RAW, rows_first
from trajhelpers.reading.unpickling import read_pickle
from trajhelpers.sources.disk import LocalFile

FORMATS = pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])


def save(content, path, legacy=False):
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    return path


def read(path, state=None):
    return read_checkpoint(LocalFile(path), state)


def values(tensor):
    """Of a StoredTensor, in its own type and its logical order."""
    tensor = rows_first(tensor)
    found = np.empty(tensor.size, RAW[tensor.dtype])
    tensor.read_into(0, tensor.size, found)
    return found.reshape(tensor.shape)


def expected(tensor):
    tensor = tensor.detach().contiguous()
    return (tensor.view(torch.int16) if tensor.dtype == torch.bfloat16 else tensor).numpy()


def flat(content, prefix=""):
    for key, value in content.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")
        elif isinstance(value, torch.Tensor):
            yield f"{prefix}{key}", value


def check(path, oracle):
    """All that `oracle` has is there: names, shapes, types, and the bits of what can be read."""
    found = read(path).tensors
    assert set(found) == set(oracle)
    for name, tensor in oracle.items():
        assert found[name].shape == tuple(tensor.shape)
        assert found[name].dtype == str(tensor.dtype).removeprefix("torch.")
        if found[name].dtype in RAW and tensor.numel():
            bits = f"u{found[name].itemsize}"
            np.testing.assert_array_equal(
                values(found[name]).view(bits), expected(tensor).view(bits), err_msg=name
            )


# Anything that torch.save writes

TYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8]


@st.composite
def tensors(draw, storages):
    """A view of one of the storages: contiguous, permuted, with gaps, expanded, of any offset."""
    base = draw(st.sampled_from(storages))
    view = base[draw(st.integers(0, 7)) :][: draw(st.sampled_from([1, 6, 24]))]
    if view.numel() == 24 and draw(st.booleans()):
        view = view.reshape(2, 3, 4).permute(*draw(st.permutations([0, 1, 2])))
    for dimension in range(view.dim()):
        view = view[
            (slice(None),) * dimension + (slice(None, None, draw(st.sampled_from([1, 2]))),)
        ]
    if draw(st.integers(0, 4)) == 0:
        view = view.unsqueeze(0).expand(3, *view.shape)
    if draw(st.integers(0, 6)) == 0:
        view = view.reshape(-1)[0]
    if draw(st.integers(0, 9)) == 0:
        view = view.reshape(-1)[:0]
    return torch.nn.Parameter(view) if draw(st.booleans()) and view.is_floating_point() else view


@st.composite
def contents(draw):
    generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    storages = [
        (torch.randn(40, generator=generator) * 9).to(kind)
        for kind in draw(st.lists(st.sampled_from(TYPES), min_size=1, max_size=4))
    ]
    names = st.sampled_from(["weight", "bias", "a.weight", "b.weight", "c.0.bias", "ü"])
    inner = st.dictionaries(names, tensors(storages), min_size=1, max_size=5)
    one = draw(inner)
    one["kept.weight"] = torch.randn(3, generator=generator)
    if draw(st.booleans()):
        one = collections.OrderedDict(one)
        one._metadata = {"": {"version": 1}}
    wrapped = draw(st.sampled_from(["", "model", "state_dict"]))
    return {wrapped: one, "epoch": 3, "args": argparse.Namespace(a=1)} if wrapped else one


@FORMATS
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(content=contents())
def test_the_same_tensors_as_torch(tmp_path, legacy, content):
    path = save(content, tmp_path / "step_1.pt", legacy)
    loaded = torch.load(path, weights_only=False)
    check(path, dict(flat(loaded.get("model", loaded.get("state_dict", loaded)))))


@FORMATS
def test_tied_tensors_share_an_identity(tmp_path, legacy):
    whole = torch.randn(4, 3)
    content = {"a": whole, "b": whole, "same": whole.view(4, 3), "other": whole[1:]}
    found = read(save(content, tmp_path / "x.pt", legacy)).tensors
    assert found["a"].identity == found["b"].identity == found["same"].identity
    assert found["other"].identity != found["a"].identity


def test_a_view_of_a_large_storage_reads_its_own_part(tmp_path):
    """Of gaps in rows only the rows that are asked for; in parts, the same values."""
    whole = torch.randn(100, 50)
    path = save({"w": whole[::3, 5:9].T, "v": whole[::2, :7]}, tmp_path / "x.pt")
    found = read(path).tensors
    for name, tensor in (("w", whole[::3, 5:9].T), ("v", whole[::2, :7])):
        flat_values = tensor.reshape(-1).numpy()
        for start, stop in ((0, 1), (3, 20), (34, 35), (len(flat_values) - 5, len(flat_values))):
            part = np.empty(stop - start, np.float32)
            found[name].read_into(start, stop, part)
            np.testing.assert_array_equal(part, flat_values[start:stop])
            for place, begin, end in found[name].ranges(start, stop):
                assert place == LocalFile(path) and 0 < begin < end <= path.stat().st_size
    ((_, begin, end),) = found["v"].ranges(7, 14)
    assert end - begin == 7 * 4


# What lies beside the weights


class Whole(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.body = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
        self.head = torch.nn.Linear(4, 3, bias=False)
        self.body[0].weight.requires_grad_(False)
        self.register_buffer("table", torch.ones(5))
        self.register_buffer("cache", torch.ones(6), persistent=False)
        self.tied = self.head


Point = collections.namedtuple("Point", "x y")


def beside():
    """Whatever training loops leave in a checkpoint."""
    network = torch.nn.Linear(2, 2)
    optimizer = torch.optim.Adam(network.parameters())
    network(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    return {
        "args": argparse.Namespace(lr=0.1, inner=argparse.Namespace(b=[1, 2])),
        "score": np.float64(0.3),
        "curve": np.arange(6.0).reshape(2, 3),
        "names": {"a", "b"},
        "point": Point(1, torch.ones(2)),
        "counts": collections.Counter("abca"),
        "lists": collections.defaultdict(list, a=[1]),
        "recent": collections.deque([1, 2], 5),
        "version": torch.torch_version.TorchVersion("2.9"),
        "dtype": torch.float32,
        "size": torch.Size([1, 2]),
        "device": torch.device("cpu"),
        "range": range(3),
        "text": "ü",
        "number": 2**70,
        "path": __import__("pathlib").Path("x"),
        "time": __import__("datetime").timedelta(3),
        "dice": random.Random(0).getstate(),
        "optimizer": optimizer.state_dict(),
        "whole_optimizer": optimizer,
        "rng_state": torch.get_rng_state(),
        "function": copy.deepcopy,
    }


@FORMATS
@pytest.mark.parametrize("protocol", range(1, 6))  # torch cannot load what it saves with 0
def test_what_lies_beside_the_weights_is_not_in_the_way(tmp_path, legacy, protocol):
    state = torch.nn.Linear(3, 4).state_dict()
    path = tmp_path / "x.pt"
    extra = {"bytes": io.BytesIO(b"abc")} if protocol > 1 else {}
    torch.save(
        beside() | extra | {"model": state},
        path,
        _use_new_zipfile_serialization=not legacy,
        pickle_protocol=protocol,
    )
    check(path, dict(state))


@FORMATS
def test_a_whole_module(tmp_path, legacy):
    """Its parameters, and its buffers, known as such; what it would not save is not there."""
    torch.manual_seed(0)
    module = Whole()
    found = read(save(module, tmp_path / "x.pt", legacy)).tensors
    state = module.state_dict()
    assert set(found) == set(state)
    parameters = dict(module.named_parameters(remove_duplicate=False))
    for name, tensor in found.items():
        assert tensor.is_buffer == (name not in parameters)
        if tensor.dtype in RAW:
            np.testing.assert_array_equal(values(tensor), state[name].numpy())
    assert found["tied.weight"].identity == found["head.weight"].identity


@pytest.mark.parametrize("protocol", range(6))
def test_plain_pickles_of_arrays(tmp_path, protocol):
    content = {
        "a.weight": np.arange(6.0).reshape(2, 3),
        "b.weight": np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
        "c.weight": np.arange(4, dtype=">f8"),
        "d": np.float32(2),
        "e": np.array(["x"], dtype=object),
        "step": np.arange(3),
    }
    (tmp_path / "x.pt").write_bytes(pickle.dumps(content, protocol=protocol))
    found = read(tmp_path / "x.pt").tensors
    for name in ("a.weight", "b.weight", "c.weight"):
        assert found[name].dtype == content[name].dtype.name
        np.testing.assert_array_equal(values(found[name]), content[name])
    assert found["step"].shape == (3,) and "d" not in found


def test_opening_needs_no_torch(tmp_path):
    for step in (1, 2):
        save(torch.nn.Linear(3, 4).state_dict(), tmp_path / f"step_{step}.pt", step == 2)
    program = textwrap.dedent("""
        import sys, trajhelpers as th
        trajectory = th.open_trajectory(sys.argv[1])
        trajectory.read([("weight", 0, 12)])
        print(trajectory.p, "torch" in sys.modules)
    """)
    done = subprocess.run([sys.executable, "-c", program, tmp_path], capture_output=True, text=True)
    assert done.stdout == "16 False\n", done.stderr


# Signs, and tensors that have no numbers in a row


@FORMATS
def test_a_negated_view_is_refused(tmp_path, legacy):
    """The file holds the values without the sign, which torch turns when it loads."""
    path = save(
        {"w": torch._neg_view(torch.ones(3)), "v": torch.ones(2)}, tmp_path / "x.pt", legacy
    )
    assert torch.load(path)["w"].tolist() == [-1, -1, -1]
    with pytest.raises(
        th.CheckpointError, match=r"x\.pt: tensor 'w' is a negated view.*resolve_neg"
    ):
        read(path)


@pytest.mark.filterwarnings("ignore:.*(nested tensors|Sparse CSR|quantize).*")
@pytest.mark.parametrize(
    "make, what",
    [
        (lambda: torch.eye(3).to_sparse(), "sparse"),
        (lambda: torch.eye(3).to_sparse_csr(), "sparse"),
        (lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]), "nested"),
        (lambda: torch.ones(3, dtype=torch.complex64).conj(), "conjugated"),
        (lambda: torch.ones(3, device="meta"), "meta"),
        (lambda: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8), "quantized"),
    ],
)
def test_others_are_called_what_they_are(tmp_path, make, what):
    state = {"a.weight": torch.ones(2), "b.weight": make()}
    path = save({"model": state}, tmp_path / "x.pt")
    with pytest.raises(th.CheckpointError, match=rf"x\.pt: tensor 'b.weight' is .*{what}"):
        read(path)
    # beside the weights they are nobody's business
    path = save({"model": {"a.weight": torch.ones(2)}, "extra": {"b": make()}}, tmp_path / "y.pt")
    assert list(read(path, "model").tensors) == ["a.weight"]


# Damage


@pytest.mark.parametrize("cut", range(1, 40, 3))
def test_a_permuted_tensor_of_a_file_that_shrank(tmp_path, cut):
    """Others are row-major, so that it is read by its strides: never what lies behind the file."""
    tensor = torch.randn(2, 4, 3, 3)
    save({"w": tensor.to(memory_format=torch.channels_last)}, tmp_path / "step_1.pt", legacy=True)
    save({"w": tensor}, tmp_path / "step_2.pt", legacy=True)
    trajectory = th.open_trajectory(tmp_path)
    path = tmp_path / "step_1.pt"
    with open(path, "r+b") as file:
        file.truncate(path.stat().st_size - 4 * cut)
    with pytest.raises(th.CheckpointError, match="step_1"):
        trajectory.read([("w", 0, 72)])


def mutated(content, dice):
    """With some bytes changed, taken out or put in; mostly where pickles and directories lie."""
    content = bytearray(content)
    for _ in range(dice.choice([1, 1, 1, 2, 5])):
        near = dice.choice([len(content), min(len(content), 900)])
        at = (
            dice.randrange(near) if dice.random() < 0.7 else len(content) - 1 - dice.randrange(near)
        )
        kind = dice.randrange(5)
        if kind == 0:
            content[at] = dice.randrange(256)
        elif kind == 1:
            content[at] ^= 1 << dice.randrange(8)
        elif kind == 2:
            del content[at : at + dice.choice([1, 2, 30])]
        elif kind == 3:
            content[at:at] = bytes(dice.randrange(256) for _ in range(dice.choice([1, 4])))
        else:
            size = dice.choice([2, 4, 8])
            content[at : at + size] = dice.choice([b"\xff", b"\0", b"\x7f"]) * size
        if not content:
            break
    return bytes(content)


@pytest.mark.parametrize("kind", ["zip", "legacy", "module", "numpy", "npz"])
def test_mutated_files_are_refused_or_equal(tmp_path, kind):
    """Of what is not refused, each tensor is of some place in the file, and can be read."""
    torch.manual_seed(0)
    module, path = Whole(), tmp_path / ("x.npz" if kind == "npz" else "x.pt")
    if kind == "numpy":
        path.write_bytes(pickle.dumps({"a.weight": np.arange(6.0), "b": {1: (2, [3])}}))
    elif kind == "npz":
        np.savez(path, **{"a.weight": np.arange(6.0), "b": np.ones((2, 3), np.float32)})
    else:
        content = module if kind == "module" else beside() | {"model": module.state_dict()}
        save(content, path, kind == "legacy")
    whole, dice, refused = path.read_bytes(), random.Random(kind), 0
    for _ in range(250):
        path.write_bytes(mutated(whole, dice))
        try:
            for tensor in read(path).tensors.values():
                if tensor.dtype in RAW and tensor.size < 1 << 20:
                    values(tensor)
        except th.CheckpointError as error:
            refused += 1
            assert str(path) in str(error)
    assert 25 < refused < 250


# Pickles that want to run code, or more than there is


class Marked:
    """What runs leaves a file behind."""

    def __init__(self, marker, how):
        self.marker, self.how = str(marker), how

    def __reduce_ex__(self, protocol):
        return self.how(self.marker)


class Setter:
    def __setstate__(self, state):
        open(state, "w").close()


class Builder:
    def __new__(cls, *arguments, **names):
        open([*arguments, *names.values()][0], "w").close()
        return object.__new__(cls)


def text(string):
    return b"X" + len(string).to_bytes(4, "little") + string.encode()


def opcodes(marker):
    """By how it would run: a pickle that writes to `marker`."""
    marker = str(marker)
    wrote = text(marker) + b"\x85"
    command = b"(" + text(f"touch '{marker}'") + b"t"
    here = __name__.encode()
    return {
        "REDUCE of GLOBAL": b"cposix\nsystem\n" + command + b"R.",
        "REDUCE of STACK_GLOBAL": b"\x80\x04"
        + text("posix")
        + text("mkdir")
        + b"\x93"
        + wrote
        + b"R.",
        "INST": b"(" + text(marker) + b"iposix\nmkdir\n.",
        "OBJ": b"(cposix\nmkdir\n" + text(marker) + b"o.",
        "NEWOBJ": b"\x80\x02c" + here + b"\nBuilder\n(" + text(marker) + b"t\x81.",
        "NEWOBJ_EX": b"\x80\x04c" + here + b"\nBuilder\n)}" + text("a") + text(marker) + b"s\x92.",
        "BUILD with __setstate__": b"\x80\x02c" + here + b"\nSetter\n)\x81" + text(marker) + b"b.",
        "BUILD of a class": b"c" + here + b"\nSetter\n" + text(marker) + b"b.",
        "EXT1": b"\x82\xf0" + wrote + b"R.",
        "EXT2": b"\x83\xf0\x00" + wrote + b"R.",
        "EXT4": b"\x84\xf0\x00\x00\x00" + wrote + b"R.",
        "chain of getattr": b"cbuiltins\ngetattr\n(cbuiltins\n__import__\n("
        + text("os")
        + b"tR"
        + text("system")
        + b"tR"
        + command
        + b"R.",
        "eval": b"cbuiltins\neval\n(" + text(f"__import__('os').mkdir({marker!r})") + b"tR.",
        "known name in a known maker": b"ctorch._utils\n_rebuild_from_type_v2\n(cposix\nsystem\n"
        b"cposix\nsystem\n" + command + b"}tR.",
        "copyreg": b"ccopyreg\n__newobj__\n(cposix\nsystem\n" + text(f"touch '{marker}'") + b"tR.",
        "import by a dotted name": b"\x80\x04"
        + text("this_is_no_module.at")
        + text("all.x")
        + b"\x93)R.",
        "a module that would run when imported": b"cantigravity\nfly\n)R.",
    }


@pytest.fixture
def extension():
    """A code of copyreg's registry that stands for mkdir, and is in Python's own cache."""
    import copyreg

    copyreg.add_extension("posix", "mkdir", 0xF0)
    pickle.loads(b"\x82\xf0.")
    yield
    copyreg.remove_extension("posix", "mkdir", 0xF0)
    copyreg.clear_extension_cache()


@pytest.mark.parametrize("name", opcodes(""))
def test_no_opcode_runs_anything(tmp_path, name, extension):
    marker = tmp_path / "the payload has run"
    before, code = set(sys.modules), opcodes(marker)[name]
    found, end = read_pickle(code, 0, "x.pt")
    assert end == len(code) and set(sys.modules) == before and not marker.exists()
    assert isinstance(found, (Inert, Global))
    if "import" not in name:  # so that this is not empty
        with contextlib.suppress(Exception):
            pickle.loads(code)
        expected_to_run = name not in ("BUILD of a class", "known name in a known maker")
        assert marker.exists() or not expected_to_run or name == "copyreg"


@pytest.mark.parametrize("name", opcodes(""))
@pytest.mark.parametrize("kind", ["zip", "legacy", "pickle"])
def test_nor_in_a_file(tmp_path, kind, name, extension):
    """In the middle of a state dict that is read all the same."""
    marker, path = tmp_path / "the payload has run", tmp_path / "x.pt"
    code = opcodes(marker)[name]
    if kind == "pickle":
        path.write_bytes(pickle.dumps({"a.weight": np.ones(3), "extra": 0}, protocol=2))
    else:
        save({"a.weight": torch.ones(3), "extra": 0}, path, kind == "legacy")
    inner = code.removesuffix(b".")
    inner = inner[2:] if inner[:1] == b"\x80" else inner
    if kind == "zip":
        with zipfile.ZipFile(path) as old:
            records = [(info.filename, old.read(info)) for info in old.infolist()]
        with zipfile.ZipFile(path, "w") as new:
            for record, content in records:
                new.writestr(record, content.replace(b"K\x00u.", inner + b"u."))
    else:
        whole = path.read_bytes()
        assert whole.count(b"K\x00u.") == 1
        path.write_bytes(whole.replace(b"K\x00u.", inner + b"u."))
    before = set(sys.modules)
    np.testing.assert_array_equal(values(read(path).tensors["a.weight"]), np.ones(3))
    assert set(sys.modules) == before and not marker.exists()


@pytest.mark.parametrize(
    "code",
    [
        b"\x96" + (1 << 60).to_bytes(8, "little") + b"x.",
        b"\x8e" + (1 << 60).to_bytes(8, "little") + b"x.",
        b"\x8d" + (1 << 62).to_bytes(8, "little") + b"x.",
        b"\x8b\xff\xff\xff\x7f1.",
        b"\x8b\xff\xff\xff\xff1.",
        b"L" + b"9" * 100_000 + b"L\n.",
        b"K\x01r\xff\xff\xff\xff.",
        b"".join(b"K\x01r" + i.to_bytes(4, "little") for i in range(0, 1 << 32, 1 << 20)) + b".",
        b"]" * 200_000 + b"a" * 199_999 + b".",
        b")" + b"\x85" * 200_000 + b"K\x01d.",
        b"}(" + b")" + b"\x85" * 200_000 + b"K\x01u.",
        b"ccollections\nOrderedDict\n](](" + b")" + b"\x85" * 200_000 + b"K\x01ee\x85R.",
        b"}(\x8a\x40" + b"\x01" * 64 + b"K\x01u.",
        b"(" * 200_000 + b".",
        b"cbuiltins\nbytearray\n(J\xff\xff\xff\x7ftR.",
        b"cbuiltins\nlist\n(cbuiltins\nrange\n(J\xff\xff\xff\x7ftRtR.",
        b"X"
        + (1 << 20).to_bytes(4, "little")
        + b"x" * (1 << 20)
        + b"q\x000"
        + b"c_codecs\nencode\nq\x010"
        + b"h\x01h\x00X\x06\0\0\0latin1\x86R" * 1000
        + b".",
        b"\x97.",
        b"\x98.",
        b"h\x05.",
        b"R.",
        b"b.",
        b"\xff.",
        b"",
        b".",
        b"cnumpy\ndtype\n(X\x02\0\0\0f8I00\nI01\ntRq\x000cnumpy.core.multiarray\n_reconstruct\n"
        b")R(K\x01(J\xff\xff\xff\x7fJ\xff\xff\xff\x7fth\x00I00\nC\x01xtb.",
    ],
    ids=range(26),
)
def test_pickles_that_ask_for_too_much(tmp_path, code):
    """An error, or a few small objects; no crash, no hang, no memory."""
    program = textwrap.dedent("""
        import resource, sys
        import trajhelpers as th
        from trajhelpers.reading.formats import read_checkpoint
        from trajhelpers.sources.disk import LocalFile
        from pathlib import Path
        resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
        resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
        try:
            read_checkpoint(LocalFile(Path(sys.argv[1])))
        except th.CheckpointError as error:
            print("refused", error)
    """)
    (tmp_path / "x.pt").write_bytes(code)
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "x.pt"], capture_output=True, text=True
    )
    assert done.stdout.startswith("refused") and "x.pt" in done.stdout, done.stderr[-500:]


def test_references_that_multiply(tmp_path):
    """Thirty dicts, each twice in the next: a thousand million names."""
    content = {"w": torch.ones(2)}
    for _ in range(30):
        content = {"a": content, "b": content}
    with pytest.raises(th.CheckpointError, match="parts"):
        read(save(content, tmp_path / "x.pt"))


def test_an_object_that_holds_itself(tmp_path):
    content = {"model": {"a.weight": torch.ones(2)}}
    content["again"] = content
    content["list"] = [content]
    assert list(read(save(content, tmp_path / "x.pt")).tensors) == ["a.weight"]


def test_an_expanded_tensor_is_not_unfolded(tmp_path):
    found = read(save({"w": torch.ones(1).expand(1 << 23), "v": torch.ones(2)}, tmp_path / "x.pt"))
    part = np.empty(3, np.float32)
    found.tensors["w"].read_into((1 << 23) - 3, 1 << 23, part)
    assert part.tolist() == [1, 1, 1]
    overlapping = torch.ones(99).as_strided((2,) * 60, (1,) * 60)
    for many in (torch.ones(1).expand(1 << 25), overlapping):
        with pytest.raises(th.CheckpointError, match="expanded"):
            read(save({"w": many}, tmp_path / "y.pt"))
    some = {f"w{i}": torch.ones(1).expand(1 << 23) for i in range(3)}
    with pytest.raises(th.CheckpointError, match="expanded"):
        read(save(some, tmp_path / "z.pt"))


def test_two_archives_in_one_file(tmp_path):
    """Torch takes one, others the other."""
    parts = [save({"w": torch.ones(3) * k}, tmp_path / f"{k}.pt").read_bytes() for k in (1, 2)]
    for content in (parts[0] + parts[1], b"PK\x03\x04junk" + parts[0], parts[0] + b"junk"):
        (tmp_path / "x.pt").write_bytes(content)
        with pytest.raises(th.CheckpointError, match=r"x\.pt"):
            read(tmp_path / "x.pt")
