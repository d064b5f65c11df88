"""A stand-in for the hub on loopback, for the real client: what the hub answers, in the shapes and
with the headers that it answers in.

Files that git-lfs would keep are served from addresses on another host name (`localhost` against
`127.0.0.1`), which are signed, can expire, and must never see a token. Every request is recorded,
and any of them can be made to fail."""

import hashlib
import json
import os
import re
import socket
import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple
from urllib.parse import parse_qs, quote, unquote, urlsplit

LFS = (".bin", ".safetensors", ".pt", ".h5", ".msgpack", ".ckpt")
FAULTS = (
    "503",
    "429",
    "short",
    "elsewhere",
    "ignore-range",
    "truncated",
    "reset",
    "expired",
    "html",
    "dribble",
    "crawl",
)


class Request(NamedTuple):
    """`kind`: "refs", "info", "tree", "paths", "resolve" (of a file's name on the hub) or "file"
    (its content, from where resolve points).
    """

    kind: str
    method: str
    path: str
    range: str | None
    host: str
    has_authorization: bool
    status: int = 0
    bytes_sent: int = 0


class StoredFile(NamedTuple):
    source: bytes | Path
    size: int
    lfs: bool
    sha256: str
    blob: str

    def read(self, start, stop):
        with (
            BytesIO(self.source) if isinstance(self.source, bytes) else open(self.source, "rb")
        ) as file:
            file.seek(start)
            return file.read(stop - start)


class StandInHub:
    """`with StandInHub() as hub: hub.add("EleutherAI/pythia-14m", "step0", {"model.safetensors":
    path})`.

    `faults(request)` names a fault of FAULTS, or None; it is asked before each answer. Of the hub's
    own answers, "503", "429" and "reset" can be had, of files' contents all: "short" sends half the
    bytes and calls them all, "elsewhere" sends bytes of another place and says so, "ignore-range"
    sends the whole file as 200, "truncated" stops in the middle of the body, "reset" before the
    answer, "expired" makes an address invalid for good, "html" sends a page. Of all answers,
    "dribble" sends the body a byte at a time, `pause` seconds between two, "crawl" headers too.

    `edit(request, status, body, headers)` gives what is sent instead of an answer."""

    def __init__(self):
        self.requests, self.faults, self.denied = [], lambda request: None, {}
        self.edit = lambda request, *answer: answer
        self.retry_after, self.buckets, self.pause = "0", {}, 0.05
        # What a hub that lies sends instead: `forged(request, sha256, start, body)`, of the same
        # length; and of what a resolve answer has, `claimed(request)`.
        self.forged = lambda request, sha256, start, body: body
        self.claimed = lambda request: {}
        self._connected = False
        self._branches, self._commits, self._blobs, self._signatures = {}, {}, {}, set()
        self._lock, self.closing = threading.Lock(), threading.Event()

    def __enter__(self):
        self._server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))
        self.port = self._server.server_address[1]
        self.endpoint = f"http://127.0.0.1:{self.port}"
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        ).start()
        return self

    def __exit__(self, *_):
        self.closing.set()
        if self._connected:
            _close_session()
        self._server.shutdown()
        self._server.server_close()

    def add(self, repo, branch, files, commit=None):
        """Makes a commit of `files` (path -> bytes or Path) and points the branch at it; earlier
        commits stay. Returns the commit.
        """
        stored = {path: _stored(path, source) for path, source in files.items()}
        commit = (
            commit
            or hashlib.sha1(
                json.dumps(
                    [repo, branch, {path: file.sha256 for path, file in stored.items()}]
                ).encode()
            ).hexdigest()
        )
        self._branches.setdefault(repo, {})[branch] = commit
        self._commits.setdefault(repo, {})[commit] = stored
        self._blobs.update({file.sha256: file for file in stored.values()})
        return commit

    def fill_bucket(self, bucket, files):
        stored = {path: _stored(path, source) for path, source in files.items()}
        self.buckets.setdefault(bucket, {}).update(stored)
        self._blobs.update({file.sha256: file for file in stored.values()})

    def remove(self, repo, branch):
        del self._branches[repo][branch]

    def expire_addresses(self):
        """From now on, no address that was given out before is valid."""
        self._signatures.clear()

    def requests_of(self, kind):
        return [request for request in self.requests if request.kind == kind]

    @property
    def bytes_sent(self):
        """Of files' contents, web pages and other faults included."""
        return sum(
            request.bytes_sent
            for request in self.requests
            if request.kind in ("file", "resolve") and request.method == "GET"
        )

    def environment(self, folder):
        """For a process that is to use this hub."""
        return {
            "HF_ENDPOINT": self.endpoint,
            "HF_HOME": str(folder),
            "NO_PROXY": "127.0.0.1,localhost",
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }

    def connect(self, monkeypatch, folder, token=None):
        """Point this process's client here, whose constants were read at import; its waits are
        counted in `hub.waits`, not waited.
        """
        from huggingface_hub import constants, file_download

        from trajhelpers.sources.hub import asking

        _close_session()
        for name in (
            "HF_TOKEN",
            "HUGGING_FACE_HUB_TOKEN",
            "HF_OIDC_RESOURCE",
            "HTTP_PROXY",
            "http_proxy",
            "ALL_PROXY",
            "all_proxy",
        ):
            monkeypatch.delenv(name, raising=False)
        if token:
            monkeypatch.setenv("HF_TOKEN", token)
        for name, value in {
            "ENDPOINT": self.endpoint,
            "HUGGINGFACE_CO_URL_TEMPLATE": (
                self.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
            ),
            "HF_HUB_CACHE": str(folder / "hub"),
            "HF_TOKEN_PATH": str(folder / "token"),
            "HF_HUB_OFFLINE": False,
        }.items():
            monkeypatch.setattr(constants, name, value)
        if hasattr(file_download, "HUGGINGFACE_CO_URL_TEMPLATE"):  # a copy, in the client's 0.x
            monkeypatch.setattr(
                file_download, "HUGGINGFACE_CO_URL_TEMPLATE", constants.HUGGINGFACE_CO_URL_TEMPLATE
            )
        self.waits, self._connected = [], True
        monkeypatch.setattr(asking, "time", SimpleNamespace(sleep=self.waits.append))


