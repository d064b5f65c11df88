"""A chapter in JupyterLab, as a reader runs it: all cells, then a live slider."""

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
CHAPTER = "02-kernel-and-maps.ipynb"


@pytest.fixture
def lab(tmp_path):
    """JupyterLab on a copy of the chapter, with settings of its own; gives its address."""
    (tmp_path / "book").mkdir()
    shutil.copy(ROOT / "book" / CHAPTER, tmp_path / "book")
    (tmp_path / "data").symlink_to(ROOT / "data")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    home = {name: str(tmp_path / name) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR",
                                                    "JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR")}
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}",
               "--ServerApp.port_retries=0", "--IdentityProvider.token=", f"--notebook-dir={tmp_path}",
               "--LabApp.news_url=None", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]
    with open(tmp_path / "lab.log", "w") as log:
        server = subprocess.Popen(command, env=os.environ | home, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
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


def test_slider_moves_the_plot_live(page, lab):
    page.goto(f"{lab}/lab/tree/book/{CHAPTER}")
    # the notebook's own indicator is idle before there is a kernel, and cells run then are lost
    idle = page.get_by_text("| Idle")
    idle.wait_for(timeout=60_000)
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()

    # an interact's picture is drawn by the kernel, into an Output
    interact = page.locator(".widget-interact:has(.noUi-handle)").first
    picture = interact.locator(".jp-OutputArea img").first
    picture.wait_for(timeout=120_000)
    idle.wait_for(timeout=120_000)
    assert page.locator('[data-mime-type="application/vnd.jupyter.error"]').count() == 0

    before = picture.get_attribute("src")
    interact.locator(".noUi-handle").first.focus()
    page.keyboard.press("ArrowRight")
    picture = interact.locator(".jp-OutputArea img").first
    deadline = time.monotonic() + 20
    while picture.get_attribute("src", timeout=20_000) == before:
        assert time.monotonic() < deadline, "the plot did not change"
        page.wait_for_timeout(100)
    assert not [trouble for trouble in page.trouble if "another host" in trouble]
