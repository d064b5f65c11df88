"""A kernel's file in a page: what Python refuses it refuses, and it never shows another number."""

import io
import json
import zipfile

import numpy as np
import pytest
from test_explorer import answered, random_kernel

import trajhelpers as th

KERNEL = random_kernel(12, 0, groups=3)


@pytest.fixture
def stored(tmp_path):
    KERNEL.save(tmp_path / "run.npz")
    with np.load(tmp_path / "run.npz") as file:
        return dict(file)


def in_the_page(folder, *paths):
    return answered("explorer_files.mjs", folder, [str(path) for path in paths])


def about(stored, **changes):
    return np.array(json.dumps({**json.loads(str(stored["about"])), **changes}))


def with_one(array, place, value):
    changed = array.copy()
    changed[place] = value
    return changed


# What is changed, and what the message names.
DAMAGES = {
    "NaN": (lambda s: {"increments": with_one(s["increments"], (0, 5), np.nan)}, "increments"),
    "infinity": (lambda s: {"increments": with_one(s["increments"], (1, 0), np.inf)}, "increments"),
    "negative length": (
        lambda s: {"increments": with_one(s["increments"], (0, 0), -1)},
        "negative",
    ),
    "longer than its lengths": (
        lambda s: {"increments": with_one(s["increments"], (2, 1), 1e6)},
        "longer",
    ),
    "no Gram matrix": (
        # 0.9 with each of two neighbours that are opposite to one another.
        lambda s: three_cosines(s, 0.9, 0.9, -0.9),
        "semidefinite",
    ),
    "squared path": (
        lambda s: {"squared_path": with_one(s["squared_path"], (0, 3), -1)},
        "squared_path",
    ),
    "a circle of links": (lambda s: {"links": np.r_[1, 0, 1:11]}, "links"),
    "links to nowhere": (lambda s: {"links": np.r_[-1, 99, 1:11]}, "links"),
    "links of another number": (lambda s: {"links": np.arange(-1, 3)}, "links"),
    "exponent": (lambda s: {"about": about(s, exponent=10**9)}, "exponent"),
    "precision": (lambda s: {"about": about(s, precision="int8")}, "precision"),
    "two of one name": (lambda s: {"names": np.array(["a", "a", "b"])}, "names"),
    "sizes of one group": (lambda s: {"sizes": s["sizes"][:1]}, "sizes"),
    "negative size": (lambda s: {"sizes": -s["sizes"]}, "sizes"),
    "steps with points": (lambda s: {"steps": s["steps"].astype(float)}, "steps"),
    "fewer products": (lambda s: {"increments": s["increments"][:, :-1]}, "increments"),
    "objects": (lambda s: {"increments": s["increments"].astype(object)}, "increments"),
    "about is nothing": (lambda s: {"about": np.array("null")}, "precision"),
    "about is no JSON": (lambda s: {"about": np.array("{")}, "JSON"),
    "a sum beyond float64": (
        lambda s: (
            {key: s[key] * (1.7e308 / s[key].max()) for key in ("increments", "squared_path")}
            | {"increments": np.full_like(s["increments"], 1.7e308)}
            | {"squared_path": np.full_like(s["squared_path"], 1.7e308)}
        ),
        "not finite",
    ),
}


def three_cosines(stored, first, second, between):
    """Rows 0, 1 and 2 of the first group as unit vectors of these cosines."""
    rows, columns = np.triu_indices(12)
    changed = stored["increments"].copy()
    for (i, j), value in {(0, 1): first, (0, 2): second, (1, 2): between}.items():
        changed[0, (rows == i) & (columns == j)] = value
    changed[0, rows == columns] = 1
    changed[0, (rows > 2) & (rows != columns)] = 0
    changed[0, (rows < 3) & (columns > 2)] = 0
    return {"increments": changed, "squared_path": with_one(stored["squared_path"], 0, 1)}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_python_refuses(tmp_path, stored, damage):
    change, named = DAMAGES[damage]
    path = tmp_path / "damaged.npz"
    np.savez(path, **{**stored, **change(stored)})
    with pytest.raises(th.TrajectoryError, match="damaged"):
        th.load_kernel(path)
    (answer,) = in_the_page(tmp_path, path)
    assert answer["refused"].startswith("damaged (")
    assert answer["refused"].endswith("); compute it again with `trajhelpers gram`")
    assert named in answer["refused"]


OTHER_LAYOUTS = {
    "by columns": lambda s: {"increments": np.asfortranarray(s["increments"])},
    "the other order of bytes": lambda s: {
        key: array.astype(array.dtype.newbyteorder(">")) for key, array in s.items()
    },
    "shorter steps": lambda s: {"steps": s["steps"].astype(np.int32)},
    "steps of a byte": lambda s: {"steps": s["steps"].astype(np.int8)},
}


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("layout", OTHER_LAYOUTS)
def test_what_python_opens(tmp_path, stored, layout, save):
    path = tmp_path / "other.npz"
    save(path, **{**stored, **OTHER_LAYOUTS[layout](stored)})
    (answer,) = in_the_page(tmp_path, path)
    assert answer == {"n": 12, "p": 120, "omega": pytest.approx(th.mds(KERNEL), abs=1e-12)}
    assert th.mds(th.load_kernel(path)) == pytest.approx(th.mds(KERNEL), abs=1e-12)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_no_changed_byte_is_another_number(tmp_path, stored, save):
    with io.BytesIO() as file:
        save(file, **stored)
        content = file.getvalue()
    rng, paths = np.random.default_rng(0), []
    for k, place in enumerate(rng.choice(len(content), 300, replace=False)):
        damaged = bytearray(content)
        damaged[place] ^= 1 << rng.integers(8)
        paths.append(tmp_path / f"{k}.npz")
        paths[-1].write_bytes(damaged)
    answers = in_the_page(tmp_path, *paths)
    for answer in answers:
        assert "refused" in answer or answer["omega"] == pytest.approx(th.mds(KERNEL), abs=1e-12)
    # Most of a zip is numbers; the rest, such as dates, is not looked at.
    assert sum("refused" in answer for answer in answers) > 150


def test_half_a_file(tmp_path, stored):
    np.savez(tmp_path / "whole.npz", **stored)
    content = (tmp_path / "whole.npz").read_bytes()
    (tmp_path / "half.npz").write_bytes(content[: len(content) // 2])
    (answer,) = in_the_page(tmp_path, tmp_path / "half.npz")
    assert answer["refused"].startswith("damaged (no .npz file)")


def test_few_bytes_do_not_become_many(tmp_path, stored):
    path = tmp_path / "many.npz"
    np.savez_compressed(path, **stored, more=np.zeros(1 << 24))
    assert path.stat().st_size < 1e6
    (answer,) = in_the_page(tmp_path, path)
    assert "damaged (arrays of 134," in answer["refused"]


def test_nor_do_more_than_the_file_says(tmp_path, stored):
    """An entry that says it is short, and is not."""
    path = tmp_path / "more.npz"
    np.savez_compressed(path, **stored)
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        entry = archive.getinfo("increments.npy")
    at = content.rindex(b"increments.npy") - 46
    content[at + 24 : at + 28] = (entry.file_size // 2).to_bytes(4, "little")
    path.write_bytes(content)
    (answer,) = in_the_page(tmp_path, path)
    assert answer["refused"].startswith("damaged (increments: cannot be unpacked)")
