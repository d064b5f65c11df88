"""Frames of the explorer while its origin moves: python benchmarks/explorer.py

A random walk of each size in a page of its own, in a headless Chromium and in the system's Firefox;
its origin goes from O to the end and back, a checkpoint a frame, as under a hand that drags it.
Printed are, in milliseconds, the time between frames, and what the page itself computes and draws
in one.
"""

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
from measuring import machine
from playwright.sync_api import sync_playwright

import trajhelpers as th

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from firefox import Firefox

SIZES = (31, 91, 154)
SCREEN = {"width": 1200, "height": 900}
WARM = 60  # frames before those that are counted
SWEEP = """async (frames) => {
  const input = document.querySelector("input[name=origin]"), end = +input.max + 1;
  const frame = () => new Promise(requestAnimationFrame), between = [], work = [];
  let before = await frame();
  for (let i = 0; i < frames; i++) {
    const begin = performance.now();
    input.value = String(Math.abs((i % (2 * end)) - end) - 1);
    input.oninput();
    // What the explorer has asked to be drawn comes first in the next frame; this follows it.
    const drawn = performance.now() - begin;
    const now = await frame();
    between.push(now - before);
    work.push(drawn + performance.now() - now);
    before = now;
  }
  return { between, work };
}"""


@contextmanager
def chromium(path: str | None):
    """A function that sweeps the explorer of a file, and the browser's name."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport=SCREEN)

        def sweep(file, frames):
            page.goto(file.as_uri())
            page.evaluate(SWEEP, WARM)
            return page.evaluate(SWEEP, frames)

        yield sweep, f"Chromium {browser.version}"


@contextmanager
def stock_firefox(path: str):
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(Firefox(path, Path(folder) / "profile")) as browser,
    ):
        browser.resize(**SCREEN)

        def sweep(file, frames):
            browser.go(file.as_uri())
            browser.evaluate(f"({SWEEP})({WARM})")
            return browser.evaluate(f"({SWEEP})({frames})")

        yield sweep, browser.evaluate("navigator.userAgent.split(' ').at(-1)")


def quantiles(times):
    return {
        name: round(float(np.quantile(times, share)), 1)
        for name, share in {"10 %": 0.1, "median": 0.5, "95 %": 0.95}.items()
    }


def report(sweep: Callable, browser: str, frames: int):
    print(f"{browser}, {frames} frames, ms")
    for n in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "walk.html"
            th.explore(th.random_walk(n, start=3)).save(file)
            found = sweep(file, frames)
        print(f"n = {n:3}: " + "; ".join(f"{k} {quantiles(v)}" for k, v in found.items()))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--browser", help="a Chromium (default: the system's, else Playwright's)")
    parser.add_argument("--frames", type=int, default=300)
    options = parser.parse_args()
    print(json.dumps(machine()))
    with chromium(options.browser or shutil.which("chromium")) as found:
        report(*found, options.frames)
    if path := shutil.which("firefox-esr") or shutil.which("firefox"):
        with stock_firefox(path) as found:
            report(*found, options.frames)
    else:
        print("no Firefox is installed")


if __name__ == "__main__":
    main()
