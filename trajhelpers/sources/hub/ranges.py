"""How the hub is asked for ranges: every answer checked, no token where it does not belong.

A file's address is asked of the hub once, with the token that the hub's own client finds; the
ranges are asked of that address, which is signed, may expire, and on another host gets no token.
"""

import threading
from functools import partial
from typing import cast

from huggingface_hub import get_hf_file_metadata
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

from ...errors import CheckpointError
from ..remote.file import RemoteFile
from ..remote.files import RemoteFiles
from ..remote.trying import Stop, Unfit, longest
from .client import FAILURES, TRANSIENT, asked_to_wait
from .file import HubTree
from .in_time import in_time
from .private_logs import no_signatures_logged
from .range_requests import Limit, headers_for, read_range
from .redirects import Misled, led_to

# The hub's limit without an account is 3,000 in five minutes.
_RESOLVED, _WITHIN = 2_800, 300


def files_on_the_hub() -> RemoteFiles:
    """By which those of one run are read."""
    return RemoteFiles(_HubRequests())


def _tree_of(file: RemoteFile) -> HubTree:
    return cast(HubTree, file.tree)


class _HubRequests:
    """The :class:`trajhelpers.sources.remote.files.Requests` for files of commits and buckets."""

    whole = "keep whole files with cache=True (--cache)"

    def __init__(self) -> None:
        self._addresses: dict[RemoteFile, str] = {}
        self._resolving: dict[RemoteFile, threading.Lock] = {}
        self._calls = Limit(_RESOLVED, _WITHIN)
        self._lock = threading.Lock()

    def share(self, size: int) -> None:
        self._calls = Limit(max(1, _RESOLVED // size), _WITHIN)

    def __reduce__(self):
        """Another process asks for addresses of its own: these are signed."""
        return _HubRequests, ()

    def content_of(self, file: RemoteFile) -> bytes:
        return _tree_of(file).content_of(file.path)

    def get_range(self, file: RemoteFile, offset: int, view: memoryview, stop: Stop) -> None:
        # Not as JSON is asked for (asking.py): these tries must end at once when nobody waits any
        # more, and ask for a new address where a signed one has expired.
        try:
            address = self._address(file, stop)
            return read_range(
                address,
                headers_for(address, _tree_of(file).url(file.path)),
                offset,
                view,
                file.size,
                stop,
            )
        except Unfit as answer:
            if answer.status in range(400, 500) and answer.status not in TRANSIENT:
                self._forget(file, address)
                answer.at_once = True
            raise
        except HfHubHTTPError as error:
            status = error.response.status_code
            if status not in TRANSIENT:
                raise CheckpointError(
                    f"{file}: the hub does not give it away (status {status}:"
                    f" {type(error).__name__}); check that the repository still has this commit"
                    " and that your token may read it (`hf auth login`)"
                ) from None
            raise Unfit(
                f"status {status} from the hub",
                status,
                asked_to_wait(error.response.headers),
            ) from None
        except OfflineModeIsEnabled:
            raise CheckpointError(
                f"{file}: the hub cannot be reached in offline mode; unset HF_HUB_OFFLINE"
            ) from None
        except Misled as problem:
            raise CheckpointError(
                f"{file}: the hub's answer {problem}; check HF_ENDPOINT and the network"
            ) from None
        except FAILURES as error:
            raise Unfit(type(error).__name__) from None

    def _address(self, file: RemoteFile, stop: Stop) -> str:
        with self._lock:
            lock = self._resolving.setdefault(file, threading.Lock())
        with lock:
            if file not in self._addresses:
                self._calls.wait(stop)
                url = _tree_of(file).url(file.path)
                with no_signatures_logged():
                    found = in_time(partial(get_hf_file_metadata, url), longest(0))
                _tree_of(file).refuse_other(file, found)
                self._addresses[file] = led_to(url, found.location)
            return self._addresses[file]

    def _forget(self, file: RemoteFile, address: str) -> None:
        with self._lock:
            if self._addresses.get(file) == address:
                del self._addresses[file]
