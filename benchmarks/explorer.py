"""Frames of the explorer while its origin moves: python benchmarks/explorer.py (or --browser PATH)

A random walk of each size in a page of its own, in a headless Chromium; its origin goes from O to
the end and back, a checkpoint a frame, as under a hand that drags it. Printed are, in milliseconds,
the time between frames, and what the page itself computes and draws in one.
"""

import argparse
import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
from measuring import machine
from playwright.sync_api import sync_playwright

import trajhelpers as th

SIZES = (31, 91, 154)
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


def swept(page, n, frames):
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "walk.html"
        th.explore(th.random_walk(n, start=3)).save(file)
        page.goto(file.as_uri())
        page.evaluate(SWEEP, 60)  # to warm up
        return page.evaluate(SWEEP, frames)


def quantiles(times):
    return {
        name: round(float(np.quantile(times, share)), 1)
        for name, share in {"10 %": 0.1, "median": 0.5, "95 %": 0.95}.items()
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--browser", help="a Chromium (default: the system's, else Playwright's)")
    parser.add_argument("--frames", type=int, default=300)
    options = parser.parse_args()
    print(json.dumps(machine()))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=options.browser or shutil.which("chromium"),
            args=["--no-sandbox", "--disable-gpu"],
        )
        print(f"Chromium {browser.version}, {options.frames} frames, ms")
        page = browser.new_page(viewport={"width": 1200, "height": 900})
        for n in SIZES:
            found = swept(page, n, options.frames)
            print(f"n = {n:3}: " + "; ".join(f"{k} {quantiles(v)}" for k, v in found.items()))
        browser.close()


if __name__ == "__main__":
    main()
