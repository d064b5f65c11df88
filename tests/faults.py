"""A fault at every n-th call to the system, in turn.

`Faults` stands where Python asks the system for something, counts the calls of one kind, and lets
one of them fail, or it and all that follow. What libraries ask from C or Rust goes past it, but for
what safetensors writes."""

import builtins
import errno
import gc
import io
import itertools
import os
import socket
import sys
import threading
import time
import weakref
from types import SimpleNamespace

import pytest

import trajhelpers as th

# Of each kind of call, how it may fail. A name of `errno`: it does nothing, and that is its error.
# "late": it does all, and the error comes all the same, as over a network. "short": less than was
# asked for, which is no error. "end": nothing more is to be had. "interrupt": Ctrl-C before it, in
# the main thread. "death": the process ends there. EINTR is not among them: Python itself tries
# again.
FAULTS = {
    "open": ("EMFILE", "EIO", "interrupt", "death"),
    "read": ("EIO", "short", "interrupt", "death"),
    "write": ("ENOSPC", "EIO", "short", "interrupt", "death"),
    "sync": ("EIO", "late", "interrupt", "death"),
    "rename": ("EIO", "ENOSPC", "late", "interrupt", "death"),
    "remove": ("EIO", "interrupt", "death"),
    "look": ("EIO", "interrupt", "death"),
    "connect": ("ECONNREFUSED", "EMFILE", "ETIMEDOUT", "interrupt"),
    "send": ("EPIPE", "ECONNRESET", "interrupt"),
    "receive": ("ECONNRESET", "ETIMEDOUT", "short", "end", "interrupt"),
}
LOCAL = ("open", "read", "write", "sync", "rename", "remove", "look")
NETWORK = ("connect", "send", "receive")
DIED = 77

_BY_PATH = {
    "open": ("open", "mkdir"),
    "rename": ("replace", "rename", "link"),
    "remove": ("unlink", "remove", "rmdir"),
    "look": ("stat", "lstat", "listdir", "scandir"),
    "write": ("truncate",),
}
_BY_DESCRIPTOR = {"read": ("read", "pread", "preadv"), "write": ("write",), "sync": ("fsync",)}


