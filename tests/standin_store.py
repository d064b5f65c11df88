"""Stores on loopback: moto's server for S3, behind a proxy that fails as it is told, and a web
server of plain files that knows ranges.
"""

import hashlib
import os
import re
import socket
import struct
import threading
import time
from email.utils import formatdate
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import quote, unquote, urlsplit

FAULTS = ("503", "403", "short", "elsewhere", "ignore-range", "truncated", "reset", "dribble")
SECRETS = {
    "AWS_ACCESS_KEY_ID": "AKIANOBODYMAYSEETHIS",
    "AWS_SECRET_ACCESS_KEY": "TheSecretKeyThatNobodyMaySee",
    "AWS_SESSION_TOKEN": "TheSessionTokenThatNobodyMaySee",
}


# Moto looks at who signs and not at how.
_SIGNED = {
    "Authorization": (
        "AWS4-HMAC-SHA256 Credential=AKIAOWNER/20260101/us-east-1/s3/aws4_request,"
        " SignedHeaders=host, Signature=none"
    )
}


class Request(NamedTuple):
    method: str
    path: str
    range: str | None
    if_match: str | None
    authorization: str | None
    status: int = 0
    bytes_sent: int = 0


class _Server(ThreadingHTTPServer):
    daemon_threads, block_on_close = True, False
    request_queue_size = 128


class StandIn:
    """What proxy and web server have in common: requests are recorded, and `faults(request)` names
    a fault of FAULTS, or None.
    """

    def __init__(self):
        self.requests, self.faults = [], lambda request: None

    def __enter__(self):
        handler = type("Handler", (_Handler,), {"owner": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self.port = self._server.server_address[1]
        self.endpoint = f"http://127.0.0.1:{self.port}"
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        ).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()

    @property
    def ranges(self):
        return [request for request in self.requests if request.range]

    def answer(self, request, headers, body):
        """(status, headers, body) of a request without a fault."""
        raise NotImplementedError


class StandInStore(StandIn):
    """S3: `put("bucket", {key: bytes or Path})`; `monkeypatch` gets the environment that points
    clients here.
    """

    def __enter__(self):
        from moto.server import ThreadedMotoServer

        self._moto = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        self._moto.start()
        self._moto_at = self._moto.get_host_and_port()
        return super().__enter__()

    def __exit__(self, *exception):
        super().__exit__(*exception)
        self._moto.stop()

    def environment(self):
        return SECRETS | {"AWS_ENDPOINT_URL": self.endpoint, "AWS_REGION": "us-east-1"}

    def connect(self, monkeypatch):
        for name in list(os.environ):
            if name.startswith(("AWS_", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")):
                monkeypatch.delenv(name)
        for name, value in self.environment().items():
            monkeypatch.setenv(name, value)

    def put(self, bucket, files):
        self._to_moto("PUT", f"/{bucket}", _SIGNED, b"")
        for key, content in files.items():
            content = content if isinstance(content, bytes) else content.read_bytes()
            status = self._to_moto("PUT", f"/{bucket}/{quote(key)}", _SIGNED, content)[0]
            assert status == 200, (key, status)

    def empty(self):
        self._to_moto("POST", "/moto-api/reset", {}, b"")
        self.requests.clear()

    def remove(self, bucket, key):
        self._to_moto("DELETE", f"/{bucket}/{quote(key)}", _SIGNED, b"")

    def answer(self, request, headers, body):
        return self._to_moto(request.method, request.path, headers, body)

    def _to_moto(self, method, path, headers, body):
        connection = HTTPConnection(*self._moto_at, timeout=30)
        try:
            connection.request(method, path, body or None, headers)
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()


class StandInWeb(StandIn):
    """A web server: `files` are contents by path; `etag` is "strong", "weak", or None, where
    Last-Modified has to do; `key` is what must stand behind the question mark, `user` "name:word".
    """

    def __init__(self):
        super().__init__()
        self.files, self.etag, self.key, self.written, self.user = (
            {},
            "strong",
            "",
            1_700_000_000,
            "",
        )
        self.moved = False

    def answer(self, request, headers, body):
        path, query = urlsplit(request.path)[2:4]
        if self.moved and not path.startswith("/moved"):
            return 302, {"Location": f"/moved{request.path}"}, b""
        content = self.files.get(unquote(path).removeprefix("/moved").strip("/"))
        if query != self.key:
            return 403, {}, b"signature"
        if self.user:
            from base64 import b64encode

            if request.authorization != "Basic " + b64encode(self.user.encode()).decode():
                return 401, {}, b""
        if content is None:
            return 404, {}, b""
        tag = '"' + hashlib.sha1(content).hexdigest() + '"'
        about = {
            "strong": {"ETag": tag},
            "weak": {"ETag": "W/" + tag},
            "time": {"Last-Modified": formatdate(self.written, usegmt=True)},
            None: {},
        }[self.etag]
        if request.if_match and request.if_match != about.get("ETag"):
            return 412, {}, b""
        match = re.fullmatch(r"bytes=(\d+)-(\d+)", request.range or "")
        if not match:
            return 200, about, content
        first, last = int(match[1]), min(int(match[2]), len(content) - 1)
        if first > last:
            return 416, {"Content-Range": f"bytes */{len(content)}"}, b""
        about |= {"Content-Range": f"bytes {first}-{last}/{len(content)}"}
        return 206, about, content[first : last + 1]


# Of each connection's own.
_OWN = ("content-length", "date", "server", "connection", "transfer-encoding")


def _moved(name, value):
    """Content-Range, a byte further."""
    if name.lower() != "content-range":
        return value
    return re.sub(r"(\d+)-(\d+)", lambda m: f"{int(m[1]) + 1}-{int(m[2]) + 1}", value)


class _Handler(BaseHTTPRequestHandler):
    owner = None
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def do_GET(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        request = Request(
            self.command,
            self.path,
            self.headers.get("Range"),
            self.headers.get("If-Match"),
            self.headers.get("Authorization"),
        )
        fault = self.owner.faults(request)
        assert fault is None or fault in FAULTS, fault
        if fault == "reset":
            self.owner.requests.append(request)
            return self._reset()
        sent = {k: v for k, v in self.headers.items() if k.lower() not in ("host", "connection")}
        status, headers, content = (
            (int(fault), {}, b"<Error><Code>AccessDenied</Code></Error>")
            if fault in ("503", "403")
            else self.owner.answer(request, sent, body)
        )
        if fault == "ignore-range" and status == 206:
            status = 200
            headers.pop("Content-Range", None)
            headers.pop("content-range", None)
        if fault == "elsewhere":
            headers = {name: _moved(name, value) for name, value in headers.items()}
        if fault == "short":
            content = content[: len(content) // 2]
        self.owner.requests.append(request._replace(status=status, bytes_sent=len(content)))
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in (
                "content-length",
                "date",
                "server",
                "connection",
                "transfer-encoding",
            ):
                self.send_header(name, value)
        length = headers.get("Content-Length") if self.command == "HEAD" else None
        self.send_header("Content-Length", length or str(len(content)))
        self.end_headers()
        if self.command == "HEAD":
            return
        try:
            if fault == "dribble":
                for at in range(len(content)):
                    self.wfile.write(content[at : at + 1])
                    self.wfile.flush()
                    time.sleep(0.05)
            elif fault == "truncated":
                self.wfile.write(content[: len(content) // 2])
                self.close_connection = True
            else:
                self.wfile.write(content)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _reset(self):
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        os.close(self.connection.detach())
        self.close_connection = True

    do_HEAD = do_POST = do_PUT = do_DELETE = do_GET
