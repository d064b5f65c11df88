"""What the pages weigh and how soon they stand: python benchmarks/pages.py (after make book)

Each page of the book once, in a fresh Chromium that sees a phone's screen, a slow 4G connection
(1.6 Mbit/s, 150 ms there and back) and a processor four times slower than this one: Lighthouse's
conditions, applied by Chromium itself. Files come gzipped, as any host sends them.

kB is what was read (`raw`) and what went over the line (`gzip`) with the page scrolled to its end;
the rest is of the first ten seconds or so, before anything is scrolled: largest paint and blocking
time (the part of each task beyond 50 ms) in seconds, and how far what stood there moved.
"""

import argparse
import contextlib
import functools
import gzip
import mimetypes
import re
import shutil
import statistics
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parents[1]
LINE = {"offline": False, "latency": 150, "downloadThroughput": 1.6e6 / 8, "uploadThroughput": 9e4}
SLOWER = 4
SETTLED = 3000  # ms after which nothing more happens by itself
PHONE = {"width": 412, "height": 823}
PACKED = re.compile(r"text/|javascript|json|svg")
OBSERVE = """
window.seen = { paint: 0, blocked: 0, shift: 0 };
const observe = (type, each) => new PerformanceObserver(
  (list) => list.getEntries().forEach(each)).observe({ type, buffered: true });
observe("largest-contentful-paint", (entry) => { seen.paint = entry.startTime; });
observe("longtask", (entry) => { seen.blocked += Math.max(0, entry.duration - 50); });
observe("layout-shift", (entry) => { if (!entry.hadRecentInput) seen.shift += entry.value; });
"""
TO_THE_END = """async () => {
  for (let y = 0; y < document.documentElement.scrollHeight; y += innerHeight) {
    scrollTo({ top: y, behavior: "instant" });
    await new Promise((resolve) => setTimeout(resolve, 60));
  }
}"""


@functools.cache
def packed(path):
    return gzip.compress(path.read_bytes(), 6)


class Gzipped(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # else each file would pay for a connection of its own

    def do_GET(self):
        path = Path(self.translate_path(self.path))
        path = path / "index.html" if path.is_dir() else path
        if not path.is_file():
            return self.send_error(404)
        kind = mimetypes.guess_type(path)[0] or "application/octet-stream"
        self.send_response(200)
        self.send_header("Content-Type", kind)
        if PACKED.search(kind):
            content = packed(path)
            self.send_header("Content-Encoding", "gzip")
        else:
            content = path.read_bytes()
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # the page was closed meanwhile
            self.wfile.write(content)

    def log_message(self, *_):
        pass


def measure(browser, url):
    """One page, read to its end: raw bytes, gzipped bytes, requests, paint, blocking, shift."""
    context = browser.new_context(viewport=PHONE, device_scale_factor=1.75, is_mobile=True)
    page = context.new_page()
    line = context.new_cdp_session(page)
    line.send("Network.enable")
    line.send("Network.setCacheDisabled", {"cacheDisabled": False})
    line.send("Network.emulateNetworkConditions", LINE)
    line.send("Emulation.setCPUThrottlingRate", {"rate": SLOWER})
    raw, over = {}, {}
    line.on(
        "Network.dataReceived",
        lambda e: raw.update({e["requestId"]: raw.get(e["requestId"], 0) + e["dataLength"]}),
    )
    line.on(
        "Network.loadingFinished", lambda e: over.update({e["requestId"]: e["encodedDataLength"]})
    )
    page.add_init_script(OBSERVE)
    page.goto(url, timeout=120_000)
    page.wait_for_timeout(SETTLED)
    seen = page.evaluate("seen")
    line.send("Emulation.setCPUThrottlingRate", {"rate": 1})
    page.evaluate(TO_THE_END)
    page.wait_for_timeout(SETTLED)
    context.close()
    return (
        sum(raw.values()) / 1e3,
        sum(over.values()) / 1e3,
        len(over),
        seen["paint"] / 1e3,
        seen["blocked"] / 1e3,
        seen["shift"],
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--html", type=Path, default=ROOT / "_build/html")
    parser.add_argument("--times", type=int, default=1, help="the median of so many readings")
    parser.add_argument("pages", nargs="*", help="e.g. book/12-pythia; by default all")
    arguments = parser.parse_args()
    toc = (ROOT / "_toc.yml").read_text()
    pages = arguments.pages or re.findall(r"(?:root|file): (\S+)", toc)
    handler = functools.partial(Gzipped, directory=arguments.html)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.request_queue_size = 128
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"{'page':<42}{'raw kB':>8}{'gzip kB':>9}{'requests':>9}{'paint':>7}{'block':>7}  shift")
    with sync_playwright() as playwright:
        chromium = shutil.which("chromium") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        for name in pages:
            url = f"http://127.0.0.1:{server.server_port}/{name}.html"
            runs = [measure(browser, url) for _ in range(arguments.times)]
            raw, over, requests, paint, blocked, shift = map(statistics.median, zip(*runs))
            print(
                f"{name:<42}{raw:8,.0f}{over:9,.0f}{requests:9.0f}{paint:7.1f}{blocked:7.2f}"
                f"{shift:7.3f}",
                flush=True,
            )
        browser.close()
    server.shutdown()


if __name__ == "__main__":
    main()