class Faults:
    """``with Faults("read", 3, "EIO", folder) as faults: …`` fails the third read.

    Of calls that take a path, those count whose path lies below ``folder``; of sockets, those that
    connect to another. ``hit`` says whether there was such a call.
    """

    def __init__(self, kind, at, fault, folder, lasting=False):
        self.kind, self.at, self.fault, self.lasting = kind, at, fault, lasting
        self.folder, self.calls, self.hit = os.fspath(folder), 0, False
        self._lock, self._patch, self._connected = threading.Lock(), None, weakref.WeakSet()

    def __str__(self):
        return f"{self.fault} at {self.kind} {self.at}{' and after' if self.lasting else ''}"

    def call(self, kind, do, path=None, short=None, end=None):
        """Do it, or not."""
        if kind != self.kind or not self._is_due():
            return do()
        if self.fault in ("short", "end"):
            return ((short if self.fault == "short" else end) or do)()
        if self.fault == "interrupt":
            raise KeyboardInterrupt
        if self.fault == "death":
            os._exit(DIED)
        if self.fault == "late":
            do()
        number = getattr(errno, self.fault, errno.EIO)
        # As the system's own, without a name where a descriptor was given.
        raise OSError(number, os.strerror(number), *([path] if path else []))

    def _is_due(self):
        if self.fault == "interrupt" and threading.current_thread() is not threading.main_thread():
            return False
        with self._lock:
            self.calls += 1
            due = self.calls >= self.at if self.lasting else self.calls == self.at
        self.hit = self.hit or due
        return due

    def _is_below(self, path):
        is_path = isinstance(path, (str, os.PathLike))
        return is_path and os.path.abspath(path).startswith(self.folder)

    def __enter__(self):
        self._patch = pytest.MonkeyPatch()
        for kind, names in _BY_PATH.items():
            for name in names:
                self._patch.setattr(os, name, self._by_path(kind, getattr(os, name)))
        for kind, names in _BY_DESCRIPTOR.items():
            for name in names:
                self._patch.setattr(os, name, self._by_descriptor(kind, name, getattr(os, name)))
        self._patch.setattr(builtins, "open", self._open)
        self._patch.setattr(io, "open", self._open)
        if "safetensors.torch" in sys.modules:
            module = sys.modules["safetensors.torch"]
            self._patch.setattr(module, "save_file", self._saved(module.save_file))
        for kind, name in (
            ("connect", "connect"),
            ("send", "send"),
            ("send", "sendall"),
            ("receive", "recv"),
            ("receive", "recv_into"),
        ):
            self._patch.setattr(socket.socket, name, self._of_socket(kind, name))
        return self

    def __exit__(self, *_):
        self._patch.undo()

    def _by_path(self, kind, real):
        def called(path=".", *arguments, **options):
            do = lambda: real(path, *arguments, **options)  # noqa: E731
            return self.call(kind, do, os.fspath(path)) if self._is_below(path) else do()

        return called

    def _by_descriptor(self, kind, name, real):
        def called(descriptor, what=None, *arguments):
            given = () if what is None else (what,)
            if name in ("read", "pread"):
                less = (max(1, what // 2),)
            elif name == "preadv":
                less = ([view[: max(1, len(view) // 2)] for view in what[:1]],)
            else:
                less = (what[: max(1, len(what) // 2)],) if given else ()
            return self.call(
                kind,
                lambda: real(descriptor, *given, *arguments),
                short=lambda: real(descriptor, *less, *arguments),
            )

        return called

    def _open(self, file, mode="r", buffering=-1, encoding=None, errors=None, newline=None, **more):
        if not self._is_below(file):
            return _OPEN(file, mode, buffering, encoding, errors, newline, **more)
        raw = self.call("open", lambda: _Raw(self, file, mode), os.fspath(file))
        if buffering == 0:
            return raw
        kind = io.BufferedReader if "r" in mode else io.BufferedWriter
        buffered = io.BufferedRandom(raw) if "+" in mode else kind(raw)
        return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding, errors, newline)

    def _saved(self, real):
        """What Rust writes: an error leaves half of it, and is one of its own."""

        def save_file(tensors, path, metadata=None):
            from safetensors import SafetensorError

            try:
                self.call("write", lambda: real(tensors, path, metadata))
            except OSError as error:
                real(tensors, path, metadata)
                with _OPEN(path, "rb+") as file:
                    file.truncate(os.fstat(file.fileno()).st_size // 2)
                raise SafetensorError(f"Error while serializing: I/O error: {error}") from None

        return save_file

    def _of_socket(self, kind, name):
        real = getattr(socket.socket, name)

        def called(own, what, *arguments):
            if kind == "connect":
                self._connected.add(own)
            do = lambda: real(own, what, *arguments)  # noqa: E731
            if own not in self._connected:
                return do()
            if name == "recv":
                return self.call(kind, do, short=lambda: real(own, 1), end=lambda: b"")
            if name == "recv_into":
                return self.call(
                    kind, do, short=lambda: real(own, memoryview(what)[:1]), end=lambda: 0
                )
            return self.call(kind, do)

        return called


class _Raw(io.FileIO):
    def __init__(self, faults, path, mode):
        self._faults = faults
        super().__init__(path, mode.replace("b", "").replace("t", ""))

    def readinto(self, buffer):
        some = memoryview(buffer).cast("B")
        return self._faults.call(
            "read",
            lambda: io.FileIO.readinto(self, buffer),
            short=lambda: io.FileIO.readinto(self, some[: max(1, len(some) // 2)]),
        )

    def readall(self):
        return self._faults.call("read", lambda: io.FileIO.readall(self))

    def write(self, content):
        some = memoryview(content).cast("B")
        return self._faults.call(
            "write",
            lambda: io.FileIO.write(self, content),
            short=lambda: io.FileIO.write(self, some[: max(1, len(some) // 2)]),
        )


_OPEN = builtins.open


def each(run, folder, kinds=LOCAL, faults=None, lasting=False, before=lambda: None):
    """Run with each fault of each kind at each call in turn, until the run has no more such calls.
    ``before`` is done before each run, undisturbed.

    Yields an outcome: ``where`` in words, and ``value`` or ``error``; where the process died (a
    child's, by a fork) neither. Nothing refers to the run any more.
    """
    for kind in kinds:
        for fault in FAULTS[kind]:
            if faults is not None and fault not in faults:
                continue
            for at in itertools.count(1):
                before()
                point = Faults(kind, at, fault, folder, lasting)
                outcome = _dying(run, point) if fault == "death" else _outcome(run, point)
                if not point.hit:
                    assert outcome.error is None, f"{point}: {outcome.error!r}"
                    break
                yield outcome


def _outcome(run, point):
    outcome = SimpleNamespace(where=str(point), kind=point.kind, value=None, error=None, died=False)
    with point:
        try:
            outcome.value = run()
        except BaseException as error:
            # Its frames hold files open.
            outcome.error = error.with_traceback(None)
            error.__cause__ = error.__context__ = None
    return outcome


def _dying(run, point):
    child = os.fork()
    if child == 0:
        code = 1
        try:
            with point:
                run()
            code = 0
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, DIED), f"{point}: ended with {code}"
    point.hit = code == DIED
    return SimpleNamespace(where=str(point), kind=point.kind, value=None, error=None, died=True)


def is_clear(outcome, *names):
    """One error, of the family or the system's, that names the file or the folder, or a Ctrl-C."""
    error = outcome.error
    if isinstance(error, KeyboardInterrupt):
        assert outcome.where.startswith("interrupt"), outcome.where
        return
    said = f"{outcome.where}: {type(error).__name__}: {error}"
    assert isinstance(error, (th.TrajectoryError, OSError)), said
    assert any(str(name) in str(error) for name in names), said
    assert "\n" not in str(error), said


def check_left(outcome, folder, *wanted):
    """Nothing is left beside what is wanted; but where the process died, or could not clean up,
    what the next one will know for a temporary.
    """
    others = {path.name for path in folder.iterdir()} - set(wanted)
    if not outcome.died and outcome.kind not in ("open", "remove", "look"):
        assert not others, f"{outcome.where}: leaves {others}"
    known = [name for name in others if name.startswith(".") and name.endswith((".tmp", ".lock"))]
    assert set(known) == others, f"{outcome.where}: leaves {others}"


class Held:
    """What a process holds: its descriptors and threads.

    ``with Held() as held: … held.check()`` sees that there are none but those of the beginning.
    What was there before the block is not looked through for garbage, which would take long.
    """

    def __enter__(self):
        gc.collect()
        gc.freeze()
        self._before = self._now()
        return self

    def __exit__(self, *_):
        gc.unfreeze()

    def check(self, where=""):
        end = time.monotonic() + 10
        while more := self._now() - self._before:
            gc.collect()
            assert time.monotonic() < end, f"{where}: holds {more}"
            time.sleep(0.001)

    def _now(self):
        # Those of the stand-in hub come and go, one a connection; so do sockets.
        threads = {
            thread for thread in threading.enumerate() if "process_request" not in thread.name
        }
        return threads | {
            (number, what) for number, what in _descriptors() if "socket:" not in what
        }


def _descriptors():
    """Each open one, and what it is of, where the system tells."""
    for name in os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else []:
        try:
            yield int(name), os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue  # that of this listing
