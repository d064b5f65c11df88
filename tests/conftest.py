"""A real browser for the tests of the pages and of JupyterLab, and a core for each process."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from pages import HTML, served

if "PYTEST_XDIST_WORKER" in os.environ:
    # Before torch and numpy are imported: threads of two processes on one core wait for each other.
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

# What writes fixtures needs the libraries that wrote them, and the fuzzer is a command of its own;
# their doctests are not looked for.
collect_ignore = ["writers", "fuzz"]

# Chromium must neither look for updates nor open its sandbox, which root in a container cannot.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def browser():
    """Playwright's own Chromium where it is installed, else the system's."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        own = Path(playwright.chromium.executable_path)
        path = (
            str(own) if own.exists() else shutil.which("chromium") or shutil.which("google-chrome")
        )
        if path is None:
            message = (
                "no browser: `.venv/bin/playwright install chromium`, or install your system's"
                " chromium package"
            )
            # a machine of one's own may lack a browser; CI may not
            (pytest.fail if os.environ.get("CI") else pytest.skip)(message)
        chromium = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser):
    """A page on which nothing but this machine answers; `page.trouble` collects what a reader's
    console would show.
    """
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    page = context.new_page()
    page.trouble = []

    def route(route):
        if route.request.url.startswith(("http://127.0.0.1:", "data:", "blob:")):
            return route.continue_()
        page.trouble.append(f"asks another host: {route.request.url}")
        route.abort()

    context.route("**/*", route)
    page.on("pageerror", lambda error: page.trouble.append(f"error: {error}"))
    page.on(
        "console",
        lambda m: (
            m.type == "error" and page.trouble.append(f"console: {m.text} {m.location.get('url')}")
        ),
    )
    page.on("response", lambda r: r.status >= 400 and page.trouble.append(f"{r.status}: {r.url}"))
    yield page
    context.close()


@pytest.fixture(scope="session")
def site():
    """The built pages, on this machine's own address."""
    if not (HTML / "index.html").exists():
        pytest.fail("no pages in _build/html: run `make book` first")
    with served() as address:
        yield address


@pytest.fixture
def from_disk(browser, tmp_path):
    """Opens HTML as a file of this disk; it has to ask for nothing, and to say nothing."""
    context = browser.new_context(viewport={"width": 1000, "height": 900})
    page, path, heard = context.new_page(), tmp_path / "page.html", []
    page.on("pageerror", lambda error: heard.append(str(error)))
    page.on("console", lambda message: heard.append(message.text))
    page.on("request", lambda request: heard.append(request.url))

    def from_disk(html):
        path.write_text(html, encoding="utf-8")
        page.goto(path.as_uri())
        return page

    yield from_disk
    assert not [one for one in heard if not one.startswith((path.as_uri(), "data:"))]
    context.close()


@pytest.fixture
def memory_path(tmp_path):
    """A folder in memory, where the machine has such a one: for what writes thousands of files."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)
