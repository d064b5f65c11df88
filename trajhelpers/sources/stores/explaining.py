"""Obstore's errors in words that say what to do. Of theirs, which quote requests whole, nothing is
passed on but a status and a code.
"""

import re

from obstore.exceptions import (
    BaseError,
    InvalidPathError,
    NotSupportedError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)

from ...errors import CheckpointError
from ..remote.file import changed
from ..remote.trying import Unfit
from .address import Address

FAILURES = (BaseError, FileNotFoundError, ValueError, OSError)
_TRANSIENT = (408, 429, 500, 502, 503, 504)
_STATUS, _CODE = re.compile(r"status code: (\d{3})"), re.compile(r"<Code>(\w+)</Code>")
_LOOKED_FOR = {
    "s3": (
        "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a role of this machine, or, with boto3"
        " installed, the profiles of ~/.aws; AWS_SKIP_SIGNATURE=true for a public bucket"
    ),
    "gs": (
        "GOOGLE_APPLICATION_CREDENTIALS, or what `gcloud auth application-default login` leaves;"
        " GOOGLE_SKIP_SIGNATURE=true for a public bucket"
    ),
    "az": (
        "AZURE_STORAGE_ACCOUNT_NAME with AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN, or"
        " `az login` with AZURE_USE_AZURE_CLI=true; AZURE_SKIP_SIGNATURE=true for a public one"
    ),
    "https": "a user and password in the address; a signed address expires, so get a new one",
}
_PLACES = {
    "s3": "AWS_REGION, and AWS_ENDPOINT_URL where it is not Amazon's",
    "gs": "the network",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and the network",
    "https": "the address and the network",
}


def explained(address: Address, where: object, error: Exception) -> Exception:
    """What to raise instead: Unfit where another try may do, else a CheckpointError."""
    text = str(error)
    status = int(found[1]) if (found := _STATUS.search(text)) else 0
    code = f", {found[1]}" if (found := _CODE.search(text)) else ""
    kind = address.kind
    if isinstance(error, PreconditionError):
        return changed(where)
    if isinstance(error, InvalidPathError):
        return CheckpointError(
            f"{where}: has an object whose name has an empty part, '.' or '..' between slashes,"
            " which cannot be listed; rename it, or give a longer prefix"
        )
    if "InvalidListResponse" in text:
        return CheckpointError(
            f"{where}: the store answers with something other than a list; check {_PLACES[kind]},"
            " and whether a proxy asks for a login"
        )
    if isinstance(error, NotSupportedError):
        return CheckpointError(
            f"{where}: the server sends whole files and no ranges of them; copy the files to this"
            " machine and open them there"
        )
    if "169.254.169.254" in text or ("metadata" in text.lower() and not status):
        return CheckpointError(f"{where}: no credentials found; looked for {_LOOKED_FOR[kind]}")
    if isinstance(error, (PermissionDeniedError, UnauthenticatedError)) or status in (401, 403):
        return CheckpointError(
            f"{where}: access is denied ({status or 'no credentials'}{code}); looked for"
            f" {_LOOKED_FOR[kind]}"
        )
    if "NoSuchBucket" in text or "ContainerNotFound" in text:
        return CheckpointError(
            f"{where}: there is no such bucket; check its name, and {_PLACES[kind]}"
        )
    if isinstance(error, FileNotFoundError) or status in (404, 410):
        return CheckpointError(f"{where}: is not there; check the address, and {_PLACES[kind]}")
    if status in _TRANSIENT:
        return Unfit(f"status {status}{code}", status)
    if status or "redirect" in text.lower():
        return CheckpointError(
            f"{where}: the store refuses (status {status or 301}{code}); check {_PLACES[kind]}"
        )
    if "NotPartial" in text:
        return Unfit("the whole file, not the range that was asked for")
    if "UnexpectedRange" in text:
        return Unfit("another range than was asked for")
    if "Timeout" in text or "TimedOut" in text:
        return Unfit("it went silent")
    return Unfit("the connection failed")
