"""Chapters in JupyterLab, as a reader runs them: all cells, then what moves."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CHAPTER, LIVE = "02-kernel-and-maps.ipynb", "08-sam.ipynb"


@pytest.fixture
def lab(tmp_path):
    """JupyterLab on a copy of the chapters, with settings of its own; gives its address."""
    (tmp_path / "book").mkdir()
    for chapter in (CHAPTER, LIVE):
        shutil.copy(ROOT / "book" / chapter, tmp_path / "book")
    (tmp_path / "data").symlink_to(ROOT / "data")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    home = {
        name: str(tmp_path / name)
        for name in (
            "JUPYTER_CONFIG_DIR",
            "JUPYTER_DATA_DIR",
            "JUPYTER_RUNTIME_DIR",
            "JUPYTERLAB_SETTINGS_DIR",
            "JUPYTERLAB_WORKSPACES_DIR",
        )
    }
    command = [
        sys.executable,
        "-m",
        "jupyterlab",
        "--no-browser",
        "--allow-root",
        "--ip=127.0.0.1",
        f"--port={port}",
        "--ServerApp.port_retries=0",
        "--IdentityProvider.token=",
        f"--notebook-dir={tmp_path}",
        "--LabApp.news_url=None",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]
    with open(tmp_path / "lab.log", "w") as log:
        server = subprocess.Popen(
            command, env=os.environ | home, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(f"{address}/api", server, tmp_path / "lab.log")
        yield address
    finally:
        server.terminate()
        server.wait(20)


def wait_for(url, server, log):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and server.poll() is None:
        try:
            return urllib.request.urlopen(url, timeout=5).close()
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.1)
    pytest.fail(f"JupyterLab did not start:\n{log.read_text()[-2000:]}")


def run_all(page, lab, chapter):
    """Open a chapter and run it; gives what is visible when the kernel has nothing left to do."""
    page.goto(f"{lab}/lab/tree/book/{chapter}")
    # the notebook's own indicator is idle before there is a kernel, and cells run then are lost
    idle = page.get_by_text("| Idle")
    idle.wait_for(timeout=60_000)
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    return idle


def test_training_is_started_shown_and_stopped(page, lab):
    idle = run_all(page, lab, LIVE)
    train = page.get_by_role("button", name="train", exact=True)
    train.wait_for(timeout=120_000)
    idle.wait_for(timeout=120_000)
    assert page.locator('[data-mime-type="application/vnd.jupyter.error"]').count() == 0
    picture = page.locator(".widget-vbox:has(button) > .widget-image")
    before = picture.get_attribute("src")
    train.click()
    page.wait_for_function(
        "([image, before]) => image.src !== before",
        arg=[picture.element_handle(), before],
        timeout=30_000,
    )
    page.get_by_role("button", name="stop", exact=True).click()
    page.wait_for_function("button => !button.disabled", arg=train.element_handle(), timeout=30_000)
    assert "ω = 0." in page.locator(".widget-vbox:has(button) > .widget-html").inner_text()


def test_an_explorer_computes_and_keeps_its_arrow_keys(page, lab):
    idle = run_all(page, lab, CHAPTER)
    explorer = page.locator(".trajhelpers-explorer:has([data-measure=omega])").first
    explorer.wait_for(timeout=120_000)
    idle.wait_for(timeout=120_000)
    assert page.locator('[data-mime-type="application/vnd.jupyter.error"]').count() == 0

    omega = explorer.locator("[data-measure=omega]")
    seen = [omega.get_attribute("data-value")]
    explorer.locator("input[name=origin]").focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowLeft", "ArrowLeft"):
        page.keyboard.press(key)
        seen.append(omega.get_attribute("data-value"))
    assert len(set(seen)) == 3 and seen[0] == seen[4] and seen[1] == seen[3], seen
    assert not [trouble for trouble in page.trouble if "another host" in trouble]
