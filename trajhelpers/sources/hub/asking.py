"""What is asked of the hub itself: JSON and small files, with errors that say what to do."""

import hashlib
import json
import time
from typing import Any
from urllib.parse import quote

from huggingface_hub import constants, get_session
from huggingface_hub.errors import (
    GatedRepoError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import build_hf_headers, hf_raise_for_status

from ...errors import CheckpointError
from ...telling import tell
from ..catalogue import ListedFile
from ..remote.trying import LONGEST_ASKED
from .client import FAILURES, TRANSIENT, asked_to_wait, status_of
from .private_logs import no_signatures_logged

_TIMEOUT = 30
_TRIES = 6
_LONGEST_WAIT = 8
_WORTH_TELLING = 10
_LARGEST_INDEX = 64 << 20


def ask(repo: str, path: str, **parameters: Any):
    """The hub's answer to what HfApi would ask, whose calls do not try again."""
    where = f"hf://{repo}"
    try:
        with no_signatures_logged():
            response = _answer(f"{constants.ENDPOINT}/{path}", parameters)
        hf_raise_for_status(response)
        if path.startswith("api/"):
            json.loads(response.content)
        return response
    except GatedRepoError as error:
        raise CheckpointError(
            f"{where}: is gated; accept its terms on {constants.ENDPOINT}/{repo}, then `hf auth"
            " login`"
        ) from error
    except RepositoryNotFoundError as error:
        raise CheckpointError(
            f"{where}: there is no such model on the hub, or it is private; check the name, or `hf"
            " auth login` with an account that may read it"
        ) from error
    except RevisionNotFoundError as error:
        raise CheckpointError(
            f"{where}: a revision was deleted while it was looked up; open it again"
        ) from error
    except OfflineModeIsEnabled as error:
        raise CheckpointError(
            f"{where}: the hub client is in offline mode; unset HF_HUB_OFFLINE, or open a folder of"
            " files that you have"
        ) from error
    except FAILURES as error:
        status = status_of(error)
        if status is None:
            raise CheckpointError(
                f"{where}: {constants.ENDPOINT} cannot be reached ({type(error).__name__}); check"
                " the network, or HF_ENDPOINT"
            ) from error
        remedy = {
            401: "the token is not valid: `hf auth login`",
            404: "there is no such thing, or it is private; check the name, or `hf auth login`",
            403: "the account may not read it: `hf auth login` with another",
            429: (
                "the limit of requests is used up: wait five minutes, or "
                "`hf auth login`, which raises it"
            ),
        }.get(status, "try again later")
        raise CheckpointError(f"{where}: the hub answers {status}; {remedy}") from error
    except ValueError as error:
        raise CheckpointError(
            f"{where}: {constants.ENDPOINT} answers with something other than the hub's data; check"
            " HF_ENDPOINT, and whether a proxy asks for a login"
        ) from error


def _answer(address: str, parameters: dict[str, Any]):
    """The first answer that is not a stumble, or the last."""
    headers = build_hf_headers(library_name="trajhelpers")
    for attempt in range(_TRIES):
        pause = min(2**attempt, _LONGEST_WAIT)
        try:
            # Asked for each time: another thread may have closed the client.
            response: Any = get_session().get(
                address, headers=headers, params=parameters, timeout=_TIMEOUT
            )
            if response.status_code not in TRANSIENT or attempt == _TRIES - 1:
                return response
            pause = max(pause, min(asked_to_wait(response.headers), LONGEST_ASKED))
        except FAILURES:
            if attempt == _TRIES - 1:
                raise
        if pause >= _WORTH_TELLING:
            tell(f"the hub asks to wait {pause} seconds")
        time.sleep(pause)


def content_of(repo: str, commit: str, file: ListedFile) -> bytes:
    """All of a small file, as the hub announced it; nothing of one that is too large to be an
    index.
    """
    if file.size > _LARGEST_INDEX:
        return b""
    for _ in range(_TRIES):
        content = ask(repo, f"{repo}/resolve/{commit}/{quote(file.path)}").content
        in_git = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        if file.sha256 in (in_git, hashlib.sha256(content).hexdigest()):
            return content
    raise CheckpointError(
        f"hf://{repo}, {file.path} at commit {commit[:10]}: does not arrive as the hub announced"
        f" it, {_TRIES} times over; try again later, or through another network"
    )
