"""Make what `data/` holds: python data/make.py images | text | studies RUNS | redundancy RUNS |
first_map | manifest. `make data` calls all six.
"""

import gzip
import hashlib
import json
import lzma
import platform
import re
import shutil
import subprocess
import sys
from datetime import date
from importlib.metadata import version
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
DEBIAN = Path("/usr/share/datasets/fashion-mnist")
TRAIN = 4096


def images():
    """Fashion-MNIST pooled to 14 × 14: all test images, and the first 4,096 to train with."""
    if not DEBIAN.is_dir():
        sys.exit(f"{DEBIAN} is missing: apt-get install dataset-fashion-mnist")
    arrays = {}
    for split, stem, count in (("train", "train", TRAIN), ("test", "t10k", 10_000)):
        raw = np.frombuffer(
            gzip.open(DEBIAN / f"{stem}-images-idx3-ubyte.gz").read(), np.uint8, offset=16
        ).reshape(-1, 14, 2, 14, 2)
        labels = np.frombuffer(
            gzip.open(DEBIAN / f"{stem}-labels-idx1-ubyte.gz").read(), np.uint8, offset=8
        )
        arrays[f"{split}_images"] = raw[:count].mean(axis=(2, 4)).round().astype(np.uint8)
        arrays[f"{split}_labels"] = labels[:count]
    np.savez_compressed(HERE / "fashion-mnist.npz", **arrays)


def text():
    """The King James Bible without the verses' numbers, a verse a line, and a byte-pair encoding of
    its training part.
    """
    if not shutil.which("bible"):
        sys.exit("the command `bible` is missing: apt-get install bible-kjv bible-kjv-text")
    verses = subprocess.run(
        ["bible", "-f", "gen1:1-rev22:21"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    characters = re.sub(r"^\w+:\d+ ", "", verses, flags=re.MULTILINE)
    (HERE / "bible-kjv.txt.xz").write_bytes(
        lzma.compress(characters.encode("ascii"), preset=9 | lzma.PRESET_EXTREME)
    )

    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    from trajhelpers.lab.training.text import split_text

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(vocab_size=2048, show_progress=False)
    tokenizer.train_from_iterator([split_text(characters)["train"]], trainer)
    (HERE / "bible-kjv-bpe-2048.json").write_text(tokenizer.to_str(pretty=False))


def studies(runs):
    """Take over what `trajhelpers study --all --out RUNS` made."""
    for table in sorted(Path(runs).glob("studies/*/runs.csv")):
        target = HERE / "studies" / table.parent.name
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(table.parent, target)


def redundancy(runs):
    """Take over what `python -m trajhelpers.lab.redundancy.run --out RUNS` made."""
    shutil.rmtree(HERE / "redundancy", ignore_errors=True)
    shutil.copytree(Path(runs) / "redundancy", HERE / "redundancy")


def first_map():
    """The kernel of the run that chapter 1 trained last, for the first page, and its map as the
    pages' icon.
    """
    import matplotlib.pyplot as plt

    import trajhelpers as th
    from trajhelpers.plots.style import MAP_COLOURS

    kernel = th.gram(th.open_trajectory(HERE.parent / "book" / "runs" / "digits"))
    whole = kernel.group_by(lambda _: "all")
    whole.save(HERE / "first-map.npz")
    plt.imsave(HERE.parent / "book/pages/icon.png", whole.cosine(), cmap=MAP_COLOURS)


ORIGINS = {
    "fashion-mnist.npz": {
        "command": "python data/make.py images",
        "licence": "MIT, Copyright 2017 Zalando SE",
        "origin": (
            "Fashion-MNIST (https://github.com/zalandoresearch/fashion-mnist), from Debian's"
            " package dataset-fashion-mnist 0.0~git20200523.55506a9-1"
        ),
        "versions": ["numpy"],
    },
    "bible-kjv": {
        "command": "python data/make.py text",
        "licence": (
            "public domain (in the United Kingdom printing is reserved to the Crown's patentees)"
        ),
        "origin": "King James Bible, from Debian's package bible-kjv-text 4.38",
        "versions": ["tokenizers"],
    },
    "benchmarks/preview.json": {
        "command": (
            "python benchmarks/preview.py --out data/benchmarks/preview.json && python data/make.py"
            " manifest"
        ),
        "licence": "MIT, as the book",
        "origin": "computed by this repository",
        "versions": ["torch", "numpy"],
    },
    "redundancy/": {
        "command": (
            "python -m trajhelpers.lab.redundancy.run --out runs && python data/make.py redundancy"
            " runs"
        ),
        "licence": "MIT, as the book",
        "origin": "computed by this repository",
        "versions": ["torch", "numpy"],
    },
    "studies/": {
        "command": (
            "trajhelpers study --all --seeds 3 --jobs 2 --out runs && python data/make.py studies"
            " runs"
        ),
        "licence": "MIT, as the book",
        "origin": "computed by this repository",
        "versions": ["torch", "numpy"],
    },
    "first-map.npz": {
        "command": "make book && python data/make.py first_map && python data/make.py manifest",
        "licence": "MIT, as the book",
        "origin": "computed by chapter 1, from the digits that come with scikit-learn",
        "versions": ["torch", "numpy", "scikit-learn"],
    },
    "benchmarks/gram.json": {
        "command": "make bench OUT=data/benchmarks/gram.json && python data/make.py manifest",
        "licence": "MIT, as the book",
        "origin": "measured by this repository on the machine that the file names",
        "versions": ["torch", "numpy", "safetensors"],
    },
}


def manifest():
    """Say of each file where it comes from. A file that did not change keeps its entry."""
    path = HERE / "manifest.json"
    before = json.loads(path.read_text())["files"] if path.exists() else {}
    files = {}
    for file in sorted(HERE.rglob("*")):
        name = file.relative_to(HERE).as_posix()
        if (
            not file.is_file()
            or name in ("manifest.json", "make.py")
            or name.startswith(".")
            or "__pycache__" in name
        ):
            continue
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        if before.get(name, {}).get("sha256") == digest:
            files[name] = before[name]
            continue
        origin = ORIGINS[next(prefix for prefix in ORIGINS if name.startswith(prefix))]
        made_with = {"python": platform.python_version()} | {
            package: version(package) for package in origin["versions"]
        }
        files[name] = {
            "sha256": digest,
            "date": date.today().isoformat(),
            **origin,
            "versions": made_with,
        }
    path.write_text(json.dumps({"files": files}, indent=1) + "\n")


if __name__ == "__main__":
    commands = {
        one.__name__: one for one in (images, text, studies, redundancy, first_map, manifest)
    }
    commands[sys.argv[1]](*sys.argv[2:])
