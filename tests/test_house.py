"""The house: arrows between rooms point one way, walls hold, and the reference shows every name.

A room is a file or a folder of the package; CONTRIBUTING.md has the plan. What is read here is the
source, so imports inside functions count, and so do those for annotations alone."""

import ast
import inspect
import re
import subprocess
import sys
from importlib.util import resolve_name
from operator import attrgetter
from pathlib import Path

import pytest

import trajhelpers

ROOT, PACKAGE = Path(__file__).parents[1], Path(trajhelpers.__file__).parent
# From the ground up: a room imports from those before it. The roof is the package itself, whose
# stub names what a user finds on top, and the command line.
CORE = [
    "printable",
    "errors",
    "lazily",
    "atomic",
    "version",
    "links",
    "telling",
    "reading",
    "sources",
    "kernel_file",
    "kernel",
    "auditing",
]
CORE += [
    "stored",
    "adapters",
    "checkpoints",
    "models",
    "streaming",
    "remarks",
    "making",
    "previewing",
    "gram",
    "verifying",
    "appending",
    "hallmarks",
    "gauges",
    "nulls",
    "record",
    "following",
    "callbacks",
    "plots",
    "explorer",
]
LAB = ["lab.data", "lab.training", "lab.pythia", "lab.theory", "lab.studies", "lab.redundancy"]
LAB += ["lab.claims", "lab"]
FLOORS = [*CORE, *LAB, "__init__", "cli", "__main__"]
# Names with an underscore that are public: of Python, and of a NamedTuple.
PUBLIC = re.compile(r"[^_]|__\w+__$|_(replace|asdict|fields|make|field_defaults)$")


def room_of(module):
    """``lab.training`` for ``trajhelpers.lab.training.loop``; the package's own names are in its
    ``__init__``.
    """
    parts = module.split(".")[1:]
    room = ".".join(parts[: 2 if parts[0] == "lab" else 1])
    return room if room in FLOORS else "__init__"


def nodes():
    """Of every file: (its path in the package, the package it is in, its room, a node)."""
    for path in sorted((*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.pyi"))):
        name = path.relative_to(PACKAGE)
        package = ".".join(["trajhelpers", *name.parent.parts])
        room = room_of(
            package if name.stem == "__init__" and name.parent.parts else f"{package}.{name.stem}"
        )
        for node in ast.walk(ast.parse(path.read_text())):
            yield name.as_posix(), package, room, node


def imports():
    """Of every import from another room: (file, its room, the room imported from, what)."""
    for file, package, room, node in nodes():
        names = []
        if isinstance(node, ast.ImportFrom):
            module = resolve_name("." * node.level + (node.module or ""), package)
            names = [f"{module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            if name.startswith("trajhelpers.") and room_of(name) != room:
                yield file, room, room_of(name), name


def test_every_room_has_its_floor():
    rooms = {path.stem for path in PACKAGE.glob("*.py")}
    rooms |= {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    rooms |= {f"lab.{path.parent.name}" for path in PACKAGE.glob("lab/*/__init__.py")}
    rooms |= {f"lab.{path.stem}" for path in PACKAGE.glob("lab/*.py")} - {"lab.__init__"}
    assert rooms == set(FLOORS)


def test_arrows_point_down():
    upward = [
        f"{file} imports {name}"
        for file, room, other, name in imports()
        if FLOORS.index(other) > FLOORS.index(room)
    ]
    assert not upward, upward


def test_the_core_does_without_the_lab():
    found = [
        f"{file} imports {name}"
        for file, room, other, name in imports()
        if room in CORE and other in LAB
    ]
    assert not found, found


def test_no_private_name_of_another_room_is_imported():
    found = [
        f"{file} imports {name}"
        for file, _, _, name in imports()
        if not PUBLIC.match(name.rsplit(".", 1)[-1])
    ]
    assert not found, found


def test_no_private_attribute_of_another_room_or_library_is_used():
    """A library's may go with any version. A room's own are those that it assigns or defines."""
    own, used = set(), []
    for file, _, room, node in nodes():
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            own.add((room, node.name))
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            own.add((room, node.id))
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            own.add((room, node.attr))
        elif isinstance(node, ast.Attribute) and not PUBLIC.match(node.attr):
            used.append((room, node.attr, f"{file}:{node.lineno}: {ast.unparse(node)}"))
    found = [where for room, name, where in used if (room, name) not in own]
    assert not found, found


def test_one_version():
    citation = (ROOT / "CITATION.cff").read_text()
    assert f"\nversion: {trajhelpers.__version__}\n" in citation


def test_importing_the_package_is_cheap():
    heavy = ["torch", "matplotlib", "pandas", "ipywidgets", "transformers", "huggingface_hub"]
    program = f"import sys, trajhelpers; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, check=True)
    assert done.stdout == b"[]\n"


def stubs():
    """As users write them: ``trajhelpers.mds``, ``trajhelpers.training.Recipe``."""
    for stub in sorted(PACKAGE.rglob("*.pyi")):
        for node in ast.walk(ast.parse(stub.read_text())):
            if isinstance(node, ast.ImportFrom):
                room = ".".join(["trajhelpers", *stub.relative_to(PACKAGE).parent.parts])
                for alias in node.names:
                    yield f"{room}.{alias.name}".replace(".lab.", ".")


NAMES = sorted(set(stubs()) - {"trajhelpers.__version__"})


def value_of(name):
    return attrgetter(name.removeprefix("trajhelpers."))(trajhelpers)


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_is_there_and_says_what_it_is(name):
    value = value_of(name)
    if inspect.isclass(value):
        assert value.__dict__.get("__doc__")  # not its base's
    elif callable(value) or inspect.ismodule(value):
        assert value.__doc__


def described():
    """Names that the pages of the API reference describe."""
    directives = re.compile(r"^\.\. (currentmodule|autoclass|autofunction|py:data):: (\S+)", re.M)
    for page in sorted((ROOT / "book" / "api").glob("*.md")):
        for kind, name in directives.findall(page.read_text()):
            if kind == "currentmodule":
                room = name
            else:
                yield f"{room}.{name}"


def test_the_reference_describes_every_public_name_once():
    names = list(described())
    assert len(names) == len(set(names))
    found = [value_of(name) for name in names]
    public = [*NAMES, *functions_of("trajhelpers.theory.quadratic")]
    missing = [name for name in public if not any(value_of(name) is value for value in found)]
    missing = [name for name in missing if not inspect.ismodule(value_of(name))]
    assert not missing, missing


def functions_of(module):
    """The public ones of a module that is public as a whole."""
    whole = value_of(module)
    for name, value in vars(whole).items():
        if PUBLIC.match(name) and getattr(value, "__module__", "") == whole.__name__:
            yield f"{module}.{name}"
