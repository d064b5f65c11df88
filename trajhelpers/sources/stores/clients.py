"""Obstore's clients, one for a bucket or server: with the credentials that the stores' own clients
would find, over encrypted connections, and without tries of their own where we try again.
"""

import base64
import os
from datetime import timedelta
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit

from obstore.store import AzureStore, GCSStore, HTTPStore, S3Store

from ...errors import CheckpointError
from .address import Address, is_this_machine

# Nothing at all for so long ends an answer; one that dribbles is ended by whoever reads it.
_SILENCE = timedelta(seconds=20)
_LONGEST = timedelta(hours=3)
# Lists are asked for by obstore's own policy.
_TRIES = {
    "max_retries": 6,
    "retry_timeout": timedelta(seconds=90),
    "backoff": {"init_backoff": timedelta(seconds=0.5), "max_backoff": timedelta(seconds=15)},
}
_NO_TRIES = {"max_retries": 0, "retry_timeout": timedelta(seconds=0)}
# By kind, where another endpoint than the usual is looked for, and what allows one without TLS.
_ENDPOINTS = {
    "s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
    "gs": ("GOOGLE_BASE_URL",),
    "az": ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
}
_ALLOW_HTTP = {"s3": "AWS_ALLOW_HTTP", "gs": "GOOGLE_ALLOW_HTTP", "az": "AZURE_ALLOW_HTTP"}


def client_of(address: Address, tries: bool = False) -> Any:
    """A store of obstore's; ``tries`` lets it try again by itself."""
    options: dict[str, Any] = {
        "retry_config": _TRIES if tries else _NO_TRIES,
        "client_options": {
            "connect_timeout": _SILENCE,
            "read_timeout": _SILENCE,
            "timeout": _LONGEST,
            "user_agent": "trajhelpers",
            "allow_http": _may_be_plain(address),
        },
    }
    if address.kind == "s3":
        provider = _from_profiles(address)
        if provider is not None:
            options["credential_provider"] = provider
        return S3Store(address.host, **options)
    if address.kind == "gs":
        return GCSStore(address.host, **options)
    if address.kind == "az":
        container, _, account = address.host.partition("@")
        if account:
            options["account_name"] = account.partition(".")[0]
        return AzureStore(container, **options)
    if address.user:
        # Obstore drops it from the address; in a header, a redirect to another host drops it.
        name = base64.b64encode(":".join(address.user).encode()).decode()
        options["client_options"]["default_headers"] = {"Authorization": f"Basic {name}"}
    return HTTPStore(
        f"{address.root}?{address.query}" if address.query else address.root, **options
    )


def _may_be_plain(address: Address) -> bool:
    """Without TLS only to this machine, or where the environment says so."""
    if address.kind == "https":
        # Of https:// not even where a redirect leads.
        return address.root.startswith("http://") and is_this_machine(
            urlsplit(address.root).hostname
        )
    allowing = _ALLOW_HTTP[address.kind]
    if _is_true(allowing):
        return True
    for name in _ENDPOINTS[address.kind]:
        endpoint = urlsplit(os.environ.get(name, ""))
        if endpoint.scheme == "http":
            if not is_this_machine(endpoint.hostname):
                raise CheckpointError(
                    f"{address}: {name} is http://, where anyone on the way can change what"
                    f" arrives; set one of https://, or {allowing}=true"
                )
            return True
    return _is_true("AZURE_STORAGE_USE_EMULATOR") and address.kind == "az"


def _is_true(name: str) -> bool:
    return os.environ.get(name, "").lower() in ("1", "true", "yes", "on")


def _from_profiles(address: Address) -> Any:
    """What AWS's own client finds in profiles, where the environment has no key and that client is
    installed.
    """
    if (
        "AWS_ACCESS_KEY_ID" in os.environ
        or _is_true("AWS_SKIP_SIGNATURE")
        or find_spec("boto3") is None
    ):
        return None
    from botocore.exceptions import BotoCoreError
    from obstore.auth.boto3 import Boto3CredentialProvider

    try:
        return Boto3CredentialProvider()
    # none found
    except ValueError:
        return None
    except BotoCoreError as error:
        problem = type(error).__name__
    raise CheckpointError(
        f"{address}: the profiles of ~/.aws give no credentials ({problem}); check AWS_PROFILE"
    )