def _close_session():
    """The client's, whose name has changed with what it stands on."""
    from huggingface_hub.utils import _http

    (_http.close_session if hasattr(_http, "close_session") else _http.reset_sessions)()


def _stored(path, source):
    content = source if isinstance(source, bytes) else Path(source).read_bytes()
    sha256, lfs = hashlib.sha256(content).hexdigest(), path.endswith(LFS)
    pointer = (
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {len(content)}\n"
    )
    in_git = pointer.encode() if lfs else content
    return StoredFile(
        source,
        len(content),
        lfs,
        sha256,
        hashlib.sha1(b"blob %d\0" % len(in_git) + in_git).hexdigest(),
    )


def _dtypes(file):
    """Parameters by dtype, as the hub counts them in a safetensors file's header."""
    try:
        (length,) = struct.unpack("<Q", file.read(0, 8))
        header = json.loads(file.read(8, 8 + length))
        counts = {}
        for name, tensor in header.items():
            if name != "__metadata__":
                size = 1
                for side in tensor["shape"]:
                    size *= side
                counts[tensor["dtype"]] = counts.get(tensor["dtype"], 0) + size
        return counts
    except (
        ValueError,
        struct.error,
        KeyError,
        TypeError,
        AttributeError,
        OverflowError,
        MemoryError,
    ):
        return {}


class _Server(ThreadingHTTPServer):
    daemon_threads, block_on_close = True, False
    # Of connections that wait to be accepted: a dozen threads ask at once.
    request_queue_size = 128


class _Gone(Exception):
    """The connection ends here, without an answer or in the middle of one."""


