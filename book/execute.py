"""Execute the chapters and lay the book out for Sphinx: python book/execute.py

As many chapters at a time as there are cores, and only those of which something has changed: the
code cells, the package, the data, the requirements or this script. Executed chapters lie in
_build/executed, each with what it was made from and how long it took; the book as Sphinx reads it,
with their outputs, in _build/source. The code of explorers is in their outputs for notebooks, and a
file of its own for pages, so that a change of it is seen without executing anything."""

import asyncio
import json
import os
import shutil
import sys
import time
from hashlib import sha256
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from trajhelpers.explorer import page

ROOT = Path(__file__).resolve().parents[1]
EXECUTED, SOURCE = ROOT / "_build" / "executed", ROOT / "_build" / "source"
CODE_OF_PAGES = ROOT / "trajhelpers/explorer/js"
WIDGET = "application/vnd.jupyter.widget-view+json"
# A core each: libraries that start a thread a core would wait for each other.
ENVIRONMENT = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def chapters():
    return sorted((ROOT / "book").glob("*.ipynb"))


def read(path):
    return nbformat.read(path, as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def surroundings():
    """A digest of all that every chapter depends on."""
    files = [ROOT / "requirements.txt", Path(__file__)]
    for folder in ("trajhelpers", "data"):
        files += [
            path
            for path in (ROOT / folder).rglob("*")
            if path.is_file() and path.suffix != ".pyc" and CODE_OF_PAGES not in path.parents
        ]
    digest = sha256(sys.version.encode())
    for path in sorted(files):
        digest.update(f"\n{path.relative_to(ROOT)} {path.stat().st_size}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def key(notebook, around):
    """What an execution of a notebook is an execution of."""
    cells = [[cell.source, cell.metadata.get("tags", [])] for cell in code_cells(notebook)]
    return sha256(json.dumps([around, cells]).encode()).hexdigest()


def last_execution(path):
    """What was executed last, from what and in how many seconds, or None."""
    executed = EXECUTED / path.name
    return read(executed) if executed.exists() else None


def is_current(path, around):
    last = last_execution(path)
    return last is not None and last.metadata.execution["key"] == key(read(path), around)


def with_outputs(path):
    """A chapter as it is now, with the outputs of its last execution, and without widgets, which
    need a running notebook: what stands where one was is what it says without one.
    """
    notebook, last = read(path), last_execution(path)
    for cell, executed in zip(code_cells(notebook), code_cells(last), strict=True):
        cell.outputs = [output for output in executed.outputs if not is_progress(output)]
        cell.execution_count = executed.execution_count
        for output in cell.outputs:
            output.get("data", {}).pop(WIDGET, None)
    if "language_info" in last.metadata:
        notebook.metadata.language_info = last.metadata.language_info
    return notebook


def is_progress(output):
    """A bar that has nothing left to say."""
    data = output.get("data", {})
    return WIDGET in data and "it/s" in data.get("text/plain", "")


def write(notebook, path):
    """All of it or nothing, whatever happens."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    nbformat.write(notebook, part)
    part.replace(path)


async def execute(path, around):
    notebook = read(path)
    made_from, start = key(notebook, around), time.monotonic()
    client = NotebookClient(
        notebook,
        timeout=300,
        record_timing=False,
        resources={"metadata": {"path": path.parent}},
        # Gracefully a kernel takes two to five seconds to end, and there is nothing left to say.
        shutdown_kernel="immediate",
        coalesce_streams=True,
        extra_arguments=[
            "--log-level=CRITICAL",  # errors come as messages too
            "--InlineBackend.figure_formats={'retina'}",  # figures of twice the pixels
        ],
    )
    await client.async_execute(env=os.environ | ENVIRONMENT)
    seconds = time.monotonic() - start
    notebook.metadata.execution = {"key": made_from, "seconds": round(seconds, 1)}
    write(notebook, EXECUTED / path.name)
    return seconds


async def execute_all(paths, around):
    """The chapters that failed."""
    cores, failed, done = asyncio.Semaphore(os.cpu_count()), [], 0

    async def one(path):
        nonlocal done
        async with cores:
            try:
                said = f"{await execute(path, around):.0f} s"
            except Exception as error:  # the traceback of a cell, a time-out, a kernel that died
                failed.append(path)
                said = f"failed\n{error}"
        done += 1
        print(f"{done}/{len(paths)} {path.stem}: {said}", flush=True)

    async with asyncio.TaskGroup() as group:  # which waits until every kernel is stopped
        for path in paths:
            group.create_task(one(path))
    return failed


class Loop(asyncio.SelectorEventLoop):
    """On Ctrl-C asyncio stops every chapter; nbclient's own handler would stop one of them."""

    def add_signal_handler(self, *_):
        raise RuntimeError("no handlers here")  # nbclient expects that of some loops


def bring_up_to_date(paths):
    """Execute those chapters that need it; ends the program where one fails."""
    around = surroundings()
    old = [path for path in paths if not is_current(path, around)]
    # The longest first, so that no core is idle at the end; those never executed are taken for
    # long, the last before the first, as chapters grow.
    seconds = {
        path: last.metadata.execution["seconds"] if (last := last_execution(path)) else 1e9
        for path in reversed(old)
    }
    order = sorted(seconds, key=seconds.get, reverse=True)
    try:
        with asyncio.Runner(loop_factory=Loop) as runner:
            failed = runner.run(execute_all(order, around))
    except KeyboardInterrupt:
        sys.exit("interrupted; what was executed is kept")
    if failed:
        sys.exit("failed: " + ", ".join(sorted(path.stem for path in failed)))


def with_code_in_files(notebook):
    """Explorers without the code that runs them: pages have it once for all, lay_out writes it."""
    for cell in code_cells(notebook):
        for output in cell.outputs:
            if html := html_of(output):
                output.data["text/html"] = page.CODE.sub("", html)
    return notebook


def html_of(output):
    return output.get("data", {}).get("text/html", "")


def lay_out():
    """The book with its chapters' outputs, for Sphinx."""
    shutil.rmtree(SOURCE, ignore_errors=True)
    shutil.copytree(
        ROOT / "book",
        SOURCE / "book",
        ignore=shutil.ignore_patterns("runs", ".*", "*.ipynb", "__pycache__"),
    )
    for name in ("_config.yml", "_toc.yml"):
        shutil.copy(ROOT / name, SOURCE)
    for path in chapters():
        write(with_code_in_files(with_outputs(path)), SOURCE / "book" / path.name)
    (SOURCE / "book/pages/explorer.js").write_text(page.script())
    (SOURCE / "book/pages/explorer.css").write_text(page.style())
    # Here, since it takes seconds to import what it reads studies with.
    from gallery import write_gallery

    write_gallery(SOURCE / "book")


if __name__ == "__main__":
    bring_up_to_date(chapters())
    lay_out()
