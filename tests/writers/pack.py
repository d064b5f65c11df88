"""Runs a writer and packs what it wrote: ``python tests/writers/pack.py NAME``, or packs what it
has written already: ``python tests/writers/pack.py NAME FOLDER``.

``tests/written/NAME.tar.xz`` has a folder a case: ``run/`` as the library wrote it,
``expected.npz`` with the parameters of each checkpoint as one process holds them, and
``facts.json``. The versions that wrote it go into ``tests/written/manifest.json``."""

import io
import json
import subprocess
import sys
import tarfile
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

HERE = Path(__file__).parent
WRITTEN = HERE.parent / "written"
# By writer, whose versions matter beside torch's; none where saving code is replicated.
LIBRARIES = {
    "torch_dcp": (),
    "deepspeed_zero": ("deepspeed",),
    "megatron_ranks": ("megatron-core",),
    "trainers": ("lightning", "timm", "fastai", "mosaicml", "accelerate", "transformers", "peft"),
    "components": ("diffusers", "sentence-transformers"),
    "flax_orbax": ("flax", "orbax-checkpoint", "jax", "tensorstore"),
    "replicas": (),
}


def pack(name, written=None):
    with tempfile.TemporaryDirectory() as temporary:
        out = Path(written or Path(temporary) / name)
        if not written:
            subprocess.run([sys.executable, HERE / f"{name}.py", out], check=True)
        files = sorted(path for path in out.rglob("*") if path.is_file())
        WRITTEN.mkdir(exist_ok=True)
        with tarfile.open(WRITTEN / f"{name}.tar.xz", "w:xz", preset=9) as archive:
            for path in files:
                entry = tarfile.TarInfo(path.relative_to(out).as_posix())
                content = path.read_bytes()
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
    manifest_file = WRITTEN / "manifest.json"
    manifest = json.loads(manifest_file.read_text()) if manifest_file.exists() else {}
    manifest[name] = {
        "writer": f"tests/writers/{name}.py",
        "cases": sorted({path.relative_to(out).parts[0] for path in files}),
        "versions": {
            library: version(library)
            for library in ("torch", *LIBRARIES[name])
            if is_installed(library)
        },
    }
    manifest_file.write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n")


def is_installed(library):
    try:
        return bool(version(library))
    except PackageNotFoundError:
        return False


if __name__ == "__main__":
    if sys.argv[2:]:
        pack(*sys.argv[1:])
    else:
        for name in sys.argv[1:] or LIBRARIES:
            pack(name)