class _Handler(BaseHTTPRequestHandler):
    hub = None
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def do_GET(self):
        address = urlsplit(self.path)
        path, query = unquote(address.path), parse_qs(address.query)
        sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        routes = [
            (r"/api/models/(?P<repo>[^/]+/[^/]+)/refs", "refs", self._refs),
            (
                r"/api/models/(?P<repo>[^/]+/[^/]+)/tree/(?P<revision>[^/]+)/?(?P<under>.*)",
                "tree",
                self._tree,
            ),
            (
                r"/api/models/(?P<repo>[^/]+/[^/]+)/paths-info/(?P<revision>[^/]+)",
                "paths",
                self._paths,
            ),
            (r"/api/models/(?P<repo>[^/]+/[^/]+)(/revision/(?P<revision>.+))?", "info", self._info),
            (
                r"/api/resolve-cache/models/(?P<repo>[^/]+/[^/]+)/(?P<revision>[^/]+)/(?P<file>.+)",
                "resolve",
                self._cached,
            ),
            (
                r"/api/buckets/(?P<bucket>[^/]+/[^/]+)/tree/?(?P<under>.*)",
                "tree",
                self._bucket_tree,
            ),
            (
                r"/buckets/(?P<bucket>[^/]+/[^/]+)/resolve/(?P<file>.+)",
                "resolve",
                self._in_bucket,
            ),
            (r"/files/(?P<sha256>[0-9a-f]{64})", "file", self._file),
            (
                r"/(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<file>.+)",
                "resolve",
                self._resolve,
            ),
        ]
        kind, answer, parts = next(
            (
                (kind, answer, match.groupdict())
                for pattern, kind, answer in routes
                if (match := re.fullmatch(pattern, path))
            ),
            ("other", lambda query, sent: self._error(404, "NotFound"), {}),
        )
        self.request_ = Request(
            kind,
            self.command,
            self.path,
            self.headers.get("Range"),
            self.headers.get("Host", "").split(":")[0],
            "Authorization" in self.headers,
        )
        self.status = self.written = 0
        self.fault = self.hub.faults(self.request_)
        assert self.fault is None or self.fault in FAULTS, self.fault
        try:
            if self.fault == "reset":
                raise _Gone
            if self.fault in ("503", "429"):
                return self._send(
                    int(self.fault), b"try again", {"Retry-After": self.hub.retry_after}
                )
            if "repo" in parts and (problem := self._problem(parts["repo"], parts.get("revision"))):
                return self._error(*problem)
            answer(query=query, sent=sent, **parts)
        except _Gone:
            # Linger 0, and not through the server's own orderly end: the peer sees a reset.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            os.close(self.connection.detach())
            self.close_connection = True
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        finally:
            self._record()

    def _record(self):
        """Before the answer goes out: a client that has it finds it counted."""
        if self.request_:
            with self.hub._lock:
                self.hub.requests.append(
                    self.request_._replace(status=self.status, bytes_sent=self.written)
                )
            self.request_ = None

    do_HEAD = do_POST = do_GET

    # ---- what the hub answers itself ----

    def _problem(self, repo, revision):
        if repo in self.hub.denied:
            return 403, self.hub.denied[repo]
        if repo not in self.hub._branches:
            return (404 if self.request_.has_authorization else 401), "RepoNotFound"
        if revision is not None and self._commit(repo, revision) not in self.hub._commits[repo]:
            return 404, "RevisionNotFound"

    def _commit(self, repo, revision):
        return self.hub._branches[repo].get(revision or "main", revision)

    def _files(self, repo, revision):
        return self.hub._commits[repo].get(self._commit(repo, revision), {})

    def _refs(self, repo, query, sent):
        branches = [
            {"name": name, "ref": f"refs/heads/{name}", "targetCommit": commit}
            for name, commit in self.hub._branches[repo].items()
        ]
        self._json({"branches": branches, "converts": [], "tags": []})

    def _info(self, repo, revision, query, sent):
        files = self._files(repo, revision)
        siblings = [
            {"rfilename": path}
            | ({"size": file.size, "blobId": file.blob} if "blobs" in query else {})
            | (
                {"lfs": {"sha256": file.sha256, "size": file.size, "pointerSize": 130}}
                if "blobs" in query and file.lfs
                else {}
            )
            for path, file in files.items()
        ]
        counts = _dtypes(files["model.safetensors"]) if "model.safetensors" in files else {}
        self._json(
            {
                "_id": "0",
                "id": repo,
                "modelId": repo,
                "sha": self._commit(repo, revision),
                "private": False,
                "gated": False,
                "disabled": False,
                "tags": [],
                "siblings": siblings,
            }
            | (
                {"safetensors": {"parameters": counts, "total": sum(counts.values())}}
                if counts
                else {}
            )
        )

    def _tree(self, repo, revision, under, query, sent):
        self._json(
            [
                _entry(path, file)
                for path, file in self._files(repo, revision).items()
                if path.startswith(under)
            ]
        )

    def _paths(self, repo, revision, query, sent):
        wanted = (
            json.loads(sent)["paths"]
            if self.headers.get("Content-Type", "").startswith("application/json")
            else parse_qs(sent.decode()).get("paths", [])
        )
        self._json(
            [
                _entry(path, file)
                for path, file in self._files(repo, revision).items()
                if path in wanted
            ]
        )

    def _resolve(self, repo, revision, file, query, sent):
        stored = self._files(repo, revision).get(file)
        if stored is None:
            return self._error(
                404, "EntryNotFound", {"X-Repo-Commit": self._commit(repo, revision)}
            )
        commit = self._commit(repo, revision)
        if not stored.lfs:
            return self._send(
                307,
                b"",
                {
                    "X-Repo-Commit": commit,
                    "Location": f"/api/resolve-cache/models/{repo}/{commit}/{quote(file, safe='')}",
                },
            )
        with self.hub._lock:
            signature = hashlib.sha1(
                f"{len(self.hub.requests)} {len(self.hub._signatures)} {file} {commit}".encode()
            ).hexdigest()
            self.hub._signatures.add(signature)
        self._send(
            302,
            b"",
            {
                "X-Repo-Commit": commit,
                "ETag": f'"{stored.blob}"',
                "X-Linked-Size": str(stored.size),
                "X-Linked-ETag": f'"{stored.sha256}"',
                "Accept-Ranges": "bytes",
                "Location": (
                    f"http://localhost:{self.hub.port}/files/{stored.sha256}?Expires=3600&Signature={signature}"
                ),
            }
            | self.hub.claimed(self.request_),
        )

    def _bucket_tree(self, bucket, under, query, sent):
        """In pages of two, as `Link` says."""
        if bucket not in self.hub.buckets:
            return self._error(404, "RepoNotFound")
        assert query["recursive"] == ["true"]
        files = sorted(
            (path, file)
            for path, file in self.hub.buckets[bucket].items()
            if path == under or path.startswith(under + "/") or not under
        )
        at = int(query.get("cursor", ["0"])[0])
        page = [
            {
                "type": "file",
                "path": path,
                "size": file.size,
                "xetHash": file.sha256,
                "mtime": "2026-01-01T00:00:00.000Z",
                "uploadedAt": "2026-01-01T00:00:00.000Z",
            }
            for path, file in files[at : at + 2]
        ]
        page += [{"type": "directory", "path": "a", "uploadedAt": "2026-01-01T00:00:00.000Z"}]
        address = f"{self.hub.endpoint}/api/buckets/{bucket}/tree?recursive=true&cursor={at + 2}"
        more = {"Link": f'<{address}>; rel="next"'} if at + 2 < len(files) else {}
        body = json.dumps(page).encode()
        self._send(200, body, {"Content-Type": "application/json"} | more)

    def _in_bucket(self, bucket, file, query, sent):
        stored = self.hub.buckets.get(bucket, {}).get(file)
        if stored is None:
            return self._error(404, "EntryNotFound")
        with self.hub._lock:
            signature = hashlib.sha1(f"{len(self.hub._signatures)} {file}".encode()).hexdigest()
            self.hub._signatures.add(signature)
        self._send(
            302,
            b"",
            {
                "ETag": f'"{stored.sha256}"',
                "X-Linked-Size": str(stored.size),
                "X-Linked-ETag": f'"{stored.sha256}"',
                "X-Xet-Hash": stored.sha256,
                "Link": f'<{self.hub.endpoint}/api/xet-read-token>; rel="xet-auth"',
                "Location": (
                    f"http://localhost:{self.hub.port}/files/{stored.sha256}?Expires=3600"
                    f"&Signature={signature}"
                ),
            },
        )

    def _cached(self, repo, revision, file, query, sent):
        self._content(
            self._files(repo, revision)[unquote(file)],
            {
                "X-Repo-Commit": revision,
                "ETag": f'"{self._files(repo, revision)[unquote(file)].blob}"',
            },
        )

    # ---- files' contents ----

    def _file(self, sha256, query, sent):
        signature = query.get("Signature", [""])[0]
        if self.fault == "expired":
            self.hub._signatures.discard(signature)
        if signature not in self.hub._signatures:
            return self._send(
                403,
                b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>",
                {"Content-Type": "application/xml"},
            )
        self._content(self.hub._blobs[sha256], {"ETag": f'"{sha256}"'})

    def _content(self, file, headers):
        if self.fault == "html":
            return self._send(
                200,
                b"<!DOCTYPE html><html><body>Sign in to the network</body></html>",
                {"Content-Type": "text/html"},
            )
        match = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range") or "")
        headers |= {"Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"}
        if not match or self.fault == "ignore-range":
            body = self.hub.forged(self.request_, file.sha256, 0, file.read(0, file.size))
            return self._send(200, body, headers)
        first, last = match.groups()
        start, stop = (
            (max(file.size - int(last), 0), file.size)
            if not first
            else (int(first), min(int(last or file.size) + 1, file.size))
        )
        if start >= stop:
            return self._send(416, b"", {"Content-Range": f"bytes */{file.size}"})
        if self.fault == "elsewhere":
            start, stop = (start - 1, stop - 1) if start else (start + 1, stop + 1)
        body = file.read(start, stop)
        body = self.hub.forged(self.request_, file.sha256, start, body)
        if self.fault == "short":
            body = body[: len(body) // 2]
        self._send(206, body, headers | {"Content-Range": f"bytes {start}-{stop - 1}/{file.size}"})

    # ---- answers ----

    def _json(self, value):
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _error(self, status, code, headers=None, **_):
        self._send(
            status,
            json.dumps({"error": code}).encode(),
            {"X-Error-Code": code, "X-Error-Message": code, "Content-Type": "application/json"}
            | (headers or {}),
        )

    def _send(self, status, body, headers):
        status, body, headers = self.hub.edit(self.request_, status, body, headers)
        goes_out = (
            b""
            if self.command == "HEAD"
            else body[: len(body) // 2]
            if self.fault == "truncated"
            else body
        )
        self.status, self.written = status, len(goes_out)
        self._record()
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(name, value)
        if self.fault == "crawl":
            # Before end_headers sends them.
            goes_out = b"".join(self._headers_buffer) + b"\r\n" + goes_out
            self._headers_buffer = []
        else:
            self.end_headers()
        if self.fault in ("dribble", "crawl"):
            return self._drop_by_drop(goes_out)
        self.wfile.write(goes_out)
        if self.fault == "truncated":
            self.close_connection = True

    def _drop_by_drop(self, content):
        for at in range(len(content)):
            self.wfile.write(content[at : at + 1])
            if self.hub.closing.wait(self.hub.pause):
                raise _Gone


def _entry(path, file):
    return {"type": "file", "path": path, "size": file.size, "oid": file.blob} | (
        {"lfs": {"oid": file.sha256, "size": file.size, "pointerSize": 130}} if file.lfs else {}
    )
