"""The built pages: where they are, and a server for them."""

import functools
import http.server
import re
import threading
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
HTML = ROOT / "_build" / "html"
PAGES = re.findall(r"(?:root|file): (\S+)", (ROOT / "_toc.yml").read_text())
# Those that Sphinx makes by itself, too.
ALL_PAGES = [*PAGES, "search", "genindex"]


class Site(http.server.ThreadingHTTPServer):
    # A browser opens several connections at once for every page; those over socketserver's
    # five in the queue are dropped when the machine is busy, and what they asked never ends.
    request_queue_size = 128


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@contextmanager
def served():
    server = Site(("127.0.0.1", 0), functools.partial(Quiet, directory=HTML))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
