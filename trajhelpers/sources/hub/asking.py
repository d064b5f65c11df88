"""What is asked of the hub itself: JSON and small files, with errors that say what to do."""

import hashlib
import json
import re
import reprlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar
from urllib.parse import parse_qsl, quote, urlencode

from huggingface_hub import constants
from huggingface_hub.errors import OfflineModeIsEnabled

from ...errors import CheckpointError
from ...telling import tell
from ..catalogue import ListedFile
from ..remote.trying import LONGEST_ASKED
from .answers import Unlike
from .client import FAILURES, TRANSIENT, answered, asked_to_wait, headers_of_ours, whole
from .private_logs import no_signatures_logged
from .redirects import Misled

_TIMEOUT = 30
_TRIES = 6
_LONGEST_WAIT = 8
_WORTH_TELLING = 10
_LARGEST_ANSWER = 32 << 20
_LARGEST_INDEX = 64 << 20
_MOST_PAGES = 2_000

_T = TypeVar("_T")


def ask(repo: str, path: str, read: Callable[[Any], _T], **parameters: str) -> _T:
    """What ``read`` makes of the hub's answer to what HfApi would ask, whose calls do not try
    again; it raises Unlike where that is of another shape.
    """
    where = f"hf://{repo}"
    content, _ = _received(where, path, parameters, _LARGEST_ANSWER)
    return _read(where, content, read)


def ask_for_pages(
    repo: str, path: str, read: Callable[[Any], _T], **parameters: str
) -> Iterator[_T]:
    """The same of a list that comes in pages, each of which says how to ask for the next."""
    where, asked = f"hf://{repo}", []
    while parameters not in asked and len(asked) < _MOST_PAGES:
        asked.append(parameters)
        content, headers = _received(where, path, parameters, _LARGEST_ANSWER)
        yield _read(where, content, read)
        following = re.search(r'<([^>]*)>\s*;\s*rel="?next\b', headers.get("Link", ""))
        if following is None:
            return
        # Asked of the same place, whatever host the link names.
        parameters = dict(parse_qsl(following[1].partition("?")[2]))
    raise CheckpointError(f"{where}: its list does not end; give a longer prefix")


def content_of(repo: str, commit: str, file: ListedFile) -> bytes:
    """All of a small file, as the hub announced it; nothing of one that is too large to be an
    index.
    """
    if file.size > _LARGEST_INDEX:
        return b""
    where = f"hf://{repo}, {file.path} at commit {commit[:10]}"
    for _ in range(_TRIES):
        content, _ = _received(
            where, f"{repo}/resolve/{commit}/{quote(file.path)}", {}, _LARGEST_INDEX
        )
        in_git = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        if file.sha256 in (in_git, hashlib.sha256(content).hexdigest()):
            return content
    raise CheckpointError(
        f"{where}: does not arrive as the hub announced it, {_TRIES} times over; try again later,"
        " or through another network"
    )


def unlike(where: str, problem: object) -> CheckpointError:
    """Of an answer that is not the hub's."""
    return CheckpointError(
        f"{where}: {constants.ENDPOINT} answers with something other than the hub's data"
        f" ({problem}); check HF_ENDPOINT, and whether a proxy asks for a login"
    )


def _read(where: str, content: bytes, read: Callable[[Any], _T]) -> _T:
    try:
        answer = json.loads(content)
    except (ValueError, RecursionError):
        text = content[:100].decode(errors="replace")
        raise unlike(where, f"no JSON but {reprlib.repr(text)}") from None
    try:
        return read(answer)
    except Unlike as problem:
        raise unlike(where, problem) from None


def _received(
    where: str, path: str, parameters: Mapping[str, str], most: int
) -> tuple[bytes, Mapping[str, str]]:
    """The body and the headers of the first answer that is not a stumble."""
    address = f"{constants.ENDPOINT}/{path}" + ("?" if parameters else "") + urlencode(parameters)
    for attempt in range(_TRIES):
        pause, last = min(2**attempt, _LONGEST_WAIT), attempt == _TRIES - 1
        try:
            with (
                no_signatures_logged(),
                answered(address, headers_of_ours(), _TIMEOUT) as answer,
            ):
                if answer.status == 200:
                    return whole(answer, most), answer.headers
                if answer.status not in TRANSIENT or last:
                    raise _refused(where, answer.status, answer.headers)
                pause = max(pause, min(asked_to_wait(answer.headers), LONGEST_ASKED))
        except OverflowError:
            raise unlike(where, f"more than {most:,} bytes") from None
        except Misled as problem:
            raise unlike(where, f"it {problem}") from None
        except OfflineModeIsEnabled:
            raise CheckpointError(
                f"{where}: the hub client is in offline mode; unset HF_HUB_OFFLINE, or open a"
                " folder of files that you have"
            ) from None
        except FAILURES as error:
            if last:
                raise CheckpointError(
                    f"{where}: {constants.ENDPOINT} cannot be reached ({type(error).__name__});"
                    " check the network, or HF_ENDPOINT"
                ) from error
        if pause >= _WORTH_TELLING:
            tell(f"the hub asks to wait {pause} seconds")
        time.sleep(pause)
    raise AssertionError("the last try returns or raises")


def _refused(where: str, status: int, headers: Mapping[str, str]) -> CheckpointError:
    """By the code that the hub has for the reason, else by the status."""
    code, said = headers.get("X-Error-Code"), headers.get("X-Error-Message")
    if code == "GatedRepo":
        page = f"{constants.ENDPOINT}/{where.removeprefix('hf://').partition(',')[0]}"
        return CheckpointError(
            f"{where}: is gated; accept its terms on {page}, then `hf auth login`"
        )
    # 401 is what someone without a token is told of what is private, or not there.
    unknown = status == 401 and said != "Invalid credentials in Authorization header"
    if code == "RepoNotFound" or unknown:
        return CheckpointError(
            f"{where}: there is no such model or bucket on the hub, or it is private; check the"
            " name, or `hf auth login` with an account that may read it"
        )
    if code == "RevisionNotFound":
        return CheckpointError(
            f"{where}: a revision was deleted while it was looked up; open it again"
        )
    remedy = {
        401: "the token is not valid: `hf auth login`",
        404: "there is no such thing, or it is private; check the name, or `hf auth login`",
        403: "the account may not read it: `hf auth login` with another",
        429: (
            "the limit of requests is used up: wait five minutes, or "
            "`hf auth login`, which raises it"
        ),
    }.get(status, "try again later")
    return CheckpointError(f"{where}: the hub answers {status}; {remedy}")
